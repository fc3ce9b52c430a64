//! The kit, tried on itself: no proxy in between.

mod clients;
mod raw;
mod servers;

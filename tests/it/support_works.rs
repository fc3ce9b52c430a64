//! Tests of the kit itself, without a proxy.

mod clients;
mod raw;
mod servers;

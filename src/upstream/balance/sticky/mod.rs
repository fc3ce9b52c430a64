//! Sticky-session policy: the policy, its cookie settings, and the token in the cookie.

mod cookie_settings;
mod policy;
mod token;

pub use cookie_settings::{InvalidSticky, SameSite};
pub use policy::Sticky;

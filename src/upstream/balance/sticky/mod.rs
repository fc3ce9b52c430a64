//! Sticky-session policy: the policy, its cookie settings, and the token in the cookie.

mod policy;
mod settings;
mod token;

pub use policy::Sticky;
pub use settings::{InvalidSticky, SameSite};

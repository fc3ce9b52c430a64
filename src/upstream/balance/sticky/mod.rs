//! By a cookie of our own: the policy, its settings, and the token that the cookie carries.

mod policy;
mod settings;
mod token;

pub use policy::Sticky;
pub use settings::{InvalidSticky, SameSite};

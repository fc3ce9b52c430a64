//! Cookies that bring a client back to the upstream it had before.

use wsplice::balance::{AnyBalance, Sticky};

use crate::balance::Policy;

/// Reads the name of the cookie; its secret key is made up anew, so it counts for this run only.
pub(crate) fn sticky(cookie: &str) -> Result<Sticky, String> {
    let mut key = [0; 32];
    getrandom::fill(&mut key).map_err(|error| format!("no randomness for its key: {error}"))?;
    Sticky::new(cookie, key).map_err(|error| error.to_string())
}

/// Goes by the cookie, and asks the policy for who has none.
pub(crate) fn before(sticky: &Sticky, policy: &Policy) -> AnyBalance {
    AnyBalance::new(sticky.clone().fallback(policy.balance()))
}

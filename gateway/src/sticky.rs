//! Sticky cookies, which bring a client back to the upstream it had before.

use wsplice::balance::{AnyBalance, Sticky};

use crate::balance::Policy;

/// Creates the policy for a cookie of this name. Its secret key is random, so cookies are valid until
/// the gateway stops.
pub(crate) fn sticky(cookie: &str) -> Result<Sticky, String> {
    let mut key = [0; 32];
    getrandom::fill(&mut key).map_err(|error| format!("no random key for it: {error}"))?;
    Sticky::new(cookie, key).map_err(|error| error.to_string())
}

/// Goes by the cookie, and by `policy` for requests without a valid one.
pub(crate) fn or_else(sticky: &Sticky, policy: &Policy) -> AnyBalance {
    AnyBalance::new(sticky.clone().fallback(policy.balance()))
}

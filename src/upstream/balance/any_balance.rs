//! Type-erased load-balancing policy.

use std::{fmt, sync::Arc};

use http::{HeaderName, HeaderValue};

use crate::{http::head::RequestHead, http::headers::ClientScheme};

use super::{
    candidates::{Candidate, Candidates},
    policy::Balance,
};

/// Type-erased load-balancing policy, cheap to clone.
///
/// # Examples
///
/// ```
/// use wsplice::balance::{AnyBalance, LeastTunnels, RoundRobin};
///
/// fn by_name(name: &str) -> AnyBalance {
///     match name {
///         "round-robin" => AnyBalance::new(RoundRobin::new()),
///         _ => AnyBalance::new(LeastTunnels::new()),
///     }
/// }
/// # let _ = by_name("");
/// ```
#[derive(Clone)]
pub struct AnyBalance {
    policy: Arc<dyn Balance>,
    type_name: &'static str,
}

impl AnyBalance {
    /// Erases the type of `policy`.
    #[must_use]
    pub fn new<B: Balance + 'static>(policy: B) -> Self {
        Self {
            policy: Arc::new(policy),
            type_name: std::any::type_name::<B>(),
        }
    }
}

impl AnyBalance {
    /// Returns a number that the clones have in common, and no other policy alive has.
    pub(crate) fn id(&self) -> usize {
        Arc::as_ptr(&self.policy).cast::<()>() as usize
    }
}

impl Balance for AnyBalance {
    fn pick(&self, candidates: &Candidates<'_>, request: &RequestHead<'_>) -> Option<usize> {
        self.policy.pick(candidates, request)
    }

    fn response_header(
        &self,
        picked: &Candidate<'_>,
        request: &RequestHead<'_>,
        scheme: ClientScheme,
    ) -> Option<(HeaderName, HeaderValue)> {
        self.policy.response_header(picked, request, scheme)
    }

    fn queue_group(&self, request: &RequestHead<'_>) -> Option<String> {
        self.policy.queue_group(request)
    }
}

/// Shows the policy's type: policies need not be `Debug`.
impl fmt::Debug for AnyBalance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.type_name)
    }
}

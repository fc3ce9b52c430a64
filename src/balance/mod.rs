//! Stage 3: which of the upstreams.
//!
//! [`Balance`] is the seam; a policy sees the upstreams that may be picked now, with their live
//! figures, and the request.

mod candidates;
mod round_robin;

use std::{fmt, sync::Arc};

use crate::head::RequestHead;

pub use candidates::{Candidate, Candidates};
pub use round_robin::RoundRobin;

/// Picks an upstream for a handshake.
///
/// # Examples
///
/// ```
/// use wsplice::{balance::{Balance, Candidates}, head::RequestHead};
///
/// /// The upstream with the fewest tunnels.
/// #[derive(Debug)]
/// struct Fewest;
///
/// impl Balance for Fewest {
///     fn pick(&self, candidates: &Candidates<'_>, _: &RequestHead<'_>) -> Option<usize> {
///         (0..candidates.len()).min_by_key(|index| candidates.get(*index).map(|c| c.tunnels()))
///     }
/// }
/// # let _ = Fewest;
/// ```
pub trait Balance: fmt::Debug + Send + Sync {
    /// The index of the candidate to use; `None` to use none of them.
    ///
    /// An index that is out of range counts as none.
    fn pick(&self, candidates: &Candidates<'_>, request: &RequestHead<'_>) -> Option<usize>;
}

impl<B: Balance + ?Sized> Balance for Arc<B> {
    fn pick(&self, candidates: &Candidates<'_>, request: &RequestHead<'_>) -> Option<usize> {
        (**self).pick(candidates, request)
    }
}

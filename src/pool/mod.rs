//! Stage 3: the upstreams of a route, and how one of them is leased.

use std::sync::Arc;

use http::{HeaderName, HeaderValue};
use tokio::time::Instant;

use crate::{
    balance::{AnyBalance, Balance, Candidate, Candidates, LeastTunnels},
    connect::InvalidAddress,
    head::RequestHead,
    headers::ClientScheme,
    upstream::{Lease, Member, Upstream},
};

/// The upstreams of a route. Cheap to clone; every clone is the same pool.
///
/// # Examples
///
/// ```
/// use wsplice::Pool;
///
/// let pool = Pool::new(["ws://10.0.0.1:8080", "unix:/run/chat.sock"])?;
/// assert_eq!(pool.len(), 2);
/// # Ok::<(), wsplice::connect::InvalidAddress>(())
/// ```
#[derive(Clone, Debug)]
pub struct Pool {
    members: Arc<[Arc<Member>]>,
    balance: AnyBalance,
}

impl Pool {
    /// A pool of these addresses, picked by [`LeastTunnels`].
    ///
    /// # Errors
    ///
    /// When an address cannot be read; see [`Upstream::new`].
    pub fn new<I>(addresses: I) -> Result<Self, InvalidAddress>
    where
        I: IntoIterator,
        I::Item: AsRef<str>,
    {
        let upstreams: Result<Vec<_>, _> = addresses
            .into_iter()
            .map(|address| Upstream::new(address.as_ref()))
            .collect();
        upstreams.map(Self::of)
    }

    /// A pool of these upstreams, picked by [`LeastTunnels`].
    #[must_use]
    pub fn of(upstreams: impl IntoIterator<Item = Upstream>) -> Self {
        let members = upstreams
            .into_iter()
            .map(|upstream| Arc::new(Member::new(upstream)));
        Self {
            members: members.collect(),
            balance: AnyBalance::new(LeastTunnels::new()),
        }
    }

    /// Sets the policy that picks an upstream for each handshake; see
    /// [`balance`](crate::balance#which-policy-when).
    #[must_use]
    pub fn balance(mut self, balance: impl Balance + 'static) -> Self {
        self.balance = AnyBalance::new(balance);
        self
    }

    /// How many upstreams there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether there is no upstream at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Picks an upstream that is not among those tried, and counts the tunnel on it.
    pub(crate) fn pick(&self, head: &RequestHead<'_>, tried: &[Arc<Member>]) -> Option<Lease> {
        if tried.is_empty() {
            return self.pick_of(&self.members, head);
        }
        let is_untried =
            |member: &&Arc<Member>| !tried.iter().any(|tried| Arc::ptr_eq(tried, member));
        let untried: Vec<_> = self.members.iter().filter(is_untried).cloned().collect();
        self.pick_of(&untried, head)
    }

    /// What the policy adds to the answer of the upstream that was picked.
    pub(crate) fn response_header(
        &self,
        picked: &Lease,
        head: &RequestHead<'_>,
        scheme: ClientScheme,
    ) -> Option<(HeaderName, HeaderValue)> {
        let picked = Candidate::new(picked.member(), Instant::now());
        self.balance.response_header(&picked, head, scheme)
    }

    fn pick_of(&self, members: &[Arc<Member>], head: &RequestHead<'_>) -> Option<Lease> {
        if members.is_empty() {
            return None;
        }
        let index = self
            .balance
            .pick(&Candidates::new(members, Instant::now()), head)?;
        members
            .get(index)
            .map(|member| Lease::new(Arc::clone(member)))
    }
}

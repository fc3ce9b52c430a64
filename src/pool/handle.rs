//! The pool as its users hold it.

use std::{sync::Arc, time::Duration};

use http::{HeaderName, HeaderValue};
use tokio::time::Instant;

use crate::{
    admission::{Admission, Busy, QueueLimits},
    balance::{AnyBalance, Balance, Candidate, Candidates, LeastTunnels},
    connect::InvalidAddress,
    error::{Error, ErrorKind},
    frame::{CloseCode, CloseFrame},
    head::RequestHead,
    headers::ClientScheme,
    registry::{Command, Registry},
    report::TunnelEnd,
    upstream::{Member, Upstream},
};

use super::{lease::Lease, state::State};

/// The upstreams of a route. Cheap to clone; every clone has the same upstreams and tunnels.
///
/// Settings are of the handle that they are made on, and of its later clones.
///
/// # Examples
///
/// ```
/// use wsplice::{Pool, Upstream};
///
/// let pool = Pool::new(["ws://10.0.0.1:8080", "unix:/run/chat.sock"])?;
/// assert_eq!(pool.len(), 2);
///
/// // Upstreams come and go while it runs.
/// assert!(pool.add(Upstream::new("ws://10.0.0.2:8080")?));
/// assert!(pool.remove("10.0.0.1:8080"));
/// assert_eq!(pool.len(), 2);
/// # Ok::<(), wsplice::connect::InvalidAddress>(())
/// ```
#[derive(Clone, Debug)]
pub struct Pool {
    state: Arc<State>,
    balance: AnyBalance,
    admission: Admission,
    queue: QueueLimits,
    on_removal: RemovedTunnels,
}

/// What becomes of the open tunnels of an upstream that is removed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum RemovedTunnels {
    /// They live on.
    #[default]
    Leave,
    /// They are closed with 1012, spread evenly over this time; zero closes all at once.
    Close {
        /// From the first close to the last.
        spread: Duration,
    },
}

/// Why no upstream can be leased now.
enum Refusal {
    None,
    Busy(Busy),
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

    /// A pool of these upstreams, picked by [`LeastTunnels`]. Of several at the same address the first counts.
    #[must_use]
    pub fn of(upstreams: impl IntoIterator<Item = Upstream>) -> Self {
        let pool = Self {
            state: Arc::default(),
            balance: AnyBalance::new(LeastTunnels::new()),
            admission: Admission::new(),
            queue: QueueLimits::default(),
            on_removal: RemovedTunnels::Leave,
        };
        pool.replace(upstreams);
        pool
    }

    /// Sets the policy that picks an upstream for each handshake; see
    /// [`balance`](crate::balance#which-policy-when).
    #[must_use]
    pub fn balance(mut self, balance: impl Balance + 'static) -> Self {
        self.balance = AnyBalance::new(balance);
        self
    }

    /// Limits tunnels and handshakes over all upstreams together.
    #[must_use]
    pub fn admission(mut self, admission: Admission) -> Self {
        self.admission = admission;
        self
    }

    /// Lets this many handshakes wait, each for at most this long, when a limit on tunnels or
    /// handshakes stands against them. Without a queue, the default, they are answered 503 at once.
    #[must_use]
    pub fn queue(mut self, places: usize, wait: Duration) -> Self {
        self.queue = QueueLimits { places, wait };
        self
    }

    /// Says what becomes of the open tunnels of an upstream that is removed.
    #[must_use]
    pub fn removed_tunnels(mut self, choice: RemovedTunnels) -> Self {
        self.on_removal = choice;
        self
    }

    /// Adds an upstream, or changes the settings of the one at that address. False if that
    /// changes nothing.
    pub fn add(&self, upstream: Upstream) -> bool {
        self.edit(|mut upstreams| {
            match upstreams
                .iter_mut()
                .find(|known| known.address() == upstream.address())
            {
                Some(known) => *known = upstream,
                None => upstreams.push(upstream),
            }
            upstreams
        })
    }

    /// Removes the upstream of this name: it gets no new tunnels. False if there is none.
    ///
    /// Its figures are remembered for ten minutes, in case it is added again.
    pub fn remove(&self, name: &str) -> bool {
        self.edit(|mut upstreams| {
            upstreams.retain(|upstream| upstream.name() != name);
            upstreams
        })
    }

    /// Makes these the pool's upstreams. False if they are already, to the last setting and in
    /// this order: then nothing happens.
    pub fn replace(&self, upstreams: impl IntoIterator<Item = Upstream>) -> bool {
        self.edit(|_| upstreams.into_iter().collect())
    }

    /// How many upstreams there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.state.roster().members().len()
    }

    /// Whether there is no upstream at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Lists the pool's tunnels in this registry, so that the pool can close them.
    pub(crate) fn attach(&self, registry: &Registry) {
        self.state.attach(registry.clone());
    }

    /// Leases an upstream that is not among those tried, waiting for a turn if need be.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NoUpstream`], or the limit that stands against it.
    pub(crate) async fn lease(
        &self,
        head: &RequestHead<'_>,
        tried: &[Arc<Member>],
    ) -> Result<Lease, Error> {
        let now = Instant::now();
        let mut busy = match self.try_lease(head, tried, now) {
            Ok(lease) => return Ok(lease),
            Err(Refusal::None) => return Err(Error::new(ErrorKind::NoUpstream)),
            Err(Refusal::Busy(busy)) => busy,
        };
        let Some(place) = self.state.queue(self.queue.places) else {
            return Err(Error::new(busy.kind));
        };
        let deadline = now + self.queue.wait;
        loop {
            place
                .wait(busy.retry_at.unwrap_or(deadline).min(deadline))
                .await;
            let now = Instant::now();
            busy = match self.try_lease(head, tried, now) {
                Ok(lease) => return Ok(lease),
                Err(Refusal::None) => return Err(Error::new(ErrorKind::NoUpstream)),
                Err(Refusal::Busy(busy)) if now >= deadline => return Err(Error::new(busy.kind)),
                Err(Refusal::Busy(busy)) => busy,
            };
        }
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

    fn try_lease(
        &self,
        head: &RequestHead<'_>,
        tried: &[Arc<Member>],
        now: Instant,
    ) -> Result<Lease, Refusal> {
        self.state
            .gate()
            .enter(&self.admission, now)
            .map_err(Refusal::Busy)?;
        self.pick(head, tried, now).inspect_err(|_| {
            self.state.gate().leave_handshake();
            self.state.gate().leave_tunnel();
        })
    }

    /// Asks the policy, and again without those that are full.
    fn pick(
        &self,
        head: &RequestHead<'_>,
        tried: &[Arc<Member>],
        now: Instant,
    ) -> Result<Lease, Refusal> {
        let roster = self.state.roster();
        let mut refusal = Refusal::None;
        let mut candidates = Vec::new();
        if !tried.is_empty() {
            let is_untried =
                |member: &&Arc<Member>| !tried.iter().any(|tried| Arc::ptr_eq(tried, member));
            candidates = roster
                .members()
                .iter()
                .filter(is_untried)
                .cloned()
                .collect();
        }
        loop {
            let copied = !tried.is_empty() || matches!(refusal, Refusal::Busy(_));
            let members = if copied {
                &candidates[..]
            } else {
                roster.members()
            };
            let Some(member) = self.choose(members, head, now) else {
                return Err(refusal);
            };
            match member.gate().enter(member.admission(), now) {
                Ok(()) => return Ok(Lease::new(member, Arc::clone(&self.state))),
                Err(busy) => {
                    candidates = members
                        .iter()
                        .filter(|other| !Arc::ptr_eq(other, &member))
                        .cloned()
                        .collect();
                    refusal = Refusal::Busy(busy);
                }
            }
        }
    }

    fn choose(
        &self,
        members: &[Arc<Member>],
        head: &RequestHead<'_>,
        now: Instant,
    ) -> Option<Arc<Member>> {
        if members.is_empty() {
            return None;
        }
        let index = self.balance.pick(&Candidates::new(members, now), head)?;
        members.get(index).cloned()
    }

    fn edit(&self, change: impl FnOnce(Vec<Upstream>) -> Vec<Upstream>) -> bool {
        let Some(removed) = self.state.edit(change) else {
            return false;
        };
        if let RemovedTunnels::Close { spread } = self.on_removal {
            for member in removed {
                self.close_tunnels(&member, spread);
            }
        }
        true
    }

    /// Closes the tunnels of an upstream, spread over a while.
    fn close_tunnels(&self, member: &Member, spread: Duration) {
        let now = Instant::now();
        for registry in self.state.registries() {
            for entry in registry.entries() {
                if *entry.info().upstream == *member.upstream().name() {
                    entry.tell(Command::Close {
                        frame: CloseFrame::new(CloseCode::SERVICE_RESTART, "upstream removed"),
                        end: TunnelEnd::Drained,
                        at: Some(now + spread.mul_f64(fastrand::f64())),
                    });
                }
            }
        }
    }
}

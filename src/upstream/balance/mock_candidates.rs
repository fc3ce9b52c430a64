//! Mock candidates for tests of policies.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use crate::upstream::{
    admission::{Admission, AdmissionKind},
    member::Member,
    upstream::Upstream,
};

use super::{candidate_list::CandidateList, candidates::Candidates};

/// Mock candidates: upstreams outside any pool, for tests of a policy.
///
/// Indices out of range have no effect.
///
/// # Examples
///
/// ```
/// use wsplice::{
///     Upstream,
///     balance::{Balance, LeastTunnels},
///     head::RequestHead,
///     testing::MockCandidates,
/// };
///
/// let mut mock = MockCandidates::from_upstreams([Upstream::new("ws://10.0.0.1")?, Upstream::new("ws://10.0.0.2")?]);
/// mock.open(0);
///
/// let request = http::Request::new(());
/// let picked = LeastTunnels::new().pick(&mock.candidates(), &RequestHead::from(&request));
/// assert_eq!(picked, Some(1));
/// # Ok::<(), wsplice::connect::InvalidAddress>(())
/// ```
#[derive(Debug)]
pub struct MockCandidates {
    list: CandidateList,
    opened: Vec<Vec<Opened>>,
}

/// Handshake or tunnel that was opened on an upstream, and not closed.
#[derive(Clone, Copy, Debug)]
enum Opened {
    Handshake,
    Tunnel,
}

impl MockCandidates {
    /// Creates candidates from these upstreams, without tunnels.
    #[must_use]
    pub fn from_upstreams(upstreams: impl IntoIterator<Item = Upstream>) -> Self {
        let members: Vec<_> = upstreams
            .into_iter()
            .map(|upstream| Arc::new(Member::new(upstream)))
            .collect();
        for member in &members {
            member.set_used(true);
        }
        Self {
            opened: members.iter().map(|_| Vec::new()).collect(),
            list: CandidateList::new(members),
        }
    }

    /// Returns all candidates, at the current time.
    #[must_use]
    pub fn candidates(&self) -> Candidates<'_> {
        self.candidates_at(Instant::now())
    }

    /// Begins a handshake, which also counts as a tunnel, without completing it.
    pub fn begin_handshake(&mut self, index: usize) {
        let (Some(member), Some(opened)) =
            (self.list.members().get(index), self.opened.get_mut(index))
        else {
            return;
        };
        if member
            .counters()
            .admit(AdmissionKind::Tunnel, &Admission::new(), Instant::now())
            .is_ok()
        {
            opened.push(Opened::Handshake);
        }
    }

    /// Opens a tunnel.
    pub fn open(&mut self, index: usize) {
        self.begin_handshake(index);
        let (Some(member), Some(opened)) =
            (self.list.members().get(index), self.opened.get_mut(index))
        else {
            return;
        };
        if let Some(newest) = opened.last_mut() {
            member.counters().end_handshake();
            *newest = Opened::Tunnel;
        }
    }

    /// Closes the newest tunnel or handshake, if any.
    pub fn close(&mut self, index: usize) {
        let (Some(member), Some(opened)) =
            (self.list.members().get(index), self.opened.get_mut(index))
        else {
            return;
        };
        match opened.pop() {
            Some(Opened::Handshake) => {
                member.counters().end_handshake();
                member.counters().end_tunnel();
            }
            Some(Opened::Tunnel) => member.counters().end_tunnel(),
            None => {}
        }
    }

    /// Adds a sample to the moving average of the latency.
    pub fn sample_latency(&mut self, index: usize, sample: Duration) {
        self.sample_latency_at(index, sample, Instant::now());
    }

    /// Begins a slow start now.
    pub fn slow_start(&mut self, index: usize, takes: Duration) {
        if let Some(member) = self.list.members().get(index) {
            member.begin_slow_start(Instant::now(), takes);
        }
    }

    pub(super) fn sample_latency_at(&mut self, index: usize, sample: Duration, now: Instant) {
        if let Some(member) = self.list.members().get(index) {
            member.sample_latency(sample, now);
        }
    }

    pub(super) fn candidates_at(&self, now: Instant) -> Candidates<'_> {
        Candidates::new(&self.list, &[], AdmissionKind::Tunnel, now)
    }
}

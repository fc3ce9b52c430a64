//! The invariants: those of every moment, and those of a tunnel that is over.

mod pings;

use tokio::time::Instant;
use wsplice::{
    TunnelReport,
    frame::CloseCode,
    tunnel::{
        Side,
        reattach::{Loss, UpstreamChange},
    },
};

use crate::support::clock::ms;

use super::{
    network::UPSTREAMS,
    party::Party,
    plan::{Host, NOTICE, RESTORE, Settings},
    reader::{Cut, Received},
    world::{Client, World},
};

/// A client's tunnel from the outside, at one moment.
struct View<'a> {
    settings: &'a Settings,
    client: &'a Client,
    received: Received,
    /// The upstreams that the tunnel has had, the first one too.
    attached: Vec<Attached>,
    changes: Vec<UpstreamChange>,
    /// The connections on which the handshake was accepted, and which the tunnel did not get.
    given_up: Vec<Attached>,
    report: Option<TunnelReport>,
}

/// A connection to an upstream, and the bytes that it received.
struct Attached {
    number: usize,
    upstream: usize,
    party: Party,
    received: Received,
}

impl World {
    /// The invariants of every moment.
    pub(super) async fn check(&mut self) {
        self.check_drains().await;
        let reports = self.record.reports();
        for (number, client) in self.clients.iter().enumerate() {
            let own = reports.iter().filter(|(of, _)| *of == number);
            let own: Vec<_> = own.map(|(_, report)| report.clone()).collect();
            assert!(own.len() <= usize::from(client.is_open), "{own:?}");
            if client.is_open {
                self.view(number, client, own.into_iter().next()).check();
            }
        }
        let open = self.clients.iter().filter(|client| client.is_open).count() - reports.len();
        assert_eq!(self.registry.count(), open, "the registry's count");
        assert_eq!(self.registry.list().len(), open, "the registry's list");
        self.check_leases();
    }

    /// The pings of endpoints that answer those of the other one have their pongs.
    pub(super) fn check_answers(&self) {
        let reports = self.record.reports();
        for (number, client) in self.clients.iter().enumerate() {
            let is_running = client.is_open && !reports.iter().any(|(of, _)| *of == number);
            // A client waits while the host decides about a move.
            let may_be_paused = client.orders > 0 && self.settings.host != Host::None;
            if is_running && !may_be_paused && !self.record.is_new_at_its_upstream(number) {
                self.view(number, client, None).check_answers();
            }
        }
    }

    fn view<'a>(
        &'a self,
        number: usize,
        client: &'a Client,
        report: Option<TunnelReport>,
    ) -> View<'a> {
        let (legs, changes): (Vec<_>, Vec<_>) = self.record.reattached(number).into_iter().unzip();
        let connections = self.network.lock();
        let accepted = connections.accepted(number).into_iter();
        let all = accepted.map(|number| {
            let leg = &connections.legs[number];
            Attached {
                number,
                upstream: leg.upstream,
                party: leg.party.clone(),
                received: leg.party.received(),
            }
        });
        let (mut attached, mut given_up) = (Vec::new(), Vec::new());
        for (place, leg) in all.enumerate() {
            match place == 0 || legs.contains(&leg.number) {
                true => attached.push(leg),
                false => given_up.push(leg),
            }
        }
        View {
            settings: &self.settings,
            client,
            received: client.party.received(),
            attached,
            changes,
            given_up,
            report,
        }
    }

    /// Each tunnel holds a lease of the upstream that it has, and of the one that it is to get.
    fn check_leases(&self) {
        let reports = self.record.reports();
        let is_open = |client: usize| {
            self.clients
                .get(client)
                .is_some_and(|client| client.is_open)
                && !reports.iter().any(|(of, _)| *of == client)
        };
        let snapshot = self.pool.snapshot();
        for (upstream, status) in snapshot.iter().enumerate() {
            let connections = self.network.lock();
            let (mut least, mut most) = (0, 0);
            for (number, leg) in connections.legs.iter().enumerate() {
                let Some(client) = leg.client().filter(|_| leg.upstream == upstream) else {
                    continue;
                };
                let is_held = leg.party.far.state().dropped_at.is_none();
                let attached = self.record.reattached(client);
                let latest = match attached.last() {
                    Some((latest, _)) => Some(*latest),
                    None => connections.accepted(client).first().copied(),
                };
                let is_latest = latest == Some(number) && is_open(client);
                least += usize::from(is_latest && is_held);
                most += usize::from(is_latest || is_held);
            }
            let leases = status.tunnels;
            assert!(
                (least..=most).contains(&leases),
                "{leases} leases of {} instead of {least} to {most}",
                UPSTREAMS[upstream]
            );
        }
    }

    /// A drain that is over has counted the tunnels that ended meanwhile.
    async fn check_drains(&mut self) {
        let mut running = Vec::new();
        for drain in std::mem::take(&mut self.drains) {
            if drain.task.is_finished() {
                let (drained, ended) = drain.task.await.expect("a drain panicked");
                assert_eq!(drained.closed + drained.aborted, ended, "{drained:?}");
                continue;
            }
            // Those that are cut off have a second for their reports.
            let latest = drain.deadline + ms(1100);
            assert!(drain.began.elapsed() <= latest, "a drain");
            running.push(drain);
        }
        self.drains = running;
    }

    /// No tunnel, connection or lease is left when all tunnels are over.
    pub(super) fn check_nothing_is_left(&self) {
        assert_eq!(self.registry.count(), 0, "tunnels that never end");
        for leg in &self.network.lock().legs {
            let is_dropped = leg.party.far.state().dropped_at.is_some();
            assert!(is_dropped, "a connection to an upstream is held");
        }
        for status in self.pool.snapshot() {
            assert_eq!((status.tunnels, status.handshakes), (0, 0), "leases");
        }
    }
}

impl View<'_> {
    fn check(&self) {
        self.check_connections();
        self.check_texts_to_client();
        self.check_texts_to_upstreams();
        self.check_pings();
        self.check_changes();
        match &self.report {
            Some(report) => self.check_report(report),
            None => self.check_bound(),
        }
    }

    /// An upstream that was left or given up is dropped, and stands between two messages, unless it was lost
    /// within those that the proxy repeats to the next one.
    fn check_connections(&self) {
        let is_over = self.report.is_some();
        let is_dropped = |party: &Party| party.far.state().dropped_at.is_some();
        assert!(
            !is_over || is_dropped(&self.client.party),
            "a client is held"
        );
        let latest = self.attached.last().map(|leg| leg.number);
        for (place, leg) in self.attached.iter().enumerate() {
            if is_over || Some(leg.number) != latest {
                assert!(is_dropped(&leg.party), "an upstream is held");
            }
            let is_in_opening = place > 0 && leg.received.texts.len() < self.settings.opening();
            let is_moved = matches!(self.changes.get(place), Some(it) if it.loss == Loss::Moved);
            if Some(leg.number) != latest && (is_moved || !is_in_opening) {
                let cut = leg.received.cut;
                // The last one is the proxy's, and may not fit.
                let is_whole = matches!(cut, Cut::BetweenMessages | Cut::InCloseFrame);
                assert!(is_whole, "{cut:?} at an upstream that was left");
            }
        }
        let newest = self.given_up.last().map(|leg| leg.number);
        for leg in &self.given_up {
            let Received {
                texts,
                pings,
                pongs,
                ..
            } = &leg.received;
            let is_unused = texts.is_empty() && pings.is_empty() && pongs.is_empty();
            assert!(is_unused, "an upstream that was given up was used");
            let may_be_found = !is_over && newest == Some(leg.number) && newest > latest;
            assert!(
                may_be_found || is_dropped(&leg.party),
                "a given up upstream is held"
            );
        }
        assert!(
            is_over || self.received.cut != Cut::InCloseFrame || !self.client.party.took_all,
            "a close frame is cut"
        );
    }

    /// The client gets the messages of each upstream in order, none twice, and all of one that ended in
    /// order, but those that were to be swallowed; and the host's message before them.
    fn check_texts_to_client(&self) {
        let mut texts = self.received.texts.iter().peekable();
        let mut received = 0;
        for (place, leg) in self.attached.iter().enumerate() {
            if place > 0 && self.settings.host == Host::Restores {
                let Some(text) = texts.next() else { return };
                assert_eq!(text, NOTICE, "of upstream {}", leg.number);
            }
            let swallowed = match place {
                0 => 0,
                _ => self.settings.swallow.min(received),
            };
            let sent = leg.party.sent();
            let mut expected = sent.iter().skip(swallowed);
            let beginning = format!("u{} ", leg.number);
            while let Some(text) = texts.next_if(|text| text.starts_with(&beginning)) {
                assert_eq!(
                    Some(&&**text),
                    expected.next(),
                    "of upstream {}",
                    leg.number
                );
                received += 1;
            }
            let loss = self.changes.get(place).map(|change| change.loss);
            let is_orderly = matches!(loss, Some(Loss::ClosedWithoutFrame | Loss::Closed(_)));
            if is_orderly && texts.peek().is_some() {
                assert_eq!(expected.next(), None, "upstream {} ended", leg.number);
            }
        }
        assert_eq!(texts.next(), None, "more than was sent");
    }

    /// Each upstream gets the replayed messages, the host's, then those of the client from the first one
    /// on that no other upstream got.
    fn check_texts_to_upstreams(&self) {
        let sent = self.client.party.sent();
        let mut delivered = 0;
        for (place, leg) in self.attached.iter().enumerate() {
            let mut opening = Vec::new();
            if place > 0 {
                opening.extend(&sent[..self.settings.replay.min(delivered)]);
                if self.settings.host == Host::Restores {
                    opening.push(RESTORE);
                }
            }
            for (at, text) in leg.received.texts.iter().enumerate() {
                let expected = match opening.get(at) {
                    Some(text) => *text,
                    None => {
                        delivered += 1;
                        sent.get(delivered - 1).copied().unwrap_or("no more")
                    }
                };
                assert_eq!(text, expected, "at upstream {}", leg.number);
            }
        }
        let Some(report) = &self.report else { return };
        // Moves close with 1001.
        let close = self.client.party.close.filter(|code| *code != 1001);
        let relayed = self.attached.last().and_then(|leg| leg.received.close);
        if report.proxy_close.is_none() && close.is_some() && relayed == Some(close) {
            assert_eq!(delivered, sent.len(), "before the client's close");
        }
    }

    /// The changes agree with the connections, and no tunnel moves without an order.
    fn check_changes(&self) {
        assert_eq!(self.attached.len(), self.changes.len() + 1, "upstreams");
        let upstream = |leg: &Attached| UPSTREAMS[leg.upstream];
        for (pair, change) in self.attached.windows(2).zip(&self.changes) {
            assert!(change.from.contains(upstream(&pair[0])), "{change:?}");
            assert!(change.to.contains(upstream(&pair[1])), "{change:?}");
        }
        let moves = self
            .changes
            .iter()
            .filter(|change| change.loss == Loss::Moved);
        assert!(
            moves.count() <= self.client.orders,
            "moved without an order"
        );
    }

    /// The report agrees with the wire.
    fn check_report(&self, report: &TunnelReport) {
        let changes = |changes: &[UpstreamChange]| -> Vec<_> {
            let changes = changes.iter();
            changes
                .map(|change| (change.from.clone(), change.to.clone(), change.loss))
                .collect()
        };
        assert_eq!(
            changes(&report.upstream_changes),
            changes(&self.changes),
            "{report:?}"
        );
        let sent = self.client.party.sent_len() as u64;
        assert!(report.client_to_upstream.bytes <= sent, "{report:?}");
        let sent = self.attached.iter().map(|leg| leg.party.sent_len() as u64);
        assert!(report.upstream_to_client.bytes <= sent.sum(), "{report:?}");
        if let Some(code) = self.received.close {
            let own = report.proxy_close.map(CloseCode::as_u16);
            let relayed = self.attached.iter().map(|leg| leg.party.close);
            let is_explained = own == code || relayed.into_iter().any(|close| close == code);
            assert!(is_explained, "the client got {code:?}: {report:?}");
        }
        self.check_close_of_loss(report);
    }

    /// A client whose upstream is lost for good gets a close frame.
    fn check_close_of_loss(&self, report: &TunnelReport) {
        let client = &self.client.party;
        let has_own_end = client.has_ended() || self.client.commanded.is_some();
        let is_reachable = client.took_all && self.received.cut == Cut::BetweenMessages;
        let is_lost = report.end.failed_side() == Some(Side::Upstream);
        if is_lost && is_reachable && !has_own_end {
            assert!(self.received.close.is_some(), "no close frame: {report:?}");
        }
    }

    /// A tunnel that has a sign of its end, or none but lost upstreams, must be over within its bounds.
    fn check_bound(&self) {
        let upstream = self.attached.last().map(|leg| &leg.party);
        let lost = upstream.and_then(|party| {
            let state = party.far.state();
            state.dropped_at.or(state.end_seen)
        });
        let has_closed = upstream.is_some_and(Party::has_ended);
        let has_sign = self.client.party.has_ended() || has_closed;
        let signs = [
            has_sign.then_some(self.client.touched),
            self.client.commanded,
            lost,
        ];
        let Some(sign) = signs.into_iter().flatten().max() else {
            return;
        };
        let since = sign.max(self.client.touched);
        let late = Instant::now().saturating_duration_since(since);
        assert!(late <= self.settings.bound(), "not over after {late:?}");
    }
}

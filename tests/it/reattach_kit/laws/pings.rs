//! The invariants of pings and pongs.

use std::collections::BTreeSet;

use super::{super::reader::Received, View};

impl View<'_> {
    /// Each ping is answered once at most, and by a pong of its own; the proxy's are seen by one side.
    pub(super) fn check_pings(&self) {
        let upstreams = || self.attached.iter().map(|leg| &leg.party);
        let client = &self.client.party;
        let pings = upstreams().flat_map(|party| &party.pings).collect();
        let strays = upstreams().flat_map(|party| &party.stray_pongs);
        let pongs = client.pings.iter().chain(strays).collect();
        let foreign = self.check_pings_to(&self.received, &pings, &pongs);
        assert_eq!(foreign, 0, "a pong without a ping of the client");
        let mut all_foreign = 0;
        for leg in &self.attached {
            let pings = client.pings.iter().collect();
            let pongs = leg.party.pings.iter().chain(&client.stray_pongs).collect();
            all_foreign += self.check_pings_to(&leg.received, &pings, &pongs);
        }
        // A pong that no ping has asked for may be swallowed in place of one that is due to a lost
        // upstream.
        let strays = client.stray_pongs.len();
        assert!(
            all_foreign <= strays,
            "a pong without a ping of the upstream"
        );
    }

    /// Checks the pings and pongs to a side, for which there are these; returns the number of pongs that
    /// are none of these.
    fn check_pings_to(
        &self,
        received: &Received,
        pings: &BTreeSet<&Vec<u8>>,
        pongs: &BTreeSet<&Vec<u8>>,
    ) -> usize {
        let answers: BTreeSet<_> = received.pongs.iter().collect();
        assert_eq!(
            answers.len(),
            received.pongs.len(),
            "a ping was answered twice"
        );
        let unique: BTreeSet<_> = received.pings.iter().collect();
        assert_eq!(unique.len(), received.pings.len(), "a ping came twice");
        let is_own = |ping: &Vec<u8>| self.settings.keep_alive.is_some() && ping.len() == 8;
        let mut others = unique.into_iter().filter(|ping| !pings.contains(ping));
        assert!(others.all(is_own), "a ping that was not sent");
        answers.difference(pongs).count()
    }

    /// The newest ping of each side has its pong, and the upstream has all pongs that the client sent it.
    pub(super) fn check_answers(&self) {
        let Some(leg) = self.attached.last() else {
            return;
        };
        let (client, upstream) = (&self.client.party, &leg.party);
        let are_closing = self.received.close.is_some() || leg.received.close.is_some();
        if are_closing || !client.answers() || !upstream.answers() {
            return;
        }
        let (from_client, from_upstream) = (client.sent_frames(), upstream.sent_frames());
        for (from, into) in [
            (&from_client, &self.received),
            (&from_upstream, &leg.received),
        ] {
            if let Some(ping) = from.pings.last() {
                assert!(into.pongs.contains(ping), "{ping:?} was not answered");
            }
        }
        let pongs = from_client.pongs.iter();
        for pong in pongs.filter(|pong| from_upstream.pings.contains(pong)) {
            assert!(leg.received.pongs.contains(pong), "{pong:?} is missed");
        }
    }
}

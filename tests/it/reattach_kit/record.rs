//! The record of the proxy's events.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;
use wsplice::{
    Observer, TunnelInfo, TunnelReport,
    tunnel::reattach::{Loss, ReattachRefusal, UpstreamChange},
};

use crate::support::clock::ms;

use super::network::Network;

/// An event of a client's tunnel.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    /// The tunnel got this connection to an upstream.
    Reattached {
        client: usize,
        leg: usize,
        change: UpstreamChange,
        at: Instant,
    },
    Refused {
        refusal: ReattachRefusal,
    },
    Ended {
        client: usize,
        report: Box<TunnelReport>,
    },
}

/// The events so far.
#[derive(Clone, Debug)]
pub(super) struct Record {
    network: Network,
    events: Arc<Mutex<Vec<Event>>>,
}

impl Record {
    pub(super) fn new(network: &Network) -> Self {
        Self {
            network: network.clone(),
            events: Arc::default(),
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Vec<Event>> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The connections that this client's tunnel got after its first one.
    pub(super) fn reattached(&self, of: usize) -> Vec<(usize, UpstreamChange)> {
        let events = self.lock();
        let reattached = events.iter().filter_map(|event| match event {
            Event::Reattached {
                client,
                leg,
                change,
                ..
            } if *client == of => Some((*leg, change.clone())),
            _ => None,
        });
        reattached.collect()
    }

    /// Whether this client's tunnel got its upstream a moment ago.
    pub(super) fn is_new_at_its_upstream(&self, of: usize) -> bool {
        let events = self.lock();
        let newest = events.iter().rev().find_map(|event| match event {
            Event::Reattached { client, at, .. } if *client == of => Some(*at),
            _ => None,
        });
        newest.is_some_and(|at| at.elapsed() < ms(2000))
    }

    pub(super) fn reports(&self) -> Vec<(usize, TunnelReport)> {
        let events = self.lock();
        let reports = events.iter().filter_map(|event| match event {
            Event::Ended { client, report } => Some((*client, (**report).clone())),
            _ => None,
        });
        reports.collect()
    }
}

/// The number of a client, which its path is.
fn client(tunnel: &TunnelInfo) -> usize {
    let number = tunnel.path.trim_start_matches('/');
    number.parse().expect("the number of a client")
}

impl Observer for Record {
    fn tunnel_reattached(&self, tunnel: &TunnelInfo, change: &UpstreamChange) {
        let client = client(tunnel);
        // A tunnel seeks one upstream at a time, so its latest connection is the one.
        let leg = self.network.lock().accepted(client).pop();
        self.lock().push(Event::Reattached {
            client,
            leg: leg.expect("a connection that was accepted"),
            change: change.clone(),
            at: Instant::now(),
        });
    }

    fn reattachment_failed(&self, _: &TunnelInfo, _: Loss, refusal: ReattachRefusal) {
        self.lock().push(Event::Refused { refusal });
    }

    fn tunnel_closed(&self, tunnel: &TunnelInfo, report: &TunnelReport) {
        self.lock().push(Event::Ended {
            client: client(tunnel),
            report: Box::new(report.clone()),
        });
    }
}

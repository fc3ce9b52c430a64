//! The shared connections of a layer.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use tokio::time::Instant;

use crate::{lock::lock, net::connect::address::Address};

use super::{peer::Peer, settings::Http2Connections};

/// Connections that the dialers with the same settings share. Clones share them too.
#[derive(Clone, Debug, Default)]
pub(crate) struct Http2Pool {
    pub(super) settings: Http2Connections,
    peers: Arc<Mutex<HashMap<Address, Arc<Peer>>>>,
}

impl Http2Pool {
    /// Creates a pool without connections.
    pub(crate) fn new(settings: Http2Connections) -> Self {
        Self {
            settings,
            peers: Arc::default(),
        }
    }

    /// Returns a pool with the same settings and without connections.
    pub(crate) fn with_no_connections(&self) -> Self {
        Self::new(self.settings.clone())
    }

    pub(super) fn peer(&self, address: &Address) -> Arc<Peer> {
        let mut peers = lock(&self.peers);
        if let Some(peer) = peers.get(address) {
            return Arc::clone(peer);
        }
        let now = Instant::now();
        peers.retain(|_, peer| Arc::strong_count(peer) > 1 || !peer.is_blank(now));
        let peer = Arc::new(Peer::new(address.clone()));
        peers.insert(address.clone(), Arc::clone(&peer));
        peer
    }
}

//! From an address to a stream of a shared connection.

use std::sync::Arc;

use tokio::{
    sync::watch,
    time::{Instant, timeout},
};

use crate::{
    error::{Error, ErrorKind},
    net::connect::{
        address::Address, alpn::Alpn, dialer::Dialer, upstream_connection::UpstreamConnection,
    },
};

use super::{
    checkout::{Checkout, PendingConnection},
    connection::Connection,
    open::{Found, open, unsupported},
    peer::Peer,
    pool::Http2Pool,
    settings::Http2Connections,
    stream_slot::{StreamSlot, Tried},
};

impl Dialer {
    /// Shares connections in this way. None that were opened before are used from here on.
    pub(crate) fn share_by(&mut self, settings: Http2Connections) {
        self.shared = Http2Pool::new(settings);
    }

    /// A place on a connection over HTTP/2.
    pub(crate) async fn reach_http2(&self, address: &Address) -> Result<UpstreamConnection, Error> {
        let peer = self.shared.peer(address);
        self.find(&peer, Alpn::Http2, &[]).await
    }

    /// A place on a connection over HTTP/2, if that is what the upstream wants, else a connection
    /// for HTTP/1.1.
    pub(crate) async fn reach_either(
        &self,
        address: &Address,
    ) -> Result<UpstreamConnection, Error> {
        let peer = self.shared.peer(address);
        self.find(&peer, Alpn::Either, &[]).await
    }

    /// A place at the same upstream, on a connection that was not tried.
    ///
    /// # Errors
    ///
    /// As [`reach`](Dialer::reach).
    pub(crate) async fn reach_elsewhere(&self, tried: &Tried) -> Result<StreamSlot, Error> {
        match self
            .find(&tried.peer, Alpn::Http2, &tried.connections)
            .await?
        {
            UpstreamConnection::Shared(place) => Ok(place),
            UpstreamConnection::Own(_) => Err(unsupported("it has changed its mind")),
        }
    }

    async fn find(
        &self,
        peer: &Arc<Peer>,
        alpn: Alpn,
        tried: &[Arc<Connection>],
    ) -> Result<UpstreamConnection, Error> {
        loop {
            if alpn == Alpn::Either && peer.wants_http1(Instant::now()) {
                return self
                    .dial(peer.address(), None)
                    .await
                    .map(UpstreamConnection::Own);
            }
            match peer.turn(tried) {
                Checkout::Take(place) => return Ok(UpstreamConnection::Shared(place)),
                Checkout::Wait(opening) => self.await_other(opening).await?,
                Checkout::Open(opening) => return self.open(opening, alpn).await,
            }
        }
    }

    async fn open(
        &self,
        opening: PendingConnection,
        alpn: Alpn,
    ) -> Result<UpstreamConnection, Error> {
        let address = opening.peer().address();
        match open(self, address, alpn, &self.shared.settings).await {
            Ok(Found::Http2(connection)) => opening
                .share(connection)
                .map(UpstreamConnection::Shared)
                .ok_or_else(|| unsupported("it allows no streams")),
            Ok(Found::Http1(transport)) => {
                let peer = Arc::clone(opening.peer());
                peer.remember_http1(Instant::now());
                drop(opening);
                match transport {
                    Some(transport) => Ok(UpstreamConnection::Own(transport)),
                    None => self
                        .dial(peer.address(), None)
                        .await
                        .map(UpstreamConnection::Own),
                }
            }
            Err(error) => {
                opening.fail(&error);
                Err(error)
            }
        }
    }

    /// Waits for the connection that somebody else opens, for as long as that may take.
    async fn await_other(&self, mut opening: watch::Receiver<Option<Error>>) -> Result<(), Error> {
        let budget = self
            .connect_timeout
            .saturating_add(self.tls_timeout)
            .saturating_add(self.connect_timeout);
        match timeout(budget, opening.changed()).await {
            Ok(Ok(())) => opening.borrow().clone().map_or(Ok(()), Err),
            // It is there, or was given up.
            Ok(Err(_)) => Ok(()),
            Err(_) => Err(Error::with_source(
                ErrorKind::ConnectTimeout,
                format!("after {budget:?}, waiting for a shared connection"),
            )),
        }
    }
}

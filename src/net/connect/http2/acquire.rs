//! Acquisition of a stream slot by address.

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
    open::{Negotiated, open, unsupported},
    peer::Peer,
    pool::Http2Pool,
    settings::Http2Connections,
    stream_slot::{StreamSlot, Tried},
};

impl Dialer {
    /// Changes the settings. Connections that were opened before are not used any more.
    pub(crate) fn set_http2(&mut self, settings: Http2Connections) {
        self.shared = Http2Pool::new(settings);
    }

    /// Acquires a slot on a connection over HTTP/2.
    pub(crate) async fn acquire_http2(
        &self,
        address: &Address,
    ) -> Result<UpstreamConnection, Error> {
        let peer = self.shared.peer(address);
        self.find(&peer, Alpn::Http2, &[]).await
    }

    /// Acquires a slot on a connection over HTTP/2 if the upstream supports that, else a connection
    /// for HTTP/1.1.
    pub(crate) async fn acquire_either(
        &self,
        address: &Address,
    ) -> Result<UpstreamConnection, Error> {
        let peer = self.shared.peer(address);
        self.find(&peer, Alpn::Either, &[]).await
    }

    /// Acquires a slot at the same upstream, on a connection that was not tried.
    ///
    /// # Errors
    ///
    /// As [`acquire`](UpstreamConnection::acquire).
    pub(crate) async fn acquire_elsewhere(&self, tried: &Tried) -> Result<StreamSlot, Error> {
        match self
            .find(&tried.peer, Alpn::Http2, &tried.connections)
            .await?
        {
            UpstreamConnection::Shared(slot) => Ok(slot),
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
            match peer.checkout(tried) {
                Checkout::Take(slot) => return Ok(UpstreamConnection::Shared(slot)),
                Checkout::Wait(opening) => self.wait_for_other(opening).await?,
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
            Ok(Negotiated::Http2(connection)) => opening
                .share(connection)
                .map(UpstreamConnection::Shared)
                .ok_or_else(|| unsupported("it allows no streams")),
            Ok(Negotiated::Http1(transport)) => {
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

    /// Waits for the connection that another task opens, for as long as that may take.
    async fn wait_for_other(
        &self,
        mut opening: watch::Receiver<Option<Error>>,
    ) -> Result<(), Error> {
        let budget = self
            .connect_timeout
            .saturating_add(self.tls_timeout)
            .saturating_add(self.connect_timeout);
        match timeout(budget, opening.changed()).await {
            Ok(Ok(())) => opening.borrow().clone().map_or(Ok(()), Err),
            // The connection is there, or the attempt was given up.
            Ok(Err(_)) => Ok(()),
            Err(_) => Err(Error::with_source(
                ErrorKind::ConnectTimeout,
                format!("after {budget:?}, waiting for a shared connection"),
            )),
        }
    }
}

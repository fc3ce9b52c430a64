//! A listener, and what is spoken behind it.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use wsplice::headers::{ClientInfo, ClientScheme};

use crate::client_tls::Edge;
use crate::connection;
use crate::shutdown::Phases;

/// Time for a client to finish its TLS handshake.
const TLS_TIMEOUT: Duration = Duration::from_secs(10);

/// What is waited after an accept that failed for want of descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(500);

/// A listener whose clients speak HTTP, bare or inside TLS.
#[derive(Debug)]
pub(crate) struct Door {
    listener: std::net::TcpListener,
    edge: Option<Arc<Edge>>,
}

/// Who has come, and the leave to shake hands where there is TLS.
struct Arrival {
    tcp: TcpStream,
    peer: SocketAddr,
    slot: Option<OwnedSemaphorePermit>,
}

impl Door {
    /// For HTTP as it is.
    pub(crate) const fn plain(listener: std::net::TcpListener) -> Self {
        Self {
            listener,
            edge: None,
        }
    }

    /// For HTTP inside TLS.
    pub(crate) const fn secured(listener: std::net::TcpListener, edge: Arc<Edge>) -> Self {
        Self {
            listener,
            edge: Some(edge),
        }
    }

    /// Serves all who come until the gateway stops, and then those who are there to their end.
    ///
    /// # Errors
    ///
    /// When the runtime cannot watch the listener.
    ///
    /// # Cancellation
    ///
    /// Ends all connections but the WebSockets.
    pub(crate) async fn serve(self, app: Router, mut phases: Phases) -> io::Result<()> {
        let Self { listener, edge } = self;
        let listener = TcpListener::from_std(listener)?;
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                () = phases.stopping() => break,
                Some(_) = connections.join_next() => {}
                arrival = next(&listener, edge.as_deref()) => {
                    connections.spawn(meet(arrival, edge.clone(), app.clone(), phases.clone()));
                }
            }
        }
        drop(listener);
        while connections.join_next().await.is_some() {}
        Ok(())
    }
}

async fn next(listener: &TcpListener, edge: Option<&Edge>) -> Arrival {
    let slot = match edge {
        Some(edge) => edge.slot().await,
        None => None,
    };
    let (tcp, peer) = accept(listener).await;
    Arrival { tcp, peer, slot }
}

/// The next client. What fails with one client, or for want of resources, is no reason to end.
async fn accept(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok((tcp, peer)) => {
                tune(&tcp);
                return (tcp, peer);
            }
            Err(error) if is_of_one_client(&error) => {}
            Err(error) => {
                tracing::error!(%error, "cannot accept connections");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn is_of_one_client(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
    )
}

/// The proxy sees to plain sockets by itself, but cannot reach below TLS or HTTP/2.
fn tune(tcp: &TcpStream) {
    let keep_alive = TcpKeepalive::new().with_time(Duration::from_secs(60));
    // Both only improve behaviour; a socket that refuses them still works.
    let _ = tcp.set_nodelay(true);
    let _ = SockRef::from(tcp).set_tcp_keepalive(&keep_alive);
}

async fn meet(arrival: Arrival, edge: Option<Arc<Edge>>, app: Router, phases: Phases) {
    let Arrival { tcp, peer, slot } = arrival;
    let client = ClientInfo::from(peer);
    let client = tcp
        .local_addr()
        .map_or(client, |local| client.with_local(local));
    let Some(edge) = edge else {
        return connection::serve(tcp, client, app, phases).await;
    };
    let accepted = timeout(TLS_TIMEOUT, edge.accept(tcp)).await;
    drop(slot);
    match accepted {
        Ok(Ok(stream)) => {
            let client = client.with_scheme(ClientScheme::Https);
            connection::serve(stream, client, app, phases).await;
        }
        Ok(Err(error)) => tracing::debug!(%peer, %error, "no TLS with a client"),
        Err(_) => tracing::debug!(%peer, "a client did not finish its TLS handshake"),
    }
}

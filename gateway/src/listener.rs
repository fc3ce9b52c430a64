//! Listener: accepts connections and serves them, with TLS or without.

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

use crate::client_tls::ClientTls;
use crate::connection;
use crate::shutdown::Shutdown;

/// Bound on a client's TLS handshake.
const TLS_HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Pause after an accept that failed for lack of file descriptors or memory.
const ACCEPT_RETRY_DELAY: Duration = Duration::from_millis(500);

/// Quiet time after which the kernel probes a client's connection.
const TCP_KEEP_ALIVE: Duration = Duration::from_secs(60);

/// Listening socket of one worker, whose clients speak HTTP or HTTPS.
#[derive(Debug)]
pub(crate) struct Listener {
    socket: std::net::TcpListener,
    tls: Option<Arc<ClientTls>>,
}

/// Connection that was accepted, with a permit for its TLS handshake where there is TLS.
struct Accepted {
    tcp: TcpStream,
    peer: SocketAddr,
    permit: Option<OwnedSemaphorePermit>,
}

impl Listener {
    /// Listener for `http://` and `ws://`.
    pub(crate) const fn http(socket: std::net::TcpListener) -> Self {
        Self { socket, tls: None }
    }

    /// Listener for `https://` and `wss://`.
    pub(crate) const fn https(socket: std::net::TcpListener, tls: Arc<ClientTls>) -> Self {
        Self {
            socket,
            tls: Some(tls),
        }
    }

    /// Accepts and serves connections until the gateway drains, then waits for those that are open.
    /// Upgraded connections are not waited for.
    ///
    /// # Errors
    ///
    /// The runtime cannot watch the socket.
    ///
    /// # Cancellation
    ///
    /// Closes all connections that have not been upgraded.
    pub(crate) async fn serve(self, app: Router, mut shutdown: Shutdown) -> io::Result<()> {
        let Self { socket, tls } = self;
        let socket = TcpListener::from_std(socket)?;
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                () = shutdown.draining() => break,
                Some(_) = connections.join_next() => {}
                accepted = accept(&socket, tls.as_deref()) => {
                    let (app, shutdown) = (app.clone(), shutdown.clone());
                    connections.spawn(serve_connection(accepted, tls.clone(), app, shutdown));
                }
            }
        }
        drop(socket);
        while connections.join_next().await.is_some() {}
        Ok(())
    }
}

/// Accepts a connection, once its TLS handshake may begin.
async fn accept(socket: &TcpListener, tls: Option<&ClientTls>) -> Accepted {
    let permit = match tls {
        Some(tls) => tls.handshake_permit().await,
        None => None,
    };
    let (tcp, peer) = accept_tcp(socket).await;
    Accepted { tcp, peer, permit }
}

/// Accepts a connection. Errors do not end the listener: those of one connection are skipped, and
/// after those of the machine the listener tries again.
async fn accept_tcp(socket: &TcpListener) -> (TcpStream, SocketAddr) {
    loop {
        match socket.accept().await {
            Ok((tcp, peer)) => {
                set_options(&tcp);
                return (tcp, peer);
            }
            Err(error) if is_connection_error(&error) => {}
            Err(error) => {
                tracing::error!(%error, "cannot accept connections");
                sleep(ACCEPT_RETRY_DELAY).await;
            }
        }
    }
}

fn is_connection_error(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
    )
}

/// Sets `TCP_NODELAY` and TCP keep-alive. The proxy sets them on plain sockets by itself, but cannot
/// reach the socket below TLS or HTTP/2.
fn set_options(tcp: &TcpStream) {
    let keep_alive = TcpKeepalive::new().with_time(TCP_KEEP_ALIVE);
    // A socket that refuses one of the two options still works.
    let _ = tcp.set_nodelay(true);
    let _ = SockRef::from(tcp).set_tcp_keepalive(&keep_alive);
}

async fn serve_connection(
    accepted: Accepted,
    tls: Option<Arc<ClientTls>>,
    app: Router,
    shutdown: Shutdown,
) {
    let Accepted { tcp, peer, permit } = accepted;
    let client = ClientInfo::from(peer);
    let client = tcp
        .local_addr()
        .map_or(client, |local| client.with_local(local));
    let Some(tls) = tls else {
        return connection::serve(tcp, client, app, shutdown).await;
    };
    let handshake = timeout(TLS_HANDSHAKE_TIMEOUT, tls.accept(tcp)).await;
    drop(permit);
    match handshake {
        Ok(Ok(stream)) => {
            let client = client.with_scheme(ClientScheme::Https);
            connection::serve(stream, client, app, shutdown).await;
        }
        Ok(Err(error)) => tracing::debug!(%peer, %error, "a TLS handshake with a client failed"),
        Err(_) => tracing::debug!(%peer, "a TLS handshake with a client timed out"),
    }
}

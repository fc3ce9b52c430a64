//! Listener: accepts connections and serves them, with TLS or without.

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use wsplice::WriteTimeout;
use wsplice::headers::{ClientInfo, ClientScheme};

use crate::client_tls::ClientTls;
use crate::connection::{self, Serving};
use crate::shutdown::Shutdown;

/// Bound on a client's TLS handshake.
const TLS_HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Bound on the time in which a client's socket takes nothing of what is written to it.
const WRITE_TIMEOUT: Duration = Duration::from_secs(60);

/// Pause after an accept that failed for lack of file descriptors or memory.
const ACCEPT_RETRY_DELAY: Duration = Duration::from_millis(500);

/// Quiet time after which the kernel probes a client's connection.
const TCP_KEEP_ALIVE: Duration = Duration::from_secs(60);

/// Listening socket of one worker, whose clients speak HTTP or HTTPS.
#[derive(Debug)]
pub(crate) struct Listener {
    socket: std::net::TcpListener,
    tls: Option<Arc<ClientTls>>,
    /// Connections that the listeners on this address may still accept, if that is limited.
    room: Option<Arc<Semaphore>>,
}

/// Connection that was accepted, with a permit for its TLS handshake where there is TLS.
struct Accepted {
    tcp: TcpStream,
    peer: SocketAddr,
    handshake: Option<OwnedSemaphorePermit>,
    /// Place among the connections, up to the end or the upgrade of this one.
    place: Option<OwnedSemaphorePermit>,
}

impl Listener {
    /// Listener for `http://` and `ws://`, or with TLS for `https://` and `wss://`.
    pub(crate) const fn new(
        socket: std::net::TcpListener,
        tls: Option<Arc<ClientTls>>,
        room: Option<Arc<Semaphore>>,
    ) -> Self {
        Self { socket, tls, room }
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
    pub(crate) async fn serve(self, serving: Serving, mut shutdown: Shutdown) -> io::Result<()> {
        let Self { socket, tls, room } = self;
        let socket = TcpListener::from_std(socket)?;
        let mut connections = JoinSet::new();
        {
            let accept = || accept(&socket, tls.as_deref(), room.as_ref());
            // Kept over the rounds: a connection may have been accepted that waits for room.
            let mut accepting = pin!(accept());
            loop {
                tokio::select! {
                    () = shutdown.draining() => break,
                    Some(_) = connections.join_next() => {}
                    accepted = &mut accepting => {
                        accepting.set(accept());
                        let (serving, shutdown) = (serving.clone(), shutdown.clone());
                        connections.spawn(serve_connection(accepted, tls.clone(), serving, shutdown));
                    }
                }
            }
        }
        drop(socket);
        while connections.join_next().await.is_some() {}
        Ok(())
    }
}

/// Accepts a connection, once its TLS handshake may begin, and waits until there is room for it.
/// Further clients wait in the kernel's queue meanwhile.
///
/// The room is asked for last: a worker that has no client must not hold the place of another's.
async fn accept(
    socket: &TcpListener,
    tls: Option<&ClientTls>,
    room: Option<&Arc<Semaphore>>,
) -> Accepted {
    let handshake = match tls {
        Some(tls) => tls.handshake_permit().await,
        None => None,
    };
    let (tcp, peer) = accept_tcp(socket).await;
    let place = match room {
        Some(room) => Arc::clone(room).acquire_owned().await.ok(),
        None => None,
    };
    Accepted {
        tcp,
        peer,
        handshake,
        place,
    }
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
    serving: Serving,
    shutdown: Shutdown,
) {
    let Accepted {
        tcp,
        peer,
        handshake: permit,
        place: _place,
    } = accepted;
    let client = ClientInfo::from(peer);
    let client = tcp
        .local_addr()
        .map_or(client, |local| client.with_local(local));
    let tcp = WriteTimeout::new(tcp, WRITE_TIMEOUT);
    let Some(tls) = tls else {
        return connection::serve(tcp, client, serving, shutdown).await;
    };
    let handshake = timeout(TLS_HANDSHAKE_TIMEOUT, tls.accept(tcp)).await;
    drop(permit);
    match handshake {
        Ok(Ok(stream)) => {
            let client = client.with_scheme(ClientScheme::Https);
            connection::serve(stream, client, serving, shutdown).await;
        }
        Ok(Err(error)) => tracing::debug!(%peer, %error, "a TLS handshake with a client failed"),
        Err(_) => tracing::debug!(%peer, "a TLS handshake with a client timed out"),
    }
}

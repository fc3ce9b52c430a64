//! Listener: accepts connections, and waits for their ends when the gateway stops.

use std::convert::Infallible;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::sync::{Semaphore, mpsc};
use tokio::task;
use tokio::time::sleep;
use wsplice::accept::AcceptProxyProtocol;

use crate::accepted::{Accepted, Connections};
use crate::arrival::Arrival;
use crate::client_tls::ClientTls;
use crate::connection::Serving;
use crate::shutdown::Shutdown;
use crate::socket::{Acceptor, Socket, Stream};
use crate::turns::Turns;

/// Pause after an accept that failed for lack of file descriptors or memory.
const ACCEPT_RETRY_DELAY: Duration = Duration::from_millis(500);

/// Quiet time after which the kernel probes a client's connection.
const TCP_KEEP_ALIVE: Duration = Duration::from_secs(60);

/// Whether accepted sockets have the options of the listening one, which saves three system calls for each.
const INHERITS_OPTIONS: bool = cfg!(any(target_os = "android", target_os = "linux"));

/// Listening socket of one worker, whose clients speak HTTP or HTTPS.
#[derive(Debug)]
pub(crate) struct Listener {
    socket: Socket,
    tls: Option<Arc<ClientTls>>,
    /// Connections that the listeners on this address may still accept, if that is limited.
    room: Option<Arc<Semaphore>>,
    /// Reader of the addresses that load balancers report.
    proxy_protocol: Option<AcceptProxyProtocol>,
}

impl Listener {
    /// Listener for `http://` and `ws://`, or with TLS for `https://` and `wss://`.
    pub(crate) const fn new(
        socket: Socket,
        tls: Option<Arc<ClientTls>>,
        room: Option<Arc<Semaphore>>,
    ) -> Self {
        Self {
            socket,
            tls,
            room,
            proxy_protocol: None,
        }
    }

    /// Sets the reader of the PROXY protocol, if load balancers send it.
    pub(crate) fn behind(self, proxy_protocol: Option<AcceptProxyProtocol>) -> Self {
        Self {
            proxy_protocol,
            ..self
        }
    }

    /// Accepts and serves connections until the gateway closes its listeners, then waits for those
    /// that are open. Upgraded connections are not waited for.
    ///
    /// # Errors
    ///
    /// The runtime cannot watch the socket.
    ///
    /// # Cancellation
    ///
    /// Accepts no more connections. Those that are open end with the runtime at the latest.
    pub(crate) async fn serve(
        self,
        serving: Serving,
        shutdown: Shutdown,
        arrival: Arrival,
    ) -> io::Result<()> {
        let Self {
            socket,
            tls,
            room,
            proxy_protocol,
        } = self;
        let socket = watched(socket)?;
        let with = Arc::new(Connections {
            tls,
            turns: Turns::new(),
            proxy_protocol,
            serving,
            shutdown,
        });
        // Closed once no connection is open any more. Nothing is ever sent.
        let (open, mut all_closed) = mpsc::channel(1);
        accept_all(&socket, &with, room.as_ref(), &arrival, open).await;
        drop((socket, arrival));
        while all_closed.recv().await.is_some() {}
        Ok(())
    }
}

/// Has this thread's runtime watch a socket, which gets the options for those that it accepts.
fn watched(socket: Socket) -> io::Result<Acceptor> {
    let socket = socket.into_acceptor()?;
    if INHERITS_OPTIONS && let Acceptor::Tcp(listening) = &socket {
        set_options(&SockRef::from(listening));
    }
    Ok(socket)
}

/// Accepts connections until the listeners are to be closed, and serves each once there is room for it.
/// Further clients wait in the kernel's queue meanwhile. A connection that was accepted before the
/// listeners are closed still gets its room, unless the gateway drains.
///
/// The room is asked for last: a worker that has no client must not hold the place of another's.
async fn accept_all(
    socket: &Acceptor,
    with: &Arc<Connections>,
    room: Option<&Arc<Semaphore>>,
    arrival: &Arrival,
    open: mpsc::Sender<Infallible>,
) {
    let (mut closing, mut draining) = (with.shutdown.clone(), with.shutdown.clone());
    // One wait for all connections: each wait takes and returns a place in a list.
    let mut closed = pin!(closing.closed());
    loop {
        let stream = tokio::select! {
            // First, or a queue that never empties would keep the listener open.
            biased;
            () = &mut closed => return,
            stream = accept_stream(socket) => stream,
        };
        let place = match room {
            Some(room) => tokio::select! {
                // First, so that a wait for the drain begins only where there is no room.
                biased;
                place = Arc::clone(room).acquire_owned() => place.ok(),
                () = draining.draining() => return,
            },
            None => None,
        };
        let accepted = Accepted {
            stream,
            place,
            arrival: arrival.of_connection(),
            open: open.clone(),
        };
        // Boxed: tokio moves the future of a task several times before and after its life.
        task::spawn(Box::pin(Arc::clone(with).serve(accepted)));
    }
}

/// Accepts a connection. Errors do not end the listener: those of one connection are skipped, and
/// after those of the machine the listener tries again.
async fn accept_stream(socket: &Acceptor) -> Stream {
    loop {
        match socket.accept().await {
            Ok(stream) => {
                if !INHERITS_OPTIONS && let Stream::Tcp(tcp, _) = &stream {
                    set_options(&SockRef::from(tcp));
                }
                return stream;
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
fn set_options(socket: &SockRef<'_>) {
    let keep_alive = TcpKeepalive::new().with_time(TCP_KEEP_ALIVE);
    // A socket that refuses one of the two options still works.
    let _ = socket.set_tcp_nodelay(true);
    let _ = socket.set_tcp_keepalive(&keep_alive);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::own_loopback;

    use std::net::SocketAddr;

    use axum::Router;
    use axum::routing::get;
    use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
    use tokio::net::TcpStream;
    use tokio::task::yield_now;
    use tokio::time::timeout;

    use crate::app::App;
    use crate::shutdown::{self, Phase};

    const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";

    fn serving() -> Serving {
        serving_by(Router::new().route("/", get(|| async { "served" })))
    }

    fn serving_by(app: Router) -> Serving {
        Serving::new(App::Router(app), Duration::from_secs(10))
    }

    async fn response(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> String {
        stream.write_all(REQUEST).await.unwrap();
        let mut response = String::new();
        stream.read_to_string(&mut response).await.unwrap();
        response
    }

    /// A listener with room for one connection.
    fn listener_for_one() -> (Listener, SocketAddr, Arc<Semaphore>) {
        let socket = std::net::TcpListener::bind((own_loopback(), 0)).unwrap();
        socket.set_nonblocking(true).unwrap();
        let addr = socket.local_addr().unwrap();
        let room = Arc::new(Semaphore::new(1));
        let listener = Listener::new(Socket::Tcp(socket), None, Some(Arc::clone(&room)));
        (listener, addr, room)
    }

    async fn is_accepted(room: &Semaphore) {
        while room.available_permits() > 0 {
            yield_now().await;
        }
    }

    #[tokio::test]
    async fn a_connection_that_was_accepted_before_the_stop_gets_its_first_response() {
        let (listener, addr, room) = listener_for_one();
        let (phase, shutdown) = shutdown::channel();
        let (guard, mut arriving) = mpsc::channel(1);
        let arrival = Arrival::new(&guard);
        drop(guard);
        let listening = tokio::spawn(listener.serve(serving(), shutdown, arrival));

        let first = TcpStream::connect(addr).await.unwrap();
        is_accepted(&room).await;
        phase.send_replace(Phase::Closed);
        assert!(timeout(Duration::ZERO, arriving.recv()).await.is_err());
        assert!(response(first).await.ends_with("served"));
        assert!(arriving.recv().await.is_none());
        phase.send_replace(Phase::Draining);
        listening.await.unwrap().unwrap();
        assert!(TcpStream::connect(addr).await.is_err());
    }

    #[tokio::test]
    async fn a_client_that_sends_nothing_does_not_delay_a_drain() {
        let (listener, addr, room) = listener_for_one();
        let (phase, shutdown) = shutdown::channel();
        let listening = tokio::spawn(listener.serve(serving(), shutdown, Arrival::unwatched()));
        let _silent = TcpStream::connect(addr).await.unwrap();
        is_accepted(&room).await;
        phase.send_replace(Phase::Draining);
        // Half of the time that the client has for its request.
        let drained = timeout(Duration::from_secs(5), listening).await;
        drained.unwrap().unwrap().unwrap();
    }

    /// An app whose handler waits; the semaphore that counts its requests, and the one whose permits end
    /// their waits.
    fn waiting_app() -> (Router, Arc<Semaphore>, Arc<Semaphore>) {
        let (asked, go_on) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
        let (entered, gate) = (Arc::clone(&asked), Arc::clone(&go_on));
        let handler = async move || {
            entered.add_permits(1);
            gate.acquire().await.unwrap().forget();
            "served"
        };
        (Router::new().route("/", get(handler)), asked, go_on)
    }

    #[tokio::test]
    async fn a_listener_ends_after_the_responses_that_are_under_way() {
        let (listener, addr, _room) = listener_for_one();
        let (app, asked, go_on) = waiting_app();
        let (phase, shutdown) = shutdown::channel();
        let listening = listener.serve(serving_by(app), shutdown, Arrival::unwatched());
        let mut listening = tokio::spawn(listening);
        let client = tokio::spawn(response(TcpStream::connect(addr).await.unwrap()));
        asked.acquire().await.unwrap().forget();
        phase.send_replace(Phase::Draining);
        while TcpStream::connect(addr).await.is_ok() {
            yield_now().await;
        }
        let early = timeout(Duration::ZERO, &mut listening).await;
        assert!(early.is_err(), "the listener has left its connection");
        go_on.add_permits(1);
        assert!(client.await.unwrap().ends_with("served"));
        listening.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn a_client_that_waits_for_room_is_let_go_by_a_drain() {
        let (listener, addr, _room) = listener_for_one();
        let (app, asked, go_on) = waiting_app();
        let (phase, shutdown) = shutdown::channel();
        let listening = listener.serve(serving_by(app), shutdown, Arrival::unwatched());
        let listening = tokio::spawn(listening);
        let served = tokio::spawn(response(TcpStream::connect(addr).await.unwrap()));
        asked.acquire().await.unwrap().forget();
        let mut waiting = TcpStream::connect(addr).await.unwrap();
        // The runtime looks for events of sockets after each 61 polls; then the client is accepted.
        for _ in 0..200 {
            yield_now().await;
        }
        phase.send_replace(Phase::Draining);
        let end = timeout(Duration::from_secs(5), waiting.read(&mut [0; 1])).await;
        assert!(matches!(end, Ok(Ok(0) | Err(_))), "{end:?}");
        go_on.add_permits(1);
        assert!(served.await.unwrap().ends_with("served"));
        listening.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn accepted_sockets_have_their_options() {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        socket.set_nonblocking(true).unwrap();
        let addr = socket.local_addr().unwrap();
        let socket = watched(Socket::Tcp(socket)).unwrap();
        let _client = TcpStream::connect(addr).await.unwrap();
        let Stream::Tcp(tcp, _) = accept_stream(&socket).await else {
            panic!("the socket is one of TCP")
        };
        assert!(tcp.nodelay().unwrap());
        assert!(SockRef::from(&tcp).keepalive().unwrap());
        #[cfg(target_os = "linux")]
        {
            let time = SockRef::from(&tcp).tcp_keepalive_time();
            assert_eq!(time.unwrap(), TCP_KEEP_ALIVE);
        }
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn clients_of_a_unix_socket_are_served() {
        let folder = std::env::temp_dir().join(format!("wsplice-unix-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("gateway.sock");
        let socket = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let socket = Socket::Unix(socket);
        socket.set_nonblocking().unwrap();
        let address = socket.local_address().unwrap();
        assert_eq!(address.to_string(), format!("unix:{}", path.display()));
        let listener = Listener::new(socket, None, None);
        let (phase, shutdown) = shutdown::channel();
        let listening = tokio::spawn(listener.serve(serving(), shutdown, Arrival::unwatched()));
        let client = tokio::net::UnixStream::connect(&path).await.unwrap();
        assert!(response(client).await.ends_with("served"));
        phase.send_replace(Phase::Draining);
        listening.await.unwrap().unwrap();
        std::fs::remove_dir_all(&folder).unwrap();
    }
}

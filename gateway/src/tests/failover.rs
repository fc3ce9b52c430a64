//! Failures of one upstream among several, on real sockets.

use std::collections::BTreeMap;
use std::net::IpAddr;

use tokio::net::TcpSocket;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::*;

/// Failure of an upstream, once it has read the head of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// Nothing listens at its address.
    Refuses,
    Resets,
    Closes,
    /// The connection stays open, and no byte comes.
    Hangs,
    Answers(u16),
    /// Handshakes on this path are accepted, all others are answered 502.
    AcceptsOnly(&'static str),
}

/// Upstream with a fault, until it is dropped.
#[derive(Debug)]
struct FaultyUpstream {
    addr: SocketAddr,
    serving: Option<JoinHandle<()>>,
}

impl FaultyUpstream {
    async fn start(fault: Fault) -> Self {
        if fault == Fault::Refuses {
            let (addr, serving) = (unused_address().await, None);
            return Self { addr, serving };
        }
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let serving = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(fail(stream, fault));
            }
        });
        Self {
            addr,
            serving: Some(serving),
        }
    }

    fn arg(&self) -> String {
        format!("--upstream=ws://{}", self.addr)
    }
}

impl Drop for FaultyUpstream {
    fn drop(&mut self) {
        if let Some(serving) = &self.serving {
            serving.abort();
        }
    }
}

async fn fail(mut stream: TcpStream, fault: Fault) {
    let Some(head) = read_head(&mut stream).await else {
        return;
    };
    let response = match fault {
        Fault::Refuses | Fault::Closes => return,
        // Unread bytes would do too, but not as surely.
        Fault::Resets => return stream.set_zero_linger().unwrap(),
        Fault::Hangs => {
            let _ = stream.read(&mut [0; 1]).await;
            return;
        }
        Fault::Answers(status) => refusal(status),
        Fault::AcceptsOnly(path) if head.starts_with(&format!("GET {path} ")) => acceptance(&head),
        Fault::AcceptsOnly(_) => refusal(502),
    };
    // The gateway may be gone, at the end of a test.
    let _ = stream.write_all(response.as_bytes()).await;
    answer_pings(&mut stream).await;
}

async fn read_head(stream: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    String::from_utf8(head).ok()
}

fn refusal(status: u16) -> String {
    format!("HTTP/1.1 {status} Bad\r\nContent-Length: 0\r\n\r\n")
}

fn acceptance(head: &str) -> String {
    let lines = head.lines().filter_map(|line| line.split_once(": "));
    let mut keys = lines.filter(|(name, _)| name.eq_ignore_ascii_case("sec-websocket-key"));
    let accept = derive_accept_key(keys.next().unwrap().1.as_bytes());
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\n\r\n"
    )
}

/// Answers a probe's ping, which is short, until the connection ends.
async fn answer_pings(stream: &mut TcpStream) {
    let mut header = [0; 6];
    while stream.read_exact(&mut header).await.is_ok() {
        let len = usize::from(header[1] & 0x7f);
        let mut payload = vec![0; len];
        if stream.read_exact(&mut payload).await.is_err() {
            return;
        }
        for (byte, key) in payload.iter_mut().zip(header[2..].iter().cycle()) {
            *byte ^= key;
        }
        // A ping is answered by a pong, a close frame by its like.
        let opcode = if header[0] == 0x89 { 0x8a } else { header[0] };
        let frame = [&[opcode, header[1] & 0x7f], &payload[..]].concat();
        if stream.write_all(&frame).await.is_err() {
            return;
        }
    }
}

/// Outcomes of handshakes by status, and the sockets of those that were accepted.
#[derive(Debug, Default)]
struct Outcomes {
    statuses: BTreeMap<u16, usize>,
    open: Vec<WebSocketStream<TcpStream>>,
}

impl Outcomes {
    fn add(&mut self, outcome: Result<WebSocketStream<TcpStream>, tungstenite::Error>) {
        let status = match outcome {
            Ok(socket) => {
                self.open.push(socket);
                101
            }
            Err(tungstenite::Error::Http(response)) => response.status().as_u16(),
            Err(error) => panic!("{error}"),
        };
        *self.statuses.entry(status).or_default() += 1;
    }

    fn of(&self, status: u16) -> usize {
        self.statuses.get(&status).copied().unwrap_or_default()
    }
}

/// Opens a WebSocket from this local address.
async fn open_from(
    local: IpAddr,
    gateway: SocketAddr,
    path: &str,
) -> Result<WebSocketStream<TcpStream>, tungstenite::Error> {
    let socket = TcpSocket::new_v4().unwrap();
    // Only Linux has the whole of 127.0.0.0/8.
    let bound = socket.bind(SocketAddr::new(local, 0));
    assert!(bound.is_ok() || !cfg!(target_os = "linux"), "{bound:?}");
    let stream = socket.connect(gateway).await.unwrap();
    let url = format!("ws://{gateway}{path}");
    client_async(url, stream).await.map(|(socket, _)| socket)
}

/// Statuses of 24 clients, one after the other, that stay; one of two upstreams has the fault.
async fn outcomes_beside(fault: Fault, args: &[&str]) -> Outcomes {
    let faulty = FaultyUpstream::start(fault).await;
    let upstream = faulty.arg();
    let gateway = TestGateway::start(&[&[upstream.as_str()], args].concat()).await;
    let mut outcomes = Outcomes::default();
    for _ in 0..24 {
        outcomes.add(gateway.open("/ws/echo").await);
    }
    outcomes
}

#[tokio::test]
async fn by_default_every_client_gets_through_where_no_byte_of_a_response_came() {
    for fault in [Fault::Refuses, Fault::Resets, Fault::Closes] {
        let outcomes = outcomes_beside(fault, &[]).await;
        assert_eq!(outcomes.of(101), 24, "{fault:?}: {:?}", outcomes.statuses);
    }
}

/// A request that an upstream responded to, or may still process, is not repeated by default; but few
/// clients see it.
#[tokio::test]
async fn by_default_few_clients_see_the_response_or_the_silence_of_one_upstream() {
    // The timeout is for the silent upstream alone: on a busy machine others may be slow, too.
    for (fault, status, args) in [
        (Fault::Answers(502), 502, &[][..]),
        (Fault::Answers(503), 503, &[][..]),
        (Fault::Hangs, 504, &["--handshake-timeout=500ms"]),
    ] {
        let outcomes = outcomes_beside(fault, args).await;
        let seen = outcomes.of(status);
        assert_eq!(seen + outcomes.of(101), 24, "{:?}", outcomes.statuses);
        assert!(seen <= 3, "{fault:?}: {:?}", outcomes.statuses);
    }
}

#[tokio::test]
async fn every_client_gets_through_whatever_fails_if_the_operator_wants_it() {
    let retry = "--retry-on=connect,broken,timeout,502,503,504";
    for fault in [
        Fault::Refuses,
        Fault::Resets,
        Fault::Closes,
        Fault::Answers(502),
        Fault::Answers(503),
        Fault::Answers(504),
    ] {
        // With a handshake timeout that no test lives to see, nothing may wait for it.
        let outcomes = outcomes_beside(fault, &[retry, "--handshake-timeout=1h"]).await;
        assert_eq!(outcomes.of(101), 24, "{fault:?}: {:?}", outcomes.statuses);
    }
    let outcomes = outcomes_beside(Fault::Hangs, &[retry, "--handshake-timeout=2s"]).await;
    assert_eq!(outcomes.of(101), 24, "{:?}", outcomes.statuses);
}

#[tokio::test]
async fn forwarded_requests_get_through_as_handshakes_do() {
    for fault in [Fault::Refuses, Fault::Resets, Fault::Closes] {
        let faulty = FaultyUpstream::start(fault).await;
        let gateway = TestGateway::start(&["--forward-http", &faulty.arg()]).await;
        for _ in 0..12 {
            // The demo's response to a plain request.
            let response = gateway.get("/ws/echo").await;
            assert!(
                response.starts_with("HTTP/1.1 400 "),
                "{fault:?}: {response}"
            );
        }
    }
}

/// Outcomes of 200 clients, one after the other; of three upstreams one passes its probe and answers
/// clients 502.
async fn outcomes_of_200(client: impl Fn(u8) -> (IpAddr, &'static str)) -> Outcomes {
    let faulty = FaultyUpstream::start(Fault::AcceptsOnly("/ws/chat?probe")).await;
    let well = DemoUpstream::start(own_loopback()).await.unwrap();
    let gateway = TestGateway::start(&[
        "--probe=ws:/ws/chat?probe",
        "--probe-interval=50ms",
        &faulty.arg(),
        &format!("--upstream=ws://{}", well.addr()),
    ])
    .await;
    let mut outcomes = Outcomes::default();
    for number in 0..200 {
        let (local, path) = client(number);
        outcomes.add(open_from(local, gateway.http, path).await);
    }
    outcomes
}

#[tokio::test]
async fn no_more_than_a_dozen_of_200_clients_see_an_upstream_that_only_its_probe_likes() {
    let outcomes = outcomes_of_200(|number| {
        let path = ["/ws/echo", "/ws/chat"][usize::from(number % 2)];
        (IpAddr::from([127, 0, 0, number + 1]), path)
    })
    .await;
    let seen = outcomes.of(502);
    assert_eq!(seen + outcomes.of(101), 200, "{:?}", outcomes.statuses);
    assert!(seen <= 12, "{seen} clients");
}

/// Behind another proxy all clients have one address, which is no verdict but lowers the preference.
#[tokio::test]
async fn no_more_than_a_dozen_of_200_clients_see_it_from_one_address_either() {
    let outcomes = outcomes_of_200(|_| (IpAddr::from([127, 0, 0, 1]), "/ws/echo")).await;
    let seen = outcomes.of(502);
    assert_eq!(seen + outcomes.of(101), 200, "{:?}", outcomes.statuses);
    assert!(seen <= 12, "{seen} clients");
}

//! Clients that are slow on purpose, a thousand at a time (Slowloris, R.U.D.Y., slow read).

use std::{env, net::SocketAddr, time::Duration};

use futures_util::future::{join, join_all};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpSocket,
    time::sleep,
};

use crate::{
    alone,
    arena::{Arena, Limits},
    client::{Client, handshake, request, within},
    http2,
    http2::{Connection, DATA, END_HEADERS, END_STREAM, HEADERS, INITIAL_WINDOW_SIZE, frame},
};

/// Time between two bytes of a slow client.
const PACE: Duration = Duration::from_millis(250);

/// Returns the number of slow clients at a time: a thousand, or `FLOOD_CLIENTS`, as far as the limit on
/// descriptors allows. Each takes four: both ends of its connection and of the one behind it.
fn clients() -> usize {
    const SPARE: u64 = 200;
    let set = env::var("FLOOD_CLIENTS").ok();
    let clients = set.map_or(1_000, |text| text.parse().expect("a number of clients"));
    let limit = rlimit::increase_nofile_limit(4 * clients + SPARE).unwrap_or(1024);
    clients.min(limit.saturating_sub(SPARE) / 4) as usize
}

/// Runs this many slow clients at once. Each must end, because the server closes its connection; the
/// proxy serves others meanwhile.
async fn endures<F: Future<Output = ()>>(client: impl Fn(SocketAddr, usize) -> F) {
    let arena = Arena::start(Limits::Short).await;
    arena
        .endures(async |arena| {
            let clients = (0..clients()).map(|number| client(arena.addr, number));
            join(join_all(clients), arena.serves()).await;
        })
        .await;
}

/// Sends the beginning, and then the rest again and again, a byte at a time, until the server closes
/// the connection.
async fn dribble(client: Client, beginning: &[u8], rest: &[u8]) {
    let (mut read, mut write) = client.0.into_split();
    let writing = async {
        if write.write_all(beginning).await.is_err() {
            return;
        }
        for byte in rest.iter().cycle() {
            if write.write_all(&[*byte]).await.is_err() {
                return;
            }
            sleep(PACE).await;
        }
        std::future::pending::<()>().await;
    };
    let reading = async { while read.read(&mut [0; 256]).await.is_ok_and(|count| count > 0) {} };
    within("the server to close", async {
        tokio::select! {
            () = writing => {}
            () = reading => {}
        }
    })
    .await;
}

/// CVE-2007-6750 (Slowloris) and CVE-2023-24534 are of this class.
#[test]
fn slow_heads_are_cut_off_by_the_thousand() {
    alone(endures(async |addr, number| {
        let client = Client::connect(addr).await;
        match number % 6 {
            0 => dribble(client, b"", b"").await,
            1 => dribble(client, b"GET /ws/x HTTP/1.1\r\nX: ", b"x").await,
            2 => dribble(client, b"GET /ws/x HTTP/1.1\r\n", b"A: b\r\n").await,
            3 => dribble(client, b"PRI * HT", b"").await,
            4 => dribble(client, &handshake("/ws/x").as_bytes()[..80], b"").await,
            _ => {
                // The head of a request that does not end.
                let mut connection = Connection::over(client, (INITIAL_WINDOW_SIZE, 1)).await;
                let head = frame(HEADERS, END_STREAM, 1, &http2::request("GET", "/ws/x"));
                connection.send(&[head]).await;
                connection.0.read_to_end().await;
            }
        }
    }));
}

/// Clients that ask once and are silent, or go on with half a head.
#[test]
fn idle_connections_are_cut_off_by_the_thousand() {
    alone(endures(async |addr, number| {
        let request = request("GET", "/ws/x", "");
        let client = Client::connect(addr).await;
        match number % 3 {
            0 => dribble(client, request.as_bytes(), b"").await,
            1 => dribble(client, &[&request, "GET"].concat().into_bytes(), b"").await,
            _ => {
                let mut connection = Connection::over(client, (INITIAL_WINDOW_SIZE, 100)).await;
                let block = http2::request("GET", "/ws/x");
                let request = frame(HEADERS, END_HEADERS | END_STREAM, 1, &block);
                connection.send(&[request]).await;
                connection.0.read_to_end().await;
            }
        }
    }));
}

/// R.U.D.Y.: bodies that do not come, or come a byte at a time.
#[test]
fn slow_uploads_are_cut_off_by_the_thousand() {
    alone(endures(async |addr, number| {
        let client = Client::connect(addr).await;
        let chunked = request("POST", "/ws/x", "Transfer-Encoding: chunked\r\n");
        let long = request("POST", "/ws/x", "Content-Length: 1000000\r\n");
        match number % 5 {
            0 => dribble(client, chunked.as_bytes(), b"").await,
            1 => dribble(client, chunked.as_bytes(), b"1\r\nx\r\n").await,
            2 => dribble(client, long.as_bytes(), b"").await,
            3 => dribble(client, long.as_bytes(), b"x").await,
            _ => {
                let mut connection = Connection::over(client, (INITIAL_WINDOW_SIZE, 100)).await;
                let head = frame(HEADERS, END_HEADERS, 1, &http2::request("POST", "/ws/x"));
                connection.send(&[head, frame(DATA, 0, 1, b"x")]).await;
                connection.0.read_to_end().await;
            }
        }
    }));
}

/// Slow read: responses, refusals and messages that a client does not take.
#[test]
fn slow_readers_are_cut_off_by_the_thousand() {
    alone(async {
        let arena = Arena::start(Limits::Short).await;
        arena
            .endures(async |arena| {
                let readers = (0..clients()).map(|number| read_nothing(arena.addr, number));
                let readers = join_all(readers).await;
                arena.serves().await;
                // They are still connected, and have not read.
                arena.holds_only(readers.len()).await;
            })
            .await;
    });
}

/// The most that a slow reader may hold: what the server buffers for it, what was read of its upstream,
/// and both connections.
const MAX_HELD: isize = 576 << 10;

/// CVE-2019-9517 is of this class over HTTP/2.
#[test]
fn slow_readers_hold_little_memory_for_each() {
    const READERS: usize = 100;
    alone(async {
        let arena = Arena::start(Limits::Short).await;
        for (number, kind) in ["response", "refusal", "message"].into_iter().enumerate() {
            let before = arena.memory();
            let readers = (0..READERS).map(|_| read_nothing(arena.addr, number));
            let readers = join_all(readers).await;
            let mut most = 0;
            tokio::select! {
                () = arena.holds_only(readers.len()) => {}
                () = async {
                    loop {
                        most = most.max(arena.memory() - before);
                        sleep(Duration::from_millis(1)).await;
                    }
                } => {}
            }
            let each = most / READERS as isize;
            println!("{each} bytes for each {kind}");
            assert!(each > 0 && each < MAX_HELD, "{each} bytes for each {kind}");
            drop(readers);
            arena.holds_only(0).await;
        }
    });
}

/// Asks for a large response, refusal or message.
async fn read_nothing(addr: SocketAddr, number: usize) -> Client {
    let socket = TcpSocket::new_v4().unwrap();
    // The client's buffer bounds what the kernel keeps for it.
    socket.set_recv_buffer_size(4096).unwrap();
    let stream = within("connecting", socket.connect(addr)).await;
    let mut client = Client(stream.unwrap());
    let request = match number % 3 {
        0 => request("GET", "/ws/large", ""),
        1 => handshake("/ws/refused/large"),
        _ => handshake("/ws/large"),
    };
    client.send(request).await.unwrap();
    client
}

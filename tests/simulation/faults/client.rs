//! A client: it opens one tunnel after the other, and does with them as its habit is.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use futures_util::{SinkExt, StreamExt};
use tokio::{
    io::AsyncWriteExt,
    time::{Instant, sleep, sleep_until, timeout},
};
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{Error, Message as Frame},
};

use super::{
    ledger::Leaving,
    message::{Kind, Message, Missing, Order},
    plan::{Habit, SOUND},
    server::{UPSTREAM, frame, length, read_on},
    world::World,
};
use crate::link::{End, pair};

/// Longest time for a response to a handshake: the queue, and each attempt with its timeouts.
const HANDSHAKE: Duration = Duration::from_secs(60);

/// Longest time from a violation or from the end of the proxy's patience to the end of a connection.
const END: Duration = Duration::from_secs(150);

/// Time for which a client reads nothing.
const STALL: Duration = Duration::from_secs(100);

/// End of a tunnel, as the client sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    ByClient,
    ByOthers,
}

/// Runs a client until the incidents are over.
pub(crate) async fn live(world: Arc<World>, client: usize, habit: Habit) {
    sleep(Duration::from_millis(fastrand::u64(0..3_000))).await;
    while !world.is_over() {
        let latency = Duration::from_millis(fastrand::u64(1..50));
        let (near, far) = pair(latency, world.reads());
        let connection = world.ledger.next_connection(habit);
        world.accept(far, client, connection);
        if habit == Habit::SendsGarbage {
            send_garbage(&world, near).await;
        } else {
            open(&world, near, habit, connection).await;
        }
        sleep(Duration::from_millis(fastrand::u64(100..4_000))).await;
    }
}

async fn send_garbage(world: &World, mut end: End) {
    const REQUESTS: [&[u8]; 3] = [
        b"GET /ws HTTP/1.1\r\nHost: a\r\nHost: b\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01",
        b"GET /ws HTTP/1.1\r\nHost: app.test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
          Sec-WebSocket-Version: 12\r\nConnection: close\r\n\r\n",
    ];
    let request = REQUESTS[fastrand::usize(..REQUESTS.len())];
    let _ = end.write_all(request).await;
    let _ = end.shutdown().await;
    world
        .within(HANDSHAKE, "the end after garbage", read_on(&mut end))
        .await;
}

async fn open(world: &Arc<World>, end: End, habit: Habit, connection: u16) {
    world.opening.fetch_add(1, Ordering::Relaxed);
    let opening = client_async("ws://app.test/ws", end);
    let opened = world.within(HANDSHAKE, "a response to a handshake", opening);
    let opened = opened.await;
    world.opening.fetch_sub(1, Ordering::Relaxed);
    match opened {
        Some(Ok((socket, response))) => {
            world.ledger.count("status 101");
            let upstream = response.headers().get(UPSTREAM);
            let upstream = upstream.and_then(|number| number.to_str().ok()?.parse().ok());
            let tunnel = Tunnel {
                world: Arc::clone(world),
                connection,
                socket,
                stream: world.ledger.next_stream(),
                sent: 0,
                echoes: Order::default(),
                pushes: Order::default(),
            };
            tunnel.use_for(habit, upstream).await;
        }
        Some(Err(Error::Http(response))) => {
            world
                .ledger
                .count(format_args!("status {}", response.status().as_u16()));
        }
        Some(Err(error)) => {
            let law = format!("no response to a handshake: {error}");
            world.ledger.breach(law);
        }
        None => {}
    }
}

/// A client's end of a tunnel.
struct Tunnel {
    world: Arc<World>,
    connection: u16,
    socket: WebSocketStream<End>,
    stream: u32,
    sent: u32,
    echoes: Order,
    pushes: Order,
}

impl Tunnel {
    async fn use_for(mut self, habit: Habit, upstream: Option<usize>) {
        let leaves = Instant::now() + Duration::from_millis(fastrand::u64(500..40_000));
        match habit {
            Habit::Behaves => {
                let ended = self.exchange(leaves).await;
                match ended {
                    Ended::ByClient => self.close().await,
                    Ended::ByOthers => self.judge_loss(upstream),
                }
            }
            Habit::Vanishes => {
                self.exchange(leaves).await;
                if fastrand::bool() {
                    let start_of_frame = [0x82, 0xfe, 0x01, 0x00, 1, 2, 3, 4, 5];
                    let _ = self.socket.get_mut().write_all(&start_of_frame).await;
                }
            }
            Habit::Stalls => {
                self.exchange(leaves).await;
                sleep(STALL).await;
            }
            Habit::Floods => self.flood().await,
            Habit::Violates => {
                self.exchange(leaves).await;
                // Not masked (RFC 6455 §5.1), or of a reserved opcode (§5.2).
                let frame: &[u8] = match fastrand::bool() {
                    true => &[0x82, 0x01, 0x00],
                    false => &[0x8b, 0x80, 0, 0, 0, 0],
                };
                let _ = self.socket.get_mut().write_all(frame).await;
                let Self { world, socket, .. } = &mut self;
                let ending = read_on(socket.get_mut());
                world.within(END, "the end of a violation", ending).await;
            }
            Habit::SendsGarbage => {}
        }
    }

    fn judge_loss(&self, upstream: Option<usize>) {
        if upstream == Some(SOUND) && self.world.must_keep_sound_tunnels() {
            let law = "a client that behaves lost its tunnel to the sound upstream";
            self.world.ledger.breach(law.into());
        }
    }

    /// Reads and writes until it is time to leave.
    async fn exchange(&mut self, leaves: Instant) -> Ended {
        let mut speaks = Instant::now();
        loop {
            tokio::select! {
                biased;
                frame = self.socket.next() => match frame {
                    Some(Ok(frame)) => self.read(frame),
                    Some(Err(error)) => {
                        self.world.ledger.check("a client", &error);
                        self.world.ledger.leaves(self.connection, Leaving::Drops);
                        return Ended::ByOthers;
                    }
                    None => return Ended::ByOthers,
                },
                () = sleep_until(speaks.min(leaves)) => {
                    if Instant::now() >= leaves || self.world.is_over() {
                        return Ended::ByClient;
                    }
                    // A tunnel that takes no more messages ends soon.
                    let _ = timeout(END, self.send()).await;
                    speaks = Instant::now() + Duration::from_millis(fastrand::u64(10..4_000));
                }
            }
        }
    }

    /// Writes much, and then reads all of it.
    async fn flood(&mut self) {
        let flooding = async {
            for _ in 0..fastrand::u32(1..60) {
                self.send().await?;
            }
            Ok::<_, Error>(())
        };
        let _ = timeout(Duration::from_secs(20), flooding).await;
        self.close().await;
    }

    /// Closes, and reads up to the end.
    async fn close(&mut self) {
        let world = Arc::clone(&self.world);
        world.ledger.leaves(self.connection, Leaving::Closes);
        let closing = async {
            // The connection may have ended meanwhile.
            let _ = self.socket.close(None).await;
            while let Some(frame) = self.socket.next().await {
                match frame {
                    Ok(frame) => self.read(frame),
                    Err(error) => {
                        self.world.ledger.check("a client", &error);
                        return self.world.ledger.leaves(self.connection, Leaving::Drops);
                    }
                }
            }
        };
        let bound = world.plan.close_bound();
        world.within(bound, "the end of a close", closing).await;
    }

    async fn send(&mut self) -> Result<(), Error> {
        self.sent += 1;
        let message = Message {
            kind: Kind::Sent,
            stream: self.stream,
            number: self.sent,
            len: length(),
        };
        self.socket.send(frame(message)).await
    }

    fn read(&mut self, received: Frame) {
        if !matches!(received, Frame::Binary(_) | Frame::Text(_)) {
            return;
        }
        let ledger = &self.world.ledger;
        let message = match Message::decode(&received.into_data()) {
            Ok(message) => message,
            Err(law) => return ledger.breach(format!("a client received {law}")),
        };
        let (order, may_miss) = match message.kind {
            Kind::Echo if message.stream == self.stream => {
                (&mut self.echoes, self.world.plan.reattaches)
            }
            Kind::Push => (&mut self.pushes, false),
            Kind::Echo | Kind::Sent => {
                return ledger.breach(format!("stream {} received {message}", self.stream));
            }
        };
        match order.next(message) {
            Ok(Missing(0)) => ledger.count("messages to clients"),
            Ok(Missing(_)) if may_miss => ledger.count("gaps between echoes"),
            Ok(Missing(number)) => {
                ledger.breach(format!("{number} messages are missing before {message}"));
            }
            Err(law) => ledger.breach(law),
        }
    }
}

//! The endpoints of a case, in memory and on a paused clock: a client, its upstreams one after
//! another, and the host.

use std::{
    future::ready,
    sync::{Arc, Mutex},
};

use hyper::server::conn::http1;
use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, ReadHalf, WriteHalf, duplex, split},
    sync::{mpsc, watch},
    task::JoinHandle,
    time::{sleep, timeout},
};
use tungstenite::handshake::derive_accept_key;
use wsplice::{
    Observer, Pool, ProxyLayer, Reattach, ReattachRequest, Restoration, RetryBudget, Side,
    Transport, TunnelInfo, TunnelReport,
    connect::{Address, Connect, ConnectFuture},
    frame::{FrameHeader, Message, OpCode, mask},
};

use crate::clock_upstreams::value;
use crate::support::{
    clock::{ms, secs},
    frames::{close, odd},
    raw::handshake_request,
    rng::Xorshift,
    sides::from_side,
};

use super::Plan;

/// Text of the last message of the last upstream.
pub(super) const END: &str = "end";
/// Messages of the host.
pub(super) const RESTORE: &str = "restore";
pub(super) const NOTICE: &str = "notice";

/// All that the endpoints of a case have sent and received.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) client: Endpoint,
    pub(super) upstreams: Vec<Endpoint>,
    pub(super) report: TunnelReport,
}

/// The account of one connection.
#[derive(Clone, Debug, Default)]
pub(super) struct Endpoint {
    /// All bytes that were received.
    pub(super) received: Vec<u8>,
    /// The messages that were sent whole.
    pub(super) sent: Vec<String>,
    /// The payloads of the pings that were sent.
    pub(super) pings: Vec<Vec<u8>>,
    /// Whether all that was sent was taken by the connection, and the connection then ended in order.
    pub(super) has_ended: bool,
}

type Account = Arc<Mutex<Endpoint>>;

/// The connector to all upstreams, each of which is a task.
#[derive(Clone, Debug)]
struct Upstreams {
    plan: Plan,
    accounts: Arc<Mutex<Vec<Account>>>,
    accepted: watch::Sender<usize>,
}

#[derive(Debug)]
struct Reports(mpsc::UnboundedSender<TunnelReport>);

impl Observer for Reports {
    fn tunnel_closed(&self, _: &TunnelInfo, report: &TunnelReport) {
        let _ = self.0.send(report.clone());
    }
}

/// Runs the parties of a case to the end of the tunnel.
pub(super) async fn run(plan: Plan) -> Seen {
    let upstreams = Upstreams {
        plan,
        accounts: Arc::default(),
        accepted: watch::Sender::new(0),
    };
    let (reports, mut ended) = mpsc::unbounded_channel();
    let pool = Pool::new(["ws://a:80"]).expect("an upstream");
    let pool = pool.retry_budget(RetryBudget::new().per_second(1000));
    let proxy = ProxyLayer::new(pool.build())
        .connector(upstreams.clone())
        .reattach(reattach(plan))
        .observer(Reports(reports))
        .into_service();
    let (mut stream, far) = duplex(64 * 1024);
    tokio::spawn(async move {
        let service = TowerToHyperService::new(proxy);
        let connection = http1::Builder::new().serve_connection(TokioIo::new(far), service);
        let _ = connection.with_upgrades().await;
    });
    stream
        .write_all(&handshake_request("/", &[]))
        .await
        .expect("a duplex");
    assert!(read_head(&mut stream).await.starts_with("HTTP/1.1 101"));
    let account = Account::default();
    let client = client(
        plan,
        stream,
        Arc::clone(&account),
        upstreams.accepted.subscribe(),
    );
    let client = tokio::spawn(client);
    let report = timeout(secs(10_000), ended.recv()).await;
    let Ok(report) = report else {
        let accounts = upstreams.accounts.lock().unwrap();
        panic!("the tunnel never ended: {account:?}, {accounts:?}");
    };
    let report = report.expect("a report");
    client.await.expect("the client panicked");
    // The upstreams read the rest.
    sleep(secs(60)).await;
    let accounts = upstreams.accounts.lock().unwrap();
    let snapshot = |account: &Account| account.lock().unwrap().clone();
    Seen {
        client: snapshot(&account),
        upstreams: accounts.iter().map(snapshot).collect(),
        report,
    }
}

fn reattach(plan: Plan) -> Reattach {
    let restore = |_: ReattachRequest| {
        let restoration = Restoration::new().to_upstream(Message::text(RESTORE));
        ready(restoration.to_client(Message::text(NOTICE)))
    };
    let reattach = Reattach::new()
        .limit(100)
        .replay(plan.replay)
        .max_replayed(1 << 20)
        .swallow(plan.swallow);
    match plan.restores {
        true => reattach.on_reattach(restore),
        false => reattach,
    }
}

impl Connect for Upstreams {
    fn connect<'a>(&'a self, _: &'a Address) -> ConnectFuture<'a> {
        let (near, far) = duplex(self.plan.capacity);
        let account = Account::default();
        let mut accounts = self.accounts.lock().unwrap();
        let number = accounts.len();
        accounts.push(Arc::clone(&account));
        let upstream = upstream(self.plan, number, far, account, self.accepted.clone());
        tokio::spawn(upstream);
        Box::pin(ready(Ok(Transport::new(near))))
    }
}

/// Reads up to the empty line.
async fn read_head(stream: &mut DuplexStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.expect("a head"));
    }
    String::from_utf8(head).expect("text")
}

/// Writer of one endpoint.
struct Writer {
    side: Side,
    stream: WriteHalf<DuplexStream>,
    rng: Xorshift,
    account: Account,
    /// The payloads of pings that came.
    pings: mpsc::UnboundedReceiver<Vec<u8>>,
}

/// The connection is lost.
struct Lost;

impl Writer {
    fn frame(&self, first: u8, payload: &[u8]) -> Vec<u8> {
        from_side(self.side, odd(first, payload))
    }

    /// Writes bytes in random pieces, some of them with a pause after them.
    async fn write(&mut self, mut bytes: &[u8]) -> Result<(), Lost> {
        while !bytes.is_empty() {
            let most = [bytes.len(), 3, 200][self.rng.below(3)];
            let (piece, rest) = bytes.split_at(1 + self.rng.below(most.min(bytes.len())));
            self.stream.write_all(piece).await.map_err(|_| Lost)?;
            bytes = rest;
            if self.rng.below(8) == 0 {
                sleep(ms(self.rng.below(4) as u64)).await;
            }
        }
        Ok(())
    }

    /// Writes a control frame now and then, and the pongs that are due.
    async fn control(&mut self) -> Result<(), Lost> {
        while let Ok(ping) = self.pings.try_recv() {
            let pong = self.frame(0x8A, &ping);
            self.write(&pong).await?;
        }
        if self.rng.below(3) > 0 {
            return Ok(());
        }
        let payload = format!("{:?} {}", self.side, self.rng.next()).into_bytes();
        self.account.lock().unwrap().pings.push(payload.clone());
        let ping = self.frame(0x89, &payload);
        self.write(&ping).await
    }

    /// Writes a text in random fragments, with control frames between them.
    async fn message(&mut self, text: &str) -> Result<(), Lost> {
        let parts = 1 + self.rng.below(4);
        let mut rest = text.as_bytes();
        for part in 1..=parts {
            let len = match part == parts {
                true => rest.len(),
                false => self.rng.below(rest.len() + 1),
            };
            let (payload, after) = rest.split_at(len);
            let opcode = u8::from(part == 1);
            let fin = if part == parts { 0x80 } else { 0 };
            let frame = self.frame(fin | opcode, payload);
            self.write(&frame).await?;
            rest = after;
            if part == parts {
                self.account.lock().unwrap().sent.push(text.to_owned());
            }
            self.control().await?;
        }
        Ok(())
    }

    /// A text with this beginning, and of a random length.
    fn text(&mut self, beginning: &str) -> String {
        let most = [1, 20, 400, 3000][self.rng.below(4)];
        let padding = self.rng.below(most);
        format!("{beginning} {}", "x".repeat(padding))
    }
}

/// Reads all that comes, passes on pings, and returns at a close frame, at the end, or when `until`
/// says so.
async fn read_all(
    mut stream: ReadHalf<DuplexStream>,
    account: &Account,
    pings: mpsc::UnboundedSender<Vec<u8>>,
    mut until: impl FnMut(u8, &[u8]) -> bool,
) {
    let (mut bytes, mut at) = (vec![0; 4096], 0);
    loop {
        let Ok(len @ 1..) = stream.read(&mut bytes).await else {
            return;
        };
        let mut account = account.lock().unwrap();
        account.received.extend(&bytes[..len]);
        while let Some((first, payload, len)) = split_frame(&account.received[at..]) {
            at += len;
            if OpCode::from_bits(first) == OpCode::PING {
                let _ = pings.send(payload.clone());
            }
            if until(first, &payload) || OpCode::from_bits(first) == OpCode::CLOSE {
                return;
            }
        }
    }
}

/// The first byte, the payload and the length of a whole frame.
pub(super) fn split_frame(bytes: &[u8]) -> Option<(u8, Vec<u8>, usize)> {
    let header = FrameHeader::parse(bytes).expect("a valid header")?;
    let start = usize::from(header.header_len());
    let end = start + usize::try_from(header.payload_len()).unwrap();
    let mut payload = bytes.get(start..end)?.to_vec();
    if let Some(key) = header.mask() {
        mask::apply(&mut payload, key, 0);
    }
    Some((bytes[0], payload, end))
}

/// Sends messages until the last upstream has sent its last message, then closes.
async fn client(
    plan: Plan,
    stream: DuplexStream,
    account: Account,
    mut accepted: watch::Receiver<usize>,
) {
    let (read, write) = split(stream);
    let (give, pings) = mpsc::unbounded_channel();
    let mut writer = Writer {
        side: Side::Client,
        stream: write,
        rng: plan.rng(0),
        account: Arc::clone(&account),
        pings,
    };
    let has_ended = Arc::new(watch::Sender::new(false));
    let end = Arc::clone(&has_ended);
    let reading = tokio::spawn(async move {
        let is_end = |first: u8, payload: &[u8]| {
            let is_over = first & 0x0F != 0x0A && payload == END.as_bytes();
            end.send_modify(|ended| *ended |= is_over);
            false
        };
        read_all(read, &account, give, is_end).await;
        end.send_replace(true);
    });
    let mut number = 0;
    let is_over = |accepted: usize| *has_ended.borrow() && accepted >= plan.upstreams;
    while !is_over(*accepted.borrow_and_update()) && !reading.is_finished() {
        let text = writer.text(&format!("client {number}"));
        number += 1;
        if writer.message(&text).await.is_err() {
            break;
        }
        let longest = [1, 50, 3000][writer.rng.below(3)];
        sleep(ms(writer.rng.below(longest) as u64)).await;
    }
    let frame = from_side(Side::Client, close(1000, ""));
    let _ = writer.write(&frame).await;
    let _ = reading.await;
}

/// Sends messages, and is lost some time later, unless it is the last one.
async fn upstream(
    plan: Plan,
    number: usize,
    mut stream: DuplexStream,
    account: Account,
    accepted: watch::Sender<usize>,
) {
    let request = read_head(&mut stream).await;
    let key = value(&request, "sec-websocket-key").expect("a key");
    let accept = derive_accept_key(key.as_bytes());
    let response = format!(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Accept: {accept}\r\n\r\n"
    );
    stream
        .write_all(response.as_bytes())
        .await
        .expect("a duplex");
    accepted.send_replace(number + 1);
    let (read, write) = split(stream);
    let (give, pings) = mpsc::unbounded_channel();
    let mut writer = Writer {
        side: Side::Upstream,
        stream: write,
        rng: plan.rng(number as u64 + 1),
        account: Arc::clone(&account),
        pings,
    };
    let reader = Arc::clone(&account);
    let reading = tokio::spawn(async move { read_all(read, &reader, give, |_, _| false).await });
    let is_last = number + 1 >= plan.upstreams;
    let result = live(plan, &mut writer, number, &reading).await;
    if is_last && result.is_ok() {
        let _ = reading.await;
        let frame = from_side(Side::Upstream, close(1000, ""));
        let _ = writer.write(&frame).await;
        return;
    }
    // Some of what was sent stays unread.
    reading.abort();
    let _ = reading.await;
    account.lock().unwrap().has_ended = result.is_ok();
}

/// The life of an upstream, up to its loss.
async fn live(
    plan: Plan,
    writer: &mut Writer,
    number: usize,
    reading: &JoinHandle<()>,
) -> Result<(), Lost> {
    let is_last = number + 1 >= plan.upstreams;
    // The last message of all must not be among those that are swallowed.
    let least = if is_last { plan.swallow } else { 0 };
    for message in 0..least + writer.rng.below(8) {
        let text = writer.text(&format!("upstream {number} {message}"));
        writer.message(&text).await?;
        let longest = [1, 50, 1000][writer.rng.below(3)];
        sleep(ms(writer.rng.below(longest) as u64)).await;
    }
    if is_last {
        // The client has had the beginning of the connection by then.
        sleep(secs(1)).await;
        let frame = writer.frame(0x81, END.as_bytes());
        writer.write(&frame).await?;
        writer.account.lock().unwrap().sent.push(END.to_owned());
        return Ok(());
    }
    // Long enough after a replay, as a rule.
    let lingers = [0, 6000, 9000, 9000][writer.rng.below(4)];
    sleep(ms(lingers + writer.rng.below(500) as u64)).await;
    if writer.rng.below(3) == 0 {
        reading.abort();
        sleep(ms(writer.rng.below(800) as u64)).await;
    }
    match writer.rng.below(12) {
        0 => {
            let frame = writer.frame(0x01, b"a message that is cut");
            writer.write(&frame).await
        }
        1 => {
            let frame = writer.frame(0x81, b"a frame that is cut");
            let len = 1 + writer.rng.below(frame.len() - 1);
            writer.write(&frame[..len]).await
        }
        2..5 => {
            writer
                .write(&from_side(Side::Upstream, close(1012, "")))
                .await
        }
        _ => Ok(()),
    }
}

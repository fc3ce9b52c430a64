//! The clients.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, split},
    task::JoinSet,
    time::timeout,
};
use wsplice::frame::ControlFrame;

use crate::{
    http::{Client, Exchange},
    target::{Stream, Target},
    wire,
};

/// The work of one connection.
#[derive(Clone, Copy, Debug)]
pub enum Work {
    /// Sends `depth` messages at once, waits for all echoes, begins again.
    Echo { payload: usize, depth: usize },
    /// Receives all that is sent.
    Down,
    /// The same, of the upstream's thread of low priority.
    Flood,
    /// Sends messages of this size.
    Up { payload: usize },
    /// One 16-byte echo, then nothing but pongs.
    Quiet,
    /// Connects, sends a handshake, has 16 bytes echoed, closes, begins again.
    Handshakes,
    /// Plain requests on a connection, one after the other.
    Requests(Exchange),
}

/// No load lasts longer, and no connection does more.
const MAX_TIME: Duration = Duration::from_secs(600);
const MAX_OPS: u64 = 100_000_000;
/// Handshakes under way at once while the connections of a load are opened.
const OPENING: usize = 64;

/// Connections at work. Dropping it ends them all.
pub struct Load {
    tally: Arc<EventCounts>,
    _tasks: JoinSet<()>,
}

impl Load {
    /// Opens the connections, then lets them work.
    pub async fn start(target: &Target, groups: &[(Work, usize)]) -> io::Result<Self> {
        let tally = Arc::new(EventCounts::default());
        let mut tasks = JoinSet::new();
        let mut ready = Vec::new();
        for &(work, connections) in groups {
            ready.extend(opened(target, work, connections).await?);
        }
        for (source, (work, connection)) in ready.into_iter().enumerate() {
            let (tally, target) = (Arc::clone(&tally), target.clone());
            tasks.spawn(async move {
                let work = perform(work, connection, &target, source, &tally);
                if !matches!(timeout(MAX_TIME, work).await, Ok(Ok(()))) {
                    tally.failures.fetch_add(1, Relaxed);
                }
            });
        }
        Ok(Self {
            tally,
            _tasks: tasks,
        })
    }

    pub fn snapshot(&self) -> Snapshot {
        self.tally.snapshot()
    }
}

type Ready = (Work, Option<Stream>);

async fn opened(target: &Target, work: Work, connections: usize) -> io::Result<Vec<Ready>> {
    let path = match work {
        Work::Handshakes => return Ok((0..connections).map(|_| (work, None)).collect()),
        Work::Requests(_) => {
            let mut ready = Vec::new();
            for index in 0..connections {
                ready.push((work, Some(target.connect(index).await?)));
            }
            return Ok(ready);
        }
        Work::Down => "/source",
        Work::Flood => "/flood",
        Work::Up { .. } => "/sink",
        Work::Echo { .. } | Work::Quiet => "/echo",
    };
    let next = Arc::new(AtomicUsize::new(0));
    let mut openers = JoinSet::new();
    for _ in 0..OPENING.min(connections) {
        let (next, target) = (Arc::clone(&next), target.clone());
        openers.spawn(async move {
            let mut opened = Vec::new();
            loop {
                let index = next.fetch_add(1, Relaxed);
                if index >= connections {
                    return io::Result::Ok(opened);
                }
                let opening = timeout(Duration::from_secs(10), target.open(index, path));
                let mut connection = opening.await??;
                if matches!(work, Work::Quiet) {
                    echo_once(&mut connection).await?;
                }
                opened.push((work, Some(connection)));
            }
        });
    }
    let mut ready = Vec::new();
    while let Some(opened) = openers.join_next().await {
        ready.extend(opened.map_err(io::Error::other)??);
    }
    Ok(ready)
}

async fn perform(
    work: Work,
    connection: Option<Stream>,
    target: &Target,
    source: usize,
    tally: &EventCounts,
) -> io::Result<()> {
    let Some(stream) = connection else {
        return handshakes(target, source, tally).await;
    };
    match work {
        Work::Echo { payload, depth } => echoes(stream, payload, depth, tally).await,
        Work::Down | Work::Flood => down(stream, tally).await,
        Work::Up { payload } => up(stream, payload, tally).await,
        Work::Quiet => quiet(stream, tally).await,
        Work::Requests(exchange) => requests(Client::new(stream, exchange), tally).await,
        Work::Handshakes => Ok(()),
    }
}

async fn echoes(
    stream: Stream,
    payload: usize,
    depth: usize,
    tally: &EventCounts,
) -> io::Result<()> {
    let request = wire::client_frame(payload).repeat(depth);
    let mut answer = vec![0; wire::server_frame(payload).len() * depth];
    let (mut from, mut to) = split(stream);
    for _ in 0..MAX_OPS {
        let began = Instant::now();
        if request.len() <= 4096 {
            to.write_all(&request).await?;
            from.read_exact(&mut answer).await?;
        } else {
            // Both at once: a large echo begins to come back before it is all sent.
            tokio::try_join!(to.write_all(&request), from.read_exact(&mut answer))?;
        }
        tally.latencies.add(began.elapsed());
        tally.ops.fetch_add(depth as u64, Relaxed);
    }
    Ok(())
}

async fn down(mut stream: Stream, tally: &EventCounts) -> io::Result<()> {
    let mut buffer = vec![0; 256 * 1024];
    for _ in 0..MAX_OPS {
        let read = stream.read(&mut buffer).await?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        tally.bytes.fetch_add(read as u64, Relaxed);
    }
    Ok(())
}

async fn up(mut stream: Stream, payload: usize, tally: &EventCounts) -> io::Result<()> {
    let frame = wire::client_frame(payload);
    for _ in 0..MAX_OPS {
        stream.write_all(&frame).await?;
        tally.bytes.fetch_add(frame.len() as u64, Relaxed);
    }
    Ok(())
}

/// Answers pings, as browsers do.
async fn quiet(mut stream: Stream, tally: &EventCounts) -> io::Result<()> {
    for _ in 0..MAX_OPS {
        let mut buffer = [0; 256];
        let read = stream.read(&mut buffer).await?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if let Ok(Some((ping, _))) = ControlFrame::parse(&buffer[..read])
            && let Some(pong) = ping.answer()
        {
            stream.write_all(&pong.encode(Some([1, 2, 3, 4]))).await?;
            tally.ops.fetch_add(1, Relaxed);
        }
    }
    Ok(())
}

async fn requests(mut client: Client, tally: &EventCounts) -> io::Result<()> {
    for _ in 0..MAX_OPS {
        let began = Instant::now();
        let count = |bytes| {
            tally.bytes.fetch_add(bytes as u64, Relaxed);
        };
        client.perform(count).await?;
        tally.latencies.add(began.elapsed());
        tally.ops.fetch_add(1, Relaxed);
    }
    Ok(())
}

async fn handshakes(target: &Target, source: usize, tally: &EventCounts) -> io::Result<()> {
    for _ in 0..MAX_OPS {
        let began = Instant::now();
        handshake(target, source).await?;
        tally.latencies.add(began.elapsed());
        tally.ops.fetch_add(1, Relaxed);
    }
    Ok(())
}

/// Opens a tunnel, has 16 bytes echoed, and closes.
pub async fn handshake(target: &Target, source: usize) -> io::Result<()> {
    let mut stream = target.open(source, "/echo").await?;
    echo_once(&mut stream).await?;
    stream.shutdown().await?;
    // Read to the end: the proxy may still send something.
    match stream.read_to_end(&mut Vec::new()).await {
        // Behind TLS: nginx closes the connection without an alert (RFC 8446 §6.1).
        Err(error) if error.kind() != io::ErrorKind::UnexpectedEof => Err(error),
        _ => Ok(()),
    }
}

async fn echo_once(stream: &mut Stream) -> io::Result<()> {
    stream.write_all(&wire::client_frame(16)).await?;
    stream.read_exact(&mut [0; 18]).await.map(drop)
}

/// Counts of all connections of a load.
#[derive(Default)]
struct EventCounts {
    ops: AtomicU64,
    bytes: AtomicU64,
    failures: AtomicU64,
    latencies: Latencies,
}

impl EventCounts {
    fn snapshot(&self) -> Snapshot {
        Snapshot {
            at: Instant::now(),
            ops: self.ops.load(Relaxed),
            bytes: self.bytes.load(Relaxed),
            failures: self.failures.load(Relaxed),
            latencies: self.latencies.0.iter().map(|n| n.load(Relaxed)).collect(),
        }
    }
}

/// A tally at one moment.
pub struct Snapshot {
    pub at: Instant,
    pub ops: u64,
    pub bytes: u64,
    pub failures: u64,
    latencies: Vec<u64>,
}

impl Snapshot {
    /// Latency in nanoseconds that this share of the operations since `before` stayed below.
    pub fn percentile_since(&self, before: &Self, share: f64) -> Option<f64> {
        let counts = || {
            let pairs = self.latencies.iter().zip(&before.latencies);
            pairs.map(|(now, then)| now - then)
        };
        let wanted = (counts().sum::<u64>() as f64 * share).ceil() as u64;
        let mut passed = 0;
        let index = counts().position(|count| {
            passed += count;
            passed >= wanted.max(1)
        })?;
        Some(Latencies::middle(index))
    }
}

/// A histogram: 64 steps for each doubling, so 1.6 % of error at most.
struct Latencies(Box<[AtomicU64]>);

const STEPS: u64 = 64;

impl Default for Latencies {
    fn default() -> Self {
        Self((0..40 * STEPS).map(|_| AtomicU64::new(0)).collect())
    }
}

impl Latencies {
    fn add(&self, latency: Duration) {
        let nanos = (latency.as_nanos() as u64).max(STEPS);
        let doublings = u64::from(nanos.ilog2() - STEPS.ilog2());
        let index = doublings * STEPS + (nanos >> doublings) - STEPS;
        if let Some(count) = self.0.get(index as usize) {
            count.fetch_add(1, Relaxed);
        }
    }

    fn middle(index: usize) -> f64 {
        let (doublings, step) = (index as u64 / STEPS, index as u64 % STEPS);
        (STEPS + step) as f64 * 2_f64.powi(doublings as i32) + 2_f64.powi(doublings as i32) / 2.0
    }
}

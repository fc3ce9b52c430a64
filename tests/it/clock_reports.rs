//! Every end is reported once, whatever becomes of the tunnel's task and of the host's code in it.

use std::{
    future::Future,
    io,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Waker},
};

use hyper::server::conn::http1;
use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf, duplex},
    runtime::Builder,
    time::{Instant, sleep},
};
use wsplice::{
    Drain, Error, ErrorKind, KeepAlive, Observer, ProxyLayer, Registry, TunnelInfo, TunnelReport,
    connect::{Address, Connect, ConnectFuture, Transport},
    observe::RequestInfo,
    tunnel::{Drained, Rtt, Side, Tunnel, TunnelBuilder, TunnelEnd},
};

use super::{
    clock_kit::secs,
    clock_upstreams::{Does, Got, World, crowd},
    support::raw::handshake_request,
};

/// The calls of an observer, in order.
#[derive(Clone, Debug, Default)]
struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    fn write(&self, line: String) {
        self.0.lock().unwrap().push(line);
    }

    fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }

    fn count(&self, line: &str) -> usize {
        self.lines().iter().filter(|other| *other == line).count()
    }
}

impl Observer for Log {
    fn handshake_failed(&self, handshake: &RequestInfo<'_>, error: &Error) {
        self.write(format!(
            "failed {:?} after {:?}",
            error.kind(),
            handshake.elapsed
        ));
    }

    fn tunnel_opened(&self, _tunnel: &TunnelInfo) {
        self.write("opened".into());
    }

    fn tunnel_closed(&self, _tunnel: &TunnelInfo, report: &TunnelReport) {
        self.write(format!("closed: {}", report.end));
    }
}

/// Panics wherever a tunnel calls it, after it has written that down.
#[derive(Debug)]
struct Broken(Log);

impl Observer for Broken {
    fn tunnel_opened(&self, tunnel: &TunnelInfo) {
        self.0.tunnel_opened(tunnel);
        panic!("this observer is broken");
    }

    fn pong(&self, _tunnel: &TunnelInfo, side: Side, _rtt: Rtt) {
        self.0.write(format!("pong of the {side}"));
        panic!("this observer is broken");
    }

    fn tunnel_closed(&self, tunnel: &TunnelInfo, report: &TunnelReport) {
        self.0.tunnel_closed(tunnel, report);
        panic!("this observer is broken");
    }
}

/// The drain's future, polled while the end of a tunnel is being observed.
type Running = Pin<Box<dyn Future<Output = Drained> + Send>>;

#[derive(Default)]
struct PollsTheDrain {
    running: Mutex<Option<Running>>,
    was_over: AtomicBool,
}

impl std::fmt::Debug for PollsTheDrain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PollsTheDrain")
    }
}

/// What an observer of a layer is, shared with the test.
#[derive(Debug)]
struct Shared(Arc<PollsTheDrain>);

impl Observer for Shared {
    fn tunnel_closed(&self, _tunnel: &TunnelInfo, _report: &TunnelReport) {
        let mut running = self.0.running.lock().unwrap();
        let running = running.as_mut().expect("a drain that runs");
        let mut cx = Context::from_waker(Waker::noop());
        if running.as_mut().poll(&mut cx).is_ready() {
            self.0.was_over.store(true, Ordering::Relaxed);
        }
    }
}

/// A stream that panics when it is read, once this is set.
struct Trap<S>(S, Arc<AtomicBool>);

impl<S: AsyncRead + Unpin> AsyncRead for Trap<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        assert!(!self.1.load(Ordering::Relaxed), "this stream is broken");
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Trap<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

/// Connects like the world does, after some time, and to streams that can be made to panic.
#[derive(Clone, Debug)]
struct Detour {
    world: World,
    after: std::time::Duration,
    trap: Arc<AtomicBool>,
}

impl Connect for Detour {
    fn connect<'a>(&'a self, address: &'a Address) -> ConnectFuture<'a> {
        Box::pin(async move {
            sleep(self.after).await;
            let stream = self.world.connect(address).await?;
            Ok(Transport::new(Trap(stream, Arc::clone(&self.trap))))
        })
    }
}

fn observed(world: &World, observer: impl Observer + 'static) -> ProxyLayer {
    ProxyLayer::new(world.pool())
        .connector(world.clone())
        .observer(observer)
}

async fn open(layer: &ProxyLayer, tunnels: usize) -> Vec<Got> {
    let got = crowd(&layer.clone().into_service(), tunnels).await;
    assert!(got.iter().all(|got| got.status == 101));
    tokio::task::yield_now().await;
    got
}

#[tokio::test(start_paused = true)]
async fn a_drain_is_not_over_before_the_last_report_was_shown() {
    let world = World::of([Does::Accept]);
    let observer = Arc::new(PollsTheDrain::default());
    let layer = observed(&world, Shared(Arc::clone(&observer)));
    let _clients = open(&layer, 1).await;
    let drain = layer.drain();
    let mut running: Running = Box::pin(async move { drain.run().await });
    let mut cx = Context::from_waker(Waker::noop());
    assert!(running.as_mut().poll(&mut cx).is_pending());
    *observer.running.lock().unwrap() = Some(running);
    while layer.registry().count() > 0 {
        sleep(secs(1)).await;
    }
    assert!(!observer.was_over.load(Ordering::Relaxed));
    let running = observer.running.lock().unwrap().take().unwrap();
    assert_eq!(
        running.await.aborted,
        1,
        "neither side has answered its close"
    );
}

#[test]
fn tunnels_that_go_with_their_runtime_are_reported() {
    let runtime = Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap();
    let log = Log::default();
    let world = World::of([Does::Accept]);
    let layer = observed(&world, log.clone());
    let clients = runtime.block_on(open(&layer, 20));
    assert_eq!(log.count("opened"), 20);
    drop(runtime);
    assert_eq!(log.count("closed: dropped"), 20);
    assert_eq!(log.lines().len(), 40);
    assert_eq!(layer.registry().count(), 0);
    drop(clients);
}

#[tokio::test(start_paused = true)]
async fn a_tunnel_whose_task_panics_is_reported_once() {
    let (log, world) = (Log::default(), World::of([Does::Accept]));
    let trap = Arc::default();
    let detour = Detour {
        world: world.clone(),
        after: secs(0),
        trap: Arc::clone(&trap),
    };
    let layer = observed(&world, Broken(log.clone())).connector(detour);
    let mut clients = open(&layer, 1).await;
    trap.store(true, Ordering::Relaxed);
    // A byte for it to wake up by.
    clients[0].stream.write_all(&[0x81]).await.unwrap();
    sleep(secs(1)).await;
    assert_eq!(log.lines(), ["opened", "closed: dropped"]);
    assert_eq!(layer.registry().count(), 0);
    assert_eq!(layer.drain().run().await.closed, 0, "it holds no drain up");
}

/// The paths and the ends that a host was shown.
type Reports = Arc<Mutex<Vec<(Box<str>, TunnelEnd)>>>;

/// A tunnel of a host, and the reports of its end.
fn hosted() -> (TunnelBuilder, Reports) {
    let reports = Reports::default();
    let sink = Arc::clone(&reports);
    let builder = Tunnel::builder(Transport::new(duplex(64).0), Transport::new(duplex(64).0))
        .on_end(move |info, report| {
            let line = (info.path.clone(), report.end.clone());
            sink.lock().unwrap().push(line);
        });
    (builder, reports)
}

#[tokio::test(start_paused = true)]
async fn a_tunnel_of_a_host_reports_once_also_when_it_is_dropped() {
    let registry = Registry::new();
    let chat = || TunnelInfo::new("ws://upstream", "/chat");
    let (builder, reports) = hosted();
    let tunnel = builder.registry(&registry, chat()).build();
    drop(tunnel);
    assert_eq!(
        *reports.lock().unwrap(),
        [("/chat".into(), TunnelEnd::Dropped)]
    );
    let (builder, reports) = hosted();
    let tunnel = builder.registry(&registry, chat()).build();
    assert!(tunnel.handle().info().opened <= std::time::SystemTime::now());
    let end = tunnel.await.end;
    assert_eq!(*reports.lock().unwrap(), [("/chat".into(), end)]);
    let (builder, reports) = hosted();
    drop(builder);
    assert!(reports.lock().unwrap().is_empty(), "it never was a tunnel");
    assert_eq!(registry.count(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_function_for_the_end_that_panics_keeps_no_drain_waiting() {
    let registry = Registry::new();
    let (client, _far_client) = duplex(64);
    let (upstream, _far_upstream) = duplex(64);
    let tunnel = Tunnel::builder(Transport::new(client), Transport::new(upstream))
        .registry(&registry, TunnelInfo::new("ws://upstream", "/"))
        .on_end(|_, _| std::panic::resume_unwind(Box::new(())))
        .build();
    let tunnel = tokio::spawn(tunnel);
    assert_eq!(Drain::new(&registry).run().await.aborted, 1);
    assert_eq!(tunnel.await.unwrap().end, TunnelEnd::Drained);
}

#[tokio::test(start_paused = true)]
async fn the_facts_of_a_tunnel_outside_a_registry_are_those_of_its_host() {
    let (builder, reports) = hosted();
    let tunnel = builder
        .info(TunnelInfo::new("ws://upstream", "/alone"))
        .build();
    assert_eq!(&*tunnel.handle().info().path, "/alone");
    drop(tunnel);
    assert_eq!(&*reports.lock().unwrap()[0].0, "/alone");
}

#[tokio::test(start_paused = true)]
async fn a_handle_does_not_keep_the_task_of_a_tunnel_that_is_over() {
    struct Task;
    impl std::task::Wake for Task {
        fn wake(self: Arc<Self>) {}
    }
    let (client, far_client) = duplex(64);
    let (upstream, far_upstream) = duplex(64);
    let mut tunnel = Box::pin(Tunnel::new(
        Transport::new(client),
        Transport::new(upstream),
    ));
    let handle = tunnel.handle();
    let task = Arc::new(Task);
    let waker = Waker::from(Arc::clone(&task));
    let polled = tunnel.as_mut().poll(&mut Context::from_waker(&waker));
    assert!(polled.is_pending());
    drop((tunnel, waker, far_client, far_upstream));
    assert!(handle.is_over());
    assert_eq!(Arc::strong_count(&task), 1);
}

#[tokio::test(start_paused = true)]
async fn an_observer_that_panics_ends_no_tunnel() {
    let (log, world) = (Log::default(), World::of([Does::Accept]));
    let layer = observed(&world, Broken(log.clone())).keep_alive(KeepAlive::default().jitter(0.0));
    let mut clients = open(&layer, 1).await;
    let client = &mut clients[0].stream;
    let mut ping = [0; 10];
    client.read_exact(&mut ping).await.unwrap();
    assert_eq!(ping[0], 0x89, "the tunnel runs");
    ping[0] = 0x8A;
    let masked = [&[0x8A, 0x88, 0, 0, 0, 0], &ping[2..]].concat();
    client.write_all(&masked).await.unwrap();
    sleep(secs(1)).await;
    assert_eq!(log.lines(), ["opened", "pong of the client"]);
    assert_eq!(layer.registry().count(), 1);
    let drained = layer.drain().run().await;
    assert_eq!(drained.aborted, 1, "neither side has answered its close");
    assert_eq!(log.count("closed: drained"), 1);
    assert_eq!(log.lines().len(), 3);
}

/// The upstream took two seconds to connect, and then the client was never handed over.
#[tokio::test(start_paused = true)]
async fn the_time_of_a_lost_client_counts_from_the_request_and_by_a_steady_clock() {
    let (log, world) = (Log::default(), World::of([Does::Accept]));
    let detour = Detour {
        world: world.clone(),
        after: secs(2),
        trap: Arc::default(),
    };
    let layer = observed(&world, log.clone()).connector(detour);
    let service = TowerToHyperService::new(layer.clone().into_service());
    let (mut client, server) = duplex(16 * 1024);
    // Without upgrades: the server does not hand the connection over.
    let server = http1::Builder::new().serve_connection(TokioIo::new(server), service);
    client
        .write_all(&handshake_request("/ws", &[]))
        .await
        .unwrap();
    let began = Instant::now();
    let _ = server.await;
    while layer.registry().count() > 0 {
        sleep(secs(1)).await;
    }
    sleep(secs(1)).await;
    let kind = ErrorKind::ClientUpgrade;
    let lines = log.lines();
    assert_eq!(lines.len(), 1);
    assert!(
        lines[0].starts_with(&format!("failed {kind:?} after 2")) && began.elapsed() >= secs(2),
        "{lines:?}"
    );
}

#[test]
fn a_session_that_goes_before_the_client_was_handed_over_is_reported() {
    let runtime = Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap();
    let (log, world) = (Log::default(), World::of([Does::Accept]));
    let layer = observed(&world, log.clone());
    // Too narrow for the 101, which the client does not read: the server is not done with it.
    let (mut client, server) = duplex(64);
    runtime.block_on(async {
        let service = TowerToHyperService::new(layer.clone().into_service());
        let server = http1::Builder::new().serve_connection(TokioIo::new(server), service);
        tokio::spawn(server.with_upgrades());
        let request = handshake_request("/ws", &[]);
        client.write_all(&request).await.unwrap();
        sleep(secs(1)).await;
        assert_eq!(layer.registry().count(), 1);
    });
    drop(runtime);
    let lines = log.lines();
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].starts_with("failed ClientUpgrade"), "{lines:?}");
}

#[test]
fn what_an_observer_is_shown_can_be_built_by_hosts() {
    let log = Log::default();
    let info = TunnelInfo::new("ws://upstream", "/");
    let mut report = TunnelReport::new(TunnelEnd::Closed, Side::Client);
    report.client_rtt = Some(Rtt::first(secs(1)).with(secs(3)));
    assert_eq!(report.client_rtt.unwrap().min(), secs(1));
    log.tunnel_closed(&info, &report);
    assert_eq!(log.lines(), ["closed: closed"]);
    let _ = Drain::new(&Registry::new());
}

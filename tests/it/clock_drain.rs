//! Drains and commands on a paused clock, on tunnels that a host runs by itself.

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, duplex},
    time::{Instant, sleep, timeout},
};
use wsplice::{
    Drain, Registry, TunnelConfig, TunnelInfo,
    connect::Transport,
    frame::{CloseCode, CloseFrame},
    tunnel::{Tunnel, TunnelEnd},
};

use super::{
    clock_kit::{ms, secs},
    clock_listed::{answer_close, builder, going_away, polite, polite_as},
    support::frames::MASK,
};

#[tokio::test(start_paused = true)]
async fn resuming_while_a_drain_runs_kills_no_new_tunnel() {
    let registry = Registry::new();
    let drain = Drain::new(&registry).deadline(secs(60));
    // One that answers nothing, so that the drain still runs when it is called off.
    let config = TunnelConfig::new().close_timeout(secs(10));
    let (mute, _client, _upstream) = builder(&registry);
    let mute = tokio::spawn(mute.config(config).build());
    let running = drain.clone();
    let drained = tokio::spawn(async move { running.run().await });
    sleep(secs(1)).await;
    drain.resume();
    let new = polite(&registry);
    let drained = drained.await.unwrap();
    assert_eq!((drained.closed, drained.aborted), (0, 0), "none was over");
    mute.await.unwrap();
    sleep(secs(3600)).await;
    assert!(!new.handle.is_over());
    assert_eq!(registry.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn after_a_resume_no_tunnel_gets_the_close_that_was_announced() {
    let registry = Registry::new();
    let tunnels: Vec<_> = (0..20).map(|_| polite(&registry)).collect();
    let drain = Drain::new(&registry).spread(secs(20));
    let running = drain.clone();
    let drained = tokio::spawn(async move { running.run().await });
    sleep(secs(10)).await;
    drain.resume();
    let drained = drained.await.unwrap();
    assert!((8..=12).contains(&drained.closed), "{drained:?}");
    sleep(secs(3600)).await;
    assert_eq!(registry.count(), 20 - drained.closed);
    let over = tunnels.iter().filter(|tunnel| tunnel.handle.is_over());
    assert_eq!(over.count(), drained.closed);
}

#[tokio::test(start_paused = true)]
async fn a_resume_leaves_the_closes_of_others_as_they_are() {
    let registry = Registry::new();
    let tunnel = polite(&registry);
    let token = CloseFrame::new(CloseCode::POLICY_VIOLATION, "token expired");
    tunnel.handle.close_at(token, Instant::now() + secs(8));
    let drain = Drain::new(&registry).spread(secs(6));
    let running = drain.clone();
    let drained = tokio::spawn(async move { running.run().await });
    tokio::task::yield_now().await;
    drain.resume();
    drained.await.unwrap();
    let seen = tunnel.client.await.unwrap();
    assert_eq!(seen, Some((secs(8), 1008, "token expired".into())));
    assert_eq!(tunnel.tunnel.await.unwrap().end, TunnelEnd::Requested);
}

#[tokio::test(start_paused = true)]
async fn a_later_close_postpones_no_earlier_one() {
    let registry = Registry::new();
    let tunnel = polite(&registry);
    let drain = Drain::new(&registry).spread(secs(2));
    tokio::spawn(async move { drain.run().await });
    tokio::task::yield_now().await;
    let late = Instant::now() + secs(60);
    tunnel.handle.close_at(going_away("late"), late);
    tunnel.handle.cancel_close_at();
    let (came, code, reason) = tunnel.client.await.unwrap().expect("a close frame");
    assert!(came <= secs(2), "{came:?}");
    assert_eq!((code, reason.as_str()), (1001, "going away"));
}

#[tokio::test(start_paused = true)]
async fn a_close_of_the_handle_can_be_put_off_and_called_off() {
    let registry = Registry::new();
    let (put_off, called_off) = (polite(&registry), polite(&registry));
    let now = Instant::now();
    for tunnel in [&put_off, &called_off] {
        let handle = &tunnel.handle;
        handle.close_at(going_away("first"), now + secs(2));
    }
    sleep(secs(1)).await;
    // As a token that is renewed again and again.
    for renewal in 0..1000 {
        let later = now + secs(60 + renewal);
        put_off.handle.close_at(going_away("put off"), later);
    }
    called_off.handle.cancel_close_at();
    let seen = put_off.client.await.unwrap();
    assert_eq!(seen, Some((secs(1059), 1001, "put off".into())));
    sleep(secs(3600)).await;
    assert!(!called_off.handle.is_over());
}

#[tokio::test(start_paused = true)]
async fn an_earlier_close_goes_before_one_that_was_announced() {
    let registry = Registry::new();
    let tunnel = polite(&registry);
    let now = Instant::now();
    tunnel.handle.close_at(going_away("late"), now + secs(60));
    sleep(secs(1)).await;
    tunnel.handle.close_at(going_away("soon"), now + secs(2));
    let seen = tunnel.client.await.unwrap();
    assert_eq!(seen, Some((secs(2), 1001, "soon".into())));
}

/// With a spread of a minute half of the clients were reset at the default deadline, without a
/// close frame.
#[tokio::test(start_paused = true)]
async fn a_spread_beyond_the_deadline_leaves_no_client_without_a_close_frame() {
    let registry = Registry::new();
    let tunnels: Vec<_> = (0..50).map(|_| polite(&registry)).collect();
    let began = Instant::now();
    let drained = Drain::new(&registry).spread(secs(60)).run().await;
    assert_eq!((drained.closed, drained.aborted), (50, 0));
    assert!(began.elapsed() <= secs(25) + ms(1));
    for tunnel in tunnels {
        let (_, code, _) = tunnel.client.await.unwrap().expect("a close frame");
        assert_eq!(code, 1001);
    }
}

#[tokio::test(start_paused = true)]
async fn tunnels_that_come_late_do_not_move_the_deadline() {
    let registry = Registry::new();
    let patient = TunnelConfig::new().close_timeout(secs(3600));
    let began = Instant::now();
    let mut ends = Vec::new();
    let mut start = || {
        let (builder, client, upstream) = builder(&registry);
        ends.push((client, upstream));
        tokio::spawn(builder.config(patient.clone()).build());
    };
    start();
    let drain = Drain::new(&registry);
    let drained = tokio::spawn(async move { drain.run().await });
    for _ in 0..4 {
        sleep(secs(7)).await;
        // Its handshake was under way when the drain began.
        start();
    }
    let drained = drained.await.unwrap();
    assert_eq!(began.elapsed(), secs(30));
    assert_eq!((drained.closed, drained.aborted), (0, 5));
}

#[tokio::test(start_paused = true)]
async fn a_tunnel_that_enters_while_a_drain_runs_is_closed_and_counted() {
    let registry = Registry::new();
    let (builder, _client, _upstream) = builder(&registry);
    tokio::spawn(builder.build());
    let drain = Drain::new(&registry);
    let drained = tokio::spawn(async move { drain.run().await });
    sleep(secs(1)).await;
    let late = polite(&registry);
    let seen = late.client.await.unwrap();
    assert_eq!(seen, Some((secs(0), 1001, "going away".into())));
    assert_eq!(late.tunnel.await.unwrap().end, TunnelEnd::Drained);
    let drained = drained.await.unwrap();
    assert_eq!((drained.closed, drained.aborted), (1, 1), "the mute is cut");
}

#[tokio::test(start_paused = true)]
async fn a_tunnel_that_is_cut_at_its_close_timeout_counts_as_aborted() {
    let registry = Registry::new();
    let polite = polite(&registry);
    let (mute, _client, _upstream) = builder(&registry);
    tokio::spawn(mute.build());
    let began = Instant::now();
    let drained = Drain::new(&registry).run_where(|_| true).await;
    assert_eq!((drained.closed, drained.aborted), (1, 1));
    assert_eq!(began.elapsed(), secs(5), "the close timeout");
    assert_eq!(polite.tunnel.await.unwrap().end, TunnelEnd::Drained);
}

#[tokio::test(start_paused = true)]
async fn a_drain_of_a_key_ends_its_tunnels_in_every_registry_and_no_others() {
    let registries = [Registry::new(), Registry::new()];
    let drain = Drain::all(&registries.each_ref().map(Drain::new)).close_frame(going_away("moved"));
    let open = |registry, key| {
        let mut info = TunnelInfo::new("ws://upstream", "/");
        info.set_key(key);
        polite_as(registry, info)
    };
    let alice: Vec<_> = registries.iter().map(|it| open(it, "alice")).collect();
    let others = [open(&registries[0], "bob"), polite(&registries[0])];
    let drained = drain.run_by_key("alice").await;
    assert_eq!((drained.closed, drained.aborted), (2, 0));
    for tunnel in alice {
        let seen = tunnel.client.await.unwrap();
        assert_eq!(seen, Some((secs(0), 1001, "moved".into())));
    }
    assert!(others.iter().all(|tunnel| !tunnel.handle.is_over()));
    assert!(!drain.is_draining(), "new tunnels are not refused");
    assert_eq!(drain.run_by_key("alice").await, Default::default());
}

#[tokio::test(start_paused = true)]
async fn a_tunnel_that_is_not_polled_holds_no_drain_up() {
    let registry = Registry::new();
    let (builder, _client, _upstream) = builder(&registry);
    let forgotten = builder.build();
    let drain = Drain::new(&registry).deadline(secs(10));
    let began = Instant::now();
    let drained = drain.run().await;
    assert_eq!((drained.closed, drained.aborted), (0, 1));
    assert_eq!(began.elapsed(), secs(11), "and a second after the abort");
    let drained = drain.run_where(|_| true).await;
    assert_eq!((drained.closed, drained.aborted), (0, 1));
    assert_eq!(began.elapsed(), secs(22));
    drop(forgotten);
    assert_eq!(registry.count(), 0);
    assert_eq!(drain.run().await.aborted, 0);
}

#[tokio::test(start_paused = true)]
async fn a_tunnel_that_moves_to_another_task_is_woken_there() {
    let registry = Registry::new();
    let (builder, client, upstream) = builder(&registry);
    let mut tunnel = builder.build();
    let handle = tunnel.handle();
    let polled = tokio::time::timeout(secs(1), &mut tunnel).await;
    assert!(polled.is_err(), "nothing happens");
    tokio::spawn(answer_close(upstream, None));
    let client = tokio::spawn(answer_close(client, Some(MASK)));
    let tunnel = tokio::spawn(tunnel);
    sleep(secs(1)).await;
    handle.close(going_away("moved"));
    assert_eq!(client.await.unwrap(), Some((secs(1), 1001, "moved".into())));
    assert_eq!(tunnel.await.unwrap().end, TunnelEnd::Requested);
    assert!(handle.is_over());
}

#[tokio::test(start_paused = true)]
async fn a_handle_aborts_and_shows_the_figures() {
    let registry = Registry::new();
    let (builder, mut client, mut upstream) = builder(&registry);
    let tunnel = builder.build();
    let handle = tunnel.handle();
    let tunnel = tokio::spawn(tunnel);
    upstream.write_all(&[0x81, 1, b'x']).await.unwrap();
    client.read_exact(&mut [0; 3]).await.unwrap();
    let status = handle.status();
    assert_eq!((status.upstream.bytes, status.upstream.frames), (3, 1));
    assert_eq!(&*status.info.upstream, "ws://upstream");
    assert_eq!(status.info.id, registry.list()[0].info.id);
    handle.abort();
    assert_eq!(tunnel.await.unwrap().end, TunnelEnd::Requested);
    let mut rest = Vec::new();
    client.read_to_end(&mut rest).await.unwrap();
    assert_eq!(rest, b"", "no close frame");
}

#[tokio::test(start_paused = true)]
async fn a_panic_of_the_function_that_changes_close_frames_changes_none() {
    let registry = Registry::new();
    let config = TunnelConfig::new()
        .max_lifetime(secs(9))
        .lifetime_jitter(0.0)
        .map_close_frame(|_, _, _| panic!("this function is broken"));
    let (builder, client, upstream) = builder(&registry);
    tokio::spawn(answer_close(upstream, None));
    let client = tokio::spawn(answer_close(client, Some(MASK)));
    let report = tokio::spawn(builder.config(config).build()).await;
    assert!(matches!(report.unwrap().end, TunnelEnd::Timeout(..)));
    let (_, code, _) = client.await.unwrap().expect("a close frame");
    assert_eq!(code, 1001);
}

#[tokio::test(start_paused = true)]
async fn bytes_that_trickle_pin_no_tunnel_behind_a_drain_that_was_dropped() {
    let registry = Registry::new();
    let (builder, mut client, upstream) = builder(&registry);
    let began = Instant::now();
    let tunnel = tokio::spawn(builder.build());
    // A frame that never ends keeps the upstream's close frame waiting.
    client.write_all(&[0x82, 0xFE, 0xFF, 0xFF]).await.unwrap();
    sleep(ms(1)).await;
    let drain = Drain::new(&registry).deadline(secs(100));
    assert!(timeout(secs(1), drain.run()).await.is_err());
    let trickle = async {
        for _ in 0..60 {
            sleep(secs(4)).await;
            if client.write_all(&[7]).await.is_err() {
                return;
            }
        }
    };
    let report = async {
        let report = tunnel.await.unwrap();
        (report.end, began.elapsed())
    };
    let ((), (end, after)) = tokio::join!(trickle, report);
    assert_eq!((end, after), (TunnelEnd::Drained, secs(100) + ms(1)));
    drop(upstream);
}

#[tokio::test(start_paused = true)]
async fn a_drain_cuts_no_client_that_takes_what_waits_for_it_slowly() {
    let registry = Registry::new();
    let (mut client, near_client) = duplex(64);
    let (mut upstream, near_upstream) = duplex(128 * 1024);
    let tunnel = Tunnel::builder(Transport::new(near_client), Transport::new(near_upstream))
        .registry(&registry, TunnelInfo::new("ws://upstream", "/"))
        .build();
    let tunnel = tokio::spawn(tunnel);
    // All of it is read before the drain begins, and waits in the tunnel.
    let frame = [&[0x82, 126, 0xEA, 0x60][..], &[7; 60_000]].concat();
    upstream.write_all(&frame).await.unwrap();
    sleep(secs(1)).await;
    let drain = Drain::new(&registry).deadline(secs(200));
    let drained = tokio::spawn(async move { drain.run().await });
    tokio::spawn(answer_close(upstream, None));
    let mut got = vec![0; frame.len()];
    for part in got.chunks_mut(700) {
        client.read_exact(part).await.unwrap();
        sleep(secs(1)).await;
    }
    assert!(got == frame);
    let seen = answer_close(client, Some(MASK)).await;
    assert_eq!(seen.expect("a close frame").1, 1001);
    let drained = drained.await.unwrap();
    assert_eq!((drained.closed, drained.aborted), (1, 0));
    assert_eq!(tunnel.await.unwrap().unanswered_close, None);
}

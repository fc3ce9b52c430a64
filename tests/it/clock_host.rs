//! The host's decisions on a paused clock: their timeout, the deadlines that they set, and the rates
//! of keys.

use std::{
    future::pending,
    time::{Duration, SystemTime},
};

use http::StatusCode;
use tokio::{
    io::AsyncReadExt,
    time::{Instant, sleep},
};
use wsplice::{
    AuthorizationRequest, Drain, KeepAlive, KeyLimit, ProxyLayer, Registry, Rejection,
    RequestOptions, TunnelConfig,
    frame::{CloseCode, CloseFrame},
    proxy::{Proxy, UpgradeRequired},
    tunnel::{TunnelEnd, registry::LayerTunnels},
};

use super::{
    clock_upstreams::{Does, Got, World, shake_hands, shake_hands_for, value},
    support::clock::secs,
};

fn proxy(settings: impl FnOnce(ProxyLayer) -> ProxyLayer) -> Proxy<UpgradeRequired> {
    let world = World::of([Does::Accept]);
    world.proxy(&world.pool().build(), settings)
}

/// Reads the next frame from the proxy: opcode and payload.
async fn frame(got: &mut Got) -> (u8, Vec<u8>) {
    let mut head = [0; 2];
    got.stream.read_exact(&mut head).await.expect("a frame");
    let mut payload = vec![0; usize::from(head[1] & 0x7f)];
    got.stream
        .read_exact(&mut payload)
        .await
        .expect("a payload");
    (head[0] & 0x0f, payload)
}

async fn close_frame(got: &mut Got) -> (u16, String) {
    let (opcode, payload) = frame(got).await;
    assert_eq!(opcode, 8);
    let code = u16::from_be_bytes([payload[0], payload[1]]);
    (code, String::from_utf8(payload[2..].to_vec()).unwrap())
}

#[tokio::test(start_paused = true)]
async fn a_function_that_takes_too_long_is_a_503_with_retry_after() {
    let hang = |_: AuthorizationRequest| async {
        pending::<()>().await;
        Ok::<_, Rejection>(())
    };
    for (timeout, after) in [(None, secs(5)), (Some(secs(60)), secs(60))] {
        let proxy = proxy(|layer| {
            let layer = layer.authorize(hang);
            match timeout {
                Some(timeout) => layer.authorization_timeout(timeout),
                None => layer,
            }
        });
        let got = shake_hands(proxy).await;
        assert_eq!((got.status, got.after), (503, after));
        assert!(value(&got.head, "retry-after").is_some());
    }
}

#[tokio::test(start_paused = true)]
async fn a_function_may_wait() {
    let proxy = proxy(|layer| {
        layer.authorize(|_| async {
            sleep(secs(4)).await;
            Ok::<_, Rejection>(())
        })
    });
    let got = shake_hands(proxy).await;
    assert_eq!((got.status, got.after), (101, secs(4)));
}

#[tokio::test(start_paused = true)]
async fn a_tunnel_is_closed_at_its_deadline_with_the_frame_of_the_host() {
    let frame = CloseFrame::new(CloseCode::from(4401), "token expired");
    for (own, expected) in [
        (None, (1008, "deadline reached")),
        (Some(frame), (4401, "token expired")),
    ] {
        let proxy = proxy(|layer| {
            layer.authorize(move |_| {
                let options = RequestOptions::new().deadline(Instant::now() + secs(100));
                let options = match &own {
                    Some(frame) => options.deadline_frame(frame.clone()),
                    None => options,
                };
                async { Ok::<_, Rejection>(options) }
            })
        });
        let mut got = shake_hands(proxy).await;
        let began = Instant::now();
        let (code, reason) = close_frame(&mut got).await;
        assert_eq!((code, &*reason), expected);
        assert_eq!(began.elapsed(), secs(100));
    }
}

#[tokio::test(start_paused = true)]
async fn a_deadline_may_be_a_time_of_the_wall_clock_or_past() {
    for (deadline, expected) in [
        (SystemTime::now() + secs(3600), secs(3600)),
        (SystemTime::UNIX_EPOCH, secs(0)),
    ] {
        let proxy = proxy(|layer| {
            layer.authorize(move |_| async move {
                Ok::<_, Rejection>(RequestOptions::new().deadline(deadline))
            })
        });
        let mut got = shake_hands(proxy).await;
        let began = Instant::now();
        assert_eq!(close_frame(&mut got).await.0, 1008);
        // The wall clock has gone on since the time was made.
        assert!(expected - began.elapsed() < secs(60));
    }
}

#[derive(Clone, Debug, Default)]
struct Ends(std::sync::Arc<std::sync::Mutex<Vec<TunnelEnd>>>);

impl wsplice::Observer for Ends {
    fn tunnel_closed(&self, _: &wsplice::TunnelInfo, report: &wsplice::TunnelReport) {
        self.0.lock().unwrap().push(report.end.clone());
    }
}

#[tokio::test(start_paused = true)]
async fn the_report_names_the_deadline() {
    let ends = Ends::default();
    let proxy = proxy(|layer| {
        layer.observer(ends.clone()).authorize(|_| async {
            Ok::<_, Rejection>(RequestOptions::new().deadline(Instant::now() + secs(1)))
        })
    });
    let got = shake_hands(proxy).await;
    sleep(secs(20)).await;
    drop(got);
    sleep(secs(20)).await;
    let seen = ends.0.lock().unwrap();
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0].as_str(), "deadline_timeout");
}

#[tokio::test(start_paused = true)]
async fn a_tunnel_may_have_settings_of_its_own() {
    let pinged = TunnelConfig::new().keep_alive(KeepAlive::default().interval(secs(7)));
    let pinged = std::sync::Arc::new(pinged);
    let proxy = proxy(|layer| {
        layer
            .idle_timeout(secs(1000))
            .authorize(move |request: AuthorizationRequest| {
                let options = RequestOptions::new();
                let options = match request.head().path() {
                    "/ws/pinged" => options.tunnel(std::sync::Arc::clone(&pinged)),
                    _ => options,
                };
                async { Ok::<_, Rejection>(options) }
            })
    });
    let began = Instant::now();
    let mut got = shake_hands_for(proxy.clone(), "/ws/pinged", &[]).await;
    assert_eq!(frame(&mut got).await.0, 9, "a ping");
    assert!(began.elapsed() < secs(8));
    let began = Instant::now();
    let mut got = shake_hands_for(proxy, "/ws/plain", &[]).await;
    assert_eq!(close_frame(&mut got).await.0, 1001);
    assert_eq!(began.elapsed(), secs(1000));
}

/// One client hammers, another one connects once a second: the first has its rate, the second all
/// that it wants.
#[tokio::test(start_paused = true)]
async fn a_greedy_client_takes_nothing_from_a_modest_one() {
    let limit = KeyLimit::by(|head| {
        let user = head.headers().get("x-user")?.to_str().ok()?;
        Some(user.to_owned())
    });
    let limit = limit.handshakes(2, secs(1)).burst(5);
    let proxy = proxy(|layer| layer.limit_by_key(limit));
    let hammer = async |user: &'static str, every: Duration, times: u32| {
        let (mut admitted, mut waits) = (0_u32, Vec::new());
        for _ in 0..times {
            let got = shake_hands_for(proxy.clone(), "/ws", &[("X-User", user)]).await;
            match got.status {
                101 => admitted += 1,
                429 => waits.push(value(&got.head, "retry-after").unwrap().to_owned()),
                status => panic!("{status}"),
            }
            sleep(every).await;
        }
        (admitted, waits)
    };
    let greedy = hammer("greedy", Duration::from_millis(50), 400);
    let modest = hammer("modest", secs(1), 20);
    let ((greedy, waits), (modest, none)) = tokio::join!(greedy, modest);
    assert_eq!((modest, none.len()), (20, 0));
    // The burst, and two a second for 20 s.
    assert!((44..=46).contains(&greedy), "{greedy}");
    assert!(waits.iter().all(|wait| wait == "1"), "{waits:?}");
}

#[tokio::test(start_paused = true)]
async fn limits_by_address_protect_the_authorization() {
    let calls = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counted = std::sync::Arc::clone(&calls);
    let proxy = proxy(|layer| {
        let client = wsplice::headers::ClientInfo::new().with_peer(([192, 0, 2, 1], 5).into());
        layer
            .client_info(move |_| Some(client))
            .limit_by_key(KeyLimit::by_client_ip().handshakes(3, secs(60)))
            .authorize(move |_| {
                counted.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                async { Err::<(), _>(StatusCode::UNAUTHORIZED) }
            })
    });
    let mut statuses = Vec::new();
    for _ in 0..5 {
        statuses.push(shake_hands(proxy.clone()).await.status);
    }
    assert_eq!(statuses, [401, 401, 401, 429, 429]);
    assert_eq!(calls.load(std::sync::atomic::Ordering::Relaxed), 3);
}

#[tokio::test(start_paused = true)]
async fn layers_with_one_registry_have_one_list_and_one_drain() {
    let registry = Registry::new();
    let [chat, feed] = [0, 1].map(|_| proxy(|layer| layer.with_registry(&registry)));
    let mut open = [shake_hands(chat.clone()).await, shake_hands(feed).await];
    assert_eq!(registry.count(), 2);
    let drain = Drain::new(&registry);
    let read = async {
        for got in &mut open {
            assert_eq!(close_frame(got).await.0, 1001);
        }
    };
    let (drained, ()) = tokio::join!(drain.run(), read);
    assert_eq!(drained.closed + drained.aborted, 2);
    assert_eq!(shake_hands(chat).await.status, 503);
}

#[tokio::test(start_paused = true)]
async fn layers_with_one_registry_count_their_own_tunnels_and_those_of_their_clones() {
    let registry = Registry::new();
    let world = World::of([Does::Accept]);
    let layer = || {
        let layer = ProxyLayer::new(world.pool().build()).connector(world.clone());
        layer.with_registry(&registry)
    };
    let (chat, feed) = (layer(), layer());
    // A setting of its own makes a clone no other layer.
    let clone = chat.clone().max_lifetime(secs(600));
    let mut open = Vec::new();
    for layer in [&chat, &clone, &feed] {
        open.push(shake_hands(layer.clone().into_service()).await);
    }
    let tunnels = [&chat, &clone, &feed].map(ProxyLayer::tunnels);
    assert!(tunnels[0].same_layer(&tunnels[1]));
    assert!(!tunnels[0].same_layer(&tunnels[2]));
    let counts = tunnels.each_ref().map(LayerTunnels::count);
    assert_eq!((counts, registry.count()), ([2, 2, 1], 3));
}

#[tokio::test(start_paused = true)]
async fn one_drain_of_several_layers_is_over_when_the_last_of_them_is() {
    let world = World::of([Does::Accept]);
    let layers = [0, 1, 2].map(|_| ProxyLayer::new(world.pool().build()).connector(world.clone()));
    let drains = layers.each_ref().map(ProxyLayer::drain);
    // One of them twice.
    let drain = Drain::all(drains.iter().chain(&drains[..1])).deadline(secs(30));
    let proxies = layers.map(ProxyLayer::into_service);
    let mut open = Vec::new();
    for proxy in &proxies {
        open.push(shake_hands(proxy.clone()).await);
    }
    assert!(!drain.is_draining());
    let began = Instant::now();
    let drained = drain.run().await;
    // No client answers its close frame.
    assert_eq!((drained.closed, drained.aborted), (0, 3));
    assert_eq!(began.elapsed(), secs(5));
    assert!(drain.is_draining());
    for proxy in &proxies {
        assert_eq!(shake_hands(proxy.clone()).await.status, 503);
    }
    drain.resume();
    assert!(!drain.is_draining());
    assert_eq!(shake_hands(proxies[1].clone()).await.status, 101);
}

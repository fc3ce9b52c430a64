//! Random tunnels, whose sums agree with the registry and the reports.

use std::sync::{Arc, Mutex};

use wsplice::{Observer, Pool, TunnelInfo, TunnelReport};

use super::kit::{BINARY, Client, TEXT, World};

const TUNNELS: usize = 10_000;

/// Tunnels at once.
const AT_ONCE: usize = 100;

#[derive(Debug, Default)]
struct Reports(Mutex<Vec<TunnelReport>>);

impl Observer for Reports {
    fn tunnel_closed(&self, _: &TunnelInfo, report: &TunnelReport) {
        self.0.lock().unwrap().push(report.clone());
    }
}

/// Exchanges a few frames and ends the tunnel in one of several ways.
async fn live(mut client: Client, mut random: fastrand::Rng) {
    assert_eq!(client.status, 101);
    for _ in 0..random.u8(1..6) {
        let opcode = if random.bool() { TEXT } else { BINARY };
        client.send(opcode, &vec![b'a'; random.usize(0..600)]).await;
        match client.next().await {
            Some((0x88, payload)) => {
                client.send(0x88, &payload).await;
                return client.finish().await;
            }
            Some(_) => {}
            None => return,
        }
    }
    if random.bool() {
        client
            .close(random.choice([1000, 1001, 3000, 4999]).unwrap())
            .await;
        client.finish().await;
    }
}

#[tokio::test(start_paused = true)]
async fn the_sums_of_ten_thousand_tunnels_agree_with_their_reports() {
    let mut random = fastrand::Rng::with_seed(1);
    let reports = Arc::new(Reports::default());
    let pool = Pool::new(["ws://a:80", "ws://b:80", "ws://c:80"]).unwrap();
    // Lost tunnels must not eject the upstreams.
    let pool = pool.health_policy(wsplice::health::Passive::default().fails(u32::MAX));
    let world = World::new(pool, |layer| layer.observer(Arc::clone(&reports)));
    for _ in 0..TUNNELS / AT_ONCE {
        let mut living = tokio::task::JoinSet::new();
        for _ in 0..AT_ONCE {
            let path = random
                .choice(["/echo", "/echo", "/close", "/vanish"])
                .unwrap();
            living.spawn(live(world.open(path).await, random.fork()));
        }
        living.join_all().await;
    }
    world.until("wsplice_tunnels", &[], 0.0).await;
    agrees(&world, &reports.0.lock().unwrap());
}

fn agrees(world: &World, reports: &[TunnelReport]) {
    let count = |found: usize| f64::from(u32::try_from(found).unwrap());
    assert_eq!(reports.len(), TUNNELS);
    assert_eq!(world.layer.registry().count(), 0);
    assert_eq!(world.sum("wsplice_handshakes_total", &[]), count(TUNNELS));
    assert_eq!(
        world.sum("wsplice_tunnel_duration_seconds_count", &[]),
        count(TUNNELS)
    );
    assert_eq!(
        world.sum("wsplice_tunnels_closed_total", &[]),
        count(TUNNELS)
    );
    let mut kinds: Vec<_> = reports
        .iter()
        .map(|report| {
            (
                report.end.as_str(),
                report.initiator.as_str(),
                report.close_code().as_str(),
            )
        })
        .collect();
    kinds.sort_unstable();
    for same in kinds.chunk_by(PartialEq::eq) {
        let (end, initiator, code) = same[0];
        let labels = [("end", end), ("initiator", initiator), ("code", code)];
        let sum = world.sum("wsplice_tunnels_closed_total", &labels);
        assert_eq!(sum, count(same.len()), "{labels:?}");
    }
    kinds.dedup();
    assert!(kinds.len() > 5, "{kinds:?}");
    let total = |value: fn(&TunnelReport) -> u64| {
        let sum: u64 = reports.iter().map(value).sum();
        f64::from(u32::try_from(sum).unwrap())
    };
    let up = [("direction", "client_to_upstream")];
    let down = [("direction", "upstream_to_client")];
    let bytes = |direction| world.sum("wsplice_bytes_total", direction);
    assert_eq!(bytes(&up), total(|report| report.client_to_upstream.bytes));
    assert_eq!(
        bytes(&down),
        total(|report| report.upstream_to_client.bytes)
    );
    let up_frames = total(|report| report.client_to_upstream.frames.total());
    let down_frames = total(|report| report.upstream_to_client.frames.total());
    for metric in ["wsplice_frames_total", "wsplice_closed_tunnel_frames_total"] {
        assert_eq!(world.sum(metric, &up), up_frames, "{metric}");
        assert_eq!(world.sum(metric, &down), down_frames, "{metric}");
    }
}

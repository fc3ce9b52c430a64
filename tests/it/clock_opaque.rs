//! Bytes that are not frames, or are not scanned: all of them pass, and nothing is added.

use wsplice::{
    TunnelConfig,
    tunnel::{Framing, Side, Timer, TunnelEnd},
};

use super::{
    clock_kit::{Rig, SIDES, from_side, ms, opposite, secs, steady},
    support::{
        frames::{binary, pong, text},
        rng,
    },
};

/// A header that makes no sense: a length above 63 bits (RFC 6455 §5.2).
const ILLEGAL: [u8; 10] = [0x82, 0x7F, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF];

#[tokio::test(start_paused = true)]
async fn an_opaque_tunnel_adds_nothing_and_loses_nothing() {
    for side in SIDES {
        let config = TunnelConfig::new()
            .framing(Framing::Opaque)
            .keep_alive(steady())
            .write_timeout(None);
        let mut rig = Rig::with_capacity(config, 999);
        let bytes = rng::payload(11, 50_000);
        for leg in SIDES {
            rig.end(leg).is_quiet_for(secs(100)).await;
        }
        let (source, sink) = rig.ends(side);
        let write = async {
            for chunk in bytes.chunks(3001) {
                source.send_raw(chunk).await;
                tokio::time::sleep(secs(7)).await;
            }
            source.finish().await;
        };
        let ((), got) = tokio::join!(write, sink.rest());
        assert!(got == bytes);
        sink.finish().await;
        source.end_of_stream().await;
        let report = rig.report().await;
        assert_eq!(report.end, TunnelEnd::ClosedWithoutFrame(side));
        assert!(report.client_to_upstream.opaque && report.upstream_to_client.opaque);
        assert_eq!(report.client_to_upstream.frames.total(), 0);
        let passed = report.client_to_upstream.bytes + report.upstream_to_client.bytes;
        assert_eq!(passed, 50_000);
    }
}

#[tokio::test(start_paused = true)]
async fn an_opaque_tunnel_is_closed_in_order_but_without_frames() {
    let config = TunnelConfig::new()
        .framing(Framing::Opaque)
        .max_lifetime(secs(60))
        .lifetime_jitter(0.0);
    let mut rig = Rig::new(config);
    for side in SIDES {
        rig.end(side).end_of_stream().await;
        assert!(rig.end(side).was_shut_down());
    }
    assert_eq!(rig.elapsed(), secs(60));
    let end = TunnelEnd::Timeout(Timer::MaxLifetime, Side::Proxy);
    assert_eq!(rig.report().await.end, end);
}

#[tokio::test(start_paused = true)]
async fn lost_sync_lets_the_bytes_pass_and_stops_the_injection() {
    for side in SIDES {
        let config = TunnelConfig::new().keep_alive(steady());
        let mut rig = Rig::new(config);
        rig.passes(side, text("still frames")).await;
        let garbage = [&ILLEGAL[..], &rng::payload(5, 5000)].concat();
        let (source, sink) = rig.ends(side);
        source.send_raw(&garbage).await;
        assert!(sink.exactly(garbage.len()).await == garbage);
        // Nothing may be put into that direction any more.
        sink.is_quiet_for(secs(25)).await;
        // The other one is still in frames, but a pong would be lost in the bytes.
        source.is_quiet_for(secs(100)).await;
        source.send(pong(b"its own")).await;
        let passed = from_side(side, pong(b"its own"));
        assert!(sink.exactly(passed.len()).await == passed);
        rig.passes(opposite(side), text("still frames")).await;

        for leg in SIDES {
            rig.end(leg).finish().await;
        }
        let report = rig.report().await;
        let (lost, kept) = match side {
            Side::Client => (report.client_to_upstream, report.upstream_to_client),
            _ => (report.upstream_to_client, report.client_to_upstream),
        };
        assert!(lost.opaque && !kept.opaque, "{side}");
        assert_eq!(lost.frames.total(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn an_illegal_header_passes_however_it_is_cut() {
    for side in SIDES {
        let before = from_side(side, binary(b"before"));
        let bytes = [&before[..], &ILLEGAL, b"after"].concat();
        for cut in 0..=bytes.len() {
            let mut rig = Rig::new(TunnelConfig::new().keep_alive(steady()));
            let (source, sink) = rig.ends(side);
            source.send_raw(&bytes[..cut]).await;
            tokio::time::sleep(ms(1)).await;
            source.send_raw(&bytes[cut..]).await;
            assert!(sink.exactly(bytes.len()).await == bytes, "cut at {cut}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_direction_without_sync_is_ended_in_order_when_the_tunnel_is_closed() {
    for side in SIDES {
        let config = TunnelConfig::new()
            .max_lifetime(secs(60))
            .lifetime_jitter(0.0);
        let mut rig = Rig::new(config);
        let (source, sink) = rig.ends(side);
        source.send_raw(&ILLEGAL).await;
        assert!(sink.exactly(10).await == ILLEGAL);
        sink.end_of_stream().await;
        assert!(sink.was_shut_down());
        assert_eq!(
            source.close_code().await,
            1001,
            "that leg is still in frames"
        );
        assert_eq!(rig.elapsed(), secs(60));
    }
}

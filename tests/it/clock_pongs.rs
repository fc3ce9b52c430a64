//! Pongs (RFC 6455 §5.5.3): those that answer pings of the proxy are removed, all others pass; and the
//! figures of the pings.

use wsplice::{
    TunnelConfig,
    tunnel::{FrameCounts, Side, TunnelEnd},
};

use super::{
    clock_kit::{Rig, SIDES, from_side, ms, only, opposite, secs, steady},
    support::frames::{binary, close, ping, pong, text},
};

#[tokio::test(start_paused = true)]
async fn only_pongs_to_pings_of_the_proxy_are_removed_and_all_others_pass_in_order() {
    for side in SIDES {
        let mut rig = Rig::new(only(side, steady()));
        let cookie = rig.end(side).ping().await;
        // The other side asks for pongs too: for all of these.
        for _ in 0..6 {
            rig.passes(opposite(side), ping(b"?")).await;
        }
        let mut forged = cookie.clone();
        forged[7] ^= 1;
        let others: Vec<_> = [
            pong(b""),
            pong(&cookie[..7]),
            pong(&forged),
            pong(&[&cookie[..], b"!"].concat()),
            pong(&[7; 125]),
            ping(&cookie),
        ]
        .into_iter()
        .map(|frame| from_side(side, frame))
        .collect();

        let (leg, other) = rig.ends(side);
        for frame in &others[..3] {
            leg.send_raw(frame).await;
        }
        leg.send(pong(&cookie)).await;
        for frame in &others[3..] {
            leg.send_raw(frame).await;
        }
        // Our ping was answered: the same payload again is a pong of the endpoint (RFC 6455 §5.5.3).
        leg.send(pong(&cookie)).await;
        for frame in &others {
            assert_eq!(other.frame().await.raw, *frame, "{side}");
        }
        assert_eq!(other.frame().await.raw, from_side(side, pong(&cookie)));
    }
}

#[tokio::test(start_paused = true)]
async fn a_pong_cut_at_every_byte_is_swallowed() {
    for side in SIDES {
        let pong_len = from_side(side, pong(&[0; 8])).len();
        for cut in 0..=pong_len {
            let mut rig = Rig::new(only(side, steady()));
            let (leg, other) = rig.ends(side);
            let cookie = leg.ping().await;
            let bytes = from_side(side, pong(&cookie));
            leg.send_raw(&bytes[..cut]).await;
            other.is_quiet_for(secs(5)).await;
            leg.send_raw(&bytes[cut..]).await;
            other.is_quiet_for(secs(5)).await;
            rig.passes(side, text("and on")).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_pong_of_the_endpoint_cut_at_every_byte_passes_whole() {
    for side in SIDES {
        let bytes = from_side(side, pong(b"not ours"));
        for cut in 0..=bytes.len() {
            let mut rig = Rig::new(only(side, steady()));
            rig.end(side).ping().await;
            rig.passes(opposite(side), ping(b"not ours")).await;
            let (leg, other) = rig.ends(side);
            leg.send_raw(&bytes[..cut]).await;
            tokio::time::sleep(ms(1)).await;
            leg.send_raw(&bytes[cut..]).await;
            assert_eq!(other.frame().await.raw, bytes, "{side} cut at {cut}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_pong_glued_to_data_is_cut_out_wherever_the_chunks_end() {
    for side in SIDES {
        let before = from_side(side, text("before"));
        let after = from_side(side, binary(&[9; 200]));
        let glued_len = before.len() + from_side(side, pong(&[0; 8])).len() + after.len();
        for cut in 0..=glued_len {
            let mut rig = Rig::new(only(side, steady()));
            let (leg, other) = rig.ends(side);
            let cookie = leg.ping().await;
            let answer = from_side(side, pong(&cookie));
            let glued = [&before[..], &answer, &after].concat();
            leg.send_raw(&glued[..cut]).await;
            tokio::time::sleep(ms(1)).await;
            leg.send_raw(&glued[cut..]).await;
            let passed = other.exactly(before.len() + after.len()).await;
            assert!(
                passed == [&before[..], &after].concat(),
                "{side} cut at {cut}"
            );
            other.is_quiet_for(secs(1)).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_unfinished_pong_is_forwarded_when_its_sender_ends() {
    for side in SIDES {
        let mut rig = Rig::new(only(side, steady()));
        let (leg, other) = rig.ends(side);
        let cookie = leg.ping().await;
        let bytes = from_side(side, pong(&cookie));
        leg.send_raw(&bytes[..5]).await;
        leg.finish().await;
        assert_eq!(other.rest().await, bytes[..5], "{side}");
        other.finish().await;
        let report = rig.report().await;
        assert_eq!(report.end, TunnelEnd::TruncatedFrame(side));
    }
}

#[tokio::test(start_paused = true)]
async fn two_pings_outstanding_are_both_swallowed() {
    for side in SIDES {
        let mut rig = Rig::new(only(side, steady()));
        let first = rig.end(side).ping().await;
        // Data proves life, so the first stays unanswered and a second ping goes out.
        tokio::time::sleep(secs(1)).await;
        rig.passes(side, text("busy")).await;
        let second = rig.end(side).ping().await;
        assert_ne!(first, second);
        let (leg, other) = rig.ends(side);
        leg.send(pong(&first)).await;
        leg.send(pong(&second)).await;
        other.is_quiet_for(secs(5)).await;
        rig.passes(side, text("still here")).await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_to_the_newest_ping_settles_the_older_one() {
    for side in SIDES {
        let mut rig = Rig::new(only(side, steady()));
        let first = rig.end(side).ping().await;
        tokio::time::sleep(secs(1)).await;
        rig.passes(side, text("busy")).await;
        rig.end(side).answer_ping().await;
        // RFC 6455 §5.5.3 lets an endpoint answer only the newest ping: no wait for the first.
        rig.passes(side, pong(&first)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn pings_of_the_proxy_and_their_pongs_are_not_counted() {
    for side in SIDES {
        let mut rig = Rig::new(TunnelConfig::new().keep_alive(steady()));
        for _ in 0..3 {
            for leg in SIDES {
                rig.end(leg).answer_ping().await;
            }
        }
        rig.passes(side, ping(b"mine")).await;
        rig.passes(opposite(side), pong(b"mine")).await;
        rig.end(side).finish().await;
        rig.end(opposite(side)).finish().await;
        let report = rig.report().await;
        let (there, back) = match side {
            Side::Client => (report.client_to_upstream, report.upstream_to_client),
            _ => (report.upstream_to_client, report.client_to_upstream),
        };
        let counts = |frames: FrameCounts| (frames.ping, frames.pong, frames.total());
        assert_eq!(counts(there.frames), (1, 0, 1));
        assert_eq!(counts(back.frames), (0, 1, 1));
        assert_eq!(there.bytes, from_side(side, ping(b"mine")).len() as u64);
    }
}

#[tokio::test(start_paused = true)]
async fn round_trips_are_in_the_report_rfc6298_2() {
    for side in SIDES {
        let mut rig = Rig::new(only(side, steady()));
        for trip in [80, 40, 120] {
            let cookie = rig.end(side).ping().await;
            tokio::time::sleep(ms(trip)).await;
            rig.end(side).send(pong(&cookie)).await;
        }
        rig.passes(side, close(1000, "")).await;
        rig.passes(opposite(side), close(1000, "")).await;
        rig.end(side).finish().await;
        rig.end(opposite(side)).finish().await;
        let report = rig.report().await;
        let (ours, none) = match side {
            Side::Client => (report.client_rtt, report.upstream_rtt),
            _ => (report.upstream_rtt, report.client_rtt),
        };
        assert_eq!(none, None, "no ping went there");
        let rtt = ours.expect("three pongs");
        assert_eq!((rtt.min(), rtt.last()), (ms(40), ms(120)));
        assert_eq!(rtt.smoothed(), (ms(75) * 7 + ms(120)) / 8);
    }
}

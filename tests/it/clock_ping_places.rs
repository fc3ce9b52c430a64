//! Places of the proxy's pings in the bytes of the other endpoint (RFC 6455 §5.4, §5.5.1): between two
//! frames, and never behind a close frame.

use super::{
    clock_kit::{Rig, SIDES, from_side, ms, only, opposite, secs, steady},
    support::frames::{binary, close, fragments, pong},
};

#[tokio::test(start_paused = true)]
async fn a_ping_waits_for_the_end_of_a_frame_that_is_half_way() {
    for side in SIDES {
        let mut rig = Rig::new(only(side, steady()));
        let frame = from_side(opposite(side), binary(&[3; 300]));
        for cut in [1, 2, 3, 4, 5, 100, frame.len() - 1] {
            let (leg, other) = rig.ends(side);
            // The ping falls due while the frame to the same leg is half-way.
            other.send_raw(&frame[..cut]).await;
            assert!(leg.exactly(cut).await == frame[..cut]);
            leg.is_quiet_for(secs(25)).await;
            other.send_raw(&frame[cut..]).await;
            assert!(leg.exactly(frame.len() - cut).await == frame[cut..]);
            leg.answer_ping().await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_ping_finds_its_place_where_no_chunk_ends_at_a_boundary() {
    for side in SIDES {
        // Chunks of 1,000 bytes through a stream of larger frames: 1,501 or 1,505 on the wire.
        let mut rig = Rig::with_capacity(only(side, steady().interval(ms(20))), 1000);
        let stream: Vec<u8> = (0..60_u8)
            .flat_map(|fill| from_side(opposite(side), binary(&vec![fill; 1497])))
            .collect();
        let (leg, other) = rig.ends(side);
        let write = async {
            for chunk in stream.chunks(1000) {
                other.send_raw(chunk).await;
                tokio::time::sleep(ms(1)).await;
            }
        };
        let read = async {
            let (mut frames, mut pinged_after) = (Vec::new(), None);
            while frames.len() < stream.len() {
                let frame = leg.frame().await;
                if frame.opcode() == 9 {
                    pinged_after.get_or_insert(frames.len());
                    leg.send(pong(&frame.payload)).await;
                } else {
                    frames.extend(frame.raw);
                }
            }
            assert!(frames == stream, "byte for byte");
            pinged_after
        };
        let ((), pinged_after) = tokio::join!(write, read);
        let pinged_after = pinged_after.expect("a ping among the frames");
        assert!((19_000..=24_000).contains(&pinged_after), "{pinged_after}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_ping_may_go_between_fragments_rfc6455_5_4() {
    for side in SIDES {
        let mut rig = Rig::new(only(side, steady()));
        let parts = fragments(&["one", "two", "three"]);
        for part in parts {
            rig.passes(opposite(side), part).await;
            rig.end(side).answer_ping().await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn no_ping_follows_a_close_frame_rfc6455_5_5_1() {
    for side in SIDES {
        let mut rig = Rig::new(only(side, steady()));
        rig.passes(opposite(side), close(1000, "done")).await;
        // As long as the closing handshake may take.
        rig.end(side).is_quiet_for(ms(29_999)).await;
        assert!(!rig.is_over());
    }
}

#[tokio::test(start_paused = true)]
async fn no_ping_follows_the_beginning_of_a_close_frame() {
    for side in SIDES {
        let mut rig = Rig::new(only(side, steady()));
        let bytes = from_side(opposite(side), close(1000, "a long goodbye"));
        let (leg, other) = rig.ends(side);
        other.send_raw(&bytes[..bytes.len() - 1]).await;
        leg.exactly(bytes.len() - 1).await;
        leg.is_quiet_for(secs(60)).await;
        other.send_raw(&bytes[bytes.len() - 1..]).await;
        leg.exactly(1).await;
        leg.is_quiet_for(ms(29_999)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn no_ping_is_squeezed_into_a_stalled_sink() {
    for side in SIDES {
        let mut rig = Rig::with_capacity(only(side, steady()), 1024);
        let frames: Vec<u8> = (0..4)
            .flat_map(|fill| from_side(opposite(side), binary(&[fill; 700])))
            .collect();
        let (leg, other) = rig.ends(side);
        let write = async {
            other.send_raw(&frames).await;
        };
        let read = async {
            // The leg takes nothing for a while; its ping falls due meanwhile.
            tokio::time::sleep(secs(50)).await;
            let mut got = Vec::new();
            let mut pings = 0;
            while got.len() < frames.len() {
                let frame = leg.frame().await;
                match frame.opcode() {
                    9 => pings += 1,
                    _ => got.extend(frame.raw),
                }
            }
            assert!(got == frames);
            pings
        };
        let ((), pings) = tokio::join!(write, read);
        assert!(pings <= 1, "{pings}");
    }
}

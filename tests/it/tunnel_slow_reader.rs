//! A reader that is slow and steady is alive to every timer.

use std::time::Duration;

use futures_util::future::join_all;
use wsplice::{KeepAlive, TunnelConfig, tunnel::Side};

use crate::support::{
    frames::{self, read_frame},
    tunnels::{BOTH, encoded_by, one_tunnel_with, opposite},
    wire::Wire,
};

/// Frames of the slow reader, their size in bytes, and the time that it takes for each.
const FRAMES: usize = 32;
const FRAME: usize = 16 << 10;
const PACE: Duration = Duration::from_millis(250);

/// Steady readers of 64 KiB a second, with half a mebibyte before them: pings are due all the time, and
/// are read late.
#[tokio::test]
async fn a_slow_and_steady_reader_is_cut_off_by_no_clock() {
    join_all(BOTH.map(async |side| {
        let hasty = KeepAlive::default()
            .interval(Duration::from_secs(1))
            .pong_timeout(Duration::from_secs(1));
        let config = TunnelConfig::new()
            .keep_alive(hasty)
            .write_timeout(Duration::from_secs(30));
        let (_proxy, _upstream, ends) = one_tunnel_with(|layer| layer.tunnel(config)).await;
        let (mut client, mut upstream) = (ends.client, ends.upstream);
        let (reader, writer): (&mut Wire, &mut Wire) = match side {
            Side::Client => (&mut client, &mut upstream),
            _ => (&mut upstream, &mut client),
        };
        let frame = frames::binary(&[7; FRAME]);
        let (writing, reading) = (
            async {
                for _ in 0..FRAMES {
                    writer
                        .send(&encoded_by(opposite(side), frame.clone()))
                        .await;
                }
                // It answers its own pings, as an endpoint does.
                loop {
                    let ping = read_frame(writer).await;
                    writer
                        .send(&encoded_by(opposite(side), frames::pong(&ping.payload)))
                        .await;
                }
            },
            async {
                let mut received = 0;
                while received < FRAMES {
                    let frame = read_frame(reader).await;
                    match frame.first {
                        0x82 => {
                            assert_eq!(frame.payload, [7; FRAME]);
                            received += 1;
                            tokio::time::sleep(PACE).await;
                        }
                        0x89 => {
                            let pong = frames::pong(&frame.payload);
                            reader.send(&encoded_by(side, pong)).await;
                        }
                        _ => panic!("{side}: {frame:?}"),
                    }
                }
            },
        );
        tokio::select! {
            () = writing => {}
            () = reading => {}
        }
    }))
    .await;
}

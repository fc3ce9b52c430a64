//! Bytes that are hardly frames: nothing panics, and they pass as they came.

use proptest::{collection::vec, prelude::*, sample::select};
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
use wsplice::{
    Limits, TunnelConfig, TunnelReport,
    connect::Transport,
    tunnel::{Framing, Tunnel, TunnelEnd},
};

use super::{
    property_inject::{config, cuts, pause_for, restless},
    support::clock::on_a_paused_clock,
};

/// Bytes in which headers of every kind are likely, legal and not.
fn garbage() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![
        2 => any::<u8>(),
        2 => select(vec![0x00, 0x01, 0x02, 0x7D]),
        2 => select(vec![0x7E, 0x7F, 0xFE, 0xFF, 0x80]),
        2 => 0x80..=0x8F_u8,
    ];
    vec(byte, 0..300)
}

/// The same without pongs: an unsolicited one may be taken for the answer to our ping.
fn garbage_without_pongs() -> impl Strategy<Value = Vec<u8>> {
    let other_than_pong = |byte: u8| if byte & 0x0F == 0x0A { byte ^ 1 } else { byte };
    garbage().prop_map(move |bytes| bytes.into_iter().map(other_than_pong).collect())
}

/// Sends both sides' bytes in pieces with pauses, then ends both; returns the bytes that arrived.
async fn exchange(
    config: TunnelConfig,
    sent: [&[u8]; 2],
    cuts: &[(usize, u64)],
) -> ([Vec<u8>; 2], TunnelReport) {
    let (near_client, mut client) = duplex(64 * 1024);
    let (near_upstream, mut upstream) = duplex(64 * 1024);
    let tunnel = Tunnel::builder(Transport::new(near_client), Transport::new(near_upstream));
    let tunnel = tokio::spawn(tunnel.config(config).build());
    let [mut up, mut down] = sent;
    let mut cuts = cuts.iter().cycle();
    while !up.is_empty() || !down.is_empty() {
        let (len, pause) = cuts.next().unwrap();
        for (stream, rest) in [(&mut client, &mut up), (&mut upstream, &mut down)] {
            let (now, after) = rest.split_at((*len).min(rest.len()));
            let _ = stream.write_all(now).await;
            *rest = after;
        }
        pause_for(*pause).await;
    }
    // The client first: an upstream that ends first is reported to it.
    let (mut at_client, mut at_upstream) = (Vec::new(), Vec::new());
    let _ = client.shutdown().await;
    upstream.read_to_end(&mut at_upstream).await.unwrap();
    let _ = upstream.shutdown().await;
    client.read_to_end(&mut at_client).await.unwrap();
    ([at_client, at_upstream], tunnel.await.unwrap())
}

/// Whether all of `bytes` occur in `among`, in order.
fn is_among(bytes: &[u8], among: &[u8]) -> bool {
    let mut among = among.iter();
    bytes.iter().all(|byte| among.any(|other| other == byte))
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn any_bytes_pass_unchanged(up in garbage(), down in garbage(), cuts in cuts()) {
        for framing in [Framing::Observe, Framing::Opaque] {
            let config = restless(1000).keep_alive(None).framing(framing);
            let run = exchange(config, [&up, &down], &cuts);
            let ([at_client, at_upstream], _) = on_a_paused_clock(run);
            prop_assert_eq!(&at_upstream, &up);
            // An upstream that ends without a close frame may be reported to the client.
            let own = at_client.strip_prefix(&down[..]);
            let own = own.expect("all that the upstream sent");
            prop_assert!(own.is_empty() || own.starts_with(&[0x88]), "{:?}", own);
        }
    }

    #[test]
    fn any_bytes_pass_between_pings(
        up in garbage_without_pongs(),
        down in garbage_without_pongs(),
        cuts in cuts(),
    ) {
        let run = exchange(restless(5), [&up, &down], &cuts);
        let ([at_client, at_upstream], report) = on_a_paused_clock(run);
        prop_assert!(is_among(&up, &at_upstream));
        prop_assert!(is_among(&down, &at_client));
        // A masked ping of ours is 14 bytes.
        prop_assert_eq!((at_upstream.len() - up.len()) % 14, 0);
        prop_assert_eq!(report.client_to_upstream.bytes, up.len() as u64);
        prop_assert_eq!(report.upstream_to_client.bytes, down.len() as u64);
    }

    #[test]
    fn any_bytes_end_an_enforcing_tunnel_or_pass(
        up in garbage(),
        down in garbage(),
        cuts in cuts(),
        size in 0..200_u64,
    ) {
        let limits = Limits::new().frame_size(size).message_size(size * 2).bytes_per_second(9000);
        let config = restless(5).framing(Framing::Enforce).limits(limits);
        let run = exchange(config, [&up, &down], &cuts);
        let (_, report) = on_a_paused_clock(run);
        let expected = matches!(
            report.end,
            TunnelEnd::Violation(..)
                | TunnelEnd::Limit(..)
                | TunnelEnd::Closed
                | TunnelEnd::ClosedWithoutFrame(_)
                | TunnelEnd::TruncatedFrame(_)
        );
        prop_assert!(expected, "{:?}", report.end);
    }
}

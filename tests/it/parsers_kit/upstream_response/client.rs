//! The client behind the layer, and the laws for the response that it receives.

use wsplice::tunnel::reattach::Reattach;

use crate::{
    parsers_kit::{
        stage::{Upstreams, send_in_pieces, serve, settle},
        strict::{Framing, Head, LineEnds, Read, body},
    },
    support::clock::ms,
};

use super::{Case, KEY, OFFER, Outcome};

/// Lets a client make the handshake through the layer, and returns the bytes that it received.
pub(super) async fn relay(case: &Case) -> Vec<u8> {
    let upstreams = Upstreams::new(|_| true);
    let reattach = case.reattaches.then(Reattach::new);
    let layer = upstreams.layer().reattach(reattach);
    let client = serve(layer.into_service());
    let request = format!(
        "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: {}\r\n\
         Sec-WebSocket-Extensions: {}\r\n\r\n",
        OFFER.subprotocols.join(", "),
        OFFER.extensions.join(", "),
    );
    client.send(request.as_bytes());
    tokio::time::sleep(ms(1)).await;
    for leg in upstreams.legs() {
        send_in_pieces(&leg, &case.bytes, &case.cuts).await;
        leg.finish();
    }
    settle().await;
    client.finish();
    settle().await;

    client.state().received.clone()
}

/// Checks that the client got one response of the strict form, and the bytes behind it.
pub(super) fn check_client(case: &Case, received: &[u8], outcome: &Outcome) {
    let shown = String::from_utf8_lossy(received);
    // hyper drops a head that it has not sent when the body fails.
    if received.is_empty() && matches!(outcome, Outcome::Refused { body: None, .. }) {
        return;
    }
    let head = match Head::read(received, LineEnds::Sent) {
        Read::Whole(head) => head,
        read => panic!(
            "{read:?} of {shown}, {outcome:?} of {:?}",
            String::from_utf8_lossy(&case.bytes)
        ),
    };
    let (status, _) = head.status_line().expect("a status line");
    for name in [
        "connection",
        "content-length",
        "transfer-encoding",
        "upgrade",
    ] {
        assert!(head.all(name).count() <= 1, "{name} in {shown}");
    }
    for name in [
        "keep-alive",
        "proxy-connection",
        "te",
        "alt-svc",
        "proxy-authenticate",
    ] {
        assert!(!head.has(name), "{name} in {shown}");
    }
    assert!(
        !(head.has("content-length") && head.has("transfer-encoding")),
        "{shown}"
    );
    let behind = &received[head.len..];
    match outcome {
        Outcome::Accepted { behind: wanted, .. } => {
            assert!(OFFER.is_accepted_by(&head), "{shown}");
            let own = behind.strip_prefix(&wanted[..]);
            assert!(
                case.reattaches || own.is_some(),
                "{behind:?} is not {wanted:?} and more"
            );
        }
        Outcome::Refused {
            status: wanted,
            body: content,
        } => {
            assert_eq!(status, *wanted, "{shown}");
            let read = body(behind, client_framing(&head));
            if let Some(content) = content {
                let wanted = Read::Whole((content.clone(), behind.len()));
                assert_eq!(read, wanted, "{shown}");
            }
        }
        Outcome::Failed(_) => {
            assert!(matches!(status, 502 | 504), "{shown}");
            assert!(
                matches!(body(behind, client_framing(&head)), Read::Whole(_)),
                "{shown}"
            );
        }
    }
}

fn client_framing(head: &Head) -> Framing {
    let framing = head.response_framing();
    assert_ne!(framing, Framing::Malformed, "{head:?}");
    framing
}

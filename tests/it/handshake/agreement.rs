//! The upstream's 101 is verified (RFC 6455 §4.1) before the client gets one.

use super::kit::{Proxied, expect_page, only_head, text, values};
use crate::support::head::Head;
use crate::support::raw::{ACCEPT, RawClient};
use crate::support::scripts::{self, Then};
use crate::support::upstream::{RawConn, RawUpstream};

/// A 101 of these header lines.
fn lines(lines: &[&str]) -> Vec<u8> {
    let mut text = "HTTP/1.1 101 Switching Protocols\r\n".to_owned();
    for line in lines {
        text += &format!("{line}\r\n");
    }
    (text + "\r\n").into_bytes()
}

/// A right 101 with these lines in the place of those of the same name.
fn with(others: &[&str]) -> Vec<u8> {
    let accept = format!("Sec-WebSocket-Accept: {ACCEPT}");
    let name = |line: &str| line.split(':').next().unwrap().to_ascii_lowercase();
    let mut all = vec!["Connection: Upgrade", "Upgrade: websocket", &accept];
    all.retain(|line| !others.iter().any(|other| name(other) == name(line)));
    all.extend_from_slice(others);
    lines(&all)
}

/// The upstream's response breaks the agreement: the client gets 502 and keeps its connection, the
/// upstream's is closed, and nothing but the handshake has reached it.
async fn disagrees(answer: Vec<u8>, offer: &[(&str, &str)]) {
    let what = String::from_utf8_lossy(&answer).into_owned();
    let upstream = RawUpstream::start(scripts::fixed(answer, Then::Hold)).await;
    let proxied = Proxied::before(&upstream).await;
    let (mut client, head) = proxied.handshake("/ws/x", offer).await;
    assert_eq!(head.status(), 502, "{what}");
    assert_eq!(head.get("sec-websocket-accept"), None, "{what}");
    let body = text(&mut client, &head).await;
    assert_eq!(body, "the upstream's 101 response is not valid\n", "{what}");
    let log = upstream
        .wait_for("the end of its connection", |log| log.ended == 1)
        .await;
    assert_eq!((log.accepted, log.after_head), (1, 0), "{what}");
    let failed = format!("failed /ws/x InvalidUpgradeResponse {}", upstream.addr());
    proxied.expect_events(&[&failed]).await;
    expect_page(&mut client).await;
    proxied.expect_idle().await;
}

/// Opens a tunnel through a valid 101, and checks that bytes come back.
async fn agrees(answer: Vec<u8>, offer: &[(&str, &str)]) -> (RawClient, Head) {
    let what = String::from_utf8_lossy(&answer).into_owned();
    let upstream = RawUpstream::start(scripts::fixed(answer, Then::Echo)).await;
    let proxied = Proxied::before(&upstream).await;
    let (mut client, head) = proxied.handshake("/ws/x", offer).await;
    assert_eq!(head.status(), 101, "{what}");
    client.send(b"there and back").await;
    assert_eq!(
        &client.read_exact(14).await[..],
        b"there and back",
        "{what}"
    );
    (client, head)
}

#[tokio::test]
async fn the_proof_must_belong_to_the_key_rfc6455_4_1() {
    for accept in [
        "Sec-WebSocket-Accept: AAAAAAAAAAAAAAAAAAAAAAAAAAA=",
        // Base64 has cases.
        "Sec-WebSocket-Accept: S3PPLMBITXAQ9KYGZZHZRBK+XOO=",
        "Sec-WebSocket-Accept:",
        "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo",
        "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=, s3pPLMBiTxaQ9kYGzzhZRbK+xOo=",
        // The key itself.
        "Sec-WebSocket-Accept: dGhlIHNhbXBsZSBub25jZQ==",
    ] {
        disagrees(with(&[accept]), &[]).await;
    }
    let accept = format!("Sec-WebSocket-Accept: {ACCEPT}");
    disagrees(with(&[&accept, &accept]), &[]).await;
    disagrees(lines(&["Connection: Upgrade", "Upgrade: websocket"]), &[]).await;
}

#[tokio::test]
async fn the_upgrade_must_be_to_websocket_and_nothing_else_rfc6455_4_1() {
    let accept = format!("Sec-WebSocket-Accept: {ACCEPT}");
    disagrees(lines(&["Connection: Upgrade", &accept]), &[]).await;
    for upgrade in ["h2c", "websockets", "websocket, h2c", "h2c, websocket", ""] {
        disagrees(with(&[&format!("Upgrade: {upgrade}")]), &[]).await;
    }
    disagrees(with(&["Upgrade: websocket", "Upgrade: h2c"]), &[]).await;
}

#[tokio::test]
async fn the_connection_must_name_upgrade_rfc6455_4_1() {
    let accept = format!("Sec-WebSocket-Accept: {ACCEPT}");
    disagrees(lines(&["Upgrade: websocket", &accept]), &[]).await;
    for connection in ["keep-alive", "close", "not-upgrade", ""] {
        disagrees(with(&[&format!("Connection: {connection}")]), &[]).await;
    }
}

#[tokio::test]
async fn a_101_in_http_1_0_is_none() {
    let answer = String::from_utf8(with(&[])).unwrap();
    let answer = answer.replace("HTTP/1.1", "HTTP/1.0").into_bytes();
    disagrees(answer, &[]).await;
}

#[tokio::test]
async fn a_subprotocol_must_have_been_offered_rfc6455_4_1() {
    let offer = &[("Sec-WebSocket-Protocol", "chat, superchat")][..];
    let chosen = |name: &str| with(&[&format!("Sec-WebSocket-Protocol: {name}")]);
    disagrees(chosen("chat"), &[]).await;
    disagrees(chosen("other"), offer).await;
    // Subprotocols have cases, and one is chosen (RFC 6455 §11.3.4).
    disagrees(chosen("Chat"), offer).await;
    disagrees(chosen("chat, superchat"), offer).await;
    let twice = [
        "Sec-WebSocket-Protocol: chat",
        "Sec-WebSocket-Protocol: superchat",
    ];
    disagrees(with(&twice), offer).await;
}

#[tokio::test]
async fn an_extension_must_have_been_offered_rfc6455_4_1() {
    let offer = &[("Sec-WebSocket-Extensions", "permessage-deflate")][..];
    let used = |name: &str| with(&[&format!("Sec-WebSocket-Extensions: {name}")]);
    disagrees(used("permessage-deflate"), &[]).await;
    disagrees(used("x-other"), offer).await;
    disagrees(used("permessage-deflate, x-other"), offer).await;
    let twice = [
        "Sec-WebSocket-Extensions: permessage-deflate",
        "Sec-WebSocket-Extensions: x-other",
    ];
    disagrees(with(&twice), offer).await;
}

#[tokio::test]
async fn what_was_offered_may_be_chosen_and_passes_as_it_is() {
    let offer = [
        ("Sec-WebSocket-Protocol", "chat"),
        ("Sec-WebSocket-Protocol", "superchat, v2.json"),
        (
            "Sec-WebSocket-Extensions",
            "x-first;a=\"b, c\", permessage-deflate; client_max_window_bits",
        ),
        ("Sec-WebSocket-Extensions", "permessage-deflate"),
    ];
    let answer = with(&[
        "Sec-WebSocket-Protocol: superchat",
        "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits=12",
    ]);
    let upstream = RawUpstream::start(scripts::fixed(answer.clone(), Then::Echo)).await;
    let proxied = Proxied::before(&upstream).await;
    let (_client, head) = proxied.handshake("/ws/x", &offer).await;
    assert_eq!(head.status(), 101);
    assert_eq!(values(&head, "sec-websocket-protocol"), ["superchat"]);
    assert_eq!(
        values(&head, "sec-websocket-extensions"),
        ["permessage-deflate; client_max_window_bits=12"]
    );
    let asked = only_head(&upstream).await;
    assert_eq!(
        values(&asked, "sec-websocket-protocol"),
        ["chat", "superchat, v2.json"]
    );
    assert_eq!(
        values(&asked, "sec-websocket-extensions"),
        [offer[2].1, offer[3].1]
    );
}

#[tokio::test]
async fn an_upstream_may_choose_nothing_of_what_was_offered() {
    let offer = [
        ("Sec-WebSocket-Protocol", "chat"),
        ("Sec-WebSocket-Extensions", "permessage-deflate"),
    ];
    let (_client, head) = agrees(with(&[]), &offer).await;
    assert_eq!(head.get("sec-websocket-protocol"), None);
    assert_eq!(head.get("sec-websocket-extensions"), None);
}

#[tokio::test]
async fn case_and_lists_do_not_matter_where_the_rfc_says_so() {
    for (connection, upgrade) in [
        ("UPGRADE", "WebSocket"),
        ("keep-alive, upgrade", "WEBSOCKET"),
        (" , Upgrade ,", " websocket "),
    ] {
        let connection = format!("cOnNeCtIoN: {connection}");
        let upgrade = format!("UPGRADE: {upgrade}");
        let (_client, head) = agrees(with(&[&connection, &upgrade]), &[]).await;
        // The client's header is plain in any case.
        assert_eq!(values(&head, "connection"), ["Upgrade"]);
        assert_eq!(values(&head, "upgrade"), ["websocket"]);
        assert_eq!(values(&head, "sec-websocket-accept"), [ACCEPT]);
    }
    let two = ["Connection: keep-alive", "Connection: Upgrade"];
    agrees(with(&two), &[]).await;
    let offer = &[("Sec-WebSocket-Extensions", "Permessage-Deflate")][..];
    agrees(
        with(&["Sec-WebSocket-Extensions: permessage-deflate"]),
        offer,
    )
    .await;
}

#[tokio::test]
async fn an_empty_subprotocol_or_extension_line_names_nothing_and_is_dropped() {
    let offer = &[
        ("Sec-WebSocket-Protocol", "chat"),
        ("Sec-WebSocket-Extensions", "permessage-deflate"),
    ];
    for offer in [&offer[..], &[]] {
        let empty = ["Sec-WebSocket-Protocol:", "Sec-WebSocket-Extensions: "];
        let (_client, head) = agrees(with(&empty), offer).await;
        assert_eq!(head.get("sec-websocket-protocol"), None);
        assert_eq!(head.get("sec-websocket-extensions"), None);
    }
}

#[tokio::test]
async fn an_odd_reason_phrase_is_no_matter() {
    for reason in [
        "HTTP/1.1 101 ",
        "HTTP/1.1 101 Web Socket Protocol Handshake",
    ] {
        let answer = String::from_utf8(with(&[])).unwrap();
        let answer = answer.replace("HTTP/1.1 101 Switching Protocols", reason);
        agrees(answer.into_bytes(), &[]).await;
    }
}

#[tokio::test]
async fn bytes_behind_a_101_that_is_refused_go_nowhere() {
    let answer = [
        with(&["Sec-WebSocket-Accept: wrong"]),
        b"HTTP/1.1 200 OK\r\n\r\n".to_vec(),
    ];
    disagrees(answer.concat(), &[]).await;
}

#[tokio::test]
async fn after_a_101_that_is_refused_the_client_bytes_reach_nobody() {
    let upstream = RawUpstream::start(|mut conn: RawConn| async move {
        conn.read_request_head().await;
        conn.send(&with(&["Upgrade: h2c"])).await;
        conn.expect_eof().await;
    })
    .await;
    let proxied = Proxied::before(&upstream).await;
    let (mut client, head) = proxied.handshake("/ws/x", &[]).await;
    assert_eq!(head.status(), 502);
    client.read_body(&head).await;
    expect_page(&mut client).await;
    let log = upstream.wait_for("its end", |log| log.ended == 1).await;
    assert_eq!(log.after_head, 0);
}

#[tokio::test]
async fn devices_are_tolerated_where_that_is_asked_for() {
    use wsplice::handshake::Leniency;

    // A client without `Connection: Upgrade`; its upstream gets a right handshake.
    let upstream = RawUpstream::start(scripts::echo()).await;
    let lenient = |layer: wsplice::ProxyLayer| {
        layer.leniency(
            Leniency::none()
                .missing_connection()
                .unrequested_subprotocol(),
        )
    };
    let proxied = Proxied::with(&upstream, lenient).await;
    let (mut client, head) = proxied
        .handshake("/ws/x", &[("Connection", "keep-alive")])
        .await;
    assert_eq!(head.status(), 101);
    client.send(b"bytes").await;
    assert_eq!(&client.read_exact(5).await[..], b"bytes");
    let asked = upstream.log().heads.remove(0);
    assert_eq!(values(&asked, "connection"), ["Upgrade"]);

    // An upstream with a subprotocol that was not offered.
    let upstream = RawUpstream::start(scripts::unoffered_subprotocol()).await;
    let proxied = Proxied::with(&upstream, lenient).await;
    let (_client, head) = proxied.handshake("/ws/x", &[]).await;
    assert_eq!(head.status(), 101);
    assert_eq!(head.get("sec-websocket-protocol"), None);

    // An upstream that accepts in HTTP/1.0.
    let old = |head: &crate::support::head::Head| {
        let accepted = crate::support::upstream::switching_protocols(head, &[]);
        [b"HTTP/1.0", &accepted[8..]].concat()
    };
    let upstream = RawUpstream::start(scripts::answer(old, scripts::Then::Echo)).await;
    let http10 = |layer: wsplice::ProxyLayer| layer.leniency(Leniency::none().http10_acceptance());
    let proxied = Proxied::with(&upstream, http10).await;
    let (_client, head) = proxied.handshake("/ws/x", &[]).await;
    assert!(head.start.starts_with("HTTP/1.1 101"), "{}", head.start);
    let proxied = Proxied::with(&upstream, lenient).await;
    let (_client, head) = proxied.handshake("/ws/x", &[]).await;
    assert_eq!(head.status(), 502);
}

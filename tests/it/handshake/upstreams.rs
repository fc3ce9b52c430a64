//! Selection of the upstream, and failures of all of them.

use wsplice::{Pool, Retry, Upstream};

use super::kit::{Host, Proxied, expect_connections, expect_page, pool, text};
use crate::support::raw::RawClient;
use crate::support::scripts;
use crate::support::upstream::{RawUpstream, closed_addr};

async fn dead() -> (String, String) {
    let addr = closed_addr().await;
    (format!("ws://{addr}"), addr.to_string())
}

async fn echoes(client: &mut RawClient) {
    client.send(b"bytes").await;
    assert_eq!(&client.read_exact(5).await[..], b"bytes");
}

#[tokio::test]
async fn a_dead_upstream_gives_way_to_the_next() {
    let upstream = RawUpstream::start(scripts::echo()).await;
    let (dead, dead_name) = dead().await;
    let both = pool([dead, upstream.url()]);
    let proxied = Proxied::start(Host::Axum, both, |layer| layer).await;
    let client = &mut proxied.open("/ws/x").await;
    echoes(client).await;
    let failed = format!("failed /ws/x Connect {dead_name}");
    let accepted = format!("accepted /ws/x {}", upstream.addr());
    proxied
        .expect_events(&[&failed, &accepted, "opened /ws/x"])
        .await;
}

#[tokio::test]
async fn four_dead_upstreams_give_way_to_the_fifth() {
    let upstream = RawUpstream::start(scripts::echo()).await;
    let all = pool([
        dead().await.0,
        dead().await.0,
        upstream.url(),
        dead().await.0,
        dead().await.0,
    ]);
    let proxied = Proxied::start(Host::Axum, all, |layer| layer).await;
    for _ in 0..5 {
        let mut client = proxied.open("/ws/x").await;
        echoes(&mut client).await;
        client.reset();
    }
    proxied.expect_idle().await;
    assert_eq!(upstream.log().accepted, 5);
}

#[tokio::test]
async fn when_all_are_dead_it_is_502() {
    let ((first, first_name), (second, second_name)) = (dead().await, dead().await);
    let proxied = Proxied::start(Host::Axum, pool([first, second]), |layer| layer).await;
    let (mut client, head) = proxied.handshake("/ws/x", &[]).await;
    assert_eq!(head.status(), 502);
    let body = text(&mut client, &head).await;
    assert_eq!(body, "the upstream could not be connected\n");
    let first = format!("failed /ws/x Connect {first_name}");
    let second = format!("failed /ws/x Connect {second_name}");
    proxied.expect_events(&[&first, &second]).await;
    expect_page(&mut client).await;
    proxied.expect_idle().await;
}

#[tokio::test]
async fn no_more_upstreams_are_tried_than_the_settings_say() {
    let all = pool([dead().await.0, dead().await.0, dead().await.0]);
    let proxied = Proxied::start(Host::Axum, all, |layer| {
        layer.retry(Retry::new().attempts(2))
    })
    .await;
    let (_client, head) = proxied.handshake("/ws/x", &[]).await;
    assert_eq!(head.status(), 502);
    // Events of a handshake come before its response.
    assert_eq!(proxied.events().len(), 2);
}

#[tokio::test]
async fn nothing_is_retried_by_default_once_a_byte_of_a_response_came() {
    for (script, status) in [
        (scripts::fixed("garbage\r\n\r\n", scripts::Then::Hold), 502),
        (
            scripts::fixed(
                "HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n",
                scripts::Then::Hold,
            ),
            503,
        ),
    ] {
        let broken = RawUpstream::start(script).await;
        let right = RawUpstream::start(scripts::echo()).await;
        let both = pool([broken.url(), right.url()]);
        let proxied = Proxied::start(Host::Axum, both, |layer| layer).await;
        let (_client, head) = proxied.handshake("/ws/x", &[]).await;
        assert_eq!(head.status(), status);
        expect_connections(&broken, 1).await;
        expect_connections(&right, 0).await;
    }
}

#[tokio::test]
async fn an_empty_pool_is_503_and_says_when_to_come_again() {
    let nobody = Pool::from_upstreams(Vec::<Upstream>::new());
    let proxied = Proxied::start(Host::Axum, nobody, |layer| layer).await;
    let (mut client, head) = proxied.handshake("/ws/x", &[]).await;
    assert_eq!(head.status(), 503);
    let seconds: u64 = head.get("retry-after").expect("a wait").parse().unwrap();
    assert!((1..=60).contains(&seconds));
    let body = text(&mut client, &head).await;
    assert_eq!(body, "no upstream is available\n");
    proxied.expect_events(&["rejected /ws/x NoUpstream"]).await;
    expect_page(&mut client).await;
}

#[tokio::test]
async fn upstreams_are_taken_in_turn() {
    let first = RawUpstream::start(scripts::echo()).await;
    let second = RawUpstream::start(scripts::echo()).await;
    let third = RawUpstream::start(scripts::echo()).await;
    let all = pool([first.url(), second.url(), third.url()]);
    let proxied = Proxied::start(Host::Axum, all, |layer| layer).await;
    let mut clients = Vec::new();
    for _ in 0..9 {
        let mut client = proxied.open("/ws/x").await;
        echoes(&mut client).await;
        clients.push(client);
    }
    for upstream in [&first, &second, &third] {
        assert_eq!(upstream.log().accepted, 3);
    }
    assert_eq!(proxied.open_tunnels(), 9);
    drop(clients);
    proxied.expect_idle().await;
}

#[tokio::test]
async fn http_names_an_upstream_as_well_as_ws() {
    let upstream = RawUpstream::start(scripts::echo()).await;
    let url = format!("http://{}", upstream.addr());
    let proxied = Proxied::start(Host::Axum, pool([url]), |layer| layer).await;
    echoes(&mut proxied.open("/ws/x").await).await;
}

#[tokio::test]
async fn a_name_is_looked_up_and_all_its_addresses_are_tried() {
    // `localhost` may be ::1 as well, where nothing listens.
    let upstream = RawUpstream::start(scripts::echo()).await;
    let url = format!("ws://localhost:{}", upstream.addr().port());
    let proxied = Proxied::start(Host::Axum, pool([url]), |layer| layer).await;
    echoes(&mut proxied.open("/ws/x").await).await;
}

#[tokio::test]
async fn a_name_without_an_address_is_502_and_gives_way_to_the_next() {
    // RFC 6761 §6.4: no resolver ever finds it.
    let unknown = || "ws://nobody.invalid:80".to_owned();
    let generous = std::time::Duration::from_secs(8);
    let proxied = Proxied::start(Host::Axum, pool([unknown()]), |layer| {
        layer.connect_timeout(generous)
    })
    .await;
    let (mut client, head) = proxied.handshake("/ws/x", &[]).await;
    assert_eq!(head.status(), 502);
    let body = text(&mut client, &head).await;
    assert_eq!(body, "the upstream's name could not be resolved\n");
    proxied
        .expect_events(&["failed /ws/x Resolve nobody.invalid:80"])
        .await;

    let upstream = RawUpstream::start(scripts::echo()).await;
    let both = pool([unknown(), upstream.url()]);
    let proxied = Proxied::start(Host::Axum, both, |layer| layer.connect_timeout(generous)).await;
    echoes(&mut proxied.open("/ws/x").await).await;
}

#[cfg(unix)]
mod unix {
    use std::path::PathBuf;

    use tokio::net::UnixListener;
    use tokio::task::JoinHandle;

    use super::{Host, Proxied, pool, text};
    use crate::support::axum_upstream;
    use crate::support::clients::{Client, Fast, Message, Tungstenite};

    /// An axum application on a Unix socket; dropping it ends it and removes the file.
    struct UnixUpstream {
        path: PathBuf,
        task: JoinHandle<()>,
    }

    impl UnixUpstream {
        fn start(name: &str) -> Self {
            let file = format!("wsplice-{name}-{}.sock", std::process::id());
            let path = std::env::temp_dir().join(file);
            let listener = UnixListener::bind(&path).expect("a socket file");
            let task = tokio::spawn(async move {
                let _ = axum::serve(listener, axum_upstream::router()).await;
            });
            Self { path, task }
        }

        fn url(&self) -> String {
            format!("unix:{}", self.path.display())
        }
    }

    impl Drop for UnixUpstream {
        fn drop(&mut self) {
            self.task.abort();
            let _ = std::fs::remove_file(&self.path);
        }
    }

    async fn echoes<C: Client>(proxied: &Proxied) {
        let mut client = C::connect(proxied.server().addr(), "/ws/echo").await;
        client.send_text("hello").await;
        assert_eq!(client.next().await, Message::Text("hello".to_owned()));
        client.send_close(1000, "bye").await;
        let close = Message::Close(Some((1000, "bye".to_owned())));
        assert_eq!(client.next().await, close);
    }

    #[tokio::test]
    async fn a_unix_socket_is_an_upstream() {
        let upstream = UnixUpstream::start("upstream");
        let proxied = Proxied::start(Host::Axum, pool([upstream.url()]), |layer| layer).await;
        echoes::<Tungstenite>(&proxied).await;
        echoes::<Fast>(&proxied).await;
        proxied.expect_idle().await;
    }

    #[tokio::test]
    async fn a_socket_file_that_is_missing_is_a_failure_to_connect() {
        let missing = std::env::temp_dir().join("wsplice-missing.sock");
        let url = format!("unix:{}", missing.display());
        let name = url.clone();
        let proxied = Proxied::start(Host::Axum, pool([url]), |layer| layer).await;
        let (mut client, head) = proxied.handshake("/ws/x", &[]).await;
        assert_eq!(head.status(), 502);
        let body = text(&mut client, &head).await;
        assert_eq!(body, "the upstream could not be connected\n");
        let failed = format!("failed /ws/x Connect {name}");
        proxied.expect_events(&[&failed]).await;
    }
}

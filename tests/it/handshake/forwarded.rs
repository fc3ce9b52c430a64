//! Forwarded headers: the upstream's view of the client, and the proxies that are trusted.

use std::net::SocketAddr;

use wsplice::ProxyLayer;
use wsplice::headers::{ClientInfo, ClientScheme, ForwardedHeaders, Networks};

use super::kit::{Host, Proxied, only_head, pages, pool, values};
use crate::support::head::Head;
use crate::support::raw::HOST;
use crate::support::scripts;
use crate::support::upstream::RawUpstream;

/// An address that is not a trusted proxy.
const STRANGER: ([u8; 4], u16) = ([198, 51, 100, 7], 50_000);
/// A proxy in front.
const PROXY: ([u8; 4], u16) = ([10, 0, 0, 1], 50_000);

async fn forwarded_head(
    peer: ([u8; 4], u16),
    extra: &[(&str, &str)],
    settings: impl FnOnce(ProxyLayer) -> ProxyLayer,
) -> Head {
    let upstream = RawUpstream::start(scripts::echo()).await;
    let proxied = Proxied::with(&upstream, |layer| {
        settings(layer.client_info(move |_| Some(SocketAddr::from(peer).into())))
    })
    .await;
    let (_client, head) = proxied.handshake("/ws/x", extra).await;
    assert_eq!(head.status(), 101, "{extra:?}");
    only_head(&upstream).await
}

fn trusting(layer: ProxyLayer) -> ProxyLayer {
    layer.trust(Networks::parse(["10.0.0.0/8"]).unwrap())
}

/// Headers by which a client may try to deceive the upstream.
const FORGED: [(&str, &str); 14] = [
    ("X-Forwarded-For", "127.0.0.1"),
    ("X-Forwarded-For", "10.0.0.9"),
    ("X-Forwarded-Proto", "https"),
    ("X-Forwarded-Host", "private.test"),
    ("X-Forwarded-Port", "443"),
    ("X-Forwarded-Prefix", "/admin"),
    ("X-Forwarded-Server", "x"),
    ("X_Forwarded_For", "127.0.0.1"),
    ("X-Forwarded_Host", "private.test"),
    ("X.Forwarded.Proto", "https"),
    ("Forwarded", "for=127.0.0.1"),
    ("X-Real-IP", "127.0.0.1"),
    ("X_Real_IP", "127.0.0.1"),
    ("X-Forwarded", "127.0.0.1"),
];

#[tokio::test]
async fn a_stranger_s_word_is_replaced() {
    for settings in [trusting, |layer| layer] {
        let asked = forwarded_head(STRANGER, &FORGED, settings).await;
        assert_eq!(values(&asked, "x-forwarded-for"), ["198.51.100.7"]);
        assert_eq!(values(&asked, "x-forwarded-proto"), ["http"]);
        assert_eq!(values(&asked, "x-forwarded-host"), [HOST]);
        for (name, _) in FORGED {
            let managed = ["X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host"];
            if !managed.contains(&name) {
                assert_eq!(asked.get(name), None, "{name}");
            }
        }
    }
}

#[tokio::test]
async fn a_trusted_proxy_s_word_is_built_upon() {
    let asked = forwarded_head(PROXY, &FORGED, trusting).await;
    let list = "127.0.0.1, 10.0.0.9, 10.0.0.1";
    assert_eq!(values(&asked, "x-forwarded-for"), [list]);
    assert_eq!(values(&asked, "x-forwarded-proto"), ["https"]);
    assert_eq!(values(&asked, "x-forwarded-host"), ["private.test"]);
    assert_eq!(values(&asked, "x-forwarded-port"), ["443"]);
    // Aliases are never trusted.
    for alias in [
        "x_forwarded_for",
        "x-forwarded_host",
        "x.forwarded.proto",
        "x_real_ip",
    ] {
        assert_eq!(asked.get(alias), None, "{alias}");
    }
}

#[tokio::test]
async fn a_trusted_proxy_that_says_nothing_is_the_client() {
    let asked = forwarded_head(PROXY, &[], trusting).await;
    assert_eq!(values(&asked, "x-forwarded-for"), ["10.0.0.1"]);
    assert_eq!(values(&asked, "x-forwarded-proto"), ["http"]);
    assert_eq!(values(&asked, "x-forwarded-host"), [HOST]);
}

#[tokio::test]
async fn without_a_known_address_none_is_invented_and_none_believed() {
    // These hosts give the service no address of the client.
    for host in [Host::Hyper, Host::Auto] {
        let upstream = RawUpstream::start(scripts::echo()).await;
        let url = pool([upstream.url()]);
        let proxied = Proxied::start(host, url, trusting).await;
        let (_client, head) = proxied.handshake("/ws/x", &FORGED).await;
        assert_eq!(head.status(), 101);
        let asked = only_head(&upstream).await;
        assert_eq!(asked.get("x-forwarded-for"), None, "{host:?}");
        assert_eq!(values(&asked, "x-forwarded-proto"), ["http"]);
        assert_eq!(values(&asked, "x-forwarded-host"), [HOST]);
        for gone in [
            "x_forwarded_for",
            "forwarded",
            "x-real-ip",
            "x-forwarded-port",
        ] {
            assert_eq!(asked.get(gone), None, "{gone}");
        }
    }
}

#[cfg(feature = "axum")]
#[tokio::test]
async fn axum_s_connect_info_is_the_client() {
    let upstream = RawUpstream::start(scripts::echo()).await;
    let proxied = Proxied::before(&upstream).await;
    let (_client, head) = proxied.handshake("/ws/x", &FORGED).await;
    assert_eq!(head.status(), 101);
    let asked = only_head(&upstream).await;
    assert_eq!(values(&asked, "x-forwarded-for"), ["127.0.0.1"]);

    let upstream = RawUpstream::start(scripts::echo()).await;
    let proxied = Proxied::with(&upstream, |layer| layer.trust(Networks::loopback())).await;
    let extra = &[("X-Forwarded-For", "192.0.2.1")];
    let (_client, head) = proxied.handshake("/ws/x", extra).await;
    assert_eq!(head.status(), 101);
    let asked = only_head(&upstream).await;
    assert_eq!(values(&asked, "x-forwarded-for"), ["192.0.2.1, 127.0.0.1"]);
}

#[cfg(feature = "axum")]
#[tokio::test]
async fn the_scheme_of_the_listener_is_passed_on_beside_axum_s_connect_info() {
    let upstream = RawUpstream::start(scripts::echo()).await;
    let encrypted = |layer: ProxyLayer| layer.client_scheme(ClientScheme::Https);
    let proxied = Proxied::with(&upstream, encrypted).await;
    let (_client, head) = proxied.handshake("/ws/x", &FORGED).await;
    assert_eq!(head.status(), 101);
    let asked = only_head(&upstream).await;
    assert_eq!(values(&asked, "x-forwarded-proto"), ["https"]);
}

#[tokio::test]
async fn the_host_tells_the_client_by_an_extension() {
    let upstream = RawUpstream::start(scripts::echo()).await;
    let info = ClientInfo::new()
        .with_peer("[2001:db8::7]:50000".parse().unwrap())
        .with_scheme(ClientScheme::Https);
    let layer = ProxyLayer::new(pool([upstream.url()]));
    let app = pages().layer(layer).layer(axum::Extension(info));
    let server = crate::support::serve::serve_axum(app).await;
    let _client = crate::support::raw::RawClient::open(server.addr(), "/ws/x").await;
    let asked = only_head(&upstream).await;
    assert_eq!(values(&asked, "x-forwarded-for"), ["2001:db8::7"]);
    assert_eq!(values(&asked, "x-forwarded-proto"), ["https"]);
}

#[tokio::test]
async fn forwarded_is_written_where_it_is_asked_for_rfc7239_4() {
    let with_forwarded = |layer: ProxyLayer| {
        let trusted = Networks::parse(["10.0.0.0/8"]).unwrap();
        layer.forwarded(
            ForwardedHeaders::new()
                .with_forwarded()
                .with_x_real_ip()
                .trust(trusted),
        )
    };
    let asked = forwarded_head(STRANGER, &FORGED, with_forwarded).await;
    let own = values(&asked, "forwarded").join(", ");
    assert!(
        own.contains("for=198.51.100.7") && own.contains("proto=http"),
        "{own}"
    );
    assert!(
        own.contains("host=app.test") && !own.contains("127.0.0.1"),
        "{own}"
    );
    assert_eq!(values(&asked, "x-real-ip"), ["198.51.100.7"]);

    let came = [
        ("Forwarded", "for=192.0.2.1"),
        ("X-Forwarded-For", "192.0.2.1"),
    ];
    let asked = forwarded_head(PROXY, &came, with_forwarded).await;
    let both = values(&asked, "forwarded").join(", ");
    assert!(
        both.starts_with("for=192.0.2.1, ") && both.contains("for=10.0.0.1"),
        "{both}"
    );
    assert_eq!(values(&asked, "x-real-ip"), ["192.0.2.1"]);
}

#[tokio::test]
async fn what_is_switched_off_is_still_dropped_from_strangers() {
    let none = |layer: ProxyLayer| {
        layer.forwarded(
            ForwardedHeaders::new()
                .without_x_forwarded_for()
                .without_x_forwarded_proto()
                .without_x_forwarded_host(),
        )
    };
    let asked = forwarded_head(STRANGER, &FORGED, none).await;
    for (name, _) in FORGED {
        assert_eq!(asked.get(name), None, "{name}");
    }
}

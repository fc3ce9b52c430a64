//! Upstreams in DNS, from a real server that responds well and badly.

use std::time::Duration;

use axum::Router;
use tokio::{net::TcpListener, task::JoinSet};
use wsplice::{
    Pool, ProxyLayer,
    connect::{Connector, Resolve},
    discovery::{DiscoverError, Dns, DnsResolver, IpFamilies},
    pool::DiscoveryHandle,
};

use crate::support::{
    axum_upstream,
    deadline::{DEADLINE, within},
    dns::{Data, DnsServer, NXDOMAIN, REFUSED, Reply, SERVFAIL, ips},
    raw::RawClient,
    serve::serve_axum,
};

/// A resolver that asks again soon after failures.
fn resolver(server: &DnsServer) -> DnsResolver {
    DnsResolver::servers([server.addr()]).failure_recheck(Duration::from_millis(10))
}

fn asking(server: &DnsServer, source: Dns) -> Dns {
    // The records are valid for an hour, which these bounds overrule.
    source
        .resolver(resolver(server))
        .refresh(Duration::from_millis(10), Duration::from_millis(20))
        .query_timeout(Duration::from_millis(500))
}

fn addresses(server: &DnsServer) -> Dns {
    asking(server, Dns::addresses("chat.test.", 8080).unwrap())
}

fn names(pool: &Pool) -> Vec<String> {
    let names = pool.snapshot().into_iter();
    names.map(|upstream| upstream.name.to_string()).collect()
}

async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    within(what, async {
        while !is_so() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

async fn until_names(pool: &Pool, expected: &[&str]) {
    until(&format!("{expected:?}"), || names(pool) == expected).await;
}

async fn next_failure(follow: &DiscoveryHandle) -> DiscoverError {
    let before = follow.status().failures;
    until("a failure", || follow.status().failures > before).await;
    follow.status().last_failure.unwrap()
}

#[tokio::test]
async fn the_pool_follows_what_dns_says() {
    let server = DnsServer::start(Reply::Records(ips(&["10.0.0.2", "10.0.0.1"]))).await;
    let pool = Pool::from_upstreams([]).build();
    let follow = pool.follow(addresses(&server));
    follow.ready(DEADLINE).await.unwrap();
    assert_eq!(names(&pool), ["10.0.0.1:8080", "10.0.0.2:8080"]);
    server.reply_with(Reply::Records(ips(&["10.0.0.3", "10.0.0.1"])));
    until_names(&pool, &["10.0.0.1:8080", "10.0.0.3:8080"]).await;
    server.reply_with(Reply::ByAlias(ips(&["10.0.0.4"])));
    until_names(&pool, &["10.0.0.4:8080"]).await;
    server.reply_with(Reply::Records(ips(&["fd00::1"])));
    until_names(&pool, &["[fd00::1]:8080"]).await;
}

#[tokio::test]
async fn whatever_goes_wrong_the_last_good_set_is_kept_and_told_why() {
    let server = DnsServer::start(Reply::Records(ips(&["10.0.0.1"]))).await;
    let pool = Pool::from_upstreams([]).build();
    let follow = pool.follow(addresses(&server));
    follow.ready(DEADLINE).await.unwrap();
    for (reply, words) in [
        (Reply::Code(SERVFAIL), "Server Failure"),
        (Reply::Code(NXDOMAIN), "chat.test. has no records"),
        (Reply::Records(Vec::new()), "chat.test. has no records"),
        (Reply::Garbage, "no response within 500ms"),
        (
            Reply::ToAnother(ips(&["10.6.6.6"])),
            "no response within 500ms",
        ),
        (Reply::Silence, "no response within 500ms"),
    ] {
        let case = format!("{reply:?}");
        server.reply_with(reply);
        let error = next_failure(&follow).await.to_string();
        assert!(error.contains(words), "{case}: {error}");
        assert_eq!(names(&pool), ["10.0.0.1:8080"], "{case}");
        server.reply_with(Reply::Records(ips(&["10.0.0.1"])));
        until("a good answer", || follow.status().failures == 0).await;
    }
}

#[tokio::test]
async fn an_answer_that_does_not_fit_is_asked_for_by_tcp() {
    let many: Vec<_> = (0..=255).map(|low| format!("10.0.0.{low}")).collect();
    let many: Vec<_> = many.iter().map(String::as_str).collect();
    let server = DnsServer::start(Reply::OnlyByTcp(ips(&many))).await;
    let pool = Pool::from_upstreams([]).build();
    let follow = pool.follow(addresses(&server));
    follow.ready(DEADLINE).await.unwrap();
    assert_eq!(pool.len(), 256);
}

#[tokio::test]
async fn records_that_are_gone_empty_the_pool_after_the_grace() {
    let server = DnsServer::start(Reply::Records(ips(&["10.0.0.1"]))).await;
    let pool = Pool::from_upstreams([]).build();
    let source = addresses(&server).empty_grace(Duration::from_millis(200));
    let follow = pool.follow(source);
    follow.ready(DEADLINE).await.unwrap();
    server.reply_with(Reply::Code(NXDOMAIN));
    let error = next_failure(&follow).await;
    assert!(matches!(error, DiscoverError::NoRecords { .. }), "{error}");
    until_names(&pool, &[]).await;
    server.reply_with(Reply::Records(ips(&["10.0.0.1"])));
    until_names(&pool, &["10.0.0.1:8080"]).await;
}

#[tokio::test]
async fn both_families_can_be_had() {
    let server = DnsServer::start(Reply::Records(ips(&["fd00::1", "10.0.0.1"]))).await;
    for (families, expected) in [
        (IpFamilies::PreferV4, &["10.0.0.1:8080"][..]),
        (IpFamilies::PreferV6, &["[fd00::1]:8080"]),
        (IpFamilies::Both, &["10.0.0.1:8080", "[fd00::1]:8080"]),
    ] {
        let pool = Pool::from_upstreams([]).build();
        let follow = pool.follow(addresses(&server).families(families));
        follow.ready(DEADLINE).await.unwrap();
        assert_eq!(names(&pool), expected, "{families:?}");
    }
}

#[tokio::test]
async fn services_are_the_first_priority_under_their_targets_names_rfc2782() {
    let server = DnsServer::start(Reply::Records(vec![
        Data::Srv(0, 50, 8081, "Chat-1.chat.test."),
        Data::Srv(0, 50, 8080, "chat-0.chat.test."),
        Data::Srv(9, 50, 8080, "spare.test."),
    ]))
    .await;
    let pool = Pool::from_upstreams([]).build();
    let follow = pool.follow(asking(
        &server,
        Dns::services("_ws._tcp.chat.test.").unwrap(),
    ));
    follow.ready(DEADLINE).await.unwrap();
    assert_eq!(
        names(&pool),
        ["chat-0.chat.test.:8080", "chat-1.chat.test.:8081"]
    );
    server.reply_with(Reply::Records(vec![Data::Srv(9, 50, 8080, "spare.test.")]));
    until_names(&pool, &["spare.test.:8080"]).await;
}

/// Makes one query, and returns after its response.
async fn one_question(server: &DnsServer) {
    let hour = Duration::from_secs(3600);
    let pool = Pool::from_upstreams([]).build();
    let follow = pool.follow(addresses(server).refresh(hour, hour));
    follow.ready(DEADLINE).await.unwrap();
}

#[tokio::test]
async fn no_server_is_queried_once_no_pool_follows() {
    let server = DnsServer::start(Reply::Records(ips(&["10.0.0.1"]))).await;
    let pool = Pool::from_upstreams([]).build();
    let follow = pool.follow(addresses(&server));
    until("three questions", || server.questions() > 3).await;
    drop(follow);
    let follow = pool.follow(addresses(&server));
    follow.ready(DEADLINE).await.unwrap();
    drop(pool);
    until("the end", || follow.is_over()).await;
    one_question(&server).await;
    let before = server.questions();
    for _ in 0..20 {
        one_question(&server).await;
    }
    assert_eq!(server.questions(), before + 20);
}

/// The same application on this address.
async fn application(listener: TcpListener) -> JoinSet<()> {
    let mut task = JoinSet::new();
    task.spawn(async {
        axum::serve(listener, axum_upstream::router())
            .await
            .unwrap();
    });
    task
}

#[tokio::test]
async fn names_that_are_connected_to_can_be_looked_up_by_the_same_resolver() {
    let application = axum_upstream::start().await;
    let port = application.addr().port();
    let both = vec![
        Data::Srv(0, 1, port, "chat-0.chat.test."),
        Data::Ip([127, 0, 0, 1].into()),
        // The same for queries of the other family.
        Data::Ip("::ffff:127.0.0.1".parse().unwrap()),
    ];
    let server = DnsServer::start(Reply::Records(both.clone())).await;
    let resolver = DnsResolver::servers([server.addr()]);
    let hour = Duration::from_secs(3600);
    let source = Dns::services("_ws._tcp.chat.test.").unwrap();
    let source = source.resolver(resolver.clone()).refresh(hour, hour);
    let pool = Pool::from_upstreams([]).build();
    let follow = pool.follow(source);
    follow.ready(DEADLINE).await.unwrap();
    let layer = ProxyLayer::new(pool).connector(Connector::new().resolver(resolver.clone()));
    let proxy = serve_axum(Router::new().layer(layer)).await;
    let status = || async {
        let mut client = RawClient::connect(proxy.addr()).await;
        client.handshake("/ws/echo", &[]).await.status()
    };

    server.reply_with(Reply::Code(SERVFAIL));
    assert_eq!(status().await, 502);
    server.reply_with(Reply::Code(NXDOMAIN));
    assert_eq!(status().await, 502);
    server.reply_with(Reply::Records(both));
    within("the records", async { while status().await != 101 {} }).await;
    // A family whose query failed is queried again a second after its failure, while the addresses
    // of the other are in use already.
    let addresses = || resolver.resolve("chat-0.chat.test.", port);
    within("both families", async {
        while addresses().await.unwrap().len() < 2 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    server.reply_with(Reply::Silence);
    let before = server.questions();
    assert_eq!(status().await, 101, "the records are still good");
    assert_eq!(server.questions(), before);
}

/// The servers of a service, with records that are valid for no time at all.
#[tokio::test]
async fn a_dns_outage_does_not_take_down_the_servers_of_a_service() {
    let application = axum_upstream::start().await;
    let target = Data::Srv(0, 1, application.addr().port(), "chat-0.chat.test.");
    let records = vec![target, Data::Ip([127, 0, 0, 1].into())];
    let server = DnsServer::start(Reply::Records(records)).await;
    server.valid_for(0);
    let resolver = resolver(&server);
    let pool = Pool::from_upstreams([]).build();
    let source = Dns::services("_ws._tcp.chat.test.").unwrap();
    let follow = pool.follow(source.resolver(resolver.clone()));
    follow.ready(DEADLINE).await.unwrap();
    let layer = ProxyLayer::new(pool.clone()).connector(Connector::new().resolver(resolver));
    let proxy = serve_axum(Router::new().layer(layer)).await;
    let status = || async {
        let mut client = RawClient::connect(proxy.addr()).await;
        client.handshake("/ws/echo", &[]).await.status()
    };
    assert_eq!(status().await, 101);
    for outage in [Reply::Code(SERVFAIL), Reply::Code(REFUSED), Reply::Silence] {
        let case = format!("{outage:?}");
        server.reply_with(outage);
        for _ in 0..2 {
            assert_eq!(status().await, 101, "{case}");
        }
        assert_eq!(names(&pool), [target_name(application.addr().port())]);
    }
    server.reply_with(Reply::Code(NXDOMAIN));
    within("the end of the name", async {
        while status().await != 502 {}
    })
    .await;
}

fn target_name(port: u16) -> String {
    format!("chat-0.chat.test.:{port}")
}

/// Only Linux has the whole of 127.0.0.0/8 at hand.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn clients_reach_what_dns_says_now() {
    let first = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = first.local_addr().unwrap().port();
    let second = TcpListener::bind(("127.0.0.2", port)).await.unwrap();
    let _first = application(first).await;
    let server = DnsServer::start(Reply::Records(ips(&["127.0.0.1"]))).await;
    let pool = Pool::from_upstreams([]).build();
    let proxy = serve_axum(Router::new().layer(ProxyLayer::new(pool.clone()))).await;
    let status = || async {
        let mut client = RawClient::connect(proxy.addr()).await;
        client.handshake("/ws/echo", &[]).await.status()
    };
    assert_eq!(status().await, 503, "nothing was found yet");
    let follow = pool.follow(asking(&server, Dns::addresses("chat.test.", port).unwrap()));
    follow.ready(DEADLINE).await.unwrap();
    assert_eq!(status().await, 101);
    let _second = application(second).await;
    server.reply_with(Reply::Records(ips(&["127.0.0.2"])));
    let expected = format!("127.0.0.2:{port}");
    until_names(&pool, &[&expected]).await;
    assert_eq!(status().await, 101);
}

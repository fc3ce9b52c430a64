//! Every public type is `Debug`, `Send` and `Sync`.

use std::{collections::BTreeSet, fmt::Debug};

use wsplice::{balance, connect, discovery, frame, handshake, head, headers, health, matcher};

use crate::support::sources::sources;

fn is_debug_send_sync<T: Debug + Send + Sync + ?Sized>() {}

macro_rules! are_debug_send_sync {
    ($($name:ty),+ $(,)?) => {
        $(is_debug_send_sync::<$name>();)+
    };
}

/// Some matcher, where a type needs one.
type Some = matcher::PathMatcher;

#[test]
fn types_of_the_root() {
    are_debug_send_sync![
        wsplice::Admission,
        wsplice::AuthorizationRequest,
        wsplice::Drain,
        wsplice::Error,
        wsplice::ErrorKind,
        wsplice::KeepAlive,
        wsplice::KeyLimit,
        wsplice::Limits,
        dyn wsplice::Observer,
        wsplice::Pool,
        wsplice::ProxyLayer,
        wsplice::Registry,
        wsplice::Rejection,
        wsplice::RequestOptions,
        wsplice::Retry,
        wsplice::TunnelConfig,
        wsplice::TunnelInfo,
        wsplice::TunnelReport,
        wsplice::Upstream,
    ];
}

#[test]
fn types_of_accept() {
    are_debug_send_sync![
        wsplice::accept::AcceptProxyProtocol,
        wsplice::accept::ClientStream,
        wsplice::accept::WriteTimeout<tokio::net::TcpStream>,
    ];
}

#[test]
fn types_of_connect() {
    are_debug_send_sync![wsplice::connect::TcpKeepAlive, wsplice::connect::Transport,];
}

#[test]
fn types_of_handshake() {
    are_debug_send_sync![
        wsplice::handshake::AcceptedHandshake,
        wsplice::handshake::InvalidUpgradeResponse,
        wsplice::handshake::RefusedBody,
        wsplice::handshake::UpstreamHandshake,
        wsplice::handshake::UpstreamResponse,
    ];
}

#[test]
fn types_of_observe() {
    are_debug_send_sync![
        wsplice::observe::MembershipChange,
        wsplice::observe::ObserverHandle,
        wsplice::observe::QueueWait<'_>,
        wsplice::observe::RequestInfo<'_>,
        wsplice::observe::UpstreamInfo<'_>,
    ];
}

#[test]
fn types_of_pool() {
    are_debug_send_sync![
        wsplice::pool::DiscoveryHandle,
        wsplice::pool::DiscoveryStatus,
        wsplice::pool::OnUpstreamLoss,
        wsplice::pool::PoolBuilder,
        wsplice::pool::RetryBudget,
        wsplice::pool::RetryOn,
        wsplice::pool::RetryStatus,
        wsplice::pool::UpstreamCounters,
        wsplice::pool::UpstreamStatus,
    ];
}

#[test]
fn types_of_proxy() {
    are_debug_send_sync![
        wsplice::proxy::Admit,
        wsplice::proxy::Deadline,
        wsplice::proxy::Proxy<()>,
        wsplice::proxy::ResponseBody<()>,
        wsplice::proxy::UpgradeRequired,
    ];
}

#[test]
fn types_of_tunnel() {
    are_debug_send_sync![
        wsplice::tunnel::DirectionStats,
        wsplice::tunnel::Drained,
        wsplice::tunnel::FrameCounts,
        wsplice::tunnel::Framing,
        wsplice::tunnel::Limit,
        wsplice::tunnel::ReceivedClose,
        wsplice::tunnel::Rtt,
        wsplice::tunnel::Side,
        wsplice::tunnel::Timer,
        wsplice::tunnel::Tunnel,
        wsplice::tunnel::TunnelBuilder,
        wsplice::tunnel::TunnelEnd,
        wsplice::tunnel::TunnelHandle,
    ];
}

#[test]
fn types_of_tunnel_reattach() {
    are_debug_send_sync![
        wsplice::tunnel::reattach::ClientMessage,
        wsplice::tunnel::reattach::Loss,
        wsplice::tunnel::reattach::Reattach,
        wsplice::tunnel::reattach::ReattachDecision,
        wsplice::tunnel::reattach::ReattachOn,
        wsplice::tunnel::reattach::ReattachRefusal,
        wsplice::tunnel::reattach::ReattachRequest,
        wsplice::tunnel::reattach::Restoration,
        wsplice::tunnel::reattach::UpstreamChange,
    ];
}

#[test]
fn types_of_tunnel_registry() {
    are_debug_send_sync![
        wsplice::tunnel::registry::DirectionTraffic,
        wsplice::tunnel::registry::LayerTunnels,
        wsplice::tunnel::registry::LegStatus,
        wsplice::tunnel::registry::Traffic,
        wsplice::tunnel::registry::TunnelStatus,
    ];
}

#[test]
fn types_of_the_request_side() {
    are_debug_send_sync![
        head::ExtendedConnect,
        head::InvalidHost,
        head::InvalidPath,
        head::PathRewrite,
        head::RequestHead<'_>,
        head::RewriteError,
        wsplice::ForwardHttp,
        wsplice::proxy::WebSocketsOnly,
        headers::ClientInfo,
        headers::ClientScheme,
        headers::ForwardedHeaders,
        headers::HeaderEdits,
        headers::InvalidHeaderEdit,
        headers::InvalidPseudonym,
        headers::InvalidNetwork,
        headers::Networks,
        headers::UpstreamHeaders,
        headers::Via,
        matcher::AllOf<Some>,
        matcher::And<Some, Some>,
        matcher::AnyMatcher,
        matcher::AnyOf<Some>,
        matcher::ClientIpMatcher,
        matcher::HeaderMatcher,
        matcher::HeaderPattern,
        matcher::HostMatcher,
        matcher::InvalidOrigin,
        matcher::MethodMatcher,
        matcher::Not<Some>,
        matcher::Or<Some, Some>,
        matcher::OriginMatcher,
        matcher::PathMatcher,
        matcher::QueryMatcher,
        matcher::QueryPattern,
        matcher::SameOriginMatcher,
        matcher::SubprotocolMatcher,
        matcher::WebSocketMatcher,
        handshake::Leniency,
        handshake::Intent,
        handshake::InvalidHandshake,
        handshake::UpgradeRequest,
    ];
}

#[cfg(feature = "regex")]
#[test]
fn types_of_the_feature_regex() {
    are_debug_send_sync![
        health::probe::InvalidExpectation,
        matcher::InvalidPathRegex,
        matcher::PathRegexMatcher,
    ];
}

#[cfg(feature = "http2")]
#[test]
fn types_of_the_feature_http2() {
    are_debug_send_sync![connect::Http2Connections];
}

#[cfg(feature = "sticky")]
#[test]
fn types_of_the_feature_sticky() {
    are_debug_send_sync![balance::InvalidSticky, balance::SameSite, balance::Sticky,];
}

#[cfg(feature = "rustls")]
#[test]
fn types_of_the_feature_rustls() {
    are_debug_send_sync![connect::Tls];
}

#[cfg(any(feature = "ring", feature = "aws-lc-rs"))]
#[test]
fn types_of_tls_with_cryptography() {
    are_debug_send_sync![connect::InvalidTls, connect::TlsBuilder];
}

#[test]
fn types_of_the_upstream_side() {
    are_debug_send_sync![
        balance::AnyBalance,
        balance::ByTag,
        balance::Candidate<'_>,
        balance::Candidates<'_>,
        balance::First,
        balance::ByTag,
        balance::LeastTunnels,
        balance::LowestLatency,
        balance::OrElse<balance::First, balance::Random>,
        balance::Random,
        balance::Rendezvous,
        balance::RoundRobin,
        balance::WeightedRoundRobin,
        connect::Address,
        dyn connect::Connect,
        connect::Connector,
        connect::HttpVersion,
        connect::InvalidAddress,
        connect::ProxyProtocol,
        frame::CloseCode,
        frame::CloseFrame,
        frame::ControlError,
        frame::ControlFrame,
        frame::EncodedControl,
        frame::EncodedHeader,
        frame::Extensions,
        frame::FrameHeader,
        frame::HeaderError,
        frame::Message,
        frame::OpCode,
        frame::Rsv,
        frame::Scanner,
        frame::Violation,
    ];
}

#[test]
fn types_of_discovery() {
    are_debug_send_sync![
        discovery::Change,
        discovery::ChangeSource<()>,
        discovery::DiscoverError,
        discovery::InOrder<discovery::StaticSource>,
        discovery::MapUpstreams<discovery::StaticSource, ()>,
        discovery::PollSource<()>,
        discovery::StreamSource<()>,
        discovery::StaticSource,
        discovery::WatchSource,
    ];
}

/// Sources are polled by one task, so they can be sent but need not be shared.
#[test]
fn sources_are_debug_and_send() {
    fn is_debug_send<T: Debug + Send + ?Sized>() {}
    is_debug_send::<dyn discovery::Discover>();
    is_debug_send::<discovery::MergeSources>();
}

/// These can be sent and shared, but may be closures, which are not `Debug`.
#[cfg(feature = "dns")]
#[test]
fn types_of_the_feature_dns() {
    are_debug_send_sync![
        discovery::Dns,
        discovery::DnsEvent,
        discovery::DnsResolver,
        discovery::InvalidName,
        discovery::IpFamilies,
    ];
}

/// These can be sent and shared, but may be closures, which are not `Debug`.
#[test]
fn policies_and_resolvers_are_send_and_sync() {
    fn is_send_sync<T: Send + Sync + ?Sized>() {}
    is_send_sync::<dyn balance::Balance>();
    is_send_sync::<dyn connect::Resolve>();
}

#[test]
fn types_of_health() {
    are_debug_send_sync![
        health::availability::Admitted,
        health::AllOf,
        health::AnyOf,
        health::availability::MaxEjectionPercent,
        dyn health::availability::Availability,
        health::Consecutive,
        health::availability::Either<health::availability::FailClosed, health::availability::KeepLast>,
        health::Ejection,
        health::EventSource,
        health::availability::FailClosed,
        health::availability::HealthCounts,
        health::FailureRate,
        health::HealthEvent,
        health::HealthEventKind,
        dyn health::HealthPolicy,
        health::EjectedBy,
        health::HealthControl,
        health::availability::Standard,
        health::availability::UpstreamHealth<'static>,
        health::UpstreamView<'static>,
        health::HealthState,
        health::probe::HttpProbe,
        dyn health::HealthEvaluator,
        health::MaxFails,
        health::availability::KeepLast,
        health::outlier::SuccessRateOutliers,
        health::outlier::Outlier,
        health::availability::PanicThreshold,
        health::Passive,
        dyn health::outlier::OutlierPolicy,
        dyn health::probe::Probe,
        health::probe::ProbeFailure,
        health::probe::ProbeFn<()>,
        health::probe::ProbeSchedule,
        health::probe::ProbeTarget,
        health::EventOutcome,
        health::EventFilter,
        health::SlowHandshake,
        health::outlier::EventCounts,
        health::probe::TcpProbe,
        health::HealthTransition,
        health::Verdict,
        health::probe::WebSocketProbe,
    ];
}

#[cfg(all(feature = "dns", feature = "test-util"))]
#[test]
fn types_of_the_features_dns_and_test_util() {
    are_debug_send_sync![wsplice::testing::MockDns];
}

#[cfg(feature = "test-util")]
#[test]
fn types_of_the_feature_test_util() {
    are_debug_send_sync![
        wsplice::testing::HealthTracker,
        wsplice::testing::MockCandidates,
        wsplice::testing::ProbeTimes,
        wsplice::testing::Probed,
    ];
}

/// The root has what most programs name, and the modules have the rest.
#[test]
fn the_root_has_at_most_35_names() {
    let mentions = include_str!("../../.ci/public-api.txt")
        .split("wsplice::")
        .skip(1);
    let names: BTreeSet<&str> = mentions
        .filter_map(|mention| {
            mention
                .split(|c: char| !c.is_alphanumeric() && c != '_')
                .next()
        })
        .collect();
    assert!(names.contains("ProxyLayer"), "{names:?}");
    assert!(names.len() <= 35, "{}: {names:?}", names.len());
}

/// Futures of responses are sent to other threads and polled by one at a time.
#[test]
fn futures_are_debug_and_send() {
    fn is_debug_send<T: Debug + Send>() {}
    is_debug_send::<wsplice::proxy::ResponseFuture<std::future::Ready<()>>>();
}

/// The lint `unreachable_pub` makes sure that every `pub` item can be reached.
#[test]
fn no_public_type_is_forgotten_here() {
    let mut forgotten = Vec::new();
    for (_, text) in sources() {
        let types = text.lines().filter_map(declared_type);
        forgotten.extend(types.filter(|name| !is_named_here(name)).map(str::to_owned));
    }
    assert!(forgotten.is_empty(), "{forgotten:?}");
}

fn declared_type(line: &str) -> Option<&str> {
    let line = line.trim_start();
    let kinds = ["pub struct ", "pub enum "];
    let rest = kinds.iter().find_map(|kind| line.strip_prefix(kind))?;
    rest.split(|c: char| !c.is_alphanumeric()).next()
}

fn is_named_here(name: &str) -> bool {
    let here = include_str!("public_types.rs");
    here.match_indices(name).any(|(at, _)| {
        let is_word = |c: char| c.is_alphanumeric() || c == '_';
        here[..at].ends_with("::") && !here[at + name.len()..].starts_with(is_word)
    })
}

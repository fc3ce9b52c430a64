//! Every public type is `Debug`, `Send` and `Sync`.

use std::{fmt::Debug, fs, path::Path};

use wsplice::{balance, connect, discovery, frame, head, headers, health, matcher, upgrade};

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
        wsplice::AcceptProxyProtocol,
        wsplice::AcceptedHandshake,
        wsplice::Admission,
        wsplice::Admit,
        wsplice::AuthorizationRequest,
        wsplice::Deadline,
        wsplice::KeyLimit,
        wsplice::Rejection,
        wsplice::RequestOptions,
        wsplice::Restoration,
        wsplice::ClientStream,
        wsplice::BoxError,
        wsplice::ClientMessage,
        wsplice::ReceivedClose,
        wsplice::InvalidUpgradeResponse,
        wsplice::Drain,
        wsplice::Drained,
        wsplice::Error,
        wsplice::ErrorKind,
        wsplice::DiscoveryHandle,
        wsplice::DiscoveryStatus,
        wsplice::FrameCounts,
        wsplice::Framing,
        wsplice::RequestInfo<'_>,
        wsplice::KeepAlive,
        wsplice::Loss,
        wsplice::Reattach,
        wsplice::ReattachDecision,
        wsplice::ReattachOn,
        wsplice::ReattachRefusal,
        wsplice::ReattachRequest,
        wsplice::UpstreamChange,
        wsplice::LegStatus,
        wsplice::Traffic,
        wsplice::DirectionTraffic,
        wsplice::QueueWait<'_>,
        wsplice::UpstreamInfo<'_>,
        wsplice::Limit,
        wsplice::Limits,
        dyn wsplice::Observer,
        wsplice::DirectionStats,
        wsplice::Pool,
        wsplice::PoolBuilder,
        wsplice::Proxy<()>,
        wsplice::ProxyLayer,
        wsplice::RefusedBody,
        wsplice::Registry,
        wsplice::OnUpstreamLoss,
        wsplice::UpstreamHandshake,
        wsplice::UpstreamResponse,
        wsplice::UpstreamCounters,
        wsplice::UpstreamStatus,
        wsplice::ResponseBody<()>,
        wsplice::Retry,
        wsplice::RetryOn,
        wsplice::RetryBudget,
        wsplice::RetryOn,
        wsplice::RetryStatus,
        wsplice::RetryOn,
        wsplice::Rtt,
        wsplice::Side,
        wsplice::TcpKeepAlive,
        wsplice::Timer,
        wsplice::Transport,
        wsplice::WriteTimeout<tokio::net::TcpStream>,
        wsplice::Tunnel,
        wsplice::TunnelBuilder,
        wsplice::TunnelConfig,
        wsplice::TunnelEnd,
        wsplice::TunnelHandle,
        wsplice::TunnelInfo,
        wsplice::TunnelReport,
        wsplice::TunnelStatus,
        wsplice::UpgradeRequired,
        wsplice::Upstream,
        wsplice::MembershipChange,
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
        wsplice::WebSocketsOnly,
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
        upgrade::Leniency,
        upgrade::Intent,
        upgrade::InvalidHandshake,
        upgrade::UpgradeRequest,
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

/// Futures of responses are sent to other threads and polled by one at a time.
#[test]
fn futures_are_debug_and_send() {
    fn is_debug_send<T: Debug + Send>() {}
    is_debug_send::<wsplice::ResponseFuture<std::future::Ready<()>>>();
}

/// The lint `unreachable_pub` makes sure that every `pub` item can be reached.
#[test]
fn no_public_type_is_forgotten_here() {
    let mut dirs = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
    let mut forgotten = Vec::new();
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                dirs.push(path);
                continue;
            }
            let text = fs::read_to_string(&path).unwrap();
            let types = text.lines().filter_map(declared_type);
            forgotten.extend(types.filter(|name| !is_named_here(name)).map(str::to_owned));
        }
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

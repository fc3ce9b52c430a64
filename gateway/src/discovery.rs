//! Service discovery: upstreams from DNS.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use wsplice::connect::Connector;
use wsplice::discovery::{Discover, Dns, DnsResolver};
use wsplice::{Pool, Upstream, pool::DiscoveryHandle};

/// Bound on the wait for the first upstreams. The gateway then serves without any, and responds 503.
const READY_TIMEOUT: Duration = Duration::from_secs(5);

/// Source of upstreams: the address records of a name, or the SRV records of a service.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    text: String,
    dns: Dns,
}

impl Source {
    /// Returns the same source, which queries another DNS server.
    #[cfg(test)]
    pub(crate) fn with_server(mut self, server: std::net::SocketAddr) -> Self {
        self.dns = self.dns.resolver(DnsResolver::servers([server]));
        self
    }

    /// Makes the pool follow the source until the handle is dropped, and waits for the first
    /// upstreams. Each upstream gets its settings from `settings`.
    pub(crate) async fn follow(
        &self,
        pool: &Pool,
        settings: impl Fn(Upstream) -> Upstream + Send + 'static,
    ) -> DiscoveryHandle {
        let following = pool.follow(self.dns.clone().each(settings));
        match following.ready(READY_TIMEOUT).await {
            Ok(()) => tracing::info!(source = %self, upstreams = pool.len(), "proxying"),
            Err(error) => {
                // Quoted, with control characters as escapes: a peer had a part in it.
                let error = format!("{error:#}");
                tracing::warn!(source = %self, ?error, "there are no upstreams yet");
            }
        }
        following
    }
}

/// Gives the connector a resolver that caches answers for their TTL and blocks no thread.
pub(crate) fn resolve_by_dns(connector: Connector) -> Connector {
    connector.resolver(DnsResolver::system())
}

impl FromStr for Source {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let dns = match text.split_once(':') {
            Some(("dns", host)) => {
                let (name, port) = host.rsplit_once(':').ok_or("a port is missing")?;
                let port = port.parse().map_err(|_| "its port is not a number")?;
                Dns::addresses(name, port)
            }
            Some(("srv", name)) => Dns::services(name),
            _ => return Err("it is neither dns:NAME:PORT nor srv:NAME".to_owned()),
        };
        Ok(Self {
            text: text.to_owned(),
            dns: dns.map_err(|error| error.to_string())?,
        })
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_parsed() {
        for text in [
            "dns:chat:8080",
            "dns:chat.default.svc.cluster.local.:80",
            "srv:_ws._tcp.chat.example.",
        ] {
            let source: Source = text.parse().unwrap();
            assert_eq!(source.to_string(), text);
        }
    }

    #[test]
    fn wrong_sources_are_refused_with_the_reason() {
        for (text, words) in [
            ("chat:8080", "neither dns:NAME:PORT nor srv:NAME"),
            ("chat", "neither dns:NAME:PORT nor srv:NAME"),
            ("dns:chat", "a port is missing"),
            ("dns:chat:", "its port is not a number"),
            ("dns:chat:66000", "its port is not a number"),
            ("dns:chat:0", "its port must not be zero"),
            ("dns::80", "it is empty"),
            (
                "dns:10.0.0.1:80",
                "it is an address, and needs no discovery",
            ),
            ("srv:", "it is empty"),
            ("srv:_ws tcp", "ASCII letters"),
        ] {
            let error = text.parse::<Source>().unwrap_err();
            assert!(error.contains(words), "{text}: {error}");
        }
    }

    /// The DNS server is a socket that never answers.
    #[tokio::test(start_paused = true)]
    async fn without_an_answer_from_dns_the_gateway_serves_all_the_same() {
        let silent = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let source: Source = "dns:chat.test.:80".parse().unwrap();
        let pool = Pool::from_upstreams([]).build();
        let source = source.with_server(silent.local_addr().unwrap());
        let following = source.follow(&pool, |upstream| upstream).await;
        assert!(pool.is_empty());
        assert!(!following.is_over());
    }
}

//! Upstreams that DNS tells.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use wsplice::connect::Connector;
use wsplice::discovery::{Discover, Dns, DnsResolver};
use wsplice::{DiscoveryHandle, Pool, Upstream};

/// How long the gateway waits for its upstreams before it serves without.
const PATIENCE: Duration = Duration::from_secs(5);

/// Where upstreams are found.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    text: String,
    dns: Dns,
}

impl Source {
    /// The same source, asked at another server.
    #[cfg(test)]
    pub(crate) fn at(mut self, server: std::net::SocketAddr) -> Self {
        self.dns = self.dns.resolver(DnsResolver::servers([server]));
        self
    }

    /// Makes the pool follow it, for as long as what is returned is held.
    pub(crate) async fn feed(
        &self,
        pool: &Pool,
        change: impl Fn(Upstream) -> Upstream + Send + 'static,
    ) -> DiscoveryHandle {
        let follow = pool.follow(self.dns.clone().each(change));
        match follow.ready(PATIENCE).await {
            Ok(()) => tracing::info!(source = %self, upstreams = pool.len(), "proxying"),
            Err(error) => tracing::warn!(source = %self, "no upstreams yet: {error}"),
        }
        follow
    }
}

/// Looks up names without threads that wait, and not for each connection anew.
pub(crate) fn by_dns(connector: Connector) -> Connector {
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
    fn sources_are_read() {
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
    fn wrong_sources_say_what_is_wrong() {
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

    /// A socket that never answers stands for a DNS server.
    #[tokio::test(start_paused = true)]
    async fn without_an_answer_the_gateway_serves_all_the_same() {
        let silent = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let source: Source = "dns:chat.test.:80".parse().unwrap();
        let pool = Pool::from_upstreams([]);
        let source = source.at(silent.local_addr().unwrap());
        let follow = source.feed(&pool, |upstream| upstream).await;
        assert!(pool.is_empty());
        assert!(!follow.is_over());
    }
}

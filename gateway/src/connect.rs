//! Connections to upstreams: source addresses and the PROXY protocol.

use std::net::IpAddr;

use clap::ValueEnum;
use wsplice::Upstream;
use wsplice::connect::{Connector, ProxyProtocol};

/// Settings of connections to upstreams.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct ConnectArgs {
    /// Send upstreams the client's address by the PROXY protocol, which they
    /// must be configured to expect
    #[arg(
        long,
        value_name = "VERSION",
        requires = "upstreams",
        verbatim_doc_comment
    )]
    pub(crate) proxy_protocol: Option<Version>,

    /// Local address to connect to upstreams from; may be given several
    /// times, to have more than 28,000 connections to one of them
    #[arg(long, value_name = "ADDR", value_parser = source, verbatim_doc_comment)]
    pub(crate) source: Vec<IpAddr>,
}

/// Version of the PROXY protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Version {
    V1,
    V2,
}

impl ConnectArgs {
    /// Creates the connector, which opens connections from the source addresses.
    pub(crate) fn connector(&self) -> Connector {
        Connector::new().source_addresses(self.source.iter().copied())
    }

    /// Gives an upstream its version of the PROXY protocol.
    pub(crate) fn apply(&self, upstream: Upstream) -> Upstream {
        upstream.send_proxy_protocol(self.proxy_protocol.map(|version| match version {
            Version::V1 => ProxyProtocol::V1,
            Version::V2 => ProxyProtocol::V2,
        }))
    }
}

fn source(text: &str) -> Result<IpAddr, String> {
    text.parse()
        .map_err(|_| "it takes an address without a port, such as 10.0.0.8".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    use clap::Parser;
    use tokio::io::{AsyncBufReadExt, BufReader};
    use tokio::net::TcpListener;

    use crate::args::Args;
    use crate::tests::TestGateway;

    #[test]
    fn sources_keep_their_order_and_versions_have_names() {
        let args = [
            "gateway",
            "--upstream=ws://10.0.0.1",
            "--source=10.0.0.8",
            "--source=::1",
            "--proxy-protocol=v2",
        ];
        let args = Args::try_parse_from(args).unwrap();
        let sources: [IpAddr; 2] = ["10.0.0.8".parse().unwrap(), "::1".parse().unwrap()];
        assert_eq!(args.upstreams.connect.source, sources);
        assert_eq!(args.upstreams.connect.proxy_protocol, Some(Version::V2));
        for (arg, sentence) in [
            ("--source=10.0.0.8:80", "an address without a port"),
            ("--proxy-protocol=v3", "[possible values: v1, v2]"),
            ("--proxy-protocol=v1", "--upstream"),
        ] {
            let error = Args::try_parse_from(["gateway", arg]).unwrap_err();
            assert!(error.to_string().contains(sentence), "{error}");
        }
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn the_upstream_sees_the_source_address_and_the_client_s() {
        let upstream = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("--upstream=ws://{}", upstream.local_addr().unwrap());
        let args = [
            &url,
            "--balance=first",
            "--source=127.0.0.9",
            "--proxy-protocol=v1",
        ];
        let gateway = TestGateway::start(&args).await;
        let seen = async {
            let (stream, from) = upstream.accept().await.unwrap();
            let line = BufReader::new(stream).lines().next_line().await.unwrap();
            (from.ip().to_string(), line.unwrap())
        };
        let (opened, (from, line)) = tokio::join!(gateway.open("/ws/echo"), seen);
        assert!(opened.is_err(), "the upstream has left");
        assert_eq!(from, "127.0.0.9");
        let words: Vec<_> = line.split(' ').collect();
        let (ip, port) = (gateway.http.ip().to_string(), gateway.http.port());
        assert_eq!(words[..4], ["PROXY", "TCP4", "127.0.0.1", &ip]);
        assert_eq!(words[5], port.to_string(), "{line}");
    }
}

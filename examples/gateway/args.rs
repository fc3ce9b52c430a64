//! The command line.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::Parser;
use http::Uri;
use ipnet::IpNet;

/// Serves a site, and takes its WebSocket connections to the upstreams behind it
#[derive(Clone, Debug, Parser)]
#[command(
    name = "gateway",
    next_line_help = true,
    after_help = "Durations take a number and a unit: 500ms, 3s, 1h 30m."
)]
pub(crate) struct Args {
    /// Address and port to listen on
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:3000", value_parser = listen)]
    pub(crate) listen: SocketAddr,

    /// Where WebSocket connections go: ws://HOST:PORT, http://HOST:PORT or
    /// unix:PATH; may be given several times [default: a built-in demo]
    #[arg(long, value_name = "URL", verbatim_doc_comment)]
    pub(crate) upstream: Vec<UpstreamUrl>,

    /// Paths of the upstreams; may be given several times
    #[arg(long, value_name = "PATTERN", default_value = "/ws/*", value_parser = route)]
    pub(crate) route: Vec<String>,

    /// Directory to serve everything else from [default: a built-in page]
    #[arg(long = "static", value_name = "DIR", value_parser = directory)]
    pub(crate) static_dir: Option<PathBuf>,

    /// Time for a connection to an upstream to come about
    #[arg(long, value_name = "DURATION", default_value = "3s", value_parser = limit)]
    pub(crate) connect_timeout: Duration,

    /// Time for an upstream to answer the opening handshake
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = limit)]
    pub(crate) handshake_timeout: Duration,

    /// Time without traffic that ends a connection, or off
    #[arg(long, value_name = "DURATION", default_value = "off")]
    pub(crate) idle_timeout: DurationOrOff,

    /// Time for one side to finish after the other has
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = duration)]
    pub(crate) linger: Duration,

    /// Proxies whose X-Forwarded-* headers are believed: an address or a
    /// range, such as 10.0.0.0/8; may be given several times [default: none]
    #[arg(long, value_name = "CIDR", value_parser = trust, verbatim_doc_comment)]
    pub(crate) trust: Vec<IpNet>,

    /// Worker threads [default: one for each core]
    #[arg(long, value_name = "N", value_parser = threads)]
    pub(crate) threads: Option<NonZeroUsize>,
}

/// Where an upstream is: `ws://` or `http://` with a host, or `unix:` with a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct UpstreamUrl(String);

impl UpstreamUrl {
    /// A WebSocket upstream at this address.
    pub(crate) fn at(addr: SocketAddr) -> Self {
        Self(format!("ws://{addr}"))
    }
}

impl fmt::Display for UpstreamUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for UpstreamUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix:") {
            return match path {
                "" => Err("the path of the socket is missing".to_owned()),
                _ => Ok(Self(text.to_owned())),
            };
        }
        let schemes = ["ws://", "http://"];
        let Some(rest) = schemes.iter().find_map(|scheme| text.strip_prefix(scheme)) else {
            return Err("an upstream starts with `ws://`, `http://` or `unix:`".to_owned());
        };
        if rest.is_empty() || rest.starts_with([':', '/']) {
            return Err("the host is missing".to_owned());
        }
        let uri: Uri = text
            .parse()
            .map_err(|error| format!("it is not a URL: {error}"))?;
        match uri.authority() {
            Some(place) if place.port().is_some() || place.as_str() == place.host() => {
                Ok(Self(text.to_owned()))
            }
            _ => {
                Err("after `://` it takes a host, or HOST:PORT with a port up to 65535".to_owned())
            }
        }
    }
}

/// A limit that can be turned off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DurationOrOff {
    /// No limit: `off` or `none`.
    Off,
    /// A limit, longer than zero.
    After(Duration),
}

impl fmt::Display for DurationOrOff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("off"),
            Self::After(limit) => humantime::format_duration(*limit).fmt(f),
        }
    }
}

impl FromStr for DurationOrOff {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "off" | "none" => Ok(Self::Off),
            _ => limit(text)
                .map(Self::After)
                .map_err(|error| format!("{error}; `off` sets no limit")),
        }
    }
}

fn listen(text: &str) -> Result<SocketAddr, String> {
    text.parse()
        .map_err(|_| "it takes an address and a port, such as 127.0.0.1:3000".to_owned())
}

fn route(text: &str) -> Result<String, String> {
    match text.starts_with(['/', '*']) {
        true => Ok(text.to_owned()),
        false => Err("a route starts with `/` or `*`".to_owned()),
    }
}

fn directory(text: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(text);
    match path.metadata() {
        Ok(found) if found.is_dir() => Ok(path),
        Ok(_) => Err("it is not a directory".to_owned()),
        Err(error) => Err(format!("the directory cannot be read: {error}")),
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text)
        .map_err(|_| "it takes a number and a unit, such as 500ms, 3s or 1h 30m".to_owned())
}

fn limit(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        Duration::ZERO => Err("it must be longer than zero".to_owned()),
        limit => Ok(limit),
    }
}

fn trust(text: &str) -> Result<IpNet, String> {
    text.parse()
        .or_else(|_| text.parse::<IpAddr>().map(IpNet::from))
        .map_err(|_| "it takes an address or a range, such as 10.0.0.0/8".to_owned())
}

fn threads(text: &str) -> Result<NonZeroUsize, String> {
    text.parse()
        .map_err(|_| "it takes a whole number, at least 1".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    use clap::error::ErrorKind;

    fn parse(args: &[&str]) -> Result<Args, clap::Error> {
        Args::try_parse_from(["gateway"].iter().chain(args))
    }

    fn refusal(args: &[&str]) -> String {
        let error = parse(args).unwrap_err();
        assert_eq!(error.exit_code(), 2, "{args:?}");
        error.to_string()
    }

    #[test]
    fn no_arguments_give_the_documented_defaults() {
        let args = parse(&[]).unwrap();
        assert_eq!(args.listen, "127.0.0.1:3000".parse().unwrap());
        assert_eq!(args.upstream, []);
        assert_eq!(args.route, ["/ws/*"]);
        assert_eq!(args.static_dir, None);
        assert_eq!(args.connect_timeout, Duration::from_secs(3));
        assert_eq!(args.handshake_timeout, Duration::from_secs(10));
        assert_eq!(args.idle_timeout, DurationOrOff::Off);
        assert_eq!(args.linger, Duration::from_secs(10));
        assert_eq!(args.trust, []);
        assert_eq!(args.threads, None);
    }

    #[test]
    fn repeatable_options_keep_their_order_and_replace_the_default() {
        let args = parse(&[
            "--route=/chat/*",
            "--route=*",
            "--upstream=ws://10.0.0.1:8080",
            "--upstream=http://[::1]/",
            "--upstream=unix:/run/chat.sock",
            "--trust=10.0.0.0/8",
            "--trust=::1",
        ])
        .unwrap();
        assert_eq!(args.route, ["/chat/*", "*"]);
        let upstreams: Vec<_> = args.upstream.iter().map(ToString::to_string).collect();
        assert_eq!(
            upstreams,
            ["ws://10.0.0.1:8080", "http://[::1]/", "unix:/run/chat.sock"]
        );
        let trusted: Vec<_> = args.trust.iter().map(ToString::to_string).collect();
        assert_eq!(trusted, ["10.0.0.0/8", "::1/128"]);
    }

    #[test]
    fn durations_are_human_and_only_some_can_be_off() {
        let args = parse(&["--idle-timeout=1h 30m", "--linger=0s", "--threads=3"]).unwrap();
        let idle = DurationOrOff::After(Duration::from_secs(5400));
        assert_eq!(args.idle_timeout, idle);
        assert_eq!(idle.to_string(), "1h 30m");
        assert_eq!(args.linger, Duration::ZERO);
        assert_eq!(args.threads.map(NonZeroUsize::get), Some(3));
        for off in ["off", "none"] {
            assert_eq!(off.parse(), Ok(DurationOrOff::Off));
        }
        assert_eq!(DurationOrOff::Off.to_string(), "off");
        assert!(parse(&["--connect-timeout=off"]).is_err());
    }

    #[test]
    fn bad_values_are_refused_in_a_sentence_that_names_them() {
        for (arg, sentence) in [
            ("--listen=3000", "it takes an address and a port"),
            ("--upstream=10.0.0.1:80", "an upstream starts with"),
            ("--upstream=wss://a", "an upstream starts with"),
            ("--upstream=ws://", "the host is missing"),
            ("--upstream=ws://a b", "it is not a URL"),
            ("--upstream=ws://a:65536", "a port up to 65535"),
            ("--upstream=ws://a:", "a port up to 65535"),
            ("--upstream=ws://me:secret@a", "it takes a host"),
            ("--upstream=ws://:80", "the host is missing"),
            ("--upstream=unix:", "the path of the socket is missing"),
            ("--route=ws", "a route starts with `/` or `*`"),
            ("--route=", "a route starts with `/` or `*`"),
            ("--static=no/such/place", "the directory cannot be read"),
            ("--static=Cargo.toml", "it is not a directory"),
            ("--connect-timeout=3", "it takes a number and a unit"),
            ("--connect-timeout=0s", "it must be longer than zero"),
            ("--handshake-timeout=-1s", "it takes a number and a unit"),
            ("--idle-timeout=0s", "longer than zero; `off` sets no limit"),
            ("--idle-timeout=soon", "such as 500ms"),
            ("--linger=none", "it takes a number and a unit"),
            ("--trust=10.0.0.0/33", "an address or a range"),
            ("--threads=0", "at least 1"),
            ("--threads=-1", "at least 1"),
        ] {
            let (option, value) = arg.split_once('=').unwrap();
            let text = refusal(&[arg]);
            assert!(text.contains(sentence), "{text}");
            assert!(text.contains(option), "{text}");
            assert!(value.is_empty() || text.contains(value), "{text}");
        }
    }

    #[test]
    fn unknown_options_are_refused() {
        assert!(refusal(&["--uptream=ws://a"]).contains("--upstream"));
        assert!(refusal(&["site"]).contains("site"));
    }

    #[test]
    fn help_fits_a_terminal_of_80_columns() {
        for flag in ["-h", "--help"] {
            let help = parse(&[flag]).unwrap_err();
            assert_eq!(help.kind(), ErrorKind::DisplayHelp);
            for line in help.to_string().lines() {
                assert!(line.chars().count() <= 80, "{line:?}");
            }
        }
    }
}

//! The command line.

use std::fmt;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::Parser;
use wsplice::Upstream;
use wsplice::headers::TrustedProxies;

use crate::balance::Policy;
use crate::probe::Probe;

/// Serves a site, and takes its WebSocket connections to the upstreams behind it
#[derive(Clone, Debug, Parser)]
#[command(
    name = "gateway",
    next_line_help = true,
    after_help = "Durations take a number and a unit: 500ms, 3s, 1h 30m.\n\
        Sizes are in bytes; k or KiB stands for 1024 of them, m or MiB for 1024 KiB.\n\
        RUST_LOG chooses what is logged: warn, debug, wsplice=trace ... [default: info]"
)]
pub(crate) struct Args {
    /// Address and port to listen on; port 0 is any
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:3000", value_parser = listen)]
    pub(crate) listen: SocketAddr,

    /// Where WebSocket connections go: ws://HOST:PORT, unix:PATH or, if built
    /// with TLS, wss://HOST:PORT (http:// and https:// are the same); may be
    /// given several times [default: a built-in demo]
    #[arg(long, value_name = "URL", value_parser = Upstream::new, verbatim_doc_comment)]
    pub(crate) upstream: Vec<Upstream>,

    /// Paths of the upstreams; may be given several times
    #[arg(long, value_name = "PATTERN", default_value = "/ws/*", value_parser = route)]
    pub(crate) route: Vec<String>,

    /// How to choose among upstreams: least-tunnels, latency, round-robin,
    /// random, first, ip-hash, path-hash, or by the hash of a value in the
    /// request: header:NAME, query:NAME, cookie:NAME
    #[arg(
        long,
        value_name = "NAME",
        default_value = "least-tunnels",
        verbatim_doc_comment
    )]
    pub(crate) balance: Policy,

    /// Bring clients back to the upstream they had before, by a cookie of
    /// this name; it counts until the gateway stops
    #[cfg(feature = "sticky")]
    #[arg(long, value_name = "NAME", value_parser = crate::sticky::sticky)]
    #[arg(verbatim_doc_comment)]
    pub(crate) sticky: Option<wsplice::balance::Sticky>,

    /// Connections that one upstream may have at once [default: no limit]
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    pub(crate) max_tunnels: Option<NonZeroUsize>,

    /// How to ask upstreams whether they are well: ws[:PATH] shakes hands and
    /// pings, http[:PATH] wants an answer of 2xx or 3xx, tcp a connection; or
    /// off, and clients find out
    #[arg(
        long,
        value_name = "PROBE",
        default_value = "off",
        verbatim_doc_comment
    )]
    pub(crate) probe: Probe,

    /// Time from one probe of an upstream to the next
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = limit)]
    pub(crate) probe_interval: Duration,

    #[cfg(any(feature = "ring", feature = "aws-lc-rs"))]
    #[command(flatten)]
    pub(crate) tls: crate::tls::TlsArgs,

    /// Directory to serve everything else from [default: a built-in page]
    #[arg(long = "static", value_name = "DIR", value_parser = directory)]
    pub(crate) static_dir: Option<PathBuf>,

    /// Time for a connection to an upstream to come about
    #[arg(long, value_name = "DURATION", default_value = "3s", value_parser = limit)]
    pub(crate) connect_timeout: Duration,

    /// Time for an upstream to answer the opening handshake
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = limit)]
    pub(crate) handshake_timeout: Duration,

    /// Time without traffic that ends a connection, or off; the gateway's
    /// own pings are no traffic
    #[arg(
        long,
        value_name = "DURATION",
        default_value = "off",
        verbatim_doc_comment
    )]
    pub(crate) idle_timeout: DurationOrOff,

    /// Time for one side to finish after the other has
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = duration)]
    pub(crate) linger: Duration,

    /// Silence after which a side is pinged, or off. On unless turned off:
    /// many a hop on the way drops what is quiet for a minute
    #[arg(
        long,
        value_name = "DURATION",
        default_value = "20s",
        verbatim_doc_comment
    )]
    pub(crate) keep_alive: DurationOrOff,

    /// Time for a pinged side to answer, or it counts as dead
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = limit)]
    pub(crate) pong_timeout: Duration,

    /// Age that ends a connection, less up to a tenth; or off
    #[arg(long, value_name = "DURATION", default_value = "off")]
    pub(crate) max_lifetime: DurationOrOff,

    /// Largest message that either side may send, or off
    #[arg(long, value_name = "SIZE", default_value = "off")]
    pub(crate) max_message: SizeOrOff,

    /// Time that connections get to close at Ctrl-C or SIGTERM
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = duration)]
    pub(crate) drain_timeout: Duration,

    /// Time over which these closes are spread, at most half of the drain
    /// timeout
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = duration)]
    #[arg(verbatim_doc_comment)]
    pub(crate) drain_spread: Duration,

    /// Proxies whose X-Forwarded-* headers are believed: an address or a
    /// range, such as 10.0.0.0/8; may be given several times [default: none]
    #[arg(long, value_name = "CIDR", value_parser = trust, verbatim_doc_comment)]
    pub(crate) trust: Vec<TrustedProxies>,

    /// Worker threads [default: one for each core]
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    pub(crate) threads: Option<NonZeroUsize>,
}

/// A limit that can be turned off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DurationOrOff {
    /// No limit: `off` or `none`.
    Off,
    /// A limit, longer than zero.
    After(Duration),
}

impl DurationOrOff {
    /// The limit, if there is one.
    pub(crate) const fn limit(self) -> Option<Duration> {
        match self {
            Self::Off => None,
            Self::After(limit) => Some(limit),
        }
    }
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

/// A size in bytes that can be turned off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SizeOrOff {
    /// No limit: `off` or `none`.
    Off,
    /// A limit in bytes, at least one.
    Bytes(u64),
}

impl SizeOrOff {
    /// The limit in bytes, if there is one.
    pub(crate) const fn limit(self) -> Option<u64> {
        match self {
            Self::Off => None,
            Self::Bytes(bytes) => Some(bytes),
        }
    }
}

impl fmt::Display for SizeOrOff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("off"),
            Self::Bytes(bytes) => write!(f, "{bytes} bytes"),
        }
    }
}

impl FromStr for SizeOrOff {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if matches!(text, "off" | "none") {
            return Ok(Self::Off);
        }
        let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
        let unit = match text[digits.len()..]
            .trim_start()
            .to_ascii_lowercase()
            .as_str()
        {
            "" | "b" => Some(1),
            "k" | "kib" => Some(1 << 10),
            "m" | "mib" => Some(1 << 20),
            "g" | "gib" => Some(1 << 30),
            _ => None,
        };
        let size = digits.parse::<u64>().ok().zip(unit);
        match size.and_then(|(count, unit)| count.checked_mul(unit)) {
            Some(0) => Err("it must be larger than zero; `off` sets no limit".to_owned()),
            Some(bytes) => Ok(Self::Bytes(bytes)),
            None => Err("it takes a size such as 65536, 64k or 1MiB, or `off`".to_owned()),
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

fn trust(text: &str) -> Result<TrustedProxies, String> {
    TrustedProxies::parse([text])
        .map_err(|_| "it takes an address or a range, such as 10.0.0.0/8".to_owned())
}

fn at_least_one(text: &str) -> Result<NonZeroUsize, String> {
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
        assert_eq!(args.balance.to_string(), "least-tunnels");
        assert_eq!(args.max_tunnels, None);
        assert_eq!(args.static_dir, None);
        assert_eq!(args.connect_timeout, Duration::from_secs(3));
        assert_eq!(args.handshake_timeout, Duration::from_secs(10));
        assert_eq!(args.idle_timeout, DurationOrOff::Off);
        assert_eq!(args.linger, Duration::from_secs(10));
        assert_eq!(
            args.keep_alive,
            DurationOrOff::After(Duration::from_secs(20))
        );
        assert_eq!(args.pong_timeout, Duration::from_secs(10));
        assert_eq!(args.max_lifetime, DurationOrOff::Off);
        assert_eq!(args.max_message, SizeOrOff::Off);
        assert_eq!(args.drain_timeout, Duration::from_secs(30));
        assert_eq!(args.drain_spread, Duration::from_secs(2));
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
        let upstreams: Vec<_> = args.upstream.iter().map(Upstream::name).collect();
        assert_eq!(
            upstreams,
            ["10.0.0.1:8080", "[::1]:80", "unix:/run/chat.sock"]
        );
        let trusted = ["10.0.0.0/8", "::1"].map(|entry| TrustedProxies::parse([entry]).unwrap());
        assert_eq!(args.trust, trusted);
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
    fn sizes_take_binary_units() {
        for (text, bytes) in [
            ("1", 1),
            ("64k", 65_536),
            ("64 KiB", 65_536),
            ("2M", 2 << 20),
            ("2MiB", 2 << 20),
            ("1g", 1 << 30),
        ] {
            assert_eq!(text.parse(), Ok(SizeOrOff::Bytes(bytes)), "{text}");
        }
        for off in ["off", "none"] {
            assert_eq!(off.parse(), Ok(SizeOrOff::Off));
        }
        assert_eq!(SizeOrOff::Bytes(7).to_string(), "7 bytes");
    }

    #[test]
    fn bad_values_are_refused_in_a_sentence_that_names_them() {
        for (arg, sentence) in [
            ("--listen=3000", "it takes an address and a port"),
            ("--upstream=10.0.0.1:80", "must begin with ws://"),
            ("--upstream=ws://", "it is not a URL"),
            ("--upstream=ws://a b", "it is not a URL"),
            ("--upstream=ws://a:65536", "from 1 to 65535"),
            ("--upstream=ws://me:secret@a", "must not carry credentials"),
            ("--upstream=ws://a/chat", "must not carry a path"),
            ("--upstream=unix:", "it names no socket file"),
            ("--route=ws", "a route starts with `/` or `*`"),
            ("--route=", "a route starts with `/` or `*`"),
            ("--balance=fair", "there is no policy of this name"),
            ("--balance=by:room", "there is no policy of this name"),
            ("--balance=query:", "a name is missing"),
            ("--balance=header:a b", "no header can have this name"),
            ("--max-tunnels=0", "at least 1"),
            ("--static=no/such/place", "the directory cannot be read"),
            ("--static=Cargo.toml", "it is not a directory"),
            ("--connect-timeout=3", "it takes a number and a unit"),
            ("--connect-timeout=0s", "it must be longer than zero"),
            ("--handshake-timeout=-1s", "it takes a number and a unit"),
            ("--idle-timeout=0s", "longer than zero; `off` sets no limit"),
            ("--idle-timeout=soon", "such as 500ms"),
            ("--linger=none", "it takes a number and a unit"),
            ("--keep-alive=0s", "longer than zero; `off` sets no limit"),
            ("--pong-timeout=off", "it takes a number and a unit"),
            ("--max-message=0", "larger than zero; `off` sets no limit"),
            ("--max-message=1.5m", "such as 65536, 64k or 1MiB"),
            ("--max-message=k", "such as 65536, 64k or 1MiB"),
            ("--max-message=64kB/s", "such as 65536, 64k or 1MiB"),
            ("--max-message=99999999999g", "such as 65536, 64k or 1MiB"),
            ("--drain-spread=-1s", "it takes a number and a unit"),
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
    fn tls_upstreams_need_tls_built_in() {
        let arg = "--upstream=wss://a";
        if cfg!(feature = "rustls") {
            assert_eq!(parse(&[arg]).unwrap().upstream[0].name(), "a:443");
        } else {
            assert!(refusal(&[arg]).contains("TLS needs the feature"));
        }
    }

    #[cfg(feature = "sticky")]
    #[test]
    fn cookies_need_a_name_that_cookies_can_have() {
        assert!(parse(&["--sticky=upstream"]).unwrap().sticky.is_some());
        assert!(refusal(&["--sticky=a b"]).contains("a b"));
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

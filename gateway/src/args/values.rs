//! Values of options: each is parsed from a word, and refused in a sentence.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr, ToSocketAddrs};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use wsplice::connect::HttpVersion;
use wsplice::frame::CloseCode;
use wsplice::handshake::Leniency;
use wsplice::headers::{Networks, Via};
use wsplice::{pool::RetryOn, tunnel::reattach::ReattachOn};

/// Duration that can be turned off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DurationOrOff {
    /// No limit: `off` or `none`.
    Off,
    /// A duration longer than zero.
    After(Duration),
}

impl DurationOrOff {
    /// Returns the duration, if there is one.
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

/// Size in bytes that can be turned off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SizeOrOff {
    /// No limit: `off` or `none`.
    Off,
    /// A size of at least one byte.
    Bytes(u64),
}

impl SizeOrOff {
    /// Returns the size in bytes, if there is one.
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

/// Parses deviations from RFC 6455, separated by commas.
pub(super) fn leniency(text: &str) -> Result<Leniency, String> {
    let mut words = text.split(',').map(str::trim);
    words.try_fold(Leniency::none(), |leniency, word| match word {
        "missing-connection" => Ok(leniency.missing_connection()),
        "unrequested-subprotocol" => Ok(leniency.unrequested_subprotocol()),
        "http10-acceptance" => Ok(leniency.http10_acceptance()),
        _ => Err(
            "it takes missing-connection, unrequested-subprotocol and http10-acceptance, \
                  separated by commas"
                .to_owned(),
        ),
    })
}

/// Failures after which another upstream is tried; none for `off`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RetryConditions(pub(crate) Vec<RetryOn>);

impl FromStr for RetryConditions {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "off" {
            return Ok(Self(Vec::new()));
        }
        let conditions = text.split(',').map(|word| match word.trim() {
            "connect" => Some(RetryOn::Connect),
            "broken" => Some(RetryOn::Broken),
            "timeout" => Some(RetryOn::Timeout),
            status => {
                let status = status.parse().ok();
                let status = status.filter(|status| (400..=599).contains(status));
                status.map(RetryOn::Status)
            }
        });
        let conditions: Option<_> = conditions.collect();
        conditions.map(Self).ok_or_else(|| {
            "it takes connect, broken, timeout and statuses from 400 to 599, separated by commas, \
             or off"
                .to_owned()
        })
    }
}

/// Losses of an upstream after which another one is sought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Losses(pub(crate) Vec<ReattachOn>);

impl FromStr for Losses {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let losses = text.split(',').map(|word| match word.trim() {
            "lost" => Some(ReattachOn::Loss),
            code => {
                let code = code.parse().ok().map(CloseCode::new);
                let code = code.filter(|code| code.is_sendable());
                code.map(ReattachOn::Closed)
            }
        });
        let losses: Option<_> = losses.collect();
        losses.map(Self).ok_or_else(|| {
            "it takes lost and close codes such as 1012, separated by commas".to_owned()
        })
    }
}

/// Parses an address to listen on. A port alone is one of the loopback address; a host name means
/// the first of its addresses, IPv4 before IPv6.
pub(super) fn listen(text: &str) -> Result<SocketAddr, String> {
    if let Ok(port) = text.parse::<u16>() {
        return Ok((Ipv4Addr::LOCALHOST, port).into());
    }
    if let Ok(addr) = text.parse() {
        return Ok(addr);
    }
    let host_and_port = text
        .rsplit_once(':')
        .and_then(|(host, port)| Some((host, port.parse::<u16>().ok()?)));
    match host_and_port {
        Some((host, port)) if !host.is_empty() => look_up(host, port),
        _ => Err(
            "it takes a port, or an address and a port, such as 3000, localhost:3000 or \
             0.0.0.0:3000"
                .to_owned(),
        ),
    }
}

fn look_up(host: &str, port: u16) -> Result<SocketAddr, String> {
    let addrs = (host, port)
        .to_socket_addrs()
        .map_err(|error| format!("the host name cannot be looked up: {error}"))?;
    addrs
        .min_by_key(SocketAddr::is_ipv6)
        .ok_or_else(|| "the host name has no address".to_owned())
}

pub(super) fn route(text: &str) -> Result<String, String> {
    match text.starts_with(['/', '*']) {
        true => Ok(text.to_owned()),
        false => Err("a route starts with `/` or `*`".to_owned()),
    }
}

pub(super) fn via(text: &str) -> Result<Via, String> {
    Via::new(text).map_err(|error| error.to_string())
}

pub(super) fn directory(text: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(text);
    match path.metadata() {
        Ok(found) if found.is_dir() => Ok(path),
        Ok(_) => Err("it is not a directory".to_owned()),
        Err(error) => Err(format!("the directory cannot be read: {error}")),
    }
}

/// Longest duration of any option. Libraries add durations to the present time, some of them unchecked,
/// which panics where the sum leaves the clock's range.
const LONGEST: Duration = Duration::from_secs(30 * 31_557_600);

pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let duration = humantime::parse_duration(text)
        .map_err(|_| "it takes a number and a unit, such as 500ms, 3s or 1h 30m".to_owned())?;
    match duration > LONGEST {
        true => Err("it must be at most 30 years".to_owned()),
        false => Ok(duration),
    }
}

pub(super) fn limit(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        Duration::ZERO => Err("it must be longer than zero".to_owned()),
        limit => Ok(limit),
    }
}

pub(super) fn trust(text: &str) -> Result<Networks, String> {
    Networks::parse([text])
        .map_err(|_| "it takes an address or a range, such as 10.0.0.0/8".to_owned())
}

pub(super) fn http_version(text: &str) -> Result<HttpVersion, String> {
    match text {
        "1" => Ok(HttpVersion::Http1),
        "2" => Ok(HttpVersion::Http2),
        "auto" => Ok(HttpVersion::Auto),
        _ => Err("it takes 1, 2 or auto".to_owned()),
    }
}

pub(super) fn at_least_one(text: &str) -> Result<NonZeroUsize, String> {
    text.parse()
        .map_err(|_| "it takes a whole number, at least 1".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losses_are_a_word_and_close_codes() {
        use ReattachOn::{Closed, Loss};
        let losses = |text: &str| Losses::from_str(text).map(|losses| losses.0);
        let code = |code| Closed(CloseCode::new(code));
        assert_eq!(losses("lost,1012"), Ok(vec![Loss, code(1012)]));
        assert_eq!(losses("1001, 4000"), Ok(vec![code(1001), code(4000)]));
        for wrong in ["", "off", "lost,", "1006", "99999"] {
            assert!(losses(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn retry_conditions_are_words_and_statuses() {
        let parse = |text: &str| text.parse::<RetryConditions>().map(|it| it.0);
        use RetryOn::{Broken, Connect, Status, Timeout};
        let all = parse("connect,broken,timeout,502, 503");
        assert_eq!(
            all.unwrap(),
            [Connect, Broken, Timeout, Status(502), Status(503)]
        );
        assert_eq!(parse("off").unwrap(), []);
        for wrong in ["", "connect,", "off,connect", "200", "99999", "refused"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}

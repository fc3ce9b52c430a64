//! Health checks, by name.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use wsplice::health::probe::{HttpProbe, ProbeSchedule, TcpProbe, WebSocketProbe};
use wsplice::pool::PoolBuilder;

/// Health check, with the path that it requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Probe {
    Off,
    WebSocket(String),
    Http(String),
    Tcp,
}

impl Probe {
    /// Gives a pool this health check, with one check of each upstream per `interval`.
    pub(crate) fn apply(&self, pool: PoolBuilder, interval: Duration) -> PoolBuilder {
        let pool = pool.probe_schedule(ProbeSchedule::every(interval));
        match self {
            Self::Off => pool,
            Self::WebSocket(path) => pool.probe(WebSocketProbe::get(path)),
            Self::Http(path) => pool.probe(HttpProbe::get(path)),
            Self::Tcp => pool.probe(TcpProbe::new()),
        }
    }
}

impl FromStr for Probe {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (kind, path) = text.split_once(':').unwrap_or((text, "/"));
        if !path.starts_with('/') {
            return Err("the path of a probe begins with a slash".to_owned());
        }
        match (kind, text.contains(':')) {
            ("off", false) => Ok(Self::Off),
            ("tcp", false) => Ok(Self::Tcp),
            ("ws", _) => Ok(Self::WebSocket(path.to_owned())),
            ("http", _) => Ok(Self::Http(path.to_owned())),
            _ => Err("it is none of ws, ws:PATH, http, http:PATH, tcp, off".to_owned()),
        }
    }
}

impl fmt::Display for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("off"),
            Self::WebSocket(path) => write!(f, "ws:{path}"),
            Self::Http(path) => write!(f, "http:{path}"),
            Self::Tcp => f.write_str("tcp"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_parsed_and_shown() {
        for (text, shown) in [
            ("off", "off"),
            ("tcp", "tcp"),
            ("ws", "ws:/"),
            ("ws:/ws/health", "ws:/ws/health"),
            ("http:/health?deep=1", "http:/health?deep=1"),
        ] {
            assert_eq!(text.parse::<Probe>().unwrap().to_string(), shown);
        }
    }

    #[test]
    fn other_names_are_refused() {
        for text in ["", "grpc", "off:/", "tcp:/x", "ws:health", "http:"] {
            assert!(text.parse::<Probe>().is_err(), "{text}");
        }
    }
}

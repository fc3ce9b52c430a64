//! The way of a connection after its exchange: back to the idle ones, or to its end.

use std::{sync::Arc, time::Duration};

use http::{HeaderMap, HeaderName};

use crate::{http::headers::members, net::connect::Address};

use super::{
    connection::Http1Connection, idle_connections::IdleConnections, settings::ForwardHttp,
    upload::UploadProgress,
};

/// Destination of a connection after its exchange.
pub(crate) struct ReuseTarget {
    pub(crate) connections: Arc<IdleConnections>,
    /// Progress of the request's body, which must have been sent completely.
    pub(crate) upload: Arc<UploadProgress>,
    pub(crate) settings: Arc<ForwardHttp>,
    /// Time for which the upstream keeps the connection, if it said so.
    pub(crate) keep_alive_timeout: Option<Duration>,
}

impl ReuseTarget {
    /// Keeps the connection for other requests, if the response has ended in order and the request
    /// was sent completely.
    pub(crate) fn keep(self, address: &Address, connection: Http1Connection) {
        if self.upload.is_done() {
            self.connections
                .keep(address, connection, &self.settings, self.keep_alive_timeout);
        }
    }
}

/// Returns the time for which the upstream keeps an idle connection, from `Keep-Alive: timeout=` in
/// seconds.
pub(crate) fn keep_alive_timeout(headers: &HeaderMap) -> Option<Duration> {
    static KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
    let seconds = members(headers, &KEEP_ALIVE)
        .filter_map(|member| std::str::from_utf8(member).ok())
        .filter_map(|member| member.split_once('='))
        .find(|(name, _)| name.trim().eq_ignore_ascii_case("timeout"))?
        .1;
    let seconds = seconds.trim().trim_matches('"').parse::<u32>().ok()?;
    Some(Duration::from_secs(seconds.into()))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn the_keep_alive_header_has_a_timeout() {
        let kept = |value| {
            let mut headers = HeaderMap::new();
            headers.insert("keep-alive", HeaderValue::from_static(value));
            keep_alive_timeout(&headers)
        };
        assert_eq!(kept("timeout=5, max=100"), Some(Duration::from_secs(5)));
        assert_eq!(kept("max=3, Timeout = \"7\""), Some(Duration::from_secs(7)));
        for none in ["", "5", "timeout=", "timeout=-1", "timeout=99999999999"] {
            assert_eq!(kept(none), None, "{none}");
        }
    }
}

//! Setting of a limit by key.

use std::{
    fmt,
    hash::{BuildHasher, Hash, RandomState},
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, Once},
    time::Duration,
};

use tokio::time::Instant;

use crate::{
    error::{Error, ErrorKind},
    http::head::RequestHead,
    lock::lock,
};

use super::{
    permit::{KeyLimitReached, KeyPermit},
    table::{HandshakeRate, KeyLimits, KeyTable, Reached},
};

/// Limits on the tunnels and handshakes of each key: a client's address, a user, a tenant.
///
/// A handshake over a limit gets 429 with `Retry-After`. [Forwarded](crate::ForwardHttp) requests
/// are not counted. A layer may have [several](crate::ProxyLayer::limit_by_key): one by address, to
/// protect the authorization, and one by user behind it. Clones count together, so layers that get
/// clones of one limit share it. What a tunnel may send is limited by
/// [`Limits`](crate::Limits), and all clients together by [`Admission`](crate::Admission).
///
/// # Defaults
///
/// | method | default | why |
/// |---|---|---|
/// | [`max_tunnels`](Self::max_tunnels) | no limit | |
/// | [`handshakes`](Self::handshakes) | no limit | |
/// | [`burst`](Self::burst) | as many as in the period | |
/// | [`ipv6_prefix`](Self::ipv6_prefix) | 64 | a client has a whole /64 to choose addresses from |
/// | [`max_idle_keys`](Self::max_idle_keys) | 65,536 | at most 192 bytes for each, 12 MiB in all |
///
/// # Memory
///
/// A key with open tunnels is never forgotten. Of the others each is remembered until its rate has
/// recovered, and at most [`max_idle_keys`](Self::max_idle_keys) of them: those go first whose rate
/// has recovered most, so that a flood of new keys cannot refill a spent one. Keys are kept as
/// hashes of 64 bits under a random seed; two keys with the same hash would count together. The full
/// table takes some 84 bytes for each, measured after a flood of addresses (`tests/memory`).
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use wsplice::{KeyLimit, Pool, ProxyLayer};
///
/// # let pool = Pool::new(["ws://127.0.0.1:9"])?;
/// let proxy = ProxyLayer::new(pool)
///     .limit_by_key(KeyLimit::by_client_ip().handshakes(30, Duration::from_secs(60)))
///     .limit_by_key(KeyLimit::by_request_key().max_tunnels(10));
/// # let _ = proxy;
/// # Ok::<(), wsplice::connect::InvalidAddress>(())
/// ```
#[derive(Clone)]
#[must_use]
pub struct KeyLimit {
    source: KeySource,
    max_tunnels: Option<u32>,
    handshakes: Option<(u32, Duration)>,
    burst: Option<u32>,
    ipv6_prefix: u8,
    max_idle: usize,
    hasher: RandomState,
    table: Arc<Mutex<KeyTable>>,
    /// Whether a client without an address was logged.
    unknown_client: Arc<Once>,
}

/// Source of the key of a request.
#[derive(Clone)]
enum KeySource {
    ClientIp,
    Head(Arc<KeyFn>),
    /// The key of [`RequestOptions`](crate::RequestOptions).
    Options,
}

type KeyFn = dyn Fn(&RequestHead<'_>) -> Option<String> + Send + Sync;

impl KeyLimit {
    /// Limits each client's address; IPv6 addresses by their [prefix](Self::ipv6_prefix). It is the
    /// address that matchers see, behind [trusted](crate::ProxyLayer::trust) proxies the one that
    /// they report.
    ///
    /// A client without a known address, as on a Unix socket, is not limited. The first one is logged at
    /// the level `warn`, because a server of axum that was made without
    /// `into_make_service_with_connect_info`, or without this crate's feature `axum`, knows no addresses:
    /// see [`ProxyLayer::client_info`](crate::ProxyLayer::client_info).
    pub fn by_client_ip() -> Self {
        Self::by_source(KeySource::ClientIp)
    }

    /// Limits each value of this function of the request's head. A request for which the function
    /// returns `None` is not limited.
    ///
    /// # Examples
    ///
    /// ```
    /// use wsplice::{KeyLimit, head::RequestHead};
    ///
    /// let by_tenant = KeyLimit::by(|head: &RequestHead<'_>| {
    ///     head.host().map(str::to_ascii_lowercase)
    /// })
    /// .max_tunnels(1_000);
    /// # let _ = by_tenant;
    /// ```
    pub fn by<F>(key: F) -> Self
    where
        F: Fn(&RequestHead<'_>) -> Option<String> + Send + Sync + 'static,
    {
        Self::by_source(KeySource::Head(Arc::new(key)))
    }

    /// Limits each key of [`RequestOptions::key`](crate::RequestOptions::key), after the
    /// [authorization](crate::ProxyLayer::authorize), which may set it. A request without a key is
    /// not limited.
    pub fn by_request_key() -> Self {
        Self::by_source(KeySource::Options)
    }

    /// Limits the tunnels that a key has open at once, with those whose handshake is under way.
    pub const fn max_tunnels(mut self, tunnels: u32) -> Self {
        self.max_tunnels = Some(tunnels);
        self
    }

    /// Limits the handshakes of a key to this many in this period. A handshake that a limit rejects
    /// does not count.
    pub const fn handshakes(mut self, handshakes: u32, period: Duration) -> Self {
        self.handshakes = Some((handshakes, period));
        self
    }

    /// Sets how many handshakes a key may have at once after a time without any, at least one.
    pub const fn burst(mut self, handshakes: u32) -> Self {
        self.burst = Some(handshakes);
        self
    }

    /// Sets the length in bits, up to 128, of the prefix that the IPv6 addresses of one client have in
    /// common.
    pub fn ipv6_prefix(mut self, bits: u8) -> Self {
        self.ipv6_prefix = bits.min(128);
        self
    }

    /// Sets how many keys without tunnels are remembered.
    pub const fn max_idle_keys(mut self, keys: usize) -> Self {
        self.max_idle = keys;
        self
    }

    /// Returns the number of keys that are remembered at this moment.
    #[must_use]
    pub fn keys(&self) -> usize {
        lock(&self.table).len()
    }

    fn by_source(source: KeySource) -> Self {
        Self {
            source,
            max_tunnels: None,
            handshakes: None,
            burst: None,
            ipv6_prefix: 64,
            max_idle: 65_536,
            hasher: RandomState::new(),
            table: Arc::new(Mutex::new(KeyTable::new(Instant::now()))),
            unknown_client: Arc::new(Once::new()),
        }
    }

    /// Whether the key is known only after the authorization.
    pub(in crate::proxy) const fn follows_authorization(&self) -> bool {
        matches!(self.source, KeySource::Options)
    }

    /// Admits a handshake under its key. `option` is the key of the request's options.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::TooManyTunnelsForKey`] or [`ErrorKind::TooManyHandshakesForKey`].
    pub(in crate::proxy) fn admit(
        &self,
        head: &RequestHead<'_>,
        option: Option<&str>,
    ) -> Result<Option<KeyPermit>, Error> {
        let Some(key) = self.key(head, option) else {
            return Ok(None);
        };
        let limits = self.limits();
        match lock(&self.table).admit(key, &limits, Instant::now()) {
            Ok(()) => Ok(Some(KeyPermit {
                table: Arc::clone(&self.table),
                key,
                max_idle: self.max_idle,
            })),
            Err(reached) => Err(error(reached)),
        }
    }

    fn key(&self, head: &RequestHead<'_>, option: Option<&str>) -> Option<u64> {
        match &self.source {
            KeySource::ClientIp => {
                let Some(client) = head.client_ip() else {
                    self.unknown_client.call_once(log_unknown_client);
                    return None;
                };
                Some(self.hash(network(client, self.ipv6_prefix)))
            }
            KeySource::Head(key) => key(head).map(|key| self.hash(key)),
            KeySource::Options => option.map(|key| self.hash(key)),
        }
    }

    fn hash(&self, key: impl Hash) -> u64 {
        self.hasher.hash_one(key)
    }

    fn limits(&self) -> KeyLimits {
        let rate = self.handshakes.map(|(handshakes, period)| HandshakeRate {
            interval: (period / handshakes.max(1)).max(Duration::from_nanos(1)),
            burst: match handshakes {
                0 => 0,
                _ => self.burst.unwrap_or(handshakes).max(1),
            },
        });
        KeyLimits {
            max_tunnels: self.max_tunnels,
            rate,
        }
    }
}

fn log_unknown_client() {
    tracing::warn!(
        "a client whose address is not known is not limited by address: serve with \
         `into_make_service_with_connect_info` and the feature `axum`, or set `ProxyLayer::client_info`"
    );
}

fn error(reached: Reached) -> Error {
    let (kind, retry_after) = match reached {
        Reached::Tunnels => (ErrorKind::TooManyTunnelsForKey, None),
        Reached::Handshakes(after) => (ErrorKind::TooManyHandshakesForKey, Some(after)),
    };
    Error::with_source(kind, KeyLimitReached { retry_after })
}

/// Returns the address that stands for all of a client's.
fn network(address: IpAddr, ipv6_prefix: u8) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(ipv6_prefix));
            Ipv6Addr::from_bits(address.to_bits() & mask.unwrap_or(0)).into()
        }
        address => address,
    }
}

impl fmt::Debug for KeyLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyLimit")
            .field("max_tunnels", &self.max_tunnels)
            .field("handshakes", &self.handshakes)
            .field("burst", &self.burst)
            .field("keys", &self.keys())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn admitted(limit: &KeyLimit, address: &str) -> Result<Option<KeyPermit>, ErrorKind> {
        let request = Request::new(());
        let address: IpAddr = address.parse().unwrap();
        let head = RequestHead::from(&request).with_client_ip(address);
        limit.admit(&head, None).map_err(|error| error.kind())
    }

    #[test]
    fn addresses_of_one_network_count_together() {
        let limit = KeyLimit::by_client_ip().max_tunnels(1);
        let refused = ErrorKind::TooManyTunnelsForKey;
        let _v4 = admitted(&limit, "192.0.2.1").unwrap();
        assert_eq!(admitted(&limit, "::ffff:192.0.2.1").unwrap_err(), refused);
        assert!(admitted(&limit, "192.0.2.2").is_ok());
        let _v6 = admitted(&limit, "2001:db8::1").unwrap();
        assert_eq!(admitted(&limit, "2001:db8::ffff:1").unwrap_err(), refused);
        assert!(admitted(&limit, "2001:db8:0:1::1").is_ok());

        let limit = KeyLimit::by_client_ip().max_tunnels(1).ipv6_prefix(0);
        let _any = admitted(&limit, "2001:db8::1").unwrap();
        assert_eq!(admitted(&limit, "fd00::1").unwrap_err(), refused);
        let limit = KeyLimit::by_client_ip().max_tunnels(1).ipv6_prefix(128);
        let _one = admitted(&limit, "2001:db8::1").unwrap();
        assert!(admitted(&limit, "2001:db8::2").is_ok());
    }

    #[test]
    fn a_request_without_a_key_is_not_limited() {
        let request = Request::new(());
        let head = RequestHead::from(&request);
        for limit in [
            KeyLimit::by_client_ip(),
            KeyLimit::by(|_| None),
            KeyLimit::by_request_key(),
        ] {
            let limit = limit.max_tunnels(0);
            assert!(matches!(limit.admit(&head, None), Ok(None)));
        }
        let limit = KeyLimit::by_request_key().max_tunnels(0);
        assert!(limit.admit(&head, Some("alice")).is_err());
    }

    #[test]
    fn clones_count_together_until_the_last_permit_is_dropped() {
        let limit = KeyLimit::by(|_| Some("x".into())).max_tunnels(1);
        let request = Request::new(());
        let head = RequestHead::from(&request);
        let permit = limit.admit(&head, None).unwrap();
        assert!(limit.clone().admit(&head, None).is_err());
        assert_eq!(limit.keys(), 1);
        drop(permit);
        assert_eq!(limit.keys(), 0);
        assert!(limit.admit(&head, None).is_ok());
    }

    #[test]
    fn extreme_rates_admit_none_or_all() {
        let none = KeyLimit::by_client_ip().handshakes(0, Duration::from_secs(1));
        assert!(admitted(&none, "192.0.2.1").is_err());
        let many = KeyLimit::by_client_ip().handshakes(u32::MAX, Duration::ZERO);
        assert!(admitted(&many.burst(0), "192.0.2.1").is_ok());
    }
}

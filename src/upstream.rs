//! One upstream: its settings, and its figures while it runs.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;

use crate::{
    admission::{Admission, Gate},
    connect::{Address, HttpVersion, InvalidAddress, ProxyHeader, ProxyProtocol},
    hash::hash,
    headers::ClientInfo,
    health::{HealthEvent, ProbeTimes, Standing, Tally},
};

/// One server behind the proxy.
///
/// # Examples
///
/// ```
/// use wsplice::Upstream;
///
/// let upstream = Upstream::new("ws://10.0.0.1:8080")?.weight(3).tag("zone", "b");
/// assert_eq!(upstream.name(), "10.0.0.1:8080");
/// assert_eq!(upstream.tag_value("zone"), Some("b"));
/// assert!(Upstream::new("10.0.0.1:8080").is_err());
/// # Ok::<(), wsplice::connect::InvalidAddress>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upstream {
    name: Arc<str>,
    address: Address,
    weight: u32,
    tags: Vec<(Box<str>, Box<str>)>,
    admission: Admission,
    http_version: HttpVersion,
    proxy_protocol: Option<ProxyProtocol>,
}

impl Upstream {
    /// An upstream at `ws://host[:port]`, `wss://host[:port]` (feature `rustls`) or
    /// `unix:/path/to/socket`; `http` and `https` are the same as `ws` and `wss`.
    ///
    /// # Errors
    ///
    /// When the address cannot be read; see [`Address::parse`].
    pub fn new(address: &str) -> Result<Self, InvalidAddress> {
        Address::parse(address).map(Self::at)
    }

    /// An upstream at this address.
    #[must_use]
    pub fn at(address: Address) -> Self {
        Self {
            name: name_of(&address).into(),
            address,
            weight: 1,
            tags: Vec::new(),
            admission: Admission::new(),
            http_version: HttpVersion::default(),
            proxy_protocol: None,
        }
    }

    /// How much it takes compared with the others, in policies that look at weights; 1 by
    /// default. One of weight 0 gets nothing, whatever the policy.
    #[must_use]
    pub fn weight(mut self, weight: u32) -> Self {
        self.weight = weight;
        self
    }

    /// Limits on its tunnels and handshakes.
    #[must_use]
    pub fn admission(mut self, admission: Admission) -> Self {
        self.admission = admission;
        self
    }

    /// In which version of HTTP it is asked for its WebSockets; HTTP/1.1 unless set. Of its probes
    /// those by WebSocket and HTTP go the same way; plain requests that are forwarded go by HTTP/1.1.
    #[must_use]
    pub fn http_version(mut self, version: HttpVersion) -> Self {
        self.http_version = version;
        self
    }

    /// Tells it the client's address by the PROXY protocol, at the start of each connection; off
    /// by default. It must be set to expect that, or it will see garbage.
    ///
    /// Such a connection is one client's and cannot be shared, so it speaks HTTP/1.1, whatever
    /// [`http_version`](Self::http_version) says.
    #[must_use]
    pub fn send_proxy_protocol(mut self, version: impl Into<Option<ProxyProtocol>>) -> Self {
        self.proxy_protocol = version.into();
        self
    }

    /// Adds a tag, for policies and predicates of your own.
    #[must_use]
    pub fn tag(mut self, key: &str, value: &str) -> Self {
        self.tags.push((key.into(), value.into()));
        self
    }

    /// What logs, reports and [`Pool::remove`](crate::Pool::remove) call it: `host:port`,
    /// `wss://host:port` with TLS (then `#` and whom the certificate is for, if that is not the
    /// host), or `unix:` and the path. Another address has another name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where it is.
    #[must_use]
    pub const fn address(&self) -> &Address {
        &self.address
    }

    pub(crate) const fn version(&self) -> HttpVersion {
        self.http_version
    }

    /// How it is told the client's address.
    ///
    /// With such a header a connection belongs to one client: it must never be shared, pooled or
    /// used again for another.
    #[must_use]
    pub const fn proxy_protocol(&self) -> Option<ProxyProtocol> {
        self.proxy_protocol
    }

    /// What says who the client is, if this upstream is to be told: its IP address, as far as it
    /// can be believed, and what is known of its connection.
    pub(crate) fn proxy_header(
        &self,
        client_ip: Option<IpAddr>,
        client: &ClientInfo,
    ) -> Option<ProxyHeader> {
        let version = self.proxy_protocol?;
        let source = client_ip.map(|ip| {
            // One that a trusted proxy told has no port.
            let peer = client.peer().filter(|_| client.peer_ip() == Some(ip));
            peer.unwrap_or(SocketAddr::new(ip, 0))
        });
        Some(version.relayed(source, client.local()))
    }

    /// The newest value of a tag.
    #[must_use]
    pub fn tag_value(&self, key: &str) -> Option<&str> {
        let tag = self.tags.iter().rev().find(|(name, _)| **name == *key);
        tag.map(|(_, value)| &**value)
    }
}

/// The server behind `ws://a:443` is not the one behind `wss://a:443`, which may not be the one
/// that has a certificate for another name.
fn name_of(address: &Address) -> String {
    match address {
        Address::Tls {
            server_name: Some(server_name),
            ..
        } => format!("wss://{address}#{server_name}"),
        Address::Tls { .. } => format!("wss://{address}"),
        // Shown as it is written only if it can be.
        Address::Unix(path) if path.to_str().is_none() => format!("unix:{path:?}"),
        _ => address.to_string(),
    }
}

/// An upstream of a pool, with its figures.
pub(crate) struct Member {
    upstream: Upstream,
    name_hash: u64,
    figures: Arc<Figures>,
}

/// What is counted of an upstream; it outlives a change of settings.
#[derive(Debug, Default)]
struct Figures {
    gate: Gate,
    /// Smoothed latency in microseconds, plus one; zero before the first sample.
    latency_us: AtomicU64,
    /// Whether there is a ramp to look at; spares the lock where there is none.
    is_ramping: AtomicBool,
    ramp: Mutex<Option<Ramp>>,
    /// Whether policies may pick it now.
    is_used: AtomicBool,
    /// Since when it is being drained.
    draining: Mutex<Option<Instant>>,
    loss: Mutex<Option<Loss>>,
    /// Made with the pool's settings when it comes into the pool.
    watch: Mutex<Option<Watch>>,
}

/// What is known of an upstream's health, and when to ask again.
#[derive(Debug)]
pub(crate) struct Watch {
    pub(crate) standing: Standing,
    pub(crate) times: ProbeTimes,
    pub(crate) last_probe: Option<HealthEvent>,
    /// What it did since the pool's upstreams were last compared.
    pub(crate) tally: Tally,
}

/// The tunnels that were picked up to then are to be closed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Loss {
    /// Counts the losses of the pool.
    pub(crate) number: u32,
    pub(crate) at: Instant,
    /// From the first close to the last.
    pub(crate) spread: Duration,
    pub(crate) reason: &'static str,
}

/// A slow start: from when, and how long.
#[derive(Clone, Copy, Debug)]
struct Ramp {
    began: Instant,
    takes: Duration,
}

impl Member {
    pub(crate) fn new(upstream: Upstream) -> Self {
        Self {
            name_hash: hash(upstream.name().bytes()),
            upstream,
            figures: Arc::default(),
        }
    }

    /// The same upstream under other settings, with the same figures.
    pub(crate) fn changed(&self, upstream: Upstream) -> Self {
        Self {
            name_hash: hash(upstream.name().bytes()),
            upstream,
            figures: Arc::clone(&self.figures),
        }
    }

    pub(crate) fn is_at(&self, address: &Address) -> bool {
        self.upstream.address == *address
    }

    pub(crate) fn gate(&self) -> &Gate {
        &self.figures.gate
    }

    /// Shows what is known of its health; `None` before it is in a pool.
    pub(crate) fn with_watch<T>(&self, act: impl FnOnce(&mut Option<Watch>) -> T) -> T {
        act(&mut lock(&self.figures.watch))
    }

    /// Whether anybody holds on to its figures but this: a tunnel, or a probe; also one that began
    /// when its settings were other ones.
    pub(crate) fn is_held(self: &Arc<Self>) -> bool {
        Arc::strong_count(self) > 1 || Arc::strong_count(&self.figures) > 1
    }

    pub(crate) fn is_used(&self) -> bool {
        self.figures.is_used.load(Ordering::Relaxed)
    }

    /// Says whether policies may pick it from now on; whether they might before.
    pub(crate) fn set_used(&self, is_used: bool) -> bool {
        self.figures.is_used.swap(is_used, Ordering::Relaxed)
    }

    /// Whether it may get tunnels at all, whatever its health.
    pub(crate) fn is_open(&self) -> bool {
        self.weight() > 0 && self.draining_since().is_none()
    }

    pub(crate) fn draining_since(&self) -> Option<Instant> {
        *lock(&self.figures.draining)
    }

    /// False if it is being drained already.
    pub(crate) fn begin_draining(&self, now: Instant) -> bool {
        let mut draining = lock(&self.figures.draining);
        let is_new = draining.is_none();
        draining.get_or_insert(now);
        is_new
    }

    /// False if it was not being drained.
    pub(crate) fn end_draining(&self) -> bool {
        lock(&self.figures.draining).take().is_some()
    }

    pub(crate) fn loss(&self) -> Option<Loss> {
        *lock(&self.figures.loss)
    }

    pub(crate) fn set_loss(&self, loss: Loss) {
        *lock(&self.figures.loss) = Some(loss);
    }

    pub(crate) const fn admission(&self) -> &Admission {
        &self.upstream.admission
    }

    pub(crate) const fn upstream(&self) -> &Upstream {
        &self.upstream
    }

    pub(crate) fn shared_name(&self) -> Arc<str> {
        Arc::clone(&self.upstream.name)
    }

    /// The name's [`hash`].
    pub(crate) const fn name_hash(&self) -> u64 {
        self.name_hash
    }

    pub(crate) const fn weight(&self) -> u32 {
        self.upstream.weight
    }

    pub(crate) fn tunnels(&self) -> usize {
        self.figures.gate.tunnels()
    }

    pub(crate) fn handshakes(&self) -> usize {
        self.figures.gate.handshakes()
    }

    pub(crate) fn latency(&self) -> Option<Duration> {
        self.figures
            .latency_us
            .load(Ordering::Relaxed)
            .checked_sub(1)
            .map(Duration::from_micros)
    }

    /// Adds a latency sample: a handshake's time, or a ping's. The smoothed value moves by an
    /// eighth (RFC 6298 §2); two samples at once may lose one, which is harmless.
    pub(crate) fn sample_latency(&self, sample: Duration) {
        let sample = u64::try_from(sample.as_micros()).unwrap_or(u64::MAX / 8);
        let smoothed = match self
            .figures
            .latency_us
            .load(Ordering::Relaxed)
            .checked_sub(1)
        {
            Some(before) => before - before / 8 + sample / 8,
            None => sample,
        };
        self.figures
            .latency_us
            .store(smoothed.saturating_add(1), Ordering::Relaxed);
    }

    /// Begins a slow start.
    pub(crate) fn ramp_up(&self, now: Instant, takes: Duration) {
        let figures = &self.figures;
        *lock(&figures.ramp) = Some(Ramp { began: now, takes });
        figures.is_ramping.store(true, Ordering::Relaxed);
    }

    /// Whether there is a slow start to look at.
    pub(crate) fn is_ramping(&self) -> bool {
        self.figures.is_ramping.load(Ordering::Relaxed)
    }

    /// How much of its share it should get, in a slow start: from just above 0 to 1.
    pub(crate) fn readiness(&self, now: Instant) -> f64 {
        let figures = &self.figures;
        if !self.is_ramping() {
            return 1.0;
        }
        let ramp = lock(&figures.ramp);
        let Some(Ramp { began, takes }) = *ramp else {
            return 1.0;
        };
        let elapsed = now.saturating_duration_since(began);
        if elapsed >= takes {
            figures.is_ramping.store(false, Ordering::Relaxed);
            return 1.0;
        }
        (elapsed.as_secs_f64() / takes.as_secs_f64()).max(0.01)
    }
}

impl fmt::Debug for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Member")
            .field("upstream", &self.upstream.name)
            .field("tunnels", &self.tunnels())
            .finish_non_exhaustive()
    }
}

/// The data is whole after every statement under the lock, so a panic elsewhere harms nothing.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_port_with_and_without_tls_has_two_names() {
        let plain = Address::tcp("a", 443);
        let upstreams = [
            plain,
            Address::tls("a", 443),
            Address::tls_of("b", "a", 443),
        ];
        let upstreams = upstreams.map(Upstream::at);
        let names = upstreams.each_ref().map(Upstream::name);
        assert_eq!(names, ["a:443", "wss://a:443", "wss://a:443#b"]);
    }

    #[cfg(unix)]
    #[test]
    fn paths_that_are_no_text_have_names_of_their_own() {
        use std::{ffi::OsStr, os::unix::ffi::OsStrExt, path::Path};

        let at =
            |bytes: &[u8]| Upstream::at(Address::Unix(Path::new(OsStr::from_bytes(bytes)).into()));
        assert_eq!(at(b"/run/a").name(), "unix:/run/a");
        assert_ne!(at(b"/run/\xff").name(), at(b"/run/\xfe").name());
    }
}

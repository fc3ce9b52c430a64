//! One upstream: its settings, and its figures while it runs.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;

use crate::{
    admission::{Admission, Gate},
    connect::{Address, InvalidAddress, ProxyHeader, ProxyProtocol},
    hash::hash,
    headers::ClientInfo,
    health::{HealthEvent, ProbeTimes, Standing},
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
            name: address.to_string().into(),
            address,
            weight: 1,
            tags: Vec::new(),
            admission: Admission::new(),
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

    /// Tells it the client's address by the PROXY protocol, at the start of each connection; off
    /// by default. It must be set to expect that, or it will see garbage.
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

    /// What logs and reports call it: `host:port`, or `unix:` and the path.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where it is.
    #[must_use]
    pub const fn address(&self) -> &Address {
        &self.address
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
    /// Made with the pool's settings when its health first matters.
    watch: OnceLock<Mutex<Watch>>,
}

/// What is known of an upstream's health, and when to ask again.
#[derive(Debug)]
pub(crate) struct Watch {
    pub(crate) standing: Standing,
    pub(crate) times: ProbeTimes,
    pub(crate) last_probe: Option<HealthEvent>,
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

    pub(crate) fn watch(&self, new: impl FnOnce() -> Watch) -> MutexGuard<'_, Watch> {
        let watch = self.figures.watch.get_or_init(|| Mutex::new(new()));
        watch.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is known of its health, once anything is.
    pub(crate) fn known_watch(&self) -> Option<MutexGuard<'_, Watch>> {
        let watch = self.figures.watch.get()?;
        Some(watch.lock().unwrap_or_else(PoisonError::into_inner))
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
        *figures.ramp.lock().unwrap_or_else(PoisonError::into_inner) =
            Some(Ramp { began: now, takes });
        figures.is_ramping.store(true, Ordering::Relaxed);
    }

    /// How much of its share it should get, in a slow start: from just above 0 to 1.
    pub(crate) fn readiness(&self, now: Instant) -> f64 {
        let figures = &self.figures;
        if !figures.is_ramping.load(Ordering::Relaxed) {
            return 1.0;
        }
        let ramp = figures.ramp.lock().unwrap_or_else(PoisonError::into_inner);
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

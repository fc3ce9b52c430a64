//! What is asked.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use crate::{
    net::connect::{
        Address, Connect, Dialer, HttpVersion, KeptAlive, ProxyHeader, ProxyProtocol,
        UpstreamConnection,
    },
    net::transport::Transport,
};

use super::ProbeFailure;

/// The upstream that a probe asks, and how far the probe has come.
///
/// Made anew for each probe. Clones tell of the same probe.
#[derive(Clone, Debug)]
pub struct ProbeTarget {
    address: Address,
    dial: Dialer,
    http_version: HttpVersion,
    header: Option<ProxyHeader>,
    progress: Arc<Mutex<Progress>>,
}

/// How far a probe has come.
#[derive(Clone, Copy, Debug)]
struct Progress {
    step: &'static str,
    passed: Option<Instant>,
}

/// Longer than any probe's own timeout.
const UNBOUNDED: Duration = Duration::from_secs(24 * 3600);

/// What a probe is doing that does not say.
const UNNAMED: &str = "probe";

impl ProbeTarget {
    /// The upstream at this address, to be reached by this connector.
    #[must_use]
    pub fn new(address: Address, connector: Arc<dyn Connect>) -> Self {
        Self::over(
            address,
            Dialer {
                connector,
                ..Dialer::default()
            },
        )
    }

    /// The upstream at this address, to be reached as clients reach it. The probe has a timeout
    /// of its own, for all its steps together.
    pub(crate) fn over(address: Address, dial: Dialer) -> Self {
        let dial = Dialer {
            connect_timeout: UNBOUNDED,
            // A probe does not live long enough for it.
            tcp_keep_alive: KeptAlive::None,
            tls_timeout: UNBOUNDED,
            ..dial
        };
        let progress = Progress {
            step: UNNAMED,
            passed: None,
        };
        Self {
            address,
            dial,
            http_version: HttpVersion::default(),
            header: None,
            progress: Arc::new(Mutex::new(progress)),
        }
    }

    /// In which version of HTTP the probes of this crate ask, as [`Upstream::http_version`] says
    /// for clients; HTTP/1.1 unless set. Another address is always asked in HTTP/1.1.
    ///
    /// [`Upstream::http_version`]: crate::Upstream::http_version
    #[must_use]
    pub fn with_http_version(mut self, version: HttpVersion) -> Self {
        self.http_version = version;
        self
    }

    /// Says by the PROXY protocol that the probe comes from the proxy itself.
    pub(crate) fn announced(mut self, version: Option<ProxyProtocol>) -> Self {
        self.header = version.map(ProxyProtocol::local);
        self
    }

    /// Where the upstream is.
    #[must_use]
    pub const fn address(&self) -> &Address {
        &self.address
    }

    /// Opens a connection to the upstream, as for a client.
    ///
    /// # Errors
    ///
    /// [`ProbeFailure::Failed`] with [`ErrorKind::Connect`](crate::ErrorKind::Connect) or [`ErrorKind::Resolve`](crate::ErrorKind::Resolve).
    pub async fn connect(&self) -> Result<Transport, ProbeFailure> {
        self.connect_to(&self.address).await
    }

    /// Opens a connection to another address, by the same connector: a port for checks alone.
    ///
    /// If clients are announced to the upstream by the PROXY protocol, probes are too, but not
    /// to another address.
    ///
    /// # Errors
    ///
    /// As [`connect`](Self::connect).
    pub async fn connect_to(&self, address: &Address) -> Result<Transport, ProbeFailure> {
        self.step("connect");
        let header = self.header.as_ref().filter(|_| *address == self.address);
        let transport = self.dial.dial(address, header).await?;
        self.step(UNNAMED);
        Ok(transport)
    }

    /// Finds a way to this address for a request, as for a client's.
    pub(super) async fn acquire(
        &self,
        address: &Address,
    ) -> Result<UpstreamConnection, ProbeFailure> {
        self.step("connect");
        let version = match *address == self.address {
            true => self.http_version,
            false => HttpVersion::default(),
        };
        let header = self.header.as_ref().filter(|_| *address == self.address);
        let link = self.dial.acquire(address, version, header).await?;
        self.step(UNNAMED);
        Ok(link)
    }

    pub(super) const fn dial(&self) -> &Dialer {
        &self.dial
    }

    /// Says what the probe is going to wait for, for the failure if that takes too long:
    /// `handshake` gives "handshake timed out after 5s".
    pub fn step(&self, step: &'static str) {
        self.with(|progress| progress.step = step);
    }

    /// The upstream has proved itself, and only leave-taking is left. The probe's latency ends
    /// here, and from here on no timeout fails it.
    pub fn passed(&self) {
        let now = Instant::now();
        self.with(|progress| progress.passed = progress.passed.or(Some(now)));
    }

    pub(super) fn current_step(&self) -> &'static str {
        self.with(|progress| progress.step)
    }

    pub(super) fn passed_at(&self) -> Option<Instant> {
        self.with(|progress| progress.passed)
    }

    fn with<T>(&self, act: impl FnOnce(&mut Progress) -> T) -> T {
        act(&mut self.progress.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

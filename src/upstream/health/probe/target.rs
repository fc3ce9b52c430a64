//! Target of a probe.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::time::Instant;

use crate::{
    lock::lock,
    net::connect::{
        Address, Connect, Dialer, HttpVersion, KeepAliveScope, ProxyHeader, ProxyProtocol,
        UpstreamConnection,
    },
    net::transport::Transport,
};

use super::failure::ProbeFailure;

/// Target of a probe: the upstream, and the progress of the probe.
///
/// Every probe gets a new target; clones share the progress.
#[derive(Clone, Debug)]
pub struct ProbeTarget {
    address: Address,
    dialer: Dialer,
    http_version: HttpVersion,
    proxy_header: Option<ProxyHeader>,
    progress: Arc<Mutex<ProbeProgress>>,
}

/// Progress of a probe.
#[derive(Clone, Copy, Debug)]
struct ProbeProgress {
    step: &'static str,
    passed: Option<Instant>,
}

/// Timeout that is longer than any probe's own.
const UNBOUNDED: Duration = Duration::from_secs(24 * 3600);

/// Step of a probe that names no steps.
const UNNAMED: &str = "probe";

impl ProbeTarget {
    /// Creates a target at this address, reached by this connector.
    #[must_use]
    pub fn new(address: Address, connector: Arc<dyn Connect>) -> Self {
        Self::with_dialer(
            address,
            Dialer {
                connector,
                ..Dialer::default()
            },
        )
    }

    /// Creates a target at this address, reached in the same way as by clients. The probe has a
    /// timeout of its own, for all its steps together.
    pub(crate) fn with_dialer(address: Address, dialer: Dialer) -> Self {
        let dialer = Dialer {
            connect_timeout: UNBOUNDED,
            // A probe is too short for keep-alive.
            tcp_keep_alive: KeepAliveScope::None,
            tls_timeout: UNBOUNDED,
            ..dialer
        };
        let progress = ProbeProgress {
            step: UNNAMED,
            passed: None,
        };
        Self {
            address,
            dialer,
            http_version: HttpVersion::default(),
            proxy_header: None,
            progress: Arc::new(Mutex::new(progress)),
        }
    }

    /// Sets the HTTP version of this crate's probes, as [`Upstream::http_version`] does for
    /// clients; HTTP/1.1 by default. Another address is always probed by HTTP/1.1.
    ///
    /// [`Upstream::http_version`]: crate::Upstream::http_version
    #[must_use]
    pub(crate) fn with_http_version(mut self, version: HttpVersion) -> Self {
        self.http_version = version;
        self
    }

    /// Announces the probe by the PROXY protocol as the proxy's own connection.
    pub(crate) fn with_proxy_protocol(mut self, version: Option<ProxyProtocol>) -> Self {
        self.proxy_header = version.map(ProxyProtocol::local);
        self
    }

    /// Returns the upstream's address.
    #[must_use]
    pub const fn address(&self) -> &Address {
        &self.address
    }

    /// Opens a connection to the upstream, as for a client.
    ///
    /// # Errors
    ///
    /// [`ProbeFailure::Failed`] with [`ErrorKind::Connect`](crate::ErrorKind::Connect) or
    /// [`ErrorKind::Resolve`](crate::ErrorKind::Resolve).
    pub async fn connect(&self) -> Result<Transport, ProbeFailure> {
        self.connect_to(&self.address).await
    }

    /// Opens a connection to another address by the same connector, such as a port for checks only.
    ///
    /// If clients are announced to the upstream by the PROXY protocol, probes are too, but not to
    /// another address.
    ///
    /// # Errors
    ///
    /// The same as of [`connect`](Self::connect).
    pub async fn connect_to(&self, address: &Address) -> Result<Transport, ProbeFailure> {
        self.step("connect");
        let header = self
            .proxy_header
            .as_ref()
            .filter(|_| *address == self.address);
        let transport = self.dialer.dial(address, header).await?;
        self.step(UNNAMED);
        Ok(transport)
    }

    /// Acquires a connection to this address for a request, as for a client's.
    pub(super) async fn acquire(
        &self,
        address: &Address,
    ) -> Result<UpstreamConnection, ProbeFailure> {
        self.step("connect");
        let version = match *address == self.address {
            true => self.http_version,
            false => HttpVersion::default(),
        };
        let header = self
            .proxy_header
            .as_ref()
            .filter(|_| *address == self.address);
        let connection = self.dialer.acquire(address, version, header).await?;
        self.step(UNNAMED);
        Ok(connection)
    }

    pub(super) const fn dialer(&self) -> &Dialer {
        &self.dialer
    }

    /// Names the step that the probe waits for, for the failure if it times out: `handshake` gives
    /// "handshake timed out after 5s".
    pub fn step(&self, step: &'static str) {
        self.with(|progress| progress.step = step);
    }

    /// Records that the probe has passed, and only the closing handshake is left. The probe's
    /// latency ends here, and a later timeout has no effect.
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

    fn with<T>(&self, act: impl FnOnce(&mut ProbeProgress) -> T) -> T {
        act(&mut lock(&self.progress))
    }
}

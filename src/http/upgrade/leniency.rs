//! Deviations from RFC 6455 that a host may tolerate.

/// Deviations from RFC 6455 that the proxy tolerates, for devices and upstreams that cannot be
/// mended. Each is off until it is switched on; every other rule holds regardless.
///
/// # Examples
///
/// ```
/// use wsplice::{Pool, ProxyLayer, handshake::Leniency};
///
/// let meters = Pool::new(["ws://10.0.0.1:8080"])?;
/// let proxy = ProxyLayer::new(meters).leniency(Leniency::none().missing_connection());
/// # let _ = proxy;
/// # Ok::<(), wsplice::connect::InvalidAddress>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct Leniency {
    missing_connection: bool,
    unrequested_subprotocol: bool,
    http10_acceptance: bool,
}

impl Leniency {
    /// Tolerates nothing.
    pub const fn none() -> Self {
        Self {
            missing_connection: false,
            unrequested_subprotocol: false,
            http10_acceptance: false,
        }
    }

    /// Takes a request with `Upgrade: websocket` for a handshake although its `Connection` does not
    /// name `upgrade` (RFC 6455 §4.2.1, item 4): old devices leave it out, and some hops remove it.
    pub const fn missing_connection(mut self) -> Self {
        self.missing_connection = true;
        self
    }

    /// Drops the subprotocol from an upstream's acceptance if the client did not offer it, instead of
    /// responding with 502 (RFC 6455 §4.1, item 6 of the client's checks).
    pub const fn unrequested_subprotocol(mut self) -> Self {
        self.unrequested_subprotocol = true;
        self
    }

    /// Takes a 101 in HTTP/1.0 for one in HTTP/1.1 (RFC 6455 §4.2.2, item 5.1). The client gets
    /// HTTP/1.1.
    pub const fn http10_acceptance(mut self) -> Self {
        self.http10_acceptance = true;
        self
    }

    pub(crate) const fn allows_missing_connection(self) -> bool {
        self.missing_connection
    }

    pub(crate) const fn drops_unrequested_subprotocol(self) -> bool {
        self.unrequested_subprotocol
    }

    pub(crate) const fn allows_http10_acceptance(self) -> bool {
        self.http10_acceptance
    }
}

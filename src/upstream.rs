//! One upstream: its settings, and its figures while it runs.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use crate::connect::{Address, InvalidAddress};

/// One server behind the proxy.
///
/// # Examples
///
/// ```
/// use wsplice::Upstream;
///
/// let upstream = Upstream::new("ws://10.0.0.1:8080")?;
/// assert_eq!(upstream.name(), "10.0.0.1:8080");
/// assert!(Upstream::new("10.0.0.1:8080").is_err());
/// # Ok::<(), wsplice::connect::InvalidAddress>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upstream {
    name: Arc<str>,
    address: Address,
}

impl Upstream {
    /// An upstream at `ws://host[:port]`, `http://host[:port]` or `unix:/path/to/socket`.
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
        }
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
}

impl TryFrom<&str> for Upstream {
    type Error = InvalidAddress;

    fn try_from(address: &str) -> Result<Self, InvalidAddress> {
        Self::new(address)
    }
}

impl TryFrom<String> for Upstream {
    type Error = InvalidAddress;

    fn try_from(address: String) -> Result<Self, InvalidAddress> {
        Self::new(&address)
    }
}

impl TryFrom<&String> for Upstream {
    type Error = InvalidAddress;

    fn try_from(address: &String) -> Result<Self, InvalidAddress> {
        Self::new(address)
    }
}

/// An upstream of a pool, with its figures.
pub(crate) struct Member {
    upstream: Upstream,
    tunnels: AtomicUsize,
}

impl Member {
    pub(crate) const fn new(upstream: Upstream) -> Self {
        Self {
            upstream,
            tunnels: AtomicUsize::new(0),
        }
    }

    pub(crate) const fn upstream(&self) -> &Upstream {
        &self.upstream
    }

    pub(crate) fn shared_name(&self) -> Arc<str> {
        Arc::clone(&self.upstream.name)
    }

    pub(crate) fn tunnels(&self) -> usize {
        self.tunnels.load(Ordering::Relaxed)
    }
}

impl fmt::Debug for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Member")
            .field("upstream", &self.upstream.name)
            .field("tunnels", &self.tunnels())
            .finish()
    }
}

/// A tunnel's claim on its upstream: counted from the pick to the tunnel's end.
#[derive(Debug)]
pub(crate) struct Lease(Arc<Member>);

impl Lease {
    pub(crate) fn new(member: Arc<Member>) -> Self {
        member.tunnels.fetch_add(1, Ordering::Relaxed);
        Self(member)
    }

    pub(crate) fn member(&self) -> &Arc<Member> {
        &self.0
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.0.tunnels.fetch_sub(1, Ordering::Relaxed);
    }
}

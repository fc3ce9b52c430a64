//! Events of a DNS resolver.

use std::{fmt, net::IpAddr, sync::Arc};

use crate::{escaped::Escaped, task::catch_panic, upstream::discovery::error::DiscoverError};

/// Event of a [`DnsResolver`](super::DnsResolver) that looks up names for connects: the use of
/// records whose TTL has ended, because DNS fails (RFC 8767).
///
/// `Display` prints a sentence.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum DnsEvent {
    /// DNS fails, and connects use the last addresses of a name. Reported once per name and address
    /// family, until DNS responds again.
    ServingStale {
        /// Name that was looked up.
        name: Box<str>,
        /// Failure of the query.
        error: DiscoverError,
    },
    /// An address that is used although its TTL has ended could not be connected, and is not used
    /// any more until DNS responds again.
    AddressDropped {
        /// Name that was looked up.
        name: Box<str>,
        /// Address that is dropped.
        address: IpAddr,
    },
    /// The last addresses of a name have become too old, and are not used any more.
    Expired {
        /// Name that was looked up.
        name: Box<str>,
    },
    /// DNS responds again for a name whose last addresses were used meanwhile.
    Recovered {
        /// Name that was looked up.
        name: Box<str>,
    },
}

impl fmt::Display for DnsEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ServingStale { name, error } => {
                write!(f, "the last addresses of {name} stay in use: {error:#}")
            }
            Self::AddressDropped { name, address } => {
                write!(
                    f,
                    "{address}, a last address of {name}, failed and is dropped"
                )
            }
            Self::Expired { name } => write!(f, "the last addresses of {name} are too old"),
            Self::Recovered { name } => write!(f, "{name} is resolved again"),
        }
    }
}

/// Receiver of events.
#[derive(Clone, Default)]
pub(super) struct EventSink(Option<Arc<Receiver>>);

type Receiver = dyn Fn(&DnsEvent) + Send + Sync;

impl EventSink {
    pub(super) fn new(receive: impl Fn(&DnsEvent) + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(receive)))
    }

    /// Logs an event and passes it on. To be called without a lock: the receiver is the user's.
    pub(super) fn emit(&self, event: &DnsEvent) {
        // Responses of DNS have a part in the text.
        let text = Escaped(event);
        match event {
            DnsEvent::Recovered { .. } => tracing::info!(event = %text, "DNS responds again"),
            _ => tracing::warn!(event = %text, "DNS does not respond as it should"),
        }
        if let Some(receive) = &self.0 {
            if catch_panic(|| receive(event)).is_err() {
                tracing::error!("the receiver of DNS events panicked");
            }
        }
    }
}

impl fmt::Debug for EventSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("EventSink").field(&self.0.is_some()).finish()
    }
}

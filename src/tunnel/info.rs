//! Facts of a tunnel that are known from its start, those of its host among them.

use std::{
    any::Any,
    fmt,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::SystemTime,
};

use http::Extensions;
use tokio::time::Instant;

use crate::{
    frame::{CloseCode, CloseFrame},
    lock::lock,
};

/// Facts of a tunnel that are known from its start.
///
/// Its `Debug` leaves the subprotocol out, where some applications put a token.
#[derive(Clone)]
#[non_exhaustive]
pub struct TunnelInfo {
    /// Number of the tunnel, unique within the process.
    pub id: u64,
    /// The address of the client's connection, if the host's server passed it on.
    pub client: Option<SocketAddr>,
    /// The upstream, as it was configured: the first one, if the tunnel had
    /// [others](crate::TunnelReport::upstream_changes) later.
    pub upstream: Arc<str>,
    /// The path of the request, as in its request line, without its query.
    pub path: Box<str>,
    /// The subprotocol that was agreed on, if any.
    pub subprotocol: Option<Box<str>>,
    /// When the tunnel began.
    pub opened: SystemTime,
    /// Facts of the host. Shared and on the heap, so that tunnels without them do not pay for them.
    details: Option<Arc<Details>>,
}

impl TunnelInfo {
    /// A tunnel to this upstream for this path, begun now; the rest of the fields can be set.
    ///
    /// # Examples
    ///
    /// ```
    /// use wsplice::TunnelInfo;
    ///
    /// let mut info = TunnelInfo::new("ws://10.0.0.1:8080", "/chat");
    /// info.client = Some(([192, 0, 2, 1], 50_000).into());
    /// assert_eq!(info.id, 0, "a registry numbers it");
    /// ```
    pub fn new(upstream: impl Into<Arc<str>>, path: impl Into<Box<str>>) -> Self {
        Self {
            id: 0,
            client: None,
            upstream: upstream.into(),
            path: path.into(),
            subprotocol: None,
            opened: SystemTime::now(),
            details: None,
        }
    }

    /// Returns the key that the host gave the tunnel
    /// ([`RequestOptions::key`](crate::RequestOptions::key)): a user, a tenant.
    #[must_use]
    pub fn key(&self) -> Option<&str> {
        self.details.as_ref()?.names.key()
    }

    /// Returns the label that the host gave the tunnel
    /// ([`RequestOptions::label`](crate::RequestOptions::label)).
    #[must_use]
    pub fn label(&self) -> Option<&str> {
        self.details.as_ref()?.names.label()
    }

    /// Returns the moment at which the proxy closes the tunnel, if the host set one
    /// ([`RequestOptions::deadline`](crate::RequestOptions::deadline)).
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.details.as_ref()?.deadline
    }

    /// Returns the host's value of this type
    /// ([`RequestOptions::value`](crate::RequestOptions::value)).
    #[must_use]
    pub fn value<V: Send + Sync + 'static>(&self) -> Option<&V> {
        self.details.as_ref()?.values()?.get()
    }

    /// Sets the [key](Self::key), before the tunnel begins.
    pub fn set_key(&mut self, key: impl Into<Box<str>>) {
        self.details_mut().names.set_key(&key.into());
    }

    /// Sets the [label](Self::label), before the tunnel begins.
    pub fn set_label(&mut self, label: impl Into<Box<str>>) {
        self.details_mut().names.set_label(&label.into());
    }

    /// Sets the moment at which the registry closes the tunnel, and the close frame for it.
    pub(crate) fn set_deadline(&mut self, at: Instant, frame: impl Into<Option<CloseFrame>>) {
        let details = self.details_mut();
        details.deadline = Some(at);
        if let Some(frame) = frame.into() {
            details.set_deadline_frame(frame);
        }
    }

    /// Adds a [value](Self::value) of the host, before the tunnel begins. It replaces one of the same
    /// type.
    pub fn set_value<V: Clone + Send + Sync + 'static>(&mut self, value: V) {
        self.details_mut().values_mut().insert(value);
    }

    /// Adds all values of these extensions.
    pub(crate) fn set_values(&mut self, values: Extensions) {
        self.details_mut().values_mut().extend(values);
    }

    /// Holds a value until the tunnel is over.
    pub(crate) fn hold(&mut self, guard: Box<dyn Any + Send>) {
        self.details_mut().hold(guard);
    }

    /// Drops the value that is held, since the tunnel is over.
    pub(super) fn release(&self) {
        if let Some(details) = &self.details {
            details.release();
        }
    }

    /// Returns the close frame for both sides at the deadline.
    pub(super) fn deadline_frame(&self) -> CloseFrame {
        let details = self.details.as_ref();
        let own = details.and_then(|details| details.deadline_frame());
        own.cloned()
            .unwrap_or_else(|| CloseFrame::new(CloseCode::POLICY_VIOLATION, "deadline reached"))
    }

    fn details_mut(&mut self) -> &mut Details {
        Arc::make_mut(self.details.get_or_insert_default())
    }
}

impl fmt::Debug for TunnelInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TunnelInfo")
            .field("id", &self.id)
            .field("client", &self.client)
            .field("upstream", &self.upstream)
            .field("path", &self.path)
            .field("opened", &self.opened)
            .field("key", &self.key())
            .field("label", &self.label())
            .finish_non_exhaustive()
    }
}

/// Facts that the host attaches to a tunnel; few tunnels have all of them, and most have none.
#[derive(Clone, Default)]
struct Details {
    names: Names,
    deadline: Option<Instant>,
    further: Option<Box<Further>>,
}

#[derive(Clone, Default)]
struct Further {
    frame: Option<CloseFrame>,
    values: Extensions,
    guard: Guard,
}

/// A key and a label, in one allocation and 24 bytes.
#[derive(Clone, Default)]
struct Names {
    /// The key, then the label.
    text: Box<str>,
    parts: Parts,
}

/// The parts of the text.
#[derive(Clone, Copy, Default)]
enum Parts {
    #[default]
    None,
    Key,
    Label,
    /// The key of this length in bytes, and the label.
    Both(u32),
}

/// A value that is dropped when the tunnel is over. A copy of the facts has none.
#[derive(Default)]
struct Guard(Mutex<Option<Box<dyn Any + Send>>>);

impl Names {
    fn key(&self) -> Option<&str> {
        match self.parts {
            Parts::Key => Some(&self.text),
            Parts::Both(len) => self.text.get(..len as usize),
            Parts::None | Parts::Label => None,
        }
    }

    fn label(&self) -> Option<&str> {
        match self.parts {
            Parts::Label => Some(&self.text),
            Parts::Both(len) => self.text.get(len as usize..),
            Parts::None | Parts::Key => None,
        }
    }

    fn set_key(&mut self, key: &str) {
        *self = match self.label() {
            Some(label) => Self::both(key, label),
            None => Self {
                text: key.into(),
                parts: Parts::Key,
            },
        };
    }

    fn set_label(&mut self, label: &str) {
        *self = match self.key() {
            Some(key) => Self::both(key, label),
            None => Self {
                text: label.into(),
                parts: Parts::Label,
            },
        };
    }

    fn both(key: &str, label: &str) -> Self {
        Self {
            text: [key, label].concat().into(),
            // The host's own, and not of 4 GiB.
            parts: Parts::Both(u32::try_from(key.len()).unwrap_or(u32::MAX)),
        }
    }
}

impl Details {
    fn deadline_frame(&self) -> Option<&CloseFrame> {
        self.further.as_ref()?.frame.as_ref()
    }

    fn set_deadline_frame(&mut self, frame: CloseFrame) {
        self.further().frame = Some(frame);
    }

    fn values(&self) -> Option<&Extensions> {
        self.further.as_ref().map(|further| &further.values)
    }

    fn values_mut(&mut self) -> &mut Extensions {
        &mut self.further().values
    }

    fn hold(&mut self, guard: Box<dyn Any + Send>) {
        self.further().guard = Guard(Mutex::new(Some(guard)));
    }

    /// Drops the value that is held for the tunnel.
    fn release(&self) {
        let held = self
            .further
            .as_ref()
            .and_then(|further| lock(&further.guard.0).take());
        drop(held);
    }

    fn further(&mut self) -> &mut Further {
        self.further.get_or_insert_default()
    }
}

impl Clone for Guard {
    fn clone(&self) -> Self {
        Self::default()
    }
}

/// Leaves out the host's values, which may be secret.
impl fmt::Debug for Details {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Details")
            .field("key", &self.names.key())
            .field("label", &self.names.label())
            .field("deadline", &self.deadline)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_and_a_label_are_set_in_any_order_and_again() {
        for [key, label] in [["alice", "web"], ["", ""], ["é", "ü"]] {
            let mut one = TunnelInfo::new("ws://upstream", "/");
            let mut other = one.clone();
            assert_eq!((one.key(), one.label()), (None, None));
            one.set_key(key);
            assert_eq!((one.key(), one.label()), (Some(key), None));
            one.set_label(label);
            other.set_label(label);
            assert_eq!((other.key(), other.label()), (None, Some(label)));
            other.set_key("someone else");
            other.set_key(key);
            for info in [one, other] {
                assert_eq!((info.key(), info.label()), (Some(key), Some(label)));
            }
        }
    }
}

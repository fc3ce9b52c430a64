//! Destination of the header lines of a message that the proxy writes.

use http::{HeaderMap, HeaderName, HeaderValue};

use super::checked_insert;

/// Destination of header lines, one after the other.
pub(crate) trait HeaderSink {
    /// Adds a line that was received.
    fn copy(&mut self, name: &HeaderName, value: &HeaderValue);

    /// Adds a line whose value is made of received values, or of characters that a value may have.
    /// An empty value adds nothing.
    fn write(&mut self, name: &HeaderName, value: &[u8]);
}

impl HeaderSink for HeaderMap {
    fn copy(&mut self, name: &HeaderName, value: &HeaderValue) {
        checked_insert::append(self, name, value.clone());
    }

    fn write(&mut self, name: &HeaderName, value: &[u8]) {
        match HeaderValue::from_bytes(value) {
            Ok(value) if !value.is_empty() => checked_insert::append(self, name, value),
            _ => {}
        }
    }
}

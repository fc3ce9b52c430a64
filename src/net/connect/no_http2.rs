//! Substitutes for the types of HTTP/2 where it is not compiled in.

/// A slot on a shared connection, of which there are none.
#[derive(Debug)]
pub(crate) enum StreamSlot {}

/// A pool of shared connections that is always empty.
#[derive(Clone, Debug, Default)]
pub(crate) struct Http2Pool(());

impl Http2Pool {
    pub(crate) fn with_no_connections(&self) -> Self {
        Self(())
    }
}

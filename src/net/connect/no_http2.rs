//! What stands in for HTTP/2 where it is not compiled in.

/// A place on a shared connection, which nobody has.
#[derive(Debug)]
pub(crate) enum StreamSlot {}

/// Shared connections, of which there are none.
#[derive(Clone, Debug, Default)]
pub(crate) struct Http2Pool(());

impl Http2Pool {
    pub(crate) fn with_no_connections(&self) -> Self {
        Self(())
    }
}

//! What stands in for HTTP/2 where it is not compiled in.

/// A place on a shared connection, which nobody has.
#[derive(Debug)]
pub(crate) enum Place {}

/// Shared connections, of which there are none.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shared(());

impl Shared {
    pub(crate) fn anew(&self) -> Self {
        Self(())
    }
}

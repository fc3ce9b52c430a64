//! What a handshake agreed on, as far as frames show it.

/// Whether the sides agreed on an extension, which may give reserved bits a meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extensions {
    None,
    Agreed,
    Unknown,
}

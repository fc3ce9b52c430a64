//! What a handshake agreed on, as far as frames show it.

/// Whether the sides of a tunnel agreed on an extension, which may give reserved bits a meaning
/// (RFC 6455 §5.2, §9).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Extensions {
    /// They agreed on none.
    None,
    /// They agreed on one at least, such as `permessage-deflate`.
    Agreed,
    /// It is not known; reserved bits are let pass.
    #[default]
    Unknown,
}

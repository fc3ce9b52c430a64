//! Result of a handshake's agreement on extensions, as far as frames depend on it.

/// Whether the sides of a tunnel agreed on an extension, which may give reserved bits a meaning
/// (RFC 6455 §5.2, §9).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Extensions {
    /// The sides agreed on none.
    None,
    /// The sides agreed on at least one, such as `permessage-deflate`.
    Agreed,
    /// The agreement is not known; reserved bits are let pass.
    #[default]
    Unknown,
}

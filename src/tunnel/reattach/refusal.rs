//! Reasons for which a tunnel that lost its upstream got no other one.

use std::fmt;

/// Why a tunnel that lost its upstream did not get another one, although
/// [`Reattach`](crate::tunnel::reattach::Reattach) is set for such a loss.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ReattachRefusal {
    /// The bytes of a direction were not read as WebSocket frames.
    Opaque,
    /// The upstream was lost within a message or a frame, of which the client has a part.
    UpstreamMessageCut,
    /// The client was within a message, of which the lost upstream has a part.
    ClientMessageCut,
    /// Frames had reserved bits that no known extension explains (RFC 6455 §5.2).
    ReservedBits,
    /// The endpoints agreed on an extension other than permessage-deflate.
    UnknownExtension,
    /// The client may compress with reference to messages that another upstream has not seen
    /// (RFC 7692 §7.1.1.2).
    ContextTakeover,
    /// The tunnel had the [most](crate::tunnel::reattach::Reattach::limit) reattachments within a minute.
    TooOften,
    /// The next upstream agreed to another subprotocol.
    Subprotocol,
    /// The next upstream agreed to other extensions, or to parameters that the client cannot follow
    /// (RFC 7692 §7.1.2).
    Extensions,
    /// The next upstream refused the handshake, with 401 or 403 for example, or closed before it had
    /// sent the messages that the [host waits for](crate::tunnel::reattach::Restoration::await_messages).
    Refused,
    /// No upstream accepted the handshake within the [time](crate::tunnel::reattach::Reattach::within).
    Timeout,
    /// The upstream was lost within 5 s of a reattachment with
    /// [replayed](crate::tunnel::reattach::Reattach::replay) messages, which may be the reason.
    LostAfterReplay,
    /// The client's first messages were over the [bound](crate::tunnel::reattach::Reattach::max_replayed) for the
    /// replay.
    ReplayTooLarge,
    /// The next upstream's first messages were over the [bound](crate::tunnel::reattach::Reattach::max_swallowed) for
    /// those that are not shown to the client.
    SwallowTooLarge,
    /// A message that the client must not see was compressed, and later ones would refer to it
    /// (RFC 7692 §7.1.1.1).
    SwallowedContext,
    /// The host's [function](crate::tunnel::reattach::Reattach::on_reattach) closed the tunnel.
    Hook,
    /// The host's function did not decide [in time](crate::tunnel::reattach::Reattach::decision_timeout).
    HookTimeout,
    /// The host's function panicked.
    HookPanic,
    /// The handshake cannot be made again: the proxy is being drained, for example.
    Unavailable,
}

impl ReattachRefusal {
    /// The reason as a [slug](crate#slugs), such as `client_message_cut`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Opaque => "opaque",
            Self::UpstreamMessageCut => "upstream_message_cut",
            Self::ClientMessageCut => "client_message_cut",
            Self::ReservedBits => "reserved_bits",
            Self::UnknownExtension => "unknown_extension",
            Self::ContextTakeover => "context_takeover",
            Self::TooOften => "too_often",
            Self::Subprotocol => "subprotocol",
            Self::Extensions => "extensions",
            Self::Refused => "refused",
            Self::Timeout => "timeout",
            Self::LostAfterReplay => "lost_after_replay",
            Self::ReplayTooLarge => "replay_too_large",
            Self::SwallowTooLarge => "swallow_too_large",
            Self::SwallowedContext => "swallowed_context",
            Self::Hook => "hook",
            Self::HookTimeout => "hook_timeout",
            Self::HookPanic => "hook_panic",
            Self::Unavailable => "unavailable",
        }
    }

    /// Whether the tunnel had the next upstream already when it turned out that the client cannot go
    /// on with it.
    pub(crate) const fn is_of_attached(self) -> bool {
        matches!(self, Self::SwallowTooLarge | Self::SwallowedContext)
    }
}

impl fmt::Display for ReattachRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Opaque => "a direction was not read as frames",
            Self::UpstreamMessageCut => "the client has a part of a message of the upstream",
            Self::ClientMessageCut => "the lost upstream has a part of a message of the client",
            Self::ReservedBits => "frames had reserved bits without a known extension",
            Self::UnknownExtension => "an extension other than permessage-deflate is in use",
            Self::ContextTakeover => "the client compresses with reference to earlier messages",
            Self::TooOften => "too many reattachments within a minute",
            Self::Subprotocol => "the next upstream agreed to another subprotocol",
            Self::Extensions => "the next upstream agreed to other extensions",
            Self::Refused => "the next upstream refused the handshake",
            Self::Timeout => "no upstream accepted the handshake in time",
            Self::LostAfterReplay => "the upstream was lost soon after messages were replayed",
            Self::ReplayTooLarge => "the messages to replay are too large",
            Self::SwallowTooLarge => "the messages that the client must not see are too large",
            Self::SwallowedContext => "later messages refer to one that the client must not see",
            Self::Hook => "the host closed the tunnel",
            Self::HookTimeout => "the host did not decide in time",
            Self::HookPanic => "the host's function panicked",
            Self::Unavailable => "the handshake could not be made again",
        })
    }
}

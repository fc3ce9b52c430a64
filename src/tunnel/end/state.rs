//! State of each leg at the end of a tunnel, and its transitions.

use tokio::time::Instant;

/// The last that came from a leg, as far as its end is concerned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::tunnel) enum Said {
    /// Frames, or nothing yet.
    #[default]
    Nothing,
    /// A whole close frame.
    Close,
    /// A close frame, and then the end of its connection, in order or not: after its close frame an
    /// endpoint may do either (RFC 6455 §7.1.1).
    Left,
    /// The end of its connection in order, between two frames and without a close frame.
    End,
    /// The end of its connection in order, inside a frame.
    Truncated,
    /// The failure of its connection, without a close frame before it.
    Failed,
}

/// The last that has gone to a leg, or is on its way there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::tunnel) enum Given {
    /// The bytes of the other leg.
    #[default]
    Open,
    /// The other endpoint's close frame was handed to it at this moment.
    Relayed(Instant),
    /// A close frame of ours waits since this moment: for the bytes before it, or for the end of
    /// the frame that is passing.
    CloseQueued(Instant),
    /// A close frame was handed to it at this moment, and nothing more goes there.
    CloseWritten(Instant),
    /// Its orderly end waits since this moment for the bytes before it.
    ShutQueued(Instant),
    /// Its direction was ended in order at this moment.
    Shut(Instant),
    /// The leg broke or was cut off at this moment, and takes nothing more.
    Gone(Instant),
}

/// State of one leg.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::tunnel) struct LegState {
    pub(super) said: Said,
    pub(super) given: Given,
}

/// Event on a leg.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::tunnel) enum LegEvent {
    /// A whole close frame of it was read.
    CloseRead,
    /// The end of its connection was read, between two frames.
    EndRead,
    /// The end of its connection was read, inside a frame.
    TruncationRead,
    /// Reading from it failed.
    ReadFailed,
    /// A close frame, the other endpoint's or ours, was handed to it whole.
    CloseHanded,
    /// Its direction was ended in order.
    WasShut,
    /// Writing to it failed.
    WriteFailed,
}

impl LegState {
    /// Returns the state after an event. An event that does not apply changes nothing.
    pub(super) const fn after(self, event: LegEvent, now: Instant) -> Self {
        let Self { said, given } = self;
        let (said, given) = match (event, said, given) {
            (LegEvent::CloseRead, Said::Nothing, given) => (Said::Close, given),
            (LegEvent::EndRead, Said::Nothing, given) => (Said::End, given),
            (LegEvent::TruncationRead, Said::Nothing, given) => (Said::Truncated, given),
            (LegEvent::ReadFailed, Said::Nothing, given) => (Said::Failed, given),
            (
                LegEvent::EndRead | LegEvent::TruncationRead | LegEvent::ReadFailed,
                Said::Close,
                given,
            ) => (Said::Left, given),
            (LegEvent::CloseHanded, said, Given::Open) => (said, Given::Relayed(now)),
            (LegEvent::CloseHanded, said, Given::CloseQueued(_)) => {
                (said, Given::CloseWritten(now))
            }
            (LegEvent::WasShut, said, Given::ShutQueued(_)) => (said, Given::Shut(now)),
            (LegEvent::WriteFailed, said, given) if !given.is_final() => (said, Given::Gone(now)),
            _ => (said, given),
        };
        Self { said, given }
    }

    /// Returns the state after the proxy has asked to end the leg.
    pub(super) const fn asked(self, ask: Ask, reach: Reach, now: Instant) -> Self {
        let given = match (self.given, ask, reach) {
            (Given::Gone(since), ..) => Given::Gone(since),
            (_, Ask::Abort, _) | (Given::Open, Ask::Close, Reach::Nothing) => Given::Gone(now),
            (Given::Open, Ask::Close, Reach::Frame) => Given::CloseQueued(now),
            (Given::Open, Ask::Close, Reach::End)
            | (Given::Open | Given::Relayed(_) | Given::CloseQueued(_), Ask::Shut, _) => {
                Given::ShutQueued(now)
            }
            // The leg has a close frame already, and the same time to answer as after one of ours.
            (Given::Relayed(_), Ask::Close, _) => Given::CloseWritten(now),
            (Given::Shut(_), ..) => Given::Shut(now),
            (given, ..) => given,
        };
        Self { given, ..self }
    }
}

impl Given {
    /// Whether nothing more can go to the leg.
    const fn is_final(self) -> bool {
        matches!(self, Self::Shut(_) | Self::Gone(_))
    }
}

/// How the proxy wants to end a leg.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::tunnel) enum Ask {
    Close,
    Shut,
    Abort,
}

/// The most that can still be given to a leg.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::tunnel) enum Reach {
    /// A close frame: its direction is at a frame boundary, or can still be brought to one.
    Frame,
    /// An orderly end alone: its direction is not read as frames.
    End,
    /// Nothing: its direction stays inside a frame.
    Nothing,
}

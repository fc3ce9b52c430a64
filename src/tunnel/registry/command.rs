//! Commands to a tunnel, and which of several counts.

use tokio::time::Instant;

use crate::{frame::CloseFrame, tunnel::report::TunnelEnd};

/// A command to a tunnel.
#[derive(Clone, Debug)]
pub(crate) enum Command {
    /// End with this close frame on both legs, at this moment or at once.
    Close {
        frame: CloseFrame,
        end: TunnelEnd,
        at: Option<Instant>,
        /// The moment at which the tunnel is cut off. Bytes that still move have time until then;
        /// without it, the ordinary bounds apply to them.
        until: Option<Instant>,
    },
    /// Cut both legs off at once.
    Abort { end: TunnelEnd },
    /// Forget the close that was scheduled, if it has not begun.
    KeepOpen,
}

/// Whether a close can be called off before its moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Revocable {
    /// By [`Drain::resume`](crate::Drain::resume).
    ByResume,
    Never,
}

/// The commands that a tunnel has been given. The earliest counts; the others matter only if that
/// one is called off.
#[derive(Default)]
pub(super) struct Orders(Vec<(Command, Revocable)>);

impl Command {
    /// Closes for an operator, at this moment or at once.
    pub(crate) const fn requested(frame: CloseFrame, at: Option<Instant>) -> Self {
        Self::Close {
            frame,
            end: TunnelEnd::Requested,
            at,
            until: None,
        }
    }

    /// When the tunnel is to carry it out; `None` means at once.
    pub(crate) const fn at(&self) -> Option<Instant> {
        match self {
            Self::Close { at, .. } => *at,
            Self::Abort { .. } | Self::KeepOpen => None,
        }
    }

    /// Aborts come before closes, and those of this moment before those of later ones.
    const fn rank(&self) -> (bool, Option<Instant>) {
        (!matches!(self, Self::Abort { .. }), self.at())
    }
}

impl Orders {
    /// Adds a command; whether it is the one that counts now.
    pub(super) fn add(&mut self, command: Command, revocable: Revocable) -> bool {
        let place = self
            .0
            .partition_point(|(other, _)| other.rank() <= command.rank());
        self.0.insert(place, (command, revocable));
        place == 0
    }

    /// Calls off what can be; whether another command counts now, or none.
    pub(super) fn call_off(&mut self) -> bool {
        let is_next = |orders: &Self| {
            orders
                .0
                .first()
                .is_some_and(|(_, by)| *by == Revocable::ByResume)
        };
        let changes = is_next(self);
        self.0
            .retain(|(_, revocable)| *revocable == Revocable::Never);
        changes
    }

    /// The command that counts.
    pub(super) fn next(&self) -> Command {
        self.0
            .first()
            .map_or(Command::KeepOpen, |(command, _)| command.clone())
    }

    pub(super) fn are_to_abort(&self) -> bool {
        matches!(self.0.first(), Some((Command::Abort { .. }, _)))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::frame::CloseCode;

    use super::*;

    fn close(reason: &'static str, at: Option<Instant>) -> Command {
        Command::requested(CloseFrame::new(CloseCode::GOING_AWAY, reason), at)
    }

    /// The command that counts, in a word.
    fn next(orders: &Orders) -> String {
        match orders.next() {
            Command::Close { frame, .. } => frame.reason.to_string(),
            Command::Abort { .. } => "abort".into(),
            Command::KeepOpen => "keep open".into(),
        }
    }

    #[test]
    fn the_earliest_command_counts_in_whatever_order_they_come() {
        let now = Instant::now();
        let after = |secs| Some(now + Duration::from_secs(secs));
        let mut orders = Orders::default();
        assert!(orders.add(close("in 9 s", after(9)), Revocable::Never));
        assert!(!orders.add(close("in 60 s", after(60)), Revocable::Never));
        assert_eq!(next(&orders), "in 9 s");
        assert!(!orders.add(close("also in 9 s", after(9)), Revocable::Never));
        assert!(orders.add(close("now", None), Revocable::Never));
        assert!(!orders.add(close("now too", None), Revocable::Never));
        assert_eq!(next(&orders), "now");
        let end = TunnelEnd::Requested;
        assert!(orders.add(Command::Abort { end }, Revocable::Never));
        assert!(!orders.add(close("now", None), Revocable::Never));
        assert_eq!(next(&orders), "abort");
    }

    #[test]
    fn what_is_called_off_uncovers_what_it_had_hidden() {
        let now = Instant::now();
        let after = |secs| Some(now + Duration::from_secs(secs));
        let mut orders = Orders::default();
        assert_eq!(next(&orders), "keep open");
        assert!(!orders.call_off());
        orders.add(close("in 60 s", after(60)), Revocable::Never);
        orders.add(close("drain", after(9)), Revocable::ByResume);
        assert_eq!(next(&orders), "drain");
        assert!(orders.call_off());
        assert_eq!(next(&orders), "in 60 s");
        orders.add(close("drain", after(90)), Revocable::ByResume);
        assert!(!orders.call_off(), "it did not count");
        assert_eq!(next(&orders), "in 60 s");
    }
}

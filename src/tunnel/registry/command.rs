//! Commands to a tunnel, and their order of precedence.

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
    },
    /// Cut both legs off at once.
    Abort { end: TunnelEnd },
    /// Cancel the close that was scheduled, if it has not begun.
    KeepOpen,
}

/// Whether a close can be called off before its moment, and by which issuer alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Revocable {
    /// By [`Drain::resume`](crate::Drain::resume).
    ByResume,
    /// By [`Pool::resume`](crate::Pool::resume).
    ByPoolResume,
    Never,
}

/// The commands that a tunnel has been given. The earliest is in force; the others matter only if
/// that one is canceled.
#[derive(Default)]
pub(super) struct Orders(Vec<(Command, Revocable)>);

impl Command {
    /// Closes for an operator, at this moment or at once.
    pub(crate) const fn requested(frame: CloseFrame, at: Option<Instant>) -> Self {
        Self::Close {
            frame,
            end: TunnelEnd::Requested,
            at,
        }
    }

    /// The moment at which the tunnel carries the command out; `None` means at once.
    pub(crate) const fn at(&self) -> Option<Instant> {
        match self {
            Self::Close { at, .. } => *at,
            Self::Abort { .. } | Self::KeepOpen => None,
        }
    }

    /// Sort key: aborts come before closes, and earlier closes before later ones.
    const fn rank(&self) -> (bool, Option<Instant>) {
        (!matches!(self, Self::Abort { .. }), self.at())
    }
}

impl Orders {
    /// Adds a command; returns whether it is in force now.
    pub(super) fn add(&mut self, command: Command, revocable: Revocable) -> bool {
        let place = self
            .0
            .partition_point(|(other, _)| other.rank() <= command.rank());
        self.0.insert(place, (command, revocable));
        place == 0
    }

    /// Calls off the closes of this issuer; whether another command counts now, or none.
    pub(super) fn cancel_revocable(&mut self, issuer: Revocable) -> bool {
        let is_issuers = |(_, revocable): &(Command, Revocable)| *revocable == issuer;
        let changes = self.0.first().is_some_and(is_issuers);
        self.0.retain(|order| !is_issuers(order));
        changes
    }

    /// The command that is in force.
    pub(super) fn next(&self) -> Command {
        self.0
            .first()
            .map_or(Command::KeepOpen, |(command, _)| command.clone())
    }

    pub(super) fn is_abort_next(&self) -> bool {
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

    /// A short name of the command that is in force.
    fn next(orders: &Orders) -> String {
        match orders.next() {
            Command::Close { frame, .. } => frame.reason.to_string(),
            Command::Abort { .. } => "abort".into(),
            Command::KeepOpen => "keep open".into(),
        }
    }

    #[test]
    fn the_earliest_command_is_in_force_in_whatever_order_they_come() {
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
    fn a_canceled_command_uncovers_the_one_behind_it() {
        let now = Instant::now();
        let after = |secs| Some(now + Duration::from_secs(secs));
        let mut orders = Orders::default();
        assert_eq!(next(&orders), "keep open");
        assert!(!orders.cancel_revocable(Revocable::ByResume));
        orders.add(close("in 60 s", after(60)), Revocable::Never);
        orders.add(close("drain", after(9)), Revocable::ByResume);
        assert_eq!(next(&orders), "drain");
        assert!(orders.cancel_revocable(Revocable::ByResume));
        assert_eq!(next(&orders), "in 60 s");
        orders.add(close("drain", after(90)), Revocable::ByResume);
        assert!(
            !orders.cancel_revocable(Revocable::ByResume),
            "it did not count"
        );
        assert_eq!(next(&orders), "in 60 s");
    }
}

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
        /// The moment at which the tunnel is cut off. Bytes that still move have time until then;
        /// without it, the ordinary bounds apply to them.
        until: Option<Instant>,
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
    /// By the tunnel, if it gets another upstream: its last one was removed or is unhealthy.
    ByNextUpstream,
    /// By the tunnel, if it gets another upstream for whatever reason: a move was requested.
    ByMove,
    /// By [`TunnelHandle::cancel_close_at`](crate::tunnel::TunnelHandle::cancel_close_at).
    ByHandle,
    Never,
}

/// The commands that a tunnel has been given, one of each kind at most, in their order of
/// precedence. The first is in force; the others matter only if that one is canceled.
#[derive(Default)]
pub(super) struct PendingCommands(Vec<(Command, Revocable)>);

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

impl PendingCommands {
    /// Adds a command; returns whether another command is in force now.
    ///
    /// Of two commands of a kind the earlier stays, so that a later close never postpones one. Only
    /// [`Revocable::ByHandle`] replaces the one before, because its holder may put it off.
    pub(super) fn add(&mut self, command: Command, revocable: Revocable) -> bool {
        let before = self.0.iter().position(|(_, other)| *other == revocable);
        let mut changes = false;
        if let Some(place) = before {
            let replaces = revocable == Revocable::ByHandle
                || self
                    .0
                    .get(place)
                    .is_none_or(|(other, _)| command.rank() < other.rank());
            if !replaces {
                return false;
            }
            self.0.remove(place);
            changes = place == 0;
        }
        let place = self
            .0
            .partition_point(|(other, _)| other.rank() <= command.rank());
        self.0.insert(place, (command, revocable));
        changes || place == 0
    }

    /// Calls off the command of this kind; whether another command counts now, or none.
    pub(super) fn cancel(&mut self, revocable: Revocable) -> bool {
        let is_canceled = |(_, other): &(Command, Revocable)| *other == revocable;
        let changes = self.0.first().is_some_and(is_canceled);
        self.0.retain(|command| !is_canceled(command));
        changes
    }

    /// The command that is in force.
    pub(super) fn next(&self) -> Command {
        self.0
            .first()
            .map_or(Command::KeepOpen, |(command, _)| command.clone())
    }

    /// The end of the abort that is in force, if one is.
    pub(super) fn next_abort(&self) -> Option<TunnelEnd> {
        match self.0.first() {
            Some((Command::Abort { end }, _)) => Some(end.clone()),
            _ => None,
        }
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
    fn next(commands: &PendingCommands) -> String {
        match commands.next() {
            Command::Close { frame, .. } => frame.reason.to_string(),
            Command::Abort { .. } => "abort".into(),
            Command::KeepOpen => "keep open".into(),
        }
    }

    #[test]
    fn the_earliest_command_is_in_force_in_whatever_order_they_come() {
        let now = Instant::now();
        let after = |secs| Some(now + Duration::from_secs(secs));
        let mut commands = PendingCommands::default();
        assert!(commands.add(close("in 9 s", after(9)), Revocable::Never));
        assert!(!commands.add(close("in 60 s", after(60)), Revocable::Never));
        assert_eq!(next(&commands), "in 9 s");
        assert!(!commands.add(close("also in 9 s", after(9)), Revocable::Never));
        assert!(commands.add(close("now", None), Revocable::Never));
        assert!(!commands.add(close("now too", None), Revocable::Never));
        assert_eq!(next(&commands), "now");
        let end = TunnelEnd::Requested;
        assert!(commands.add(Command::Abort { end }, Revocable::Never));
        assert!(!commands.add(close("now", None), Revocable::Never));
        assert_eq!(next(&commands), "abort");
    }

    #[test]
    fn a_canceled_command_uncovers_the_one_behind_it() {
        let now = Instant::now();
        let after = |secs| Some(now + Duration::from_secs(secs));
        let mut commands = PendingCommands::default();
        assert_eq!(next(&commands), "keep open");
        assert!(!commands.cancel(Revocable::ByResume));
        commands.add(close("in 60 s", after(60)), Revocable::Never);
        commands.add(close("drain", after(9)), Revocable::ByResume);
        assert_eq!(next(&commands), "drain");
        assert!(commands.cancel(Revocable::ByResume));
        assert_eq!(next(&commands), "in 60 s");
        commands.add(close("drain", after(90)), Revocable::ByResume);
        assert!(!commands.cancel(Revocable::ByResume), "it did not count");
        assert_eq!(next(&commands), "in 60 s");
    }

    #[test]
    fn repeated_commands_of_a_kind_leave_one_of_them() {
        let now = Instant::now();
        let after = |secs| Some(now + Duration::from_secs(secs));
        for kind in [
            Revocable::ByResume,
            Revocable::ByPoolResume,
            Revocable::Never,
        ] {
            let mut commands = PendingCommands::default();
            assert!(commands.add(close("in 9 s", after(9)), kind));
            for secs in 10..100 {
                assert!(!commands.add(close("later", after(secs)), kind));
            }
            assert!(commands.add(close("in 2 s", after(2)), kind));
            assert_eq!((next(&commands).as_str(), commands.0.len()), ("in 2 s", 1));
        }
    }

    #[test]
    fn a_close_by_handle_can_be_put_off_and_called_off_and_no_other() {
        let now = Instant::now();
        let after = |secs| Some(now + Duration::from_secs(secs));
        let mut commands = PendingCommands::default();
        assert!(commands.add(close("in 9 s", after(9)), Revocable::ByHandle));
        assert!(commands.add(close("in 60 s", after(60)), Revocable::ByHandle));
        assert_eq!((next(&commands).as_str(), commands.0.len()), ("in 60 s", 1));
        assert!(commands.add(close("drain", after(20)), Revocable::ByResume));
        assert!(!commands.cancel(Revocable::ByHandle));
        assert_eq!(next(&commands), "drain");
        assert!(!commands.cancel(Revocable::ByHandle));
    }
}

//! Orders to move a tunnel to another upstream.

use tokio::time::Instant;

use super::command::{Command, Revocable};

/// Order to move a tunnel to another upstream while the client's connection lives on.
#[derive(Clone, Debug)]
pub(crate) struct MoveOrder {
    /// The moment at which the move begins.
    pub(crate) at: Instant,
    /// The command that applies if the tunnel cannot be moved; without one it keeps its upstream.
    pub(crate) otherwise: Option<Command>,
}

/// The moves that a tunnel has been ordered to make, one of each issuer at most, the earliest first.
/// One of them is made.
#[derive(Default)]
pub(super) struct PendingMoves(Vec<(MoveOrder, Revocable)>);

impl PendingMoves {
    /// Adds an order; returns whether it is the first now. Of two orders of an issuer the earlier
    /// stays.
    pub(super) fn add(&mut self, order: MoveOrder, issuer: Revocable) -> bool {
        if let Some(place) = self.0.iter().position(|(_, other)| *other == issuer) {
            let is_later = self.0.get(place).is_some_and(|(old, _)| old.at <= order.at);
            if is_later {
                return false;
            }
            self.0.remove(place);
        }
        let place = self.0.partition_point(|(other, _)| other.at <= order.at);
        self.0.insert(place, (order, issuer));
        place == 0
    }

    /// Calls off the order of this issuer; returns whether another order counts now, or none.
    pub(super) fn cancel(&mut self, issuer: Revocable) -> bool {
        let is_canceled = |(_, other): &(MoveOrder, Revocable)| *other == issuer;
        let changes = self.0.first().is_some_and(is_canceled);
        self.0.retain(|order| !is_canceled(order));
        changes
    }

    /// The order that counts.
    pub(super) fn next(&self) -> Option<&MoveOrder> {
        self.0.first().map(|(order, _)| order)
    }

    /// Gives up all orders, and returns the commands that apply in their place.
    pub(super) fn give_up(&mut self) -> impl Iterator<Item = (Command, Revocable)> + use<> {
        let orders = std::mem::take(&mut self.0).into_iter();
        orders.filter_map(|(order, issuer)| Some((order.otherwise?, issuer)))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::frame::{CloseCode, CloseFrame};

    use super::*;

    fn order(at: Instant) -> MoveOrder {
        let frame = CloseFrame::new(CloseCode::SERVICE_RESTART, "");
        MoveOrder {
            at,
            otherwise: Some(Command::requested(frame, Some(at))),
        }
    }

    #[test]
    fn the_earliest_order_counts_until_it_is_called_off() {
        let now = Instant::now();
        let after = |secs| now + Duration::from_secs(secs);
        let next = |moves: &PendingMoves| moves.next().map(|order| order.at);
        let mut moves = PendingMoves::default();
        assert!(moves.add(order(after(9)), Revocable::ByPoolResume));
        assert!(!moves.add(order(after(60)), Revocable::ByPoolResume));
        assert!(moves.add(order(after(5)), Revocable::ByPoolResume));
        assert!(!moves.add(order(after(20)), Revocable::ByNextUpstream));
        assert_eq!(next(&moves), Some(after(5)));
        assert!(moves.cancel(Revocable::ByPoolResume));
        assert_eq!(next(&moves), Some(after(20)));
        assert!(!moves.cancel(Revocable::ByPoolResume));
        assert!(moves.cancel(Revocable::ByNextUpstream));
        assert!(moves.next().is_none());
    }

    #[test]
    fn moves_that_are_given_up_leave_the_commands_of_their_issuers() {
        let now = Instant::now();
        let mut moves = PendingMoves::default();
        moves.add(order(now), Revocable::ByPoolResume);
        let stays = MoveOrder {
            at: now,
            otherwise: None,
        };
        moves.add(stays, Revocable::ByNextUpstream);
        let left: Vec<_> = moves.give_up().map(|(_, issuer)| issuer).collect();
        assert_eq!(left, [Revocable::ByPoolResume]);
        assert!(moves.next().is_none());
    }
}

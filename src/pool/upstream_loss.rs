//! What becomes of the tunnels of an upstream that is lost.

use std::time::Duration;

use tokio::time::Instant;

use crate::{
    frame::{CloseCode, CloseFrame},
    tunnel::registry::{Command, Entry},
    tunnel::report::TunnelEnd,
    upstream::{Loss, Member},
};

use super::{handle::Pool, lease::Lease, settings::OnUpstreamLoss, state::State};

impl State {
    /// Does with the tunnels of an upstream what was chosen.
    pub(super) fn lose_tunnels(
        &self,
        member: &Member,
        choice: OnUpstreamLoss,
        reason: &'static str,
    ) {
        let OnUpstreamLoss::Close { spread } = choice else {
            return;
        };
        let now = Instant::now();
        let loss = Loss {
            number: self.count_loss(),
            at: now,
            spread,
            reason,
        };
        // Before the look at the registry: who enters it after that sees the mark.
        member.set_loss(loss);
        let name = member.upstream().name();
        for registry in self.registries() {
            for entry in registry.entries() {
                if *entry.info().upstream == *name {
                    entry.tell(close(&loss, now));
                }
            }
        }
    }
}

impl Pool {
    /// Closes a tunnel that has just been entered into the registry, if those of its upstream
    /// were given up while its handshake was under way.
    pub(crate) fn close_if_lost(&self, lease: &Lease, entry: &Entry) {
        let loss = lease.member().loss();
        if let Some(loss) = loss.filter(|loss| lease.is_before(loss)) {
            entry.tell(close(&loss, Instant::now()));
        }
    }
}

/// To be carried out within what is left of the spread.
fn close(loss: &Loss, now: Instant) -> Command {
    let passed = now.saturating_duration_since(loss.at);
    let left: Duration = loss.spread.saturating_sub(passed);
    Command::Close {
        frame: CloseFrame::new(CloseCode::SERVICE_RESTART, loss.reason),
        end: TunnelEnd::Drained,
        at: Some(crate::instant::saturating_add(
            now,
            left.mul_f64(fastrand::f64()),
        )),
    }
}

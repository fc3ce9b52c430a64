//! An operator's commands on a single upstream: its drain, and the control of its health.

use tokio::time::Instant;

use crate::{
    observe::MembershipChange,
    tunnel::registry::Revocable,
    upstream::{
        health::{Doubt, HealthControl},
        refuse_under_lock,
    },
};

use super::{handle::Pool, notifier::PoolChange, settings::OnUpstreamLoss};

impl Pool {
    /// Drains an upstream: it gets no new tunnels, and its open ones are left, closed or
    /// moved. False if no upstream has this name.
    ///
    /// Clients with a sticky cookie for it move to another upstream. It is still probed and
    /// [listed](Self::snapshot), so that its last tunnel's end can be seen. The drain survives
    /// changes of its settings, and lasts until [`resume`](Self::resume) or its removal.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use wsplice::{Pool, pool::OnUpstreamLoss};
    ///
    /// let pool = Pool::new(["ws://10.0.0.1:8080", "ws://10.0.0.2:8080"])?.build();
    /// let spread = Duration::from_secs(60);
    /// assert!(pool.drain("10.0.0.1:8080", OnUpstreamLoss::Close { spread }));
    /// assert!(!pool.snapshot()[0].is_used);
    /// // Updated and restarted:
    /// assert!(pool.resume("10.0.0.1:8080"));
    /// # Ok::<(), wsplice::connect::InvalidAddress>(())
    /// ```
    pub fn drain(&self, name: &str, tunnels: OnUpstreamLoss) -> bool {
        refuse_under_lock();
        let set = self.state.member_set();
        let Some(member) = set.by_name(name) else {
            return false;
        };
        let now = Instant::now();
        if member.begin_draining(now) {
            let change = PoolChange::Upstream(MembershipChange::Draining);
            self.state.notifier.push(member.shared_name(), change);
            self.state.refresh(now);
        }
        let reason = "upstream draining";
        self.state
            .close_tunnels(member, tunnels, reason, Revocable::ByPoolResume);
        true
    }

    /// Ends the drain of an upstream, which gets tunnels again; the closes and moves of its drain
    /// that have not begun are called off. False if no upstream of this name is draining.
    pub fn resume(&self, name: &str) -> bool {
        refuse_under_lock();
        let set = self.state.member_set();
        let Some(member) = set.by_name(name) else {
            return false;
        };
        if !member.end_draining() {
            return false;
        }
        // First the order: a tunnel that opens later must not see it.
        member.withdraw_close_order(Revocable::ByPoolResume);
        for entry in member.open_tunnels().entries() {
            entry.cancel_revocable(Revocable::ByPoolResume);
        }
        for (response, _) in member.responses().under_way() {
            response.cancel_drain();
        }
        let now = Instant::now();
        if let Some(slow_start) = self.state.health_settings().slow_start {
            member.begin_slow_start(now, slow_start);
        }
        let change = PoolChange::Upstream(MembershipChange::Resumed);
        self.state.notifier.push(member.shared_name(), change);
        self.state.refresh(now);
        true
    }

    /// Gives the control of an upstream's health to the operator, or back to events. False if no
    /// upstream has this name.
    ///
    /// An upstream that is forced to be unhealthy gets no new tunnels, and its open ones are treated
    /// as [`unhealthy_tunnels`](crate::pool::PoolBuilder::unhealthy_tunnels) says. Probes go on, and are
    /// shown by [`snapshot`](Self::snapshot). Back under the control of events it is healthy until
    /// they show otherwise.
    ///
    /// # Examples
    ///
    /// ```
    /// use wsplice::{Pool, health::HealthControl};
    ///
    /// let pool = Pool::new(["ws://10.0.0.1:8080", "ws://10.0.0.2:8080"])?.build();
    /// assert!(pool.control_health("10.0.0.1:8080", HealthControl::ForcedUnhealthy));
    /// assert!(!pool.snapshot()[0].is_used);
    /// assert!(pool.control_health("10.0.0.1:8080", HealthControl::Auto));
    /// # Ok::<(), wsplice::connect::InvalidAddress>(())
    /// ```
    pub fn control_health(&self, name: &str, control: HealthControl) -> bool {
        refuse_under_lock();
        let set = self.state.member_set();
        let Some(member) = set.by_name(name) else {
            return false;
        };
        let now = Instant::now();
        self.state
            .with_member_health(member, now, |health, settings| {
                self.state.step(member, health, settings, now, |health, _| {
                    health.tracker.set_control(control, now)
                })
            });
        member.with_doubt(Doubt::succeed);
        self.state.refresh(now);
        true
    }
}

//! Taking an upstream out of use without removing it.

use tokio::time::Instant;

use crate::observe::UpstreamChange;

use super::{handle::Pool, news::Change, settings::OnUpstreamLoss};

impl Pool {
    /// Takes an upstream out of use without removing it: it gets no new tunnels, and its old ones
    /// live on or are closed. False if there is none of this name.
    ///
    /// Clients with a sticky cookie for it are moved to another. It is still probed and
    /// [shown](Self::snapshot), which tells when its last tunnel is gone. This outlives edits,
    /// those of a discovery for example, until [`resume`](Self::resume).
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use wsplice::{OnUpstreamLoss, Pool};
    ///
    /// let pool = Pool::new(["ws://10.0.0.1:8080", "ws://10.0.0.2:8080"])?;
    /// let spread = Duration::from_secs(60);
    /// assert!(pool.drain("10.0.0.1:8080", OnUpstreamLoss::Close { spread }));
    /// assert!(!pool.snapshot()[0].is_used);
    /// // Updated and restarted:
    /// assert!(pool.resume("10.0.0.1:8080"));
    /// # Ok::<(), wsplice::connect::InvalidAddress>(())
    /// ```
    pub fn drain(&self, name: &str, tunnels: OnUpstreamLoss) -> bool {
        let roster = self.state.roster();
        let Some(member) = roster.named(name) else {
            return false;
        };
        let now = Instant::now();
        if member.begin_draining(now) {
            let change = Change::Upstream(UpstreamChange::Draining);
            self.state.news.push(member.shared_name(), change);
            self.state.refresh(now);
        }
        let reason = "upstream draining";
        self.state.lose_tunnels(member, tunnels, reason);
        true
    }

    /// Takes an upstream that is being drained into use again. False if none of this name is.
    pub fn resume(&self, name: &str) -> bool {
        let roster = self.state.roster();
        let Some(member) = roster.named(name) else {
            return false;
        };
        if !member.end_draining() {
            return false;
        }
        let now = Instant::now();
        if let Some(slow_start) = self.state.health().slow_start {
            member.ramp_up(now, slow_start);
        }
        let change = Change::Upstream(UpstreamChange::Resumed);
        self.state.news.push(member.shared_name(), change);
        self.state.refresh(now);
        true
    }
}

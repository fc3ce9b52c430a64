//! The observer that remembers how the last tunnels ended, and counts reattachments.

use std::{
    collections::{HashMap, VecDeque},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::time::Instant;
use wsplice::{
    Observer, TunnelInfo, TunnelReport,
    tunnel::reattach::{Loss, ReattachRefusal, UpstreamChange},
};

use crate::{
    changes::Changes,
    document::{EndCount, EndRow, Ends},
};

/// Ends that are remembered one by one.
const MAX_RECENT: usize = 50;

/// Causes that are counted apart. The causes are an enumeration of the proxy's, far below this; the
/// bound holds whatever it will contain.
const MAX_CAUSES: usize = 200;

/// Observer that remembers the last 50 ends of tunnels, and counts ends by their cause and
/// reattachments by the upstream that was left.
///
/// Cheap to clone; every clone adds to the same memory. See [`Status::observer`](crate::Status).
#[derive(Clone, Default)]
pub struct RecentEnds {
    shared: Arc<Mutex<Memory>>,
}

#[derive(Default)]
struct Memory {
    counts: HashMap<String, u64>,
    recent: VecDeque<End>,
    changes: Changes,
}

struct End {
    at: Instant,
    info: TunnelInfo,
    report: TunnelReport,
}

impl RecentEnds {
    fn memory(&self) -> MutexGuard<'_, Memory> {
        // A panic while the memory was locked leaves whole entries behind.
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Calls a function with the counts of reattachments.
    pub(crate) fn with_changes<T>(&self, call: impl FnOnce(&Changes) -> T) -> T {
        call(&self.memory().changes)
    }

    pub(crate) fn ends(&self, now: Instant) -> Ends {
        let memory = self.memory();
        let mut counts: Vec<_> = memory
            .counts
            .iter()
            .map(|(cause, &count)| EndCount {
                cause: cause.clone(),
                count,
            })
            .collect();
        let recent = memory.recent.iter().map(|end| end.row(now)).collect();
        drop(memory);
        counts.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.cause.cmp(&b.cause)));
        Ends { counts, recent }
    }
}

impl Observer for RecentEnds {
    fn tunnel_reattached(&self, _tunnel: &TunnelInfo, change: &UpstreamChange) {
        self.memory().changes.count(change);
    }

    fn reattachment_failed(&self, _tunnel: &TunnelInfo, _loss: Loss, _refusal: ReattachRefusal) {
        self.memory().changes.count_failure();
    }

    fn tunnel_closed(&self, info: &TunnelInfo, report: &TunnelReport) {
        let cause = report.end.to_string();
        let end = End {
            at: Instant::now(),
            info: info.clone(),
            report: report.clone(),
        };
        let mut memory = self.memory();
        if memory.counts.len() < MAX_CAUSES || memory.counts.contains_key(&cause) {
            *memory.counts.entry(cause).or_default() += 1;
        }
        memory.recent.truncate(MAX_RECENT - 1);
        memory.recent.push_front(end);
    }
}

impl End {
    fn row(&self, now: Instant) -> EndRow {
        let Self { at, info, report } = self;
        let code = |stats: &wsplice::tunnel::DirectionStats| {
            let close = stats.close.as_ref()?;
            close.code.map(wsplice::frame::CloseCode::as_u16)
        };
        EndRow {
            id: info.id,
            client: info.client.map(|address| address.to_string()),
            upstream: info.upstream.to_string(),
            path: info.path.to_string(),
            cause: report.end.to_string(),
            initiator: report.initiator.to_string(),
            client_code: code(&report.client_to_upstream),
            upstream_code: code(&report.upstream_to_client),
            duration_seconds: report.duration.as_secs_f64(),
            age_seconds: now.saturating_duration_since(*at).as_secs_f64(),
        }
    }
}

impl fmt::Debug for RecentEnds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let recent = self.memory().recent.len();
        f.debug_struct("RecentEnds")
            .field("recent", &recent)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use wsplice::tunnel::{Side, Timer, TunnelEnd};

    fn end(ends: &RecentEnds, path: &str, end: TunnelEnd) {
        let info = TunnelInfo::new("10.0.0.1", path);
        ends.tunnel_closed(&info, &TunnelReport::new(end, Side::Client));
    }

    #[test]
    fn the_newest_ends_are_remembered_and_all_are_counted() {
        let ends = RecentEnds::default();
        for number in 0..60 {
            end(&ends, &format!("/{number}"), TunnelEnd::Closed);
        }
        end(
            &ends,
            "/late",
            TunnelEnd::Timeout(Timer::Pong, Side::Client),
        );

        let shown = ends.ends(Instant::now());
        assert_eq!(shown.recent.len(), 50);
        assert_eq!(shown.recent[0].path, "/late");
        assert_eq!(shown.recent[49].path, "/11");
        let counts: Vec<_> = shown.counts.iter().map(|count| count.count).collect();
        assert_eq!(counts, [60, 1]);
    }
}

//! Arguments that the functions of one flow share during one poll.

use std::task::Context;

use tokio::time::Instant;

use super::{leg::Leg, pair::LegId, reattach::Filter, track::Position};

/// Clock that is read at most once: later calls return the first reading.
#[derive(Default)]
pub(super) struct Clock(Option<Instant>);

impl Clock {
    #[inline]
    pub(super) fn now(&mut self) -> Instant {
        *self.0.get_or_insert_with(Instant::now)
    }
}

/// One poll of one flow: the task to wake, the time, and the two connections.
pub(super) struct FlowContext<'poll, 'task> {
    pub(super) task: &'poll mut Context<'task>,
    pub(super) clock: &'poll mut Clock,
    pub(super) source: &'poll mut Leg,
    pub(super) sink: &'poll mut Leg,
    pub(super) sink_id: LegId,
    /// How many bytes the flow may keep for the sink.
    pub(super) max_buffered: usize,
    /// Present where the tunnel may get another upstream.
    pub(super) filter: Option<&'poll mut Filter>,
    /// Position of the sink before the bytes that are being forwarded, where it matters.
    pub(super) position: Option<Position>,
}

//! Facts that the host attaches to a tunnel.

use std::{any::Any, fmt, sync::Mutex};

use http::Extensions;
use tokio::time::Instant;

use crate::{frame::CloseFrame, lock::lock};

/// Facts that the host attaches to a tunnel; few tunnels have all of them, and most have none.
#[derive(Clone, Default)]
pub(super) struct Details {
    pub(super) key: Option<Box<str>>,
    pub(super) label: Option<Box<str>>,
    pub(super) deadline: Option<Instant>,
    further: Option<Box<Further>>,
}

#[derive(Clone, Default)]
struct Further {
    frame: Option<CloseFrame>,
    values: Extensions,
    guard: Guard,
}

/// A value that is dropped when the tunnel is over. A copy of the facts has none.
#[derive(Default)]
struct Guard(Mutex<Option<Box<dyn Any + Send>>>);

impl Details {
    pub(super) fn deadline_frame(&self) -> Option<&CloseFrame> {
        self.further.as_ref()?.frame.as_ref()
    }

    pub(super) fn set_deadline_frame(&mut self, frame: CloseFrame) {
        self.further().frame = Some(frame);
    }

    pub(super) fn values(&self) -> Option<&Extensions> {
        self.further.as_ref().map(|further| &further.values)
    }

    pub(super) fn values_mut(&mut self) -> &mut Extensions {
        &mut self.further().values
    }

    pub(super) fn hold(&mut self, guard: Box<dyn Any + Send>) {
        self.further().guard = Guard(Mutex::new(Some(guard)));
    }

    /// Drops the value that is held for the tunnel.
    pub(super) fn release(&self) {
        let held = self
            .further
            .as_ref()
            .and_then(|further| lock(&further.guard.0).take());
        drop(held);
    }

    fn further(&mut self) -> &mut Further {
        self.further.get_or_insert_default()
    }
}

impl Clone for Guard {
    fn clone(&self) -> Self {
        Self::default()
    }
}

/// Leaves out the host's values, which may be secret.
impl fmt::Debug for Details {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Details")
            .field("key", &self.key)
            .field("label", &self.label)
            .field("deadline", &self.deadline)
            .finish_non_exhaustive()
    }
}

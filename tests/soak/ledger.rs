//! What happened, counted by the clients and by the proxy.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use wsplice::{Observer, TunnelInfo, TunnelReport};

use crate::plan::End;

/// Counts of a whole run.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    /// Tunnels by the proxy's count.
    opened: AtomicU64,
    closed: AtomicU64,
    /// Tunnels by the clients' count.
    accepted: AtomicU64,
    messages: AtomicU64,
    bytes: AtomicU64,
    ends: Mutex<BTreeMap<String, u64>>,
    /// What should not have happened, with its number.
    faults: Mutex<BTreeMap<String, u64>>,
}

impl Ledger {
    pub(crate) fn accepted(&self) {
        self.accepted.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn echoed(&self, len: usize) {
        self.messages.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(len as u64, Ordering::Relaxed);
    }

    pub(crate) fn ended(&self, end: End) {
        count(&self.ends, format!("{end:?}"));
    }

    pub(crate) fn fault(&self, fault: String) {
        count(&self.faults, fault);
    }

    /// Whether every tunnel that was opened was reported.
    pub(crate) fn is_balanced(&self) -> bool {
        let opened = self.opened.load(Ordering::SeqCst);
        opened == self.closed.load(Ordering::SeqCst)
    }

    /// # Panics
    ///
    /// When anything happened that should not have, or when the counts of both ends differ.
    pub(crate) fn assert_sound(&self) {
        let faults = self.faults.lock().unwrap_or_else(PoisonError::into_inner);
        assert!(faults.is_empty(), "{faults:#?}");
        let opened = self.opened.load(Ordering::SeqCst);
        assert_eq!(opened, self.accepted.load(Ordering::SeqCst), "tunnels");
    }

    /// # Panics
    ///
    /// When a kind of end did not occur, so that the run proves nothing about it.
    pub(crate) fn assert_all_happened(&self) {
        let ends = self.ends.lock().unwrap_or_else(PoisonError::into_inner);
        assert_eq!(ends.len(), End::ALL.len(), "{ends:?}");
    }
}

fn count(counts: &Mutex<BTreeMap<String, u64>>, name: String) {
    let mut counts = counts.lock().unwrap_or_else(PoisonError::into_inner);
    *counts.entry(name).or_default() += 1;
}

impl Observer for Ledger {
    fn tunnel_opened(&self, _: &TunnelInfo) {
        self.opened.fetch_add(1, Ordering::SeqCst);
    }

    fn tunnel_closed(&self, _: &TunnelInfo, _: &TunnelReport) {
        self.closed.fetch_add(1, Ordering::SeqCst);
    }
}

impl fmt::Display for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} tunnels, {} messages echoed, {} MiB, ends {:?}",
            self.accepted.load(Ordering::Relaxed),
            self.messages.load(Ordering::Relaxed),
            self.bytes.load(Ordering::Relaxed) >> 20,
            self.ends.lock().unwrap_or_else(PoisonError::into_inner),
        )
    }
}

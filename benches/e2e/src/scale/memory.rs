//! Memory by the kernel's account.

use std::{collections::BTreeMap, fs};

/// The page size that the kernel counts in, in bytes.
const PAGE: f64 = 4096.0;

/// All in bytes.
pub struct Memory {
    /// Available memory.
    pub available: f64,
    pub slab: f64,
    /// Buffers of all TCP sockets.
    pub tcp: f64,
    /// Slab caches by their names.
    caches: BTreeMap<String, f64>,
}

impl Memory {
    pub fn read() -> Self {
        let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let kibibytes = |name: &str| {
            let line = meminfo.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|rest| rest.split_whitespace().next()?.parse::<f64>().ok())
                .unwrap_or_default()
        };
        Self {
            available: kibibytes("MemAvailable:") * 1024.0,
            slab: kibibytes("Slab:") * 1024.0,
            tcp: tcp_pages().unwrap_or_default() * PAGE,
            caches: caches(),
        }
    }

    /// The caches that have grown most, with their growth.
    pub fn grown_since(&self, before: &Self) -> Vec<(String, f64)> {
        let growth = |(name, bytes): (&String, &f64)| {
            let before = before.caches.get(name).copied().unwrap_or_default();
            (name.clone(), bytes - before)
        };
        let mut grown: Vec<_> = self.caches.iter().map(growth).collect();
        grown.sort_by(|(_, one), (_, other)| other.total_cmp(one));
        grown.truncate(8);
        grown
    }
}

/// The last field of the line "TCP: inuse 5 ... mem 3".
fn tcp_pages() -> Option<f64> {
    let text = fs::read_to_string("/proc/net/sockstat").ok()?;
    let line = text.lines().find(|line| line.starts_with("TCP:"))?;
    line.rsplit(' ').next()?.parse().ok()
}

/// From the lines "name active objects size ..." of slabinfo(5), which root alone may read.
fn caches() -> BTreeMap<String, f64> {
    let text = fs::read_to_string("/proc/slabinfo").unwrap_or_default();
    let cache = |line: &str| {
        let mut fields = line.split_whitespace();
        let name = fields.next()?.to_owned();
        let objects: f64 = fields.nth(1)?.parse().ok()?;
        let size: f64 = fields.next()?.parse().ok()?;
        Some((name, objects * size))
    };
    text.lines().filter_map(cache).collect()
}

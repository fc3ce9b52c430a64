//! CPU time and limits of a process, from the kernel.

use std::fs;

/// CPU time of a process, user and system, in nanoseconds. `None` once it is gone.
///
/// The scheduler's own account of each thread is exact; `utime + stime`, in steps of 10 ms, is
/// read where a kernel keeps no such account.
pub fn nanoseconds(pid: u32) -> Option<u64> {
    by_scheduler(pid).or_else(|| by_ticks(pid))
}

/// CPU time of the calling thread, in nanoseconds.
pub fn of_this_thread() -> u64 {
    // The scheduler brings the account up to date when the thread leaves the core.
    std::thread::sleep(std::time::Duration::from_micros(50));
    let account = fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let used = account.split(' ').next().and_then(|text| text.parse().ok());
    used.unwrap_or_default()
}

fn by_scheduler(pid: u32) -> Option<u64> {
    let mut sum = 0;
    for task in fs::read_dir(format!("/proc/{pid}/task")).ok()? {
        let account = task.ok()?.path().join("schedstat");
        let Ok(text) = fs::read_to_string(account) else {
            continue;
        };
        sum += text.split(' ').next()?.parse::<u64>().ok()?;
    }
    (sum > 0).then_some(sum)
}

fn by_ticks(pid: u32) -> Option<u64> {
    let fields = stat(pid)?;
    let ticks = |index: usize| fields.get(index)?.parse::<u64>().ok();
    // Fields 14 and 15 of proc_pid_stat(5); these begin behind the second.
    Some((ticks(11)? + ticks(12)?) * 10_000_000)
}

/// The fields behind the command, which may itself contain spaces.
fn stat(pid: u32) -> Option<Vec<String>> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, fields) = text.rsplit_once(") ")?;
    Some(fields.split(' ').map(str::to_owned).collect())
}

/// Memory of a process that is resident, in bytes.
pub fn resident(pid: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("Rss:"))?;
    let kibibytes: u64 = line.trim().strip_suffix(" kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

/// A process and its children.
pub fn family(pid: u32) -> Vec<u32> {
    let mut family = vec![pid];
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(other) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
        else {
            continue;
        };
        let parent = stat(other).and_then(|fields| fields.get(1)?.parse::<u32>().ok());
        if parent == Some(pid) {
            family.push(other);
        }
    }
    family
}

/// The limit on open files of a process.
pub fn open_files_limit() -> usize {
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok())
        .unwrap_or(1024)
}

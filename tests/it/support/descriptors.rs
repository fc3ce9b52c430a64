//! The limit on open descriptors.

/// The number of tunnels that the limit allows this test, up to `wanted`. A tunnel takes `each`
/// descriptors: four if both ends and the proxy are in this process. The soft limit is raised to the hard
/// one.
pub(crate) fn affordable(wanted: usize, each: u64) -> usize {
    // For the other descriptors of the process; other tests may run in it at the same time.
    const SPARE: u64 = 400;
    let limit = rlimit::increase_nofile_limit(u64::MAX).unwrap_or(1024);
    let affordable = limit.saturating_sub(SPARE) / each;
    let tunnels = wanted.min(usize::try_from(affordable).unwrap_or(wanted));
    if tunnels < wanted {
        eprintln!("{limit} descriptors are enough for {tunnels} tunnels only, not {wanted}");
    }
    tunnels
}

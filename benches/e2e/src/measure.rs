//! One load on one subject.

use std::{net::SocketAddr, time::Duration};

use serde_json::{Value, json};
use tokio::time::sleep;

use crate::{
    Result, cpu,
    load::{Load, Work},
    process::Server,
    scenario::{self, Scenario, Yields},
};

/// Puts a scenario's load on a target, and returns the counts between warm-up and end.
pub async fn timed(
    scenario: &Scenario,
    target: SocketAddr,
    window: Duration,
    cpu: impl Fn() -> u64,
) -> Result<Value> {
    let load = Load::start(target, scenario.groups).await?;
    sleep(window / 3).await;
    let (cpu_before, before) = (cpu(), load.snapshot());
    sleep(window).await;
    let (cpu_after, after) = (cpu(), load.snapshot());
    drop(load);

    let failures = after.failures;
    if failures > 0 {
        return Err(format!("{failures} connections failed").into());
    }
    let seconds = (after.at - before.at).as_secs_f64();
    let ops = (after.ops - before.ops) as f64;
    let bytes = (after.bytes - before.bytes) as f64;
    let used = cpu_after.saturating_sub(cpu_before) as f64;
    let micros = |share| {
        let nanos = after.percentile_since(&before, share);
        nanos.map(|nanos| nanos / 1e3)
    };
    Ok(match scenario.yields {
        Yields::Messages => json!({
            "cpu_us_per_message": used / 1e3 / ops,
            "messages_per_second": ops / seconds,
        }),
        Yields::Volume => json!({
            "gb_per_second": bytes / 1e9 / seconds,
            "cpu_ms_per_gib": used / 1e6 / (bytes / f64::from(1 << 30)),
        }),
        Yields::Latency => json!({
            "p50_us": micros(0.5),
            "p99_us": micros(0.99),
            "p999_us": micros(0.999),
        }),
        Yields::Handshakes => json!({
            "cpu_us_per_handshake": used / 1e3 / ops,
            "handshakes_per_second": ops / seconds,
        }),
    })
}

/// Memory of quiet tunnels: growth of a fresh subject, in bytes for each.
pub async fn memory(server: &mut Server, tunnels: usize) -> Result<Value> {
    // The first tunnels pay for all that is shared: thread buffers, tables, allocator arenas.
    drop(Load::start(server.addr, &[(Work::Quiet, 64)]).await?);
    sleep(Duration::from_millis(300)).await;
    let (resident, heap) = (server.resident(), server.heap());
    let load = Load::start(server.addr, &[(Work::Quiet, tunnels)]).await?;
    sleep(Duration::from_millis(700)).await;
    let grown = server.resident() as f64 - resident as f64;
    let heap = heap
        .zip(server.heap())
        .map(|(before, after)| after - before);
    let failures = load.snapshot().failures;
    drop(load);
    if failures > 0 {
        return Err(format!("{failures} connections failed").into());
    }
    let each = tunnels as f64;
    Ok(json!({
        "rss_bytes_per_tunnel": grown / each,
        "heap_bytes_per_tunnel": heap.map(|heap| heap as f64 / each),
    }))
}

/// Cost of pings: CPU of one core, in per cent, if each leg of 10,000 tunnels had one in 20 s.
pub async fn pinged(server: &Server, tunnels: usize, window: Duration) -> Result<Value> {
    let load = Load::start(server.addr, &[(Work::Quiet, tunnels)]).await?;
    sleep(Duration::from_secs(2)).await;
    let (cpu_before, before) = (server.cpu(), load.snapshot());
    sleep(window).await;
    let (used, after) = (server.cpu().saturating_sub(cpu_before), load.snapshot());
    let pings = (after.ops - before.ops) as f64;
    if after.failures > 0 {
        return Err(format!("{} connections failed", after.failures).into());
    }
    let per_pair = used as f64 / pings;
    Ok(json!({
        "client_pings": pings,
        "cpu_us_per_ping_pair": per_pair / 1e3,
        "percent_of_a_core": per_pair * 10_000.0 / 20e9 * 100.0,
    }))
}

/// The command `load`.
pub async fn one(name: &str, target: SocketAddr, window: Duration, pid: Option<u32>) -> Result<()> {
    let Some(scenario) = scenario::named(name) else {
        let names: Vec<_> = scenario::ALL.iter().map(|known| known.name).collect();
        return Err(format!("scenarios: {}", names.join(", ")).into());
    };
    let family = pid.map(cpu::family).unwrap_or_default();
    let used = || family.iter().filter_map(|pid| cpu::nanoseconds(*pid)).sum();
    println!("{:#}", timed(scenario, target, window, used).await?);
    Ok(())
}

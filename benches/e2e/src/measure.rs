//! One load on one subject.

use std::{net::SocketAddr, time::Duration};

use serde_json::{Value, json};
use tokio::time::sleep;

use crate::{
    bulk, cpu,
    error::Result,
    load::{Load, Snapshot, Work},
    process::Server,
    scenario::{self, Scenario, Yields},
    target::{CLIENTS, Face, Target},
    tls::Sessions,
};

/// Puts a scenario's load on a target, and returns the counts between warm-up and end.
pub async fn timed(
    scenario: &Scenario,
    target: &Target,
    window: Duration,
    cpu: impl Fn() -> u64,
) -> Result<Value> {
    if scenario.yields == Yields::Fairness {
        return fairness(scenario, target, window, cpu).await;
    }
    let load = Load::start(target, scenario.groups).await?;
    sleep(window / 3).await;
    let (cpu_before, before) = (cpu(), load.snapshot());
    sleep(window).await;
    let (cpu_after, after) = (cpu(), load.snapshot());
    drop(load);

    check(&after)?;
    let seconds = (after.at - before.at).as_secs_f64();
    let ops = (after.ops - before.ops) as f64;
    let bytes = (after.bytes - before.bytes) as f64;
    let used = cpu_after.saturating_sub(cpu_before) as f64;
    let micros = |share| percentile(&before, &after, share);
    if scenario.yields == Yields::Handshakes
        && scenario.sessions == Sessions::Resumed
        // The first of each client is new.
        && ((target.resumed() + CLIENTS as u64) as f64) < 0.9 * after.ops as f64
    {
        let resumed = target.resumed();
        return Err(format!("{resumed} sessions of {} were resumed", after.ops).into());
    }
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
        Yields::Fairness => Value::Null,
    })
}

/// The latency of the first group of connections by itself, and beside the others, whose far ends have
/// a thread of low priority.
async fn fairness(
    scenario: &Scenario,
    target: &Target,
    window: Duration,
    cpu: impl Fn() -> u64,
) -> Result<Value> {
    let (small, floods) = scenario.groups.split_at(1);
    let load = Load::start(target, small).await?;
    sleep(window / 3).await;
    let before = load.snapshot();
    sleep(window).await;
    let alone = load.snapshot();
    let (target, groups) = (target.clone(), floods);
    let flooding = bulk::handle()?.spawn(async move { Load::start(&target, groups).await });
    let flooding = flooding.await??;
    sleep(window / 3).await;
    let (cpu_before, began, flood) = (cpu(), load.snapshot(), flooding.snapshot());
    sleep(window).await;
    let (cpu_after, beside, flooded) = (cpu(), load.snapshot(), flooding.snapshot());
    drop((load, flooding));
    check(&beside)?;
    check(&flooded)?;
    let seconds = (flooded.at - flood.at).as_secs_f64();
    let bytes = (flooded.bytes - flood.bytes) as f64;
    let used = cpu_after.saturating_sub(cpu_before) as f64;
    let p99 = [
        percentile(&before, &alone, 0.99),
        percentile(&began, &beside, 0.99),
    ];
    Ok(json!({
        "p50_us_alone": percentile(&before, &alone, 0.5),
        "p50_us_beside": percentile(&began, &beside, 0.5),
        "p99_us_alone": p99[0],
        "p99_us_beside": p99[1],
        "p99_ratio": p99[1].zip(p99[0]).map(|(beside, alone)| beside / alone),
        "gb_per_second": bytes / 1e9 / seconds,
        "cpu_ms_per_gib": used / 1e6 / (bytes / f64::from(1 << 30)),
    }))
}

/// In microseconds.
fn percentile(before: &Snapshot, after: &Snapshot, share: f64) -> Option<f64> {
    let nanos = after.percentile_since(before, share);
    nanos.map(|nanos| nanos / 1e3)
}

fn check(after: &Snapshot) -> Result<()> {
    match after.failures {
        0 => Ok(()),
        failures => Err(format!("{failures} connections failed").into()),
    }
}

/// Memory of quiet tunnels: growth of a fresh subject, in bytes for each.
pub async fn memory(server: &mut Server, target: &Target, tunnels: usize) -> Result<Value> {
    // The first tunnels pay for all that is shared: thread buffers, tables, allocator arenas.
    drop(Load::start(target, &[(Work::Quiet, 64)]).await?);
    sleep(Duration::from_millis(300)).await;
    let (resident, heap) = (server.resident(), server.heap());
    let load = Load::start(target, &[(Work::Quiet, tunnels)]).await?;
    sleep(Duration::from_millis(700)).await;
    let grown = server.resident() as f64 - resident as f64;
    let heap = heap
        .zip(server.heap())
        .map(|(before, after)| after - before);
    let after = load.snapshot();
    drop(load);
    check(&after)?;
    let each = tunnels as f64;
    Ok(json!({
        "rss_bytes_per_tunnel": grown / each,
        "heap_bytes_per_tunnel": heap.map(|heap| heap as f64 / each),
    }))
}

/// Cost of pings: CPU of one core, in per cent, if each leg of 10,000 tunnels had one in 20 s.
pub async fn pinged(server: &Server, tunnels: usize, window: Duration) -> Result<Value> {
    let target = Target::plain(server.addr);
    let load = Load::start(&target, &[(Work::Quiet, tunnels)]).await?;
    sleep(Duration::from_secs(2)).await;
    let (cpu_before, before) = (server.cpu(), load.snapshot());
    sleep(window).await;
    let (used, after) = (server.cpu().saturating_sub(cpu_before), load.snapshot());
    let pings = (after.ops - before.ops) as f64;
    check(&after)?;
    let per_pair = used as f64 / pings;
    Ok(json!({
        "client_pings": pings,
        "cpu_us_per_ping_pair": per_pair / 1e3,
        "percent_of_a_core": per_pair * 10_000.0 / 20e9 * 100.0,
    }))
}

/// The command `load`.
pub async fn one(name: &str, target: SocketAddr, window: Duration, pid: Option<u32>) -> Result<()> {
    let plain = |scenario: &&Scenario| scenario.face == Face::Plain;
    let Some(scenario) = scenario::named(name).filter(plain) else {
        let names: Vec<_> = scenario::ALL
            .iter()
            .filter(plain)
            .map(|known| known.name)
            .collect();
        return Err(format!("scenarios: {}", names.join(", ")).into());
    };
    let family = pid.map(cpu::family).unwrap_or_default();
    let used = || family.iter().filter_map(|pid| cpu::nanoseconds(*pid)).sum();
    let target = &Target::plain(target);
    println!("{:#}", timed(scenario, target, window, used).await?);
    Ok(())
}

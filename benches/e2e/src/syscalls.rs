//! System calls of a subject, counted by strace where that is installed and allowed.

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use serde_json::{Value, json};
use tokio::time::sleep;

use crate::{
    error::Result,
    load::{Load, Work},
    process::Server,
    scenario::{Scenario, Yields},
    target::Target,
};

/// System calls for each operation of a scenario. Its times mean nothing: strace slows all down.
pub async fn count(scenario: &Scenario, server: &Server, directory: &Path) -> Result<Value> {
    let file = directory.join(format!("strace-{}-{}", server.name, scenario.name));
    let connections = scenario.groups.iter().map(|(_, connections)| connections);
    let opened: usize = match scenario.yields {
        Yields::Handshakes => 0,
        _ => connections.sum(),
    };
    // Opening and closing are not to be counted, so they are measured alone and subtracted.
    let (overhead, _) = trace(&[(Work::Quiet, opened)], server, &file).await?;
    let (calls, ops) = trace(scenario.groups, server, &file).await?;
    let ops = ops.saturating_sub(opened as u64) as f64;
    let mut each = BTreeMap::new();
    for (name, count) in &calls {
        let without = overhead.get(name).copied().unwrap_or_default();
        let share = count.saturating_sub(without) as f64 / ops;
        if share >= 0.005 {
            each.insert(name.clone(), (share * 100.0).round() / 100.0);
        }
    }
    let sum: f64 = each.values().sum();
    Ok(json!({ "calls_per_op": sum, "calls": each }))
}

/// Counts the calls from before a load begins until after its end, and its operations.
async fn trace(
    groups: &[(Work, usize)],
    server: &Server,
    file: &Path,
) -> Result<(BTreeMap<String, u64>, u64)> {
    let mut command = Command::new("strace");
    command.args(["-f", "-c", "-o"]).arg(file);
    for pid in server.pids() {
        command.arg("-p").arg(pid.to_string());
    }
    let mut strace = command
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    sleep(Duration::from_millis(400)).await;
    let load = Load::start(&Target::plain(server.addr), groups).await?;
    sleep(Duration::from_millis(1500)).await;
    let ops = load.snapshot().ops;
    drop(load);
    sleep(Duration::from_millis(200)).await;
    // On an interrupt, strace writes its counts.
    Command::new("kill")
        .args(["-INT", &strace.id().to_string()])
        .status()?;
    strace.wait()?;
    Ok((parse(&fs::read_to_string(file)?), ops))
}

/// Reads the lines `% time, seconds, usecs/call, calls, [errors,] name`.
fn parse(text: &str) -> BTreeMap<String, u64> {
    let mut calls = BTreeMap::new();
    for line in text.lines() {
        let fields: Vec<_> = line.split_whitespace().collect();
        if let [share, _, _, count, .., name] = fields[..]
            && let (Ok(_), Ok(count)) = (share.parse::<f64>(), count.parse())
            && name != "total"
        {
            calls.insert(name.to_owned(), count);
        }
    }
    calls
}

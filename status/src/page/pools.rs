//! Pools: their limits, upstreams and health.

use maud::{Markup, html};

use crate::{
    document::{PoolRow, UpstreamRow},
    format::{count, duration},
};

use super::parts::{counted, optional, table};

pub(super) fn pool_section(pool: &PoolRow, has_actions: bool) -> Markup {
    let title = format!("Pool {}", pool.name);
    html! {
        section {
            h2 { (title) }
            (table(&title, &html! {
                thead { tr {
                    th scope="col" { "Upstream" }
                    th scope="col" { "State" }
                    th scope="col" { "Since" }
                    th scope="col" .number { "Weight" }
                    th scope="col" .number { "Tunnels" }
                    th scope="col" .number { "Attempts" }
                    th scope="col" { "Failed" }
                    th scope="col" .number { "Latency" }
                    th scope="col" { "Last probe" }
                    @if has_actions { th scope="col" .action { "Action" } }
                } }
                tbody {
                    @for upstream in &pool.upstreams {
                        (upstream_row(pool, upstream, has_actions))
                    }
                    @if pool.upstreams.is_empty() {
                        tr data-key="" { td colspan="10" { "This pool has no upstream." } }
                    }
                }
            }))
            @if pool.retries + pool.retries_denied > 0 {
                p .note {
                    (counted(pool.retries, "retry", "retries")) ", " (count(pool.retries_denied))
                    " denied by the retry budget"
                }
            }
            @if pool.waiting > 0 {
                p .note {
                    (counted(pool.waiting as u64, "handshake waits", "handshakes wait"))
                    " in the queue"
                }
            }
        }
    }
}

fn upstream_row(pool: &PoolRow, upstream: &UpstreamRow, has_actions: bool) -> Markup {
    let (class, state) = state(upstream);
    html! {
        tr data-key=(upstream.name) {
            th scope="row" { (upstream.name) }
            td .state .(class) {
                (state)
                @if upstream.control != "auto" { " " small { "by the operator" } }
                @if let Some(cause) = &upstream.cause { " " small { (cause) } }
                @if upstream.doubted { " " small { "others are preferred after failures" } }
                @if let Some(left) = upstream.ejected_for_seconds {
                    " " small { "tried again in " (duration(left)) }
                }
            }
            td { (duration(upstream.draining_seconds.unwrap_or(upstream.since_seconds))) }
            td .number { (upstream.weight) }
            td .number .lines {
                (count(upstream.tunnels as u64))
                @if upstream.changes.reattached > 0 {
                    " " small { (count(upstream.changes.reattached)) " reattached elsewhere" }
                }
                @if upstream.changes.moved > 0 {
                    " " small { (count(upstream.changes.moved)) " moved away" }
                }
            }
            td .number { (count(upstream.counters.attempts)) }
            td .failures { (failures(upstream)) }
            td .number { (optional(upstream.latency_seconds)) }
            td .wrap {
                @match &upstream.last_probe {
                    Some(probe) => {
                        @match &probe.failure {
                            Some(failure) => { "failed " (duration(probe.age_seconds)) " ago: " (failure) }
                            None => { "passed " (duration(probe.age_seconds)) " ago" }
                        }
                        @if let Some(took) = probe.duration_seconds { ", took " (duration(took)) }
                    }
                    None => "none",
                }
            }
            @if has_actions {
                td .action { (drain_button(pool, upstream)) (health_button(pool, upstream)) }
            }
        }
    }
}

/// Attempts of clients that failed because of the upstream, or that it refused.
fn failures(upstream: &UpstreamRow) -> Markup {
    let counters = &upstream.counters;
    html! {
        (count(counters.failed + counters.refusals))
        @for failure in &counters.failures {
            " " small { (count(failure.count)) " " (failure.kind.replace('_', " ")) }
        }
        @if counters.refusals > 0 { " " small { (count(counters.refusals)) " refused" } }
        @if counters.ejections > 0 {
            " " small { "unhealthy " (counted(counters.ejections, "time", "times")) }
        }
    }
}

/// Class and words of an upstream's state. The words and the sign before them say all; the color
/// only helps.
fn state(upstream: &UpstreamRow) -> (&'static str, &'static str) {
    if upstream.draining_seconds.is_some() {
        return ("warn", "draining");
    }
    match (upstream.state, upstream.used) {
        ("healthy", true) => ("good", "healthy"),
        ("healthy", false) => ("warn", "healthy, not in use"),
        ("half_open", _) => ("warn", "half-open"),
        ("unhealthy", false) => ("bad", "unhealthy"),
        ("unhealthy", true) => ("bad", "unhealthy, in use for want of others"),
        _ => ("warn", "unknown"),
    }
}

fn drain_button(pool: &PoolRow, upstream: &UpstreamRow) -> Markup {
    let is_draining = upstream.draining_seconds.is_some();
    let (action, label) = if is_draining {
        ("resume_upstream", "Resume")
    } else {
        ("drain_upstream", "Drain")
    };
    let body = serde_json::json!({
        "action": action, "pool": pool.name, "upstream": upstream.name,
    });
    html! {
        button type="button" data-action=(body) aria-label={ (label) " " (upstream.name) } { (label) }
    }
}

/// Takes an upstream out of use at once, or leaves its health to events again.
fn health_button(pool: &PoolRow, upstream: &UpstreamRow) -> Markup {
    let (control, label) = match upstream.control {
        "auto" => ("forced_unhealthy", "Force unhealthy"),
        _ => ("auto", "Stop forcing"),
    };
    let body = serde_json::json!({
        "action": "control_health", "pool": pool.name, "upstream": upstream.name,
        "control": control,
    });
    html! {
        button type="button" data-action=(body) aria-label={ (label) " " (upstream.name) } { (label) }
    }
}

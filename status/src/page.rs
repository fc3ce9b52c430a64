//! The page, as HTML. The template engine escapes all text.

use maud::{DOCTYPE, Markup, html};

use crate::{
    document::{
        Document, EndRow, Ends, LegRow, PoolRow, Reattachments, TunnelRow, Tunnels, UpstreamRow,
    },
    format::{bytes, count, duration},
};

/// The page's style, its only one.
pub(crate) const STYLE: &str = include_str!("page.css");

/// The page's script. Without it the page is readable, and reloads itself every ten seconds.
pub(crate) const SCRIPT: &str = include_str!("page.js");

/// Renders the whole page.
pub(crate) fn page(document: &Document, has_actions: bool) -> Markup {
    let search = document.tunnels.search.as_deref().unwrap_or_default();
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { "wsplice status" }
                link rel="stylesheet" href="?view=style";
                script src="?view=script" defer {}
                noscript { meta http-equiv="refresh" content="10"; }
            }
            body {
                header {
                    h1 { "wsplice" }
                    form role="search" {
                        label for="q" { "Find tunnels" }
                        input id="q" name="q" type="search" value=(search)
                            placeholder="client, path, key …" maxlength="200";
                        button { "Search" }
                    }
                    p #live role="status" {}
                    button #pause type="button" hidden { "Pause" }
                }
                main { (content(document, has_actions)) }
                footer {
                    p { a href="?view=json" { "The same as JSON" } }
                }
            }
        }
    }
}

/// Renders what changes from refresh to refresh: the content of the page's `main`.
pub(crate) fn content(document: &Document, has_actions: bool) -> Markup {
    html! {
        (summary(document))
        @for pool in &document.pools { (pool_section(pool, has_actions)) }
        (tunnels_section(&document.tunnels, has_actions))
        (ends_section(&document.ends))
    }
}

fn summary(document: &Document) -> Markup {
    let upstreams = || document.pools.iter().flat_map(|pool| &pool.upstreams);
    let used = upstreams().filter(|upstream| upstream.used).count();
    let all = upstreams().count();
    // A drain is the operator's decision.
    let is_any_lost = upstreams().any(|row| !row.used && row.draining_seconds.is_none());
    html! {
        section #summary aria-label="Summary" {
            @if document.draining {
                p .banner role="alert" {
                    strong { "Draining." }
                    " New tunnels are refused; " (count(document.tunnels.open as u64))
                    @if document.tunnels.open == 1 { " is" } @else { " are" }
                    " still open."
                }
            }
            dl .figures {
                div { dt { "Open tunnels" } dd { (count(document.tunnels.open as u64)) } }
                div .bad[is_any_lost] {
                    dt { "Upstreams in use" }
                    dd { (used) " of " (all) }
                }
                div {
                    dt { "Ended tunnels" }
                    dd { (count(document.ends.counts.iter().map(|end| end.count).sum())) }
                }
                (reattachments(document.reattachments))
            }
        }
    }
}

/// The tunnels that got another upstream, if there were any.
fn reattachments(counts: Reattachments) -> Markup {
    let Reattachments {
        reattached,
        moved,
        failed,
    } = counts;
    html! {
        @if reattached + moved + failed > 0 {
            div {
                dt { "Upstream changed" }
                dd {
                    (count(reattached + moved))
                    @if moved > 0 { " " small { (count(moved)) " moved" } }
                    @if failed > 0 { " " small { (count(failed)) " failed" } }
                }
            }
        }
    }
}

fn pool_section(pool: &PoolRow, has_actions: bool) -> Markup {
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

fn tunnels_section(tunnels: &Tunnels, has_actions: bool) -> Markup {
    html! {
        section {
            h2 { "Open tunnels" }
            p .note {
                @match &tunnels.search {
                    Some(text) => {
                        (count(tunnels.found as u64)) " of " (count(tunnels.open as u64))
                        " tunnels match “" (text) "”. " a href="?" { "Show all" }
                    }
                    None => { (count(tunnels.open as u64)) " open." },
                }
                @if tunnels.found > tunnels.rows.len() {
                    " The newest " (tunnels.rows.len()) " are shown; search for others."
                }
            }
            @if !tunnels.rows.is_empty() {
                (table("Open tunnels", &html! {
                    thead { tr {
                        th scope="col" .number { "Number" }
                        th scope="col" { "Client" }
                        th scope="col" { "Path" }
                        th scope="col" { "Upstream" }
                        th scope="col" .number { "Age" }
                        th scope="col" .number { "From client" }
                        th scope="col" .number { "From upstream" }
                        th scope="col" .number { "Quiet" }
                        th scope="col" .number { "Ping " small { "client / upstream" } }
                        @if has_actions { th scope="col" .action { "Action" } }
                    } }
                    tbody { @for row in &tunnels.rows { (tunnel_row(row, has_actions)) } }
                }))
            }
        }
    }
}

fn tunnel_row(row: &TunnelRow, has_actions: bool) -> Markup {
    let traffic = |leg: &LegRow| {
        let frames = count(leg.frames);
        let noun = if leg.frames == 1 { "frame" } else { "frames" };
        html! { (bytes(leg.bytes)) " " small { (frames) " " (noun) } }
    };
    let (client, upstream) = (&row.from_client, &row.from_upstream);
    html! {
        tr data-key={ (row.registry) "-" (row.id) } {
            th scope="row" .number { (row.id) }
            td {
                (row.client.as_deref().unwrap_or("unknown"))
                @for text in [&row.key, &row.label].into_iter().flatten() { " " small { (text) } }
            }
            td .long { (row.path) }
            td { (row.upstream) }
            td .number { (duration(row.age_seconds)) }
            td .number { (traffic(client)) }
            td .number { (traffic(upstream)) }
            td .number { (duration(client.quiet_seconds.min(upstream.quiet_seconds))) }
            td .number {
                (optional(client.rtt_seconds)) " / " (optional(upstream.rtt_seconds))
            }
            @if has_actions {
                td .action {
                    (close_button(row))
                    @if let Some(key) = &row.key { (close_key_button(key)) }
                }
            }
        }
    }
}

fn close_button(row: &TunnelRow) -> Markup {
    let body = serde_json::json!({
        "action": "close_tunnel", "registry": row.registry, "id": row.id,
    });
    html! {
        button type="button" data-action=(body) aria-label={ "Close tunnel " (row.id) } { "Close" }
    }
}

/// Closes all tunnels of a key, those that the page does not show among them.
fn close_key_button(key: &str) -> Markup {
    let body = serde_json::json!({ "action": "close_key", "key": key });
    html! {
        button type="button" data-action=(body) aria-label={ "Close all tunnels of " (key) } {
            "Close all"
        }
    }
}

fn ends_section(ends: &Ends) -> Markup {
    html! {
        section {
            h2 { "Recent ends" }
            @if ends.counts.is_empty() {
                p .note { "No tunnel has ended yet." }
            } @else {
                ul .counts {
                    @for end in &ends.counts {
                        li { strong { (count(end.count)) } " " (end.cause) }
                    }
                }
                (table("Recent ends", &html! {
                    thead { tr {
                        th scope="col" .number { "Number" }
                        th scope="col" { "Client" }
                        th scope="col" { "Path" }
                        th scope="col" { "Upstream" }
                        th scope="col" { "Cause" }
                        th scope="col" { "Begun by" }
                        th scope="col" { "Close codes" }
                        th scope="col" .number { "Lifetime" }
                        th scope="col" .number { "Ago" }
                    } }
                    tbody { @for end in &ends.recent { (end_row(end)) } }
                }))
            }
        }
    }
}

fn end_row(end: &EndRow) -> Markup {
    let code = |code: Option<u16>| code.map_or_else(|| "none".to_owned(), |code| code.to_string());
    html! {
        tr data-key={ (end.upstream) (end.id) } {
            th scope="row" .number { (end.id) }
            td { (end.client.as_deref().unwrap_or("unknown")) }
            td .long { (end.path) }
            td { (end.upstream) }
            td { (end.cause) }
            td { (end.initiator) }
            td { "client " (code(end.client_code)) ", upstream " (code(end.upstream_code)) }
            td .number { (duration(end.duration_seconds)) }
            td .number { (duration(end.age_seconds)) }
        }
    }
}

/// A table that scrolls within itself where it is wider than the window, also by keyboard.
fn table(label: &str, rows: &Markup) -> Markup {
    html! {
        div .scroll role="region" aria-label=(label) tabindex="0" { table { (rows) } }
    }
}

fn counted(number: u64, one: &str, many: &str) -> String {
    format!("{} {}", count(number), if number == 1 { one } else { many })
}

fn optional(seconds: Option<f64>) -> String {
    seconds.map_or_else(|| "–".to_owned(), duration)
}

#[cfg(test)]
mod tests {
    use wsplice::{
        ErrorKind, Observer, Pool, TunnelInfo,
        health::HealthControl,
        pool::OnUpstreamLoss,
        tunnel::reattach::{Loss, ReattachRefusal, UpstreamChange},
    };

    use super::*;
    use crate::collect::{Sources, counters_row};

    #[test]
    fn reattachments_and_moves_are_shown_for_their_upstream_and_in_total() {
        let pool = Pool::new(["ws://10.0.0.1:8080"]).unwrap().build();
        let mut sources = Sources::default();
        sources.add_pool("chat".to_owned(), pool);
        let search = crate::search::Search::default();
        let before = page(&sources.document(&search), false).into_string();
        assert!(!before.contains("Upstream changed"), "{before}");
        let tunnel = TunnelInfo::new("10.0.0.1:8080", "/");
        for (loss, times) in [(Loss::Moved, 3), (Loss::PongTimeout, 2)] {
            let change = UpstreamChange::new("10.0.0.1:8080", "10.0.0.2:8080", loss);
            for _ in 0..times {
                sources.ends.tunnel_reattached(&tunnel, &change);
            }
        }
        let refusal = ReattachRefusal::Timeout;
        sources
            .ends
            .reattachment_failed(&tunnel, Loss::Moved, refusal);
        let page = page(&sources.document(&search), false).into_string();
        let text = page.replace("<small>", "").replace("</small>", "");
        for part in [
            "<dd>5 3 moved 1 failed</dd>",
            "0 2 reattached elsewhere 3 moved away",
        ] {
            assert!(text.contains(part), "{part} is missing in {text}");
        }
    }

    #[test]
    fn a_drained_upstream_is_no_alarm_and_an_unhealthy_one_is() {
        let pool = Pool::new(["ws://10.0.0.1:8080"]).unwrap().build();
        let mut sources = Sources::default();
        sources.add_pool("chat".to_owned(), pool.clone());
        let alarm = || {
            let document = sources.document(&crate::search::Search::default());
            let page = page(&document, false).into_string();
            page.contains("<div class=\"bad\"><dt>Upstreams in use")
        };
        assert!(!alarm());
        pool.drain("10.0.0.1:8080", OnUpstreamLoss::Leave);
        assert!(!alarm());
        pool.resume("10.0.0.1:8080");
        pool.control_health("10.0.0.1:8080", HealthControl::ForcedUnhealthy);
        assert!(alarm());
    }

    #[test]
    fn failures_and_refusals_of_an_upstream_are_counted_by_kind() {
        let pool = Pool::new(["ws://10.0.0.1:8080"]).unwrap().build();
        let mut sources = Sources::default();
        sources.add_pool("chat".to_owned(), pool.clone());
        let mut document = sources.document(&crate::search::Search::default());
        let mut counters = pool.snapshot()[0].counters.clone();
        counters.attempts = 1_204;
        counters.failures = vec![(ErrorKind::ConnectTimeout, 2), (ErrorKind::Connect, 1)];
        counters.refusals = 3;
        counters.ejections = 1;
        document.pools[0].upstreams[0].counters = counters_row(&counters);

        let page = page(&document, false).into_string();
        let text = page.replace("<small>", "").replace("</small>", "");
        let cells = [
            format!("<td class=\"number\">{}</td>", count(1_204)),
            "6 2 connect timeout 1 connect 3 refused unhealthy 1 time<".to_owned(),
        ];
        for part in cells {
            assert!(text.contains(&part), "{part} is missing in {text}");
        }
    }
}

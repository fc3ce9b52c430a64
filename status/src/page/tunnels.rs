//! Open tunnels.

use maud::{Markup, html};

use crate::{
    document::{LegRow, TunnelRow, Tunnels},
    format::{bytes, count, duration},
};

use super::parts::{optional, table};

pub(super) fn tunnels_section(tunnels: &Tunnels, has_actions: bool) -> Markup {
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

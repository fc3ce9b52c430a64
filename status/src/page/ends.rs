//! Tunnels that ended last.

use maud::{Markup, html};

use crate::{
    document::{EndRow, Ends},
    format::{count, duration},
};

use super::parts::table;

pub(super) fn ends_section(ends: &Ends) -> Markup {
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

//! The page, as HTML. The template engine escapes all text.

mod ends;
mod parts;
mod pools;
mod tunnels;

use maud::{DOCTYPE, Markup, html};

use crate::{
    document::{Document, Reattachments},
    format::count,
};

use self::{ends::ends_section, pools::pool_section, tunnels::tunnels_section};

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

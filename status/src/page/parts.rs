//! Parts that several sections have.

use maud::{Markup, html};

use crate::format::{count, duration};

/// A table that scrolls within itself where it is wider than the window, also by keyboard.
pub(super) fn table(label: &str, rows: &Markup) -> Markup {
    html! {
        div .scroll role="region" aria-label=(label) tabindex="0" { table { (rows) } }
    }
}

pub(super) fn counted(number: u64, one: &str, many: &str) -> String {
    format!("{} {}", count(number), if number == 1 { one } else { many })
}

pub(super) fn optional(seconds: Option<f64>) -> String {
    seconds.map_or_else(|| "–".to_owned(), duration)
}

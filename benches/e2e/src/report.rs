//! The tables of a result, and its goals.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
    fs,
    path::Path,
};

use serde_json::Value;

use crate::error::Result;

use goals::{
    Bound, GATEWAY_GOALS, GOALS, Goal, JUDGED, SCRAPED, SCRAPED_GOALS, TLS_GOALS, TLS_JUDGED,
};
use names::FLOOR;
use tables::{Column, Shows, TABLES, Table};

mod goals;
mod names;
mod tables;

/// Prints the tables of a result that was written before.
pub fn reprint(json: &Path) -> Result<()> {
    let result = serde_json::from_slice(&fs::read(json)?)?;
    println!("{}", markdown(&result));
    Ok(())
}

pub fn markdown(result: &Value) -> String {
    let samples = Samples::of(result);
    let mut text = String::new();
    for table in TABLES {
        samples.table(table, &mut text);
    }
    for ours in JUDGED {
        samples.goals(ours, GOALS, &mut text);
    }
    for ours in TLS_JUDGED {
        samples.goals(ours, TLS_GOALS, &mut text);
    }
    samples.goals(SCRAPED, SCRAPED_GOALS, &mut text);
    let gateways = result["about"]["gateways"].as_array();
    for gateway in gateways.into_iter().flatten().filter_map(Value::as_str) {
        samples.goals(gateway, GATEWAY_GOALS, &mut text);
    }
    let failures = result["samples"].as_array().into_iter().flatten();
    for failure in failures.filter(|sample| sample.get("error").is_some()) {
        let _ = writeln!(text, "\nFailed: {failure}");
    }
    text
}

/// Figures by scenario, subject, and round.
struct Samples {
    figures: BTreeMap<(String, String, u64), Value>,
    subjects: Vec<String>,
}

impl Samples {
    fn of(result: &Value) -> Self {
        let mut figures = BTreeMap::new();
        let mut names = BTreeSet::new();
        for sample in result["samples"].as_array().into_iter().flatten() {
            let text = |key: &str| sample[key].as_str().unwrap_or_default().to_owned();
            let round = sample["round"].as_u64().unwrap_or_default();
            names.insert(text("subject"));
            let key = (text("scenario"), text("subject"), round);
            figures.insert(key, sample["figures"].clone());
        }
        let mut subjects: Vec<_> = names.into_iter().collect();
        subjects.sort_by_key(|name| (name != FLOOR, name != "raw-copy", !name.starts_with("wsp")));
        Self { figures, subjects }
    }

    fn get(&self, scenario: &str, subject: &str, round: u64, figure: &str) -> Option<f64> {
        let key = (scenario.to_owned(), subject.to_owned(), round);
        self.figures.get(&key)?[figure].as_f64()
    }

    fn all(&self, scenario: &str, subject: &str, figure: &str) -> Vec<f64> {
        let get = |round| self.get(scenario, subject, round, figure);
        (0..64).filter_map(get).collect()
    }

    fn ratios(&self, scenario: &str, figure: &str, subject: &str, over: &str) -> Vec<f64> {
        let ratio = |round| {
            let of = |subject| self.get(scenario, subject, round, figure);
            Some(of(subject)? / of(over)?)
        };
        (0..64).filter_map(ratio).collect()
    }

    fn table(&self, table: &Table, text: &mut String) {
        let titles: Vec<_> = table.columns.iter().map(|column| column.title).collect();
        let _ = writeln!(text, "\n### {}\n", table.heading);
        let _ = writeln!(text, "| | {} |", titles.join(" | "));
        let _ = writeln!(text, "|---{}|", "|---".repeat(titles.len()));
        for subject in &self.subjects {
            let cells = table.columns.iter().map(|column| {
                let Column {
                    scenario, figure, ..
                } = *column;
                match table.shows {
                    Shows::Over(over) if subject == over => {
                        let figures = self.all(scenario, subject, figure);
                        format!("1 = {}", spread(figures))
                    }
                    Shows::Over(over) => spread(self.ratios(scenario, figure, subject, over)),
                    Shows::Figures => spread(self.all(scenario, subject, figure)),
                }
            });
            let cells: Vec<_> = cells.collect();
            if cells.iter().any(|cell| cell != "–") {
                let _ = writeln!(text, "| {subject} | {} |", cells.join(" | "));
            }
        }
    }

    fn goals(&self, ours: &str, goals: &[Goal], text: &mut String) {
        let mut rows = String::new();
        for goal in goals {
            let figures = match goal.over {
                Some(over) => self.ratios(goal.scenario, goal.figure, ours, over),
                None => self.all(goal.scenario, ours, goal.figure),
            };
            let Some(median) = median(figures.clone()) else {
                continue;
            };
            let (bound, text_of_bound, holds) = match goal.bound {
                Bound::AtMost(bound) => (bound, format!("≤ {bound}"), median <= bound),
                Bound::AtLeast(bound) => (bound, format!("≥ {bound}"), median >= bound),
            };
            let least = figures.iter().copied().fold(f64::INFINITY, f64::min);
            let greatest = figures.iter().copied().fold(0.0, f64::max);
            // Rounds on both sides of the bound decide nothing.
            let verdict = match (holds, least < bound && bound < greatest) {
                (true, false) => "holds",
                (false, false) => "**missed**",
                (true, true) => "median holds, spread does not",
                (false, true) => "median misses, spread does not",
            };
            let spread = spread(figures);
            let _ = writeln!(
                rows,
                "| {} | {text_of_bound} | {spread} | {verdict} |",
                goal.what
            );
        }
        if rows.is_empty() {
            return;
        }
        let _ = writeln!(text, "\n### Goals ({ours})\n");
        let _ = writeln!(text, "| | goal | median (spread) | |\n|---|---|---|---|");
        text.push_str(&rows);
    }
}

/// The median, with the least and the greatest beside it.
fn spread(mut figures: Vec<f64>) -> String {
    figures.sort_by(f64::total_cmp);
    match (figures.as_slice(), median(figures.clone())) {
        ([only], _) => rounded(*only),
        ([least, .., greatest], Some(median)) => format!(
            "{} ({}–{})",
            rounded(median),
            rounded(*least),
            rounded(*greatest)
        ),
        _ => "–".to_owned(),
    }
}

fn median(mut figures: Vec<f64>) -> Option<f64> {
    figures.sort_by(f64::total_cmp);
    let middle = figures.len() / 2;
    match figures.len() % 2 {
        1 => figures.get(middle).copied(),
        _ => Some((figures.get(middle.checked_sub(1)?)? + figures.get(middle)?) / 2.0),
    }
}

fn rounded(figure: f64) -> String {
    if figure.abs() >= 100.0 {
        format!("{figure:.0}")
    } else if figure.abs() >= 10.0 {
        format!("{figure:.1}")
    } else {
        format!("{figure:.2}")
    }
}

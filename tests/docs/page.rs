//! A page in Markdown: its headings, links and code.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// A page, with its lines outside and inside of fences.
pub(super) struct Page {
    pub(super) file: PathBuf,
    prose: Vec<String>,
    /// The words behind the opening fences: `rust,no_run`.
    languages: Vec<String>,
}

impl Page {
    /// Reads a page. A file that is not Markdown has no headings.
    pub(super) fn read(file: &Path) -> Self {
        let text = match file.extension().is_some_and(|it| it == "md") {
            true => fs::read_to_string(file).unwrap(),
            false => String::new(),
        };
        let mut page = Self {
            file: file.to_owned(),
            prose: Vec::new(),
            languages: Vec::new(),
        };
        let mut is_fenced = false;
        for line in text.lines() {
            match line.trim_start().strip_prefix("```") {
                Some(language) => {
                    is_fenced = !is_fenced;
                    if is_fenced {
                        page.languages.push(language.trim().to_owned());
                    }
                }
                None if !is_fenced => page.prose.push(line.to_owned()),
                None => {}
            }
        }
        page
    }

    /// Returns the links to files of the repository and to headings, as they are written.
    pub(super) fn links(&self) -> BTreeSet<String> {
        let prose = self.prose.join("\n");
        let targets = without_code(&prose)
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split_once(')'))
            .map(|(target, _)| target.to_owned())
            .collect::<BTreeSet<_>>();
        let is_local = |target: &String| !target.contains("://") && !target.starts_with("mailto:");
        targets.into_iter().filter(is_local).collect()
    }

    /// Returns the anchors that GitHub makes of the headings.
    pub(super) fn anchors(&self) -> BTreeSet<String> {
        let headings = self.prose.iter().filter(|line| line.starts_with('#'));
        headings
            .map(|line| anchor(line.trim_start_matches('#').trim()))
            .collect()
    }

    /// Returns the texts in backticks.
    pub(super) fn code(&self) -> Vec<String> {
        let prose = self.prose.join("\n");
        prose
            .split('`')
            .skip(1)
            .step_by(2)
            .map(str::to_owned)
            .collect()
    }

    /// Returns the tables: their rows, the head first and without the line below it, as cells.
    pub(super) fn tables(&self) -> Vec<Vec<Vec<String>>> {
        let mut tables = Vec::new();
        let mut is_in_table = false;
        for line in &self.prose {
            let row = line.strip_prefix('|').and_then(|it| it.strip_suffix('|'));
            let Some(row) = row else {
                is_in_table = false;
                continue;
            };
            if !is_in_table {
                tables.push(Vec::new());
                is_in_table = true;
            }
            let is_rule = row.bytes().all(|b| matches!(b, b'-' | b':' | b'|' | b' '));
            if let (false, Some(table)) = (is_rule, tables.last_mut()) {
                let cells = row.split('|').map(|cell| cell.trim().to_owned());
                table.push(cells.collect::<Vec<_>>());
            }
        }
        tables
    }

    /// Whether the page has Rust that documentation tests compile.
    pub(super) fn has_examples(&self) -> bool {
        let is_rust = |language: &String| {
            let mut words = language.split(',');
            words.next() == Some("rust") && !words.any(|word| word == "ignore")
        };
        self.languages.iter().any(is_rust)
    }
}

/// Returns the text without what is in backticks, where brackets are not links.
fn without_code(text: &str) -> String {
    let mut parts = text.split('`');
    let mut kept = parts.next().unwrap_or_default().to_owned();
    while let Some(_code) = parts.next() {
        kept.push_str(parts.next().unwrap_or_default());
    }
    kept
}

/// Returns the anchor of a heading: in lower case, without punctuation, and with hyphens for spaces.
fn anchor(heading: &str) -> String {
    let kept = |c: char| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_');
    let text = heading.to_lowercase();
    text.chars()
        .filter(|c| kept(*c))
        .map(|c| if c == ' ' { '-' } else { c })
        .collect()
}

#[test]
fn anchors_are_those_of_github() {
    assert_eq!(
        anchor("One request's own settings"),
        "one-requests-own-settings"
    );
    assert_eq!(
        anchor("Other servers, and HTTP/3"),
        "other-servers-and-http3"
    );
    assert_eq!(anchor("I see 1006"), "i-see-1006");
}

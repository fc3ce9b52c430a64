//! The tables of ARCHITECTURE.md that the laws are read from.

use std::{fs, path::Path};

/// The orders of imports that ARCHITECTURE.md gives.
#[derive(Debug)]
pub(super) struct Page {
    /// The wings and the single files of `src/`.
    pub(super) wings: Vec<String>,
    /// For each wing, its folders and files.
    pub(super) children: Vec<(String, Vec<String>)>,
}

impl Page {
    pub(super) fn of(root: &Path) -> Self {
        Self::parse(&fs::read_to_string(root.join("ARCHITECTURE.md")).unwrap())
    }

    fn parse(text: &str) -> Self {
        let wings = table(text, "| module |").map(|(first, _)| first);
        let children = table(text, "| wing |").map(|(first, second)| {
            let names = second.split('`').skip(1).step_by(2);
            (first, names.map(name).collect())
        });
        Self {
            wings: wings.collect(),
            children: children.collect(),
        }
    }

    pub(super) fn wing_rank(&self, wing: &str) -> Option<usize> {
        self.wings.iter().position(|name| name == wing)
    }

    /// The place of a child in the order of its wing.
    pub(super) fn child_rank(&self, wing: &str, child: &str) -> Option<usize> {
        let (_, children) = self.children.iter().find(|(name, _)| name == wing)?;
        children.iter().position(|name| name == child)
    }
}

/// The name in the first column of a table, and the text of its second, row by row.
fn table<'a>(text: &'a str, head: &'a str) -> impl Iterator<Item = (String, &'a str)> {
    let lines = text.lines().skip_while(move |line| !line.starts_with(head));
    let rows = lines.skip(2).take_while(|line| line.starts_with('|'));
    rows.filter_map(|row| {
        let (first, second) = row.strip_prefix("| `")?.split_once("` | ")?;
        Some((name(first), second))
    })
}

fn name(file: &str) -> String {
    file.trim_end_matches(".rs")
        .trim_end_matches('/')
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_tables_are_read() {
        let text = "
| module | contents | |
|---|---|---|
| `error.rs` | `Error` | |
| `net/` | byte streams | |

| wing | children, in import order |
|---|---|
| `net/` | `transport/`, `connect/`, `alpn.rs` |

| line | the place |
|---|---|
| `other` | row |
";
        let page = Page::parse(text);
        assert_eq!(page.wings, ["error", "net"]);
        assert_eq!(page.wing_rank("net"), Some(1));
        assert_eq!(page.child_rank("net", "alpn"), Some(2));
        assert_eq!(page.child_rank("net", "other"), None);
        assert_eq!(page.children.len(), 1);
    }
}

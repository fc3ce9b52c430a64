//! The pages of documentation, held to the repository: links, anchors, indexes, and the names of
//! tests, methods and examples in them.
//!
//! A binary of its own: it uses nothing of the crate, so it is compiled in a second.
// Clippy's "allow in tests" covers `#[test]` functions only.
#![allow(clippy::unwrap_used, clippy::panic)]

mod page;

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use self::page::Page;

/// Folders that have no pages, or pages that others wrote.
const LEFT_OUT: [&str; 4] = ["target", "node_modules", ".git", "artifacts"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Returns the files below a folder of the repository that have this extension.
fn files(folder: &str, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if path.is_dir() && !LEFT_OUT.contains(&&*name) {
                folders.push(path);
            } else if path.extension().is_some_and(|it| it == extension) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// Returns the text of all sources below the folders.
fn sources(folders: &[&str]) -> String {
    let files = folders.iter().flat_map(|folder| files(folder, "rs"));
    files
        .map(|file| fs::read_to_string(file).unwrap())
        .collect()
}

fn pages() -> Vec<Page> {
    let pages: Vec<_> = files("", "md")
        .iter()
        .map(|file| Page::read(file))
        .collect();
    assert!(pages.len() > 20, "found {} pages", pages.len());
    pages
}

fn page(path: &str) -> Page {
    Page::read(&root().join(path))
}

/// Returns the file names in a folder of the repository with this extension.
fn names(folder: &str, extension: &str) -> Vec<String> {
    let entries = fs::read_dir(root().join(folder)).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let paths = paths.filter(|path| path.extension().is_some_and(|it| it == extension));
    let mut names: Vec<_> = paths
        .map(|path| path.file_name().unwrap().to_str().unwrap().to_owned())
        .collect();
    names.sort();
    names
}

fn no_offences(offences: &BTreeSet<String>) {
    assert!(offences.is_empty(), "{offences:#?}");
}

#[test]
fn links_lead_to_files_and_headings() {
    let mut offences = BTreeSet::new();
    for page in pages() {
        for link in page.links() {
            let (target, anchor) = link.split_once('#').unwrap_or((&link, ""));
            let file = match target {
                "" => page.file.clone(),
                _ => page.file.parent().unwrap().join(target),
            };
            let is_found = file.exists()
                && (anchor.is_empty() || Page::read(&file).anchors().contains(anchor));
            if !is_found {
                offences.insert(format!("{}: {link}", page.file.display()));
            }
        }
    }
    no_offences(&offences);
}

#[test]
fn every_guide_is_in_the_index() {
    let index = page("docs/README.md").links();
    let guides = names("docs", "md").into_iter();
    let missing = guides.filter(|name| name != "README.md" && !index.contains(name));
    no_offences(&missing.collect());
}

/// Every example of a guide is compiled, by the documentation tests of the package that includes it.
#[test]
fn every_guide_with_examples_is_compiled() {
    let included = sources(&["src", "prometheus/src", "status/src"]);
    let guides = names("docs", "md").into_iter();
    let guides = guides.filter(|name| page(&format!("docs/{name}")).has_examples());
    let missing: BTreeSet<_> = guides
        .filter(|name| !included.contains(&format!("docs/{name}\"")))
        .collect();
    no_offences(&missing);
}

#[test]
fn every_example_is_in_the_index_and_says_how_to_try_it() {
    let index = page("examples/README.md").links();
    let mut offences = BTreeSet::new();
    for name in names("examples", "rs") {
        let text = fs::read_to_string(root().join("examples").join(&name)).unwrap();
        let head: String = text
            .lines()
            .take_while(|line| line.starts_with("//!"))
            .collect();
        let run = format!("cargo run --example {}", name.trim_end_matches(".rs"));
        if !head.contains(&run) {
            offences.insert(format!("{name} does not begin with `{run}`"));
        }
        if !index.contains(&name) {
            offences.insert(format!("{name} is not in examples/README.md"));
        }
    }
    no_offences(&offences);
}

/// Returns the source of a file that the threat model names: `it/logs` is `tests/it/logs.rs`.
fn threat_model_source(place: &str) -> Option<String> {
    let is_package = ["src/", "status/", "prometheus/", "gateway/"]
        .iter()
        .any(|folder| place.starts_with(folder));
    let place = if is_package {
        place.to_owned()
    } else {
        format!("tests/{place}")
    };
    [format!("{place}.rs"), format!("{place}/mod.rs")]
        .iter()
        .find_map(|file| fs::read_to_string(root().join(file)).ok())
}

/// Tests are named by sentences: words in lower case, at least three, joined by underscores.
fn is_test(name: &str) -> bool {
    let is_word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
    name.bytes().all(is_word) && name.matches('_').count() >= 3
}

/// Each defense has a test in its row, behind the name of the test's file: `` `it/logs`: `name` ``.
#[test]
fn tests_that_the_threat_model_names_are_in_their_files() {
    let mut offences = BTreeSet::new();
    let mut count = 0;
    let tables = page("docs/threat-model.md").tables();
    let tables = tables
        .iter()
        .filter(|rows| rows[0].last().is_some_and(|head| head == "test"));
    for row in tables.flat_map(|rows| &rows[1..]) {
        let tests = row.last().unwrap();
        if tests.is_empty() {
            offences.insert(format!("{}: no test", row[0]));
        }
        let mut source = String::new();
        for code in tests.split('`').skip(1).step_by(2) {
            if is_test(code) {
                count += 1;
                if !source.contains(&format!("fn {code}(")) {
                    offences.insert(format!("{}: {code} is not in the file before it", row[0]));
                }
            } else if let Some(text) = threat_model_source(code) {
                source = text;
            } else if root().join(code).exists() {
                source.clear();
            } else {
                offences.insert(format!("{}: there is no {code}", row[0]));
            }
        }
    }
    assert!(count > 40, "found {count} names");
    no_offences(&offences);
}

/// Crates with types in the public API, as `cargo public-api` lists it.
///
/// A path begins with its crate: `http::header::map::HeaderMap`.
fn foreign_crates(api: &str) -> BTreeSet<String> {
    // The last is in `u16::from`; a method of another primitive type would be the next.
    const NOT_FOREIGN: [&str; 5] = ["wsplice", "alloc", "core", "std", "u16"];
    let is_in_paths = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let paths = api.split(|c: char| !is_in_paths(c));
    let paths = paths.filter(|path| !path.contains("::__private"));
    let crates = paths.filter_map(|path| path.split_once("::"));
    let crates = crates.map(|(name, _)| name).filter(|name| {
        name.starts_with(|c: char| c.is_ascii_lowercase()) && !NOT_FOREIGN.contains(name)
    });
    crates.map(str::to_owned).collect()
}

/// A new major version of these is a breaking change, so that none gets into the API by accident.
#[test]
fn crates_with_types_in_the_public_api_are_those_of_the_table() {
    let api = fs::read_to_string(root().join(".ci/public-api.txt")).unwrap();
    let tables = page("CONTRIBUTING.md").tables();
    let table = tables
        .iter()
        .find(|rows| rows[0][0] == "crate of public types");
    let rows = &table.expect("there is a table of crates")[1..];
    let listed: BTreeSet<_> = rows.iter().map(|row| row[0].replace('`', "")).collect();
    assert_eq!(listed, foreign_crates(&api));
}

/// Returns the names that a source declares: functions, constants, fields and variants, each at the begin
/// of its line.
fn declared_names(source: &str) -> BTreeSet<&str> {
    let names = source.lines().map(|line| {
        let mut rest = line.trim_start();
        for word in [
            "pub ",
            "pub(crate) ",
            "pub(super) ",
            "const ",
            "async ",
            "fn ",
        ] {
            rest = rest.strip_prefix(word).unwrap_or(rest);
        }
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        &rest[..end.unwrap_or(rest.len())]
    });
    names.collect()
}

/// `Type::member` in a page is a function, a constant, a field or a variant of the sources.
#[test]
fn members_that_pages_name_exist() {
    const FOREIGN: [&str; 5] = [
        "LoadBalancingStrategy",
        "Router",
        "ServerConfig",
        "TcpListener",
        "TcpSocket",
    ];
    let sources = sources(&["src", "prometheus/src", "status/src"]);
    let declared = declared_names(&sources);
    let mut offences = BTreeSet::new();
    for name in names("docs", "md") {
        for code in page(&format!("docs/{name}")).code() {
            let Some((owner, member)) = code.split_once("::") else {
                continue;
            };
            let is_type = owner.starts_with(|c: char| c.is_ascii_uppercase());
            let end = member.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
            let member = &member[..end.unwrap_or(member.len())];
            if is_type && !FOREIGN.contains(&owner) && !declared.contains(member) {
                offences.insert(format!("docs/{name}: {code}"));
            }
        }
    }
    no_offences(&offences);
}

/// A row of "Where does this line go?" that names an item, as `` `item` in `folder/file` ``, is true.
#[test]
fn items_that_the_map_names_are_in_their_files() {
    let map = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let rows = map.split("## Where does this line go?").nth(1).unwrap();
    let rows = rows.split("\n## ").next().unwrap();
    // Text and code take turns.
    let parts: Vec<_> = rows.split('`').collect();
    let mut offences = BTreeSet::new();
    let mut count = 0;
    for at in (3..parts.len()).step_by(2) {
        let is_place = parts[at - 1] == " in " && parts[at].contains('/');
        if !is_place {
            continue;
        }
        let place = parts[at];
        let files = [format!("src/{place}.rs"), format!("src/{place}/mod.rs")];
        let text = files
            .iter()
            .find_map(|file| fs::read_to_string(root().join(file)).ok())
            .unwrap_or_default();
        let words: BTreeSet<_> = text
            .split(|c: char| !c.is_alphanumeric() && c != '_')
            .collect();
        let mut items = vec![parts[at - 2]];
        if at >= 5 && parts[at - 3] == " and " && !parts[at - 4].contains('/') {
            items.push(parts[at - 4]);
        }
        for item in items {
            count += 1;
            let name = item.rsplit("::").next().unwrap_or_default();
            if !words.contains(name) {
                offences.insert(format!("{item} in {place}"));
            }
        }
    }
    assert!(count > 10, "found {count} items");
    no_offences(&offences);
}

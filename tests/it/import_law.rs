//! The layering that ARCHITECTURE.md describes, read off the sources.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// The wings and the single files of the root in import order: each imports only from those before it.
const ORDER: [&str; 13] = [
    "error",
    "instant",
    "hash",
    "token_bucket",
    "task",
    "frame",
    "net",
    "http",
    "tunnel",
    "upstream",
    "observe",
    "pool",
    "proxy",
];

/// Imports against the order that are still to be cut.
const TO_BE_CUT: [&str; 2] = [
    "tunnel/config.rs imports observe",
    "tunnel/registry.rs imports upstream",
];

/// Paths without io, without a clock and without anything asynchronous.
const PURE: [&str; 6] = [
    "frame/",
    "hash.rs",
    "http/headers/",
    "http/head/",
    "http/matcher/",
    "http/upgrade/",
];

/// A file of `src/`, without its tests and comments.
struct Source {
    path: PathBuf,
    module: String,
    code: String,
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut sources = Vec::new();
    collect(&root, &root, &mut sources);
    sources.retain(|source: &Source| source.module != "lib");
    assert!(sources.len() > ORDER.len(), "found {}", sources.len());
    sources
}

fn collect(root: &Path, dir: &Path, sources: &mut Vec<Source>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap();
        if ["tests", "testing"].contains(&name) {
            continue;
        }
        if path.is_dir() {
            collect(root, &path, sources);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let path = path.strip_prefix(root).unwrap().to_owned();
            let first = path.iter().next().unwrap().to_str().unwrap();
            let module = first.trim_end_matches(".rs").to_owned();
            let code = without_tests_and_comments(&fs::read_to_string(root.join(&path)).unwrap());
            sources.push(Source { path, module, code });
        }
    }
}

fn without_tests_and_comments(text: &str) -> String {
    let end = text.find("#[cfg(test)]\nmod tests {").unwrap_or(text.len());
    let lines = text[..end].lines();
    lines
        .map(|line| line.split_once("//").map_or(line, |(code, _)| code))
        .fold(String::new(), |code, line| code + line + "\n")
}

/// The modules that stand behind `crate::`, alone or in the braces of a `use`.
fn imports(code: &str) -> BTreeSet<&str> {
    let mut found = BTreeSet::new();
    for (at, mark) in code.match_indices("crate::") {
        let rest = &code[at + mark.len()..];
        match rest.strip_prefix('{') {
            Some(list) => found.extend(first_names(list)),
            None => found.extend(name(rest)),
        }
    }
    found
}

/// The first names of the members of a brace list, up to the brace that ends it.
fn first_names(list: &str) -> Vec<&str> {
    let mut names = Vec::from_iter(name(list.trim_start()));
    let mut depth = 0;
    for (at, sign) in list.char_indices() {
        match sign {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => names.extend(name(list[at + 1..].trim_start())),
            _ => {}
        }
    }
    names
}

fn name(code: &str) -> Option<&str> {
    let end = code.find(|c: char| !c.is_alphanumeric() && c != '_')?;
    Some(&code[..end]).filter(|name| !name.is_empty())
}

fn rank(module: &str) -> Option<usize> {
    ORDER.iter().position(|name| *name == module)
}

#[test]
fn the_reader_of_imports_reads_every_form() {
    let code = "
        use crate::{
            a::{One, Two}, b::Three,
            c,
        };
        use crate::d::Four;
        fn f() -> crate::e::Five {}
    ";
    assert_eq!(imports(code), BTreeSet::from(["a", "b", "c", "d", "e"]));
}

#[test]
fn every_module_has_its_place_in_the_order() {
    for source in sources() {
        assert!(
            rank(&source.module).is_some(),
            "{} is new: give it a place here and in ARCHITECTURE.md",
            source.module
        );
    }
}

#[test]
fn modules_import_only_from_modules_before_them() {
    let mut offences = Vec::new();
    for source in sources() {
        for import in imports(&source.code) {
            if import != source.module && rank(import) >= rank(&source.module) {
                offences.push(format!("{} imports {import}", source.path.display()));
            }
            if rank(import).is_none() {
                offences.push(format!(
                    "{} imports {import} by the crate's root",
                    source.path.display()
                ));
            }
        }
    }
    offences.retain(|offence| !TO_BE_CUT.contains(&offence.as_str()));
    assert!(offences.is_empty(), "{offences:#?}");
}

#[test]
fn pure_modules_have_no_io_and_no_clock() {
    for source in sources() {
        if !PURE.iter().any(|path| source.path.starts_with(path)) {
            continue;
        }
        for mark in ["async ", "tokio", "Instant::now", "SystemTime::now"] {
            let path = source.path.display();
            assert!(!source.code.contains(mark), "{path} contains `{mark}`");
        }
    }
}

#[test]
fn tasks_are_spawned_in_one_place() {
    for source in sources() {
        let calls = source.code.replace("task::spawn(", "");
        let may = source.module == "task";
        let path = source.path.display();
        assert!(may || !calls.contains("spawn"), "{path} spawns");
    }
}

#[test]
fn the_architecture_page_has_the_same_order() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("ARCHITECTURE.md");
    let page = fs::read_to_string(page).unwrap();
    let rows: Vec<_> = page
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once('`'))
        .map(|(file, _)| file.trim_end_matches(".rs").trim_end_matches('/'))
        .collect();
    assert_eq!(rows, ORDER);
}

//! The laws of ARCHITECTURE.md on imports, held against the sources.
//!
//! `tokens` takes the comments, literals and tests out of a file, `reader` finds its imports,
//! `tree` leads each of them to the file that defines the item, and `page` reads the orders that
//! ARCHITECTURE.md gives.

mod page;
mod reader;
mod tokens;
mod tree;

use std::{collections::BTreeSet, path::PathBuf};

use self::{
    page::Page,
    tokens::starts_with,
    tree::{Edge, Module, ModulePath, Tree, circles},
};

/// Paths without io, without a clock and without anything asynchronous. Time is an argument.
const PURE: [&str; 43] = [
    "escaped.rs",
    "instant.rs",
    "hash.rs",
    "token_bucket.rs",
    "frame/",
    "net/connect/http2/pinging.rs",
    "http/headers/",
    "http/head/",
    "http/matcher/",
    "http/upgrade/",
    "http/handshake/agreement.rs",
    "http/handshake/deflate.rs",
    "http/handshake/encode.rs",
    "http/handshake/head_scan.rs",
    "http/handshake/client_response.rs",
    "http/handshake/upstream_request.rs",
    "http/forward/request.rs",
    "http/relay/clocks.rs",
    "http/relay/progress.rs",
    "http/relay/response_head.rs",
    "tunnel/close.rs",
    "tunnel/end/",
    "tunnel/keep_alive/",
    "tunnel/limits.rs",
    "tunnel/reattach/",
    "tunnel/track/",
    "upstream/discovery/dns/entry.rs",
    "upstream/discovery/dns/records.rs",
    "upstream/discovery/dns/refresh.rs",
    "upstream/discovery/poll_schedule.rs",
    "upstream/health/availability/",
    "upstream/health/doubt.rs",
    "upstream/health/ejection.rs",
    "upstream/health/event.rs",
    "upstream/health/event_origin.rs",
    "upstream/health/evidence.rs",
    "upstream/health/outlier.rs",
    "upstream/health/policy/",
    "upstream/health/probe/schedule.rs",
    "upstream/health/probe/times.rs",
    "upstream/health/event_filter.rs",
    "upstream/health/tracker.rs",
    "upstream/retry/",
];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn tree() -> Tree {
    let tree = Tree::of(&root().join("src"));
    assert!(tree.0.len() > 100, "found {} modules", tree.0.len());
    tree
}

fn page() -> Page {
    Page::of(&root())
}

fn no_offences(offences: &BTreeSet<String>) {
    assert!(offences.is_empty(), "{offences:#?}");
}

#[test]
fn every_file_has_its_place_in_the_order() {
    let page = page();
    let mut offences = BTreeSet::new();
    for (path, module) in &tree().0 {
        let placed = match path.as_slice() {
            [] => true,
            [wing] => page.wing_rank(wing).is_some(),
            [wing, child, ..] => page.child_rank(wing, child).is_some(),
        };
        if !placed {
            offences.insert(format!("{} is not in ARCHITECTURE.md", module.file));
        }
    }
    no_offences(&offences);
}

#[test]
fn every_place_in_the_order_has_its_file() {
    let page = page();
    let tree = tree();
    let mut offences = BTreeSet::new();
    let children = page.children.iter();
    let children = children.flat_map(|(wing, names)| names.iter().map(move |name| [wing, name]));
    let wings = page.wings.iter().map(|wing| vec![wing.clone()]);
    for path in wings.chain(children.map(|names| names.map(Clone::clone).to_vec())) {
        if !tree.0.contains_key(&path) {
            offences.insert(format!("{} is no module", path.join("/")));
        }
    }
    no_offences(&offences);
}

#[test]
fn wings_import_only_from_wings_before_them() {
    let page = page();
    let tree = tree();
    let offences = tree.edges().into_iter().filter_map(|edge| {
        let (from, to) = (edge.from.first()?, edge.to.first());
        let offends = to.is_none_or(|to| from != to && page.wing_rank(to) >= page.wing_rank(from));
        let offence = format!(
            "{} imports {}",
            file(&tree, &edge.from),
            to.map_or("lib", |to| to)
        );
        offends.then(|| format!("{offence} ({})", edge.place))
    });
    no_offences(&offences.collect());
}

#[test]
fn children_of_a_wing_import_only_from_children_before_them() {
    let page = page();
    let tree = tree();
    let offends = |edge: &Edge| match (edge.from.as_slice(), edge.to.as_slice()) {
        ([wing, from, ..], [same, to, ..]) if wing == same && from != to => {
            page.child_rank(wing, to) >= page.child_rank(wing, from)
        }
        _ => false,
    };
    let edges = tree.edges().into_iter().filter(offends).collect();
    no_offences(&one_each(&edges).map(|edge| imports(&tree, edge)).collect());
}

#[test]
fn no_files_import_each_other_around_a_circle() {
    no_offences(&imports_in_circles(&tree()));
}

#[test]
fn no_files_of_other_packages_import_each_other_around_a_circle() {
    for package in ["gateway", "status", "prometheus", "benches/e2e"] {
        let tree = Tree::of(&root().join(package).join("src"));
        assert!(tree.0.len() > 5, "{package} has {} modules", tree.0.len());
        no_offences(&imports_in_circles(&tree));
    }
}

fn imports_in_circles(tree: &Tree) -> BTreeSet<String> {
    let edges = tree.edges();
    let within = |circle: &BTreeSet<&ModulePath>, edge: &Edge| {
        circle.contains(&edge.from) && circle.contains(&edge.to)
    };
    let circles = circles(&edges).into_iter().map(|circle| {
        let edges = one_each(&edges).filter(|edge| within(&circle, edge));
        edges
            .map(|edge| imports(tree, edge))
            .collect::<Vec<_>>()
            .join("; ")
    });
    circles.collect()
}

#[test]
fn files_take_no_item_from_the_re_exports_around_them() {
    let tree = tree();
    let edges = tree.edges().into_iter().filter(|edge| edge.through_parent);
    no_offences(&edges.map(|edge| imports(&tree, &edge)).collect());
}

#[test]
fn folders_have_a_mod_rs_without_logic() {
    const LOGIC: [&str; 9] = [
        "fn",
        "struct",
        "enum",
        "trait",
        "impl",
        "const",
        "static",
        "type",
        "macro_rules",
    ];
    let logic = |module: &Module| {
        let mut tokens = module.tokens.iter();
        tokens
            .find(|token| LOGIC.iter().any(|word| token.is(word)))
            .cloned()
    };
    let offences = tree().0.into_values().filter_map(|module| {
        if module.file == "lib.rs" {
            return None;
        }
        if module.file.ends_with("mod.rs") {
            let token = logic(&module)?;
            return Some(format!(
                "{}:{} has a {}",
                module.file, token.line, token.text
            ));
        }
        let child = module.imports.modules.first()?;
        Some(format!(
            "{} has the child {child}: make it a mod.rs",
            module.file
        ))
    });
    no_offences(&offences.collect());
}

#[test]
fn pure_modules_have_no_io_and_no_clock() {
    const IMPURE: [&[&str]; 4] = [
        &["async"],
        &["tokio"],
        &["Instant", "::", "now"],
        &["SystemTime", "::", "now"],
    ];
    const TIME: [&str; 5] = ["tokio", "::", "time", "::", "Instant"];
    let tree = tree();
    for path in PURE {
        let mut files = tree.0.values().map(|module| &module.file);
        assert!(files.any(|file| file.starts_with(path)), "{path} is gone");
    }
    let mut offences = BTreeSet::new();
    let is_pure = |module: &&Module| PURE.iter().any(|path| module.file.starts_with(path));
    for module in tree.0.values().filter(is_pure) {
        for at in 0..module.tokens.len() {
            let rest = &module.tokens[at..];
            let mark = IMPURE.iter().find(|mark| starts_with(rest, mark));
            if let Some(mark) = mark.filter(|_| !starts_with(rest, &TIME)) {
                let line = module.tokens[at].line;
                offences.insert(format!("{}:{line} has {}", module.file, mark.concat()));
            }
        }
    }
    no_offences(&offences);
}

#[test]
fn tasks_are_spawned_in_one_place() {
    let mut offences = BTreeSet::new();
    for module in tree().0.values().filter(|module| module.file != "task.rs") {
        for (at, token) in module.tokens.iter().enumerate() {
            let before = &module.tokens[at.saturating_sub(2)..];
            if token.text.contains("spawn") && !starts_with(before, &["task", "::", "spawn"]) {
                offences.insert(format!("{}:{} spawns", module.file, token.line));
            }
        }
    }
    no_offences(&offences);
}

/// The first import of each file from each other file.
fn one_each(edges: &BTreeSet<Edge>) -> impl Iterator<Item = &Edge> {
    let pair = |edge: &Edge| (edge.from.clone(), edge.to.clone());
    let mut last = None;
    edges
        .iter()
        .filter(move |edge| last.replace(pair(edge)) != Some(pair(edge)))
}

fn imports(tree: &Tree, edge: &Edge) -> String {
    format!("{} leads to {}", edge.place, file(tree, &edge.to))
}

fn file<'a>(tree: &'a Tree, path: &ModulePath) -> &'a str {
    &tree.0[path].file
}

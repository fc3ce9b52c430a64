//! The modules of a crate, and the files that the paths in them lead to.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use super::{
    reader::{Imports, Use, read},
    tokens::{Token, tokens},
};

/// The names that lead to a module from the root of the crate: `["net", "connect"]`.
pub(super) type ModulePath = Vec<String>;

/// A module that has a file, and is compiled into more than tests.
#[derive(Debug)]
pub(super) struct Module {
    /// The path of the file in `src/`, with `/` between its parts.
    pub(super) file: String,
    pub(super) tokens: Vec<Token>,
    pub(super) imports: Imports,
}

/// All modules of a crate.
#[derive(Debug, Default)]
pub(super) struct Tree(pub(super) BTreeMap<ModulePath, Module>);

/// An import of one module's item by another module.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Edge {
    pub(super) from: ModulePath,
    /// The module that defines the item.
    pub(super) to: ModulePath,
    /// The importing line, as `file:line`, and the path that it has.
    pub(super) place: String,
    /// Whether the path takes the item from a re-export in a module around the importing one.
    pub(super) through_parent: bool,
}

impl Tree {
    /// Reads the crate whose `lib.rs` or `main.rs` is in this directory, by its `mod` items.
    pub(super) fn of(src: &Path) -> Self {
        let mut tree = Self::default();
        tree.add(
            &mut |file| fs::read_to_string(src.join(file)).ok(),
            Vec::new(),
        );
        tree
    }

    fn add(&mut self, source: &mut dyn FnMut(&str) -> Option<String>, path: ModulePath) {
        let [flat, folder] = match path.join("/") {
            root if root.is_empty() => ["lib.rs".to_owned(), "main.rs".to_owned()],
            names => [format!("{names}.rs"), format!("{names}/mod.rs")],
        };
        let (file, text) = source(&flat)
            .map(|text| (flat, text))
            .or_else(|| Some((folder.clone(), source(&folder)?)))
            .unwrap_or_else(|| panic!("no file for the module {}", path.join("::")));
        let tokens = tokens(&text);
        let imports = read(&tokens);
        for name in &imports.modules {
            self.add(source, child(&path, name));
        }
        let module = Module {
            file,
            tokens,
            imports,
        };
        self.0.insert(path, module);
    }

    /// Returns the imports of every module from other modules.
    pub(super) fn edges(&self) -> BTreeSet<Edge> {
        let mut edges = BTreeSet::new();
        for (from, module) in &self.0 {
            let uses = module.imports.uses.iter().map(|one| (&one.path, one.line));
            let paths = module.imports.paths.iter().map(|one| (&one.path, one.line));
            for (path, line) in uses.chain(paths) {
                let through_parent = self.leads_through_parent(from, path);
                for to in self.definitions(from, path) {
                    if to != *from {
                        let place = format!("{}:{line} {}", module.file, path.join("::"));
                        let from = from.clone();
                        edges.insert(Edge {
                            from,
                            to,
                            place,
                            through_parent,
                        });
                    }
                }
            }
        }
        edges
    }

    /// The modules that define the item of a path. A path to a module itself has none: it only
    /// gives a name to what follows.
    fn definitions(&self, from: &ModulePath, path: &[String]) -> BTreeSet<ModulePath> {
        let targets = self.resolve(from, path, &mut BTreeSet::new()).into_iter();
        targets
            .filter_map(|target| match target {
                Target::Item(module) => Some(module),
                Target::Module(_) => None,
            })
            .collect()
    }

    fn resolve(&self, from: &ModulePath, path: &[String], seen: &mut Seen) -> BTreeSet<Target> {
        if !seen.insert((from.clone(), path.to_vec())) {
            return BTreeSet::new();
        }
        match self.start(from, path) {
            Some((module, rest)) => self.walk(module, rest, seen),
            None => self.by_local_name(from, path, seen),
        }
    }

    /// The module that `crate`, `self`, `super` or a child's name leads to, and the rest.
    fn start<'a>(
        &self,
        from: &ModulePath,
        path: &'a [String],
    ) -> Option<(ModulePath, &'a [String])> {
        let first = path.first()?;
        match first.as_str() {
            "crate" => Some((Vec::new(), &path[1..])),
            "self" => Some((from.clone(), &path[1..])),
            "super" => {
                let supers = path.iter().take_while(|name| *name == "super").count();
                let module = from[..from.len().checked_sub(supers)?].to_vec();
                Some((module, &path[supers..]))
            }
            name => {
                let module = child(from, name);
                let exists = self.0.contains_key(&module);
                exists.then(|| (module, &path[1..]))
            }
        }
    }

    fn walk(
        &self,
        mut module: ModulePath,
        mut rest: &[String],
        seen: &mut Seen,
    ) -> BTreeSet<Target> {
        let mut targets = BTreeSet::new();
        while let Some((name, after)) = rest.split_first() {
            let renamed = self.by_local_name(&module, rest, seen);
            let below = child(&module, name);
            let ends = !self.0.contains_key(&below);
            if ends && renamed.is_empty() {
                targets.insert(Target::Item(module.clone()));
            }
            targets.extend(renamed);
            if ends {
                return targets;
            }
            (module, rest) = (below, after);
        }
        targets.insert(Target::Module(module));
        targets
    }

    /// Follows the `use` items of a module that give the first name of a path.
    fn by_local_name(
        &self,
        module: &ModulePath,
        path: &[String],
        seen: &mut Seen,
    ) -> BTreeSet<Target> {
        let mut targets = BTreeSet::new();
        for one in self.0.get(module).iter().flat_map(|it| &it.imports.uses) {
            if path.first() == Some(&one.name) && self.gives(module, one, path.len() > 1) {
                let whole = [&one.path, &path[1..]].concat();
                targets.extend(self.resolve(module, &whole, seen));
            }
        }
        targets
    }

    /// Whether a `use` item gives its name, and not the crate or the child module of that name.
    fn gives(&self, module: &ModulePath, one: &Use, goes_on: bool) -> bool {
        match self.start(module, &one.path) {
            // `use regex::regex` takes the item of another crate.
            None => one.path.first() != Some(&one.name),
            // `use path::path` takes a function, in which no path goes on.
            Some((start, rest)) => {
                let whole = [start, rest.to_vec()].concat();
                !(goes_on && whole.starts_with(&child(module, &one.name)))
            }
        }
    }

    /// Whether a path names an item that a module around the importing one only re-exports.
    fn leads_through_parent(&self, from: &ModulePath, path: &[String]) -> bool {
        let Some((mut module, mut rest)) = self.start(from, path) else {
            return false;
        };
        while let Some((name, after)) = rest.split_first() {
            let below = child(&module, name);
            if !self.0.contains_key(&below) {
                break;
            }
            (module, rest) = (below, after);
        }
        let around = from.len() > module.len() && from.starts_with(&module);
        around
            && !self
                .by_local_name(&module, rest, &mut BTreeSet::new())
                .is_empty()
    }
}

type Seen = BTreeSet<(ModulePath, Vec<String>)>;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Target {
    Module(ModulePath),
    Item(ModulePath),
}

fn child(module: &[String], name: &str) -> ModulePath {
    let name = [name.to_owned()];
    [module, &name].concat()
}

/// Returns the groups of modules that import each other, directly or around a circle.
pub(super) fn circles(edges: &BTreeSet<Edge>) -> Vec<BTreeSet<&ModulePath>> {
    let mut next: BTreeMap<&ModulePath, BTreeSet<&ModulePath>> = BTreeMap::new();
    for edge in edges {
        next.entry(&edge.from).or_default().insert(&edge.to);
    }
    let reach: BTreeMap<_, _> = next
        .keys()
        .map(|from| (*from, reached(from, &next)))
        .collect();
    let mut circles = Vec::new();
    for (from, reached) in &reach {
        let back = |to: &&ModulePath| reach.get(to).is_some_and(|there| there.contains(from));
        let circle: BTreeSet<_> = reached.iter().copied().filter(back).collect();
        if circle.len() > 1 && !circles.contains(&circle) {
            circles.push(circle);
        }
    }
    circles
}

fn reached<'a>(
    from: &'a ModulePath,
    next: &BTreeMap<&'a ModulePath, BTreeSet<&'a ModulePath>>,
) -> BTreeSet<&'a ModulePath> {
    let mut reached = BTreeSet::new();
    let mut open = vec![from];
    while let Some(module) = open.pop() {
        for to in next.get(module).into_iter().flatten() {
            if reached.insert(*to) {
                open.push(to);
            }
        }
    }
    reached
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(files: &[(&str, &str)]) -> Tree {
        let mut tree = Tree::default();
        let mut source = |file: &str| {
            let found = files.iter().find(|(name, _)| *name == file);
            found.map(|(_, text)| (*text).to_owned())
        };
        tree.add(&mut source, Vec::new());
        tree
    }

    fn edges(files: &[(&str, &str)]) -> Vec<String> {
        let tree = tree(files);
        let name = |module: &ModulePath| tree.0[module].file.clone();
        let edges = tree.edges().into_iter();
        let texts = edges.map(|edge| {
            let mark = if edge.through_parent {
                " (through a parent)"
            } else {
                ""
            };
            format!("{} -> {}{mark}", name(&edge.from), name(&edge.to))
        });
        BTreeSet::from_iter(texts).into_iter().collect()
    }

    #[test]
    fn re_exports_are_followed_to_the_file_that_defines_the_item() {
        let files = [
            ("lib.rs", "mod a; mod b; mod c;"),
            ("a/mod.rs", "mod d; pub(crate) use d::Item as Renamed;"),
            ("a/d.rs", "pub(crate) struct Item;"),
            ("b.rs", "use crate::a::Renamed;"),
            ("c.rs", "fn f() { super::a::Renamed::new() }"),
        ];
        let expected = ["a/mod.rs -> a/d.rs", "b.rs -> a/d.rs", "c.rs -> a/d.rs"];
        assert_eq!(edges(&files), expected);
    }

    #[test]
    fn imported_modules_are_followed_through_their_local_name() {
        let files = [
            ("lib.rs", "mod a; mod b;"),
            ("a/mod.rs", "pub(crate) mod c;"),
            ("a/c.rs", "pub(crate) fn f() {}"),
            ("b.rs", "use crate::a::c as d; fn g() { d::f() }"),
        ];
        assert_eq!(edges(&files), ["b.rs -> a/c.rs"]);
    }

    #[test]
    fn variants_of_a_feature_are_both_followed() {
        let files = [
            (
                "lib.rs",
                "#[cfg(feature = \"x\")] mod a; #[cfg(not(feature = \"x\"))] mod no_a;
                #[cfg(not(feature = \"x\"))] use no_a as a; mod b;",
            ),
            ("a.rs", "pub(crate) struct Item;"),
            ("no_a.rs", "pub(crate) struct Item;"),
            ("b.rs", "use super::a::Item;"),
        ];
        assert_eq!(edges(&files), ["b.rs -> a.rs", "b.rs -> no_a.rs"]);
    }

    #[test]
    fn an_item_by_the_re_export_of_a_parent_is_marked() {
        let files = [
            ("lib.rs", "mod a;"),
            ("a/mod.rs", "mod b; mod c; mod d; pub(crate) use b::Item;"),
            ("a/b.rs", "pub(crate) struct Item;"),
            ("a/c.rs", "use super::Item;"),
            ("a/d.rs", "use super::b::Item;"),
        ];
        let expected = [
            "a/c.rs -> a/b.rs (through a parent)",
            "a/d.rs -> a/b.rs",
            "a/mod.rs -> a/b.rs",
        ];
        assert_eq!(edges(&files), expected);
    }

    #[test]
    fn names_of_other_crates_lead_nowhere() {
        let files = [
            ("lib.rs", "mod http; mod a;"),
            ("http.rs", ""),
            (
                "a.rs",
                "use http::Request; use std::fmt; use ::http::Method; fn f() { T::new() }",
            ),
        ];
        assert_eq!(edges(&files), [""; 0]);
    }

    #[test]
    fn circles_are_found_and_chains_are_not() {
        let files = [
            ("lib.rs", "mod a; mod b; mod c; mod d;"),
            ("a.rs", "use crate::b::B;"),
            ("b.rs", "use crate::c::C;"),
            ("c.rs", "use crate::{a::A, d::D};"),
            ("d.rs", ""),
        ];
        let names = ["a", "b", "c"].map(|name| vec![name.to_owned()]);
        assert_eq!(circles(&tree(&files).edges()), [names.iter().collect()]);
        let chain = [
            ("lib.rs", "mod a; mod d;"),
            ("a.rs", "use crate::d::D;"),
            ("d.rs", ""),
        ];
        assert!(circles(&tree(&chain).edges()).is_empty());
    }

    #[test]
    fn a_function_may_have_the_name_of_its_module() {
        let files = [
            ("lib.rs", "mod a; mod d;"),
            ("a/mod.rs", "mod b; pub use self::b::{b, C};"),
            ("a/b.rs", "pub fn b() {} pub struct C;"),
            ("d.rs", "use crate::a; fn e(_: a::C) { a::b(); a::b::C }"),
        ];
        assert_eq!(edges(&files), ["a/mod.rs -> a/b.rs", "d.rs -> a/b.rs"]);
    }
}

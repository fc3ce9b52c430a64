//! The imports of a source: its `mod` and `use` items, and the paths in its code.

use super::tokens::{Token, starts_with};

/// Everything in a source that names other modules.
#[derive(Debug, Default)]
pub(super) struct Imports {
    /// The names of `mod name;`.
    pub(super) modules: Vec<String>,
    pub(super) uses: Vec<Use>,
    pub(super) paths: Vec<CodePath>,
}

/// A leaf of a `use` tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Use {
    /// The name that the path has in this source; `*` for a glob.
    pub(super) name: String,
    pub(super) path: Vec<String>,
    pub(super) line: usize,
}

/// A path of two or more names outside of `use` items.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct CodePath {
    pub(super) path: Vec<String>,
    pub(super) line: usize,
}

/// Reads the imports off the tokens of a source.
pub(super) fn read(tokens: &[Token]) -> Imports {
    let mut reader = Reader {
        tokens,
        at: 0,
        open_braces: 0,
        inline_modules: Vec::new(),
        imports: Imports::default(),
    };
    while reader.at < tokens.len() {
        reader.step();
    }
    reader.imports
}

struct Reader<'a> {
    tokens: &'a [Token],
    at: usize,
    open_braces: usize,
    /// For each `mod name {` around the place: how many braces were open before it.
    inline_modules: Vec<usize>,
    imports: Imports,
}

impl Reader<'_> {
    fn step(&mut self) {
        let rest = &self.tokens[self.at..];
        if starts_with(rest, &["use"]) {
            self.at += 1;
            self.use_tree(&[]);
        } else if starts_with(rest, &["mod"]) && rest.len() > 2 {
            self.module();
        } else if rest[0].is("{") {
            self.open_braces += 1;
            self.at += 1;
        } else if rest[0].is("}") {
            self.open_braces = self.open_braces.saturating_sub(1);
            self.inline_modules.retain(|open| *open < self.open_braces);
            self.at += 1;
        } else if rest[0].is_word() {
            self.code_path();
        } else {
            self.at += 1;
        }
    }

    fn module(&mut self) {
        if self.tokens[self.at + 2].is(";") {
            let name = self.tokens[self.at + 1].text.clone();
            self.imports.modules.push(name);
        } else if self.tokens[self.at + 2].is("{") {
            self.inline_modules.push(self.open_braces);
        }
        self.at += 2;
    }

    fn code_path(&mut self) {
        let line = self.tokens[self.at].line;
        let goes_on = self.at > 0 && self.tokens[self.at - 1].is("::");
        let path = self.names();
        if path.len() > 1 && !goes_on {
            let path = self.out_of_inline_modules(path);
            self.imports.paths.push(CodePath { path, line });
        }
    }

    /// Reads `a::b::c`, up to the last name that another one follows or that ends it.
    fn names(&mut self) -> Vec<String> {
        let mut names = Vec::new();
        while self.peek().is_some_and(Token::is_word) {
            names.push(self.tokens[self.at].text.clone());
            self.at += 1;
            let more = self.tokens.get(self.at + 1).is_some_and(Token::is_word);
            if !more || !self.peek().is_some_and(|token| token.is("::")) {
                break;
            }
            self.at += 1;
        }
        names
    }

    fn use_tree(&mut self, prefix: &[String]) {
        let line = self.peek().map_or(0, |token| token.line);
        let mut path = prefix.to_vec();
        path.extend(self.names());
        if self.eat("::") {
            if self.eat("{") {
                return self.use_list(&path);
            }
            if self.eat("*") {
                return self.imported("*".to_owned(), path, line);
            }
            // A path from the root of all crates names another crate: `::std::io`.
            return self.use_tree(&["::".to_owned()]);
        }
        if self.eat("{") {
            return self.use_list(&path);
        }
        if path.last().is_some_and(|last| last == "self") && path.len() > 1 {
            path.pop();
        }
        let mut name = path.last().cloned().unwrap_or_default();
        if self.eat("as") {
            name = self.names().concat();
        }
        self.imported(name, path, line);
    }

    fn use_list(&mut self, prefix: &[String]) {
        while !self.eat("}") && self.at < self.tokens.len() {
            self.use_tree(prefix);
            self.eat(",");
        }
    }

    fn imported(&mut self, name: String, path: Vec<String>, line: usize) {
        let path = self.out_of_inline_modules(path);
        self.imports.uses.push(Use { name, path, line });
    }

    /// Makes a path that begins in an inline module begin in its file.
    fn out_of_inline_modules(&self, path: Vec<String>) -> Vec<String> {
        let supers = path.iter().take_while(|name| *name == "super").count();
        let inside = supers.min(self.inline_modules.len());
        if inside == 0 {
            return path;
        }
        let own = (inside == supers).then(|| "self".to_owned());
        own.into_iter()
            .chain(path.into_iter().skip(inside))
            .collect()
    }

    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at)
    }

    fn eat(&mut self, text: &str) -> bool {
        let found = self.peek().is_some_and(|token| token.is(text));
        self.at += usize::from(found);
        found
    }
}

#[cfg(test)]
mod tests {
    use super::super::tokens::tokens;
    use super::*;

    fn uses(source: &str) -> Vec<String> {
        let uses = read(&tokens(source)).uses.into_iter();
        uses.map(|one| format!("{} = {}", one.name, one.path.join("::")))
            .collect()
    }

    fn paths(source: &str) -> Vec<String> {
        let paths = read(&tokens(source)).paths.into_iter();
        paths.map(|one| one.path.join("::")).collect()
    }

    #[test]
    fn every_leaf_of_a_use_tree_is_read() {
        let source = "
            use crate::{
                a::{One, Two, self},
                b::Three as Four, c,
            };
            pub(crate) use super::super::d::*;
            use {self::e, std::fmt};
        ";
        let expected = [
            "One = crate::a::One",
            "Two = crate::a::Two",
            "a = crate::a",
            "Four = crate::b::Three",
            "c = crate::c",
            "* = super::super::d",
            "e = self::e",
            "fmt = std::fmt",
        ];
        assert_eq!(uses(source), expected);
    }

    #[test]
    fn paths_from_the_root_of_all_crates_stay_apart() {
        assert_eq!(uses("use ::std::io;"), ["io = ::::std::io"]);
        assert_eq!(paths("fn f() -> ::crate_of_others::Item {}"), [""; 0]);
    }

    #[test]
    fn paths_of_the_code_are_read() {
        let source = "
            fn f(a: &crate::a::One) -> Result<super::b::Two, c::Error> {
                Vec::<self::d::Three>::new();
                <T as e::Four>::five(six);
                a.collect::<f::Seven>()
            }
        ";
        let expected = [
            "crate::a::One",
            "super::b::Two",
            "c::Error",
            "self::d::Three",
            "e::Four",
            "f::Seven",
        ];
        assert_eq!(paths(source), expected);
    }

    #[test]
    fn modules_in_files_are_read() {
        let source = "#[cfg(feature = \"a\")] mod a; pub(crate) mod b; mod c { use d::E; }";
        assert_eq!(read(&tokens(source)).modules, ["a", "b"]);
        assert_eq!(uses(source), ["E = d::E"]);
    }

    #[test]
    fn paths_in_an_inline_module_begin_in_its_file() {
        let source = "mod a { use super::B; use super::super::c::D; } use super::e::F;";
        let expected = ["B = self::B", "D = super::c::D", "F = super::e::F"];
        assert_eq!(uses(source), expected);
    }

    #[test]
    fn imports_in_functions_are_read() {
        assert_eq!(uses("fn f() { use crate::a::B; }"), ["B = crate::a::B"]);
    }
}

//! The tokens of a Rust source, without comments, literals and the items of its tests.

/// A word or a punctuation mark, and the line that it is on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) text: String,
    pub(super) line: usize,
}

impl Token {
    pub(super) fn is(&self, text: &str) -> bool {
        self.text == text
    }

    pub(super) fn is_word(&self) -> bool {
        self.text.starts_with(is_of_word)
    }
}

/// Returns the tokens of a source, without the items that only tests are compiled with.
pub(super) fn tokens(source: &str) -> Vec<Token> {
    without_tests(&scan(source))
}

fn scan(source: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut line = 1;
    let mut rest = source;
    while let Some(first) = rest.chars().next() {
        let length = skipped(rest).unwrap_or_else(|| {
            let length = token_length(rest);
            if !first.is_whitespace() {
                let text = rest[..length].trim_start_matches("r#").to_owned();
                tokens.push(Token { text, line });
            }
            length
        });
        line += rest[..length].matches('\n').count();
        rest = &rest[length..];
    }
    tokens
}

fn token_length(rest: &str) -> usize {
    if rest.starts_with("::") {
        return 2;
    }
    let raw = if rest.starts_with("r#") { 2 } else { 0 };
    match rest[raw..].find(|c| !is_of_word(c)) {
        Some(0) => rest.chars().next().map_or(1, char::len_utf8),
        Some(length) => raw + length,
        None => rest.len(),
    }
}

fn is_of_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// The length of the comment, literal or lifetime that the rest begins with.
fn skipped(rest: &str) -> Option<usize> {
    if rest.starts_with("//") {
        return Some(rest.find('\n').unwrap_or(rest.len()));
    }
    if rest.starts_with("/*") {
        return Some(rest.find("*/").map_or(rest.len(), |end| end + 2));
    }
    let literal = rest.trim_start_matches('b');
    let prefix = rest.len() - literal.len();
    if prefix > 1 {
        return None;
    }
    let length = quoted(literal, '"')
        .or_else(|| raw_string(literal))
        .or_else(|| character(literal))
        .or_else(|| lifetime(literal))?;
    Some(prefix + length)
}

fn quoted(rest: &str, quote: char) -> Option<usize> {
    let mut chars = rest.strip_prefix(quote)?.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => drop(chars.next()),
            c if c == quote => return Some(at + 2),
            _ => {}
        }
    }
    Some(rest.len())
}

fn raw_string(rest: &str) -> Option<usize> {
    let after = rest.strip_prefix('r')?;
    let text = after.trim_start_matches('#');
    let hashes = &after[..after.len() - text.len()];
    let text = text.strip_prefix('"')?;
    let end = format!("\"{hashes}");
    let before = 2 + hashes.len();
    Some(
        text.find(&end)
            .map_or(rest.len(), |at| before + at + end.len()),
    )
}

fn character(rest: &str) -> Option<usize> {
    let mut chars = rest.strip_prefix('\'')?.chars();
    match (chars.next()?, chars.next()?) {
        ('\\', _) | (_, '\'') => quoted(rest, '\''),
        _ => None,
    }
}

fn lifetime(rest: &str) -> Option<usize> {
    let name = rest.strip_prefix('\'')?;
    Some(1 + name.find(|c| !is_of_word(c)).unwrap_or(name.len()))
}

const ONLY_IN_TESTS: [&str; 7] = ["#", "[", "cfg", "(", "test", ")", "]"];

fn without_tests(tokens: &[Token]) -> Vec<Token> {
    let mut kept = Vec::new();
    let mut rest = tokens;
    while let Some((token, after)) = rest.split_first() {
        if starts_with(rest, &ONLY_IN_TESTS) {
            rest = after_item(&rest[ONLY_IN_TESTS.len()..]);
        } else {
            kept.push(token.clone());
            rest = after;
        }
    }
    kept
}

pub(super) fn starts_with(tokens: &[Token], texts: &[&str]) -> bool {
    tokens.len() >= texts.len() && tokens.iter().zip(texts).all(|(token, text)| token.is(text))
}

/// The tokens behind an item: it ends with a semicolon, or with the braces of its body.
fn after_item(tokens: &[Token]) -> &[Token] {
    let is_import = |token: &Token| token.is("use");
    let body_ends_it = !tokens.iter().take(5).any(is_import);
    let mut depth = 0_usize;
    for (at, token) in tokens.iter().enumerate() {
        match token.text.as_str() {
            "{" | "(" | "[" => depth += 1,
            "}" | ")" | "]" => depth = depth.saturating_sub(1),
            _ => {}
        }
        let ends = token.is(";") || (token.is("}") && body_ends_it);
        if depth == 0 && ends {
            return &tokens[at + 1..];
        }
    }
    &[]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(source: &str) -> Vec<String> {
        let tokens = tokens(source).into_iter();
        tokens.map(|token| token.text).collect()
    }

    #[test]
    fn comments_are_no_tokens() {
        assert_eq!(texts("a // crate::b\n/* crate::c */ d"), ["a", "d"]);
        assert_eq!(texts("/// crate::b\nmod c;"), ["mod", "c", ";"]);
    }

    #[test]
    fn literals_are_no_tokens() {
        assert_eq!(
            texts(r#"a("crate::b \" {", 'c', '\'', b'{')"#),
            ["a", "(", ",", ",", ",", ")"]
        );
        assert_eq!(texts(r##"a r#"crate::b " {"# c"##), ["a", "c"]);
        assert_eq!(texts("a b\"crate::b\" c"), ["a", "c"]);
    }

    #[test]
    fn lifetimes_are_not_taken_for_characters() {
        assert_eq!(texts("&'a b::C<'static>"), ["&", "b", "::", "C", "<", ">"]);
    }

    #[test]
    fn raw_words_lose_their_mark() {
        assert_eq!(texts("r#type bring break_"), ["type", "bring", "break_"]);
    }

    #[test]
    fn items_of_tests_are_left_out() {
        assert_eq!(texts("#[cfg(test)] mod tests { fn a() {} } b"), ["b"]);
        assert_eq!(texts("#[cfg(test)] pub(crate) use a::{b, c}; d"), ["d"]);
        assert_eq!(
            texts("#[cfg(test)] #[rustfmt::skip] fn a(b: [u8; 2]) {} c"),
            ["c"]
        );
        assert_eq!(texts("#[cfg(unix)] mod a;").len(), 10);
    }

    #[test]
    fn tokens_know_their_line() {
        let lines: Vec<_> = tokens("a\n\"\n\" b\n/*\n*/ c")
            .iter()
            .map(|t| t.line)
            .collect();
        assert_eq!(lines, [1, 3, 5]);
    }
}

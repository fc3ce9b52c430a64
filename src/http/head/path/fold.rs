//! Folding of characters that some servers take for ASCII.

use std::borrow::Cow;

/// Replaces characters that a hop may take for ASCII ones with a meaning in paths: the full-width
/// forms, by Unicode's compatibility normalization (NFKC, UAX #15), and the look-alikes of dots,
/// slashes, spaces and separators, by that or by the best-fit conversions of Windows code pages.
pub(super) fn fold_to_ascii(path: &str) -> Cow<'_, str> {
    if !path.chars().any(|character| ascii_of(character).is_some()) {
        return Cow::Borrowed(path);
    }
    let mut folded = String::with_capacity(path.len());
    for character in path.chars() {
        match ascii_of(character) {
            Some(text) => folded.push_str(text),
            None => folded.push(character),
        }
    }
    Cow::Owned(folded)
}

/// Returns whether this byte may begin one of those characters in UTF-8.
pub(super) const fn may_begin_foldable(byte: u8) -> bool {
    matches!(byte, 0xC2 | 0xCD | 0xE2 | 0xE3 | 0xEF)
}

fn ascii_of(character: char) -> Option<&'static str> {
    Some(match character {
        // U+FF01 to U+FF5E are `!` to `~`, in order.
        '\u{FF01}'..='\u{FF5E}' => {
            let at = character as usize - 0xFF01;
            return VISIBLE.get(at..=at);
        }
        '\u{2024}' | '\u{FE52}' => ".",
        '\u{2025}' | '\u{FE30}' => "..",
        '\u{2026}' | '\u{FE19}' => "...",
        '\u{2044}' | '\u{2215}' | '\u{29F8}' => "/",
        '\u{A5}' | '\u{20A9}' | '\u{2216}' | '\u{29F5}' | '\u{29F9}' | '\u{FE68}' => "\\",
        '\u{2100}' => "a/c",
        '\u{2101}' => "a/s",
        '\u{2105}' => "c/o",
        '\u{2106}' => "c/u",
        '\u{37E}' | '\u{FE14}' | '\u{FE54}' => ";",
        '\u{FE16}' | '\u{FE56}' => "?",
        '\u{FE5F}' => "#",
        '\u{FE6A}' => "%",
        '\u{A0}' | '\u{2000}'..='\u{200A}' | '\u{202F}' | '\u{205F}' | '\u{3000}' => " ",
        _ => return None,
    })
}

const VISIBLE: &str = "!\"#$%&'()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ\
                       [\\]^_`abcdefghijklmnopqrstuvwxyz{|}~";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn look_alikes_become_ascii() {
        for (path, folded) in [
            ("/ws/．．／private", "/ws/../private"),
            ("/\u{2025}\u{2215}\u{FF3C}\u{A5}", "/../\\\\"),
            ("/ａＺ０～！％", "/aZ0~!%"),
            ("/a\u{3000}\u{FE54}", "/a ;"),
            ("/\u{2024}\u{FE52}/\u{FE30}", "/../.."),
            ("/\u{2026}\u{FE19}", "/......"),
            ("/\u{2100}\u{2101}\u{2105}\u{2106}", "/a/ca/sc/oc/u"),
            ("/\u{FE16}\u{FE56}\u{FE5F}\u{FE6A}", "/??#%"),
        ] {
            assert_eq!(fold_to_ascii(path), folded);
        }
    }

    #[test]
    fn other_text_is_not_copied() {
        for path in ["/ws", "/café/€/日本/\u{FF5F}"] {
            assert!(matches!(fold_to_ascii(path), Cow::Borrowed(same) if same == path));
        }
    }

    #[test]
    fn every_foldable_character_begins_with_a_noted_byte() {
        for character in '\0'..=char::MAX {
            if ascii_of(character).is_some() {
                let mut bytes = [0; 4];
                let first = character.encode_utf8(&mut bytes).as_bytes()[0];
                assert!(may_begin_foldable(first), "{character:?}");
            }
        }
    }
}

//! Transformations that an upstream, or a hop behind it, may apply to a path before it reads it:
//! written over bytes and independently of the code under test. A fuzz target uses them too.

#[derive(Debug, Clone, Copy)]
pub(super) enum Hop {
    DecodeEverything,
    DecodeAllButSlashes,
    DecodeUnreserved,
    ResolveDots,
    ResolveDotsAndMerge,
    MergeSlashes,
    BackslashIsSlash,
    CutParameters,
    TrimAsWindowsDoes,
    ParseAgain,
    DecodeUnicodeEscapes,
    FoldWidth,
    DropAuthority,
    PlusIsSpace,
}

pub(super) const HOPS: &[Hop] = &[
    Hop::DecodeEverything,
    Hop::DecodeAllButSlashes,
    Hop::DecodeUnreserved,
    Hop::ResolveDots,
    Hop::ResolveDotsAndMerge,
    Hop::MergeSlashes,
    Hop::BackslashIsSlash,
    Hop::CutParameters,
    Hop::TrimAsWindowsDoes,
    Hop::ParseAgain,
    Hop::DecodeUnicodeEscapes,
    Hop::FoldWidth,
    Hop::DropAuthority,
    Hop::PlusIsSpace,
];

impl Hop {
    pub(super) fn take(self, path: &[u8]) -> Vec<u8> {
        match self {
            Hop::DecodeEverything => percent_decode(path, |_| true),
            Hop::DecodeAllButSlashes => percent_decode(path, |byte| byte != b'/'),
            Hop::DecodeUnreserved => percent_decode(path, |byte| {
                byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)
            }),
            Hop::ResolveDots => remove_dots(path),
            Hop::ResolveDotsAndMerge => remove_dots(&merge(path)),
            Hop::MergeSlashes => merge(path),
            Hop::BackslashIsSlash => path
                .iter()
                .map(|byte| if *byte == b'\\' { b'/' } else { *byte })
                .collect(),
            Hop::CutParameters => by_segment(path, |segment| until(segment, b";")),
            Hop::TrimAsWindowsDoes => by_segment(path, |segment| {
                let name = segment.iter().rposition(|byte| !b". ".contains(byte));
                match name {
                    Some(last) => &segment[..=last],
                    None => {
                        &segment[..segment
                            .iter()
                            .rposition(|b| *b == b'.')
                            .map_or(0, |l| l + 1)]
                    }
                }
            }),
            Hop::ParseAgain => until(path, b"?#").to_vec(),
            Hop::DecodeUnicodeEscapes => decode_unicode_escapes(path),
            Hop::FoldWidth => fold_width(path),
            Hop::PlusIsSpace => path
                .iter()
                .map(|byte| if *byte == b'+' { b' ' } else { *byte })
                .collect(),
            Hop::DropAuthority => match path {
                [b'/', b'/', rest @ ..] => {
                    let end = rest.iter().position(|byte| *byte == b'/');
                    end.map_or(b"/".to_vec(), |end| rest[end..].to_vec())
                }
                _ => path.to_vec(),
            },
        }
    }
}

pub(super) fn percent_decode(path: &[u8], wanted: impl Fn(u8) -> bool) -> Vec<u8> {
    let mut decoded = Vec::new();
    let mut at = 0;
    while at < path.len() {
        let digits = path
            .get(at + 1..at + 3)
            .filter(|d| d.iter().all(u8::is_ascii_hexdigit));
        let byte = digits.map(|d| u8::from_str_radix(std::str::from_utf8(d).unwrap(), 16).unwrap());
        match byte.filter(|byte| path[at] == b'%' && wanted(*byte)) {
            Some(byte) => {
                decoded.push(byte);
                at += 3;
            }
            None => {
                decoded.push(path[at]);
                at += 1;
            }
        }
    }
    decoded
}

/// Decodes `%uXXXX`, as IIS does.
fn decode_unicode_escapes(path: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(path);
    let mut pieces = text.split("%u");
    let mut decoded = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let digits = piece
            .get(..4)
            .and_then(|it| u32::from_str_radix(it, 16).ok());
        match digits.and_then(char::from_u32) {
            Some(character) => decoded.extend([&character.to_string(), &piece[4..]]),
            None => decoded.extend(["%u", piece]),
        }
    }
    decoded.into_bytes()
}

/// Replaces full-width forms and the two-dot leader, as NFKC does.
fn fold_width(path: &[u8]) -> Vec<u8> {
    let Ok(text) = std::str::from_utf8(path) else {
        return path.to_vec();
    };
    let fold = |character: char| match u32::from(character) {
        0x2025 => "..".to_owned(),
        code @ 0xFF01..=0xFF5E => char::from_u32(code - 0xFEE0).unwrap().to_string(),
        _ => character.to_string(),
    };
    text.chars().map(fold).collect::<String>().into_bytes()
}

/// Implements the algorithm of RFC 3986 §5.2.4 with its input and output buffers.
fn remove_dots(path: &[u8]) -> Vec<u8> {
    let mut input = path.to_vec();
    let mut output: Vec<u8> = Vec::new();
    let up = |output: &mut Vec<u8>| {
        let slash = output.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
        output.truncate(slash);
    };
    while !input.is_empty() {
        if input.starts_with(b"/./") {
            input.drain(..2);
        } else if input == b"/." {
            input = b"/".to_vec();
        } else if input.starts_with(b"/../") {
            input.drain(..3);
            up(&mut output);
        } else if input == b"/.." {
            input = b"/".to_vec();
            up(&mut output);
        } else {
            let end = input.iter().skip(1).position(|byte| *byte == b'/');
            output.extend(input.drain(..end.map_or(input.len(), |end| end + 1)));
        }
    }
    output
}

pub(super) fn merge(path: &[u8]) -> Vec<u8> {
    let mut merged = path.to_vec();
    merged.dedup_by(|a, b| *a == b'/' && *b == b'/');
    merged
}

fn by_segment(path: &[u8], change: impl Fn(&[u8]) -> &[u8]) -> Vec<u8> {
    let segments: Vec<_> = path.split(|byte| *byte == b'/').map(change).collect();
    segments.join(&b'/')
}

fn until<'p>(path: &'p [u8], ends: &[u8]) -> &'p [u8] {
    path.split(|byte| ends.contains(byte))
        .next()
        .unwrap_or(path)
}

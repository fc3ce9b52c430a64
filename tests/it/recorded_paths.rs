//! The paths of `tests/external/paths`, as real parsers read them.
//!
//! `recorded.tsv` is what `run.py` there recorded: for each target the readings, each with the codes
//! of the parsers that read it so. A parser that rejects a target has no reading of it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Mutex,
};

use http::{Request, Uri};
use wsplice::{
    head::RequestHead,
    matcher::{Matcher, not, owns, path},
};

/// A target, and its readings in bytes with the codes of their parsers.
struct Recorded {
    target: Uri,
    readings: Vec<(Vec<u8>, String)>,
}

/// At most so many readings are not among the crate's: NFKC folds some look-alikes of a slash and
/// not the others. None leaves a route, as the first test shows.
const KNOWN_DISAGREEMENTS: usize = 10;

fn recorded() -> (BTreeMap<char, String>, Vec<Recorded>) {
    let text = include_str!("../external/paths/recorded.tsv");
    let mut parsers = BTreeMap::new();
    let mut rows = Vec::new();
    for line in text.lines() {
        if let Some((code, name)) = line.strip_prefix("# ").and_then(|it| it.split_once(" = ")) {
            parsers.insert(code.chars().next().expect("a code"), name.to_owned());
        }
        let mut columns = line.split('\t');
        let target = columns.next().unwrap_or_default();
        // Some targets reach no application: hyper rejects them.
        let Ok(target) = target.parse::<Uri>() else {
            continue;
        };
        let readings = columns.filter_map(|column| column.rsplit_once(' '));
        rows.push(Recorded {
            target,
            readings: readings
                .map(|(reading, codes)| (percent_decode(reading.as_bytes()), codes.to_owned()))
                .collect(),
        });
    }
    (parsers, rows)
}

fn percent_decode(text: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some((first, tail)) = rest.split_first() {
        let digits = tail.get(..2).and_then(|it| std::str::from_utf8(it).ok());
        match digits.and_then(|it| u8::from_str_radix(it, 16).ok()) {
            Some(byte) if *first == b'%' => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            _ => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    bytes
}

fn is_owned(matcher: &impl Matcher, target: &Uri) -> bool {
    let request = Request::get(target.clone()).body(()).unwrap();
    owns(matcher, &RequestHead::from(&request))
}

/// Whether the path lies below `/name/`, as it stands and after its dot segments are resolved. A
/// parser that drops slashes at the end reads `/name`, which is the route's own border.
fn lies_below(reading: &[u8], name: &str) -> bool {
    let text = String::from_utf8_lossy(reading);
    [merged(&text), resolved(&text)].iter().all(|path| {
        let rest = path
            .strip_prefix('/')
            .and_then(|path| path.strip_prefix(name));
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    })
}

fn merged(path: &str) -> String {
    let mut merged = path.to_owned();
    while merged.contains("//") {
        merged = merged.replace("//", "/");
    }
    merged
}

fn resolved(path: &str) -> String {
    let mut kept = Vec::new();
    let merged = merged(path);
    for segment in merged.split('/').skip(1) {
        match segment {
            "." => {}
            ".." => drop(kept.pop()),
            segment => kept.push(segment),
        }
    }
    format!("/{}", kept.join("/"))
}

#[test]
fn what_is_owned_lies_in_its_route_for_every_recorded_parser() {
    let (parsers, rows) = recorded();
    assert!(parsers.len() > 20 && rows.len() > 1000);
    let (mut faults, mut owned) = (Vec::new(), 0);
    for row in &rows {
        let inside = is_owned(&path("/ws/*"), &row.target);
        let outside = is_owned(&not(path("/admin/*")), &row.target);
        owned += usize::from(inside);
        for (reading, codes) in &row.readings {
            let admin = resolved(&String::from_utf8_lossy(reading));
            let is_in_admin = lies_below(reading, "admin") && admin != "/admin";
            if (inside && !lies_below(reading, "ws")) || (outside && is_in_admin) {
                let names: Vec<_> = codes.chars().map(|code| &*parsers[&code]).collect();
                let reading = String::from_utf8_lossy(reading);
                faults.push(format!("{} is {reading:?} for {names:?}", row.target));
            }
        }
    }
    assert!(owned > 100, "{owned}");
    assert!(
        faults.is_empty(),
        "{} faults:\n{}",
        faults.len(),
        faults.join("\n")
    );
}

/// The readings of the crate, in a form that can be compared.
fn readings(target: &Uri) -> Option<BTreeSet<String>> {
    let seen = Mutex::new(BTreeSet::new());
    let collect = |head: &RequestHead<'_>| {
        seen.lock()
            .unwrap()
            .insert(comparable(head.path().as_bytes()));
        true
    };
    is_owned(&collect, target).then(|| seen.into_inner().unwrap())
}

/// Decodes escapes except those of `/`, `\`, `%` and controls, and resolves dots. Bytes beyond ASCII
/// are all alike, since parsers that expect UTF-8 replace others, and so are `+` and a space, since
/// form decoders turn one into the other.
fn comparable(path: &[u8]) -> String {
    let mut text = String::new();
    let mut rest = path;
    while let Some((first, tail)) = rest.split_first() {
        let is_escape =
            *first == b'%' && tail.len() > 1 && tail[..2].iter().all(u8::is_ascii_hexdigit);
        let (byte, after) = match is_escape {
            true => (percent_decode(&rest[..3])[0], &tail[2..]),
            false => (*first, tail),
        };
        if byte >= 0x80 {
            if !text.ends_with('é') {
                text.push('é');
            }
            rest = after;
            continue;
        }
        let byte = if byte == b'+' { b' ' } else { byte };
        let is_plain = byte.is_ascii_graphic() || byte == b' ';
        match is_plain && !(is_escape && b"/\\%".contains(&byte)) && byte != b'%' {
            true => text.push(byte.into()),
            false => text += &format!("%{byte:02X}"),
        }
        rest = after;
    }
    let path = resolved(&text);
    path.strip_suffix('/').map_or(path.clone(), str::to_owned)
}

#[test]
fn every_recorded_reading_is_one_that_the_crate_models() {
    let (parsers, rows) = recorded();
    let mut missing: BTreeMap<String, usize> = BTreeMap::new();
    let (mut compared, mut shown) = (0, Vec::new());
    for row in &rows {
        let Some(known) = readings(&row.target) else {
            continue;
        };
        for (reading, codes) in &row.readings {
            compared += 1;
            if known.contains(&comparable(reading)) {
                continue;
            }
            for code in codes.chars() {
                *missing.entry(parsers[&code].clone()).or_default() += 1;
            }
            let reading = String::from_utf8_lossy(reading);
            shown.push(format!(
                "{} is {reading:?} for {codes}, not in {known:?}",
                row.target
            ));
        }
    }
    assert!(compared > 1000);
    let count = shown.len();
    let shown = shown.join("\n");
    assert!(
        count <= KNOWN_DISAGREEMENTS,
        "{count}: {missing:#?}\n{shown}"
    );
}

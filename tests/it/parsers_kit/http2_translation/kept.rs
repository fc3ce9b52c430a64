//! The fields that are passed on as they are.

use std::collections::BTreeMap;

use http::HeaderMap;

use crate::parsers_kit::strict::Head;

/// Fields whose lines are passed on as they are.
const KEPT: [&str; 5] = [
    "authorization",
    "sec-websocket-extensions",
    "sec-websocket-protocol",
    "x-a",
    "x-b",
];

pub(super) fn kept_fields(head: &Head) -> BTreeMap<String, Vec<Vec<u8>>> {
    let mut kept = BTreeMap::<_, Vec<_>>::new();
    for (name, value) in &head.fields {
        if KEPT.contains(&&**name) {
            kept.entry(name.clone()).or_default().push(value.clone());
        }
    }
    kept
}

/// The same of headers, but for those that the connection keeps (and the protected ones are kept anyway).
pub(super) fn kept_headers(
    headers: &HeaderMap,
    nominated: &[String],
) -> BTreeMap<String, Vec<Vec<u8>>> {
    let mut kept = BTreeMap::<_, Vec<_>>::new();
    for (name, value) in headers {
        let name = name.as_str();
        if KEPT.contains(&name) && !nominated.iter().any(|it| it == name) {
            let value = value.as_bytes().trim_ascii().to_vec();
            kept.entry(name.to_owned()).or_default().push(value);
        }
    }
    kept
}

pub(super) fn nominated(headers: &HeaderMap) -> Vec<String> {
    let lines = headers.get_all("connection").iter();
    let lines: Vec<_> = lines
        .map(|line| String::from_utf8_lossy(line.as_bytes()).to_ascii_lowercase())
        .collect();
    let joined = lines.join(",");
    joined
        .split(',')
        .map(|name| name.trim().to_owned())
        .collect()
}

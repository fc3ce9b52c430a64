//! The library's sources, for tests that must not miss a type.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Returns each file of `src/` with its text.
pub(crate) fn sources() -> Vec<(PathBuf, String)> {
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
    let mut sources = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let text = fs::read_to_string(&path).unwrap();
                sources.push((path, text));
            }
        }
    }
    assert!(
        sources.len() > 300,
        "only {} files were found",
        sources.len()
    );
    sources
}

//! Giving the upstream another path than the client asked for.

use std::fmt;

use http::Uri;
use http::uri::{InvalidUri, PathAndQuery};

use super::path::{PathReadings, RawPath, comparable};

/// A change of the path on its way to the upstream.
///
/// A rewrite starts from the segments as they were sent, after dot segments are resolved and
/// empty ones merged, so that nothing behind a prefix climbs out of it. Escapes stay as they
/// are, and the query is not touched. Without a rewrite the upstream gets the target byte for
/// byte.
///
/// # Examples
///
/// ```
/// use wsplice::head::PathRewrite;
///
/// let rewrite = PathRewrite::strip_prefix("/ws")?.then(PathRewrite::add_prefix("/chat/v2")?);
/// let target = "/ws/caf%C3%A9?token=a%2Fb".parse()?;
///
/// assert_eq!(rewrite.apply(&target)?, "/chat/v2/caf%C3%A9?token=a%2Fb");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub struct PathRewrite {
    changes: Vec<Change>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Change {
    Strip(String),
    Add(String),
    Set(String),
}

/// Why a path does not serve for a [`PathRewrite`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidPath {
    path: String,
    fault: &'static str,
}

/// Why a request's path could not be rewritten. The request deserves a 400.
#[derive(Debug)]
#[non_exhaustive]
pub enum RewriteError {
    /// The target has no path: `*`, or the `host:port` of a plain `CONNECT`.
    NoPath,
    /// Some upstream would read the new path as one outside the prefix that was added:
    /// `/chat/..%2fprivate`.
    LeavesPrefix,
    /// The new path and the query are no valid target together. They are too long.
    Invalid(InvalidUri),
}

impl PathRewrite {
    /// Takes `prefix` off the front of the path.
    ///
    /// Whole segments are compared, decoded and in their case: `/ws` makes `/x` of `/ws/x`
    /// and of `/%77s/x`, and `/` of `/ws`. A path that does not carry the prefix, as `/wsx`
    /// does not, keeps all its segments.
    ///
    /// # Errors
    ///
    /// When `prefix` is no path that begins with `/`, or holds a query or a dot segment.
    pub fn strip_prefix(prefix: impl Into<String>) -> Result<Self, InvalidPath> {
        Ok(Self::one(Change::Strip(checked(prefix.into())?)))
    }

    /// Puts `prefix` before the path: `/v2` makes `/v2/x` of `/x`, and `/v2/` of `/`.
    ///
    /// # Errors
    ///
    /// As for [`strip_prefix`](Self::strip_prefix), and when servers disagree on what
    /// `prefix` means, as they do on `/a;b` and `/a%2Fb`: nothing could be said to be below it.
    pub fn add_prefix(prefix: impl Into<String>) -> Result<Self, InvalidPath> {
        let path = checked(prefix.into())?;
        if PathReadings::of(&path).others() != Some(&[]) {
            let fault = "servers disagree on what it means";
            return Err(InvalidPath { path, fault });
        }
        Ok(Self::one(Change::Add(path)))
    }

    /// Replaces the whole path by `path`. The query stays the client's.
    ///
    /// # Errors
    ///
    /// As for [`strip_prefix`](Self::strip_prefix).
    pub fn set_path(path: impl Into<String>) -> Result<Self, InvalidPath> {
        Ok(Self::one(Change::Set(checked(path.into())?)))
    }

    /// This change, and then `next`.
    ///
    /// Where a prefix was the whole path, the next one is too: stripping `/ws` and adding
    /// `/chat` makes `/chat` of `/ws`, and `/chat/` of `/ws/`.
    pub fn then(mut self, next: Self) -> Self {
        self.changes.extend(next.changes);
        self
    }

    /// The path and query for the upstream.
    ///
    /// # Errors
    ///
    /// See [`RewriteError`].
    pub fn apply(&self, target: &Uri) -> Result<PathAndQuery, RewriteError> {
        let mut path = RawPath::resolve(target.path()).ok_or(RewriteError::NoPath)?;
        for change in &self.changes {
            match change {
                Change::Strip(prefix) => path.strip_prefix(&pieces(prefix)?),
                Change::Add(prefix) => {
                    path.add_prefix(&pieces(prefix)?);
                    if !stays_below(&path.to_path(), prefix) {
                        return Err(RewriteError::LeavesPrefix);
                    }
                }
                Change::Set(new) => path = pieces(new)?,
            }
        }
        let mut target_text = path.to_path();
        if let Some(query) = target.query() {
            target_text.push('?');
            target_text.push_str(query);
        }
        PathAndQuery::try_from(target_text).map_err(RewriteError::Invalid)
    }

    fn one(change: Change) -> Self {
        Self {
            changes: vec![change],
        }
    }
}

impl fmt::Display for InvalidPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "path {:?} cannot be used: {}", self.path, self.fault)
    }
}

impl std::error::Error for InvalidPath {}

impl fmt::Display for RewriteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoPath => "the request target has no path to rewrite",
            Self::LeavesPrefix => "the rewritten path may be read as one outside its prefix",
            Self::Invalid(_) => "the rewritten path is no valid request target",
        })
    }
}

impl std::error::Error for RewriteError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Invalid(source) => Some(source),
            Self::NoPath | Self::LeavesPrefix => None,
        }
    }
}

fn checked(path: String) -> Result<String, InvalidPath> {
    let is_dots = |segment| matches!(comparable(segment).as_ref(), "." | "..");
    let fault = match PathAndQuery::try_from(path.as_str()) {
        _ if !path.starts_with('/') => "it does not begin with `/`",
        _ if path.contains(['?', '#']) => "it holds more than a path",
        Err(_) => "it holds a character that no path may hold",
        Ok(_) if path.split('/').any(is_dots) => "it has a dot segment",
        Ok(_) => return Ok(path),
    };
    Err(InvalidPath { path, fault })
}

/// The pieces of a path that was checked: it begins with `/`.
fn pieces(path: &str) -> Result<RawPath<'_>, RewriteError> {
    RawPath::resolve(path).ok_or(RewriteError::NoPath)
}

/// Whether every reading of `path` lies at or below `prefix`.
fn stays_below(path: &str, prefix: &str) -> bool {
    let readings = PathReadings::of(path);
    let prefix = comparable(prefix);
    let is_below = |reading: &str| {
        let rest = reading.strip_prefix(prefix.trim_end_matches('/'));
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    let others = readings.others();
    is_below(readings.primary())
        && others.is_some_and(|others| others.iter().all(|other| is_below(other)))
}

#[cfg(test)]
mod tests;

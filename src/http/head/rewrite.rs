//! Path rewrites on the way to the upstream.

use std::fmt;

use http::Uri;
use http::uri::{InvalidUri, PathAndQuery};

use crate::error::display_error;

use super::path::{EncodedSegments, PathReadings, comparable};

/// A change of the path on its way to the upstream.
///
/// A rewrite works on the segments as they were sent, after dot segments are resolved and empty
/// ones merged, so that no segment climbs out of an added prefix. Escapes and the query are kept.
/// Without a rewrite the upstream gets the target byte for byte.
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
    changes: Vec<PathEdit>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum PathEdit {
    Strip(String),
    Add(String),
    Set(String),
}

/// Error for a path that a [`PathRewrite`] cannot use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidPath {
    path: String,
    fault: &'static str,
}

/// Error for a request whose path could not be rewritten. The response is a 400.
///
/// The source of [`Invalid`](Self::Invalid) is the error that it holds.
#[derive(Debug)]
#[non_exhaustive]
pub enum RewriteError {
    /// The target has no path: `*`, or the `host:port` of a plain `CONNECT`.
    NoPath,
    /// Some upstream would read the new path as one outside the added prefix: `/chat/..%2fprivate`.
    LeavesPrefix,
    /// The new path and the query are too long for a request target.
    Invalid(InvalidUri),
}

impl PathRewrite {
    /// Removes `prefix` from the front of the path.
    ///
    /// Whole segments are compared, decoded and case-sensitively: `/ws` turns `/ws/x` and `/%77s/x`
    /// into `/x`, and `/ws` into `/`. A path without the prefix, such as `/wsx`, keeps all its
    /// segments.
    ///
    /// # Errors
    ///
    /// Returns an error if `prefix` does not begin with `/`, is not a valid path, or holds a query
    /// or a dot segment.
    pub fn strip_prefix(prefix: impl Into<String>) -> Result<Self, InvalidPath> {
        Ok(Self::one(PathEdit::Strip(checked(prefix.into())?)))
    }

    /// Inserts `prefix` before the path: `/v2` turns `/x` into `/v2/x`, and `/` into `/v2/`.
    ///
    /// # Errors
    ///
    /// Returns an error as [`strip_prefix`](Self::strip_prefix) does, and if servers disagree on
    /// the meaning of `prefix`, as they do on `/a;b` and `/a%2Fb`: no path would be below it for
    /// all of them.
    pub fn add_prefix(prefix: impl Into<String>) -> Result<Self, InvalidPath> {
        let path = checked(prefix.into())?;
        if PathReadings::new(&path).others() != Some(&[]) {
            let fault = "servers disagree on what it means";
            return Err(InvalidPath { path, fault });
        }
        Ok(Self::one(PathEdit::Add(path)))
    }

    /// Replaces `prefix` at the front of the path by `replacement`, both of them literals: the same as
    /// [`strip_prefix`](Self::strip_prefix), and [then](Self::then) [`add_prefix`](Self::add_prefix),
    /// without an error to handle.
    ///
    /// A literal that is not a path is made one: it begins with `/`, its dot segments are resolved,
    /// and characters that no path may hold are escaped. If servers disagree on the meaning of
    /// `replacement`, every request gets 400.
    ///
    /// # Examples
    ///
    /// ```
    /// use wsplice::head::PathRewrite;
    ///
    /// let rewrite = PathRewrite::replace_prefix("/ws", "/chat/v2");
    /// assert_eq!(rewrite.apply(&"/ws/room?a=b".parse()?)?, "/chat/v2/room?a=b");
    /// assert_eq!(rewrite.apply(&"/ws".parse()?)?, "/chat/v2");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn replace_prefix(prefix: &'static str, replacement: &'static str) -> Self {
        let changes = vec![
            PathEdit::Strip(as_path(prefix)),
            PathEdit::Add(as_path(replacement)),
        ];
        Self { changes }
    }

    /// Replaces the whole path by `path`. The client's query stays.
    ///
    /// # Errors
    ///
    /// Returns an error as [`strip_prefix`](Self::strip_prefix) does.
    pub fn set_path(path: impl Into<String>) -> Result<Self, InvalidPath> {
        Ok(Self::one(PathEdit::Set(checked(path.into())?)))
    }

    /// Applies this change, and then `next`.
    ///
    /// If a stripped prefix was the whole path, the added one becomes the whole path: stripping
    /// `/ws` and adding `/chat` turns `/ws` into `/chat`, and `/ws/` into `/chat/`.
    pub fn then(mut self, next: Self) -> Self {
        self.changes.extend(next.changes);
        self
    }

    /// Returns the path and query for the upstream.
    ///
    /// # Errors
    ///
    /// See [`RewriteError`].
    pub fn apply(&self, target: &Uri) -> Result<PathAndQuery, RewriteError> {
        let mut path = EncodedSegments::resolve(target.path()).ok_or(RewriteError::NoPath)?;
        for change in &self.changes {
            match change {
                PathEdit::Strip(prefix) => path.strip_prefix(&pieces(prefix)?),
                PathEdit::Add(prefix) => {
                    path.add_prefix(&pieces(prefix)?);
                    if !stays_below(&path.to_path(), prefix) {
                        return Err(RewriteError::LeavesPrefix);
                    }
                }
                PathEdit::Set(new) => path = pieces(new)?,
            }
        }
        let mut target_text = path.to_path();
        if let Some(query) = target.query() {
            target_text.push('?');
            target_text.push_str(query);
        }
        PathAndQuery::try_from(target_text).map_err(RewriteError::Invalid)
    }

    fn one(change: PathEdit) -> Self {
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
        display_error(self, f, |f| {
            f.write_str(match self {
                Self::NoPath => "the request target has no path to rewrite",
                Self::LeavesPrefix => "the rewritten path may be read as one outside its prefix",
                Self::Invalid(_) => "the rewritten path is not a valid request target",
            })
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

/// Makes a path of any text.
fn as_path(text: &str) -> String {
    let mut path = String::from("/");
    let bytes = text.strip_prefix('/').unwrap_or(text).as_bytes();
    for (index, byte) in bytes.iter().enumerate() {
        let is_escape = || {
            let digits = bytes.get(index + 1..index + 3);
            digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
        };
        // RFC 3986 §3.3: `pchar`, and the slash.
        match byte {
            b'%' if is_escape() => path.push('%'),
            b'/' | b'-' | b'.' | b'_' | b'~' | b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*'
            | b'+' | b',' | b';' | b'=' | b':' | b'@' => path.push(char::from(*byte)),
            byte if byte.is_ascii_alphanumeric() => path.push(char::from(*byte)),
            byte => path.push_str(&format!("%{byte:02X}")),
        }
    }
    match EncodedSegments::resolve(&path) {
        Some(resolved) => resolved.to_path(),
        None => path,
    }
}

/// Splits a checked path, which begins with `/`.
fn pieces(path: &str) -> Result<EncodedSegments<'_>, RewriteError> {
    EncodedSegments::resolve(path).ok_or(RewriteError::NoPath)
}

/// Returns whether every reading of `path` lies at or below `prefix`.
fn stays_below(path: &str, prefix: &str) -> bool {
    let readings = PathReadings::new(path);
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

//! Header changes that users configure for requests and responses.

use std::error::Error;
use std::fmt;
use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue};

use super::checked_insert;

/// List of changes to the headers of a request or a response, made in order.
///
/// Names and values are checked when the list is built, so applying it cannot fail. Cloning shares
/// the list.
///
/// Edits cannot break the handshake: `Connection`, `Upgrade` and the `Sec-WebSocket-*` headers that
/// negotiate the connection are written after the edits have run, and overwrite theirs. Edits run
/// after hop-by-hop headers are removed, so a client cannot remove an added header by naming it in
/// `Connection`.
///
/// # Examples
///
/// ```
/// use http::HeaderMap;
/// use wsplice::headers::HeaderEdits;
///
/// let edits = HeaderEdits::new()
///     .remove("cookie")?
///     .set("x-tenant", "blue")?
///     .with(|headers: &mut HeaderMap| {
///         if let Some(id) = headers.remove("x-request-id") {
///             headers.insert("x-trace", id);
///         }
///     });
///
/// let mut headers = HeaderMap::new();
/// headers.insert("cookie", "a=b".parse()?);
/// headers.insert("x-request-id", "7".parse()?);
/// edits.apply(&mut headers);
///
/// assert!(!headers.contains_key("cookie"));
/// assert_eq!(headers["x-tenant"], "blue");
/// assert_eq!(headers["x-trace"], "7");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Default)]
pub struct HeaderEdits {
    edits: Arc<Vec<Edit>>,
}

#[derive(Clone)]
enum Edit {
    Set(HeaderName, HeaderValue),
    Append(HeaderName, HeaderValue),
    Remove(HeaderName),
    With(Arc<dyn Fn(&mut HeaderMap) + Send + Sync>),
}

impl HeaderEdits {
    /// Creates an empty list.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Replaces all lines of a header by one.
    ///
    /// # Errors
    ///
    /// Returns an error if `name` is not a header name or `value` is not a header value.
    pub fn set<N, V>(self, name: N, value: V) -> Result<Self, InvalidHeaderEdit>
    where
        N: TryInto<HeaderName> + AsRef<[u8]>,
        V: TryInto<HeaderValue>,
    {
        let (name, value) = checked_line(name, value)?;
        Ok(self.and_then(Edit::Set(name, value)))
    }

    /// Adds a line to a header, after the existing ones.
    ///
    /// # Errors
    ///
    /// Returns an error if `name` is not a header name or `value` is not a header value.
    pub fn append<N, V>(self, name: N, value: V) -> Result<Self, InvalidHeaderEdit>
    where
        N: TryInto<HeaderName> + AsRef<[u8]>,
        V: TryInto<HeaderValue>,
    {
        let (name, value) = checked_line(name, value)?;
        Ok(self.and_then(Edit::Append(name, value)))
    }

    /// Removes all lines of a header.
    ///
    /// # Errors
    ///
    /// Returns an error if `name` is not a header name.
    pub fn remove<N>(self, name: N) -> Result<Self, InvalidHeaderEdit>
    where
        N: TryInto<HeaderName> + AsRef<[u8]>,
    {
        let name = checked_name(name)?;
        Ok(self.and_then(Edit::Remove(name)))
    }

    /// Changes the headers by a closure, for edits that depend on the message. It is called for each
    /// request to an upstream, repeated ones included.
    ///
    /// The proxy does not know which headers a closure changes, so [forwarded](crate::ForwardHttp)
    /// requests lose all of their trailers: a client could otherwise send one of those headers as a
    /// trailer, to an upstream that merges trailers into the headers (RFC 9110 §6.5.1).
    #[must_use]
    pub fn with<F>(self, edit: F) -> Self
    where
        F: Fn(&mut HeaderMap) + Send + Sync + 'static,
    {
        self.and_then(Edit::With(Arc::new(edit)))
    }

    /// Makes the changes, in the order in which they were added.
    ///
    /// A line is left out if the map has no room for it.
    pub fn apply(&self, headers: &mut HeaderMap) {
        for edit in self.edits.iter() {
            match edit {
                Edit::Set(name, value) => checked_insert::replace(headers, name, value.clone()),
                Edit::Append(name, value) => checked_insert::append(headers, name, value.clone()),
                Edit::Remove(name) => drop(headers.remove(name)),
                Edit::With(edit) => edit(headers),
            }
        }
    }

    /// Returns whether the list is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.edits.is_empty()
    }

    /// Returns whether a function makes some of the changes.
    pub(crate) fn has_function(&self) -> bool {
        let mut edits = self.edits.iter();
        edits.any(|edit| matches!(edit, Edit::With(_)))
    }

    /// Returns the names of the headers that are set or removed, but for those of functions.
    pub(crate) fn names(&self) -> impl Iterator<Item = &HeaderName> {
        self.edits.iter().filter_map(|edit| match edit {
            Edit::Set(name, _) | Edit::Append(name, _) | Edit::Remove(name) => Some(name),
            Edit::With(_) => None,
        })
    }

    fn and_then(mut self, edit: Edit) -> Self {
        Arc::make_mut(&mut self.edits).push(edit);
        self
    }
}

/// Shows names only, because values may be credentials.
impl fmt::Debug for HeaderEdits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.edits.iter()).finish()
    }
}

impl fmt::Debug for Edit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Set(name, _) => write!(f, "set {name}"),
            Self::Append(name, _) => write!(f, "append {name}"),
            Self::Remove(name) => write!(f, "remove {name}"),
            Self::With(_) => f.write_str("with closure"),
        }
    }
}

/// Error for a name or value that [`HeaderEdits`] cannot write.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum InvalidHeaderEdit {
    /// The name is not a token (RFC 9110 §5.1).
    Name {
        /// The name as it was given, with `U+FFFD` in place of bytes that are not UTF-8.
        name: String,
    },
    /// The value for this header holds a control character (RFC 9110 §5.5).
    ///
    /// The value is not shown, because it may be a credential.
    Value {
        /// The header of the value.
        name: HeaderName,
    },
}

impl fmt::Display for InvalidHeaderEdit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name { name } => write!(f, "{name:?} is not a header name"),
            Self::Value { name } => write!(f, "the value for header {name} is not a header value"),
        }
    }
}

impl Error for InvalidHeaderEdit {}

fn checked_name<N>(name: N) -> Result<HeaderName, InvalidHeaderEdit>
where
    N: TryInto<HeaderName> + AsRef<[u8]>,
{
    let shown = String::from_utf8_lossy(name.as_ref()).into_owned();
    name.try_into()
        .map_err(|_| InvalidHeaderEdit::Name { name: shown })
}

fn checked_line<N, V>(name: N, value: V) -> Result<(HeaderName, HeaderValue), InvalidHeaderEdit>
where
    N: TryInto<HeaderName> + AsRef<[u8]>,
    V: TryInto<HeaderValue>,
{
    let name = checked_name(name)?;
    match value.try_into() {
        Ok(value) => Ok((name, value)),
        Err(_) => Err(InvalidHeaderEdit::Value { name }),
    }
}

#[cfg(test)]
mod tests {
    use http::header::{COOKIE, HOST};

    use super::*;

    fn lines(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    fn applied(edits: &HeaderEdits, came: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = lines(came);
        edits.apply(&mut headers);
        headers
    }

    #[test]
    fn set_replaces_append_adds_remove_takes_all_lines() {
        let edits = HeaderEdits::new()
            .set("X-Set", "new")
            .unwrap()
            .append("x-append", "b")
            .unwrap()
            .remove("x-remove")
            .unwrap();
        let came = [
            ("x-set", "1"),
            ("x-set", "2"),
            ("x-append", "a"),
            ("x-remove", "1"),
            ("x-remove", "2"),
        ];
        assert_eq!(
            applied(&edits, &came),
            lines(&[("x-set", "new"), ("x-append", "a"), ("x-append", "b")])
        );
    }

    #[test]
    fn edits_run_in_order() {
        let edits = HeaderEdits::new()
            .set("x-a", "1")
            .unwrap()
            .with(|headers| {
                let seen = headers.get("x-a").cloned().unwrap();
                headers.insert("x-b", seen);
            })
            .remove("x-a")
            .unwrap();
        assert_eq!(applied(&edits, &[]), lines(&[("x-b", "1")]));
    }

    #[test]
    fn a_function_among_the_edits_is_known_and_names_no_header() {
        let named = HeaderEdits::new()
            .set("x-a", "1")
            .unwrap()
            .remove("x-b")
            .unwrap();
        assert!(!named.has_function());
        let with_function = named.with(|_| {}).append("x-c", "1").unwrap();
        assert!(with_function.has_function());
        assert!(with_function.names().eq(["x-a", "x-b", "x-c"]));
    }

    #[test]
    fn typed_names_and_values_are_taken_as_they_are() {
        let edits = HeaderEdits::new()
            .set(HOST, HeaderValue::from_static("a"))
            .unwrap()
            .append(String::from("x-count"), 7u64)
            .unwrap()
            .remove(&COOKIE)
            .unwrap();
        assert_eq!(
            applied(&edits, &[("cookie", "c")]),
            lines(&[("host", "a"), ("x-count", "7")])
        );
    }

    #[test]
    fn a_bad_name_is_named() {
        for bad in ["", "a b", "a:", "x\r\ny", "é"] {
            let error = HeaderEdits::new().remove(bad).unwrap_err();
            assert_eq!(
                error,
                InvalidHeaderEdit::Name {
                    name: bad.to_owned()
                }
            );
            assert!(error.to_string().contains(&format!("{bad:?}")));
        }
    }

    #[test]
    fn a_bad_value_is_refused_and_not_shown() {
        let error = HeaderEdits::new()
            .set("authorization", "se\r\ncret")
            .unwrap_err();
        assert!(matches!(&error, InvalidHeaderEdit::Value { name } if name == "authorization"));
        assert!(!error.to_string().contains("cret"));
        assert!(HeaderEdits::new().append("x-a", "a\0").is_err());
    }

    #[test]
    fn debug_shows_names_but_no_values() {
        let edits = HeaderEdits::new()
            .set("authorization", "secret")
            .unwrap()
            .remove("cookie")
            .unwrap()
            .with(|_| {});
        assert_eq!(
            format!("{edits:?}"),
            "[set authorization, remove cookie, with closure]"
        );
    }

    #[test]
    fn a_list_can_be_shared_between_threads() {
        fn shareable<T: fmt::Debug + Send + Sync + 'static>(_: &T) {}
        shareable(&HeaderEdits::new().with(|_| {}));
    }

    #[test]
    fn a_clone_shares_the_list_until_one_grows() {
        let one = HeaderEdits::new().set("x-a", "1").unwrap();
        let two = one.clone();
        assert!(Arc::ptr_eq(&one.edits, &two.edits));
        let two = two.set("x-b", "2").unwrap();
        assert_eq!(applied(&one, &[]), lines(&[("x-a", "1")]));
        assert_eq!(applied(&two, &[]), lines(&[("x-a", "1"), ("x-b", "2")]));
        assert!(HeaderEdits::new().is_empty() && !one.is_empty());
    }
}

//! Query of a request: the view, and the text to search for.

use wsplice::TunnelInfo;

/// Longest text that is searched for, in bytes; the rest is cut off.
const MAX_SEARCH: usize = 200;

/// What a `GET` asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum View {
    Page,
    Json,
    Events,
    Style,
    Script,
}

/// Text that a tunnel must contain to be shown; empty for all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Search(String);

/// Reads the view and the search of a request; `None` if there is no such view.
pub(crate) fn read(path: &str, query: &str) -> Option<(View, Search)> {
    let mut view = if path.ends_with("/status.json") {
        View::Json
    } else {
        View::Page
    };
    let mut search = Search::default();
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        match &*name {
            "view" => {
                view = match &*value {
                    "page" => View::Page,
                    "json" => View::Json,
                    "events" => View::Events,
                    "style" => View::Style,
                    "script" => View::Script,
                    _ => return None,
                }
            }
            "q" => search = Search::new(&value),
            _ => {}
        }
    }
    Some((view, search))
}

impl Search {
    fn new(text: &str) -> Self {
        let text = text.trim();
        let end = (0..=MAX_SEARCH.min(text.len()))
            .rev()
            .find(|&end| text.is_char_boundary(end))
            .unwrap_or_default();
        Self(text.get(..end).unwrap_or_default().to_lowercase())
    }

    pub(crate) fn text(&self) -> Option<&str> {
        (!self.0.is_empty()).then_some(&*self.0)
    }

    /// Whether the tunnel's client, upstream, path, key or label contains the text, in any case.
    pub(crate) fn finds(&self, tunnel: &TunnelInfo) -> bool {
        let Some(text) = self.text() else { return true };
        let contains = |field: &str| field.to_lowercase().contains(text);
        contains(&tunnel.path)
            || contains(&tunnel.upstream)
            || tunnel.key().is_some_and(contains)
            || tunnel.label().is_some_and(contains)
            || tunnel
                .client
                .is_some_and(|client| contains(&client.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_query_names_the_view_and_the_search() {
        let read = |path, query| {
            read(path, query).map(|(view, search)| (view, search.text().map(str::to_owned)))
        };
        let text = |text: &str| Some(text.to_owned());
        assert_eq!(read("/", ""), Some((View::Page, None)));
        assert_eq!(read("/admin/status.json", ""), Some((View::Json, None)));
        assert_eq!(
            read("/", "view=json&q=a%20B+c"),
            Some((View::Json, text("a b c")))
        );
        assert_eq!(read("/", "q=+"), Some((View::Page, None)));
        assert_eq!(read("/", "view=events&other=1"), Some((View::Events, None)));
        assert_eq!(read("/", "view=nothing"), None);
    }

    #[test]
    fn a_long_search_is_cut_between_two_characters() {
        let long = "ä".repeat(150);
        assert_eq!(Search::new(&long).text().map(str::len), Some(200));
        let odd = format!("x{long}");
        assert_eq!(Search::new(&odd).text().map(str::len), Some(199));
    }
}

//! The head of a request or of a response, as it came off the wire.

/// A start line and header lines; nothing is interpreted but the line ends and the first colon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    /// The first line, without its line end.
    pub(crate) start: String,
    /// Names in lower case and trimmed values, in the order and as often as they came.
    pub(crate) headers: Vec<(String, String)>,
    /// Every byte of the head, the empty line included.
    pub(crate) raw: Vec<u8>,
}

impl Head {
    /// Takes the head that `bytes` begin with, or `None` while its empty line is missing.
    ///
    /// # Panics
    ///
    /// When a header line has no colon.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
        let raw = bytes[..end].to_vec();
        let text = String::from_utf8_lossy(&raw[..end - 4]).into_owned();
        let mut lines = text.split("\r\n");
        let start = lines.next().unwrap_or_default().to_owned();
        let headers = lines.map(header).collect();
        Some(Self {
            start,
            headers,
            raw,
        })
    }

    /// The status code of a response.
    ///
    /// # Panics
    ///
    /// When the start line is not that of a response.
    pub(crate) fn status(&self) -> u16 {
        match self.word(1).parse() {
            Ok(status) if self.start.starts_with("HTTP/") => status,
            _ => panic!("expected a status line, got {:?}", self.start),
        }
    }

    /// The method of a request.
    pub(crate) fn method(&self) -> &str {
        self.word(0)
    }

    /// The target of a request, as sent: path and query.
    pub(crate) fn target(&self) -> &str {
        self.word(1)
    }

    /// The first value of the header `name`.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.all(name).next()
    }

    /// Every value of the header `name`, one per line of the head.
    pub(crate) fn all<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a str> {
        let name = name.to_ascii_lowercase();
        self.headers
            .iter()
            .filter(move |(candidate, _)| *candidate == name)
            .map(|(_, value)| value.as_str())
    }

    fn word(&self, index: usize) -> &str {
        self.start.split(' ').nth(index).unwrap_or_default()
    }
}

fn header(line: &str) -> (String, String) {
    match line.split_once(':') {
        Some((name, value)) => (name.to_ascii_lowercase(), value.trim().to_owned()),
        None => panic!("expected a header line, got {line:?}"),
    }
}

//! A strict reader of HTTP/1.1 messages (RFC 9110, RFC 9112), written for the tests alone: an own opinion
//! beside those of httparse and of hyper.

use std::fmt;

/// The outcome of reading the first message of some bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Read<T> {
    Whole(T),
    /// The bytes may begin such a message.
    Partial,
    Malformed(&'static str),
}

/// The line ends that are accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LineEnds {
    /// CRLF alone, as every sender must write them.
    Sent,
    /// A lone LF too, and empty lines ahead of the message (RFC 9112 §2.2).
    Received,
}

/// A head: its start line, and its fields with names in lower case.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) start: Vec<u8>,
    pub(crate) fields: Vec<(String, Vec<u8>)>,
    /// The number of its bytes.
    pub(crate) len: usize,
}

/// The length of a body, by RFC 9112 §6.3.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    None,
    Length(u64),
    Chunked,
    UntilEnd,
    Malformed,
}

impl fmt::Debug for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:?}", String::from_utf8_lossy(&self.start))?;
        for (name, value) in &self.fields {
            writeln!(f, "    {name}: {:?}", String::from_utf8_lossy(value))?;
        }
        Ok(())
    }
}

impl Head {
    /// Reads the head that `bytes` begin with.
    pub(crate) fn read(bytes: &[u8], ends: LineEnds) -> Read<Self> {
        let mut at = 0;
        let mut lines = Vec::new();
        loop {
            let rest = &bytes[at..];
            let Some(length) = rest.iter().position(|byte| *byte == b'\n') else {
                return Read::Partial;
            };
            at += length + 1;
            let line = match (rest[..length].strip_suffix(b"\r"), ends) {
                (Some(line), _) => line,
                (None, LineEnds::Received) => &rest[..length],
                (None, LineEnds::Sent) => return Read::Malformed("a lone LF"),
            };
            if !line.is_empty() {
                lines.push(line);
            } else if !lines.is_empty() {
                break;
            } else if ends == LineEnds::Sent {
                return Read::Malformed("an empty line ahead of the head");
            }
        }
        let mut lines = lines.into_iter();
        let start = lines.next().unwrap_or_default().to_vec();
        match lines.map(field).collect() {
            Ok(fields) => Read::Whole(Self {
                start,
                fields,
                len: at,
            }),
            Err(fault) => Read::Malformed(fault),
        }
    }

    /// The values of the field lines of this name.
    pub(crate) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        let lines = self.fields.iter().filter(move |(found, _)| found == name);
        lines.map(|(_, value)| &value[..])
    }

    /// The value of the only line of this name.
    pub(crate) fn only<'a>(&'a self, name: &'a str) -> Option<&'a [u8]> {
        let mut lines = self.all(name);
        lines.next().filter(|_| lines.next().is_none())
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.all(name).next().is_some()
    }

    /// The members of the list of this name (RFC 9110 §5.6.1).
    pub(crate) fn members(&self, name: &str) -> Vec<Vec<u8>> {
        let lines: Vec<_> = self.all(name).collect();
        let joined = lines.join(&b',');
        let members = joined.split(|byte| *byte == b',').map(trim);
        let members = members.filter(|member| !member.is_empty());
        members.map(<[u8]>::to_vec).collect()
    }

    /// The members of the list of this name, in lower case.
    pub(crate) fn list(&self, name: &str) -> Vec<String> {
        let members = self.members(name).into_iter();
        members
            .map(|member| String::from_utf8_lossy(&member).to_ascii_lowercase())
            .collect()
    }

    /// The method, the target and the minor version of a request.
    pub(crate) fn request_line(&self) -> Option<(&str, &[u8], u8)> {
        let mut parts = self.start.splitn(3, |byte| *byte == b' ');
        let (method, target, version) = (parts.next()?, parts.next()?, parts.next()?);
        let is_target = |byte: &u8| matches!(byte, 0x21..=0x7E | 0x80..);
        if !is_token(method) || target.is_empty() || !target.iter().all(is_target) {
            return None;
        }
        let minor = match version {
            b"HTTP/1.1" => 1,
            b"HTTP/1.0" => 0,
            _ => return None,
        };
        Some((std::str::from_utf8(method).ok()?, target, minor))
    }

    /// The status and the minor version of a response.
    pub(crate) fn status_line(&self) -> Option<(u16, u8)> {
        let minor = match self.start.get(..9)? {
            b"HTTP/1.1 " => 1,
            b"HTTP/1.0 " => 0,
            _ => return None,
        };
        let digits = self.start.get(9..12)?;
        let reason = self.start.get(12..)?;
        let is_line = reason.is_empty() || reason.starts_with(b" ");
        if !is_line || !digits.iter().all(u8::is_ascii_digit) || !reason.iter().all(is_in_value) {
            return None;
        }
        let status = std::str::from_utf8(digits).ok()?.parse().ok()?;
        Some((status, minor)).filter(|(status, _)| *status >= 100)
    }

    /// The length of a request's body.
    pub(crate) fn request_framing(&self) -> Framing {
        if self.has("transfer-encoding") {
            let is_new = self.request_line().is_some_and(|(_, _, minor)| minor == 1);
            let codings = self.list("transfer-encoding");
            return match codings.last() {
                Some(last) if is_new && last == "chunked" => Framing::Chunked,
                _ => Framing::Malformed,
            };
        }
        match length(self.all("content-length")) {
            Ok(None | Some(0)) => Framing::None,
            Ok(Some(length)) => Framing::Length(length),
            Err(()) => Framing::Malformed,
        }
    }

    /// The one number in `Content-Length`.
    pub(crate) fn content_length(&self) -> Option<u64> {
        let lengths = self.members("content-length");
        length(lengths.iter().map(|it| &it[..])).ok().flatten()
    }

    /// The length of the body of a response to a `GET`.
    pub(crate) fn response_framing(&self) -> Framing {
        match self.status_line() {
            None => return Framing::Malformed,
            Some((100..=199 | 204 | 304, _)) => return Framing::None,
            Some(_) => {}
        }
        if self.has("transfer-encoding") {
            return match self.list("transfer-encoding").last() {
                Some(last) if last == "chunked" => Framing::Chunked,
                _ => Framing::UntilEnd,
            };
        }
        // A client may take a list of the same number for the number (RFC 9110 §8.6).
        let lengths = self.members("content-length");
        match length(lengths.iter().map(|it| &it[..])) {
            Ok(None) if self.has("content-length") => Framing::Malformed,
            Ok(None) => Framing::UntilEnd,
            Ok(Some(0)) => Framing::None,
            Ok(Some(length)) => Framing::Length(length),
            Err(()) => Framing::Malformed,
        }
    }
}

/// The members of a list, with or without regard to quoted-strings (RFC 9110 §5.6.1, §5.6.4).
pub(crate) fn members_of(list: &[u8], splits_quotes: bool) -> impl Iterator<Item = &[u8]> {
    let mut is_quoted = false;
    let mut is_escaped = false;
    let members = list.split(move |byte| {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = is_quoted,
            b'"' => is_quoted = !is_quoted,
            _ => {}
        }
        *byte == b',' && (splits_quotes || !is_quoted)
    });
    members.map(trim).filter(|member| !member.is_empty())
}

/// The one number among these values of `Content-Length`.
fn length<'a>(values: impl IntoIterator<Item = &'a [u8]>) -> Result<Option<u64>, ()> {
    let mut length = None;
    for value in values {
        let number = decimal(value).ok_or(())?;
        if length.is_some_and(|known| known != number) {
            return Err(());
        }
        length = Some(number);
    }
    Ok(length)
}

/// Reads a body; returns it with the number of its bytes on the wire. A body up to the end of the
/// connection takes all bytes.
pub(crate) fn body(bytes: &[u8], framing: Framing) -> Read<(Vec<u8>, usize)> {
    match framing {
        Framing::None => Read::Whole((Vec::new(), 0)),
        Framing::UntilEnd => Read::Whole((bytes.to_vec(), bytes.len())),
        Framing::Malformed => Read::Malformed("the framing"),
        Framing::Length(length) => match usize::try_from(length) {
            Ok(length) if length <= bytes.len() => Read::Whole((bytes[..length].to_vec(), length)),
            _ => Read::Partial,
        },
        Framing::Chunked => chunks(bytes),
    }
}

/// RFC 9112 §7.1, with CRLF alone as line ends.
fn chunks(bytes: &[u8]) -> Read<(Vec<u8>, usize)> {
    match content_of_chunks(bytes) {
        Read::Whole((content, at)) => trailers(&bytes[at..]).map(|len| (content, at + len)),
        read => read,
    }
}

/// The content of the chunks, and where the trailers begin.
pub(crate) fn content_of_chunks(bytes: &[u8]) -> Read<(Vec<u8>, usize)> {
    let mut content = Vec::new();
    let mut at = 0;
    loop {
        let Some(end) = bytes[at..].windows(2).position(|two| two == b"\r\n") else {
            return Read::Partial;
        };
        let Some(size) = chunk_size(&bytes[at..at + end]) else {
            return Read::Malformed("the line of a chunk");
        };
        at += end + 2;
        if size == 0 {
            return Read::Whole((content, at));
        }
        let size = usize::try_from(size).ok();
        let Some(end) = size.and_then(|size| at.checked_add(size)) else {
            return Read::Partial;
        };
        let Some(chunk) = bytes.get(at..end) else {
            return Read::Partial;
        };
        content.extend_from_slice(chunk);
        match bytes.get(end..end + 2) {
            Some(b"\r\n") => at = end + 2,
            Some(_) => return Read::Malformed("the end of a chunk"),
            None => return Read::Partial,
        }
    }
}

/// The content that has come, of a body that need not be whole.
pub(crate) fn content_so_far(bytes: &[u8], framing: Framing) -> Vec<u8> {
    match framing {
        Framing::None | Framing::Malformed => Vec::new(),
        Framing::UntilEnd => bytes.to_vec(),
        Framing::Length(length) => {
            let length = usize::try_from(length).unwrap_or(usize::MAX);
            bytes[..length.min(bytes.len())].to_vec()
        }
        Framing::Chunked => chunks_so_far(bytes),
    }
}

fn chunks_so_far(mut bytes: &[u8]) -> Vec<u8> {
    let mut content = Vec::new();
    while let Some(end) = bytes.windows(2).position(|two| two == b"\r\n") {
        let Some(size) = chunk_size(&bytes[..end]) else {
            break;
        };
        bytes = &bytes[end + 2..];
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        content.extend_from_slice(&bytes[..size.min(bytes.len())]);
        if size == 0 || bytes.get(size..size.saturating_add(2)) != Some(b"\r\n") {
            break;
        }
        bytes = &bytes[size + 2..];
    }
    content
}

/// The size at the beginning of a chunk's line; extensions are ignored.
fn chunk_size(line: &[u8]) -> Option<u64> {
    if line.contains(&b'\n') || line.contains(&b'\r') {
        return None;
    }
    let digits = line.split(|byte| *byte == b';').next().unwrap_or_default();
    // White space behind the size is bad, but means nothing else (RFC 9112 §7.1.1).
    hexadecimal(digits.trim_ascii_end())
}

/// The length of the trailers, with the empty line.
fn trailers(bytes: &[u8]) -> Read<usize> {
    let mut at = 0;
    loop {
        let Some(end) = bytes[at..].windows(2).position(|two| two == b"\r\n") else {
            return Read::Partial;
        };
        let line = &bytes[at..at + end];
        at += end + 2;
        if line.is_empty() {
            return Read::Whole(at);
        }
        if let Err(fault) = field(line) {
            return Read::Malformed(fault);
        }
    }
}

impl<T> Read<T> {
    pub(crate) fn map<U>(self, change: impl FnOnce(T) -> U) -> Read<U> {
        match self {
            Self::Whole(value) => Read::Whole(change(value)),
            Self::Partial => Read::Partial,
            Self::Malformed(fault) => Read::Malformed(fault),
        }
    }
}

/// RFC 9112 §5: no white space around the name, and no folded line.
fn field(line: &[u8]) -> Result<(String, Vec<u8>), &'static str> {
    let colon = line.iter().position(|byte| *byte == b':');
    let (name, value) = line.split_at(colon.ok_or("a line without a colon")?);
    if !is_token(name) {
        return Err("the name of a field");
    }
    let value = trim(&value[1..]);
    if !value.iter().all(is_in_value) {
        return Err("the value of a field");
    }
    let name = String::from_utf8_lossy(name).to_ascii_lowercase();
    Ok((name, value.to_vec()))
}

pub(crate) fn trim(value: &[u8]) -> &[u8] {
    let is_text = |byte: &u8| !matches!(byte, b' ' | b'\t');
    let begin = value.iter().position(is_text).unwrap_or(value.len());
    let end = value.iter().rposition(is_text).map_or(begin, |at| at + 1);
    &value[begin..end]
}

/// RFC 9110 §5.5.
fn is_in_value(byte: &u8) -> bool {
    matches!(byte, b'\t' | 0x20..=0x7E | 0x80..)
}

/// RFC 9110 §5.6.2.
pub(crate) fn is_token(text: &[u8]) -> bool {
    let is_tchar = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    !text.is_empty() && text.iter().all(is_tchar)
}

fn decimal(text: &[u8]) -> Option<u64> {
    let is_number = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(text)
        .ok()?
        .parse()
        .ok()
        .filter(|_| is_number)
}

fn hexadecimal(text: &[u8]) -> Option<u64> {
    let is_number = !text.is_empty() && text.iter().all(u8::is_ascii_hexdigit);
    let text = std::str::from_utf8(text).ok()?;
    u64::from_str_radix(text, 16).ok().filter(|_| is_number)
}

/// Whether the text is a host with an optional port (RFC 9110 §7.2, RFC 3986 §3.2.2), without escapes.
pub(crate) fn is_host(text: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(text) else {
        return false;
    };
    let (name, port) = match text.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((address, port)) => (address, port),
            None => return false,
        },
        None => text.split_at(text.find(':').unwrap_or(text.len())),
    };
    let is_name = match text.starts_with('[') {
        true => name.parse::<std::net::Ipv6Addr>().is_ok(),
        false => {
            let is_usual =
                |byte: u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=".contains(&byte);
            !matches!(name, "" | ".") && name.bytes().all(is_usual)
        }
    };
    let is_port = match port.strip_prefix(':') {
        None => port.is_empty(),
        Some("") => true,
        Some(digits) => decimal(digits.as_bytes()).is_some_and(|port| port <= 65535),
    };
    is_name && is_port
}

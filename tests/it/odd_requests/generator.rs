//! Generator of requests that are legal (RFC 9110, 9112) and odd.

use crate::support::{raw::KEY, rng::Xorshift};

/// A request, and the parts of it that reach the upstream.
pub(super) struct OddRequest {
    pub(super) bytes: Vec<u8>,
    pub(super) method: String,
    pub(super) forwarded_target: String,
    /// Names and values of the headers that are passed on.
    pub(super) kept: Vec<(String, Vec<u8>)>,
    pub(super) body: Vec<u8>,
    pub(super) is_handshake: bool,
    /// Whether the client's connection outlives the request.
    pub(super) is_persistent: bool,
}

pub(super) struct Generator(Xorshift);

/// Methods with and without a meaning. `CONNECT` and `TRACE` are not forwarded.
const METHODS: [&str; 14] = [
    "GET",
    "HEAD",
    "POST",
    "PUT",
    "DELETE",
    "OPTIONS",
    "PATCH",
    "PROPFIND",
    "M-SEARCH",
    "get",
    "X",
    "VERSION-CONTROL",
    "!#$%&'*+-.^_`|~",
    "BASELINE.CONTROL_09",
];

/// Characters of tokens beside letters and digits (RFC 9110 §5.6.2).
const TOKEN: &[u8] = b"!#$%&'*+-.^_`|~";

/// Characters of paths beside letters and digits (RFC 3986 §3.3).
const PATH: &[u8] = b"-._~!$&'()*+,;=:@/";

/// Names that are in use, some of which look as if a proxy cared.
const NAMES: [&str; 16] = [
    "Accept",
    "aCCEPT-eNCODING",
    "Cookie",
    "cookie2",
    "AUTHORIZATION",
    "Range",
    "If-None-Match",
    "Cache-Control",
    "Date",
    "From",
    "Max-Forwards",
    "Origin",
    "User-Agent",
    "Warning",
    "X-Request-ID",
    "Content-Type",
];

impl Generator {
    pub(super) fn new(seed: u64) -> Self {
        Self(Xorshift::new(seed))
    }

    pub(super) fn request(&mut self) -> OddRequest {
        if self.one_in(12) {
            self.handshake()
        } else {
            self.ordinary()
        }
    }

    fn ordinary(&mut self) -> OddRequest {
        let method = self.pick(&METHODS).to_owned();
        let (target, forwarded_target) = self.target(&method);
        let mut lines = self.headers();
        let mut kept = lines.clone();
        if method == "OPTIONS" {
            // It is counted down on the way (RFC 9110 §7.6.2).
            let counts = |line: &(String, Vec<u8>)| line.0.eq_ignore_ascii_case("max-forwards");
            lines.retain(|line| !counts(line));
            kept.retain(|line| !counts(line));
        }
        self.nominate(&mut lines, &mut kept);
        let is_persistent = !self.one_in(50);
        let version = if is_persistent { "1.1" } else { "1.0" };
        let (body, framed) = match version {
            "1.1" => self.body(&mut lines),
            _ => (Vec::new(), Vec::new()),
        };
        lines.push(("Host".to_owned(), b"app.test".to_vec()));
        let start = format!("{method} {target} HTTP/{version}\r\n");
        let bytes = self.encode(&start, lines, &framed);
        OddRequest {
            bytes,
            method,
            forwarded_target,
            kept,
            body,
            is_handshake: false,
            is_persistent,
        }
    }

    fn handshake(&mut self) -> OddRequest {
        let (target, forwarded_target) = self.target("GET");
        let mut lines = self.headers();
        let mut kept = lines.clone();
        for (name, value) in [("sec-webSocket-KEY", KEY), ("Sec-WebSocket-Version", "13")] {
            lines.push((name.to_owned(), value.into()));
            kept.push((name.to_owned(), value.into()));
        }
        let upgrade = self.pick(&["websocket", "WebSocket", "foo/1, WEBSOCKET", ",websocket,"]);
        lines.push(("UPGRADE".to_owned(), upgrade.into()));
        let connection = self.pick(&[
            "Upgrade",
            "keep-alive, uPGRADE",
            ", Upgrade ,,",
            "x,upgrade",
        ]);
        lines.push(("cOnnection".to_owned(), connection.into()));
        if self.one_in(3) {
            let offer = self.pick(&["chat", "chat , superchat", "v1.json, v2~a"]);
            lines.push(("Sec-WebSocket-Protocol".to_owned(), offer.into()));
            kept.push(("Sec-WebSocket-Protocol".to_owned(), offer.into()));
        }
        lines.push(("hOST".to_owned(), b"app.test".to_vec()));
        let start = format!("GET {target} HTTP/1.1\r\n");
        OddRequest {
            bytes: self.encode(&start, lines, &[]),
            method: "GET".to_owned(),
            forwarded_target,
            kept,
            body: Vec::new(),
            is_handshake: true,
            is_persistent: false,
        }
    }

    /// Returns a target as it is sent and as it is forwarded: the absolute form becomes a path, and
    /// the host in it is the header's.
    fn target(&mut self, method: &str) -> (String, String) {
        if method == "OPTIONS" && self.one_in(4) {
            return ("*".to_owned(), "*".to_owned());
        }
        let mut path = "/".to_owned();
        for _ in 0..self.0.below(24) {
            path += &self.path_piece();
        }
        if self.one_in(2) {
            path.push('?');
            for _ in 0..self.0.below(24) {
                path += &self.path_piece();
                if self.one_in(6) {
                    path.push('?');
                }
            }
        }
        if self.one_in(100) {
            path += &"long".repeat(500);
        }
        match self.one_in(10) {
            true => (format!("http://app.test{path}"), path),
            false => (path.clone(), path),
        }
    }

    fn path_piece(&mut self) -> String {
        match self.0.below(8) {
            0 => char::from(self.byte_of(PATH)).to_string(),
            1 => format!("%{:02x}", self.0.below(256)),
            2 => format!("%{:02X}", self.0.below(256)),
            _ => char::from(self.alphanumeric()).to_string(),
        }
    }

    fn headers(&mut self) -> Vec<(String, Vec<u8>)> {
        let count = self.0.below(14);
        let mut lines: Vec<(String, Vec<u8>)> = Vec::new();
        for _ in 0..count {
            let name = match self.0.below(4) {
                0 => self.pick(&NAMES).to_owned(),
                // Another line of the same name.
                1 if !lines.is_empty() => lines[self.0.below(lines.len())].0.clone(),
                _ => self.name(),
            };
            let value = self.value();
            lines.push((name, value));
        }
        lines
    }

    /// Returns a token that is the name of no managed header, by its first letters.
    fn name(&mut self) -> String {
        let mut name = self.pick(&["Q", "x-q", "q_", "!Q"]).to_owned();
        for _ in 0..self.0.below(20) {
            let byte = match self.0.below(5) {
                0 => self.byte_of(TOKEN),
                _ => self.alphanumeric(),
            };
            name.push(byte.into());
        }
        name
    }

    /// Returns a value without white space around it: empty, long, with tabs, with bytes ≥ 0x80.
    fn value(&mut self) -> Vec<u8> {
        let length = match self.0.below(40) {
            0 => 3000,
            1..8 => 0,
            _ => self.0.below(40),
        };
        let mut value = Vec::with_capacity(length);
        for _ in 0..length {
            value.push(match self.0.below(12) {
                0 => b' ',
                1 => b'\t',
                2 => 0x80 + self.0.below(128) as u8,
                3 => self.byte_of(b"\"\\,;=:(){}[]<>@?/"),
                _ => 0x21 + self.0.below(94) as u8,
            });
        }
        value.trim_ascii().to_vec()
    }

    /// Names a header in `Connection`, which keeps it to this hop.
    fn nominate(&mut self, lines: &mut Vec<(String, Vec<u8>)>, kept: &mut Vec<(String, Vec<u8>)>) {
        if !self.one_in(5) {
            return;
        }
        let mut names = "keep-alive".to_owned();
        let mut named = lines.iter().map(|line| &line.0);
        if let Some(name) = named.rfind(|name| name.to_ascii_lowercase().contains('q')) {
            names = format!("{names}  ,,{name}, q-absent");
            let name = name.clone();
            kept.retain(|line| !line.0.eq_ignore_ascii_case(&name));
        }
        lines.push(("Connection".to_owned(), names.into()));
    }

    /// Returns a body, and its bytes on the wire; adds the header that frames it.
    fn body(&mut self, lines: &mut Vec<(String, Vec<u8>)>) -> (Vec<u8>, Vec<u8>) {
        let size = match self.0.below(6) {
            0 => 0,
            1 => self.0.below(3000),
            2 => self.0.below(20),
            _ => return (Vec::new(), Vec::new()),
        };
        let body = self.0.bytes(size);
        if self.one_in(2) {
            lines.push(("content-LENGTH".to_owned(), size.to_string().into()));
            return (body.clone(), body);
        }
        lines.push(("tRANSFER-eNCODING".to_owned(), b"Chunked".to_vec()));
        let mut framed = Vec::new();
        let mut rest = &body[..];
        while !rest.is_empty() {
            let (chunk, others) = rest.split_at(1 + self.0.below(rest.len()));
            let zeros = "0".repeat(self.0.below(4));
            let extension = self.pick(&["", ";a", ";a=b", ";a=\"b\""]);
            framed.extend(format!("{zeros}{:X}{extension}\r\n", chunk.len()).into_bytes());
            framed.extend_from_slice(chunk);
            framed.extend_from_slice(b"\r\n");
            rest = others;
        }
        framed.extend_from_slice(b"000\r\n\r\n");
        (body, framed)
    }

    /// Encodes the lines in a random order, except that lines of one name keep theirs, with white
    /// space around their values, and at times an empty line ahead (RFC 9112 §2.2).
    fn encode(&mut self, start: &str, lines: Vec<(String, Vec<u8>)>, body: &[u8]) -> Vec<u8> {
        let mut ordered: Vec<(String, Vec<u8>)> = Vec::new();
        for line in lines {
            let same = |other: &(String, Vec<u8>)| other.0.eq_ignore_ascii_case(&line.0);
            let first = ordered.iter().rposition(same).map_or(0, |at| at + 1);
            let at = first + self.0.below(ordered.len() - first + 1);
            ordered.insert(at, line);
        }
        let mut bytes = Vec::new();
        if self.one_in(20) {
            bytes.extend_from_slice(b"\r\n");
        }
        bytes.extend_from_slice(start.as_bytes());
        for (name, value) in ordered {
            let spaces = ["", " ", "\t", "  \t "];
            bytes.extend_from_slice(name.as_bytes());
            bytes.push(b':');
            bytes.extend_from_slice(self.pick(&spaces).as_bytes());
            bytes.extend_from_slice(&value);
            bytes.extend_from_slice(self.pick(&spaces).as_bytes());
            bytes.extend_from_slice(b"\r\n");
        }
        bytes.extend_from_slice(b"\r\n");
        bytes.extend_from_slice(body);
        bytes
    }

    fn one_in(&mut self, count: usize) -> bool {
        self.0.below(count) == 0
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.0.below(from.len())]
    }

    fn byte_of(&mut self, from: &[u8]) -> u8 {
        from[self.0.below(from.len())]
    }

    fn alphanumeric(&mut self) -> u8 {
        self.byte_of(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789")
    }
}

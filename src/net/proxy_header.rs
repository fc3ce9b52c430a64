//! Reader of the PROXY protocol: the header with a client's address that a load balancer sends before
//! all other bytes. Pure.
//!
//! <https://www.haproxy.org/download/3.2/doc/proxy-protocol.txt>; sections are of that text.

use std::{
    error, fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

/// §2.2: the first twelve bytes of version 2, which no other protocol begins with.
pub(crate) const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";

/// §2.2: the thirteenth byte is the version, 2, and a command.
pub(crate) const LOCAL: u8 = 0x20;
pub(crate) const PROXY: u8 = 0x21;

/// §2.2: the fourteenth byte is the family and the transport, which is a stream unless unknown.
pub(crate) const UNSPEC: u8 = 0x00;
pub(crate) const TCP4: u8 = 0x11;
pub(crate) const TCP6: u8 = 0x21;

/// §2.1: the longest line of version 1, with its end.
const MAX_LINE: usize = 107;

/// The shortest header: `PROXY UNKNOWN` and the end of the line.
const SHORTEST: usize = 15;

/// §2.2: the part of version 2 that has a fixed length.
const FIXED: usize = 16;

/// The longest header of version 2 that is read: the addresses and what is behind them. Load balancers
/// send some hundred bytes there, such as the name of a certificate.
const MAX_HEADER: usize = 4096;

/// The addresses that a header reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reported {
    pub(crate) source: SocketAddr,
    pub(crate) destination: SocketAddr,
}

/// How to go on with the bytes of a header that have been read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// At least this many bytes more belong to the header, so they can be read at once.
    Read(usize),
    /// The header is known, but for this many bytes of additions to skip. `None` where the header
    /// reports no addresses, and those of the connection itself count.
    Done {
        reported: Option<Reported>,
        skip: usize,
    },
}

/// The most bytes that [`step`] wants to see.
pub(crate) const BUFFER: usize = MAX_LINE;

/// Bytes that are no header of the PROXY protocol, or not one that is read here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum InvalidHeader {
    /// It begins with neither signature.
    Signature,
    /// A line of version 1 that is too long, or malformed.
    Line,
    /// A version other than 1 and 2, or a command that is not assigned.
    Version,
    /// A length that has no room for the addresses, or is beyond the bound.
    Length,
}

/// Returns how to go on with these first bytes of a connection.
///
/// # Errors
///
/// The bytes are no header.
pub(crate) fn step(bytes: &[u8]) -> Result<Step, InvalidHeader> {
    let begins_with =
        |signature: &[u8]| bytes.starts_with(signature) || signature.starts_with(bytes);
    if begins_with(&SIGNATURE) {
        return version_2(bytes);
    }
    if begins_with(b"PROXY ") {
        return version_1(bytes);
    }
    Err(InvalidHeader::Signature)
}

/// §2.2.
fn version_2(bytes: &[u8]) -> Result<Step, InvalidHeader> {
    // No header of either version is shorter: no byte behind it is read.
    let [_, rest @ ..] = bytes else {
        return Ok(Step::Read(SHORTEST));
    };
    let Some((fixed, addresses)) = bytes.split_first_chunk::<FIXED>() else {
        return Ok(Step::Read(match rest.len() + 1 {
            read if read < SHORTEST => SHORTEST - read,
            read => FIXED - read,
        }));
    };
    let [.., command, family, high, low] = *fixed;
    let length = usize::from(u16::from_be_bytes([high, low]));
    if !matches!(command, LOCAL | PROXY) {
        return Err(InvalidHeader::Version);
    }
    if length > MAX_HEADER - FIXED {
        return Err(InvalidHeader::Length);
    }
    let wanted = match (command, family) {
        (PROXY, TCP4) => 12,
        (PROXY, TCP6) => 36,
        // §2.2: the proxy's own connection, or a family without an address for us.
        _ => {
            return Ok(Step::Done {
                reported: None,
                skip: length,
            });
        }
    };
    if length < wanted {
        return Err(InvalidHeader::Length);
    }
    if addresses.len() < wanted {
        return Ok(Step::Read(wanted - addresses.len()));
    }
    Ok(Step::Done {
        reported: binary_addresses(family, addresses),
        skip: length - wanted,
    })
}

/// §2.2: both addresses, then both ports.
fn binary_addresses(family: u8, bytes: &[u8]) -> Option<Reported> {
    let (source, bytes) = binary_address(family, bytes)?;
    let (destination, bytes) = binary_address(family, bytes)?;
    let (source_port, bytes) = bytes.split_first_chunk()?;
    let destination_port = bytes.first_chunk()?;
    Some(Reported {
        source: (source, u16::from_be_bytes(*source_port)).into(),
        destination: (destination, u16::from_be_bytes(*destination_port)).into(),
    })
}

fn binary_address(family: u8, bytes: &[u8]) -> Option<(IpAddr, &[u8])> {
    if family == TCP4 {
        let (ip, rest) = bytes.split_first_chunk::<4>()?;
        return Some((Ipv4Addr::from(*ip).into(), rest));
    }
    let (ip, rest) = bytes.split_first_chunk::<16>()?;
    Some((Ipv6Addr::from(*ip).into(), rest))
}

/// §2.1.
fn version_1(bytes: &[u8]) -> Result<Step, InvalidHeader> {
    if let Some(line) = bytes.strip_suffix(b"\r\n") {
        let reported = line_addresses(line).ok_or(InvalidHeader::Line)?;
        return Ok(Step::Done { reported, skip: 0 });
    }
    if bytes.contains(&b'\n') || bytes.len() >= MAX_LINE {
        return Err(InvalidHeader::Line);
    }
    if bytes.len() < SHORTEST {
        return Ok(Step::Read(SHORTEST - bytes.len()));
    }
    let missing = match bytes {
        [.., b'\r'] => 1,
        // Each field that is missing is a space and a character at least, and then the line ends.
        [b'P', b'R', b'O', b'X', b'Y', b' ', b'T', ..] => {
            let spaces = bytes.iter().filter(|byte| **byte == b' ').count();
            2 * 5usize.saturating_sub(spaces) + 2
        }
        _ => 2,
    };
    Ok(Step::Read(missing.min(MAX_LINE - bytes.len())))
}

/// Returns the addresses of a line; `Some(None)` for `UNKNOWN`, and `None` if it is malformed.
fn line_addresses(line: &[u8]) -> Option<Option<Reported>> {
    let line = std::str::from_utf8(line).ok()?;
    let fields = line.strip_prefix("PROXY ")?;
    // §2.1: whatever follows the word is ignored.
    if fields == "UNKNOWN" || fields.starts_with("UNKNOWN ") {
        return Some(None);
    }
    let mut fields = fields.split(' ');
    let mut next = || fields.next();
    let (family, source, destination) = (next()?, next()?, next()?);
    let (source_port, destination_port) = (port(next()?)?, port(next()?)?);
    if next().is_some() {
        return None;
    }
    let ip = |text: &str| -> Option<IpAddr> {
        match family {
            "TCP4" => text.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
            "TCP6" => text.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
            _ => None,
        }
    };
    Some(Some(Reported {
        source: (ip(source)?, source_port).into(),
        destination: (ip(destination)?, destination_port).into(),
    }))
}

fn port(text: &str) -> Option<u16> {
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| is_number)
}

impl fmt::Display for InvalidHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Signature => "the connection does not begin with a PROXY protocol header",
            Self::Line => "the PROXY protocol line is malformed",
            Self::Version => "the PROXY protocol header has an unknown version or command",
            Self::Length => "the PROXY protocol header is too short or too long",
        })
    }
}

impl error::Error for InvalidHeader {}

#[cfg(test)]
mod tests;

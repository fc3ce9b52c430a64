use std::net::Ipv4Addr;

use proptest::prelude::*;

use super::*;

fn addr(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn v1(source: &str, destination: &str) -> String {
    let header = ProxyProtocol::V1.relayed(Some(addr(source)), Some(addr(destination)));
    String::from_utf8(header.as_bytes().to_vec()).unwrap()
}

fn v2(source: &str, destination: &str) -> Vec<u8> {
    let header = ProxyProtocol::V2.relayed(Some(addr(source)), Some(addr(destination)));
    header.as_bytes().to_vec()
}

#[test]
fn version_1_is_a_line_of_text_2_1() {
    assert_eq!(
        v1("192.168.0.1:56324", "192.168.0.11:443"),
        "PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n"
    );
    assert_eq!(
        v1("[2001:db8::1]:65535", "[::1]:443"),
        "PROXY TCP6 2001:db8::1 ::1 65535 443\r\n"
    );
}

#[test]
fn version_2_is_binary_2_2() {
    #[rustfmt::skip]
    let tcp4 = [
        0x0D, 0x0A, 0x0D, 0x0A, 0x00, 0x0D, 0x0A, 0x51, 0x55, 0x49, 0x54, 0x0A,
        0x21, 0x11, 0x00, 0x0C,
        192, 0, 2, 1, 10, 0, 0, 7,
        0xC3, 0x50, 0x01, 0xBB,
    ];
    assert_eq!(v2("192.0.2.1:50000", "10.0.0.7:443"), tcp4);
    #[rustfmt::skip]
    let tcp6 = [
        0x0D, 0x0A, 0x0D, 0x0A, 0x00, 0x0D, 0x0A, 0x51, 0x55, 0x49, 0x54, 0x0A,
        0x21, 0x21, 0x00, 0x24,
        0x20, 0x01, 0x0D, 0xB8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1,
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1,
        0x00, 0x50, 0xFF, 0xFF,
    ];
    assert_eq!(v2("[2001:db8::1]:80", "[::1]:65535"), tcp6);
}

#[test]
fn a_client_without_an_address_is_unknown() {
    let local = Some(addr("10.0.0.7:443"));
    let header = ProxyProtocol::V1.relayed(None, local);
    assert_eq!(header.as_bytes(), b"PROXY UNKNOWN\r\n");
    let header = ProxyProtocol::V2.relayed(None, local);
    assert_eq!(header.as_bytes(), b"\r\n\r\n\0\r\nQUIT\n\x21\x00\x00\x00");
}

#[test]
fn the_proxys_own_connections_are_local() {
    let header = ProxyProtocol::V1.local();
    assert_eq!(header.as_bytes(), b"PROXY UNKNOWN\r\n");
    let header = ProxyProtocol::V2.local();
    assert_eq!(header.as_bytes(), b"\r\n\r\n\0\r\nQUIT\n\x20\x00\x00\x00");
}

#[test]
fn an_unknown_destination_is_no_address_of_the_sources_family() {
    let line = |source| {
        let header = ProxyProtocol::V1.relayed(Some(addr(source)), None);
        String::from_utf8(header.as_bytes().to_vec()).unwrap()
    };
    assert_eq!(line("192.0.2.1:9"), "PROXY TCP4 192.0.2.1 0.0.0.0 9 0\r\n");
    assert_eq!(line("[2001:db8::1]:9"), "PROXY TCP6 2001:db8::1 :: 9 0\r\n");
}

#[test]
fn mapped_addresses_are_ipv4_and_mixed_families_are_ipv6() {
    assert_eq!(
        v1("[::ffff:192.0.2.1]:1", "[::ffff:10.0.0.7]:2"),
        "PROXY TCP4 192.0.2.1 10.0.0.7 1 2\r\n"
    );
    assert_eq!(
        v1("[2001:db8::1]:1", "10.0.0.7:2"),
        "PROXY TCP6 2001:db8::1 ::ffff:a00:7 1 2\r\n"
    );
    assert_eq!(v2("10.0.0.7:1", "[2001:db8::1]:2")[13], 0x21);
}

/// A header as a receiver reads it: the command, and the ends if there are any.
#[derive(Debug, PartialEq)]
struct Read {
    is_local: bool,
    ends: Option<(SocketAddr, SocketAddr)>,
    length: usize,
}

/// A receiver as §2.1 and §2.2 want it.
fn read(bytes: &[u8]) -> Option<Read> {
    if let Some(rest) = bytes.strip_prefix(b"\r\n\r\n\0\r\nQUIT\n") {
        return read_v2(rest);
    }
    let line = bytes.get(..107.min(bytes.len()))?;
    let end = line.windows(2).position(|pair| pair == b"\r\n")?;
    let line = std::str::from_utf8(&line[..end]).ok()?;
    let words: Vec<_> = line.split(' ').collect();
    let ends = match words[..] {
        ["PROXY", "UNKNOWN", ..] => None,
        ["PROXY", "TCP4", source, destination, from, to] => Some((
            SocketAddr::new(source.parse::<Ipv4Addr>().ok()?.into(), from.parse().ok()?),
            SocketAddr::new(
                destination.parse::<Ipv4Addr>().ok()?.into(),
                to.parse().ok()?,
            ),
        )),
        ["PROXY", "TCP6", source, destination, from, to] => Some((
            SocketAddr::new(groups(source)?.into(), from.parse().ok()?),
            SocketAddr::new(groups(destination)?.into(), to.parse().ok()?),
        )),
        _ => return None,
    };
    Some(Read {
        is_local: false,
        ends,
        length: end + 2,
    })
}

/// An IPv6 address of hexadecimal groups alone.
fn groups(text: &str) -> Option<Ipv6Addr> {
    text.parse().ok().filter(|_| !text.contains('.'))
}

fn read_v2(bytes: &[u8]) -> Option<Read> {
    let (&[command, family, high, low], rest) = bytes.split_first_chunk::<4>()?;
    let length = usize::from(u16::from_be_bytes([high, low]));
    let block = rest.get(..length)?;
    let port = |at: usize| u16::from_be_bytes([block[at], block[at + 1]]);
    let ends = match (family, length) {
        (0x00, 0) => None,
        (0x11, 12) => {
            let ip = |at| Ipv4Addr::from(<[u8; 4]>::try_from(&block[at..at + 4]).unwrap());
            Some(((ip(0), port(8)).into(), (ip(4), port(10)).into()))
        }
        (0x21, 36) => {
            let ip = |at| Ipv6Addr::from(<[u8; 16]>::try_from(&block[at..at + 16]).unwrap());
            Some(((ip(0), port(32)).into(), (ip(16), port(34)).into()))
        }
        _ => return None,
    };
    Some(Read {
        is_local: match command {
            0x20 => true,
            0x21 => false,
            _ => return None,
        },
        ends,
        length: 16 + length,
    })
}

fn any_addr() -> impl Strategy<Value = SocketAddr> {
    let ip = prop_oneof![
        any::<[u8; 4]>().prop_map(IpAddr::from),
        any::<[u16; 8]>().prop_map(IpAddr::from),
        any::<[u8; 4]>().prop_map(|octets| Ipv4Addr::from(octets).to_ipv6_mapped().into()),
        Just(Ipv6Addr::UNSPECIFIED.into()),
    ];
    (ip, any::<u16>()).prop_map(SocketAddr::from)
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(
        source in proptest::option::of(any_addr()),
        destination in proptest::option::of(any_addr()),
    ) {
        for version in [ProxyProtocol::V1, ProxyProtocol::V2] {
            let header = version.relayed(source, destination);
            let bytes = header.as_bytes();
            let header = read(bytes).unwrap();
            prop_assert!(!header.is_local);
            prop_assert_eq!(header.length, bytes.len());
            prop_assert_eq!(header.ends.is_some(), source.is_some());
            if let (Some(source), Some(ends)) = (source, header.ends) {
                prop_assert_eq!(canonical(ends.0), canonical(source));
                prop_assert_eq!(ends.0.is_ipv4(), ends.1.is_ipv4());
                match destination {
                    Some(destination) => prop_assert_eq!(canonical(ends.1), canonical(destination)),
                    None => prop_assert!(ends.1.ip().is_unspecified() && ends.1.port() == 0),
                }
            }
        }
    }
}

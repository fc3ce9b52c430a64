use proptest::prelude::*;

use super::*;

fn addr(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn reported(source: &str, destination: &str) -> Option<Reported> {
    Some(Reported {
        source: addr(source),
        destination: addr(destination),
    })
}

/// Reads as the steps demand, from a connection on which these bytes come, and returns the result with
/// the number of bytes that were read.
fn read(connection: &[u8]) -> Result<(Option<Reported>, usize), InvalidHeader> {
    let mut seen = 0;
    loop {
        match step(&connection[..seen])? {
            Step::Read(more) => {
                assert!(more > 0);
                seen += more;
                assert!(seen <= BUFFER, "{seen}");
                assert!(seen <= connection.len(), "read beyond the header: {seen}");
            }
            Step::Done { reported, skip } => return Ok((reported, seen + skip)),
        }
    }
}

fn binary(version_and_command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
    [
        &SIGNATURE[..],
        &[version_and_command, family],
        &length,
        rest,
    ]
    .concat()
}

#[test]
fn headers_are_read_2() {
    let v4 = [192, 0, 2, 1, 10, 0, 0, 7, 0xC3, 0x50, 0x01, 0xBB];
    let mut v6 = [0; 36];
    v6[15] = 1;
    v6[16] = 0xFD;
    v6[33] = 80;
    let with_additions = [&v4[..], &[0x04, 0, 3, 1, 2, 3]].concat();
    for (header, expected) in [
        (
            b"PROXY TCP4 192.0.2.1 10.0.0.7 50000 443\r\n".to_vec(),
            reported("192.0.2.1:50000", "10.0.0.7:443"),
        ),
        (
            b"PROXY TCP4 1.1.1.1 1.1.1.1 0 0\r\n".to_vec(),
            reported("1.1.1.1:0", "1.1.1.1:0"),
        ),
        (
            b"PROXY TCP6 2001:db8::1 ::1 65535 443\r\n".to_vec(),
            reported("[2001:db8::1]:65535", "[::1]:443"),
        ),
        (
            [
                &b"PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff "[..],
                b"ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n",
            ]
            .concat(),
            reported(
                "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535",
                "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535",
            ),
        ),
        (b"PROXY UNKNOWN\r\n".to_vec(), None),
        (b"PROXY UNKNOWN 1.1.1.1 anything 4\r\n".to_vec(), None),
        (
            binary(PROXY, TCP4, &v4),
            reported("192.0.2.1:50000", "10.0.0.7:443"),
        ),
        (
            binary(PROXY, TCP4, &with_additions),
            reported("192.0.2.1:50000", "10.0.0.7:443"),
        ),
        (binary(PROXY, TCP6, &v6), reported("[::1]:80", "[fd00::]:0")),
        (binary(LOCAL, UNSPEC, &[]), None),
        (binary(LOCAL, TCP4, &v4), None),
        (binary(PROXY, UNSPEC, &[1, 2, 3]), None),
        // A datagram, and a Unix socket.
        (binary(PROXY, 0x12, &v4), None),
        (binary(PROXY, 0x31, &[0; 216]), None),
        (binary(PROXY, UNSPEC, &[0; MAX_HEADER - FIXED]), None),
    ] {
        assert_eq!(read(&header), Ok((expected, header.len())), "{header:?}");
    }
}

#[test]
fn what_is_no_header_is_refused() {
    use InvalidHeader::{Length, Line, Signature, Version};
    let long = [b"PROXY UNKNOWN ".to_vec(), vec![b'a'; 200]].concat();
    for (bytes, fault) in [
        (b"GET / HTTP/1.1\r\nhost: a\r\n".to_vec(), Signature),
        (
            b"\x16\x03\x01\0\0\0\0\0\0\0\0\0\0\0\0\0".to_vec(),
            Signature,
        ),
        (b"proxy TCP4 1.1.1.1 1.1.1.1 1 1\r\n".to_vec(), Signature),
        (b"PROXY TCP4 1.1.1.1 1.1.1.1 1\r\n      ".to_vec(), Line),
        (b"PROXY TCP4 1.1.1.1 1.1.1.1 1 1 1\r\n".to_vec(), Line),
        (b"PROXY TCP4 1.1.1.1  1.1.1.1 1 1\r\n".to_vec(), Line),
        (b"PROXY TCP4 1.1.1.1 ::1 1 1\r\n       ".to_vec(), Line),
        (b"PROXY TCP6 1.1.1.1 1.1.1.1 1 1\r\n".to_vec(), Line),
        (b"PROXY TCP4 1.1.1.1 1.1.1.1 +1 1\r\n".to_vec(), Line),
        (b"PROXY TCP4 1.1.1.1 1.1.1.1 65536 1\r\n".to_vec(), Line),
        (b"PROXY TCP4 1.1.1.01 1.1.1.1 1 1\r\n".to_vec(), Line),
        (b"PROXY UDP4 1.1.1.1 1.1.1.1 1 1\r\n".to_vec(), Line),
        (b"PROXY TCP4 1.1.1.1 1.1.1.1 1 1\n      ".to_vec(), Line),
        (long, Line),
        (binary(0x11, TCP4, &[0; 12]), Version),
        (binary(0x22, TCP4, &[0; 12]), Version),
        (binary(PROXY, TCP4, &[0; 11]), Length),
        (binary(PROXY, TCP6, &[0; 35]), Length),
        (binary(PROXY, UNSPEC, &[0; MAX_HEADER - FIXED + 1]), Length),
    ] {
        assert_eq!(read(&bytes), Err(fault), "{bytes:?}");
    }
}

proptest! {
    #[test]
    fn nothing_behind_a_header_is_read(
        source: SocketAddr,
        destination: SocketAddr,
        binary: bool,
        behind: Vec<u8>,
    ) {
        use crate::net::connect::ProxyProtocol;

        let version = if binary { ProxyProtocol::V2 } else { ProxyProtocol::V1 };
        let header = version.relayed(Some(source), Some(destination));
        let connection = [header.as_bytes(), &behind].concat();
        let (reported, length) = read(&connection).unwrap();
        prop_assert_eq!(length, header.as_bytes().len());
        let reported = reported.unwrap();
        let same = |read: SocketAddr, sent: SocketAddr| {
            read.ip().to_canonical() == sent.ip().to_canonical() && read.port() == sent.port()
        };
        prop_assert!(same(reported.source, source), "{:?}", reported);
        prop_assert!(same(reported.destination, destination), "{:?}", reported);
    }

    #[test]
    fn any_bytes_are_read_without_a_panic(bytes: Vec<u8>, signed: bool) {
        let bytes = if signed { [&SIGNATURE[..], &bytes].concat() } else { bytes };
        for end in 0..bytes.len().min(BUFFER) {
            let _ = step(&bytes[..end]);
        }
    }
}

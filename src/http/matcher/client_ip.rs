//! Matching by the client's address.

use super::traits::Matcher;
use crate::http::head::RequestHead;
use crate::http::headers::{InvalidNetwork, Networks};

/// Matcher for client addresses; see [`client_ip`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientIpMatcher {
    networks: Networks,
}

/// Matches clients whose address lies in one of these networks, each in CIDR notation
/// (`10.0.0.0/8`, `2001:db8::/32`) or a single address; see [`Networks::parse`].
///
/// The address is [`RequestHead::client_ip`]; a request without one does not match. IPv4 addresses
/// that arrive through an IPv6 socket (`::ffff:10.0.0.1`) are IPv4 addresses.
///
/// # Errors
///
/// Returns an error if one of the texts is not a network or an address.
///
/// # Examples
///
/// ```
/// use wsplice::head::RequestHead;
/// use wsplice::matcher::{Matcher, client_ip};
///
/// let internal = client_ip(["10.0.0.0/8", "::1"])?;
///
/// let request = http::Request::new(());
/// let head = RequestHead::from(&request).with_client_ip([10, 1, 2, 3]);
/// assert!(internal.matches(&head));
/// # Ok::<(), wsplice::headers::InvalidNetwork>(())
/// ```
pub fn client_ip<T: AsRef<str>>(
    networks: impl IntoIterator<Item = T>,
) -> Result<ClientIpMatcher, InvalidNetwork> {
    Networks::parse(networks).map(ClientIpMatcher::from)
}

impl From<Networks> for ClientIpMatcher {
    fn from(networks: Networks) -> Self {
        Self { networks }
    }
}

impl Matcher for ClientIpMatcher {
    fn matches(&self, request: &RequestHead<'_>) -> bool {
        request
            .client_ip()
            .is_some_and(|address| self.networks.contains(address))
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    fn lies_in(network: &str, address: &str) -> bool {
        let request = http::Request::new(());
        let address: IpAddr = address.parse().unwrap();
        let head = RequestHead::from(&request).with_client_ip(address);
        client_ip([network]).unwrap().matches(&head)
    }

    #[test]
    fn addresses_lie_in_their_networks() {
        for (network, inside, outside) in [
            ("10.0.0.0/8", "10.255.0.1", "11.0.0.1"),
            ("192.0.2.7", "192.0.2.7", "192.0.2.8"),
            ("2001:db8::/32", "2001:db8:1::1", "2001:db9::1"),
            ("::1", "::1", "::2"),
            ("0.0.0.0/0", "203.0.113.9", "2001:db8::1"),
            ("::/0", "2001:db8::1", "203.0.113.9"),
        ] {
            assert!(lies_in(network, inside), "{network} {inside}");
            assert!(!lies_in(network, outside), "{network} {outside}");
        }
    }

    #[test]
    fn a_mapped_address_is_an_ipv4_address() {
        assert!(lies_in("10.0.0.0/8", "::ffff:10.0.0.1"));
        assert!(lies_in("::ffff:10.0.0.0/104", "10.0.0.1"));
        assert!(lies_in("::ffff:10.0.0.1", "::ffff:10.0.0.1"));
        assert!(!lies_in("::ffff:10.0.0.0/104", "11.0.0.1"));
    }

    #[test]
    fn an_unknown_client_lies_nowhere() {
        let request = http::Request::new(());
        let everywhere = client_ip(["0.0.0.0/0", "::/0"]).unwrap();
        assert!(!everywhere.matches(&RequestHead::from(&request)));
        let nowhere = client_ip::<&str>([]).unwrap();
        assert!(!nowhere.matches(&RequestHead::from(&request).with_client_ip([10, 0, 0, 1])));
    }

    #[test]
    fn a_network_that_would_fail_open_in_not_is_an_error() {
        for text in ["", "localhost", "10.1.2.3/8", "::ffff:0:0/90", "::/80"] {
            let error = client_ip(["10.0.0.0/8", text]).unwrap_err();
            assert_eq!(error.text(), text);
        }
    }
}

//! Matching by the client's address.

use std::fmt;
use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net};

use super::traits::Matcher;
use crate::http::head::RequestHead;

/// Matcher for client addresses; see [`client_ip`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientIpMatcher {
    networks: Vec<IpNet>,
}

/// Error for a text that is not a network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidNetwork {
    text: String,
}

/// Matches clients whose address lies in one of these networks, each in CIDR notation
/// (`10.0.0.0/8`, `2001:db8::/32`) or a single address.
///
/// The address is [`RequestHead::client_ip`]; a request without one does not match. IPv4 addresses
/// that arrive through an IPv6 socket (`::ffff:10.0.0.1`) are IPv4 addresses.
///
/// # Errors
///
/// Returns an error if one of the texts is neither a network nor an address.
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
/// # Ok::<(), wsplice::matcher::InvalidNetwork>(())
/// ```
pub fn client_ip<T: AsRef<str>>(
    networks: impl IntoIterator<Item = T>,
) -> Result<ClientIpMatcher, InvalidNetwork> {
    let networks = networks.into_iter().map(|text| parse(text.as_ref()));
    Ok(ClientIpMatcher {
        networks: networks.collect::<Result<_, _>>()?,
    })
}

impl Matcher for ClientIpMatcher {
    fn matches(&self, request: &RequestHead<'_>) -> bool {
        request.client_ip().is_some_and(|address| {
            let address = address.to_canonical();
            self.networks
                .iter()
                .any(|network| network.contains(&address))
        })
    }
}

impl fmt::Display for InvalidNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:?} is neither an IP network in CIDR notation nor an address",
            self.text
        )
    }
}

impl std::error::Error for InvalidNetwork {}

fn parse(text: &str) -> Result<IpNet, InvalidNetwork> {
    let address = || text.parse::<IpAddr>().map(IpNet::from);
    let network = text.parse::<IpNet>().or_else(|_| address());
    network.map(canonical).map_err(|_| InvalidNetwork {
        text: text.to_owned(),
    })
}

/// Converts a mapped network: `::ffff:10.0.0.0/104` is `10.0.0.0/8`.
fn canonical(network: IpNet) -> IpNet {
    match (
        network.addr().to_canonical(),
        network.prefix_len().checked_sub(96),
    ) {
        (IpAddr::V4(address), Some(length)) if network.addr().is_ipv6() => {
            Ipv4Net::new(address, length).map_or(network, IpNet::V4)
        }
        _ => network,
    }
}

#[cfg(test)]
mod tests {
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
            ("10.1.2.3/8", "10.255.0.1", "11.0.0.1"),
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
    fn what_is_no_network_is_named_in_the_error() {
        for text in [
            "",
            "10.0.0.0/33",
            "10.0.0/8",
            "::/129",
            "localhost",
            "10.0.0.1:80",
            "::1%eth0",
        ] {
            let error = client_ip(["10.0.0.0/8", text]).unwrap_err();
            assert!(
                error.to_string().starts_with(&format!("{text:?}")),
                "{error}"
            );
        }
    }
}

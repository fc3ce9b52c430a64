//! Lists of IP networks.

use std::error::Error;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use ipnet::{IpNet, Ipv4Net};

/// Set of IP networks: trusted proxies, or the clients that a matcher selects.
///
/// The default is the empty set. Cloning shares the list. An IPv4-mapped IPv6 address
/// (`::ffff:10.0.0.1`, as a dual-stack listener reports IPv4 clients) counts as the IPv4 address
/// that it carries, in networks and in the addresses that are looked up. Otherwise the families do
/// not mix: all addresses are `0.0.0.0/0` and `::/0`.
///
/// A proxy that is trusted can claim to be any client; add only machines that write their own
/// knowledge into `X-Forwarded-*`.
///
/// # Examples
///
/// ```
/// use wsplice::headers::Networks;
///
/// let trusted = Networks::parse(["10.0.0.0/8", "2001:db8::7"])?.and(Networks::loopback());
///
/// assert!(trusted.contains("10.1.2.3".parse()?));
/// assert!(trusted.contains("127.0.0.1".parse()?));
/// assert!(!trusted.contains("192.0.2.1".parse()?));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Networks {
    networks: Arc<[IpNet]>,
}

impl Networks {
    /// Returns the empty set.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// Returns the loopback addresses: `127.0.0.0/8` and `::1`.
    #[must_use]
    pub fn loopback() -> Self {
        Self::preset(&["127.0.0.0/8", "::1"])
    }

    /// Returns the ranges that are not routed on the internet: loopback, RFC 1918 (`10.0.0.0/8`,
    /// `172.16.0.0/12`, `192.168.0.0/16`), RFC 4193 (`fc00::/7`) and link-local (`169.254.0.0/16`,
    /// `fe80::/10`).
    ///
    /// Trust these only if the clients themselves have no private addresses: a client from such a
    /// range could claim any address. Carrier-grade NAT (`100.64.0.0/10`) holds clients and is not
    /// included.
    #[must_use]
    pub fn private_ranges() -> Self {
        Self::loopback().and(Self::preset(&[
            "10.0.0.0/8",
            "172.16.0.0/12",
            "192.168.0.0/16",
            "169.254.0.0/16",
            "fc00::/7",
            "fe80::/10",
        ]))
    }

    /// Parses single addresses (`192.0.2.1`, `2001:db8::1`) and networks in CIDR notation
    /// (`192.0.2.0/24`).
    ///
    /// # Errors
    ///
    /// Returns an error for the first text that is neither. A list of networks decides on access, so
    /// a text that may have been meant otherwise is an error too: white space, address bits beyond
    /// the prefix (`10.1.2.3/8`), and an IPv6 network other than `::/0` that surrounds the
    /// IPv4-mapped addresses (`::/80`), none of which it would contain.
    pub fn parse<I>(texts: I) -> Result<Self, InvalidNetwork>
    where
        I: IntoIterator<Item: AsRef<str>>,
    {
        let networks: Result<_, _> = texts
            .into_iter()
            .map(|text| parse_network(text.as_ref()))
            .collect();
        Ok(Self {
            networks: networks?,
        })
    }

    /// Merges both sets.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        if self.is_empty() {
            return other;
        }
        let networks = self.networks.iter().chain(&*other.networks);
        Self {
            networks: networks.copied().collect(),
        }
    }

    /// Returns whether one of the networks contains the address.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.networks
            .iter()
            .any(|network| network.contains(&address))
    }

    /// Returns whether the set is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.networks.is_empty()
    }

    /// Parses a built-in list. A typo in one would yield an empty set, which is safe and fails the
    /// tests.
    fn preset(texts: &[&str]) -> Self {
        Self::parse(texts).unwrap_or_default()
    }
}

/// Error for a text that is not a network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidNetwork {
    text: String,
    fault: Fault,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Syntax,
    HostBits(IpNet),
    SurroundsMapped,
}

impl InvalidNetwork {
    /// Returns the text as it was given.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for InvalidNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} ", self.text)?;
        match self.fault {
            Fault::Syntax => {
                f.write_str("is neither an IP network in CIDR notation nor an address")
            }
            Fault::HostBits(network) => {
                write!(
                    f,
                    "has address bits beyond its prefix: the network is {network}"
                )
            }
            Fault::SurroundsMapped => {
                f.write_str("surrounds the IPv4-mapped addresses, which count as IPv4 addresses")
            }
        }
    }
}

impl Error for InvalidNetwork {}

fn parse_network(text: &str) -> Result<IpNet, InvalidNetwork> {
    let invalid = |fault| InvalidNetwork {
        text: text.to_owned(),
        fault,
    };
    let network = match text.parse::<IpAddr>() {
        Ok(address) => IpNet::from(address),
        Err(_) => text.parse().map_err(|_| invalid(Fault::Syntax))?,
    };
    if network != network.trunc() {
        return Err(invalid(Fault::HostBits(network.trunc())));
    }
    canonical(network).ok_or_else(|| invalid(Fault::SurroundsMapped))
}

/// Converts an IPv4-mapped network into the IPv4 network that it carries, as `contains` does with
/// addresses; `None` if the network surrounds the mapped addresses.
fn canonical(network: IpNet) -> Option<IpNet> {
    const MAPPED: Ipv6Addr = Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0, 0);
    let IpNet::V6(v6) = network else {
        return Some(network);
    };
    match (v6.addr().to_ipv4_mapped(), v6.prefix_len().checked_sub(96)) {
        (Some(address), Some(length)) => Ipv4Net::new(address, length).ok().map(IpNet::V4),
        _ if v6.prefix_len() > 0 && v6.contains(&MAPPED) => None,
        _ => Some(network),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn holds(networks: &Networks, inside: &[&str], outside: &[&str]) {
        for addr in inside {
            assert!(networks.contains(ip(addr)), "{addr} should be inside");
        }
        for addr in outside {
            assert!(!networks.contains(ip(addr)), "{addr} should be outside");
        }
    }

    #[test]
    fn the_empty_set_contains_no_address() {
        assert!(Networks::none().is_empty());
        holds(&Networks::default(), &[], &["127.0.0.1", "::1"]);
    }

    #[test]
    fn single_addresses_and_ranges() {
        let trusted = Networks::parse(["192.0.2.1", "198.51.100.0/24", "2001:db8::/32"]).unwrap();
        holds(
            &trusted,
            &[
                "192.0.2.1",
                "198.51.100.0",
                "198.51.100.255",
                "2001:db8:1::5",
            ],
            &["192.0.2.2", "198.51.101.0", "2001:db9::"],
        );
    }

    #[test]
    fn mapped_addresses_are_ipv4_on_both_sides() {
        let plain = Networks::parse(["10.0.0.0/8"]).unwrap();
        holds(
            &plain,
            &["::ffff:10.1.2.3"],
            &["::ffff:11.0.0.0", "::a01:203"],
        );
        let mapped = Networks::parse(["::ffff:10.0.0.0/104", "::ffff:192.0.2.1"]).unwrap();
        holds(
            &mapped,
            &["10.1.2.3", "::ffff:10.1.2.3", "192.0.2.1"],
            &["11.0.0.0", "192.0.2.2"],
        );
        let all = Networks::parse(["::ffff:0:0/96"]).unwrap();
        holds(&all, &["0.0.0.0", "255.255.255.255"], &["::1"]);
    }

    #[test]
    fn families_do_not_mix() {
        holds(
            &Networks::parse(["::/0"]).unwrap(),
            &["::", "2001:db8::"],
            &["192.0.2.1", "::ffff:192.0.2.1"],
        );
        holds(
            &Networks::parse(["0.0.0.0/0"]).unwrap(),
            &["192.0.2.1"],
            &["::", "2001:db8::"],
        );
    }

    #[test]
    fn a_text_that_is_not_a_network_is_named_in_the_error() {
        for bad in [
            "",
            "example.com",
            "10.0.0.0/33",
            "::/129",
            "10.0.0/8",
            "10.0.0.1:80",
            "[::1]",
            "10.0.0.0/-1",
            "localhost",
            "::1%eth0",
            " 10.0.0.0/8",
            "10.0.0.0/8 ",
        ] {
            let error = Networks::parse(["127.0.0.1", bad, "worse"]).unwrap_err();
            assert_eq!(error.text(), bad);
            assert!(error.to_string().contains(&format!("{bad:?}")), "{error}");
        }
    }

    #[test]
    fn an_ipv6_network_around_the_mapped_addresses_would_never_contain_ipv4() {
        for bad in ["::/80", "::ffc0:0:0/90", "::fffe:0:0/95", "::/8", "::/1"] {
            let error = Networks::parse([bad]).unwrap_err();
            assert!(error.to_string().contains("IPv4-mapped"), "{error}");
        }
        for good in ["::/0", "::/96", "::fffe:0:0/96", "100::/8"] {
            assert!(Networks::parse([good]).is_ok(), "{good}");
        }
    }

    #[test]
    fn address_bits_beyond_the_prefix_are_a_mistake() {
        for (bad, network) in [
            ("10.1.2.3/8", "10.0.0.0/8"),
            ("2001:db8::1/32", "2001:db8::/32"),
            ("::ffff:0:0/90", "::ffc0:0:0/90"),
            ("::ffff:10.0.0.0/8", "::/8"),
        ] {
            let error = Networks::parse([bad]).unwrap_err();
            assert!(error.to_string().ends_with(network), "{error}");
        }
    }

    #[test]
    fn the_loopback_preset() {
        holds(
            &Networks::loopback(),
            &["127.0.0.1", "127.255.255.255", "::1", "::ffff:127.0.0.1"],
            &["128.0.0.0", "10.0.0.1", "::2"],
        );
    }

    #[test]
    fn the_private_preset_ends_where_its_rfcs_say() {
        holds(
            &Networks::private_ranges(),
            &[
                "127.0.0.1",
                "::1",
                "10.0.0.0",
                "10.255.255.255",
                "172.16.0.0",
                "172.31.255.255",
                "192.168.0.0",
                "192.168.255.255",
                "169.254.0.0",
                "169.254.255.255",
                "fc00::",
                "fdff:ffff::1",
                "fe80::1",
                "febf::",
            ],
            &[
                "9.255.255.255",
                "11.0.0.0",
                "172.15.255.255",
                "172.32.0.0",
                "192.167.255.255",
                "192.169.0.0",
                "169.253.0.0",
                "169.255.0.0",
                "100.64.0.1",
                "fbff::",
                "fe00::",
                "fec0::",
                "2001:db8::",
                "::2",
            ],
        );
    }
}

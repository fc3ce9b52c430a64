//! The trusted proxies in front of this one.

use std::error::Error;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::{IpNet, Ipv4Net};

/// Addresses of the proxies whose statements about the client are believed.
///
/// The default is the empty list, which trusts no peer. Add only machines that write their own
/// knowledge into `X-Forwarded-*`: a trusted peer can claim to be any client. Cloning shares the
/// list.
///
/// # Examples
///
/// ```
/// use wsplice::headers::TrustedProxies;
///
/// let trusted = TrustedProxies::parse(["10.0.0.0/8", "2001:db8::7"])?.and(TrustedProxies::loopback());
///
/// assert!(trusted.contains("10.1.2.3".parse()?));
/// assert!(trusted.contains("127.0.0.1".parse()?));
/// assert!(!trusted.contains("192.0.2.1".parse()?));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrustedProxies {
    ranges: Arc<[IpNet]>,
}

impl TrustedProxies {
    /// Returns the empty list, which trusts no peer.
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
    /// Use this only if the clients themselves have no private addresses: a client from such a
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

    /// Parses single addresses (`192.0.2.1`, `2001:db8::1`) and CIDR ranges (`192.0.2.0/24`); white
    /// space around an entry is ignored, and so are address bits beyond the prefix length.
    ///
    /// IPv4 and IPv6 do not mix: trusting every peer takes both `0.0.0.0/0` and `::/0`.
    ///
    /// # Errors
    ///
    /// Returns an error for the first entry that is neither, and for an IPv4-mapped range that is
    /// wider than `::ffff:0:0/96`, because it would hold no IPv4 address.
    pub fn parse<I>(entries: I) -> Result<Self, InvalidTrustedProxy>
    where
        I: IntoIterator<Item: AsRef<str>>,
    {
        let ranges: Result<_, _> = entries
            .into_iter()
            .map(|entry| parse_range(entry.as_ref()))
            .collect();
        Ok(Self { ranges: ranges? })
    }

    /// Merges both lists.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        if self.is_empty() {
            return other;
        }
        Self {
            ranges: self.ranges.iter().chain(&*other.ranges).copied().collect(),
        }
    }

    /// Returns whether `addr` is on the list; an IPv4-mapped IPv6 address counts as the IPv4
    /// address that it carries.
    #[must_use]
    pub fn contains(&self, addr: IpAddr) -> bool {
        let addr = addr.to_canonical();
        self.ranges.iter().any(|range| range.contains(&addr))
    }

    /// Returns whether the list is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// Parses a built-in list. A typo in one would yield an empty list, which is safe and fails the
    /// tests.
    fn preset(entries: &[&str]) -> Self {
        Self::parse(entries).unwrap_or_default()
    }
}

/// Error for an entry that [`TrustedProxies::parse`] could not read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidTrustedProxy {
    entry: String,
}

impl InvalidTrustedProxy {
    /// Returns the entry as it was given.
    #[must_use]
    pub fn entry(&self) -> &str {
        &self.entry
    }
}

impl fmt::Display for InvalidTrustedProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let entry = &self.entry;
        write!(
            f,
            "trusted proxy {entry:?} is neither an IP address nor a CIDR range"
        )
    }
}

impl Error for InvalidTrustedProxy {}

fn parse_range(entry: &str) -> Result<IpNet, InvalidTrustedProxy> {
    let text = entry.trim();
    let range = match text.parse::<IpAddr>() {
        Ok(addr) => Some(IpNet::from(addr)),
        Err(_) => text.parse::<IpNet>().ok(),
    };
    range
        .and_then(canonical)
        .ok_or_else(|| InvalidTrustedProxy {
            entry: entry.to_owned(),
        })
}

/// Converts an IPv4-mapped range into the IPv4 range that it carries, as `contains` does with
/// addresses; `None` if the range is wider than the mapped addresses.
fn canonical(range: IpNet) -> Option<IpNet> {
    let IpNet::V6(v6) = range else {
        return Some(range.trunc());
    };
    let Some(addr) = v6.addr().to_ipv4_mapped() else {
        return Some(range.trunc());
    };
    let prefix = v6.prefix_len().checked_sub(96)?;
    Ipv4Net::new(addr, prefix)
        .ok()
        .map(|v4| IpNet::V4(v4.trunc()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn holds(trusted: &TrustedProxies, inside: &[&str], outside: &[&str]) {
        for addr in inside {
            assert!(trusted.contains(ip(addr)), "{addr} should be inside");
        }
        for addr in outside {
            assert!(!trusted.contains(ip(addr)), "{addr} should be outside");
        }
    }

    #[test]
    fn the_empty_list_trusts_no_peer() {
        assert!(TrustedProxies::none().is_empty());
        holds(&TrustedProxies::default(), &[], &["127.0.0.1", "::1"]);
    }

    #[test]
    fn single_addresses_and_ranges() {
        let trusted =
            TrustedProxies::parse(["192.0.2.1", " 198.51.100.77/24 ", "2001:db8::/32"]).unwrap();
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
        let plain = TrustedProxies::parse(["10.0.0.0/8"]).unwrap();
        holds(
            &plain,
            &["::ffff:10.1.2.3"],
            &["::ffff:11.0.0.0", "::a01:203"],
        );
        let mapped = TrustedProxies::parse(["::ffff:10.0.0.0/104", "::ffff:192.0.2.1"]).unwrap();
        holds(
            &mapped,
            &["10.1.2.3", "::ffff:10.1.2.3", "192.0.2.1"],
            &["11.0.0.0", "192.0.2.2"],
        );
        let all = TrustedProxies::parse(["::ffff:0:0/96"]).unwrap();
        holds(&all, &["0.0.0.0", "255.255.255.255"], &["::1"]);
    }

    #[test]
    fn families_do_not_mix() {
        holds(
            &TrustedProxies::parse(["::/0"]).unwrap(),
            &["::", "2001:db8::"],
            &["192.0.2.1", "::ffff:192.0.2.1"],
        );
        holds(
            &TrustedProxies::parse(["0.0.0.0/0"]).unwrap(),
            &["192.0.2.1"],
            &["::", "2001:db8::"],
        );
    }

    #[test]
    fn the_error_names_the_bad_entry() {
        for bad in [
            "",
            "example.com",
            "10.0.0.0/33",
            "::/129",
            "10.0.0/8",
            "10.0.0.1:80",
            "[::1]",
            "10.0.0.0/-1",
            "::ffff:10.0.0.0/8",
        ] {
            let error = TrustedProxies::parse(["127.0.0.1", bad, "worse"]).unwrap_err();
            assert_eq!(error.entry(), bad);
            assert!(error.to_string().contains(&format!("{bad:?}")), "{error}");
        }
    }

    #[test]
    fn the_loopback_preset() {
        holds(
            &TrustedProxies::loopback(),
            &["127.0.0.1", "127.255.255.255", "::1", "::ffff:127.0.0.1"],
            &["128.0.0.0", "10.0.0.1", "::2"],
        );
    }

    #[test]
    fn the_private_preset_ends_where_its_rfcs_say() {
        holds(
            &TrustedProxies::private_ranges(),
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

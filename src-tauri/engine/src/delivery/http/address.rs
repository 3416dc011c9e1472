//! Which addresses are the public internet's. Everything else is somebody's own network, or nobody's.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::LazyLock;

use ipnet::{Ipv4Net, Ipv6Net};

/// Networks that are not reachable over the internet, or lead somewhere else: RFC 6890 and what IANA added since.
const V4: &[(&str, &str)] = &[
    ("0.0.0.0/8", "this network"),
    ("10.0.0.0/8", "private"),
    ("100.64.0.0/10", "shared by a provider's customers"),
    ("127.0.0.0/8", "this computer"),
    (
        "169.254.0.0/16",
        "link-local, where clouds keep their metadata",
    ),
    ("172.16.0.0/12", "private"),
    ("192.0.0.0/24", "reserved for protocols"),
    ("192.0.2.0/24", "documentation"),
    ("192.31.196.0/24", "AS112"),
    ("192.52.193.0/24", "AMT"),
    ("192.88.99.0/24", "6to4 relays"),
    ("192.168.0.0/16", "private"),
    ("192.175.48.0/24", "AS112"),
    ("198.18.0.0/15", "benchmarks"),
    ("198.51.100.0/24", "documentation"),
    ("203.0.113.0/24", "documentation"),
    ("224.0.0.0/4", "multicast"),
    ("240.0.0.0/4", "reserved"),
];

/// Within 2000::/3, which is all that is given out; outside of it nothing is let through.
const V6: &[(&str, &str)] = &[
    (
        "2001::/23",
        "reserved for protocols, Teredo and ORCHID among them",
    ),
    ("2001:db8::/32", "documentation"),
    ("2002::/16", "6to4, which wraps any IPv4 address"),
    ("2620:4f:8000::/48", "AS112"),
    ("3fff::/20", "documentation"),
];

static V4_NETS: LazyLock<Vec<(Ipv4Net, &str)>> = LazyLock::new(|| {
    V4.iter()
        .map(|(net, why)| (net.parse().expect("a constant network"), *why))
        .collect()
});
static V6_NETS: LazyLock<Vec<(Ipv6Net, &str)>> = LazyLock::new(|| {
    V6.iter()
        .map(|(net, why)| (net.parse().expect("a constant network"), *why))
        .collect()
});
static GIVEN_OUT: LazyLock<Ipv6Net> =
    LazyLock::new(|| "2000::/3".parse().expect("a constant network"));

/// An IPv4 address in IPv6 clothes is that IPv4 address.
pub fn folded(ip: IpAddr) -> IpAddr {
    ip.to_canonical()
}

/// Why an address is not the internet's; `None`: it is.
pub fn not_public(ip: IpAddr) -> Option<&'static str> {
    match folded(ip) {
        IpAddr::V4(ip) => v4(ip),
        IpAddr::V6(ip) => v6(ip),
    }
}

fn v4(ip: Ipv4Addr) -> Option<&'static str> {
    V4_NETS
        .iter()
        .find(|(net, _)| net.contains(&ip))
        .map(|(_, why)| *why)
}

fn v6(ip: Ipv6Addr) -> Option<&'static str> {
    if ip.is_loopback() {
        return Some("this computer");
    }
    if !GIVEN_OUT.contains(&ip) {
        // Unique local, link-local, site-local, multicast, NAT64, IPv4-compatible, discard-only, SRv6 and the rest.
        return Some("not an address of the internet");
    }
    V6_NETS
        .iter()
        .find(|(net, _)| net.contains(&ip))
        .map(|(_, why)| *why)
}

/// Somebody's own network, where an allowed name may lead. Link-local is not: clouds keep their keys there.
pub fn own_network(ip: IpAddr) -> bool {
    match folded(ip) {
        IpAddr::V4(ip) => ip.is_private() || ip.is_loopback(),
        IpAddr::V6(ip) => ip.is_loopback() || (ip.segments()[0] & 0xfe00) == 0xfc00,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_internet_is_let_through_and_nothing_else_is() {
        for public in [
            "1.1.1.1",
            "8.8.8.8",
            "93.184.216.34",
            "100.63.255.255",
            "172.32.0.1",
            "198.17.255.255",
            "223.255.255.255",
            "2606:4700:4700::1111",
            "2a00:1450:4001::8",
            "::ffff:8.8.8.8",
        ] {
            assert_eq!(not_public(public.parse().unwrap()), None, "{public}");
        }
        for other in [
            "0.0.0.0",
            "10.255.255.255",
            "100.64.0.1",
            "127.0.0.1",
            "127.255.255.254",
            "169.254.169.254",
            "172.31.255.255",
            "192.0.0.8",
            "192.88.99.1",
            "198.19.255.255",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::127.0.0.1",
            "::ffff:127.0.0.1",
            "::ffff:0:127.0.0.1",
            "64:ff9b::7f00:1",
            "64:ff9b:1::7f00:1",
            "100::1",
            "2001::1",
            "2001:2::1",
            "2001:20::1",
            "2001:db8::1",
            "2002:7f00:1::",
            "3fff::1",
            "5f00::1",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "fec0::1",
            "ff02::1",
        ] {
            assert!(not_public(other.parse().unwrap()).is_some(), "{other}");
        }
    }
}

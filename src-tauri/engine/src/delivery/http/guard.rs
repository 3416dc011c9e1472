//! Where may be sent to. The same check when an endpoint is saved and at every send.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use url::{Host, Url};

use super::address::{folded, not_public, own_network};

/// Hosts and networks of one's own that an admin lets be sent to.
#[derive(Debug, Clone, Default)]
pub struct AllowList {
    hosts: Vec<String>,
    networks: Vec<IpNet>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadEntry {
    #[error(
        "`{0}` is neither a host name (`printer.local`) nor an address or network (`10.1.0.0/16`)"
    )]
    Neither(String),
    #[error("`{0}` would allow far more than a network of one's own: at most /8, and /32 of IPv6")]
    TooWide(String),
}

impl AllowList {
    /// Each entry is an address, a network or a host's name.
    pub fn parse<'a>(entries: impl IntoIterator<Item = &'a str>) -> Result<AllowList, BadEntry> {
        let mut list = AllowList::default();
        for entry in entries {
            let text = entry.trim();
            let network = text
                .parse::<IpNet>()
                .or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
            match network {
                Ok(net) => {
                    let least = if net.addr().is_ipv4() { 8 } else { 32 };
                    if net.prefix_len() < least {
                        return Err(BadEntry::TooWide(entry.to_owned()));
                    }
                    list.networks.push(net.trunc());
                }
                Err(_) => match Host::parse(text) {
                    Ok(Host::Domain(name)) if is_name(&name) => list.hosts.push(name),
                    _ => return Err(BadEntry::Neither(entry.to_owned())),
                },
            }
        }
        Ok(list)
    }

    fn has_host(&self, name: &str) -> bool {
        self.hosts.iter().any(|h| h == name)
    }

    fn has_address(&self, ip: IpAddr) -> bool {
        let ip = folded(ip);
        self.networks.iter().any(|net| net.contains(&ip))
    }
}

fn is_name(name: &str) -> bool {
    // An empty label as well: a dot at the end makes the same name look like another.
    !name.split('.').any(str::is_empty)
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '.' || c == '_')
}

/// Why something may not be sent to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Blocked {
    #[error("this is no web address: {0}")]
    NotAnAddress(String),
    #[error("an address has up to 2048 characters")]
    TooLong,
    #[error(
        "the address has a space, a control character or a backslash in it, which programs read in different ways"
    )]
    Strange,
    #[error("the address begins with {0}:, and only https: is sent to")]
    Scheme(String),
    #[error("http without s is only for hosts that an admin has put on the list of allowed ones")]
    Plain,
    #[error("the address carries a user name or password: put it into a header")]
    Credentials,
    #[error("the address has a part behind #, which is never sent")]
    Fragment,
    #[error("nothing is sent to port {0}: another service than the web lives there")]
    Port(u16),
    #[error("{0} is a name within a network of one's own, not of the internet")]
    Name(String),
    #[error("{ip} is {why}, not an address of the internet")]
    Address { ip: IpAddr, why: &'static str },
}

impl Blocked {
    /// An admin may let it through.
    pub fn can_be_allowed(&self) -> bool {
        matches!(
            self,
            Blocked::Plain | Blocked::Name(_) | Blocked::Address { .. }
        )
    }
}

/// An address that may be sent to, as long as what its name resolves to may.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Target {
    pub https: bool,
    pub host: TargetHost,
    pub port: u16,
    /// Path and query.
    pub path: String,
    /// As the `Host` header has it.
    pub authority: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum TargetHost {
    Name(String),
    Address(IpAddr),
}

impl fmt::Display for TargetHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TargetHost::Name(name) => f.write_str(name),
            TargetHost::Address(ip) => ip.fmt(f),
        }
    }
}

/// Ports of services that take what looks like a request for commands of their own: what browsers refuse, and databases.
const BAD_PORTS: &[u16] = &[
    0, 1, 7, 9, 11, 13, 15, 17, 19, 20, 21, 22, 23, 25, 37, 42, 43, 53, 69, 77, 79, 87, 95, 101,
    102, 103, 104, 109, 110, 111, 113, 115, 117, 119, 123, 135, 137, 139, 143, 161, 179, 389, 427,
    445, 465, 512, 513, 514, 515, 526, 530, 531, 532, 540, 548, 554, 556, 563, 587, 601, 636, 873,
    989, 990, 993, 995, 1433, 1521, 1719, 1720, 1723, 2049, 2375, 2376, 2379, 2380, 3306, 3389,
    3659, 4045, 4190, 5060, 5061, 5432, 5433, 5672, 5900, 5984, 6000, 6379, 6380, 6432, 6443, 6566,
    6665, 6666, 6667, 6668, 6669, 6697, 9042, 9092, 9200, 9300, 10080, 10250, 11211, 15432, 26257,
    27017, 27018, 50000,
];

/// Names that never lead out of one's own network.
const OWN_NAMES: &[&str] = &[
    "localhost",
    "local",
    "localdomain",
    "internal",
    "intranet",
    "lan",
    "home",
    "corp",
    "private",
    "home.arpa",
];

#[derive(Debug, Clone, Default)]
pub struct Guard {
    allow: AllowList,
    /// Where the desk's own database listens: never, whatever is allowed.
    database_ports: Vec<u16>,
}

impl Guard {
    pub fn new(allow: AllowList, database_ports: Vec<u16>) -> Guard {
        Guard {
            allow,
            database_ports,
        }
    }

    /// Whether an address may be sent to. A name's addresses are looked at when it has been resolved.
    pub fn url(&self, text: &str) -> Result<Target, Blocked> {
        if text.len() > 2048 {
            return Err(Blocked::TooLong);
        }
        // The parser below would mend these, and others mend them otherwise.
        if text
            .chars()
            .any(|c| c.is_control() || c.is_whitespace() || c == '\\')
        {
            return Err(Blocked::Strange);
        }
        let url = Url::parse(text).map_err(|e| Blocked::NotAnAddress(e.to_string()))?;
        let https = match url.scheme() {
            "https" => true,
            "http" => false,
            other => return Err(Blocked::Scheme(other.to_owned())),
        };
        if !url.username().is_empty() || url.password().is_some() || has_userinfo(text) {
            return Err(Blocked::Credentials);
        }
        if url.fragment().is_some() {
            return Err(Blocked::Fragment);
        }
        let port = url.port_or_known_default().unwrap_or(443);
        if BAD_PORTS.contains(&port) || self.database_ports.contains(&port) {
            return Err(Blocked::Port(port));
        }
        let (host, allowed) = match url.host() {
            Some(Host::Domain(name)) => (self.name(name)?, self.allow.has_host(name)),
            Some(Host::Ipv4(ip)) => self.literal(ip.into())?,
            Some(Host::Ipv6(ip)) => self.literal(ip.into())?,
            None => return Err(Blocked::NotAnAddress("it names no host".to_owned())),
        };
        if !https && !allowed {
            return Err(Blocked::Plain);
        }
        let path = match url.query() {
            Some(query) => format!("{}?{query}", url.path()),
            None => url.path().to_owned(),
        };
        let authority = match url.port() {
            Some(port) => format!("{}:{port}", url.host_str().unwrap_or_default()),
            None => url.host_str().unwrap_or_default().to_owned(),
        };
        Ok(Target {
            https,
            host,
            port,
            path,
            authority,
        })
    }

    fn name(&self, name: &str) -> Result<TargetHost, Blocked> {
        let host = TargetHost::Name(name.to_owned());
        if self.allow.has_host(name) {
            return Ok(host);
        }
        // A dot at the end is the same name to a resolver and another one to a list.
        let own = OWN_NAMES.iter().any(|own| {
            name == *own
                || name
                    .strip_suffix(own)
                    .is_some_and(|rest| rest.ends_with('.'))
        });
        if own || !name.contains('.') || !is_name(name) {
            return Err(Blocked::Name(name.to_owned()));
        }
        Ok(host)
    }

    fn literal(&self, ip: IpAddr) -> Result<(TargetHost, bool), Blocked> {
        self.address(ip, None)?;
        Ok((TargetHost::Address(folded(ip)), self.allow.has_address(ip)))
    }

    /// Whether this very address may be connected to. `name`: what resolved to it.
    pub fn address(&self, ip: IpAddr, name: Option<&str>) -> Result<(), Blocked> {
        let Some(why) = not_public(ip) else {
            return Ok(());
        };
        if self.allow.has_address(ip) {
            return Ok(());
        }
        // An allowed name may lead into one's own network, and not to where clouds keep their keys.
        if name.is_some_and(|name| self.allow.has_host(name)) && own_network(ip) {
            return Ok(());
        }
        Err(Blocked::Address {
            ip: folded(ip),
            why,
        })
    }

    /// The second line: who is really at the other end.
    pub fn peer(&self, peer: SocketAddr, host: &TargetHost) -> Result<(), Blocked> {
        if self.database_ports.contains(&peer.port()) {
            return Err(Blocked::Port(peer.port()));
        }
        match host {
            TargetHost::Name(name) => self.address(peer.ip(), Some(name)),
            TargetHost::Address(_) => self.address(peer.ip(), None),
        }
    }
}

/// An empty user name too: `https://@host` is one address to us and another to somebody else.
fn has_userinfo(text: &str) -> bool {
    text.split_once("://")
        .map(|(_, rest)| rest.split(['/', '?', '#']).next().unwrap_or_default())
        .is_some_and(|authority| authority.contains('@'))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn guard(entries: &[&str]) -> Guard {
        Guard::new(
            AllowList::parse(entries.iter().copied()).unwrap(),
            vec![54_321],
        )
    }

    #[test]
    fn what_an_admin_allows_is_let_through_and_its_neighbours_are_not() {
        let guard = guard(&["10.1.0.0/16", "printer.local", "::1"]);
        assert!(guard.url("http://10.1.2.3:8080/x?y=1").is_ok());
        assert!(guard.url("https://10.2.0.1/").is_err());
        assert!(guard.url("http://printer.local/hook").is_ok());
        assert!(guard.url("http://other.local/hook").is_err());
        assert!(guard.url("http://[::1]:8080/").is_ok());
        assert_eq!(
            guard.url("http://[::1]:54321/"),
            Err(Blocked::Port(54_321)),
            "the database's own port never"
        );
        let metadata = "169.254.169.254".parse().unwrap();
        assert!(guard.address(metadata, Some("printer.local")).is_err());
        assert!(
            guard
                .address("192.168.1.9".parse().unwrap(), Some("printer.local"))
                .is_ok()
        );
        assert!(
            guard
                .address("192.168.1.9".parse().unwrap(), Some("other.example"))
                .is_err()
        );
    }

    #[test]
    fn an_entry_that_allows_everything_or_means_nothing_is_refused() {
        for bad in [
            "0.0.0.0/0",
            "::/0",
            "10.0.0.0/7",
            "",
            "a b",
            "http://x",
            "x:80",
            "*.example.com",
        ] {
            assert!(AllowList::parse([bad]).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_address_is_taken_apart_as_it_will_be_sent() {
        let target = guard(&[])
            .url("https://Hooks.Example.com:8443/in?a=b%20c")
            .unwrap();
        assert_eq!(target.authority, "hooks.example.com:8443");
        assert_eq!((target.path.as_str(), target.port), ("/in?a=b%20c", 8443));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        /// Whatever is typed: no panic, and what passes leads to the internet or to a name.
        #[test]
        fn whatever_is_typed_leads_nowhere_private(text in "(https?:|HTTPS:|ftp:)?/?/?[\\PC]{0,60}") {
            if let Ok(target) = guard(&[]).url(&text) {
                prop_assert!(target.https);
                if let TargetHost::Address(ip) = target.host {
                    prop_assert_eq!(not_public(ip), None);
                }
            }
        }

        /// Every spelling of a private IPv4 address that the parser knows is still that address.
        #[test]
        fn a_private_address_is_seen_in_every_spelling(last in 0u32..0x00ff_ffff, how in 0usize..6) {
            let ip = 0x7f00_0000 | last;
            let [a, b, c, d] = ip.to_be_bytes();
            let host = match how {
                0 => ip.to_string(),
                1 => format!("0x{ip:x}"),
                2 => format!("0{ip:o}"),
                3 => format!("{a}.0x{b:x}.0{c:o}.{d}"),
                4 => format!("{a}.{}", last),
                _ => format!("[::ffff:{a}.{b}.{c}.{d}]"),
            };
            let checked = guard(&[]).url(&format!("https://{host}/"));
            let refused = matches!(checked, Err(Blocked::Address { .. }));
            prop_assert!(refused, "{} {:?}", host, checked);
        }
    }
}

//! Which mail server, how encrypted, as whom.

use std::fmt;
use std::time::Duration;

use lettre::Address;
use url::Url;

use super::address::{one_line, parse_address};

/// A password that does not print itself.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(String);

impl Password {
    pub fn new(secret: impl Into<String>) -> Password {
        Password(secret.into())
    }

    pub(super) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// When the conversation becomes encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Security {
    /// `smtps://`: TLS from the first byte.
    Implicit,
    /// `smtp://`: STARTTLS, and no mail without it. The default.
    Required,
    /// `tls=opportunistic`: STARTTLS if offered. A password still never leaves unencrypted.
    Opportunistic,
    /// `tls=none`: a relay on this computer or inside a trusted network.
    None,
}

/// Where mail is handed in. Made by [`SmtpConfig::parse`], which is the only place that reads what
/// a person typed.
#[derive(Debug, Clone)]
pub struct SmtpConfig {
    pub host: String,
    pub port: u16,
    pub security: Security,
    pub login: Option<(String, Password)>,
    pub from: Address,
    pub from_name: String,
    /// For each step up to the end of the message's body.
    pub timeout: Duration,
    /// For the server's word after the final dot, counted anew from there. Servers scan the message
    /// before they answer, and giving up early turns mail that arrives into an unknown outcome. A
    /// lease on the delivery must outlast both.
    pub reply_timeout: Duration,
    /// A certificate authority (PEM) to trust besides the system's, for a company's own mail
    /// server.
    pub extra_ca: Option<Vec<u8>>,
}

/// What is wrong with the address of a mail server, and what to write instead. Never repeats the
/// address: it may hold a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    #[error(
        "“{0}://” is not a mail server. Write smtp://user:password@host:587, or smtps://user:password@host:465."
    )]
    Scheme(String),
    #[error(
        "The mail server's address could not be read. Write smtp://user:password@host:587. In the user and the password \
         write %40 for @, %3A for :, %2F for /, %23 for #, %3F for ? and %25 for %."
    )]
    Unreadable,
    #[error("The mail server's address names no host. Write smtp://user:password@host:587.")]
    NoHost,
    #[error(
        "There is a / after the host, or inside the password. End the address at the port; inside the password write %2F."
    )]
    Path,
    #[error("There is a # in the address. Inside the password write %23.")]
    Fragment,
    #[error(
        "A user without a password (or the reverse). Write user:password@ before the host, or leave both away."
    )]
    HalfALogin,
    #[error(
        "“tls={0}” is unknown. Write tls=required (the default), tls=opportunistic or tls=none."
    )]
    UnknownTls(String),
    #[error(
        "The option “{0}” is unknown. The only option is tls=required, tls=opportunistic or tls=none."
    )]
    UnknownOption(String),
    #[error(
        "smtps:// is always encrypted, so it takes no tls= option. Leave the option away, or write smtp://."
    )]
    TlsTwice,
    #[error(
        "Port 465 is encrypted from the first byte. Write smtps:// before the host, or use port 587."
    )]
    PortWantsSmtps,
    #[error(
        "Port {0} begins unencrypted and then turns TLS on. Write smtp:// before the host, or use port 465."
    )]
    PortWantsSmtp(u16),
    #[error(
        "With tls=none the password would cross the network in clear text. Leave tls=none away, or remove user and \
         password. (tls=none with a password is taken for 127.0.0.1, ::1 and localhost only.)"
    )]
    PasswordInClear,
    #[error("The sender {0}. Write an address such as bookings@example.com.")]
    From(String),
    #[error(
        "The extra certificate authority could not be read. Give a PEM file that begins with -----BEGIN CERTIFICATE-----."
    )]
    Authority,
    #[error("TLS could not be set up for this mail server: {0}. Check the host's name.")]
    Tls(String),
}

impl SmtpConfig {
    /// `smtp://user:password@host:587`, `smtps://user:password@host:465`,
    /// `smtp://localhost:25?tls=none`.
    pub fn parse(url: &str, from: &str, from_name: &str) -> Result<SmtpConfig, ConfigError> {
        let url = Url::parse(url.trim()).map_err(|_| ConfigError::Unreadable)?;
        let implicit = match url.scheme() {
            "smtp" => false,
            "smtps" => true,
            other => return Err(ConfigError::Scheme(one_line(other))),
        };
        if url.fragment().is_some() {
            return Err(ConfigError::Fragment);
        }
        if !matches!(url.path(), "" | "/") {
            return Err(ConfigError::Path);
        }
        let host = match url.host_str() {
            Some(host) if !host.is_empty() => ascii_host(host)?,
            _ => return Err(ConfigError::NoHost),
        };
        let port = url.port().unwrap_or(if implicit { 465 } else { 587 });
        let security = security(&url, implicit)?;
        match (implicit, port) {
            (false, 465) => return Err(ConfigError::PortWantsSmtps),
            (true, 25 | 587) => return Err(ConfigError::PortWantsSmtp(port)),
            _ => {}
        }
        let login = login(&url)?;
        if login.is_some() && security == Security::None && !is_loopback(&host) {
            return Err(ConfigError::PasswordInClear);
        }
        Ok(SmtpConfig {
            host,
            port,
            security,
            login,
            from: parse_address(from).map_err(ConfigError::From)?,
            from_name: one_line(from_name),
            timeout: Duration::from_secs(30),
            // RFC 5321 §4.5.3.2.6 asks for ten minutes; five has proved enough and keeps a worker's
            // slot for less.
            reply_timeout: Duration::from_secs(300),
            extra_ca: None,
        })
    }

    pub fn with_timeouts(mut self, step: Duration, reply: Duration) -> SmtpConfig {
        (self.timeout, self.reply_timeout) = (step, reply);
        self
    }

    pub fn with_extra_ca(mut self, pem: impl Into<Vec<u8>>) -> SmtpConfig {
        self.extra_ca = Some(pem.into());
        self
    }
}

/// Only a computer's own address: what never leaves the machine cannot be overheard on the network.
pub(super) fn is_loopback(host: &str) -> bool {
    host == "localhost"
        || host
            .parse::<std::net::IpAddr>()
            .is_ok_and(|ip| ip.is_loopback())
}

fn security(url: &Url, implicit: bool) -> Result<Security, ConfigError> {
    let mut security = if implicit {
        Security::Implicit
    } else {
        Security::Required
    };
    for (name, value) in url.query_pairs() {
        security = match (name.as_ref(), value.as_ref()) {
            ("tls", _) if implicit => return Err(ConfigError::TlsTwice),
            ("tls", "required") => Security::Required,
            ("tls", "opportunistic") => Security::Opportunistic,
            ("tls", "none") => Security::None,
            ("tls", other) => return Err(ConfigError::UnknownTls(one_line(other))),
            (other, _) => return Err(ConfigError::UnknownOption(one_line(other))),
        };
    }
    Ok(security)
}

fn login(url: &Url) -> Result<Option<(String, Password)>, ConfigError> {
    match (url.username(), url.password().unwrap_or("")) {
        ("", "") => Ok(None),
        (user, password) if !user.is_empty() && !password.is_empty() => Ok(Some((
            percent_decode(user)?,
            Password(percent_decode(password)?),
        ))),
        _ => Err(ConfigError::HalfALogin),
    }
}

/// `smtp` is not one of the schemes whose hosts the URL standard normalises, so the name is still
/// as typed. IPv6 loses its brackets, which belong to the URL and not to the address.
fn ascii_host(host: &str) -> Result<String, ConfigError> {
    let typed = percent_decode(host)?;
    match url::Host::parse(&typed).map_err(|_| ConfigError::NoHost)? {
        url::Host::Domain(name) => Ok(name),
        url::Host::Ipv4(ip) => Ok(ip.to_string()),
        url::Host::Ipv6(ip) => Ok(ip.to_string()),
    }
}

fn percent_decode(text: &str) -> Result<String, ConfigError> {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        if bytes[at] == b'%' {
            let digits = text.get(at + 1..at + 3).ok_or(ConfigError::Unreadable)?;
            out.push(u8::from_str_radix(digits, 16).map_err(|_| ConfigError::Unreadable)?);
            at += 3;
        } else {
            out.push(bytes[at]);
            at += 1;
        }
    }
    String::from_utf8(out).map_err(|_| ConfigError::Unreadable)
}

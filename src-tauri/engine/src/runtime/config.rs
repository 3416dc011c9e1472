//! What the environment says, read once and checked at once.
//!
//! A value that cannot be used is an error with its name, what is wrong and how to mend it; it is never passed over. Secrets
//! print `***`, and an error never repeats the value of a variable that may hold one.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use bizing_stripe::Secret;
use sqlx::postgres::PgConnectOptions;

use crate::store::vault;

#[derive(Debug, Clone)]
pub struct Config {
    /// The folder that holds everything of this desk on this computer.
    pub data: PathBuf,
    /// `DATABASE_URL`: decides, and nothing else is asked.
    pub database_url: Option<Secret>,
    /// `BIZING_PG_BIN`
    pub pg_bin: Option<PathBuf>,
    pub stripe_key: Option<Secret>,
    /// Where Stripe answers instead of its own address: another sandbox, a proxy.
    pub stripe_url: Option<String>,
    pub webhook_secrets: Vec<Secret>,
    /// Whether Stripe is asked without a cause. `BIZING_STRIPE_POLL=off`: signed webhooks alone bring news, and one that
    /// never comes is noticed only when its hold ends.
    pub stripe_poll: bool,
    /// `BIZING_WEBHOOK_LISTEN`: where a window takes webhooks, an address of this computer only. `serve` has its own.
    pub webhook_listen: Option<SocketAddr>,
    pub smtp: Option<SmtpConfig>,
    /// `BIZING_SEALING_KEY`: seals the secrets of endpoints. `None`: the file in the data folder, which is made when it is needed.
    pub sealing_key: Option<Secret>,
    /// Trades the safety of the private server's data for speed. Tests only.
    pub no_sync: bool,
    /// Changes the schema also when no backup could be taken before. A person's decision, for one run.
    pub migrate_without_backup: bool,
}

/// How customers' mail leaves.
#[derive(Debug, Clone)]
pub struct SmtpConfig {
    /// `smtp://user:password@host:port?tls=required` or `smtps://…`, as lettre reads it.
    pub url: Secret,
    /// `Studio Aurora <desk@studio-aurora.example>`
    pub from: String,
}

/// Every value that cannot be used, one sentence each.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", problems.join("\n"))]
pub struct BadConfig {
    pub problems: Vec<String>,
}

impl Config {
    pub fn from_environment() -> Result<Config, BadConfig> {
        Config::read(|name| std::env::var_os(name))
    }

    /// All defaults, in this folder.
    pub fn in_folder(data: impl Into<PathBuf>) -> Config {
        Config {
            data: data.into(),
            database_url: None,
            pg_bin: None,
            stripe_key: None,
            stripe_url: None,
            webhook_secrets: vec![],
            stripe_poll: true,
            webhook_listen: None,
            smtp: None,
            sealing_key: None,
            no_sync: false,
            migrate_without_backup: false,
        }
    }

    pub fn read(environment: impl Fn(&str) -> Option<OsString>) -> Result<Config, BadConfig> {
        let mut reader = Reader {
            environment,
            problems: vec![],
        };
        let mail_from =
            reader.checked("BIZING_MAIL_FROM", |v| {
                v.parse::<lettre::message::Mailbox>().map(|_| ()).map_err(|_| {
                format!("`{v}` is no sender: write `desk@example.com` or `Name <desk@example.com>`")
            })
            });
        let smtp_url = reader.checked("BIZING_SMTP_URL", smtp_address);
        let config = Config {
            data: reader.data_folder(),
            database_url: reader
                .checked("DATABASE_URL", |v| database_options(v).map(|_| ()))
                .map(Secret::from),
            pg_bin: reader.path("BIZING_PG_BIN"),
            stripe_key: reader
                .checked("BIZING_STRIPE_KEY", stripe_key)
                .map(Secret::from),
            stripe_url: reader.checked("BIZING_STRIPE_URL", web_address),
            webhook_secrets: reader.webhook_secrets(),
            stripe_poll: reader.checked("BIZING_STRIPE_POLL", on_or_off).as_deref() != Some("off"),
            webhook_listen: reader
                .checked("BIZING_WEBHOOK_LISTEN", own_address)
                .and_then(|v| v.parse().ok()),
            smtp: reader.smtp(smtp_url, mail_from),
            sealing_key: reader
                .checked(vault::VARIABLE, vault::check_variable)
                .map(Secret::from),
            no_sync: reader.text("BIZING_NO_SYNC").is_some_and(|v| v == "1"),
            migrate_without_backup: false,
        };
        match reader.problems.is_empty() {
            true => Ok(config),
            false => Err(BadConfig {
                problems: reader.problems,
            }),
        }
    }

    /// Money is real when the key says so.
    pub fn has_live_key(&self) -> bool {
        self.stripe_key.as_ref().is_some_and(is_live)
    }

    /// Makes the data folder, closed to other accounts.
    pub fn prepare_data(&self) -> std::io::Result<()> {
        prepare_folder(&self.data)
    }
}

pub fn is_live(key: &Secret) -> bool {
    ["sk_live_", "rk_live_"]
        .iter()
        .any(|start| key.expose().starts_with(start))
}

/// Reads `postgres://…`. The error never repeats the address, since it may hold a password.
pub fn database_options(url: &str) -> Result<PgConnectOptions, String> {
    const SHAPE: &str = "write it as postgres://user:password@host:5432/database";
    let parsed = url::Url::parse(url).map_err(|e| format!("it is no address ({e}): {SHAPE}"))?;
    if !matches!(parsed.scheme(), "postgres" | "postgresql") {
        return Err(format!(
            "it begins with `{}://`, not with `postgres://`: {SHAPE}",
            parsed.scheme()
        ));
    }
    if parsed.path().trim_matches('/').is_empty() {
        return Err(format!("it names no database: {SHAPE}"));
    }
    url.parse::<PgConnectOptions>()
        .map_err(|_| format!("a part of it cannot be read: {SHAPE}"))
}

fn stripe_key(value: &str) -> Result<(), String> {
    const STARTS: [&str; 4] = ["sk_test_", "rk_test_", "sk_live_", "rk_live_"];
    if STARTS.iter().any(|s| value.starts_with(s)) && !value.contains(char::is_whitespace) {
        return Ok(());
    }
    Err("it is no secret key: it begins with `sk_test_`, `rk_test_`, `sk_live_` or `rk_live_` and has no spaces. \
         You find it in Stripe's dashboard under Developers, API keys"
        .into())
}

fn web_address(value: &str) -> Result<(), String> {
    match url::Url::parse(value) {
        Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() => Ok(()),
        _ => Err(format!(
            "`{value}` is no web address: write `https://api.stripe.com` or `http://127.0.0.1:12111`"
        )),
    }
}

fn on_or_off(value: &str) -> Result<(), String> {
    match value {
        "on" | "off" => Ok(()),
        _ => Err(format!("it says `{value}`: write `on` or `off`")),
    }
}

fn own_address(value: &str) -> Result<(), String> {
    match value.parse::<SocketAddr>() {
        Ok(address) if address.ip().is_loopback() => Ok(()),
        Ok(_) => Err("it would take webhooks from the whole network: use an address of this computer, such as 127.0.0.1:7311, and a tunnel of your own".to_owned()),
        Err(_) => Err(format!("it says `{value}`: write an address and a port, such as 127.0.0.1:7311")),
    }
}

fn smtp_address(value: &str) -> Result<(), String> {
    match url::Url::parse(value) {
        Ok(url) if matches!(url.scheme(), "smtp" | "smtps") && url.has_host() => Ok(()),
        _ => Err(
            "it is no mail server: write `smtps://user:password@mail.example.com` or `smtp://127.0.0.1:2525`"
                .into(),
        ),
    }
}

struct Reader<E> {
    environment: E,
    problems: Vec<String>,
}

impl<E: Fn(&str) -> Option<OsString>> Reader<E> {
    /// An empty variable counts as not set: that is how many tools unset one.
    fn text(&mut self, name: &str) -> Option<String> {
        match (self.environment)(name)?.into_string() {
            Ok(text) if text.trim().is_empty() => None,
            Ok(text) => Some(text.trim().to_owned()),
            Err(_) => {
                self.bad(name, "it is not readable text: set it again, in UTF-8");
                None
            }
        }
    }

    fn checked(
        &mut self,
        name: &str,
        check: impl Fn(&str) -> Result<(), String>,
    ) -> Option<String> {
        let value = self.text(name)?;
        match check(&value) {
            Ok(()) => Some(value),
            Err(why) => {
                self.bad(name, why);
                None
            }
        }
    }

    fn path(&mut self, name: &str) -> Option<PathBuf> {
        (self.environment)(name)
            .filter(|v| !v.is_empty())
            .map(PathBuf::from)
    }

    fn data_folder(&mut self) -> PathBuf {
        if let Some(path) = self.path("BIZING_DATA") {
            if path.is_file() {
                let why = format!("`{}` is a file: name a folder", path.display());
                self.bad("BIZING_DATA", why);
            }
            // A relative path would be another folder from wherever the app is started next.
            return std::path::absolute(&path).unwrap_or(path);
        }
        if let Some(path) = self.platform_folder() {
            return path;
        }
        self.bad(
            "BIZING_DATA",
            "it is not set, and this account has no home folder to put the data into: set it to a folder",
        );
        PathBuf::new()
    }

    fn platform_folder(&mut self) -> Option<PathBuf> {
        let home = self.path("HOME").filter(|p| p.is_absolute());
        if cfg!(target_os = "macos") {
            return home.map(|h| h.join("Library/Application Support/Bizing Desk"));
        }
        if cfg!(windows) {
            return self.path("LOCALAPPDATA").map(|p| p.join("Bizing Desk"));
        }
        // The specification of this variable says to ignore a relative one.
        let base = self.path("XDG_DATA_HOME").filter(|p| p.is_absolute());
        base.or_else(|| home.map(|h| h.join(".local/share")))
            .map(|p| p.join("bizing-desk"))
    }

    fn webhook_secrets(&mut self) -> Vec<Secret> {
        let name = "BIZING_STRIPE_WEBHOOK_SECRET";
        let Some(text) = self.text(name) else {
            return vec![];
        };
        let secrets: Vec<&str> = text
            .split(',')
            .map(str::trim)
            .filter(|s| !s.is_empty())
            .collect();
        if let Some(at) = secrets.iter().position(|s| !s.starts_with("whsec_")) {
            let why = format!(
                "entry {} of {} does not begin with `whsec_`: copy the signing secrets from Stripe's dashboard, separated by commas",
                at + 1,
                secrets.len()
            );
            self.bad(name, why);
        }
        secrets.into_iter().map(Secret::from).collect()
    }

    fn smtp(&mut self, url: Option<String>, from: Option<String>) -> Option<SmtpConfig> {
        match (url, from) {
            (Some(url), Some(from)) => Some(SmtpConfig {
                url: url.into(),
                from,
            }),
            (Some(_), None) if (self.environment)("BIZING_MAIL_FROM").is_none() => {
                self.bad(
                    "BIZING_MAIL_FROM",
                    "it is not set, but BIZING_SMTP_URL is: set it to the sender that customers see, such as `desk@example.com`",
                );
                None
            }
            _ => None,
        }
    }

    fn bad(&mut self, name: &str, why: impl std::fmt::Display) {
        self.problems.push(format!(
            "The environment variable {name} cannot be used: {why}."
        ));
    }
}

#[cfg(not(unix))]
fn prepare_folder(data: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(data)
}

/// Nobody else may look inside. A process of root starts the private server under another account, which must be able
/// to walk through this folder to its own; it can still not list it.
#[cfg(unix)]
fn prepare_folder(data: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true).mode(0o700).create(data)?;
    let meta = std::fs::metadata(data)?;
    let is_ours = std::fs::read_dir(data)?.flatten().all(|entry| {
        let name = entry.file_name();
        OURS.iter()
            .any(|ours| name.to_string_lossy().starts_with(ours))
    });
    // A folder with other things in it was named by mistake, or is somebody's on purpose: its mode stays.
    if is_ours && meta.uid() == 0 && meta.mode() & 0o001 == 0 {
        std::fs::set_permissions(data, std::fs::Permissions::from_mode(0o711))?;
    }
    Ok(())
}

/// What the desk itself puts into its folder.
#[cfg(unix)]
const OURS: [&str; 6] = [
    "desk.",
    "logins",
    "postgres",
    "sandbox",
    "window.lock",
    "webview",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<Config, BadConfig> {
        Config::read(|name| {
            let found = pairs.iter().find(|(n, _)| *n == name);
            found.map(|(_, v)| OsString::from(v))
        })
    }

    fn problem(name: &str, value: &str) -> String {
        let bad = read(&[("HOME", "/home/ana"), (name, value)]).unwrap_err();
        assert_eq!(bad.problems.len(), 1, "{bad}");
        assert!(bad.problems[0].contains(name), "{bad}");
        bad.problems[0].clone()
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn without_any_variable_the_data_lies_where_the_platform_says() {
        let config = read(&[("HOME", "/home/ana")]).unwrap();
        assert_eq!(config.data, Path::new("/home/ana/.local/share/bizing-desk"));
        let config = read(&[("HOME", "/home/ana"), ("XDG_DATA_HOME", "/data")]).unwrap();
        assert_eq!(config.data, Path::new("/data/bizing-desk"));
        assert!(read(&[]).unwrap_err().problems[0].contains("no home folder"));
    }

    #[test]
    fn an_empty_variable_is_not_set() {
        let config = read(&[
            ("BIZING_DATA", "/d"),
            ("DATABASE_URL", ""),
            ("BIZING_SMTP_URL", " "),
        ]);
        let config = config.unwrap();
        assert!(config.database_url.is_none() && config.smtp.is_none());
    }

    #[test]
    fn a_bad_value_says_what_where_and_how() {
        assert!(problem("DATABASE_URL", "mysql://ana@host/db").contains("not with `postgres://`"));
        assert!(problem("DATABASE_URL", "postgres://ana@host").contains("names no database"));
        assert!(problem("BIZING_STRIPE_KEY", "pk_test_1").contains("sk_test_"));
        assert!(problem("BIZING_STRIPE_URL", "localhost").contains("no web address"));
        assert!(problem("BIZING_STRIPE_WEBHOOK_SECRET", "whsec_a, b").contains("entry 2 of 2"));
        assert!(problem("BIZING_STRIPE_POLL", "never").contains("`on` or `off`"));
        assert!(problem("BIZING_MAIL_FROM", "nobody").contains("no sender"));
        let this = std::env::current_exe().unwrap();
        assert!(problem("BIZING_DATA", this.to_str().unwrap()).contains("is a file"));
        let bad = read(&[("BIZING_DATA", "/d"), ("BIZING_SMTP_URL", "smtp://host")]).unwrap_err();
        assert!(bad.problems[0].contains("BIZING_MAIL_FROM"), "{bad}");
    }

    #[test]
    fn secrets_stand_in_no_text() {
        let good = read(&[
            ("BIZING_DATA", "/d"),
            ("DATABASE_URL", "postgres://ana:hunter2@host/desk"),
            ("BIZING_STRIPE_KEY", "sk_live_hunter2"),
            ("BIZING_STRIPE_WEBHOOK_SECRET", "whsec_hunter2"),
            ("BIZING_SMTP_URL", "smtps://ana:hunter2@mail.example.com"),
            ("BIZING_MAIL_FROM", "desk@example.com"),
        ])
        .unwrap();
        assert!(good.has_live_key());
        assert!(!format!("{good:?}").contains("hunter2"));
        for (name, value) in [
            ("DATABASE_URL", "mysql://ana:hunter2@host/desk"),
            ("BIZING_STRIPE_KEY", "hunter2"),
            ("BIZING_STRIPE_WEBHOOK_SECRET", "hunter2"),
            ("BIZING_SMTP_URL", "mailto:hunter2"),
        ] {
            assert!(!problem(name, value).contains("hunter2"), "{name}");
        }
    }
}

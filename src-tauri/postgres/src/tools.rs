//! The server's own tools for copies of a database: `pg_dump` and `pg_restore`.
//!
//! Only tools of the server's major or a newer one can read it; of those that suit, the server's own are taken, because
//! a newer `pg_restore` writes settings that an older server does not know.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use sqlx::ConnectOptions;
use sqlx::postgres::{PgConnectOptions, PgSslMode};

use crate::discover;
use crate::spawn::{self, AtOurDeath};

/// How much of what a tool said an error shows.
const TOLD: usize = 2_000;

/// A folder with `pg_dump` and `pg_restore` of one version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tools {
    pub dir: PathBuf,
    pub major: u32,
}

#[derive(Debug, thiserror::Error)]
pub enum ToolError {
    #[error(
        "pg_dump and pg_restore of PostgreSQL {major} or newer were not found on this computer (looked in {}). {}",
        list(looked), mend(*major)
    )]
    NotFound { major: u32, looked: Vec<PathBuf> },
    #[error("{} could not be run.", program.display())]
    Spawn {
        program: PathBuf,
        source: std::io::Error,
    },
    #[error(
        "The disk that the copy was written to is full ({detail}). Free some space, then try again."
    )]
    DiskFull { detail: String },
    #[error("{program} did not succeed ({status}). It said: {said}")]
    Failed {
        program: &'static str,
        status: String,
        said: String,
    },
}

impl Tools {
    /// For a server of this major. `bin` is a person's choice of programs and goes first.
    pub fn find(bin: Option<&Path>, server_major: u32) -> Result<Tools, ToolError> {
        let mut looked = Vec::new();
        let mut found: Vec<Tools> = Vec::new();
        let chosen = bin
            .into_iter()
            .flat_map(|dir| [dir.join("bin"), dir.to_owned()]);
        for dir in chosen.chain(discover::folders_with("pg_dump")) {
            if looked.contains(&dir) {
                continue;
            }
            if let Some(major) = major_of(&dir).filter(|major| *major >= server_major) {
                let tools = Tools {
                    dir: dir.clone(),
                    major,
                };
                if major == server_major {
                    return Ok(tools);
                }
                found.push(tools);
            }
            looked.push(dir);
        }
        found.sort_by_key(|tools| tools.major);
        match found.into_iter().next() {
            Some(tools) => Ok(tools),
            None => Err(ToolError::NotFound {
                major: server_major,
                looked,
            }),
        }
    }

    /// Runs one of the tools against the database of `to` and waits for it. Dropped before, it is ended. Each line that
    /// it says about an object is handed to `line`: how far it is.
    pub async fn run(
        &self,
        program: &'static str,
        arguments: impl IntoIterator<Item = std::ffi::OsString>,
        to: &PgConnectOptions,
        mut line: impl FnMut(&str) + Send + 'static,
    ) -> Result<(), ToolError> {
        let path = discover::tool(&self.dir, program);
        let mut command = spawn::command(&path, None, AtOurDeath::Kill);
        connect(&mut command, to);
        command
            .arg("--no-password")
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let failed = |source| ToolError::Spawn {
            program: path.clone(),
            source,
        };
        let mut child = spawn::spawn(command).await.map_err(failed)?;
        let stderr = child.stderr.take();
        let mut running = Running(Some(child));
        let said = tokio::task::spawn_blocking(move || listen(stderr, &mut line))
            .await
            .unwrap_or_default();
        let child = running.0.take();
        let status =
            tokio::task::spawn_blocking(move || child.map(|mut c| c.wait()).transpose()).await;
        let status = status
            .map_err(std::io::Error::other)
            .flatten()
            .map_err(failed)?;
        match status {
            Some(status) if status.success() => Ok(()),
            status => {
                let full = said.lines().find(|l| {
                    l.contains("No space left on device") || l.contains("quota exceeded")
                });
                if let Some(detail) = full {
                    return Err(ToolError::DiskFull {
                        detail: detail.trim().to_owned(),
                    });
                }
                Err(ToolError::Failed {
                    program,
                    status: status.map_or_else(|| "it is gone".to_owned(), |s| s.to_string()),
                    said: said.trim().to_owned(),
                })
            }
        }
    }
}

/// Through the environment, which only our own account can read; an argument is seen by everybody.
fn connect(command: &mut Command, to: &PgConnectOptions) {
    match to.get_socket() {
        Some(folder) => command.env("PGHOST", folder),
        None => command.env("PGHOST", to.get_host()),
    };
    command
        .env("PGPORT", to.get_port().to_string())
        .env("PGUSER", to.get_username())
        .env("PGCONNECT_TIMEOUT", "15")
        .env("PGAPPNAME", "bizing-desk backup");
    if let Some(database) = to.get_database() {
        command.env("PGDATABASE", database);
    }
    if let Some(password) = password(to) {
        command.env("PGPASSWORD", password);
    }
    let mode = match to.get_ssl_mode() {
        PgSslMode::Disable => "disable",
        PgSslMode::Allow => "allow",
        PgSslMode::Prefer => "prefer",
        PgSslMode::Require => "require",
        PgSslMode::VerifyCa => "verify-ca",
        PgSslMode::VerifyFull => "verify-full",
    };
    command.env("PGSSLMODE", mode);
}

/// The options do not show it but in their address, where it is percent-encoded.
fn password(to: &PgConnectOptions) -> Option<std::ffi::OsString> {
    let url = to.to_url_lossy();
    let coded = url.password()?.as_bytes();
    let mut plain = Vec::with_capacity(coded.len());
    let mut at = 0;
    while at < coded.len() {
        let hex = (coded[at] == b'%')
            .then(|| std::str::from_utf8(coded.get(at + 1..at + 3)?).ok())
            .flatten();
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                plain.push(byte);
                at += 3;
            }
            None => {
                plain.push(coded[at]);
                at += 1;
            }
        }
    }
    String::from_utf8(plain).ok().map(Into::into)
}

/// Reads to the end; keeps the end of what is not about single objects.
fn listen(stderr: Option<impl Read>, line: &mut impl FnMut(&str)) -> String {
    let mut kept = String::new();
    for text in stderr.into_iter().flat_map(|s| BufReader::new(s).lines()) {
        let Ok(text) = text else { break };
        let told = [
            "error:", "fatal:", "FATAL:", "ERROR:", "DETAIL:", "HINT:", "warning:",
        ]
        .iter()
        .any(|level| text.contains(level));
        if told {
            kept.push_str(&text);
            kept.push('\n');
            if kept.len() > 2 * TOLD {
                let from = kept.ceil_char_boundary(kept.len() - TOLD);
                kept.drain(..from);
            }
        } else {
            line(&text);
        }
    }
    kept
}

/// Both tools must be there and of one version.
fn major_of(dir: &Path) -> Option<u32> {
    if !discover::tool(dir, "pg_restore").exists() {
        return None;
    }
    let output = Command::new(discover::tool(dir, "pg_dump"))
        .arg("--version")
        .output()
        .ok()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let version = text.split("(PostgreSQL)").nth(1)?.trim();
    discover::parse_major(version).filter(|_| output.status.success())
}

fn list(looked: &[PathBuf]) -> String {
    let all: Vec<String> = looked.iter().map(|p| p.display().to_string()).collect();
    if all.is_empty() {
        "the usual folders and PATH".to_owned()
    } else {
        all.join(", ")
    }
}

fn mend(major: u32) -> String {
    if cfg!(target_os = "macos") {
        format!("Run: brew install postgresql@{major}, or set BIZING_PG_BIN to their folder.")
    } else if cfg!(windows) {
        format!(
            "Install PostgreSQL {major} from postgresql.org, or set BIZING_PG_BIN to their folder."
        )
    } else {
        format!(
            "Run: sudo apt install postgresql-client-{major} (or your system's package), or set BIZING_PG_BIN to their folder."
        )
    }
}

/// Ends the tool when nobody waits for it any more.
struct Running(Option<Child>);

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(mut child) = self.0.take()
            && let Ok(None) = child.try_wait()
        {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_of_any_signs_reaches_the_tool_as_it_is() {
        let odd = "p@ss:w/ö rd%41#";
        let options = PgConnectOptions::new_without_pgpass().password(odd);
        assert_eq!(password(&options), Some(odd.into()));
    }

    #[test]
    fn tools_that_are_too_old_are_named_with_what_to_install() {
        let error = Tools::find(Some(Path::new("/nowhere")), 99).unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("PostgreSQL 99") && text.contains("/nowhere"),
            "{text}"
        );
    }
}

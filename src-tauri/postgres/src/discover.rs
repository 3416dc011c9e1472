//! Where the server's programs are.
//!
//! Order: the folder a person chose, the one that came with the app, the system's. Above the order stands one rule: an
//! existing data folder decides the major version, since no other server can open it.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::error::{StartError, Tried};

/// The oldest major that the migrations run on.
pub const FLOOR: u32 = 15;

/// A complete set of server programs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binaries {
    pub dir: PathBuf,
    pub major: u32,
    /// As the server says it, e.g. `15.18 (Debian 15.18-0+deb12u1)`.
    pub version: String,
}

impl Binaries {
    /// The path of one of the programs that came with this server, e.g. `pg_dump`. It may be missing: only `postgres`
    /// and `initdb` were checked.
    pub fn tool(&self, name: &str) -> PathBuf {
        tool(&self.dir, name)
    }
}

/// Finds the server to use. `data_major` is the version of an existing data folder.
///
/// `bin` is a person's choice: when it does not work the answer is an error, never another server. Otherwise the bundled
/// server wins over the system's, and among those the newest that suits.
pub fn discover(
    bin: Option<&Path>,
    bundled: Option<&Path>,
    data_major: Option<u32>,
) -> Result<Binaries, StartError> {
    search(bin, bundled, data_major, &[packaged, announced])
}

/// Looks in one source after the other and stops at the first that has a suitable server: each look runs a program.
fn search(
    bin: Option<&Path>,
    bundled: Option<&Path>,
    data_major: Option<u32>,
    system: &[fn() -> Vec<PathBuf>],
) -> Result<Binaries, StartError> {
    let mut tried = Vec::new();
    let mut found: Vec<Binaries> = Vec::new();
    let mut visit = |source: &str, folders: Vec<PathBuf>| {
        let before = found.len();
        for dir in folders {
            look(source, &dir, &mut found, &mut tried);
        }
        found[before..].sort_by_key(|b| std::cmp::Reverse(b.major));
        found[before..]
            .iter()
            .find(|b| suits(b, data_major))
            .cloned()
    };
    let best = match bin {
        Some(dir) => visit("BIZING_PG_BIN", vec![dir.into()]),
        None => visit(
            "bundled with the app",
            bundled.map(Path::to_owned).into_iter().collect(),
        )
        .or_else(|| system.iter().find_map(|source| visit("system", source()))),
    };
    if let Some(best) = best {
        return Ok(best);
    }
    if bin.is_none() {
        tried.insert(
            0,
            Tried {
                place: "BIZING_PG_BIN".into(),
                found: "not set".into(),
            },
        );
    }
    match data_major {
        Some(folder) if !found.is_empty() => Err(StartError::Major {
            data: PathBuf::new(), // filled in by the caller who knows the folder
            folder,
            found: found.into_iter().map(|b| (b.dir, b.major)).collect(),
        }),
        _ => {
            let old = found.into_iter().map(|b| Tried {
                place: b.dir.display().to_string(),
                found: format!("version {}, too old: {FLOOR} is the least", b.major),
            });
            tried.extend(old);
            if bin.is_none() && tried.len() == 1 {
                let found = if cfg!(windows) {
                    "no server in Program Files or PATH"
                } else {
                    "no server in the usual folders or PATH"
                };
                tried.push(Tried {
                    place: "system".into(),
                    found: found.into(),
                });
            }
            Err(StartError::NotFound {
                tried,
                fix: fix(data_major),
            })
        }
    }
}

fn suits(binaries: &Binaries, data_major: Option<u32>) -> bool {
    data_major.map_or(binaries.major >= FLOOR, |major| binaries.major == major)
}

/// Looks into `dir` and `dir/bin`, so that both a server's home and its `bin` folder may be named.
fn look(source: &str, dir: &Path, found: &mut Vec<Binaries>, tried: &mut Vec<Tried>) {
    let below = dir.join("bin");
    let dir = if tool(&below, "postgres").exists() {
        &below
    } else {
        dir
    };
    if found.iter().any(|b| b.dir == *dir) {
        return;
    }
    match probe(dir) {
        Ok(binaries) => found.push(binaries),
        Err(why) => tried.push(Tried {
            place: format!("{source}: {}", dir.display()),
            found: why,
        }),
    }
}

/// Runs `postgres --version`, which also proves that the loader finds all its libraries.
fn probe(dir: &Path) -> Result<Binaries, String> {
    let postgres = tool(dir, "postgres");
    let output = Command::new(&postgres)
        .arg("--version")
        .output()
        .map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => "no program named postgres there".to_owned(),
            _ => format!("postgres cannot be run: {error}"),
        })?;
    if !output.status.success() {
        // The loader's own message ("error while loading shared libraries: ...") is the useful one.
        let stderr = String::from_utf8_lossy(&output.stderr);
        return Err(format!("postgres does not run: {}", stderr.trim()));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let version = text
        .trim()
        .trim_start_matches("postgres (PostgreSQL) ")
        .to_owned();
    let major = parse_major(&version)
        .ok_or_else(|| format!("postgres names no version: {}", text.trim()))?;
    if !tool(dir, "initdb").exists() {
        return Err(format!("postgres {major} is there, but initdb is missing"));
    }
    Ok(Binaries {
        dir: dir.to_owned(),
        major,
        version,
    })
}

/// `15.18 (Debian ...)`, `18.6`, and also `19devel` or `17rc1`.
pub(crate) fn parse_major(version: &str) -> Option<u32> {
    let digits = version
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(version.len());
    version[..digits].parse().ok()
}

pub(crate) fn tool(dir: &Path, name: &str) -> PathBuf {
    dir.join(format!("{name}{}", std::env::consts::EXE_SUFFIX))
}

/// Every folder of the system where a server or its tools may be and `program` is, in the order of search.
pub(crate) fn folders_with(program: &str) -> Vec<PathBuf> {
    let mut folders = laid_out();
    folders.extend(
        std::env::var_os("PATH")
            .iter()
            .flat_map(std::env::split_paths),
    );
    folders.retain(|dir| tool(dir, program).exists());
    folders
}

/// Where packages put servers. Debian keeps `initdb` and `postgres` out of `PATH`, so asking `PATH` is not enough.
fn packaged() -> Vec<PathBuf> {
    let mut folders = laid_out();
    folders.retain(|dir| tool(dir, "postgres").exists());
    folders
}

fn laid_out() -> Vec<PathBuf> {
    // (parent, start of the child's name, what follows)
    let layouts: &[(&str, &str, &str)] = if cfg!(windows) {
        &[(r"C:\Program Files\PostgreSQL", "", "bin")]
    } else if cfg!(target_os = "macos") {
        &[
            ("/opt/homebrew/opt", "postgresql@", "bin"),
            ("/usr/local/opt", "postgresql@", "bin"),
            ("/Applications/Postgres.app/Contents/Versions", "", "bin"),
        ]
    } else {
        &[
            ("/usr/lib/postgresql", "", "bin"),
            ("/usr", "pgsql-", "bin"),
            ("/usr/local", "pgsql", "bin"),
        ]
    };
    let mut folders = Vec::new();
    for (parent, start, rest) in layouts {
        let children = std::fs::read_dir(parent).into_iter().flatten().flatten();
        let matching =
            children.filter(|child| child.file_name().to_string_lossy().starts_with(start));
        folders.extend(matching.map(|child| child.path().join(rest)));
    }
    folders
}

/// Servers in other places, which `pg_config` or `PATH` name.
fn announced() -> Vec<PathBuf> {
    let mut folders = Vec::new();
    if let Ok(output) = Command::new("pg_config").arg("--bindir").output()
        && output.status.success()
    {
        folders.push(PathBuf::from(
            String::from_utf8_lossy(&output.stdout).trim(),
        ));
    }
    folders.extend(
        std::env::var_os("PATH")
            .iter()
            .flat_map(std::env::split_paths),
    );
    // A link in a folder of programs does not have the server's other tools beside it.
    let servers = folders
        .into_iter()
        .filter_map(|dir| std::fs::canonicalize(tool(&dir, "postgres")).ok());
    servers
        .filter_map(|program| program.parent().map(Path::to_owned))
        .collect()
}

fn fix(data_major: Option<u32>) -> String {
    let major = data_major.map_or(String::new(), |major| format!("-{major}"));
    if cfg!(windows) {
        format!(
            "Install PostgreSQL {} from postgresql.org, then start again.",
            data_major.unwrap_or(17)
        )
    } else if cfg!(target_os = "macos") {
        format!("Run: brew install postgresql@{}", data_major.unwrap_or(17))
    } else {
        format!(
            "Run: sudo apt install postgresql{major} (or your system's package of PostgreSQL {FLOOR} or newer), or set BIZING_PG_BIN to the folder that holds initdb and postgres."
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_every_shape_have_a_major() {
        for (text, major) in [
            ("15.18 (Debian 15.18-0+deb12u1)", 15),
            ("18.6", 18),
            ("19devel", 19),
            ("17rc1", 17),
        ] {
            assert_eq!(parse_major(text), Some(major), "{text}");
        }
        assert_eq!(parse_major("unknown"), None);
    }

    #[test]
    fn a_chosen_folder_that_does_not_work_is_never_replaced_by_another() {
        let error = search(
            Some(Path::new("/nowhere")),
            None,
            None,
            &[|| panic!("the system was searched")],
        )
        .unwrap_err();
        assert!(
            matches!(&error, StartError::NotFound { tried, .. } if tried.len() == 1),
            "{error}"
        );
    }

    #[test]
    fn an_error_names_each_place_and_the_command_that_mends_it() {
        let text = search(
            None,
            Some(Path::new("/no/bundle")),
            None,
            &[|| vec![PathBuf::from("/no/such/server")]],
        )
        .unwrap_err()
        .to_string();
        for part in [
            "BIZING_PG_BIN",
            "/no/bundle",
            "/no/such/server",
            "no program named postgres there",
        ] {
            assert!(text.contains(part), "{part} is missing from: {text}");
        }
    }
}

//! The account that runs the server when this process runs as root, which PostgreSQL refuses.

use std::fmt;

/// A user and its primary group. Supplementary groups are dropped together with root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    name: Option<String>,
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => write!(f, "{name} (uid {})", self.uid),
            None => write!(f, "uid {}", self.uid),
        }
    }
}

#[cfg(unix)]
pub(crate) use unix::*;

#[cfg(unix)]
mod unix {
    use std::os::unix::fs::MetadataExt;
    use std::path::Path;

    use super::Account;

    /// The conventional `nobody` where the system's list of users has none.
    const NOBODY: u32 = 65_534;

    pub(crate) fn effective_uid() -> u32 {
        // SAFETY: geteuid takes no arguments, touches no memory of ours and cannot fail.
        unsafe { libc::geteuid() }
    }

    /// Who runs the server in `root`; `None`: we do, since we are not root.
    ///
    /// The owner of an existing data folder comes first, because no other account can open it.
    pub(crate) fn choose(root: &Path) -> Option<Account> {
        if effective_uid() != 0 {
            return None;
        }
        let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
        let behind_sudo = || {
            let number = |name| std::env::var(name).ok()?.parse::<u32>().ok();
            Some((number("SUDO_UID")?, number("SUDO_GID")?)).filter(|(uid, _)| *uid != 0)
        };
        // initdb refuses to work for an account that has no name.
        let has_name = |(uid, _): &(u32, u32)| name_of(&passwd, *uid).is_some();
        let (uid, gid) = owner(&root.join("data"))
            .or_else(|| behind_sudo().filter(has_name))
            .or_else(|| owner(root).filter(has_name))
            .or_else(|| named(&passwd, "postgres"))
            .or_else(|| named(&passwd, "nobody"))
            .unwrap_or((NOBODY, NOBODY));
        Some(Account {
            uid,
            gid,
            name: name_of(&passwd, uid),
        })
    }

    /// For messages: the owner's name, or else the number.
    pub(crate) fn describe(uid: u32) -> String {
        let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
        name_of(&passwd, uid).unwrap_or_else(|| format!("uid {uid}"))
    }

    fn owner(path: &Path) -> Option<(u32, u32)> {
        let meta = std::fs::metadata(path).ok()?;
        (meta.uid() != 0).then(|| (meta.uid(), meta.gid()))
    }

    /// Reads the file rather than asking the name service: this serves containers and CI, where the file is the truth,
    /// and it needs no unsafe call.
    fn named(passwd: &str, name: &str) -> Option<(u32, u32)> {
        entries(passwd)
            .find(|entry| entry.0 == name)
            .map(|(_, uid, gid)| (uid, gid))
    }

    fn name_of(passwd: &str, uid: u32) -> Option<String> {
        entries(passwd)
            .find(|entry| entry.1 == uid)
            .map(|(name, ..)| name.to_owned())
    }

    fn entries(passwd: &str) -> impl Iterator<Item = (&str, u32, u32)> {
        passwd.lines().filter_map(|line| {
            let mut fields = line.split(':');
            let name = fields.next()?;
            let uid = fields.nth(1)?.parse().ok()?;
            Some((name, uid, fields.next()?.parse().ok()?))
        })
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn accounts_are_read_from_the_list_of_users() {
            let passwd = "root:x:0:0:root:/root:/bin/sh\nbroken\npostgres:x:101:104:,,,:/var/lib/postgresql:/bin/bash\n";
            assert_eq!(named(passwd, "postgres"), Some((101, 104)));
            assert_eq!(name_of(passwd, 101).as_deref(), Some("postgres"));
            assert_eq!(named(passwd, "nobody"), None);
        }
    }
}

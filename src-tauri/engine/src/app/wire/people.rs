//! Who works with the desk, each with a login of the database server.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use ts_rs::TS;

use super::*;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct Person {
    pub login: String,
    /// `None`: a computer's own login, or one that was made outside the desk.
    pub name: Option<String>,
    /// `None`: the login is not on this server, as after a restore on another one.
    pub group: Option<Group>,
    pub active: bool,
    /// Whoever asks.
    pub own: bool,
    pub last_seen_at: Option<DateTime<Utc>>,
    pub created_at: Option<DateTime<Utc>>,
    pub created_by: Option<String>,
    pub password_at: Option<DateTime<Utc>>,
    pub disabled_at: Option<DateTime<Utc>>,
    pub disabled_by: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct People {
    /// People by name, then computers.
    pub rows: Vec<Person>,
    /// Why logins cannot be made or changed from here.
    pub refused: Option<String>,
}

/// What a login's person is called.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct PersonName {
    pub login: String,
    pub name: String,
    /// May look after something.
    pub able: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct PeopleNames {
    pub rows: Vec<PersonName>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct AddPerson {
    /// 2 to 31 of `a` to `z`, digits and `_`, a letter first.
    pub login: String,
    pub name: String,
    pub group: Group,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
pub enum PersonChange {
    /// Sessions end, and no new one begins. What they did stays.
    Disable,
    Enable,
    Viewer,
    Staff,
    Manager,
    Admin,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct ChangePerson {
    pub login: String,
    pub change: PersonChange,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct ResetPassword {
    pub login: String,
}

/// A login with its new password, which is shown this once: the server keeps only what it can be checked with.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct PersonMade {
    pub person: Person,
    pub password: String,
    /// What they enter at the first start, with a place for the password: `postgres://anna:…@db.example:5432/bizing`.
    pub address: String,
}

impl std::fmt::Debug for PersonMade {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PersonMade({}, ***)", self.person.login)
    }
}

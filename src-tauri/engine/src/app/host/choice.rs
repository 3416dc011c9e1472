//! What the person chose at the first start, and the file that remembers it.

use std::path::{Path, PathBuf};

use bizing_stripe::Secret;
use serde::{Deserialize, Serialize};

use crate::app::wire::{AppError, ChooseStart, Code, ProfileKind};
use crate::domain::money::Currency;
use crate::runtime::config::{self, Config};
use crate::runtime::files;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "profile")]
pub(super) enum Choice {
    Demo,
    /// With what the business starts from, until the database holds it.
    Own(Business),
    Server {
        #[serde(with = "exposed")]
        url: Secret,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Business {
    pub business_name: String,
    pub zone: String,
    pub currency: String,
}

impl Choice {
    /// Checks what a person typed.
    pub fn from_person(start: ChooseStart) -> Result<Choice, AppError> {
        match start {
            ChooseStart::Explore => Ok(Choice::Demo),
            ChooseStart::Empty {
                business_name,
                zone,
                currency,
            } => {
                let business_name = business_name.trim().to_owned();
                let unseen = business_name.chars().any(char::is_control);
                if business_name.is_empty() || business_name.chars().count() > 120 || unseen {
                    return Err(AppError::invalid(
                        "business_name",
                        "The business needs a name of 1 to 120 characters that can be seen.",
                    ));
                }
                if crate::domain::slot::time_zone(&zone).is_err() {
                    return Err(AppError::invalid(
                        "zone",
                        format!("`{zone}` is no time zone: choose one such as Europe/Lisbon."),
                    ));
                }
                let currency: Currency = currency
                    .parse()
                    .map_err(|why| AppError::invalid("currency", format!("{why}.")))?;
                Ok(Choice::Own(Business {
                    business_name,
                    zone,
                    currency: currency.into(),
                }))
            }
            ChooseStart::Connect { url } => {
                config::database_options(url.trim()).map_err(|why| {
                    AppError::invalid("url", format!("The address cannot be used: {why}."))
                })?;
                Ok(Choice::Server {
                    url: url.trim().into(),
                })
            }
        }
    }

    pub fn profile(&self) -> ProfileKind {
        match self {
            Choice::Demo => ProfileKind::Demo,
            Choice::Own(_) => ProfileKind::Own,
            Choice::Server { .. } => ProfileKind::Server,
        }
    }
}

/// `desk.json` in the data folder.
pub(super) struct Saved {
    path: PathBuf,
    fixed: Option<Choice>,
}

impl Saved {
    pub fn of(config: &Config) -> Saved {
        Saved {
            path: config.data.join("desk.json"),
            fixed: config
                .database_url
                .clone()
                .map(|url| Choice::Server { url }),
        }
    }

    /// `DATABASE_URL` goes before what was chosen. `None`: nothing is chosen yet.
    pub fn read(&self) -> Result<Option<Choice>, AppError> {
        if self.fixed.is_some() {
            return Ok(self.fixed.clone());
        }
        let text = match std::fs::read(&self.path) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(self.unusable("read", &e)),
        };
        serde_json::from_slice(&text)
            .map(Some)
            .map_err(|e| self.unusable("understood", &e))
    }

    pub fn write(&self, choice: &Choice) -> Result<(), AppError> {
        let text = serde_json::to_vec_pretty(choice).map_err(|e| self.unusable("written", &e))?;
        files::replace(&self.path, &text).map_err(|e| self.unusable("written", &e))
    }

    pub fn forget(&self) -> Result<(), AppError> {
        match std::fs::remove_file(&self.path) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(self.unusable("removed", &e)),
            _ => Ok(()),
        }
    }

    fn unusable(&self, what: &str, why: &dyn std::fmt::Display) -> AppError {
        AppError::new(
            Code::Invalid,
            format!("{} cannot be {what}: {why}.", self.path.display()),
        )
        .hint("It only remembers which database to open. Mend the cause, or delete the file to be asked again; your data stays where it is.")
    }
}

/// Lets a data folder that was just filled open with what is in it, without asking first.
pub fn remember(
    data: &Path,
    kind: &str,
    business: Option<(String, String, String)>,
) -> std::io::Result<()> {
    let choice = match (kind, business) {
        ("demo", _) => Choice::Demo,
        (_, Some((business_name, zone, currency))) => Choice::Own(Business {
            business_name,
            zone,
            currency,
        }),
        // A business without a place: whoever opens the folder is asked, and finds it.
        (_, None) => return Ok(()),
    };
    Saved::of(&Config::in_folder(data))
        .write(&choice)
        .map_err(|error| std::io::Error::other(error.message))
}

mod exposed {
    use bizing_stripe::Secret;
    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(secret: &Secret, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(secret.expose())
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Secret, D::Error> {
        String::deserialize(from).map(Secret::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own(name: &str, zone: &str, currency: &str) -> Result<Choice, AppError> {
        Choice::from_person(ChooseStart::Empty {
            business_name: name.into(),
            zone: zone.into(),
            currency: currency.into(),
        })
    }

    #[test]
    fn a_wrong_answer_is_shown_at_its_field() {
        let field = |r: Result<Choice, AppError>| r.unwrap_err().field.unwrap();
        assert_eq!(field(own(" ", "Europe/Lisbon", "EUR")), "business_name");
        assert_eq!(field(own("Aurora", "Europe/Atlantis", "EUR")), "zone");
        assert_eq!(field(own("Aurora", "Europe/Lisbon", "euro")), "currency");
        let url = "http://ana:hunter2@host/db".to_owned();
        let refused = Choice::from_person(ChooseStart::Connect { url }).unwrap_err();
        assert_eq!(refused.field.as_deref(), Some("url"));
        assert!(!refused.message.contains("hunter2"));
    }

    #[test]
    fn a_choice_is_remembered_and_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let saved = Saved::of(&Config::in_folder(folder.path()));
        assert_eq!(saved.read().unwrap(), None);
        for choice in [
            Choice::Demo,
            own("Aurora", "Europe/Lisbon", "EUR").unwrap(),
            Choice::Server {
                url: "postgres://ana@host/db".into(),
            },
        ] {
            saved.write(&choice).unwrap();
            assert_eq!(saved.read().unwrap(), Some(choice));
        }
        saved.forget().unwrap();
        saved.forget().unwrap();
        assert_eq!(saved.read().unwrap(), None);
    }

    #[test]
    fn a_broken_file_names_itself() {
        let folder = tempfile::tempdir().unwrap();
        let saved = Saved::of(&Config::in_folder(folder.path()));
        std::fs::write(folder.path().join("desk.json"), "{").unwrap();
        let error = saved.read().unwrap_err();
        assert!(error.message.contains("desk.json"), "{}", error.message);
    }
}

//! Customers' personal data, unsealed for the read models. One query for the keys of a whole batch.

use std::collections::{HashMap, HashSet};

use serde_json::value::RawValue;
use sqlx::PgConnection;
use sqlx::types::Json;
use uuid::Uuid;

use super::ApplyError;
use crate::domain::event::{Event, Sealed};
use crate::domain::ids::CustomerId;
use crate::store::{seal, upcast};

pub const ERASED: &str = "Erased customer";

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Person {
    pub name: String,
    pub email: Option<String>,
    pub phone: Option<String>,
    pub erased: bool,
}

impl Person {
    /// Somebody of whom nothing is left but that they were there.
    pub fn erased() -> Person {
        Person {
            name: ERASED.to_owned(),
            erased: true,
            ..Person::default()
        }
    }

    /// What a search looks through: one fact a line, small letters. A number is found with and without its signs.
    pub fn search(&self) -> String {
        if self.erased {
            return "\n\n".to_owned();
        }
        let lower = |text: &Option<String>| text.as_deref().unwrap_or_default().to_lowercase();
        let phone = lower(&self.phone);
        let digits: String = phone.chars().filter(char::is_ascii_digit).collect();
        let phone = if phone.is_empty() {
            phone
        } else {
            format!("{phone} {digits}")
        };
        let line = |text: String| text.replace(['\n', '\r'], " ");
        format!(
            "{}\n{}\n{}",
            line(self.name.to_lowercase()),
            line(lower(&self.email)),
            line(phone)
        )
    }
}

/// Opens what stands sealed. Whoever has no key any more is erased.
pub async fn open(
    conn: &mut PgConnection,
    sealed: HashMap<Uuid, Sealed>,
) -> Result<HashMap<Uuid, Person>, ApplyError> {
    if sealed.is_empty() {
        return Ok(HashMap::new());
    }
    let ids: Vec<Uuid> = sealed.keys().copied().collect();
    let keys: Vec<(Uuid, Vec<u8>)> =
        sqlx::query_as("select subject_id, key from api.subject_keys($1)")
            .bind(ids)
            .fetch_all(conn)
            .await?;
    let keys: HashMap<Uuid, Vec<u8>> = keys.into_iter().collect();
    sealed
        .into_iter()
        .map(|(id, sealed)| {
            let person = match keys.get(&id) {
                None => Person::erased(),
                Some(key) => {
                    let personal = seal::open(key, CustomerId(id), &sealed)?;
                    Person {
                        name: personal.name,
                        email: personal.email,
                        phone: personal.phone,
                        erased: false,
                    }
                }
            };
            Ok((id, person))
        })
        .collect()
}

/// The newest registration of customers whose events are not in the batch.
pub async fn registered(
    conn: &mut PgConnection,
    customers: &[Uuid],
) -> Result<HashMap<Uuid, Sealed>, ApplyError> {
    if customers.is_empty() {
        return Ok(HashMap::new());
    }
    let streams: Vec<String> = customers
        .iter()
        .map(|id| format!("customer-{id}"))
        .collect();
    // The stream row bounds the positions, so that only the partitions that hold it are touched.
    let rows: Vec<(i16, Json<Box<RawValue>>)> = sqlx::query_as(
        "select t.schema_version, e.data from core.streams s
           join core.events e on e.stream_no = s.stream_no and e.position between s.first_position and s.last_position
           join core.event_types t using (type_no)
          where s.stream_id = any($1) and t.name = 'CustomerRegistered' order by e.position",
    )
    .bind(streams)
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().filter_map(registration).collect())
}

/// An event that cannot be read is told of at its own position.
fn registration((version, data): (i16, Json<Box<RawValue>>)) -> Option<(Uuid, Sealed)> {
    let reader = upcast::reader("CustomerRegistered", version).ok()?;
    match reader.read_text(data.0.get()).ok()? {
        Event::CustomerRegistered(e) => Some((e.customer_id.0, e.personal)),
        _ => None,
    }
}

/// Who the customers are, for many parts of a rebuild: read once while they are few enough to be held in memory.
#[derive(Default)]
pub struct People(tokio::sync::OnceCell<Option<HashMap<Uuid, Person>>>);

/// Some 60 MB.
const HELD: i64 = 200_000;

impl People {
    /// These customers as their registrations up to a position tell.
    pub async fn of(
        &self,
        conn: &mut PgConnection,
        customers: &HashSet<Uuid>,
        upto: i64,
    ) -> Result<HashMap<Uuid, Person>, ApplyError> {
        let all = self.0.get_or_try_init(|| everybody(conn, upto)).await?;
        if let Some(all) = all {
            let known = |id: &Uuid| Some((*id, all.get(id)?.clone()));
            return Ok(customers.iter().filter_map(known).collect());
        }
        let customers: Vec<Uuid> = customers.iter().copied().collect();
        let sealed = registered(conn, &customers).await?;
        open(conn, sealed).await
    }

    /// Reads them now, so that no part has to wait for them later.
    pub async fn read(&self, conn: &mut PgConnection, upto: i64) -> Result<(), ApplyError> {
        self.0.get_or_try_init(|| everybody(conn, upto)).await?;
        Ok(())
    }
}

/// `None`: they are too many.
async fn everybody(
    conn: &mut PgConnection,
    upto: i64,
) -> Result<Option<HashMap<Uuid, Person>>, ApplyError> {
    let many: i64 =
        sqlx::query_scalar("select count(*) from core.streams where category = 'customer'")
            .fetch_one(&mut *conn)
            .await?;
    if many > HELD {
        return Ok(None);
    }
    let rows: Vec<(i16, Json<Box<RawValue>>)> = sqlx::query_as(
        "select t.schema_version, e.data from core.event_types t join core.events e using (type_no)
          where t.name = 'CustomerRegistered' and e.position <= $1 order by e.position",
    )
    .bind(upto)
    .fetch_all(&mut *conn)
    .await?;
    let sealed: Vec<(Uuid, Sealed)> = rows.into_iter().filter_map(registration).collect();
    let mut people = HashMap::new();
    for some in sealed.chunks(5_000) {
        people.extend(open(conn, some.iter().cloned().collect()).await?);
    }
    Ok(Some(people))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_found_with_and_without_its_signs() {
        let person = Person {
            name: "Inês COSTA".into(),
            email: Some("Ines@Example.com".into()),
            phone: Some("+351 912-345".into()),
            erased: false,
        };
        assert_eq!(
            person.search(),
            "inês costa\nines@example.com\n+351 912-345 351912345"
        );
    }

    #[test]
    fn an_erased_person_is_not_found() {
        let person = Person {
            name: ERASED.into(),
            erased: true,
            ..Person::default()
        };
        assert_eq!(person.search().trim(), "");
    }
}

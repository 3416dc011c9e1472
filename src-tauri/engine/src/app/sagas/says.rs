//! Acts that say something of the world: their event stands in the log in the commit of the act. The database refuses the
//! one without the other.

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, Row};

use crate::app::error::{self, internal};
use crate::app::wire::{AppError, Code, CommandSaga};
use crate::domain::booking::{self, Command};
use crate::domain::customer::Personal;
use crate::domain::event::{CustomerRegistered, Event};
use crate::domain::ids::{BookingId, CorrelationId, CustomerId};
use crate::store::append::{Append, AppendError, Context, Expected, append_in};
use crate::store::{read, seal};

/// What is to be told.
pub enum Wanted {
    Hold,
    Email(String),
    PaymentMethod(String),
}

/// `None`: this act says nothing of the world.
pub fn wanted(request: &CommandSaga) -> Result<Option<Wanted>, AppError> {
    match (request.action.as_str(), request.params.field.as_deref()) {
        ("extend_hold", _) => Ok(Some(Wanted::Hold)),
        ("correct", Some("email")) => {
            let email = request.email.as_deref().map(str::trim).unwrap_or_default();
            let checked = Personal::checked("-", Some(email), None)
                .map_err(|e| AppError::invalid("email", format!("{e}.")))?;
            match checked.email {
                Some(email) => Ok(Some(Wanted::Email(email))),
                None => Err(AppError::invalid("email", "Write the right address.")),
            }
        }
        ("correct", Some("payment_method")) => match request.params.payment_method.as_deref() {
            Some(id) if is_payment_method(id) => Ok(Some(Wanted::PaymentMethod(id.to_owned()))),
            _ => Err(AppError::invalid(
                "payment_method",
                "Write the id of a saved card as Stripe shows it, such as pm_1QK8….",
            )),
        },
        _ => Ok(None),
    }
}

/// As Stripe writes them. Whether it exists is Stripe's to say.
fn is_payment_method(text: &str) -> bool {
    let rest = text.strip_prefix("pm_").unwrap_or_default();
    (1..=200).contains(&rest.len()) && rest.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// The saga's row is locked by the act already; streams come after it.
pub async fn tell(
    conn: &mut PgConnection,
    request: &CommandSaga,
    wanted: Wanted,
) -> Result<(), AppError> {
    let row = sqlx::query(
        "select s.booking_id, s.customer_id, s.correlation_id, s.hold_expires_at, now() as at from read.sagas_v2 s where s.saga_id = $1",
    )
    .bind(request.saga_id)
    .fetch_one(&mut *conn)
    .await?;
    let at: DateTime<Utc> = row.try_get("at")?;
    let booking = BookingId(row.try_get("booking_id")?);
    let append = match wanted {
        Wanted::Email(email) => {
            corrected(conn, CustomerId(row.try_get("customer_id")?), email, at).await?
        }
        Wanted::PaymentMethod(payment_method) => {
            decided(
                conn,
                booking,
                Command::CorrectPaymentMethod { payment_method },
                at,
            )
            .await?
        }
        Wanted::Hold => {
            let until: Option<DateTime<Utc>> = row.try_get("hold_expires_at")?;
            let expires_at = until.ok_or_else(|| nothing("No slot is held."))?;
            decided(conn, booking, Command::ExtendHold { expires_at }, at).await?
        }
    };
    let context = Context {
        correlation: CorrelationId(row.try_get("correlation_id")?),
        causation: Some(request.command_id),
        on_behalf_of: None,
    };
    match append_in(conn, &context, vec![append]).await {
        Ok(_) => Ok(()),
        Err(AppendError::Conflict { .. }) => Err(AppError::new(
            Code::Conflict,
            "This changed while you looked. Nothing was done by you.",
        )
        .hint("Look at it as it is now, then decide again.")),
        Err(other) => Err(error::append(other)),
    }
}

async fn decided(
    conn: &mut PgConnection,
    id: BookingId,
    command: Command,
    at: DateTime<Utc>,
) -> Result<Append, AppError> {
    let (state, version) = read::booking(conn, id).await.map_err(internal)?;
    let same = match &command {
        Command::ExtendHold { .. } => "A hold lasts a week in all, and it does so already.",
        _ => "This is the card that was asked already.",
    };
    let events = booking::decide(&state, command, at)
        .map_err(|refusal| nothing(&format!("A rule refuses it: {refusal}.")))?;
    if events.is_empty() {
        return Err(nothing(same));
    }
    Ok(Append::new(id, Expected::Version(version), events, at))
}

/// Registered anew, with what is known of them but the address: the newest registration counts.
async fn corrected(
    conn: &mut PgConnection,
    customer: CustomerId,
    email: String,
    at: DateTime<Utc>,
) -> Result<Append, AppError> {
    let mut sealed = None;
    let mut version = 0;
    for recorded in read::stream(&mut *conn, &customer.into(), 0)
        .await
        .map_err(internal)?
    {
        version = recorded.version;
        if let Event::CustomerRegistered(e) = recorded.event().map_err(internal)? {
            sealed = Some(e.personal.clone());
        }
    }
    let known = match sealed {
        Some(sealed) => seal::unseal(&mut *conn, customer, &sealed)
            .await
            .map_err(internal)?,
        None => None,
    };
    let known = known.ok_or_else(|| nothing("The customer was erased: nobody can be told."))?;
    if known.email.as_deref() == Some(email.as_str()) {
        return Err(AppError::invalid(
            "email",
            "This is the address that is there already.",
        ));
    }
    let personal = Personal {
        email: Some(email),
        ..known
    };
    let personal = seal::seal(conn, customer, &personal)
        .await
        .map_err(internal)?;
    let event = Event::CustomerRegistered(CustomerRegistered {
        customer_id: customer,
        personal,
    });
    Ok(Append::new(
        customer,
        Expected::Version(version),
        vec![event],
        at,
    ))
}

fn nothing(why: &str) -> AppError {
    AppError::new(Code::Refused, format!("{why} Nothing was done."))
}

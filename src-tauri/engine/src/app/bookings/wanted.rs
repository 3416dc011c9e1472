//! What a booking asks for, checked against the catalogue, and what becomes of it in words.

use chrono::{DateTime, TimeDelta, Utc};
use sha2::{Digest, Sha256};
use sqlx::postgres::types::PgRange;
use sqlx::{PgConnection, Row};
use uuid::Uuid;

use crate::app::wire::{AppError, Code, CreateBooking, Fold, ForCustomer, PaymentMode, Retry};
use crate::domain::customer::Personal;
use crate::domain::event::{self, BookedResource, BookingCreated, Claim, Source};
use crate::domain::ids::*;
use crate::domain::money::{Currency, Money};
use crate::domain::slot::{self, SlotError};
use crate::saga::rules::{self, Rules};
use crate::saga::start::Rival;

/// Later than this is a slip of the hand.
const FARTHEST: TimeDelta = TimeDelta::days(3653);

/// What the request means, checked against the catalogue.
pub(super) struct Wanted {
    pub service_id: Uuid,
    pub service_version: i32,
    pub service_name: String,
    pub duration_min: i32,
    pub before_min: i32,
    pub after_min: i32,
    pub price: Money,
    pub zone: String,
    /// Staff, then the room.
    pub resources: Vec<WantedResource>,
    pub start: slot::LocalTime,
    pub start_utc: DateTime<Utc>,
    pub personal: Option<Personal>,
    pub customer_id: CustomerId,
    pub payment_mode: event::PaymentMode,
    pub payment_method: Option<String>,
    /// By the database's clock, which decides what lies in the past.
    pub asked_at: DateTime<Utc>,
    /// How long a hold lasts, where people set it.
    pub rules: Rules,
}

pub(super) struct WantedResource {
    pub id: Uuid,
    pub name: String,
    pub role: &'static str,
    pub capacity: i16,
}

impl Wanted {
    pub(super) async fn check(
        conn: &mut PgConnection,
        request: &CreateBooking,
    ) -> Result<Wanted, AppError> {
        let (customer_id, personal) = match &request.customer {
            ForCustomer::Known { customer_id } => (CustomerId(*customer_id), None),
            ForCustomer::New { name, email, phone } => {
                let personal = Personal::checked(name, email.as_deref(), phone.as_deref())
                    .map_err(|e| AppError::invalid(e.field(), sentence(&e)))?;
                (
                    CustomerId(derived(request.command_id, "customer")),
                    Some(personal),
                )
            }
        };
        let payment_mode = match request.payment_mode {
            PaymentMode::Link => event::PaymentMode::Link,
            PaymentMode::CardOnFile => event::PaymentMode::CardOnFile,
            PaymentMode::Venue => event::PaymentMode::Venue,
        };
        let payment_method = request.payment_method.clone().filter(|m| !m.is_empty());
        if payment_mode == event::PaymentMode::CardOnFile
            && !payment_method.as_deref().is_some_and(is_payment_method)
        {
            return Err(AppError::invalid(
                "payment_method",
                "Choose the saved card to charge.",
            ));
        }
        let stands = Standing::of(conn, request).await?;
        if !stands.customer_known {
            return Err(
                AppError::new(Code::NotFound, "This customer is not known any more.")
                    .field("customer")
                    .hint("Pick another customer, or enter a new one."),
            );
        }
        let service = stands.service.ok_or_else(|| {
            AppError::new(Code::NotFound, "This service is not offered any more.")
                .field("service_id")
                .hint("Pick another service.")
        })?;
        let resources = resources(conn, request).await?;
        let (zone, now) = (stands.zone.ok_or_else(not_performed)?, stands.now);
        let fold = request.fold.map(|f| match f {
            Fold::First => slot::Fold::First,
            Fold::Second => slot::Fold::Second,
        });
        let (start, start_utc) = slot::resolve(&request.starts, &zone, fold).map_err(|e| {
            let field = if matches!(e, SlotError::Twice { .. }) {
                "fold"
            } else {
                "starts"
            };
            AppError::invalid(field, sentence(&e))
        })?;
        if start_utc > now + FARTHEST {
            return Err(AppError::invalid(
                "starts",
                "That lies more than ten years ahead. Check the year.",
            ));
        }
        let currency: Currency = service
            .currency
            .parse()
            .map_err(|_| AppError::new(Code::Internal, "The service has no valid currency."))?;
        Ok(Wanted {
            service_id: request.service_id,
            service_version: service.version,
            service_name: service.name,
            duration_min: service.duration_min,
            before_min: service.buffer_before_min,
            after_min: service.buffer_after_min,
            price: Money::new(service.price_minor, currency),
            zone,
            resources,
            start,
            start_utc,
            personal,
            customer_id,
            payment_mode,
            payment_method,
            asked_at: now,
            rules: stands.rules,
        })
    }

    /// With the time that the service blocks around itself.
    fn blocked(&self) -> (DateTime<Utc>, DateTime<Utc>) {
        let minutes = |n: i32| TimeDelta::minutes(n.into());
        (
            self.start_utc - minutes(self.before_min),
            self.start_utc + minutes(self.duration_min + self.after_min),
        )
    }

    /// For each resource the first of its units that is free all the time. Where none is, the first one: whoever has it
    /// is then named. The constraint decides; this only looks.
    pub(super) async fn free_units(&self, conn: &mut PgConnection) -> sqlx::Result<Vec<i16>> {
        if self.resources.iter().all(|r| r.capacity == 1) {
            return Ok(vec![1; self.resources.len()]);
        }
        let (from, until) = self.blocked();
        sqlx::query_scalar(
            "select coalesce((select min(u) from generate_series(1, w.capacity) u
                               where not exists (select 1 from read.claims_v1 c
                                                  where c.resource_id = w.id and c.unit = u and c.during && $3
                                                    and (c.expires_at is null or c.expires_at >= now()))), 1)::smallint
               from unnest($1::uuid[], $2::smallint[]) with ordinality as w(id, capacity, o) order by o",
        )
        .bind(self.resources.iter().map(|r| r.id).collect::<Vec<_>>())
        .bind(self.resources.iter().map(|r| r.capacity).collect::<Vec<_>>())
        .bind(PgRange::from(from..until))
        .fetch_all(conn)
        .await
    }

    /// What stands in the way is named by its time, never by whose it is.
    pub(super) fn taken(&self, rival: &Rival) -> AppError {
        let name = self
            .resources
            .iter()
            .find(|r| r.id == rival.resource_id)
            .map_or("It", |r| r.name.as_str());
        let clock = |at: DateTime<Utc>| {
            slot::shown(at, &self.zone)
                .map_or_else(|_| at.to_rfc3339(), |(wall, ..)| wall[11..16].to_owned())
        };
        let (from, until) = (clock(rival.from), clock(rival.until));
        AppError::new(Code::SlotTaken, format!("{name} is taken {from}–{until} by another booking. Nothing was booked and nothing was charged."))
                .hint("Pick another time; everything you typed is still here.")
                .field("starts")
                .retry(Retry::Never)
    }

    pub(super) fn created(
        &self,
        request: &CreateBooking,
        reference: Reference,
        units: &[i16],
    ) -> BookingCreated {
        BookingCreated {
            // The command's id is the booking's: sent twice, it books once.
            booking_id: BookingId(request.command_id),
            reference,
            customer_id: self.customer_id,
            service_id: ServiceId(self.service_id),
            service_version: self.service_version,
            service_name: self.service_name.clone(),
            source: Source::Staff,
            start: self.start.clone(),
            start_utc: self.start_utc,
            end_utc: self.start_utc + TimeDelta::minutes(self.duration_min.into()),
            duration_min: self.duration_min,
            buffer_before_min: self.before_min,
            buffer_after_min: self.after_min,
            resources: self
                .resources
                .iter()
                .zip(units)
                .map(|(resource, unit)| BookedResource {
                    resource_id: ResourceId(resource.id),
                    unit: *unit,
                    role: resource.role.to_owned(),
                    name: resource.name.clone(),
                })
                .collect(),
            price: self.price.clone(),
            payment_mode: self.payment_mode,
            payment_method: self.payment_method.clone(),
        }
    }

    pub(super) fn claims(&self, command: Uuid, units: &[i16]) -> Vec<Claim> {
        let (from, until) = self.blocked();
        let claim = |(resource, unit): (&WantedResource, &i16)| Claim {
            claim_id: ClaimId(derived(command, resource.role)),
            resource_id: ResourceId(resource.id),
            unit: *unit,
            blocked_from: from,
            blocked_until: until,
        };
        self.resources.iter().zip(units).map(claim).collect()
    }
}

/// What the database knows of the request, in one look.
struct Standing {
    customer_known: bool,
    service: Option<Service>,
    /// Of the place where the person works.
    zone: Option<String>,
    now: DateTime<Utc>,
    rules: Rules,
}

#[derive(sqlx::FromRow)]
struct Service {
    name: String,
    version: i32,
    duration_min: i32,
    buffer_before_min: i32,
    buffer_after_min: i32,
    price_minor: i64,
    currency: String,
}

impl Standing {
    async fn of(conn: &mut PgConnection, request: &CreateBooking) -> sqlx::Result<Standing> {
        let known = match request.customer {
            ForCustomer::Known { customer_id } => Some(customer_id),
            ForCustomer::New { .. } => None,
        };
        let row = sqlx::query(
            "select $3::uuid is null or exists (select from read.customers_v1 c where c.customer_id = $3 and not c.erased) as customer_known,
                    s.service_id is not null as offered, s.name, s.version, s.duration_min, s.buffer_before_min, s.buffer_after_min, s.price_minor, s.currency,
                    l.zone, now() as now, (select p.value from read.saga_policy_v1 p order by p.version desc limit 1) as rules
               from (values (1)) one
               left join read.services_v1 s on s.service_id = $1 and s.active
               left join read.resources_v1 r on r.resource_id = $2
               left join read.locations_v1 l using (location_id)",
        )
        .bind(request.service_id)
        .bind(request.staff_id)
        .bind(known)
        .fetch_one(conn)
        .await?;
        Ok(Standing {
            customer_known: row.try_get("customer_known")?,
            service: match row.try_get("offered")? {
                true => Some(<Service as sqlx::FromRow<_>>::from_row(&row)?),
                false => None,
            },
            zone: row.try_get("zone")?,
            now: row.try_get("now")?,
            rules: rules::read(row.try_get("rules")?),
        })
    }
}

fn not_performed() -> AppError {
    AppError::invalid(
        "staff_id",
        "This person does not perform the service. Pick somebody who does.",
    )
}

/// The person who performs it and, when the service needs one, the room. Both must be offered for this service.
async fn resources(
    conn: &mut PgConnection,
    request: &CreateBooking,
) -> Result<Vec<WantedResource>, AppError> {
    let rows = sqlx::query(
        "select r.resource_id, r.name, r.kind, r.capacity from read.service_resources_v1 s join read.resources_v1 r using (resource_id)
          where s.service_id = $1 and r.active",
    )
    .bind(request.service_id)
    .fetch_all(conn)
    .await?;
    let find = |id: Uuid, kind: &'static str| {
        let row = rows.iter().find(|r| {
            r.try_get::<Uuid, _>("resource_id").ok() == Some(id)
                && r.try_get::<&str, _>("kind").ok() == Some(kind)
        })?;
        Some(WantedResource {
            id,
            name: row.try_get("name").ok()?,
            role: kind,
            capacity: row.try_get("capacity").ok()?,
        })
    };
    let staff = find(request.staff_id, "staff").ok_or_else(not_performed)?;
    let mut found = vec![staff];
    let needs_room = rows
        .iter()
        .any(|r| r.try_get::<&str, _>("kind").ok() == Some("room"));
    match request.room_id {
        Some(id) => {
            let room = find(id, "room").ok_or_else(|| {
                AppError::invalid(
                    "room_id",
                    "The service cannot take place in this room. Pick another time or room.",
                )
            })?;
            found.push(room);
        }
        None if needs_room => {
            return Err(AppError::invalid(
                "room_id",
                "The service needs a room. Pick one of the free times, which come with a room.",
            ));
        }
        None => {}
    }
    Ok(found)
}

/// As Stripe writes them. Whether it exists is Stripe's to say.
fn is_payment_method(text: &str) -> bool {
    let sign = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.len() < 200
        && text
            .strip_prefix("pm_")
            .is_some_and(|rest| !rest.is_empty() && rest.chars().all(sign))
}

pub(super) fn sentence(error: &dyn std::error::Error) -> String {
    let text = error.to_string();
    let mut signs = text.chars();
    signs.next().map_or_else(String::new, |first| {
        format!("{}{}.", first.to_uppercase(), signs.as_str())
    })
}

/// An id that follows from another: the same command gives the same customer and claims.
fn derived(from: Uuid, what: &str) -> Uuid {
    let mut hash = Sha256::new();
    hash.update(from.as_bytes());
    hash.update(what.as_bytes());
    let mut bytes = [0u8; 16];
    bytes.copy_from_slice(&hash.finalize()[..16]);
    uuid::Builder::from_custom_bytes(bytes).into_uuid()
}

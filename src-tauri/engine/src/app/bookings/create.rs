//! Booking something: customer, claims, events and saga in one transaction.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use sha2::{Digest, Sha256};
use sqlx::postgres::types::PgRange;
use sqlx::{Connection, PgConnection, Row};
use uuid::Uuid;

use crate::app::desk::Desk;
use crate::app::error;
use crate::app::wire::{
    AppError, Booked, Code, CreateBooking, Fold, ForCustomer, PaymentMode, Retry,
};
use crate::domain::booking::{self, Booking, Command, Refusal};
use crate::domain::customer::Personal;
use crate::domain::event::{
    self, BookedResource, BookingCreated, Claim, CustomerRegistered, Event, Source,
};
use crate::domain::ids::*;
use crate::domain::money::{Currency, Money};
use crate::domain::slot::{self, SlotError};
use crate::saga::definition::Policy;
use crate::saga::start::{BookError, Rival, Start, book};
use crate::saga::world::World;
use crate::store::append::{Append, AppendError, Expected};
use crate::store::{read, seal};

/// Without a worker alive the lists stand still; nobody is kept waiting for them.
const SOON: Duration = Duration::from_secs(1);
/// Later than this is a slip of the hand.
const FARTHEST: TimeDelta = TimeDelta::days(3653);

pub async fn create(desk: &Desk, request: CreateBooking) -> Result<Booked, AppError> {
    if let Some(reason) = &desk.read_only {
        return Err(AppError::new(Code::Forbidden, reason.clone()));
    }
    let mut conn = desk.people.acquire().await?;
    let wanted = Wanted::check(&mut conn, &request).await?;
    // As many may race for the last units of a resource; each round has a winner.
    for _ in 0..8 {
        if let Some(booked) = booked_before(&mut conn, &request, &wanted).await? {
            return Ok(booked);
        }
        match attempt(desk, &mut conn, &request, &wanted).await {
            Err(Failed::Again) => {}
            Err(Failed::Told(error)) => return Err(*error),
            Ok((booked, world)) => {
                desk.bell.ring();
                if let Some(worker) = &desk.works_here
                    && goes_straight_on(desk)
                {
                    worker.go_on(SagaId(booked.saga_id), world);
                }
                shown(&mut conn, booked.booking_id).await;
                return Ok(booked);
            }
        }
    }
    Err(AppError::new(
        Code::SlotTaken,
        "Others are booking the same time right now.",
    )
    .hint("Try again in a moment.")
    .retry(Retry::Now)
    .field("starts"))
}

/// Whoever booked looks at the booking next: waits until the lists show it, as long as that is soon.
async fn shown(conn: &mut PgConnection, booking: Uuid) {
    let until = tokio::time::Instant::now() + SOON;
    while tokio::time::Instant::now() < until {
        let there = sqlx::query_scalar(
            "select exists (select 1 from read.bookings_v1 where booking_id = $1)",
        )
        .bind(booking)
        .fetch_one(&mut *conn)
        .await;
        if there.unwrap_or(true) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Only an admin's login may start a saga leased to the worker of its own process.
fn goes_straight_on(desk: &Desk) -> bool {
    desk.works_here.is_some() && desk.group == crate::app::wire::Group::Admin
}

enum Failed {
    /// Lost a race that another try may win.
    Again,
    Told(Box<AppError>),
}

impl<E: Into<AppError>> From<E> for Failed {
    fn from(error: E) -> Self {
        Failed::Told(Box::new(error.into()))
    }
}

async fn attempt(
    desk: &Desk,
    conn: &mut PgConnection,
    request: &CreateBooking,
    wanted: &Wanted,
) -> Result<(Booked, Option<Box<World>>), Failed> {
    let (policy, now) = (&desk.policy, wanted.asked_at);
    let units = wanted.free_units(conn).await?;
    let created = wanted.created(
        request,
        Reference::from_bits(crate::runtime::ids::reference_bits()),
        &units,
    );
    let claims = wanted.claims(request.command_id, &units);
    let hold_expires_at = hold_until(&created, now, policy);

    let state = Booking::default();
    let mut events = booking::decide(&state, Command::Create(Box::new(created.clone())), now)
        .map_err(refused)?;
    let state = booking::replay(&events);
    events.extend(
        booking::decide(
            &state,
            Command::Hold {
                claims: claims.clone(),
                expires_at: hold_expires_at,
            },
            now,
        )
        .map_err(refused)?,
    );

    let start = Start {
        saga: SagaId(crate::runtime::ids::v7()),
        created: &created,
        claims: &claims,
        hold_expires_at,
        correlation: CorrelationId(crate::runtime::ids::v7()),
        causation: request.command_id,
        installation: &desk.installation.id,
        policy,
        lease: desk
            .works_here
            .as_ref()
            .filter(|_| goes_straight_on(desk))
            .map(|w| w.worker_id()),
        now,
    };
    let mut appends = vec![Append::new(
        created.booking_id,
        Expected::Version(0),
        events.clone(),
        now,
    )];
    let started = match (&request.customer, &wanted.personal) {
        // Their key is made in this very transaction, and what is sealed with it cannot be written before it is there.
        (ForCustomer::New { .. }, Some(personal)) => {
            let mut tx = conn.begin().await?;
            appends.push(registered(&mut tx, created.customer_id, personal, now).await?);
            let started = book(&mut tx, start, appends).await;
            if started.is_ok() {
                tx.commit().await?;
            } else {
                tx.rollback().await?;
            }
            started
        }
        _ => book(conn, start, appends).await,
    };
    let started = match started {
        Ok(started) => started,
        Err(BookError::SlotTaken(rivals)) => {
            // Somebody else took this unit meanwhile; another one may be free.
            if wanted.free_units(conn).await? != units {
                return Err(Failed::Again);
            }
            return Err(wanted.taken(&rivals));
        }
        // The same command from two windows at once: the other one won; the next look finds its booking.
        Err(BookError::Overtaken | BookError::Append(AppendError::Conflict { .. })) => {
            return Err(Failed::Again);
        }
        Err(BookError::Append(other)) => return Err(error::append(other).into()),
    };
    let booked = Booked {
        booking_id: created.booking_id.0,
        reference: created.reference.0,
        saga_id: started.saga.0,
    };
    let world = started.world(&events, now, &desk.installation.id);
    Ok((booked, world.map(Box::new)))
}

/// Who the customer is, sealed with a key of their own.
async fn registered(
    conn: &mut PgConnection,
    customer_id: CustomerId,
    personal: &Personal,
    now: DateTime<Utc>,
) -> Result<Append, AppError> {
    let personal = seal::seal(conn, customer_id, personal)
        .await
        .map_err(error::internal)?;
    let registered = CustomerRegistered {
        customer_id,
        personal,
    };
    Ok(Append::new(
        customer_id,
        Expected::Version(0),
        vec![Event::CustomerRegistered(registered)],
        now,
    ))
}

fn reused() -> Failed {
    Failed::Told(Box::new(
        AppError::new(
            Code::CommandReused,
            "This form was sent before with other content.",
        )
        .hint("Open a new form; what you typed can be copied over."),
    ))
}

/// The hold lasts 15 minutes with a card at hand, 24 hours with a link but never into the appointment, and has no limit
/// when it is paid at the venue.
fn hold_until(
    created: &BookingCreated,
    now: DateTime<Utc>,
    policy: &Policy,
) -> Option<DateTime<Utc>> {
    let delta = |d| TimeDelta::from_std(d).unwrap_or(TimeDelta::minutes(15));
    if created.price.is_zero() {
        return None;
    }
    match created.payment_mode {
        event::PaymentMode::Venue => None,
        event::PaymentMode::CardOnFile => Some(now + delta(policy.hold_with_card)),
        event::PaymentMode::Link => {
            let last = created.start_utc - TimeDelta::minutes(5);
            Some(
                (now + delta(policy.hold_with_link))
                    .min(last)
                    .max(now + delta(policy.hold_with_card)),
            )
        }
    }
}

/// What the request means, checked against the catalogue.
struct Wanted {
    service_id: Uuid,
    service_version: i32,
    service_name: String,
    duration_min: i32,
    before_min: i32,
    after_min: i32,
    price: Money,
    zone: String,
    /// Staff, then the room.
    resources: Vec<WantedResource>,
    start: slot::LocalTime,
    start_utc: DateTime<Utc>,
    personal: Option<Personal>,
    customer_id: CustomerId,
    payment_mode: event::PaymentMode,
    payment_method: Option<String>,
    /// By the database's clock, which decides what lies in the past.
    asked_at: DateTime<Utc>,
}

struct WantedResource {
    id: Uuid,
    name: String,
    role: &'static str,
    capacity: i16,
}

impl Wanted {
    async fn check(conn: &mut PgConnection, request: &CreateBooking) -> Result<Wanted, AppError> {
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
        if let ForCustomer::Known { customer_id } = request.customer {
            let known: bool = sqlx::query_scalar("select exists (select 1 from read.customers_v1 where customer_id = $1 and not erased)").bind(customer_id).fetch_one(&mut *conn).await?;
            if !known {
                return Err(
                    AppError::new(Code::NotFound, "This customer is not known any more.")
                        .field("customer")
                        .hint("Pick another customer, or enter a new one."),
                );
            }
        }
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
        let service = sqlx::query("select name, version, duration_min, buffer_before_min, buffer_after_min, price_minor, currency from read.services_v1 where service_id = $1 and active")
            .bind(request.service_id)
            .fetch_optional(&mut *conn)
            .await?
            .ok_or_else(|| AppError::new(Code::NotFound, "This service is not offered any more.").field("service_id").hint("Pick another service."))?;
        let resources = resources(conn, request).await?;
        let (zone, now): (String, DateTime<Utc>) = sqlx::query_as("select l.zone, now() from read.locations_v1 l join read.resources_v1 r using (location_id) where r.resource_id = $1")
            .bind(request.staff_id)
            .fetch_one(&mut *conn)
            .await?;
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
            .try_get::<String, _>("currency")?
            .parse()
            .map_err(|_| AppError::new(Code::Internal, "The service has no valid currency."))?;
        Ok(Wanted {
            service_id: request.service_id,
            service_version: service.try_get("version")?,
            service_name: service.try_get("name")?,
            duration_min: service.try_get("duration_min")?,
            before_min: service.try_get("buffer_before_min")?,
            after_min: service.try_get("buffer_after_min")?,
            price: Money::new(service.try_get("price_minor")?, currency),
            zone,
            resources,
            start,
            start_utc,
            personal,
            customer_id,
            payment_mode,
            payment_method,
            asked_at: now,
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
    async fn free_units(&self, conn: &mut PgConnection) -> sqlx::Result<Vec<i16>> {
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
    fn taken(&self, rivals: &[Rival]) -> Failed {
        let Some(rival) = rivals.first() else {
            return Failed::Again;
        };
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
        Failed::Told(Box::new(
            AppError::new(Code::SlotTaken, format!("{name} is taken {from}–{until} by another booking. Nothing was booked and nothing was charged."))
                .hint("Pick another time; everything you typed is still here.")
                .field("starts")
                .retry(Retry::Never),
        ))
    }

    fn created(
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

    fn claims(&self, command: Uuid, units: &[i16]) -> Vec<Claim> {
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
    let staff = find(request.staff_id, "staff").ok_or_else(|| {
        AppError::invalid(
            "staff_id",
            "This person does not perform the service. Pick somebody who does.",
        )
    })?;
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

/// The same command again: its first result, as long as it asks for the same thing.
async fn booked_before(
    conn: &mut PgConnection,
    request: &CreateBooking,
    wanted: &Wanted,
) -> Result<Option<Booked>, AppError> {
    let (state, _) = read::booking(conn, BookingId(request.command_id))
        .await
        .map_err(error::internal)?;
    let Some(created) = state.created else {
        return Ok(None);
    };
    let same = created.service_id.0 == wanted.service_id
        && created.start_utc == wanted.start_utc
        && created.customer_id == wanted.customer_id
        && created
            .resources
            .iter()
            .map(|r| r.resource_id.0)
            .eq(wanted.resources.iter().map(|r| r.id));
    if !same {
        let Failed::Told(error) = reused() else {
            return Ok(None);
        };
        return Err(*error);
    }
    let saga: Uuid = sqlx::query_scalar(
        "select saga_id from read.sagas_v1 where booking_id = $1 order by created_at desc limit 1",
    )
    .bind(created.booking_id.0)
    .fetch_one(conn)
    .await?;
    Ok(Some(Booked {
        booking_id: created.booking_id.0,
        reference: created.reference.0,
        saga_id: saga,
    }))
}

/// As Stripe writes them. Whether it exists is Stripe's to say.
fn is_payment_method(text: &str) -> bool {
    let sign = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.len() < 200
        && text
            .strip_prefix("pm_")
            .is_some_and(|rest| !rest.is_empty() && rest.chars().all(sign))
}

fn refused(refusal: Refusal) -> Failed {
    if let Refusal::InThePast(_) = refusal {
        return Failed::Told(Box::new(
            AppError::new(Code::Refused, "That time lies in the past.")
                .hint("Pick a later one; everything you typed is still here.")
                .field("starts"),
        ));
    }
    let field = match refusal {
        Refusal::EmptySlot => "starts",
        _ => "service_id",
    };
    Failed::Told(Box::new(
        AppError::new(Code::Refused, sentence(&refusal)).field(field),
    ))
}

fn sentence(error: &dyn std::error::Error) -> String {
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

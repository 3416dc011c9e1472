//! Booking something: customer, claims, events and saga in one transaction.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::pool::PoolConnection;
use sqlx::{PgConnection, PgPool, Postgres};
use uuid::Uuid;

use super::wanted::{Wanted, sentence};
use crate::app::desk::Desk;
use crate::app::error;
use crate::app::wire::{AppError, Booked, Code, CreateBooking, ForCustomer, Retry};
use crate::domain::booking::{self, Booking, Command, Refusal};
use crate::domain::customer::Personal;
use crate::domain::event::{self, BookingCreated, CustomerRegistered, Event};
use crate::domain::ids::*;
use crate::saga::definition::Policy;
use crate::saga::start::{BookError, Start, book};
use crate::saga::world::World;
use crate::store::append::{Append, AppendError, Expected};
use crate::store::{read, seal};

/// Without a worker alive the lists stand still; nobody is kept waiting for them.
const SOON: Duration = Duration::from_secs(1);

pub async fn create(desk: &Desk, request: CreateBooking) -> Result<Booked, AppError> {
    if let Some(reason) = &desk.read_only {
        return Err(AppError::new(Code::Forbidden, reason.clone()));
    }
    let wanted = Wanted::check(&mut *desk.people.acquire().await?, &request).await?;
    // As many may race for the last units of a resource; each round has a winner.
    for _ in 0..8 {
        let mut conn = desk.people.acquire().await?;
        if let Some(booked) = booked_before(&mut conn, &request, &wanted).await? {
            return Ok(booked);
        }
        match attempt(desk, conn, &request, &wanted).await {
            Err(Failed::Again) => {}
            Err(Failed::Told(error)) => return Err(*error),
            Ok((booked, world)) => {
                desk.bell.ring();
                if let Some(worker) = &desk.works_here
                    && goes_straight_on(desk)
                {
                    worker.go_on(SagaId(booked.saga_id), world);
                }
                shown(&desk.people, booked.booking_id).await;
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
async fn shown(people: &PgPool, booking: Uuid) {
    let until = tokio::time::Instant::now() + SOON;
    while tokio::time::Instant::now() < until {
        let there = sqlx::query_scalar(
            "select exists (select 1 from read.bookings_v1 where booking_id = $1)",
        )
        .bind(booking)
        .fetch_one(people)
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
    mut conn: PoolConnection<Postgres>,
    request: &CreateBooking,
    wanted: &Wanted,
) -> Result<(Booked, Option<Box<World>>), Failed> {
    let (policy, now) = (&wanted.rules.over(&desk.policy), wanted.asked_at);
    let units = wanted.free_units(&mut conn).await?;
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
            let mut tx = crate::store::begin_on(conn).await?;
            appends.push(registered(&mut tx, created.customer_id, personal, now).await?);
            let started = book(&mut tx, start, appends).await;
            if started.is_ok() {
                tx.commit().await?;
            } else {
                tx.rollback().await?;
            }
            started
        }
        _ => book(&mut conn, start, appends).await,
    };
    let started = match started {
        Ok(started) => started,
        Err(BookError::SlotTaken(rivals)) => {
            // Somebody else took this unit meanwhile; another one may be free.
            if wanted
                .free_units(&mut *desk.people.acquire().await?)
                .await?
                != units
            {
                return Err(Failed::Again);
            }
            return Err(match rivals.first() {
                Some(rival) => wanted.taken(rival).into(),
                None => Failed::Again,
            });
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

//! What can be booked, and when.

use chrono::{DateTime, NaiveTime, TimeDelta, Utc};
use jiff::civil::Date;
use sqlx::{PgConnection, Row};
use uuid::Uuid;

use super::desk::Desk;
use super::free::{self, Hours, Resource as Bookable, Search};
use super::place::{self, moment, money};
use super::session;
use super::wire::*;
use crate::domain::slot;

/// How far ahead the next free day is looked for.
const LOOK_AHEAD_DAYS: i64 = 14;

pub async fn catalogue(desk: &Desk, _: Empty) -> Result<Catalogue, AppError> {
    let mut conn = desk.people.acquire().await?;
    let services = sqlx::query(
        "select s.service_id, s.name, s.category, s.duration_min, s.buffer_before_min, s.buffer_after_min, s.price_minor,
                s.currency::text as currency,
                coalesce(array_agg(r.resource_id order by r.name) filter (where r.kind = 'staff'), '{}') as performed_by,
                coalesce(array_agg(r.resource_id order by r.name) filter (where r.kind = 'room'), '{}') as rooms
           from read.services_v1 s
           left join read.service_resources_v1 sr using (service_id)
           left join read.resources_v1 r on r.resource_id = sr.resource_id and r.active
          where s.active
          group by s.service_id, s.name, s.category, s.duration_min, s.buffer_before_min, s.buffer_after_min, s.price_minor, s.currency
          order by s.category, s.name",
    )
    .fetch_all(&mut *conn)
    .await?;
    let resources = sqlx::query(
        "select resource_id, kind, name from read.resources_v1 where active
          order by array_position(array['staff', 'room', 'equipment', 'pool'], kind), name",
    )
    .fetch_all(&mut *conn)
    .await?;
    Ok(Catalogue {
        services: services.iter().map(service).collect::<Result<_, _>>()?,
        resources: resources
            .iter()
            .map(|r| {
                Ok(Resource {
                    resource_id: r.try_get(0)?,
                    kind: r.try_get(1)?,
                    name: r.try_get(2)?,
                })
            })
            .collect::<Result<_, AppError>>()?,
        sandbox_cards: match session::mode(desk) {
            Mode::Sandbox => sandbox_cards(),
            Mode::Live => vec![],
        },
    })
}

fn service(row: &sqlx::postgres::PgRow) -> Result<Service, AppError> {
    Ok(Service {
        service_id: row.try_get("service_id")?,
        name: row.try_get("name")?,
        category: row.try_get("category")?,
        duration_min: row.try_get("duration_min")?,
        buffer_before_min: row.try_get("buffer_before_min")?,
        buffer_after_min: row.try_get("buffer_after_min")?,
        price: money(row.try_get("price_minor")?, row.try_get("currency")?),
        performed_by: row.try_get("performed_by")?,
        rooms: row.try_get("rooms")?,
    })
}

fn sandbox_cards() -> Vec<SandboxCard> {
    [
        ("pm_card_visa", "accepted"),
        ("pm_card_chargeDeclined", "declined"),
        ("pm_card_chargeDeclinedInsufficientFunds", "declined"),
        ("pm_card_authenticationRequired", "needs_authentication"),
    ]
    .map(|(payment_method, behaviour)| SandboxCard {
        payment_method: payment_method.to_owned(),
        behaviour: behaviour.to_owned(),
    })
    .into()
}

pub async fn free_times(desk: &Desk, request: FreeTimes) -> Result<FreeTimesReply, AppError> {
    let date: Date = request
        .date
        .parse()
        .map_err(|_| AppError::invalid("date", "Write the date as 2026-11-24."))?;
    let mut conn = desk.people.acquire().await?;
    let place = place::here(&mut conn).await?;
    let (mut search, now) = search(&mut conn, &request, &place.zone).await?;
    let last = date
        .checked_add(jiff::Span::new().days(LOOK_AHEAD_DAYS))
        .map_err(|_| AppError::invalid("date", "That date lies too far ahead."))?;
    load_claims(&mut conn, &mut search, date, last).await?;
    drop(conn);

    let times = search
        .on(date, now)
        .into_iter()
        .map(|found| {
            Ok(FreeTime {
                starts: moment(found.starts, &place.zone)?,
                staff: found.staff.named(),
                room: found.room.map(Bookable::named),
            })
        })
        .collect::<Result<_, AppError>>()?;
    let next_date = std::iter::successors(date.tomorrow().ok(), |d| d.tomorrow().ok())
        .take_while(|d| *d <= last)
        .find(|d| search.any_on(*d, now));
    Ok(FreeTimesReply {
        date: date.to_string(),
        times,
        next_date: next_date.map(|d| d.to_string()),
    })
}

/// The service, who performs it, the rooms for it, and when each works. The clock is the database's.
async fn search(
    conn: &mut PgConnection,
    request: &FreeTimes,
    zone: &str,
) -> Result<(Search, DateTime<Utc>), AppError> {
    let row = sqlx::query(
        "select duration_min, buffer_before_min, buffer_after_min, now() as now from read.services_v1 where service_id = $1 and active",
    )
    .bind(request.service_id)
    .fetch_optional(&mut *conn)
    .await?
    .ok_or_else(|| AppError::invalid("service_id", "This service is not offered any more."))?;
    let minutes = |column: &str| -> Result<TimeDelta, AppError> {
        Ok(TimeDelta::minutes(row.try_get::<i32, _>(column)?.into()))
    };
    let mut search = Search {
        zone: slot::time_zone(zone).map_err(super::error::internal)?,
        duration: minutes("duration_min")?,
        before: minutes("buffer_before_min")?,
        after: minutes("buffer_after_min")?,
        staff: vec![],
        rooms: vec![],
        needs_room: false,
    };
    let rows = sqlx::query(
        "select r.resource_id, r.name, r.kind, r.capacity, h.weekday, h.opens, h.closes
           from read.service_resources_v1 sr join read.resources_v1 r using (resource_id)
           left join read.working_hours_v1 h using (resource_id)
          where sr.service_id = $1 and r.active and r.kind in ('staff', 'room')
          order by r.kind, r.name, r.resource_id, h.weekday, h.opens",
    )
    .bind(request.service_id)
    .fetch_all(conn)
    .await?;
    for r in &rows {
        let id: Uuid = r.try_get("resource_id")?;
        let list = match r.try_get::<&str, _>("kind")? {
            "room" => &mut search.rooms,
            _ => &mut search.staff,
        };
        if list.last().is_none_or(|known: &Bookable| known.id != id) {
            let capacity: i16 = r.try_get("capacity")?;
            list.push(Bookable {
                id,
                name: r.try_get("name")?,
                capacity: capacity.max(1) as usize,
                hours: vec![],
                taken: vec![],
            });
        }
        if let (Some(resource), Some(weekday)) =
            (list.last_mut(), r.try_get::<Option<i16>, _>("weekday")?)
        {
            resource.hours.push(Hours {
                weekday: weekday as i8,
                opens: free::civil(r.try_get::<NaiveTime, _>("opens")?),
                closes: free::civil(r.try_get::<NaiveTime, _>("closes")?),
            });
        }
    }
    search.needs_room = !search.rooms.is_empty();
    if let Some(staff) = request.staff_id {
        search.staff.retain(|s| s.id == staff);
        if search.staff.is_empty() {
            return Err(AppError::invalid(
                "staff_id",
                "This person does not perform the service.",
            ));
        }
    }
    Ok((search, row.try_get("now")?))
}

/// One query for the whole span. A hold that has run out takes nothing: the same clock decides when it is claimed.
async fn load_claims(
    conn: &mut PgConnection,
    search: &mut Search,
    first: Date,
    last: Date,
) -> Result<(), AppError> {
    let (from, until) = search.span(first, last);
    let ids: Vec<Uuid> = search
        .staff
        .iter()
        .chain(&search.rooms)
        .map(|r| r.id)
        .collect();
    let rows: Vec<(Uuid, DateTime<Utc>, DateTime<Utc>, i16)> = sqlx::query_as(
        "select resource_id, lower(during), upper(during), unit from read.claims_v1
          where resource_id = any($1) and during && tstzrange($2, $3) and (expires_at is null or expires_at >= now())
          order by lower(during)",
    )
    .bind(ids)
    .bind(from)
    .bind(until)
    .fetch_all(conn)
    .await?;
    for (id, begins, ends, unit) in rows {
        for resource in search.staff.iter_mut().chain(&mut search.rooms) {
            if resource.id == id {
                resource.taken.push((begins, ends, unit));
            }
        }
    }
    Ok(())
}

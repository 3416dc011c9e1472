//! What rows were folded with. A build that knows fewer event types would pass the others by and nobody would see it, so
//! it leaves such rows alone. One that knows more goes on with them, and notes what they lack.

use std::collections::BTreeMap;

use sqlx::PgConnection;
use sqlx::types::Json;

use super::{Generation, Projection};
use crate::domain::event::TYPES;

/// Event types, each with the newest version that is read.
pub type Folded = BTreeMap<String, i16>;

impl Projection {
    /// What this build folds into its rows.
    pub fn folds(&self) -> Folded {
        let wanted = |name: &str| self.event_types.is_none_or(|types| types.contains(&name));
        TYPES
            .iter()
            .filter(|kind| wanted(kind.name))
            .map(|kind| {
                let newest = kind.versions.iter().map(|shape| shape.version).max();
                (kind.name.to_owned(), newest.unwrap_or_default())
            })
            .collect()
    }
}

/// What the rows were folded with and this build does not know, as `BookingMoved v2`.
pub fn beyond(ours: &Folded, rows: Option<&Folded>) -> Vec<String> {
    let newer = |(name, version): &(&String, &i16)| ours.get(*name).is_none_or(|v| v < *version);
    let said = |(name, version): (&String, &i16)| format!("{name} v{version}");
    rows.into_iter().flatten().filter(newer).map(said).collect()
}

/// Whose rows they are by now.
#[derive(Debug, PartialEq, Eq)]
pub enum Build {
    Ours,
    /// A newer build folded them, with these types.
    Newer(Vec<String>),
    /// Somebody moved or took them since they were looked at.
    Elsewhere,
}

/// Makes the rows those of this build, before it moves them. `upto`: where whoever folded them before has come to.
pub async fn claim(
    conn: &mut PgConnection,
    projection: &Projection,
    generation: &mut Generation,
    upto: i64,
) -> sqlx::Result<Build> {
    let ours = projection.folds();
    if generation.folded_with.as_ref() == Some(&ours) {
        return Ok(Build::Ours);
    }
    let newer = beyond(&ours, generation.folded_with.as_ref());
    if !newer.is_empty() {
        return Ok(Build::Newer(newer));
    }
    let Some(Json(without)) = stamp(conn, generation, &ours, upto).await? else {
        return Ok(Build::Elsewhere);
    };
    if !without.is_empty() {
        tracing::warn!(
            projection = generation.name,
            generation = generation.generation,
            without = ?without,
            "an older build passed events by that this one folds: a rebuild is recommended"
        );
    }
    generation.folded_with = Some(ours);
    Ok(Build::Ours)
}

/// Only types that the log holds events of are lacking: a type that came with this build mostly has none yet.
async fn stamp(
    conn: &mut PgConnection,
    generation: &Generation,
    ours: &Folded,
    upto: i64,
) -> sqlx::Result<Option<Json<BTreeMap<String, i64>>>> {
    sqlx::query_scalar(
        "update read.generations g
            set folded_with = $4,
                folded_without = g.folded_without || coalesce((
                  select jsonb_object_agg(distinct t.name, $6::bigint) from core.event_types t
                   where t.schema_version > coalesce((g.folded_with->>t.name)::smallint, 0) and t.schema_version <= ($4->>t.name)::smallint
                     and exists (select from core.events e where e.type_no = t.type_no and e.position <= $6)
                     and g.folded_with is not null), '{}')
          where g.name = $1 and g.generation = $2 and g.position = $3 and g.folded_with is not distinct from $5
         returning folded_without",
    )
    .bind(&generation.name)
    .bind(generation.generation)
    .bind(generation.position)
    .bind(Json(ours))
    .bind(generation.folded_with.as_ref().map(Json))
    .bind(upto)
    .fetch_optional(conn)
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folded(types: &[(&str, i16)]) -> Folded {
        types.iter().map(|(n, v)| ((*n).to_owned(), *v)).collect()
    }

    #[test]
    fn a_build_is_older_by_a_type_or_by_a_version() {
        let ours = folded(&[("BookingCreated", 1), ("BookingCancelled", 2)]);
        let none: [&str; 0] = [];
        assert_eq!(beyond(&ours, None), none);
        assert_eq!(beyond(&ours, Some(&ours)), none);
        let older = folded(&[("BookingCancelled", 1)]);
        assert_eq!(beyond(&ours, Some(&older)), none);
        let newer = folded(&[("BookingCancelled", 3), ("BookingMoved", 1)]);
        let more = ["BookingCancelled v3", "BookingMoved v1"];
        assert_eq!(beyond(&ours, Some(&newer)), more);
    }

    #[test]
    fn a_projection_of_every_event_folds_each_in_its_newest_version() {
        for projection in super::super::ALL {
            let folds = projection.folds();
            let some = projection.event_types.map(<[_]>::len);
            assert_eq!(
                folds.len(),
                some.unwrap_or(TYPES.len()),
                "{}",
                projection.name
            );
        }
        let folds = super::super::known("bookings", 1).unwrap().folds();
        assert_eq!(folds["BookingCancelled"], 2);
    }
}

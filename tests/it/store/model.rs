//! Random appends through both doors against a model of ten lines: statuses, versions, texts, order, chain.

use std::collections::BTreeMap;

use bizing_engine::domain::ids::{CommandId, StreamId};
use bizing_engine::runtime::bell::Bell;
use bizing_engine::runtime::tasks::Tasks;
use bizing_engine::store::append::{AppendError, Expected};
use bizing_engine::store::committer::{Committer, Settings};
use bizing_engine::store::read;

use super::subscribe::Dice;
use super::*;
use crate::support::db::TestDb;

const STEPS: usize = 250;

#[derive(Default)]
struct Model {
    streams: BTreeMap<String, Vec<String>>,
    /// Stream, texts and the version that was answered.
    commands: BTreeMap<Uuid, (String, Vec<String>, i64)>,
    log: Vec<String>,
}

/// What a request says, without ids and times.
#[derive(Clone, Debug)]
struct Asked {
    booking: BookingId,
    expected: Expected,
    texts: Vec<String>,
    command: Option<Uuid>,
}

#[derive(Debug, PartialEq)]
enum Refused {
    Conflict(i64),
    Reused(String),
}

impl Model {
    /// All of it, or the first refusal and nothing.
    fn append(&mut self, asked: &[Asked]) -> Result<Vec<(i64, bool)>, Refused> {
        let (mut streams, mut commands) = (self.streams.clone(), self.commands.clone());
        let (mut log, mut answers) = (self.log.clone(), vec![]);
        for a in asked {
            let stream = StreamId::from(a.booking).0;
            if let Some((first, texts, version)) = a.command.and_then(|c| commands.get(&c)) {
                if (first, texts) != (&stream, &a.texts) {
                    return Err(Refused::Reused(first.clone()));
                }
                answers.push((*version, true));
                continue;
            }
            let there = streams.entry(stream.clone()).or_default();
            let version = there.len() as i64;
            let fits = match a.expected {
                Expected::Any => true,
                Expected::Exists => version > 0,
                Expected::Version(v) => v == version,
            };
            if !fits {
                return Err(Refused::Conflict(version));
            }
            there.extend(a.texts.clone());
            log.extend(a.texts.clone());
            let version = there.len() as i64;
            commands.extend(a.command.map(|c| (c, (stream, a.texts.clone(), version))));
            answers.push((version, false));
        }
        (self.streams, self.commands, self.log) = (streams, commands, log);
        Ok(answers)
    }
}

#[tokio::test]
async fn random_appends_through_both_doors_do_what_the_model_does() {
    let seed = std::env::var("SEED")
        .ok()
        .and_then(|s| s.parse().ok())
        .unwrap_or(4_711);
    let db = TestDb::new().await;
    let pool = db.pool("worker").await;
    let tasks = Tasks::default();
    let committer = Committer::start(
        db.login("worker"),
        &tasks,
        Bell::default(),
        Settings::default(),
    );
    let (mut dice, mut model) = (Dice(seed), Model::default());
    let bookings: Vec<BookingId> = (0..5).map(|_| new_booking()).collect();
    let mut old: Vec<Asked> = vec![];
    let (mut taken, mut refused) = (0, 0);
    for step in 0..STEPS {
        let mut asked: Vec<Asked> = (0..1 + dice.roll(3))
            .map(|n| random(&mut dice, &model, &bookings, &old, step, n))
            .collect();
        // Streams are locked in one order; requests of one stream keep theirs.
        asked.sort_by_key(|a| StreamId::from(a.booking).0);
        let mut seen = vec![];
        asked.retain(|a| match a.command {
            Some(c) if seen.contains(&c) => false,
            c => {
                seen.extend(c);
                true
            }
        });
        let said = if asked.len() == 1 && dice.roll(2) == 0 {
            committer
                .append(&context(), request(&asked[0]))
                .await
                .map(|a| vec![a])
        } else {
            super::append(&pool, asked.iter().map(request).collect()).await
        };
        let said = match said {
            Ok(all) => Ok(all.iter().map(|a| (a.version, a.repeated)).collect()),
            Err(AppendError::Conflict { actual, .. }) => Err(Refused::Conflict(actual)),
            Err(AppendError::CommandReused { first, .. }) => Err(Refused::Reused(first)),
            Err(other) => panic!("seed {seed}, step {step}: {other:?} for {asked:?}"),
        };
        let expected = model.append(&asked);
        assert_eq!(said, expected, "seed {seed}, step {step}: {asked:?}");
        match expected {
            Ok(_) => taken += 1,
            Err(_) => refused += 1,
        }
        old.extend(asked);
    }
    assert!(
        taken > 50 && refused > 50,
        "{taken} taken, {refused} refused"
    );

    let mut conn = pool.acquire().await.unwrap();
    let safe = read::safe_position(&mut conn).await.unwrap();
    let log = read::log(&mut conn, 0, safe, 10_000).await.unwrap();
    let text = |r: &read::Recorded| {
        r.data.value()["provider_message_id"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    };
    assert_eq!(
        log.iter().map(text).collect::<Vec<_>>(),
        model.log,
        "seed {seed}"
    );
    for (stream, there) in &model.streams {
        let read = read::stream(&mut conn, &StreamId(stream.clone()), 0)
            .await
            .unwrap();
        assert_eq!(
            &read.iter().map(text).collect::<Vec<_>>(),
            there,
            "{stream}"
        );
        assert!(
            read.iter().zip(1..).all(|(r, v)| r.version == v),
            "{stream}"
        );
    }
    let broken: i64 = sqlx::query_scalar(
        "select count(*) from (
           select e.hash is distinct from core.event_hash(coalesce(lag(e.hash) over w, ''), e.version, e.event_id, t.name, t.schema_version, e.correlation_id,
                    e.causation_id, e.occurred_at, e.recorded_at, e.actor, e.metadata, e.data) or (lead(e.hash) over w is null and e.hash <> s.head) as bad
             from core.events e join core.streams s using (stream_no) join core.event_types t using (type_no)
           window w as (partition by e.stream_no order by e.version)) x where bad",
    )
    .fetch_one(&mut *conn)
    .await
    .unwrap();
    assert_eq!(broken, 0, "every hash follows from the one before");
    tasks.shut_down().await;
}

fn request(asked: &Asked) -> Append {
    let texts: Vec<&str> = asked.texts.iter().map(String::as_str).collect();
    let append = notes(asked.booking, asked.expected, &texts);
    match asked.command {
        Some(command) => append.with_command(CommandId(command)),
        None => append,
    }
}

fn random(
    dice: &mut Dice,
    model: &Model,
    bookings: &[BookingId],
    old: &[Asked],
    step: usize,
    n: u64,
) -> Asked {
    let texts = (0..1 + dice.roll(3))
        .map(|i| format!("{step}.{n}.{i}"))
        .collect();
    let booking = bookings[dice.roll(bookings.len() as u64) as usize];
    let known: Vec<&Asked> = old.iter().filter(|a| a.command.is_some()).collect();
    if !known.is_empty() && dice.roll(5) == 0 {
        let again = known[dice.roll(known.len() as u64) as usize].clone();
        return match dice.roll(3) {
            0 => Asked { texts, ..again },
            1 => Asked { booking, ..again },
            _ => again,
        };
    }
    let there = model.streams.get(&StreamId::from(booking).0);
    let version = there.map_or(0, |t| t.len() as i64);
    let expected = match dice.roll(8) {
        0 => Expected::Exists,
        1 | 2 => Expected::Any,
        3 => Expected::Version(0),
        4 => Expected::Version(version + 1),
        _ => Expected::Version(version),
    };
    let command = (dice.roll(3) == 0).then(Uuid::now_v7);
    Asked {
        booking,
        expected,
        texts,
        command,
    }
}

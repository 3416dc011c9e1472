//! A list narrowed down: it finds what its filter says and nothing else, page after page, in the window, in the file and for
//! one decision.

use std::collections::BTreeSet;

use bizing_engine::app::desk::Desk;
use bizing_engine::app::sagas;
use bizing_engine::app::wire::*;
use chrono::{DateTime, TimeDelta, Utc};
use sqlx::FromRow;
use uuid::Uuid;

use super::chaos::Dice;
use crate::support::desk::TestDesk;

/// Of three definitions, four prices of two currencies and ages up to 20 days; an eighth waits for a person.
const SOME: &str = "
set session_replication_role = replica;
insert into saga.instance (saga_id, definition, def_version, dedupe_key, state, \"cursor\", step, booking_id, customer_id, correlation_id, started_by, created_at, finished_at,
                           parked_at, park_reason, park_code, assigned_to, amount_minor, currency)
select gen_random_uuid(), (array['booking', 'booking', 'booking_free', 'cancellation'])[1 + n % 4], 1, 'some:' || n, k.state, 4, 'notify', gen_random_uuid(),
       gen_random_uuid(), gen_random_uuid(), 't', now() - interval '30 days', case when k.state = 'completed' then k.at end, case when k.state = 'parked' then k.at end,
       case when k.state = 'parked' then 'x' end, case when k.state = 'parked' then 'not_told' end, case when n % 3 = 0 then 'somebody' end,
       (array[0, 5000, 8000, 8001])[1 + n / 4 % 4], (array['EUR', 'JPY', 'EUR'])[1 + n % 3]
  from generate_series(1, 600) n
 cross join lateral (select case when n % 8 = 1 then 'parked' else 'completed' end as state, now() - (n * 7919 % 480) * interval '1 hour' - interval '10 minutes' as at) k;
reset session_replication_role";

#[derive(FromRow, Clone)]
struct Kept {
    saga_id: Uuid,
    definition: String,
    parked: bool,
    since: DateTime<Utc>,
    nobodys: bool,
    amount_minor: i64,
    currency: String,
}

impl Kept {
    /// What a filter means, said once more.
    fn fits(&self, filter: &SagaFilter, now: DateTime<Utc>) -> bool {
        self.parked == (filter.tab == SagaTab::NeedsPerson)
            && filter.who.is_none_or(|_| self.nobodys)
            && filter
                .definition
                .as_ref()
                .is_none_or(|d| *d == self.definition)
            && filter
                .older_than_h
                .is_none_or(|h| self.since < now - TimeDelta::hours(i64::from(h)))
            && filter.price.as_ref().is_none_or(|price| {
                price.currency == self.currency
                    && price.from_minor.is_none_or(|m| m <= self.amount_minor)
                    && price.to_minor.is_none_or(|m| self.amount_minor <= m)
            })
    }
}

fn expected(all: &[Kept], filter: &SagaFilter) -> Vec<Uuid> {
    let now = Utc::now();
    let mut fitting: Vec<_> = all.iter().filter(|one| one.fits(filter, now)).collect();
    match filter.order {
        SagaOrder::Price => {
            fitting.sort_by_key(|one| (one.currency.clone(), one.amount_minor, one.saga_id));
            fitting.reverse();
        }
        SagaOrder::Time => {
            fitting.sort_by_key(|one| (one.since, one.saga_id));
            if filter.tab == SagaTab::Done {
                fitting.reverse();
            }
        }
    }
    fitting.iter().map(|one| one.saga_id).collect()
}

fn some_filter(dice: &mut Dice) -> SagaFilter {
    let minor = [0, 4_999, 5_000, 8_000, 8_001];
    let ends = [0; 2].map(|_: usize| minor[dice.below(minor.len())]);
    let price = PriceRange {
        currency: ["EUR", "JPY", "USD"][dice.below(3)].to_owned(),
        from_minor: (dice.below(3) > 0).then_some(ends[0].min(ends[1])),
        to_minor: (dice.below(3) > 0).then_some(ends[0].max(ends[1])),
    };
    let definition = ["booking", "booking_free", "cancellation"][dice.below(3)];
    let hours = [1, 24, 168][dice.below(3)];
    SagaFilter {
        tab: [SagaTab::NeedsPerson, SagaTab::Done][dice.below(2)],
        group: None,
        search: None,
        who: (dice.below(3) == 0).then_some(SagaWho::Nobody),
        definition: (dice.below(2) == 0).then(|| definition.to_owned()),
        older_than_h: (dice.below(2) == 0).then_some(hours),
        price: (dice.below(5) < 2).then_some(price),
        order: [SagaOrder::Time, SagaOrder::Price][dice.below(2)],
    }
}

async fn paged(desk: &Desk, filter: &SagaFilter, limit: u32) -> Vec<Uuid> {
    let (mut found, mut request) = (vec![], ListSagas::first(filter.clone(), limit));
    loop {
        let page = sagas::list(desk, request.clone()).await.unwrap();
        found.extend(page.rows.iter().map(|row| row.saga_id));
        match page.next {
            Some(_) => request.after = page.next,
            None => return found,
        }
    }
}

#[tokio::test]
async fn a_list_the_file_and_a_decision_are_of_what_the_filter_says_in_its_order() {
    let t = TestDesk::new().await;
    let owner = t.db.superuser_pool().await;
    sqlx::raw_sql(SOME).execute(&owner).await.unwrap();
    let all: Vec<Kept> = sqlx::query_as(
        "select saga_id, definition, state = 'parked' as parked, coalesce(finished_at, parked_at) as since, assigned_to is null as nobodys, amount_minor, currency::text
           from saga.instance",
    )
    .fetch_all(&owner)
    .await
    .unwrap();
    let (desk, mut sizes) = (t.desk(None), BTreeSet::new());
    let mut dice = Dice(20_261_127);
    for _ in 0..60 {
        let filter = some_filter(&mut dice);
        let wanted = expected(&all, &filter);
        sizes.insert(wanted.len());
        assert_eq!(paged(&desk, &filter, 29).await, wanted, "{filter:?}");
        let mut file = String::new();
        let written = sagas::export(&desk, ListSagas::first(filter.clone(), 1), |text| {
            file.push_str(text);
            Ok(())
        });
        assert_eq!(written.await.unwrap(), wanted.len() as u64, "{filter:?}");
        let lines = file.lines().skip(1).map(|line| line.split(',').nth(1));
        let ids: Vec<Uuid> = lines.map(|id| id.unwrap().parse().unwrap()).collect();
        assert_eq!(ids, wanted, "the file of {filter:?}");
        if filter.tab == SagaTab::NeedsPerson && !wanted.is_empty() {
            let look = PreviewBatch {
                action: "pause".to_owned(),
                saga_ids: vec![],
                filter: Some(filter.clone()),
            };
            let plan = sagas::preview_batch(&desk, look).await.unwrap();
            let mut planned: Vec<Uuid> = plan.members.iter().map(|m| m.saga_id).collect();
            planned.extend(plan.refused.iter().map(|r| r.saga_id));
            assert_eq!(
                planned.iter().collect::<BTreeSet<_>>(),
                wanted.iter().collect(),
                "decided of {filter:?}"
            );
        }
    }
    assert!(sizes.len() > 12, "filters that differ: {sizes:?}");
}

#[tokio::test]
async fn pages_of_a_search_neither_skip_nor_repeat_what_waits_for_a_person() {
    let t = TestDesk::new().await;
    let owner = t.db.superuser_pool().await;
    sqlx::raw_sql(SOME).execute(&owner).await.unwrap();
    // One object that all of them asked for: a search that finds every one.
    sqlx::raw_sql(
        "insert into saga.effect (effect_id, saga_id, step, direction, generation, provider, operation, idempotency_key, request, request_sha256, provider_object)
         select gen_random_uuid(), saga_id, 'capture', 'F', 0, 'stripe', 'capture', saga_id::text, '{}', '', 'pi_of_all' from saga.instance",
    )
    .execute(&owner)
    .await
    .unwrap();
    let search = SagaFilter {
        search: Some("pi_of_all".to_owned()),
        ..SagaTab::NeedsPerson.into()
    };
    let found = paged(&t.desk(None), &search, 100).await;
    assert_eq!(found.len(), 600);
    assert_eq!(found.iter().collect::<BTreeSet<_>>().len(), 600);
}

#[tokio::test]
async fn what_no_list_can_be_asked_for_is_refused_in_words() {
    let t = TestDesk::new().await;
    let desk = t.desk(None);
    let refused = async |filter: SagaFilter| {
        let list = sagas::list(&desk, ListSagas::first(filter, 10)).await;
        list.unwrap_err().message
    };
    let whole = || SagaFilter::from(SagaTab::Done);
    let price = PriceRange {
        currency: "EUR".to_owned(),
        from_minor: Some(2),
        to_minor: Some(1),
    };
    let upside_down = SagaFilter {
        price: Some(price),
        ..whole()
    };
    assert_eq!(
        refused(upside_down).await,
        "The lower end of the price is above the upper one."
    );
    for hours in [0, 87_601, u32::MAX] {
        let aged = SagaFilter {
            older_than_h: Some(hours),
            ..whole()
        };
        assert_eq!(
            refused(aged).await,
            "An age is between 1 and 87,600 hours.",
            "{hours}"
        );
    }
    // A place of the other order, or of none.
    for (order, after) in [
        (
            SagaOrder::Price,
            "1795000000000000:00000000-0000-7000-8000-000000000001",
        ),
        (
            SagaOrder::Time,
            "EUR:8000:00000000-0000-7000-8000-000000000001",
        ),
        (SagaOrder::Price, "x"),
    ] {
        let request = ListSagas {
            after: Some(after.to_owned()),
            ..ListSagas::first(SagaFilter { order, ..whole() }, 10)
        };
        let list = sagas::list(&desk, request).await;
        assert_eq!(
            list.unwrap_err().message,
            "This page cannot be found: begin at the first.",
            "{after}"
        );
    }
}

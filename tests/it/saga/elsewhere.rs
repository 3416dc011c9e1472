//! Another window: what somebody decides here is seen there, also what moves no saga.

use std::time::Duration;

use bizing_engine::app::desk::Desk;
use bizing_engine::app::sagas;
use bizing_engine::app::wire::*;
use bizing_engine::projection;
use bizing_engine::runtime::bell::Bell;
use bizing_engine::runtime::hints::Hints;
use bizing_engine::runtime::tasks::Tasks;
use sqlx::postgres::PgPoolOptions;
use tokio::sync::broadcast;
use uuid::Uuid;

use super::hands::*;
use crate::support::desk::TestDesk;
use crate::support::proxy::Proxy;
use crate::support::wait_until;

/// Another window of the same database: hears the bell, watches the read models, fetches what it is told to.
pub struct Window {
    desk: Desk,
    pub hints: broadcast::Receiver<Hint>,
    pub tasks: Tasks,
}

impl Window {
    pub async fn open(t: &TestDesk, through: Option<&Proxy>) -> Window {
        let login = match through {
            Some(proxy) => t.db.login_through("viewer", proxy),
            None => t.db.login("viewer"),
        };
        // As a window opens its own.
        let people = PgPoolOptions::new()
            .max_connections(4)
            .connect_with(login)
            .await
            .unwrap();
        let mut desk = t.desk(None);
        let (bell, hints, tasks) = (Bell::default(), Hints::default(), Tasks::default());
        let own = std::sync::Arc::get_mut(&mut desk.0).expect("nobody else has it yet");
        own.people = people.clone();
        own.bell = bell.clone();
        own.hints = hints.clone();
        let heard = hints.subscribe();
        tasks.once(bell.clone().hear(people.clone()));
        tasks.once(hints.clone().run());
        tasks.once(projection::watch(people, bell, hints, tasks.stopping()));
        Window {
            desk,
            hints: heard,
            tasks,
        }
    }

    pub async fn list(&self) -> bizing_engine::app::wire::SagaList {
        let request = ListSagas::first(SagaTab::NeedsPerson, 200);
        sagas::list(&self.desk, request).await.unwrap()
    }

    /// Its watcher's first look tells of nothing; from the second on it knows the sagas as they are.
    async fn has_looked(&mut self, owner: &sqlx::PgPool) {
        wait_until("it tells of a case", Duration::from_secs(30), async || {
            sqlx::query(
                "with open as (insert into saga.attention (case_id, kind, severity, fact) values (gen_random_uuid(), 'orphan:look', 1, '{}')
                               on conflict do nothing returning 1)
                 update saga.attention set closed_at = now() where kind = 'orphan:look' and not exists (select from open)",
            )
            .execute(owner)
            .await
            .unwrap();
            let told = self.hears("sagas");
            tokio::time::timeout(Duration::from_secs(3), told).await.is_ok()
        })
        .await;
    }

    /// Waits until it is told to fetch the page of sagas again.
    async fn hears_of_sagas(&mut self, why: &str) {
        tokio::time::timeout(Duration::from_secs(10), self.hears("sagas"))
            .await
            .unwrap_or_else(|_| panic!("nothing was heard: {why}"));
    }

    async fn hears(&mut self, topic: &str) {
        let topic = topic.to_owned();
        while !self.hints.recv().await.unwrap().topics.contains(&topic) {}
    }
}

#[tokio::test]
async fn what_moves_no_saga_is_seen_in_another_window_too() {
    let t = TestDesk::new().await;
    policy(&t, "park", 15_000, 3, 24).await;
    let worker = t.work().await;
    let mut ids = vec![];
    for n in 0..2 {
        ids.push(stuck(&t, &worker, n).await.saga);
    }
    worker.close().await;
    let (ana, bea) = (desk_of(&t, "admin").await, desk_of(&t, "manager").await);
    let mut there = Window::open(&t, None).await;
    let owner = t.db.superuser_pool().await;
    there.has_looked(&owner).await;

    let request = PreviewBatch {
        action: "compensate".to_owned(),
        saga_ids: ids.clone(),
        filter: None,
    };
    let plan = sagas::preview_batch(&ana, request).await.unwrap();
    let start = StartBatch {
        batch_id: Uuid::now_v7(),
        action: "compensate".to_owned(),
        members: plan.members,
        typed: Some(2),
        to: None,
        reason: "the mail server was down, all were called".to_owned(),
    };
    let batch = sagas::start_batch(&ana, start).await.unwrap();
    assert_eq!(batch.approval, "pending");
    there
        .hears_of_sagas("a decision for many waits for a second person")
        .await;
    let change = ChangeBatch {
        batch_id: batch.batch_id,
        change: "reject".to_owned(),
        reason: "not now, the bank settles it".to_owned(),
    };
    sagas::change_batch(&bea, change).await.unwrap();
    there.hears_of_sagas("a second person said no").await;

    let moves = [
        (
            "a batch runs",
            "update saga.batch set state = 'running', approval = 'approved', ended_at = null",
        ),
        (
            "one is left out",
            "update saga.batch_item set status = 'refused', refusal = 'changed', done_at = now() where ordinal = 1",
        ),
        (
            "a batch is done",
            "update saga.batch set state = 'done', ended_at = now()",
        ),
        (
            "a provider stands still",
            "update saga.provider_gate set state = 'open', open_until = now() + interval '1 hour' where provider = 'stripe'",
        ),
        (
            "it goes on",
            "update saga.provider_gate set state = 'closed', open_until = null where provider = 'stripe'",
        ),
        (
            "money without a booking",
            "insert into saga.attention (case_id, kind, severity, fact) values (gen_random_uuid(), 'orphan:pi_1', 1, '{}')",
        ),
        (
            "its case is closed",
            "update saga.attention set closed_at = now() where kind = 'orphan:pi_1'",
        ),
    ];
    for (what, sql) in moves {
        let before: Vec<(Uuid, i32)> = versions(&owner).await;
        assert_eq!(
            sqlx::query(sql)
                .execute(&owner)
                .await
                .unwrap()
                .rows_affected(),
            1,
            "{what}"
        );
        there.hears_of_sagas(what).await;
        assert_eq!(versions(&owner).await, before, "{what}: no saga moved");
    }
    there.tasks.shut_down().await;
}

async fn versions(pool: &sqlx::PgPool) -> Vec<(Uuid, i32)> {
    sqlx::query_as("select saga_id, version from saga.instance order by saga_id")
        .fetch_all(pool)
        .await
        .unwrap()
}

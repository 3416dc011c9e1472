//! A desk whose database falls silent, is cut off or is slow: what it says, and that it goes on by itself.

use std::time::Duration;

use serde_json::{Value, json};
use uuid::Uuid;

use crate::host;
use crate::served::{Served, data_folder};
use crate::support::proxy::{Line, Proxy};
use crate::support::wait_until;

const SOON: Duration = Duration::from_secs(40);

/// A served desk on a configured database that it reaches through a proxy.
struct Far {
    served: Served,
    proxy: Proxy,
    _data: tempfile::TempDir,
    _server: (bizing_postgres::Cluster, tempfile::TempDir),
}

async fn far() -> Far {
    let folder = data_folder();
    let cluster = host::cluster(folder.path().join("pg")).await;
    let mut conn = host::superuser(&cluster, "postgres").await;
    for statement in [
        "create role boss login createrole password 'boss'",
        "create database desk owner boss",
    ] {
        sqlx::query(statement).execute(&mut conn).await.unwrap();
    }
    let proxy = Proxy::to_database(&cluster.connect_options("postgres")).await;
    let data = data_folder();
    let url = format!(
        "postgres://boss:boss@127.0.0.1:{}/desk?sslmode=disable",
        proxy.addr.port()
    );
    let served = Served::with(data.path(), &[("DATABASE_URL", &url)]);
    served.enter().await;
    served.ready().await;
    let mut desk = host::superuser(&cluster, "desk").await;
    put_a_service(&mut desk).await;
    Far {
        served,
        proxy,
        _data: data,
        _server: (cluster, folder),
    }
}

impl Far {
    /// What a window is told while nothing gets through, and that it is told in time to show it.
    async fn says_why(&self) {
        let asked = std::time::Instant::now();
        wait_until("the desk says what is wrong", SOON, async || {
            let (status, error) = self.served.rpc("status", json!({})).await;
            assert!(
                asked.elapsed() < SOON,
                "an answer of some kind comes: {error}"
            );
            status == 503 && error["code"] == "database.unreachable"
        })
        .await;
        let (_, error) = self.served.rpc("status", json!({})).await;
        assert!(
            error["message"]
                .as_str()
                .unwrap()
                .contains("does not answer"),
            "{error}"
        );
        assert!(error["hint"].is_string(), "{error}");
        assert_eq!(
            self.served.phase().await["is"],
            "ready",
            "what is on screen stays there"
        );
    }

    /// A booking goes all the way: requests, the worker, the read models and the lists work again.
    async fn works(&self, customer: &str) {
        wait_until("the desk answers again", SOON, async || {
            self.served.rpc("status", json!({})).await.0.is_success()
        })
        .await;
        let booking = self.book(customer).await;
        wait_until("the booking is on the list, confirmed", SOON, async || {
            let asked = json!({ "search": customer, "states": [], "payments": [], "service_id": null, "resource_id": null, "from": null,
                "to": null, "sort": "starts", "descending": false, "after": null, "limit": 5 });
            let (_, list) = self.served.rpc("list_bookings", asked).await;
            list["rows"][0]["booking_id"] == booking && list["rows"][0]["state"] == "confirmed"
        })
        .await;
    }

    async fn book(&self, customer: &str) -> Value {
        book_at_venue(&self.served, customer).await
    }
}

/// The first free time of a day soon, by somebody new who pays when they come.
pub async fn book_at_venue(served: &Served, customer: &str) -> Value {
    let catalogue = served.ok("catalogue", json!({})).await;
    let service = &catalogue["services"][0]["service_id"];
    let date = (chrono::Utc::now() + chrono::Days::new(3)).date_naive();
    let asked = json!({ "service_id": service, "date": date.to_string(), "staff_id": null });
    let free = served.ok("free_times", asked).await;
    let time = &free["times"][0];
    let request = json!({
        "command_id": Uuid::now_v7(),
        "customer": { "is": "new", "name": customer, "email": null, "phone": null },
        "service_id": service, "staff_id": time["staff"]["id"], "room_id": null,
        "starts": &time["starts"]["wall"].as_str().unwrap()[..16], "fold": null,
        "payment_mode": "venue", "payment_method": null,
    });
    served.ok("create_booking", request).await["booking_id"].clone()
}

pub async fn put_a_service(conn: &mut sqlx::PgConnection) {
    let (place, ana, service) = (Uuid::from_u128(1), Uuid::from_u128(10), Uuid::from_u128(30));
    let hours: Vec<_> = (1..=7).map(|day| json!({ "resource_id": ana, "weekday": day, "opens": "08:00", "closes": "20:00" })).collect();
    let catalogue = json!({
        "locations": [{ "location_id": place, "business_name": "Aurora", "name": "Main", "zone": "Europe/Lisbon", "currency": "EUR" }],
        "resources": [{ "resource_id": ana, "location_id": place, "kind": "staff", "name": "Ana" }],
        "services": [{ "service_id": service, "name": "Cut", "duration_min": 60, "price_minor": 3000, "currency": "EUR" }],
        "service_resources": [{ "service_id": service, "resource_id": ana }],
        "working_hours": hours,
    });
    sqlx::query("select api.put_catalogue($1)")
        .bind(catalogue)
        .execute(conn)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_database_that_falls_silent_is_named_and_everything_goes_on_once_it_answers() {
    let far = far().await;
    far.works("Before Silence").await;
    // Slow first, so that requests, the worker and the read models are all in the middle of a question when it comes.
    far.proxy.set(Line::Delay(Duration::from_millis(50)));
    let asking =
        futures_util::future::join_all((0..6).map(|_| far.served.rpc("session", json!({}))));
    let silence = async {
        let before = far.proxy.carried();
        wait_until("questions are on their way", SOON, async || {
            far.proxy.carried() > before + 12
        })
        .await;
        far.proxy.set(Line::Swallow);
    };
    let both = futures_util::future::join(asking, silence);
    let (answers, ()) = tokio::time::timeout(SOON, both)
        .await
        .expect("no question of a window is left hanging");
    assert!(
        answers.iter().any(|(status, _)| *status == 503),
        "{answers:?}"
    );
    far.says_why().await;
    far.proxy.set(Line::Pass);
    far.works("After Silence").await;
    assert!(far.served.stop().await.success());
}

#[tokio::test]
async fn a_database_that_is_cut_off_is_named_and_everything_goes_on_once_it_is_back() {
    let far = far().await;
    far.proxy.set(Line::Refuse);
    far.proxy.cut();
    far.says_why().await;
    far.proxy.set(Line::Pass);
    far.works("After The Cut").await;
    far.proxy.set(Line::Delay(Duration::from_millis(40)));
    far.works("Over A Slow Line").await;
    assert!(far.served.stop().await.success());
}

#[tokio::test]
async fn a_desk_whose_database_is_silent_still_stops_when_it_is_asked_to() {
    let far = far().await;
    far.works("Before The End").await;
    far.proxy.set(Line::Swallow);
    assert!(far.served.stop().await.success());
}

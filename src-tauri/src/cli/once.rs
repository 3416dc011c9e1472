//! Three bookings in the terminal: one that works, one whose card is declined, one whose customer cannot be reached. Each is
//! asked for through the same commands as the window's; at the end the sandbox's own book is held against what was recorded.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bizing_engine::app::dispatch::dispatch;
use bizing_engine::app::host::{Host, HostKind};
use bizing_engine::app::wire::*;
use bizing_engine::runtime::config::Config;
use chrono::{Days, NaiveDate};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::value::to_raw_value;
use uuid::Uuid;

use super::failed;
use crate::local_sandbox::LocalSandbox;
use crate::{Ended, Failed, runtime};

const PATIENCE: Duration = Duration::from_secs(60);

/// In a data folder of its own that is gone afterwards: nothing of the person's is touched.
pub fn run(mut config: Config) -> Ended {
    let folder = std::env::temp_dir().join(format!("bizing-demo-{}", std::process::id()));
    config.data = folder.clone();
    config.database_url = None;
    let ended = runtime()?.block_on(async {
        let host = Host::with(
            config,
            HostKind::Serve,
            true,
            Some(Arc::new(LocalSandbox::default())),
        );
        host.start();
        let ended = three(&host).await;
        host.shut_down().await;
        ended
    });
    let _ = std::fs::remove_dir_all(folder);
    ended
}

struct Story {
    title: &'static str,
    email: &'static str,
    card: &'static str,
    /// What the story must end as.
    ends: BookingState,
}

async fn three(host: &Host) -> Ended {
    println!("Starting a private database and the demo business …");
    reached(host, &Phase::Choose).await?;
    ask::<_, HostState>(host, "choose_start", &ChooseStart::Explore).await?;
    reached(host, &Phase::Ready).await?;
    let stories = [
        Story {
            title: "1. A booking on a saved card",
            email: "ines@example.com",
            card: "pm_card_visa",
            ends: BookingState::Confirmed,
        },
        Story {
            title: "2. The card is declined; the customer gets a link, then gives up",
            email: "lars@example.com",
            card: "pm_card_chargeDeclined",
            ends: BookingState::Cancelled,
        },
        Story {
            title: "3. Paid and confirmed, but no message reaches the customer",
            email: "bounce@example.com",
            card: "pm_card_visa",
            ends: BookingState::Cancelled,
        },
    ];
    let mut broken = vec![];
    let mut ids = vec![];
    for story in &stories {
        println!("\n{}", story.title);
        let page = tell(host, story).await?;
        print(&page);
        if page.row.state != story.ends {
            broken.push(format!(
                "{}: the booking is {:?}, not {:?}",
                page.row.reference, page.row.state, story.ends
            ));
        }
        ids.push(page);
    }
    broken.extend(compare(host, &ids).await?);
    if broken.is_empty() {
        println!(
            "\nEvery invariant held: what was captured and refunded is what the sandbox's own book says, and no ended booking holds a slot."
        );
        return Ok(());
    }
    Err(Failed::Run(format!("\nBroken:\n{}", broken.join("\n"))))
}

async fn tell(host: &Host, story: &Story) -> Result<BookingPage, Failed> {
    let catalogue: Catalogue = ask(host, "catalogue", &Empty {}).await?;
    let service = catalogue
        .services
        .iter()
        .find(|s| s.price.amount_minor > 0)
        .ok_or_else(|| Failed::Run("The demo has no service with a price.".to_owned()))?;
    let status: Status = ask(host, "status", &Empty {}).await?;
    // More than a day ahead at any hour: of what begins sooner a person decides when nobody could be told of it.
    let today: NaiveDate = status.now.wall[..10]
        .parse()
        .map_err(|e| Failed::Run(format!("The desk's day cannot be read: {e}")))?;
    let free = FreeTimes {
        service_id: service.service_id,
        date: (today + Days::new(2)).to_string(),
        staff_id: None,
    };
    let mut times: FreeTimesReply = ask(host, "free_times", &free).await?;
    if times.times.is_empty()
        && let Some(date) = times.next_date.clone()
    {
        times = ask(host, "free_times", &FreeTimes { date, ..free }).await?;
    }
    let time = times.times.last().ok_or_else(|| {
        Failed::Run("The demo has no free time in the next two weeks.".to_owned())
    })?;
    let request = CreateBooking {
        command_id: Uuid::now_v7(),
        customer: ForCustomer::New {
            name: "Demo customer".to_owned(),
            email: Some(story.email.to_owned()),
            phone: None,
        },
        service_id: service.service_id,
        staff_id: time.staff.id,
        room_id: time.room.as_ref().map(|r| r.id),
        starts: time.starts.wall[..16].to_owned(),
        fold: None,
        payment_mode: PaymentMode::CardOnFile,
        payment_method: Some(story.card.to_owned()),
    };
    let booked: Booked = ask(host, "create_booking", &request).await?;
    let page = until(host, &booked.reference, |p| {
        p.row.payment == PaymentState::LinkSent || settled(p)
    })
    .await?;
    if page.row.payment == PaymentState::LinkSent {
        let cancel = CancelBooking {
            command_id: Uuid::now_v7(),
            booking_id: page.row.booking_id,
            reason: "The customer has no other card with them.".to_owned(),
            expected_version: page.version,
        };
        ask::<_, CancelAsked>(host, "cancel_booking", &cancel).await?;
    }
    until(host, &booked.reference, settled).await
}

fn settled(page: &BookingPage) -> bool {
    // The row and the timeline are two read models; on a busy machine one of them is ahead for a moment.
    let told = page.timeline.iter().filter(|item| item.position.is_some());
    let whole = i64::try_from(told.count()).is_ok_and(|events| events >= page.version);
    whole
        && page
            .saga
            .as_ref()
            .is_some_and(|s| s.finished_at.is_some() || matches!(s.state, SagaState::NeedsPerson))
        && !matches!(
            page.row.state,
            BookingState::Held | BookingState::AwaitingPayment
        )
        && page.row.payment != PaymentState::RefundPending
}

async fn until(
    host: &Host,
    reference: &str,
    fact: fn(&BookingPage) -> bool,
) -> Result<BookingPage, Failed> {
    let begun = Instant::now();
    loop {
        let page: Result<BookingPage, Failed> = ask(
            host,
            "get_booking",
            &GetBooking {
                booking: reference.to_owned(),
            },
        )
        .await;
        match page {
            Ok(page) if fact(&page) && is_the_newest(host, &page).await? => return Ok(page),
            Ok(page) if begun.elapsed() > PATIENCE => {
                print(&page);
                return Err(Failed::Run(format!(
                    "{reference} did not settle within {} s.",
                    PATIENCE.as_secs()
                )));
            }
            Err(error) if begun.elapsed() > PATIENCE => return Err(error),
            _ => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

/// The saga on the page is read as it is; the lists that the rest comes from may follow a moment later, all of them.
async fn is_the_newest(host: &Host, page: &BookingPage) -> Result<bool, Failed> {
    let desk = host.desk().map_err(failed)?;
    let version: i64 =
        sqlx::query_scalar("select version from read.streams_v1 where stream_id = $1")
            .bind(format!("booking-{}", page.row.booking_id))
            .fetch_one(&desk.people)
            .await
            .map_err(|e| Failed::Run(format!("The booking's events cannot be counted: {e}")))?;
    Ok(page.version >= version)
}

fn print(page: &BookingPage) {
    println!(
        "   {}  {}  {} {}",
        page.row.reference,
        page.row.service.name,
        page.row.starts.wall.replace('T', " "),
        page.row.starts.abbreviation
    );
    for item in &page.timeline {
        let time = &item.at.wall[11..19];
        let facts = [
            "amount",
            "amount_capturable",
            "amount_received",
            "refund_due",
        ]
        .iter()
        .find_map(|f| money(&item.data[*f]));
        let why = ["decline_code", "error", "reason", "reason_code"]
            .iter()
            .find_map(|f| item.data[*f].as_str().map(str::to_owned));
        let detail = [facts, why]
            .into_iter()
            .flatten()
            .collect::<Vec<_>>()
            .join(", ");
        println!("   {time}  {:<24} {detail}", item.what);
    }
    let line = &page.money;
    println!(
        "   captured {}, refunded {}, kept {}",
        amount(&line.captured),
        amount(&line.refunded),
        amount(&line.kept)
    );
}

fn money(value: &serde_json::Value) -> Option<String> {
    serde_json::from_value::<Money>(value.clone())
        .ok()
        .map(|m| amount(&m))
}

/// The demo's currency has two decimals.
fn amount(money: &Money) -> String {
    format!(
        "{}.{:02} {}",
        money.amount_minor / 100,
        money.amount_minor % 100,
        money.currency
    )
}

/// The sandbox is a referee that shares no code with the desk.
async fn compare(host: &Host, pages: &[BookingPage]) -> Result<Vec<String>, Failed> {
    let desk = host.desk().map_err(failed)?;
    let url = desk
        .sandbox_url
        .clone()
        .ok_or_else(|| Failed::Run("The demo runs without its sandbox.".to_owned()))?;
    let unreadable =
        |e: reqwest::Error| Failed::Run(format!("The sandbox's book cannot be read: {e}"));
    let book: serde_json::Value = reqwest::get(format!("{url}/_sandbox/ledger"))
        .await
        .map_err(unreadable)?
        .json()
        .await
        .map_err(unreadable)?;
    let mut broken = vec![];
    for page in pages {
        let id = page.row.booking_id.to_string();
        let sum = |field: &str| {
            let ours = book["payments"]
                .as_array()
                .into_iter()
                .flatten()
                .filter(|p| p["metadata"]["booking_id"] == id.as_str());
            ours.filter_map(|p| p[field].as_i64()).sum::<i64>()
        };
        for (what, theirs, recorded) in [
            (
                "captured",
                sum("captured"),
                page.money.captured.amount_minor,
            ),
            (
                "refunded",
                sum("refunded"),
                page.money.refunded.amount_minor,
            ),
        ] {
            if theirs != recorded {
                broken.push(format!(
                    "{}: {what} {recorded} is recorded, the sandbox says {theirs}",
                    page.row.reference
                ));
            }
        }
        if page.row.state == BookingState::Cancelled && page.money.kept.amount_minor != 0 {
            broken.push(format!(
                "{}: cancelled, yet {} is kept",
                page.row.reference,
                amount(&page.money.kept)
            ));
        }
    }
    let left: i64 = sqlx::query_scalar(
        "select count(*) from read.claims_v1 c join read.bookings_v1 b using (booking_id) where b.state in ('cancelled', 'expired')",
    )
    .fetch_one(&desk.people)
    .await
    .map_err(|e| Failed::Run(format!("The claims cannot be read: {e}")))?;
    if left > 0 {
        broken.push(format!("{left} slots are held by bookings that have ended"));
    }
    Ok(broken)
}

async fn reached(host: &Host, phase: &Phase) -> Ended {
    let begun = Instant::now();
    loop {
        let state: HostState = ask(host, "host_state", &Empty {}).await?;
        match state.phase {
            now if now == *phase => return Ok(()),
            Phase::Failed { error, .. } => return Err(failed(error)),
            _ if begun.elapsed() > PATIENCE => {
                return Err(Failed::Run("The demo did not start in time.".to_owned()));
            }
            _ => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

async fn ask<Q: Serialize, A: DeserializeOwned>(
    host: &Host,
    command: &str,
    request: &Q,
) -> Result<A, Failed> {
    let params = to_raw_value(request).map_err(|e| Failed::Run(e.to_string()))?;
    let reply = dispatch(host, command, &params).await.map_err(failed)?;
    serde_json::from_str(&reply)
        .map_err(|e| Failed::Run(format!("`{command}` answered something else: {e}")))
}

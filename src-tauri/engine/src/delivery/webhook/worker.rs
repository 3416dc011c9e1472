//! The loop: claim for every endpoint that has room, send, record. It wakes on the bell or when something is due, and is
//! right with the timer alone.

use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use serde_json::Value;
use sqlx::PgPool;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::card::Shape;
use super::claim::{self, Claimed};
use super::endpoint::{self, Endpoint};
use super::finish::Finisher;
use super::lanes::Lanes;
use super::send::{self, Finished};
use super::upkeep::{self, Attendance};
use crate::delivery::http::{Client, Resolve};
use crate::domain::ids::WorkerId;
use crate::runtime::bell::Bell;
use crate::runtime::crash::CrashPoints;
use crate::runtime::hints::Hints;
use crate::store::vault::Vault;

/// In hand at once, of all endpoints together.
const MOST: usize = 2_048;
/// Without a bell and with nothing due.
const IDLE: Duration = Duration::from_secs(30);
/// Where lanes run dry one after the other, a look is for many of them: it costs as much for one. What they hold lasts longer.
const DRY_LOOKS_EVERY: Duration = Duration::from_millis(10);
/// After a claim that brought something, there may be more.
const AFTER_NOTHING: Duration = Duration::from_millis(20);
/// A ring is answered at once, so many times in a row and then so many a second; one that brings something is free.
const LOOKS_AT_ONCE: f64 = 20.0;
const LOOKS_PER_S: f64 = 50.0;
const LOOK_FOR_THE_DEAD: Duration = Duration::from_secs(15);
/// A fault of ours waits so long, and uses up no try.
const OUR_FAULT_S: f64 = 60.0;
/// What could not be given back is given back again after so long.
const RETURNED_AFTER: [Duration; 4] = [
    Duration::from_millis(250),
    Duration::from_secs(1),
    Duration::from_secs(4),
    Duration::from_secs(16),
];
/// What is being sent may end so long after the desk was asked to stop.
const LAST_ANSWERS: Duration = Duration::from_millis(3_500);

pub struct Parts {
    pub connections: Connections,
    pub worker: WorkerId,
    pub vault: Vault,
    pub names: Arc<dyn Resolve>,
    pub bell: Bell,
    pub hints: Hints,
    pub crash: CrashPoints,
}

/// Whose, and whether it got through.
type Done = (Uuid, bool);

/// What is on its way: sends, and what is given back unsent. The loop waits for neither.
#[derive(Default)]
struct Under {
    sends: JoinSet<Done>,
    /// One at a time, with all that has come together meanwhile: ten endpoints that begin to fail at once would otherwise stand in the
    /// next look's way to its connection.
    returns: JoinSet<()>,
    /// By when it may be taken again: at once, or later.
    to_return: Vec<Unsent>,
}

/// Deliveries with their fences, and the seconds until they may be taken again.
type Unsent = (Vec<(Uuid, i64)>, f64);

#[derive(Clone)]
pub struct Webhooks(Arc<Inner>);

struct Inner {
    connections: Connections,
    worker: WorkerId,
    vault: Vault,
    database_ports: Vec<u16>,
    client: Client,
    bell: Bell,
    hints: Hints,
    crash: CrashPoints,
    attendance: Attendance,
}

/// Connections that run nothing but the claim and the record: for them an index is always right, whatever the statistics of a
/// table say whose contents change within seconds.
#[derive(Clone)]
pub struct Connections {
    /// Claims. They do not wait for the disk: a lease that is lost with the server was none. What was sent under it is recorded
    /// by nobody then, for a record names its lease, and is sent again with the same id. A record that is there has its claim
    /// before it in the log, so it cannot outlive it.
    pub leases: PgPool,
    /// Records, which are on the disk before anybody acts on them.
    pub records: PgPool,
}

impl Connections {
    pub fn to(database: &PgConnectOptions) -> Connections {
        let own = |most: u32, options: &[(&str, &str)]| {
            let to = database
                .clone()
                .application_name("bizing-desk webhooks")
                .options([
                    ("enable_seqscan", "off"),
                    ("enable_hashjoin", "off"),
                    ("enable_mergejoin", "off"),
                    ("jit", "off"),
                    ("plan_cache_mode", "force_generic_plan"),
                    ("statement_timeout", "30s"),
                    ("idle_in_transaction_session_timeout", "15s"),
                ])
                .options(options.iter().copied());
            PgPoolOptions::new()
                .max_connections(most)
                .acquire_timeout(Duration::from_secs(3))
                .connect_lazy_with(to)
        };
        Connections {
            // Two: what is given back must not wait for a look that nobody polls meanwhile.
            leases: own(2, &[("synchronous_commit", "off")]),
            records: own(2, &[]),
        }
    }
}

/// What a look at the database found.
enum Found {
    /// And how much there was for each endpoint.
    Claimed(Vec<Claimed>, usize),
    /// Whether there is any endpoint, and seconds until something is due.
    Nothing(bool, Option<f64>),
}

struct Looked {
    /// How many workers there are, if that was asked.
    workers: Option<i32>,
    found: Found,
}

/// A look that is under way while what is in hand goes on.
type Look = Pin<Box<dyn Future<Output = sqlx::Result<Looked>> + Send>>;

/// When to look next, and how eager the loop is.
struct Pulse {
    /// Claim before the next sleep.
    hungry: bool,
    next_look: Instant,
    looked_at: Instant,
    /// A ring that came too soon after others is answered by then, whatever the look finds that is under way.
    promised: Option<Instant>,
    /// Looks that a ring is given at once, before the next has to wait: others ring the same bell.
    looks: f64,
    looks_at: Instant,
    /// Empty claims in a row while something is due: it waits for its turn, its rate or its place.
    in_vain: u32,
    looked_for_dead: Option<Instant>,
    workers: i32,
    any_endpoint: bool,
}

impl Webhooks {
    pub fn new(parts: Parts) -> Webhooks {
        let database = parts.connections.leases.connect_options();
        let database_ports = vec![database.get_port()];
        Webhooks(Arc::new(Inner {
            database_ports,
            client: Client::new(parts.names),
            connections: parts.connections,
            worker: parts.worker,
            vault: parts.vault,
            bell: parts.bell,
            hints: parts.hints,
            crash: parts.crash,
            attendance: Attendance::default(),
        }))
    }

    /// Works until `stop`. What was claimed and not sent goes back, what is being sent gets a moment, all that ended is recorded.
    pub async fn run(&self, stop: CancellationToken) {
        let (told, results) = mpsc::channel(MOST);
        let finisher = Finisher {
            pool: self.0.connections.records.clone(),
            worker: self.0.worker,
            bell: self.0.bell.clone(),
            hints: self.0.hints.clone(),
            crash: self.0.crash.clone(),
        };
        let results = Mutex::new(results);
        tokio::join!(
            self.send_all(stop, told),
            finisher.run(&results),
            finisher.run(&results)
        );
    }

    /// Presence, retention, decisions for many.
    pub async fn keep_up(&self, stop: CancellationToken, ordinary: PgPool) {
        let Inner {
            client,
            bell,
            hints,
            attendance,
            ..
        } = &*self.0;
        upkeep::run(&ordinary, client, bell, hints, attendance, stop).await;
    }

    async fn send_all(&self, stop: CancellationToken, told: mpsc::Sender<Box<Finished>>) {
        let mut rings = self.0.bell.listen();
        let mut lanes = Lanes::default();
        let mut under = Under::default();
        let mut pulse = Pulse {
            hungry: true,
            next_look: Instant::now(),
            looked_at: Instant::now(),
            promised: None,
            looks: LOOKS_AT_ONCE,
            looks_at: Instant::now(),
            in_vain: 0,
            looked_for_dead: None,
            workers: 1,
            any_endpoint: true,
        };
        let mut look: Option<Look> = None;
        loop {
            if pulse.hungry && look.is_none() && lanes.holds() < MOST {
                pulse.hungry = false;
                pulse.promised = None;
                pulse.looked_at = Instant::now();
                // Register before looking: a ring between the look and the sleep must wake us.
                rings.borrow_and_update();
                look = Some(self.look(&mut lanes, &mut pulse));
            }
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                looked = end_of(&mut look) => {
                    look = None;
                    if let Err(error) = self.take_in(looked, &mut lanes, &mut under, &mut pulse).await {
                        tracing::debug!(
                            error = &error as &dyn std::error::Error,
                            "could not claim webhooks; trying again"
                        );
                        pulse.next_look = Instant::now() + Duration::from_secs(1);
                    }
                    for id in lanes.ids() {
                        self.start(id, &mut lanes, &mut under, &told);
                    }
                    if let Some(promised) = pulse.promised {
                        pulse.next_look = pulse.next_look.min(promised);
                    }
                }
                Some(ended) = under.sends.join_next(), if !under.sends.is_empty() => {
                    self.ended(ended, &mut lanes, &mut under, &mut pulse, &told);
                    while let Some(ended) = under.sends.try_join_next() {
                        self.ended(ended, &mut lanes, &mut under, &mut pulse, &told);
                    }
                }
                Some(_) = under.returns.join_next(), if !under.returns.is_empty() => self.give_back_next(&mut under),
                changed = rings.changed() => {
                    if changed.is_err() {
                        break;
                    }
                    pulse.rung();
                }
                () = tokio::time::sleep_until(pulse.next_look), if look.is_none() => pulse.hungry = true,
            }
        }
        self.stop(look, lanes, under).await;
    }

    async fn stop(&self, look: Option<Look>, mut lanes: Lanes, under: Under) {
        let Under {
            mut sends,
            mut returns,
            to_return,
        } = under;
        for (unsent, in_s) in to_return {
            self.give_back(&unsent, in_s).await;
        }
        let mut unsent = lanes.unsent();
        if let Some(look) = look
            && let Ok(Ok(looked)) = tokio::time::timeout(LAST_ANSWERS, look).await
            && let Found::Claimed(claimed, _) = looked.found
        {
            unsent.extend(claimed.iter().map(|c| (c.delivery_id, c.fence)));
        }
        self.give_back(&unsent, 0.0).await;
        let last = async {
            while returns.join_next().await.is_some() {}
            while sends.join_next().await.is_some() {}
        };
        if tokio::time::timeout(LAST_ANSWERS, last).await.is_err() {
            // Sent, and not answered: they keep their leases and are sent again after them, with the same ids.
            sends.abort_all();
        }
        let Inner {
            connections,
            worker,
            ..
        } = &*self.0;
        if let Err(error) = claim::leave_turns(&connections.leases, *worker).await {
            tracing::debug!(
                error = &error as &dyn std::error::Error,
                "turns were not left; they end within a minute"
            );
        }
    }

    /// `true`: they are.
    async fn give_back(&self, unsent: &[(Uuid, i64)], in_s: f64) -> bool {
        let Inner {
            connections,
            worker,
            ..
        } = &*self.0;
        let given = claim::give_back(&connections.leases, *worker, unsent, in_s).await;
        if let Err(error) = &given {
            tracing::warn!(
                error = error as &dyn std::error::Error,
                "webhooks were not given back; their leases end by themselves"
            );
        }
        given.is_ok()
    }

    /// A busy database takes them a little later, and that is sooner than their leases end.
    async fn give_back_at_last(&self, unsent: &[(Uuid, i64)], in_s: f64) {
        for pause in RETURNED_AFTER {
            if self.give_back(unsent, in_s).await {
                return;
            }
            tokio::time::sleep(pause).await;
        }
        self.give_back(unsent, in_s).await;
    }

    /// The same, while the others go on: an endpoint that begins to fail holds up nobody for the time that this takes.
    fn give_back_soon(&self, unsent: Vec<(Uuid, i64)>, in_s: f64, under: &mut Under) {
        if unsent.is_empty() {
            return;
        }
        match under.to_return.iter_mut().find(|(_, s)| *s == in_s) {
            Some((together, _)) => together.extend(unsent),
            None => under.to_return.push((unsent, in_s)),
        }
        if under.returns.is_empty() {
            self.give_back_next(under);
        }
    }

    fn give_back_next(&self, under: &mut Under) {
        if let Some((unsent, in_s)) = under.to_return.pop() {
            let this = self.clone();
            under
                .returns
                .spawn(async move { this.give_back_at_last(&unsent, in_s).await });
        }
    }

    fn ended(
        &self,
        ended: Result<Done, tokio::task::JoinError>,
        lanes: &mut Lanes,
        under: &mut Under,
        pulse: &mut Pulse,
        told: &mpsc::Sender<Box<Finished>>,
    ) {
        // Only what is aborted ends without a word, and then all of it ends.
        let Ok((id, delivered)) = ended else { return };
        let ended = lanes.ended(id, delivered);
        pulse.hungry |= ended.empty;
        if ended.dry {
            pulse.dry();
        }
        self.give_back_soon(ended.unsent, 0.0, under);
        self.start(id, lanes, under, told);
    }

    fn start(
        &self,
        id: Uuid,
        lanes: &mut Lanes,
        under: &mut Under,
        told: &mpsc::Sender<Box<Finished>>,
    ) {
        while let Some((claimed, endpoint)) = lanes.next(id) {
            let (this, told) = (self.clone(), told.clone());
            under.sends.spawn(async move {
                let sent = this.send_one(claimed, endpoint, told);
                (id, whatever_happens(sent).await)
            });
        }
    }

    async fn send_one(
        &self,
        claimed: Claimed,
        endpoint: Arc<Endpoint>,
        told: mpsc::Sender<Box<Finished>>,
    ) -> bool {
        let Some(body) = send::body_of(&claimed) else {
            tracing::error!(delivery.id = %claimed.delivery_id, event = claimed.event_name, "the event of a delivery cannot be read here; it waits");
            let unsent = [(claimed.delivery_id, claimed.fence)];
            self.give_back(&unsent, 3_600.0).await;
            return true;
        };
        let body = match endpoint.shape {
            Shape::Event => body,
            _ => {
                let began = self.began(&claimed).await;
                send::shaped(&endpoint, body, began.as_ref(), claimed.trigger == "test")
            }
        };
        self.0.crash.point("before_send").await;
        let finished = send::send(&self.0.client, &endpoint, claimed, body).await;
        self.0.crash.point("after_send").await;
        let delivered = finished.state == "delivered";
        let _ = told.send(Box::new(finished)).await;
        delivered
    }

    /// How the booking of a card began. A card does without it rather than wait.
    async fn began(&self, claimed: &Claimed) -> Option<Value> {
        claim::began(&self.0.connections.records, claimed.position)
            .await
            .unwrap_or_else(|error| {
                tracing::debug!(
                    error = &error as &dyn std::error::Error,
                    "a card is sent without what its booking is called"
                );
                None
            })
    }

    fn look(&self, lanes: &mut Lanes, pulse: &mut Pulse) -> Look {
        let for_dead = pulse
            .looked_for_dead
            .is_none_or(|at| at.elapsed() > LOOK_FOR_THE_DEAD);
        if for_dead {
            pulse.looked_for_dead = Some(Instant::now());
            lanes.forget_idle();
        }
        let held = lanes.held();
        let free = i32::try_from(MOST - lanes.holds()).unwrap_or(0);
        let (this, known) = (self.clone(), pulse.workers);
        Box::pin(async move {
            let (pool, worker) = (&this.0.connections.leases, this.0.worker);
            // After a long absence what waits is for a person to decide about.
            let Inner {
                attendance,
                connections,
                hints,
                ..
            } = &*this.0;
            attendance.renew(&connections.records, hints).await?;
            let mut workers = None;
            if for_dead {
                let found = claim::take_over(pool).await?;
                if found > 0 {
                    tracing::info!(
                        found,
                        "webhooks that a dead worker was sending are sent again"
                    );
                }
                workers = i32::try_from(claim::workers(pool).await?.max(1)).ok();
            }
            let (claimed, share) =
                claim::claim(pool, worker, free, &held, workers.unwrap_or(known)).await?;
            let found = if claimed.is_empty() {
                let (any, due_in) = claim::next_due(pool).await?;
                Found::Nothing(any, due_in)
            } else {
                Found::Claimed(claimed, share)
            };
            Ok(Looked { workers, found })
        })
    }

    async fn take_in(
        &self,
        looked: sqlx::Result<Looked>,
        lanes: &mut Lanes,
        under: &mut Under,
        pulse: &mut Pulse,
    ) -> sqlx::Result<()> {
        let looked = looked?;
        pulse.workers = looked.workers.unwrap_or(pulse.workers);
        match looked.found {
            Found::Nothing(any, due_in) => {
                lanes.take_in(vec![], 1);
                pulse.found_nothing(any, due_in);
            }
            Found::Claimed(claimed, share) => {
                pulse.looks = (pulse.looks + 1.0).min(LOOKS_AT_ONCE);
                pulse.in_vain = 0;
                // Soon again: there may be more, and an empty look then says until when to sleep.
                pulse.next_look = Instant::now() + AFTER_NOTHING;
                let ready = self.with_endpoints(lanes, under, claimed).await?;
                let unsent = lanes.take_in(ready, share);
                self.give_back_soon(unsent, 0.0, under);
            }
        }
        Ok(())
    }

    /// Each with its endpoint as it is now. Those whose endpoint cannot be used for a reason of ours go back.
    async fn with_endpoints(
        &self,
        lanes: &mut Lanes,
        under: &mut Under,
        claimed: Vec<Claimed>,
    ) -> sqlx::Result<Vec<(Claimed, Arc<Endpoint>)>> {
        let mut wanted: Vec<Uuid> = claimed
            .iter()
            .filter(|c| lanes.endpoint(c.destination_id, c.version).is_none())
            .map(|c| c.destination_id)
            .collect();
        wanted.sort_unstable();
        wanted.dedup();
        let read = if wanted.is_empty() {
            Default::default()
        } else {
            let (pool, vault) = (&self.0.connections.leases, &self.0.vault);
            match endpoint::load(pool, vault, &self.0.database_ports, &wanted).await {
                Ok(read) => read,
                Err(error) => {
                    let all = claimed.iter().map(|c| (c.delivery_id, c.fence)).collect();
                    self.give_back_soon(all, 1.0, under);
                    return Err(error);
                }
            }
        };
        let (mut ready, mut unsent) = (vec![], vec![]);
        for one in claimed {
            let read = || read.get(&one.destination_id)?.as_ref().ok().cloned();
            match lanes
                .endpoint(one.destination_id, one.version)
                .or_else(read)
            {
                Some(endpoint) => ready.push((one, endpoint)),
                None => unsent.push((one.delivery_id, one.fence)),
            }
        }
        for (id, unusable) in read
            .iter()
            .filter_map(|(id, e)| Some((id, e.as_ref().err()?)))
        {
            if lanes.cannot_use(*id, Duration::from_secs_f64(OUR_FAULT_S)) {
                tracing::error!(endpoint.id = %id, error = unusable as &dyn std::error::Error, "an endpoint cannot be sent to from this computer; its deliveries wait");
            }
        }
        self.give_back_soon(unsent, OUR_FAULT_S, under);
        Ok(ready)
    }
}

/// A fault inside a send ends it and nothing else: its place is free again, and its lease ends by itself.
async fn whatever_happens(sent: impl Future<Output = bool>) -> bool {
    let caught = AssertUnwindSafe(sent).catch_unwind().await;
    caught.unwrap_or_else(|_| {
        tracing::error!("a send failed inside; its lease will end");
        false
    })
}

/// Never, where nobody looks.
async fn end_of(look: &mut Option<Look>) -> sqlx::Result<Looked> {
    match look {
        Some(look) => look.await,
        None => std::future::pending().await,
    }
}

impl Pulse {
    fn dry(&mut self) {
        self.next_look = self.next_look.min(self.looked_at + DRY_LOOKS_EVERY);
    }

    fn found_nothing(&mut self, any_endpoint: bool, due_in: Option<f64>) {
        self.any_endpoint = any_endpoint;
        let pause = match due_in {
            None => IDLE,
            Some(seconds) if seconds > 0.0 => {
                self.in_vain = 0;
                Duration::from_secs_f64(seconds.min(IDLE.as_secs_f64())) + Duration::from_millis(2)
            }
            // Due, and nobody may take it yet.
            Some(_) => {
                self.in_vain = (self.in_vain + 1).min(6);
                AFTER_NOTHING * 2u32.pow(self.in_vain)
            }
        };
        self.next_look = Instant::now() + pause;
    }

    /// A ring is worth a look at once. Where hundreds a second are for others, it is worth one now and then; where nobody
    /// wants anything, hardly any.
    fn rung(&mut self) {
        let (most, per_s) = match self.any_endpoint {
            true => (LOOKS_AT_ONCE, LOOKS_PER_S),
            false => (1.0, 1.0),
        };
        let now = Instant::now();
        let since = (now - self.looks_at).as_secs_f64();
        self.looks = (self.looks + since * per_s).min(most);
        self.looks_at = now;
        if self.looks >= 1.0 {
            self.looks -= 1.0;
            self.hungry = true;
        } else {
            let wait = Duration::from_secs_f64((1.0 - self.looks) / per_s);
            self.promised = Some(now + wait);
            self.next_look = self.next_look.min(now + wait);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_send_that_panics_is_over_as_one_that_failed() {
        let broken = async { panic!("a fault of ours, made by the test") };
        assert!(!whatever_happens(broken).await);
        assert!(whatever_happens(async { true }).await);
    }
}

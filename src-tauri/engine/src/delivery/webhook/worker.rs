//! The loop: claim for every endpoint that has room, send, record. It wakes on the bell or when something is due, and is
//! right with the timer alone.

use std::sync::Arc;
use std::time::Duration;

use sqlx::PgPool;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::claim::{self, Claimed};
use super::endpoint::{self, Endpoint};
use super::finish::Finisher;
use super::lanes::Lanes;
use super::send::{self, Finished};
use super::upkeep;
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
/// After a claim that brought something, there may be more.
const AFTER_NOTHING: Duration = Duration::from_millis(20);
/// A ring is answered at once, so many times in a row and then so many a second; one that brings something is free.
const LOOKS_AT_ONCE: f64 = 20.0;
const LOOKS_PER_S: f64 = 50.0;
const LOOK_FOR_THE_DEAD: Duration = Duration::from_secs(15);
/// A fault of ours waits so long, and uses up no try.
const OUR_FAULT_S: f64 = 60.0;
/// What is being sent may end so long after the desk was asked to stop.
const LAST_ANSWERS: Duration = Duration::from_millis(3_500);

pub struct Parts {
    /// Of [`pool`].
    pub pool: PgPool,
    pub worker: WorkerId,
    pub vault: Vault,
    pub names: Arc<dyn Resolve>,
    pub bell: Bell,
    pub hints: Hints,
    pub crash: CrashPoints,
}

/// Whose, and whether it got through.
type Done = (Uuid, bool);

#[derive(Clone)]
pub struct Webhooks(Arc<Inner>);

struct Inner {
    pool: PgPool,
    worker: WorkerId,
    vault: Vault,
    database_ports: Vec<u16>,
    client: Client,
    bell: Bell,
    hints: Hints,
    crash: CrashPoints,
}

/// Connections that run nothing but the claim and the record: for them an index is always right, whatever the statistics of a
/// table say whose contents change within seconds.
pub fn pool(to: &PgConnectOptions) -> PgPool {
    let to = to
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
        ]);
    PgPoolOptions::new()
        .max_connections(2)
        .acquire_timeout(Duration::from_secs(3))
        .connect_lazy_with(to)
}

/// When to look next, and how eager the loop is.
struct Pulse {
    /// Claim before the next sleep.
    hungry: bool,
    next_look: Instant,
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
        let database_ports = vec![parts.pool.connect_options().get_port()];
        Webhooks(Arc::new(Inner {
            database_ports,
            client: Client::new(parts.names),
            pool: parts.pool,
            worker: parts.worker,
            vault: parts.vault,
            bell: parts.bell,
            hints: parts.hints,
            crash: parts.crash,
        }))
    }

    /// Works until `stop`. What was claimed and not sent goes back, what is being sent gets a moment, all that ended is recorded.
    pub async fn run(&self, stop: CancellationToken) {
        let (told, results) = mpsc::channel(MOST);
        let finisher = Finisher {
            pool: self.0.pool.clone(),
            worker: self.0.worker,
            bell: self.0.bell.clone(),
            hints: self.0.hints.clone(),
            crash: self.0.crash.clone(),
        };
        tokio::join!(self.send_all(stop, told), finisher.run(results));
    }

    /// Presence, retention, decisions for many.
    pub async fn keep_up(&self, stop: CancellationToken, ordinary: PgPool) {
        upkeep::run(&ordinary, &self.0.client, &self.0.bell, &self.0.hints, stop).await;
    }

    async fn send_all(&self, stop: CancellationToken, told: mpsc::Sender<Finished>) {
        let mut rings = self.0.bell.listen();
        let mut lanes = Lanes::default();
        let mut sends: JoinSet<Done> = JoinSet::new();
        let mut pulse = Pulse {
            hungry: true,
            next_look: Instant::now(),
            looks: LOOKS_AT_ONCE,
            looks_at: Instant::now(),
            in_vain: 0,
            looked_for_dead: None,
            workers: 1,
            any_endpoint: true,
        };
        // Before the first claim: after a long absence what waits is for a person to decide about.
        while let Err(error) = upkeep::attend(&self.0.pool, &self.0.hints).await {
            tracing::debug!(
                error = &error as &dyn std::error::Error,
                "webhooks cannot be looked after yet"
            );
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(Duration::from_secs(1)) => {}
            }
        }
        loop {
            // Register before looking: a ring between the look and the sleep must wake us.
            rings.borrow_and_update();
            if pulse.hungry && lanes.holds() < MOST {
                match self.claim(&mut lanes, &mut pulse).await {
                    Ok(()) => {}
                    Err(error) => {
                        tracing::debug!(
                            error = &error as &dyn std::error::Error,
                            "could not claim webhooks; trying again"
                        );
                        pulse.next_look = Instant::now() + Duration::from_secs(1);
                    }
                }
                pulse.hungry = false;
            }
            for id in lanes.ids() {
                self.start(id, &mut lanes, &mut sends, &told);
            }
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                Some(ended) = sends.join_next(), if !sends.is_empty() => {
                    pulse.hungry |= self.ended(ended, &mut lanes, &mut sends, &told).await;
                    while let Some(ended) = sends.try_join_next() {
                        pulse.hungry |= self.ended(ended, &mut lanes, &mut sends, &told).await;
                    }
                }
                changed = rings.changed() => {
                    if changed.is_err() {
                        break;
                    }
                    pulse.rung();
                }
                () = tokio::time::sleep_until(pulse.next_look) => pulse.hungry = true,
            }
        }
        self.stop(lanes, sends).await;
    }

    async fn stop(&self, mut lanes: Lanes, mut sends: JoinSet<Done>) {
        let unsent = lanes.unsent();
        if let Err(error) = claim::give_back(&self.0.pool, &unsent, 0.0).await {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "webhooks were not given back; their leases end by themselves"
            );
        }
        let last = async { while sends.join_next().await.is_some() {} };
        if tokio::time::timeout(LAST_ANSWERS, last).await.is_err() {
            // Sent, and not answered: they keep their leases and are sent again after them, with the same ids.
            sends.abort_all();
        }
    }

    async fn ended(
        &self,
        ended: Result<Done, tokio::task::JoinError>,
        lanes: &mut Lanes,
        sends: &mut JoinSet<Done>,
        told: &mpsc::Sender<Finished>,
    ) -> bool {
        match ended {
            Ok((id, delivered)) => {
                let ended = lanes.ended(id, delivered);
                if let Err(error) = claim::give_back(&self.0.pool, &ended.unsent, 0.0).await {
                    tracing::debug!(
                        error = &error as &dyn std::error::Error,
                        "webhooks were not given back; their leases end by themselves"
                    );
                }
                self.start(id, lanes, sends, told);
                ended.dry
            }
            Err(error) => {
                tracing::error!(%error, "a send failed inside; its lease will end");
                false
            }
        }
    }

    fn start(
        &self,
        id: Uuid,
        lanes: &mut Lanes,
        sends: &mut JoinSet<Done>,
        told: &mpsc::Sender<Finished>,
    ) {
        while let Some((claimed, endpoint)) = lanes.next(id) {
            let (this, told) = (self.clone(), told.clone());
            sends.spawn(async move { (id, this.send_one(claimed, endpoint, told).await) });
        }
    }

    async fn send_one(
        &self,
        claimed: Claimed,
        endpoint: Arc<Endpoint>,
        told: mpsc::Sender<Finished>,
    ) -> bool {
        let Some(body) = send::body_of(&claimed) else {
            tracing::error!(delivery.id = %claimed.delivery_id, event = claimed.event_name, "the event of a delivery cannot be read here; it waits");
            let unsent = [(claimed.delivery_id, claimed.fence)];
            let _ = claim::give_back(&self.0.pool, &unsent, 3_600.0).await;
            return true;
        };
        self.0.crash.point("before_send").await;
        let finished = send::send(&self.0.client, &endpoint, claimed, body).await;
        self.0.crash.point("after_send").await;
        let delivered = finished.state == "delivered";
        let _ = told.send(finished).await;
        delivered
    }

    async fn claim(&self, lanes: &mut Lanes, pulse: &mut Pulse) -> sqlx::Result<()> {
        let pool = &self.0.pool;
        if pulse
            .looked_for_dead
            .is_none_or(|at| at.elapsed() > LOOK_FOR_THE_DEAD)
        {
            let found = claim::take_over(pool).await?;
            if found > 0 {
                tracing::info!(
                    found,
                    "webhooks that a dead worker was sending are sent again"
                );
            }
            pulse.workers = i32::try_from(claim::workers(pool).await?.max(1)).unwrap_or(1);
            pulse.looked_for_dead = Some(Instant::now());
            lanes.forget_idle();
        }
        let held = lanes.held();
        let free = i32::try_from(MOST - lanes.holds()).unwrap_or(0);
        let claimed = claim::claim(pool, self.0.worker, free, &held, pulse.workers).await?;
        if claimed.is_empty() {
            return self.sleep_until_due(pulse).await;
        }
        pulse.looks = (pulse.looks + 1.0).min(LOOKS_AT_ONCE);
        pulse.in_vain = 0;
        // Soon again: there may be more, and an empty look then says until when to sleep.
        pulse.next_look = Instant::now() + AFTER_NOTHING;
        let ready = self.with_endpoints(lanes, claimed).await?;
        lanes.take_in(ready);
        Ok(())
    }

    async fn sleep_until_due(&self, pulse: &mut Pulse) -> sqlx::Result<()> {
        let now = Instant::now();
        let (any, due_in) = claim::next_due(&self.0.pool).await?;
        pulse.any_endpoint = any;
        let pause = match due_in {
            None => IDLE,
            Some(seconds) if seconds > 0.0 => {
                pulse.in_vain = 0;
                Duration::from_secs_f64(seconds.min(IDLE.as_secs_f64())) + Duration::from_millis(2)
            }
            // Due, and nobody may take it yet.
            Some(_) => {
                pulse.in_vain = (pulse.in_vain + 1).min(6);
                AFTER_NOTHING * 2u32.pow(pulse.in_vain)
            }
        };
        pulse.next_look = now + pause;
        Ok(())
    }

    /// Each with its endpoint as it is now. Those whose endpoint cannot be used for a reason of ours go back.
    async fn with_endpoints(
        &self,
        lanes: &mut Lanes,
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
            let (pool, vault) = (&self.0.pool, &self.0.vault);
            match endpoint::load(pool, vault, &self.0.database_ports, &wanted).await {
                Ok(read) => read,
                Err(error) => {
                    let all: Vec<_> = claimed.iter().map(|c| (c.delivery_id, c.fence)).collect();
                    let _ = claim::give_back(pool, &all, 1.0).await;
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
        claim::give_back(&self.0.pool, &unsent, OUR_FAULT_S).await?;
        Ok(ready)
    }
}

impl Pulse {
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
            self.next_look = self.next_look.min(now + wait);
        }
    }
}

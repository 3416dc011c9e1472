//! What a process holds, endpoint by endpoint: each has places of its own, so that one that hangs waits alone.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use uuid::Uuid;

use super::claim::{Claimed, Held};
use super::endpoint::Endpoint;
use super::seen::Seen;

pub struct Lane {
    pub endpoint: Arc<Endpoint>,
    waiting: VecDeque<Claimed>,
    sending: usize,
    places: usize,
    /// How much of it is held at most, on its way or waiting for a place.
    depth: usize,
    rate: Option<Rate>,
    /// What the look that is under way, or was the last, had room for.
    wanted: usize,
    /// The last claim gave as much as there was room for: there is probably more.
    more: bool,
    seen: Seen,
    /// Failures in a row that are known here; the database knows them a moment later.
    failures: u32,
    /// Something was taken in then.
    used_at: Instant,
    /// Nothing more is taken until what is known here is recorded.
    rests_until: Option<Instant>,
}

/// Held of an endpoint that is so fast that its places are not full any more when the next claim is back. Others: twice their
/// places.
const DEEPEST: usize = 1_024;
/// As many as open the breaker.
const FAILURES: u32 = 5;
/// An endpoint that nothing was sent to for so long is read anew. Its version says when it has changed.
const KNOWN: Duration = Duration::from_secs(600);
/// Longer than a record takes, on a busy computer too. The breaker that it opens rests for longer.
const REST: Duration = Duration::from_secs(1);

/// So many a second; what was not used is kept for a second.
struct Rate {
    per_s: f64,
    left: f64,
    at: Instant,
}

impl Rate {
    fn new(per_s: i32) -> Rate {
        Rate {
            per_s: f64::from(per_s),
            left: f64::from(per_s),
            at: Instant::now(),
        }
    }

    fn left(&mut self) -> f64 {
        let now = Instant::now();
        let since = (now - self.at).as_secs_f64();
        self.left = (self.left + since * self.per_s).min(self.per_s);
        self.at = now;
        self.left
    }
}

/// What follows from the end of one.
#[derive(Default)]
pub struct Ended {
    /// The lane runs dry and there is more in the database.
    pub dry: bool,
    /// It has run dry: its places stand empty.
    pub empty: bool,
    /// It fails again and again: these are not sent now.
    pub unsent: Vec<(Uuid, i64)>,
}

#[derive(Default)]
pub struct Lanes {
    lanes: HashMap<Uuid, Lane>,
    /// Endpoints that cannot be sent to for a reason of ours: not asked for until then.
    unusable: HashMap<Uuid, Instant>,
}

impl Lanes {
    /// What there is of every endpoint, for the claim.
    pub fn held(&mut self) -> Held {
        let mut held = Held::default();
        let now = Instant::now();
        self.unusable.retain(|_, until| *until > now);
        for id in self.unusable.keys() {
            held.endpoints.push(*id);
            held.unusable.push(*id);
            held.held.push(0);
            held.most.push(0);
            held.depth.push(0);
            held.after.push(None);
        }
        for (id, lane) in &mut self.lanes {
            if self.unusable.contains_key(id) {
                continue;
            }
            held.endpoints.push(*id);
            let holds = lane.waiting.len() + lane.sending;
            held.held.push(count(holds));
            held.depth.push(count(lane.depth));
            let rests = lane.rests_until.is_some_and(|until| until > now);
            let most = match &mut lane.rate {
                _ if rests => 0,
                Some(rate) => rate.left().floor() as i32,
                None => i32::MAX,
            };
            held.most.push(most);
            lane.wanted = lane
                .depth
                .saturating_sub(holds)
                .min(usize::try_from(most).unwrap_or(0));
            // A claim that takes nothing uses up no mark.
            let after = match lane.wanted {
                0 => None,
                _ => lane.seen.take(holds, now),
            };
            held.after.push(after);
        }
        held
    }

    pub fn holds(&self) -> usize {
        self.lanes
            .values()
            .map(|l| l.waiting.len() + l.sending)
            .sum()
    }

    pub fn endpoint(&self, id: Uuid, version: i32) -> Option<Arc<Endpoint>> {
        let lane = self.lanes.get(&id)?;
        (lane.endpoint.version == version).then(|| lane.endpoint.clone())
    }

    /// Takes in what was claimed. `share`: what there was for each endpoint. Whoever got as many as fit probably has more.
    /// Says what is not to be sent now, since its endpoint has begun to fail meanwhile.
    pub fn take_in(
        &mut self,
        claimed: Vec<(Claimed, Arc<Endpoint>)>,
        share: usize,
    ) -> Vec<(Uuid, i64)> {
        let mut got: HashMap<Uuid, usize> = HashMap::new();
        let (mut low, mut unsent) = (vec![], vec![]);
        let now = Instant::now();
        for (one, endpoint) in claimed {
            if one.trigger == "auto" && !one.probe && self.rests(one.destination_id, now) {
                unsent.push((one.delivery_id, one.fence));
                continue;
            }
            let lane = self
                .lanes
                .entry(one.destination_id)
                .or_insert_with(|| Lane {
                    endpoint: endpoint.clone(),
                    waiting: VecDeque::new(),
                    sending: 0,
                    places: 1,
                    depth: 2 * one.places,
                    rate: None,
                    wanted: 2 * one.places,
                    more: false,
                    seen: Seen::default(),
                    failures: 0,
                    used_at: now,
                    rests_until: None,
                });
            let n = got.entry(one.destination_id).or_default();
            let works = lane.more && lane.failures == 0;
            if *n == 0 && works && lane.waiting.len() < lane.places {
                low.push(one.destination_id);
            }
            *n += 1;
            if lane.rate.as_ref().map(|r| r.per_s as i32) != endpoint.rate_per_s {
                lane.rate = endpoint.rate_per_s.map(Rate::new);
            }
            lane.used_at = now;
            lane.seen.claimed(one.due);
            lane.endpoint = endpoint;
            lane.places = one.places;
            lane.depth = lane.depth.max(2 * one.places);
            if let Some(rate) = &mut lane.rate {
                rate.left -= 1.0;
            }
            lane.waiting.push_back(one);
        }
        for (id, lane) in &mut self.lanes {
            if lane.wanted > 0 {
                let n = got.get(id).copied().unwrap_or(0);
                lane.more = n > 0 && n >= lane.wanted.min(share);
            }
        }
        for id in low {
            if let Some(lane) = self.lanes.get_mut(&id) {
                lane.depth = (lane.depth * 2).min(DEEPEST.max(2 * lane.places));
            }
        }
        unsent
    }

    fn rests(&self, id: Uuid, now: Instant) -> bool {
        let lane = self.lanes.get(&id);
        lane.and_then(|l| l.rests_until).is_some_and(|u| u > now)
    }

    /// The next that may be sent now, of any endpoint that has a place.
    pub fn next(&mut self, id: Uuid) -> Option<(Claimed, Arc<Endpoint>)> {
        let lane = self.lanes.get_mut(&id)?;
        if lane.sending >= lane.places {
            return None;
        }
        let one = lane.waiting.pop_front()?;
        lane.sending += 1;
        Some((one, lane.endpoint.clone()))
    }

    pub fn ids(&self) -> Vec<Uuid> {
        self.lanes
            .iter()
            .filter(|(_, l)| !l.waiting.is_empty())
            .map(|(id, _)| *id)
            .collect()
    }

    /// One is over.
    pub fn ended(&mut self, id: Uuid, delivered: bool) -> Ended {
        let Some(lane) = self.lanes.get_mut(&id) else {
            return Ended::default();
        };
        lane.sending = lane.sending.saturating_sub(1);
        lane.failures = if delivered { 0 } else { lane.failures + 1 };
        if lane.failures >= FAILURES {
            lane.failures = 0;
            lane.depth = 2 * lane.places;
            lane.rests_until = Some(Instant::now() + REST);
            let unsent = lane.waiting.drain(..);
            return Ended {
                unsent: unsent.map(|one| (one.delivery_id, one.fence)).collect(),
                ..Ended::default()
            };
        }
        Ended {
            dry: lane.more && lane.waiting.len() <= lane.depth / 2,
            empty: lane.more && lane.waiting.is_empty(),
            unsent: vec![],
        }
    }

    /// Nothing is taken for this endpoint for a while. `true`: that is news.
    pub fn cannot_use(&mut self, id: Uuid, pause: Duration) -> bool {
        self.unusable.insert(id, Instant::now() + pause).is_none()
    }

    /// What has not been sent.
    pub fn unsent(&mut self) -> Vec<(Uuid, i64)> {
        self.lanes
            .values_mut()
            .flat_map(|lane| lane.waiting.drain(..))
            .map(|one| (one.delivery_id, one.fence))
            .collect()
    }

    /// Endpoints with nothing in hand and no rate to remember are forgotten after a while. To know one again costs a look and the
    /// opening of its secrets, and all others wait for that.
    pub fn forget_idle(&mut self) {
        self.lanes.retain(|_, l| {
            l.used_at.elapsed() < KNOWN
                || l.sending > 0
                || !l.waiting.is_empty()
                || l.rate.is_some()
                || l.failures > 0
        });
    }
}

fn count(n: usize) -> i32 {
    i32::try_from(n).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// So many seconds later.
    fn wait(rate: &mut Rate, seconds: f64) {
        rate.at -= Duration::from_secs_f64(seconds);
    }

    #[test]
    fn a_rate_gives_so_many_a_second_and_saves_no_more_than_a_second_of_them() {
        let mut rate = Rate::new(2);
        assert_eq!(rate.left().floor() as i32, 2, "at first a second's worth");
        rate.left -= 2.0;
        assert_eq!(rate.left().floor() as i32, 0);
        wait(&mut rate, 0.5);
        assert_eq!(rate.left().floor() as i32, 1);
        wait(&mut rate, 3_600.0);
        assert_eq!(
            rate.left().floor() as i32,
            2,
            "an hour of quiet is no burst"
        );
    }

    #[test]
    fn what_cannot_be_used_is_asked_for_by_nobody_here_and_named_for_the_others() {
        let mut lanes = Lanes::default();
        let id = Uuid::now_v7();
        assert!(
            lanes.cannot_use(id, Duration::from_secs(60)),
            "that is news"
        );
        assert!(
            !lanes.cannot_use(id, Duration::from_secs(60)),
            "and now it is not"
        );
        let held = lanes.held();
        assert_eq!((held.unusable, held.most), (vec![id], vec![0]));
        lanes.cannot_use(id, Duration::ZERO);
        assert!(lanes.held().endpoints.is_empty(), "its time is over");
    }
}

//! Faults on demand: the n-th call of an operation, or a share of its calls drawn from a seed, so that a run that found
//! something can be had again.

use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};

/// A rule that has outlived its test should not eat memory.
const MOST_RULES: usize = 1_000;
const FIRED_KEPT: usize = 10_000;

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Fault {
    /// Answer that much later. The key is in flight meanwhile, and the work is done at the end, caller or no caller.
    Late {
        ms: u64,
    },
    /// The connection closes and nothing has happened.
    LostBefore,
    /// The work is done and its answer kept; the connection closes without a byte.
    LostAfterEffect,
    /// A 500, kept under the key as Stripe keeps its own. `effect`: the work was done all the same.
    Stored500 {
        #[serde(default)]
        effect: bool,
    },
    TooManyRequests {
        retry_after_s: u64,
    },
    Unauthorized,
    /// Stripe says no, and nothing has happened.
    Refused,
    /// Every event of this call is delivered twice.
    DuplicateWebhook,
    /// The events of this call are delivered last one first.
    ReorderedWebhooks,
}

/// `{"operation":"capture","nth":1,"fault":{"kind":"late","ms":500}}`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rule {
    /// `create_intent`, `confirm_intent`, `capture`, `cancel_intent`, `create_checkout`, `expire_checkout`, `refund`,
    /// `get_intent`, `list_intents`, `get_checkout`, `list_checkouts`, `get_refund`, `list_refunds`, `list_events`,
    /// `get_event`, `pay` (the page; webhook faults only) or `*`.
    pub operation: String,
    #[serde(flatten)]
    pub when: When,
    pub fault: Fault,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum When {
    /// The n-th call from now on, beginning with 1, and the following ones up to `times`.
    Nth {
        nth: u64,
        #[serde(default = "once")]
        times: u64,
    },
    Rate {
        rate: f64,
        seed: u64,
    },
}

fn once() -> u64 {
    1
}

impl Rule {
    pub fn nth(operation: &str, nth: u64, fault: Fault) -> Rule {
        Rule {
            operation: operation.to_owned(),
            when: When::Nth { nth, times: 1 },
            fault,
        }
    }

    pub fn rate(operation: &str, rate: f64, seed: u64, fault: Fault) -> Rule {
        Rule {
            operation: operation.to_owned(),
            when: When::Rate { rate, seed },
            fault,
        }
    }
}

/// What has fired, for a test's message.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Fired {
    pub operation: String,
    pub call: u64,
    pub fault: Fault,
}

#[derive(Default)]
struct Table {
    rules: Vec<(Rule, u64)>,
    fired: Vec<Fired>,
}

/// A handle on the sandbox's fault table. Clones share it.
#[derive(Clone, Default)]
pub struct Faults {
    table: Arc<Mutex<Table>>,
}

impl Faults {
    pub fn add(&self, rule: Rule) {
        let mut table = self.lock();
        if table.rules.len() < MOST_RULES {
            table.rules.push((rule, 0));
        }
    }

    pub fn clear(&self) {
        self.lock().rules.clear();
    }

    pub fn rules(&self) -> Vec<Rule> {
        self.lock()
            .rules
            .iter()
            .map(|(rule, _)| rule.clone())
            .collect()
    }

    pub fn fired(&self) -> Vec<Fired> {
        self.lock().fired.clone()
    }

    /// Counts this call against every rule for it and says which faults it meets.
    pub(crate) fn meet(&self, operation: &str) -> Vec<Fault> {
        let mut table = self.lock();
        let mut met = Vec::new();
        for (rule, calls) in &mut table.rules {
            if rule.operation != "*" && rule.operation != operation {
                continue;
            }
            *calls += 1;
            let fires = match rule.when {
                When::Nth { nth, times } => (nth..nth.saturating_add(times)).contains(calls),
                When::Rate { rate, seed } => draw(seed, *calls) < rate,
            };
            if fires {
                met.push(Fired {
                    operation: operation.to_owned(),
                    call: *calls,
                    fault: rule.fault,
                });
            }
        }
        let faults = met.iter().map(|fired| fired.fault).collect();
        if table.fired.len() < FIRED_KEPT {
            table.fired.append(&mut met);
        }
        faults
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The n-th number in [0, 1) of a seed (splitmix64): the same on every machine.
fn draw(seed: u64, n: u64) -> f64 {
    let mut z = seed.wrapping_add(n.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::{Fault, Faults, Rule};

    #[test]
    fn the_same_seed_meets_the_same_calls() {
        let meets = |seed| {
            let faults = Faults::default();
            faults.add(Rule::rate("capture", 0.25, seed, Fault::LostBefore));
            (0..400)
                .map(|_| !faults.meet("capture").is_empty())
                .collect::<Vec<bool>>()
        };
        assert_eq!(meets(7), meets(7));
        assert_ne!(meets(7), meets(8));
        let share = meets(7).into_iter().filter(|met| *met).count();
        assert!((60..140).contains(&share), "{share} of 400 at a quarter");
    }

    #[test]
    fn a_rule_in_json_reads_as_documented() {
        let rule: Rule = serde_json::from_str(
            r#"{"operation":"capture","nth":2,"fault":{"kind":"late","ms":500}}"#,
        )
        .unwrap();
        assert_eq!(rule, Rule::nth("capture", 2, Fault::Late { ms: 500 }));
        let rule: Rule = serde_json::from_str(
            r#"{"operation":"*","rate":0.5,"seed":9,"fault":{"kind":"too_many_requests","retry_after_s":3}}"#,
        )
        .unwrap();
        assert_eq!(
            rule,
            Rule::rate("*", 0.5, 9, Fault::TooManyRequests { retry_after_s: 3 })
        );
    }
}

//! Processor time, of this process without the thread that stands for the other side, and of the database's processes, as the system counts it.

use std::ops::{AddAssign, Sub};

use sqlx::PgPool;

use super::BenchError;

/// Of a tick, in microseconds: Linux counts in hundredths of a second.
const TICK_US: u64 = 10_000;

#[derive(Default, Clone, Copy)]
pub struct Cpu {
    pub ours_us: u64,
    pub postgres_us: u64,
}

impl Cpu {
    /// `other`: the thread of what answers, as `/proc` names it.
    pub async fn now(pool: &PgPool, other: &str) -> Result<Cpu, BenchError> {
        let pids: Vec<i32> =
            sqlx::query_scalar("select pid from pg_stat_activity where pid is not null")
                .fetch_all(pool)
                .await?;
        let ours = ticks("/proc/self/stat")?;
        let others = ticks(&format!("/proc/{other}/stat"))?;
        // One that ends between the list and the look is not worth a word.
        let postgres: u64 = pids
            .iter()
            .filter_map(|pid| ticks(&format!("/proc/{pid}/stat")).ok())
            .sum();
        Ok(Cpu {
            ours_us: ours.saturating_sub(others) * TICK_US,
            postgres_us: postgres * TICK_US,
        })
    }
}

/// User and system time.
fn ticks(path: &str) -> Result<u64, BenchError> {
    let text = std::fs::read_to_string(path)?;
    // The name of the program stands in brackets and may hold anything.
    let fields: Vec<&str> = text
        .rsplit_once(')')
        .ok_or("no such statistics")?
        .1
        .split_whitespace()
        .collect();
    let at = |n: usize| -> Result<u64, BenchError> {
        Ok(fields.get(n).ok_or("too few fields")?.parse()?)
    };
    Ok(at(11)? + at(12)?)
}

impl Sub for Cpu {
    type Output = Cpu;

    fn sub(self, other: Cpu) -> Cpu {
        Cpu {
            ours_us: self.ours_us.saturating_sub(other.ours_us),
            postgres_us: self.postgres_us.saturating_sub(other.postgres_us),
        }
    }
}

impl AddAssign for Cpu {
    fn add_assign(&mut self, other: Cpu) {
        self.ours_us += other.ours_us;
        self.postgres_us += other.postgres_us;
    }
}

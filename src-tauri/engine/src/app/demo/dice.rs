//! Chance that falls the same way every time, and ids derived from names.

use chrono::{DateTime, Utc};
use sha2::{Digest, Sha256};
use uuid::Uuid;

/// SplitMix64: ours, so that no new version of a library deals another demo.
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Dice {
        Dice(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// 0 to `below` - 1.
    pub fn roll(&mut self, below: usize) -> usize {
        (self.next() % below.max(1) as u64) as usize
    }

    pub fn minutes(&mut self, from: i64, below: i64) -> chrono::TimeDelta {
        chrono::TimeDelta::minutes(from + self.roll((below - from).max(1) as usize) as i64)
    }

    pub fn percent(&mut self, chance: usize) -> bool {
        self.roll(100) < chance
    }
}

fn hash(kind: &str, n: usize) -> [u8; 32] {
    Sha256::digest(format!("halcyon demo {kind} {n}")).into()
}

/// The same name, the same id.
pub fn id(kind: &str, n: usize) -> Uuid {
    let mut bytes = [0u8; 16];
    bytes.copy_from_slice(&hash(kind, n)[..16]);
    bytes[6] = (bytes[6] & 0x0f) | 0x80; // version 8: made to our own recipe
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    Uuid::from_bytes(bytes)
}

/// The same, where a list goes by ids that rise with time.
pub fn timed_id(kind: &str, n: usize, at: DateTime<Utc>) -> Uuid {
    let mut bytes = *id(kind, n).as_bytes();
    bytes[..6].copy_from_slice(&at.timestamp_millis().to_be_bytes()[2..]);
    Uuid::from_bytes(bytes)
}

pub fn bits(kind: &str, n: usize) -> u32 {
    let h = hash(kind, n);
    u32::from_be_bytes([h[0], h[1], h[2], h[3]]) & 0x3fff_ffff
}

/// An id as the provider gives them: `pi_…`.
pub fn provider_id(prefix: &str, n: usize) -> String {
    let signs: String = hash(prefix, n)[..12]
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect();
    format!("{prefix}_demo{signs}")
}

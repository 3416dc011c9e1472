//! The one place where ids and randomness come from.

use rand::Rng;
use uuid::Uuid;

/// Ordered by time, so that insertion order is index order.
pub fn v7() -> Uuid {
    Uuid::now_v7()
}

/// Random small letters and digits, first one a letter: safe as part of a role's name.
pub fn letters(n: usize) -> String {
    let mut rng = rand::rng();
    (0..n)
        .map(|i| {
            char::from(
                b"abcdefghijkmnpqrstuvwxyz23456789"
                    [rng.random_range(0..if i == 0 { 24 } else { 32 })],
            )
        })
        .collect()
}

/// 192 random bits in hex.
pub fn password() -> String {
    let mut rng = rand::rng();
    (0..24)
        .map(|_| format!("{:02x}", rng.random::<u8>()))
        .collect()
}

/// 30 random bits for a booking's reference.
pub fn reference_bits() -> u32 {
    rand::rng().random::<u32>() & 0x3fff_ffff
}

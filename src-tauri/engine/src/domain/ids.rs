//! Ids as types, so that swapping two of them does not compile. Values are made by `runtime::ids`.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => { $(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema, sqlx::Type)]
        #[serde(transparent)]
        #[sqlx(transparent)]
        pub struct $name(pub Uuid);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    )* };
}

ids! {
    BookingId, CustomerId, ServiceId, ResourceId, ClaimId, PaymentId, RefundId, SagaId, EffectId,
    EventId, CorrelationId, CommandId, DeliveryId, WorkerId,
}

impl RefundId {
    /// A saga has one refund after the other, each with an id made of its own.
    pub fn nth(saga: Uuid, before: u128) -> RefundId {
        RefundId(Uuid::from_u128(saga.as_u128().wrapping_add(before)))
    }

    pub fn is_of(self, saga: Uuid) -> bool {
        self.0.as_u128().wrapping_sub(saga.as_u128()) < Self::MOST
    }

    /// Nobody refunds one payment that often.
    const MOST: u128 = 1000;
}

/// `booking-018f…`: category and id.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamId(pub String);

impl From<BookingId> for StreamId {
    fn from(id: BookingId) -> Self {
        StreamId(format!("booking-{id}"))
    }
}

impl From<CustomerId> for StreamId {
    fn from(id: CustomerId) -> Self {
        StreamId(format!("customer-{id}"))
    }
}

impl StreamId {
    /// The booking of a `booking-…` stream.
    pub fn booking(&self) -> Option<BookingId> {
        self.0
            .strip_prefix("booking-")
            .and_then(|id| id.parse().ok())
            .map(BookingId)
    }
}

/// What a person says on the phone: `BK-` and six signs of Crockford's alphabet, which has no I, L, O or U.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Reference(pub String);

impl Reference {
    const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

    /// From 30 random bits.
    pub fn from_bits(bits: u32) -> Reference {
        let signs = (0..6).map(|i| Self::ALPHABET[(bits >> (i * 5)) as usize & 31] as char);
        Reference(format!("BK-{}", signs.collect::<String>()))
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_has_only_signs_that_cannot_be_misheard() {
        assert_eq!(Reference::from_bits(0).0, "BK-000000");
        assert_eq!(Reference::from_bits(u32::MAX).0, "BK-ZZZZZZ");
        for bits in (0..1 << 30).step_by(9_999_991) {
            assert!(
                Reference::from_bits(bits).0[3..]
                    .chars()
                    .all(|c| !"ILOU".contains(c))
            );
        }
    }
}

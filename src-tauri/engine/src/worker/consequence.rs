//! What a delivered (or given up) message means for its booking, in the commit that records it.

use chrono::Utc;
use sqlx::{PgConnection, PgPool};

use crate::connectors::booking_mail::NO_ADDRESS;
use crate::delivery::Outcome;
use crate::delivery::destination::{Budget, Delivery, Fut};
use crate::delivery::source::Consequence;
use crate::delivery::store::After;
use crate::domain::event::{Event, NotificationFailed, NotificationSent};
use crate::domain::ids::{CorrelationId, DeliveryId, WorkerId};
use crate::saga::definition::KNOWN;
use crate::saga::{notify, rules};
use crate::store::append::{Append, Context, Expected, append_in};

pub struct BookingConsequence {
    pub worker: WorkerId,
}

impl Consequence for BookingConsequence {
    fn budget<'a>(&'a self, pool: &'a PgPool) -> Fut<'a, Budget> {
        Box::pin(async move {
            let rules = async { rules::newest(&mut *pool.acquire().await?).await };
            match rules.await {
                Ok(rules) => rules.budget(),
                // The try is recorded all the same; the next one looks again.
                Err(error) => {
                    tracing::warn!(%error, "the policies could not be read");
                    Budget::default()
                }
            }
        })
    }

    fn within<'a>(
        &'a self,
        conn: &'a mut PgConnection,
        delivery: &'a Delivery,
        outcome: &'a Outcome,
        after: After,
    ) -> Fut<'a, Result<(), Box<dyn std::error::Error + Send + Sync>>> {
        Box::pin(async move {
            let Some(booking) = delivery.stream.booking() else {
                return Ok(());
            };
            // The saga's row first: everybody locks in one order.
            if KNOWN.iter().any(|d| d.message == delivery.template) {
                match after {
                    After::Delivered | After::Skipped if !is_unreachable(outcome) => {
                        let template = &delivery.template;
                        if !notify::told(conn, booking.0, template, self.worker.0).await? {
                            notify::wake(conn, booking.0, &delivery.template).await?;
                        }
                    }
                    _ => notify::wake(conn, booking.0, &delivery.template).await?,
                }
            }
            let Some(event) = event_of(delivery, outcome) else {
                return Ok(());
            };
            let context = Context {
                correlation: CorrelationId(delivery.correlation_id),
                causation: Some(delivery.event_id),
                on_behalf_of: None,
            };
            // Whatever else happened to the booking meanwhile, this is a fact of its own.
            append_in(
                conn,
                &context,
                vec![Append::new(booking, Expected::Any, vec![event], Utc::now())],
            )
            .await?;
            Ok(())
        })
    }
}

/// Nobody was told, and somebody ought to be: what follows is the saga's to decide.
fn is_unreachable(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Skipped { reason } if reason == NO_ADDRESS)
}

fn event_of(delivery: &Delivery, outcome: &Outcome) -> Option<Event> {
    let (delivery_id, template, channel) = (
        DeliveryId(delivery.delivery_id),
        delivery.template.clone(),
        delivery.kind.clone(),
    );
    let attempt = delivery.attempt;
    match outcome {
        Outcome::Accepted {
            provider_message_id,
            ..
        } => {
            let provider_message_id = provider_message_id.clone();
            Some(Event::NotificationSent(NotificationSent {
                delivery_id,
                template,
                channel,
                provider_message_id,
                attempt,
            }))
        }
        Outcome::Skipped { .. } => None,
        Outcome::NotSent { cause }
        | Outcome::Later { cause }
        | Outcome::Refused { cause }
        | Outcome::Unclear { cause } => Some(Event::NotificationFailed(NotificationFailed {
            delivery_id,
            template,
            channel,
            attempt,
            error: cause.clone(),
        })),
    }
}

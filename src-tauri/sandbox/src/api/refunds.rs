use crate::{
    cards::{FAILING_REFUND, PENDING_REFUND, REFUND_SETTLES_AFTER_S, RETURNING_REFUND},
    error::{ApiError, Outcome},
    model::{ChargeState, Dispute, DisputeState, Intent, Refund, RefundState},
    params::Params,
    table::PageParams,
    wire,
    world::World,
};

impl World {
    pub fn create_refund(&mut self, mut params: Params) -> Outcome {
        let intent_id = params.text("payment_intent")?;
        let charge_id = params.text("charge")?;
        let amount = params.integer("amount")?;
        let reason = params.one_of(
            "reason",
            &["duplicate", "fraudulent", "requested_by_customer"],
        )?;
        let metadata = params.metadata()?;
        params.texts("expand")?;
        params.finish()?;

        let mut intent = self.refunded_intent(intent_id, charge_id)?;
        let Some(charge) = &mut intent.charge else {
            let message = format!(
                "This PaymentIntent ({}) does not have a successful charge to refund.",
                intent.id
            );
            return Err(ApiError::refused(Some("charge_not_captured"), message)
                .with_intent(wire::intent(&intent, false)));
        };
        if charge.state != ChargeState::Captured {
            let message = format!(
                "The charge {} has not been captured; cancel its PaymentIntent instead.",
                charge.id
            );
            return Err(ApiError::refused(Some("charge_not_captured"), message)
                .with_intent(wire::intent(&intent, false)));
        }
        let contested = |d: &Dispute| {
            d.charge == charge.id && !matches!(d.state, DisputeState::Won) && !d.moved.is_empty()
        };
        if self.disputes.iter().any(contested) {
            let message = format!(
                "Charge {} has been charged back; cannot issue a refund.",
                charge.id
            );
            return Err(ApiError::refused(Some("charge_disputed"), message));
        }
        let left = charge.captured - charge.refunded;
        if left == 0 {
            let message = format!("Charge {} has already been refunded.", charge.id);
            return Err(ApiError::refused(Some("charge_already_refunded"), message));
        }
        let amount = amount.unwrap_or(left);
        if amount < 1 {
            return Err(ApiError::invalid(
                Some("parameter_invalid_integer"),
                "amount",
                "Invalid positive integer",
            ));
        }
        if amount > left {
            let message = format!(
                "Refund amount ({amount}) is greater than unrefunded amount on charge ({left})"
            );
            let mut error = ApiError::refused(None, message);
            error.param = Some("amount".to_owned());
            return Err(error);
        }
        charge.refunded += amount;
        let charge_id = charge.id.clone();

        let now = self.now();
        let settles = match intent.payment_method.as_deref() {
            Some(PENDING_REFUND) => Some((now + REFUND_SETTLES_AFTER_S, RefundState::Succeeded)),
            Some(FAILING_REFUND | RETURNING_REFUND) => {
                Some((now + REFUND_SETTLES_AFTER_S, RefundState::Failed))
            }
            _ => None,
        };
        let refund = Refund {
            id: self.new_id("re_"),
            created: now,
            amount,
            currency: intent.currency.clone(),
            intent: intent.id.clone(),
            charge: charge_id,
            state: if settles.is_some()
                && intent.payment_method.as_deref() != Some(RETURNING_REFUND)
            {
                RefundState::Pending
            } else {
                RefundState::Succeeded
            },
            reason,
            failure_reason: None,
            metadata,
            settles,
        };
        let answer = wire::refund(&refund);
        self.emit_charge("charge.refunded", &intent);
        self.emit("refund.created", &answer);
        self.put_intent(intent);
        self.put_refund(refund);
        Ok(answer)
    }

    fn refunded_intent(
        &self,
        intent: Option<String>,
        charge: Option<String>,
    ) -> Result<Intent, Box<ApiError>> {
        match (intent, charge) {
            (Some(id), None) => {
                let found = self.intents.get(&id).cloned();
                found.ok_or_else(|| ApiError::missing("payment_intent", &id, "payment_intent", 400))
            }
            (None, Some(id)) => {
                let charged =
                    |intent: &&Intent| intent.charge.as_ref().is_some_and(|charge| charge.id == id);
                let found = self.intents.iter().rev().find(charged).cloned();
                found.ok_or_else(|| ApiError::missing("charge", &id, "charge", 400))
            }
            _ => Err(ApiError::invalid(
                None,
                "payment_intent",
                "Give one of these: payment_intent, charge.",
            )),
        }
    }

    pub fn get_refund(&mut self, id: &str, mut params: Params) -> Outcome {
        params.texts("expand")?;
        params.finish()?;
        let refund = self
            .refunds
            .get(id)
            .ok_or_else(|| ApiError::missing("refund", id, "id", 404))?;
        Ok(wire::refund(refund))
    }

    pub fn list_refunds(&mut self, mut params: Params) -> Outcome {
        let page = PageParams::take(&mut params)?;
        let intent = params.text("payment_intent")?;
        let charge = params.text("charge")?;
        params.texts("expand")?;
        params.finish()?;
        let matches = |refund: &Refund| {
            intent.as_ref().is_none_or(|id| refund.intent == *id)
                && charge.as_ref().is_none_or(|id| refund.charge == *id)
        };
        let (rows, has_more) = self.refunds.page(&page, "refund", matches)?;
        Ok(wire::list(
            "/v1/refunds",
            rows.into_iter().map(wire::refund).collect(),
            has_more,
        ))
    }

    /// A pending refund is decided. A failed one gives the money back to us: it can be refunded again, another way.
    pub fn settle_refund(&mut self, id: &str) {
        let Some(mut refund) = self.refunds.get(id).cloned() else {
            return;
        };
        let Some((_, state)) = refund.settles.take() else {
            return;
        };
        refund.state = state;
        if state == RefundState::Failed {
            refund.failure_reason = Some("expired_or_canceled_card".to_owned());
            if let Some(mut intent) = self.intents.get(&refund.intent).cloned() {
                if let Some(charge) = &mut intent.charge {
                    charge.refunded -= refund.amount;
                }
                self.put_intent(intent);
            }
        }
        let seen = wire::refund(&refund);
        self.emit("refund.updated", &seen);
        if state == RefundState::Failed {
            self.emit("refund.failed", &seen);
        }
        self.put_refund(refund);
    }
}

//! Disputes: what a customer's bank does, and what a person does at Stripe's own pages.

use serde::Deserialize;

use crate::{
    error::{ApiError, Outcome},
    model::{ChargeState, Dispute, DisputeState},
    params::Params,
    table::PageParams,
    wire,
    world::World,
};

/// What Stripe takes for a dispute, in minor units.
const FEE: i64 = 2_000;
/// Most banks give a good week.
const EVIDENCE_DUE_AFTER_S: i64 = 9 * 86_400;

/// What happens to a dispute.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DisputeAct {
    /// A person sends in evidence.
    Answer,
    /// An inquiry becomes a dispute.
    Escalate,
    Win,
    Lose,
    /// An inquiry comes to nothing.
    Drop,
}

impl World {
    /// The bank of who paid asks for the whole payment; with `inquiry` it only asks a question. `None`: nothing was captured.
    pub fn dispute_payment(&mut self, intent: &str, reason: &str, inquiry: bool) -> Option<String> {
        let intent = self.intents.get(intent).cloned()?;
        let charge = intent
            .charge
            .as_ref()
            .filter(|c| c.state == ChargeState::Captured)?;
        let now = self.now();
        let mut dispute = Dispute {
            id: self.new_id("dp_"),
            created: now,
            amount: charge.captured,
            currency: intent.currency.clone(),
            intent: intent.id.clone(),
            charge: charge.id.clone(),
            reason: reason.to_owned(),
            state: DisputeState::WarningNeedsResponse,
            evidence_due_by: now + EVIDENCE_DUE_AFTER_S,
            submissions: 0,
            moved: vec![],
        };
        if !inquiry {
            dispute.state = DisputeState::NeedsResponse;
            dispute.moved.push((-dispute.amount, FEE));
        }
        let (id, seen) = (dispute.id.clone(), wire::dispute(&dispute));
        self.emit("charge.dispute.created", &seen);
        if !inquiry {
            self.emit("charge.dispute.funds_withdrawn", &seen);
        }
        self.disputes.put(dispute);
        Some(id)
    }

    /// `None`: no such dispute, or it is not one to which that can happen.
    pub fn act_on_dispute(&mut self, id: &str, act: DisputeAct) -> Option<()> {
        let mut dispute = self.disputes.get(id).cloned()?;
        let inquiry = dispute.state == DisputeState::WarningNeedsResponse;
        let open = matches!(
            dispute.state,
            DisputeState::NeedsResponse | DisputeState::UnderReview
        );
        let mut kinds = vec!["charge.dispute.updated"];
        match act {
            DisputeAct::Answer if dispute.state == DisputeState::NeedsResponse => {
                dispute.state = DisputeState::UnderReview;
                dispute.submissions += 1;
            }
            DisputeAct::Escalate if inquiry => {
                dispute.state = DisputeState::NeedsResponse;
                dispute.moved.push((-dispute.amount, FEE));
                kinds.push("charge.dispute.funds_withdrawn");
            }
            DisputeAct::Win if open => {
                dispute.state = DisputeState::Won;
                dispute.moved.push((dispute.amount, -FEE));
                kinds = vec!["charge.dispute.funds_reinstated", "charge.dispute.closed"];
            }
            DisputeAct::Lose if open => {
                dispute.state = DisputeState::Lost;
                kinds = vec!["charge.dispute.closed"];
            }
            DisputeAct::Drop if inquiry => {
                dispute.state = DisputeState::WarningClosed;
                kinds = vec!["charge.dispute.closed"];
            }
            _ => return None,
        }
        let seen = wire::dispute(&dispute);
        for kind in kinds {
            self.emit(kind, &seen);
        }
        self.disputes.put(dispute);
        Some(())
    }

    pub fn get_dispute(&mut self, id: &str, mut params: Params) -> Outcome {
        params.texts("expand")?;
        params.finish()?;
        let dispute =
            (self.disputes.get(id)).ok_or_else(|| ApiError::missing("dispute", id, "id", 404))?;
        Ok(wire::dispute(dispute))
    }

    pub fn list_disputes(&mut self, mut params: Params) -> Outcome {
        let page = PageParams::take(&mut params)?;
        let intent = params.text("payment_intent")?;
        let charge = params.text("charge")?;
        params.texts("expand")?;
        params.finish()?;
        let matches = |dispute: &Dispute| {
            intent.as_ref().is_none_or(|id| dispute.intent == *id)
                && charge.as_ref().is_none_or(|id| dispute.charge == *id)
        };
        let (rows, has_more) = self.disputes.page(&page, "dispute", matches)?;
        Ok(wire::list(
            "/v1/disputes",
            rows.into_iter().map(wire::dispute).collect(),
            has_more,
        ))
    }
}

//! Payment intents: created and confirmed, captured, cancelled, lapsed.

use serde_json::json;

use super::checks::{
    amount, currency, expands_charge, known_card, unexpected_state, without_payment_method,
};
use crate::{
    cards::{self, AUTHENTICATION_REQUIRED, AUTHORISATION_LASTS_S, Card, Decline},
    error::{ApiError, Outcome},
    model::{Charge, ChargeState, Intent, SessionState, Status},
    params::Params,
    table::PageParams,
    wire,
    world::World,
};

impl World {
    pub fn create_intent(&mut self, mut params: Params) -> Outcome {
        let amount = amount(&mut params)?;
        let currency = currency(&mut params)?;
        let manual_capture = params.one_of(
            "capture_method",
            &["automatic", "automatic_async", "manual"],
        )?;
        params.one_of("confirmation_method", &["automatic", "manual"])?;
        params.one_of("setup_future_usage", &["off_session", "on_session"])?;
        params.texts("payment_method_types")?;
        let mut automatic = params.object("automatic_payment_methods")?;
        automatic.flag("enabled")?;
        automatic.one_of("allow_redirects", &["always", "never"])?;
        automatic.finish()?;
        params.text("statement_descriptor")?;
        params.text("statement_descriptor_suffix")?;
        let confirm = params.flag("confirm")?.unwrap_or(false);
        let off_session = params.flag("off_session")?.unwrap_or(false);
        params.flag("error_on_requires_action")?;
        let expand = expands_charge(&mut params)?;
        let id = self.new_id("pi_");
        let intent = Intent {
            client_secret: self.new_id(&format!("{id}_secret_")),
            id,
            created: self.now(),
            amount,
            currency,
            manual_capture: manual_capture.as_deref() == Some("manual"),
            status: Status::RequiresPaymentMethod,
            metadata: params.metadata()?,
            payment_method: params.text("payment_method")?,
            customer: params.text("customer")?,
            description: params.text("description")?,
            receipt_email: params.text("receipt_email")?,
            return_url: params.text("return_url")?,
            cancellation_reason: None,
            canceled_at: None,
            last_payment_error: None,
            charge: None,
            session: None,
        };
        params.finish()?;
        known_card(intent.payment_method.as_deref())?;
        if off_session && !confirm {
            return Err(ApiError::invalid(
                None,
                "off_session",
                "off_session can only be used with confirm=true",
            ));
        }
        if confirm && intent.payment_method.is_none() {
            return Err(without_payment_method(&intent));
        }
        self.emit("payment_intent.created", &wire::intent(&intent, false));
        if confirm {
            return self.confirm(intent, off_session, expand);
        }
        let mut intent = intent;
        if intent.payment_method.is_some() {
            intent.status = Status::RequiresConfirmation;
        }
        let answer = wire::intent(&intent, expand);
        self.put_intent(intent);
        Ok(answer)
    }

    pub fn get_intent(&mut self, id: &str, mut params: Params) -> Outcome {
        let expand = params.texts("expand")?;
        params.text("client_secret")?;
        params.finish()?;
        let intent = self.find_intent(id)?;
        let books = expand
            .iter()
            .any(|e| e == "latest_charge.balance_transaction");
        let mut answer = wire::intent(
            &intent,
            books || expand.iter().any(|e| e == "latest_charge"),
        );
        if books && let Some(charge) = intent.charge.as_ref().filter(|c| c.captured > 0) {
            answer["latest_charge"]["balance_transaction"] =
                wire::balance_transaction(&intent, charge);
        }
        Ok(answer)
    }

    pub fn list_intents(&mut self, mut params: Params) -> Outcome {
        let page = PageParams::take(&mut params)?;
        let customer = params.text("customer")?;
        let expand = expands_charge(&mut params)?;
        params.finish()?;
        let (rows, has_more) = self.intents.page(&page, "payment_intent", |intent| {
            customer.is_none() || intent.customer == customer
        })?;
        let data = rows
            .into_iter()
            .map(|intent| wire::intent(intent, expand))
            .collect();
        Ok(wire::list("/v1/payment_intents", data, has_more))
    }

    pub fn confirm_intent(&mut self, id: &str, mut params: Params) -> Outcome {
        let mut intent = self.find_intent(id)?;
        let expand = expands_charge(&mut params)?;
        let off_session = params.flag("off_session")?.unwrap_or(false);
        params.flag("error_on_requires_action")?;
        let payment_method = params.text("payment_method")?;
        let return_url = params.text("return_url")?;
        params.finish()?;
        known_card(payment_method.as_deref())?;
        if !matches!(
            intent.status,
            Status::RequiresPaymentMethod | Status::RequiresConfirmation | Status::RequiresAction
        ) {
            return Err(unexpected_state(
                &intent,
                "confirm",
                "requires_payment_method, requires_confirmation or requires_action",
            ));
        }
        intent.payment_method = payment_method.or(intent.payment_method);
        intent.return_url = return_url.or(intent.return_url);
        if intent.payment_method.is_none() {
            return Err(without_payment_method(&intent));
        }
        self.confirm(intent, off_session, expand)
    }

    fn confirm(&mut self, intent: Intent, off_session: bool, expand: bool) -> Outcome {
        match intent.payment_method.as_deref().and_then(cards::card) {
            Some(Card::Pays) => {
                let intent = self.authorise(intent);
                Ok(wire::intent(&intent, expand))
            }
            Some(Card::Declines(decline)) => Err(self.decline(intent, decline)),
            Some(Card::WantsCustomer) if off_session => {
                Err(self.decline(intent, AUTHENTICATION_REQUIRED))
            }
            Some(Card::WantsCustomer) => Ok(wire::intent(&self.ask_customer(intent), expand)),
            None => Err(without_payment_method(&intent)),
        }
    }

    /// The bank says yes. A manual intent is now held, an automatic one paid.
    pub fn authorise(&mut self, mut intent: Intent) -> Intent {
        let now = self.now();
        intent.last_payment_error = None;
        intent.status = Status::RequiresCapture;
        intent.charge = Some(Charge {
            id: self.new_id("ch_"),
            created: now,
            amount: intent.amount,
            state: ChargeState::Authorised,
            captured: 0,
            refunded: 0,
            capture_before: now + AUTHORISATION_LASTS_S,
            failure: None,
        });
        self.emit_charge("charge.succeeded", &intent);
        if intent.manual_capture {
            self.emit(
                "payment_intent.amount_capturable_updated",
                &wire::intent(&intent, false),
            );
        } else {
            let all = intent.amount;
            intent = self.take(intent, all);
        }
        self.put_intent(intent.clone());
        intent
    }

    /// The bank says no: the intent stays, waiting for another card, and the error carries it.
    pub fn decline(
        &mut self,
        mut intent: Intent,
        (code, decline_code, message): Decline,
    ) -> Box<ApiError> {
        let charge = Charge {
            id: self.new_id("ch_"),
            created: self.now(),
            amount: intent.amount,
            state: ChargeState::Failed,
            captured: 0,
            refunded: 0,
            capture_before: 0,
            failure: Some((code.to_owned(), message.to_owned())),
        };
        let mut error = ApiError::new(402, "card_error", message);
        error.code = Some(code);
        error.decline_code = Some(decline_code);
        error.charge = Some(charge.id.clone());
        intent.last_payment_error = Some(json!({
            "charge": charge.id, "code": code, "decline_code": decline_code, "message": message, "type": "card_error",
        }));
        intent.charge = Some(charge);
        intent.payment_method = None;
        intent.status = Status::RequiresPaymentMethod;
        self.emit_charge("charge.failed", &intent);
        self.emit(
            "payment_intent.payment_failed",
            &wire::intent(&intent, false),
        );
        let seen = wire::intent(&intent, false);
        self.put_intent(intent);
        error.with_intent(seen)
    }

    /// 3-D Secure: the bank wants to see the customer.
    pub fn ask_customer(&mut self, mut intent: Intent) -> Intent {
        intent.status = Status::RequiresAction;
        intent.last_payment_error = None;
        self.emit(
            "payment_intent.requires_action",
            &wire::intent(&intent, false),
        );
        self.put_intent(intent.clone());
        intent
    }

    /// The customer was asked, and the bank wasn't convinced. No charge was tried.
    pub fn fail_authentication(&mut self, mut intent: Intent) {
        let (code, message) = cards::AUTHENTICATION_FAILED;
        intent.last_payment_error =
            Some(json!({ "code": code, "message": message, "type": "invalid_request_error" }));
        intent.status = Status::RequiresPaymentMethod;
        self.emit(
            "payment_intent.payment_failed",
            &wire::intent(&intent, false),
        );
        self.put_intent(intent);
    }

    pub fn capture_intent(&mut self, id: &str, mut params: Params) -> Outcome {
        let intent = self.find_intent(id)?;
        let amount = params.integer("amount_to_capture")?;
        params.flag("final_capture")?;
        params.text("statement_descriptor")?;
        let expand = expands_charge(&mut params)?;
        params.finish()?;
        if intent.status != Status::RequiresCapture {
            return Err(unexpected_state(&intent, "capture", "requires_capture"));
        }
        let amount = amount.unwrap_or(intent.capturable());
        if amount < 1 || amount > intent.capturable() {
            let message = format!(
                "The amount to capture must be between 1 and the amount authorised ({})",
                intent.capturable()
            );
            let code = if amount < 1 {
                "parameter_invalid_integer"
            } else {
                "amount_too_large"
            };
            return Err(ApiError::invalid(Some(code), "amount_to_capture", message));
        }
        let intent = self.take(intent, amount);
        let answer = wire::intent(&intent, expand);
        self.put_intent(intent);
        Ok(answer)
    }

    fn take(&mut self, mut intent: Intent, amount: i64) -> Intent {
        if let Some(charge) = &mut intent.charge {
            charge.state = ChargeState::Captured;
            charge.captured = amount;
        }
        intent.status = Status::Succeeded;
        self.emit_charge("charge.captured", &intent);
        self.emit("payment_intent.succeeded", &wire::intent(&intent, false));
        intent
    }

    pub fn cancel_intent(&mut self, id: &str, mut params: Params) -> Outcome {
        let intent = self.find_intent(id)?;
        let reasons = [
            "abandoned",
            "duplicate",
            "fraudulent",
            "requested_by_customer",
        ];
        let reason = params.one_of("cancellation_reason", &reasons)?;
        let expand = expands_charge(&mut params)?;
        params.finish()?;
        if matches!(intent.status, Status::Canceled | Status::Succeeded) {
            let allowed = "requires_payment_method, requires_capture, requires_confirmation, requires_action or processing";
            return Err(unexpected_state(&intent, "cancel", allowed));
        }
        let session = intent.session.as_ref().and_then(|id| self.sessions.get(id));
        if intent.status != Status::RequiresCapture
            && session.is_some_and(|s| s.state == SessionState::Open)
        {
            let message = "You cannot cancel this PaymentIntent because it was created by a Checkout Session that is open. Expire the Checkout Session instead.";
            return Err(ApiError::refused(None, message).with_intent(wire::intent(&intent, false)));
        }
        Ok(wire::intent(&self.void(intent, reason), expand))
    }

    /// Cancels and lets the bank's hold go.
    pub fn void(&mut self, mut intent: Intent, reason: Option<String>) -> Intent {
        let held = intent.capturable() > 0;
        if let (true, Some(charge)) = (held, &mut intent.charge) {
            charge.state = ChargeState::Released;
        }
        intent.status = Status::Canceled;
        intent.cancellation_reason = reason;
        intent.canceled_at = Some(self.now());
        if held {
            let lapsed = intent.cancellation_reason.as_deref() == Some("expired");
            self.emit_charge(
                if lapsed {
                    "charge.expired"
                } else {
                    "charge.refunded"
                },
                &intent,
            );
        }
        self.emit("payment_intent.canceled", &wire::intent(&intent, false));
        self.put_intent(intent.clone());
        intent
    }

    /// The deadline may belong to an authorisation that has been captured or replaced since.
    pub fn lapse_authorisation(&mut self, id: &str, at: i64) {
        if let Some(intent) = self.intents.get(id).cloned()
            && intent.status == Status::RequiresCapture
            && intent
                .charge
                .as_ref()
                .is_some_and(|charge| charge.capture_before == at)
        {
            self.void(intent, Some("expired".to_owned()));
        }
    }

    pub fn find_intent(&self, id: &str) -> Result<Intent, Box<ApiError>> {
        self.intents
            .get(id)
            .cloned()
            .ok_or_else(|| ApiError::missing("payment_intent", id, "intent", 404))
    }

    pub fn emit_charge(&mut self, kind: &str, intent: &Intent) {
        if let Some(charge) = &intent.charge {
            let charge = wire::charge(intent, charge);
            self.emit(kind, &charge);
        }
    }
}

//! Checkout sessions, and what the customer does on their page.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::{
    cards,
    error::{ApiError, Outcome},
    model::{Intent, Session, SessionState, Status},
    params::Params,
    table::PageParams,
    wire,
    world::World,
};

const SHORTEST_S: i64 = 30 * 60;
const LONGEST_S: i64 = 24 * 3_600;

impl World {
    pub fn create_session(&mut self, mut params: Params) -> Outcome {
        if params.one_of("mode", &["payment"])?.is_none() {
            return Err(ApiError::invalid(
                Some("parameter_missing"),
                "mode",
                "Missing required param: mode.",
            ));
        }
        let now = self.now();
        let expires_at = params.integer("expires_at")?.unwrap_or(now + LONGEST_S);
        let (amount, currency, product) = line_items(params.objects("line_items")?)?;
        let mut data = params.object("payment_intent_data")?;
        let capture_method = data.one_of(
            "capture_method",
            &["automatic", "automatic_async", "manual"],
        )?;
        let intent_metadata = data.metadata()?;
        let description = data.text("description")?;
        data.text("receipt_email")?;
        data.one_of("setup_future_usage", &["off_session", "on_session"])?;
        data.finish()?;
        params.texts("payment_method_types")?;
        params.texts("expand")?;
        params.text("locale")?;
        let session = Session {
            id: self.new_id("cs_test_"),
            created: now,
            expires_at,
            state: SessionState::Open,
            amount,
            currency,
            product,
            manual_capture: capture_method.as_deref() == Some("manual"),
            success_url: params.required("success_url")?,
            cancel_url: params.text("cancel_url")?,
            customer: params.text("customer")?,
            customer_email: params.text("customer_email")?,
            client_reference_id: params.text("client_reference_id")?,
            description,
            metadata: params.metadata()?,
            intent_metadata,
            intent: None,
        };
        params.finish()?;
        if !(now + SHORTEST_S..=now + LONGEST_S).contains(&expires_at) {
            let message = "The `expires_at` timestamp must be between 30 minutes and 24 hours from Checkout Session creation.";
            return Err(ApiError::invalid(None, "expires_at", message));
        }
        let answer = self.session_wire(&session);
        self.put_session(session);
        Ok(answer)
    }

    pub fn get_session(&mut self, id: &str, mut params: Params) -> Outcome {
        let expand = params.texts("expand")?;
        params.finish()?;
        let session = self.find_session(id)?;
        let mut answer = self.session_wire(&session);
        if expand.iter().any(|path| path == "payment_intent")
            && let Some(intent) = session.intent.as_ref().and_then(|id| self.intents.get(id))
        {
            answer["payment_intent"] = wire::intent(intent, false);
        }
        Ok(answer)
    }

    pub fn list_sessions(&mut self, mut params: Params) -> Outcome {
        let page = PageParams::take(&mut params)?;
        let intent = params.text("payment_intent")?;
        let status = params.one_of("status", &["open", "complete", "expired"])?;
        params.texts("expand")?;
        params.finish()?;
        let matches = |session: &Session| {
            (intent.is_none() || session.intent == intent)
                && status
                    .as_ref()
                    .is_none_or(|status| session.state.as_str() == status)
        };
        let (rows, has_more) = self.sessions.page(&page, "checkout.session", matches)?;
        let data = rows
            .into_iter()
            .map(|session| self.session_wire(session))
            .collect();
        Ok(wire::list("/v1/checkout/sessions", data, has_more))
    }

    pub fn expire_session(&mut self, id: &str, mut params: Params) -> Outcome {
        params.texts("expand")?;
        params.finish()?;
        let session = self.find_session(id)?;
        if session.state != SessionState::Open {
            let status = session.state.as_str();
            let message = format!(
                "Only Checkout Sessions with a status in [\"open\"] can be expired. This Checkout Session has a status of {status}"
            );
            return Err(ApiError::refused(None, message));
        }
        Ok(self.close(session))
    }

    pub fn lapse_session(&mut self, id: &str) {
        if let Some(session) = self.sessions.get(id).cloned()
            && session.state == SessionState::Open
        {
            self.close(session);
        }
    }

    fn close(&mut self, mut session: Session) -> Value {
        session.state = SessionState::Expired;
        // An attempt that the customer left half-way goes with its session.
        if let Some(intent) = session
            .intent
            .as_ref()
            .and_then(|id| self.intents.get(id))
            .cloned()
            && !matches!(intent.status, Status::Canceled | Status::Succeeded)
        {
            self.void(intent, Some("abandoned".to_owned()));
        }
        let answer = self.session_wire(&session);
        self.emit("checkout.session.expired", &answer);
        self.put_session(session);
        answer
    }

    /// The customer presses Pay and the bank agrees. A second press finds the session complete and changes nothing.
    pub fn customer_pays(&mut self, id: &str) -> Result<(), Box<ApiError>> {
        let Some((mut session, intent)) = self.submitted(id)? else {
            return Ok(());
        };
        self.authorise(intent);
        session.state = SessionState::Complete;
        let seen = self.session_wire(&session);
        self.emit("checkout.session.completed", &seen);
        self.put_session(session);
        Ok(())
    }

    /// The bank refuses; the session stays open for another card.
    pub fn customer_is_declined(&mut self, id: &str) -> Result<(), Box<ApiError>> {
        if let Some((session, intent)) = self.submitted(id)? {
            self.decline(intent, cards::DECLINED);
            self.put_session(session);
        }
        Ok(())
    }

    pub fn customer_is_challenged(&mut self, id: &str) -> Result<(), Box<ApiError>> {
        if let Some((session, intent)) = self.submitted(id)? {
            self.ask_customer(intent);
            self.put_session(session);
        }
        Ok(())
    }

    pub fn customer_fails_challenge(&mut self, id: &str) -> Result<(), Box<ApiError>> {
        if let Some((session, intent)) = self.submitted(id)? {
            self.fail_authentication(intent);
            self.put_session(session);
        }
        Ok(())
    }

    /// The session and its intent, which comes into being with the first submission. `None`: the page is closed.
    fn submitted(&mut self, id: &str) -> Result<Option<(Session, Intent)>, Box<ApiError>> {
        let mut session = self.find_session(id)?;
        if session.state != SessionState::Open {
            return Ok(None);
        }
        if let Some(mut intent) = session
            .intent
            .as_ref()
            .and_then(|id| self.intents.get(id))
            .cloned()
        {
            intent.payment_method = Some(PAGE_CARD.to_owned());
            return Ok(Some((session, intent)));
        }
        let intent_id = self.new_id("pi_");
        let intent = Intent {
            client_secret: self.new_id(&format!("{intent_id}_secret_")),
            id: intent_id.clone(),
            created: self.now(),
            amount: session.amount,
            currency: session.currency.clone(),
            manual_capture: session.manual_capture,
            status: Status::RequiresPaymentMethod,
            metadata: session.intent_metadata.clone(),
            payment_method: Some(PAGE_CARD.to_owned()),
            customer: session.customer.clone(),
            description: session.description.clone(),
            receipt_email: None,
            return_url: Some(session.success_url.clone()),
            cancellation_reason: None,
            canceled_at: None,
            last_payment_error: None,
            charge: None,
            session: Some(session.id.clone()),
        };
        session.intent = Some(intent_id);
        self.emit("payment_intent.created", &wire::intent(&intent, false));
        Ok(Some((session, intent)))
    }

    pub fn find_session(&self, id: &str) -> Result<Session, Box<ApiError>> {
        self.sessions
            .get(id)
            .cloned()
            .ok_or_else(|| ApiError::missing("checkout.session", id, "session", 404))
    }

    fn session_wire(&self, session: &Session) -> Value {
        let intent = session.intent.as_ref().and_then(|id| self.intents.get(id));
        wire::session(
            session,
            intent.is_some_and(|intent| intent.status == Status::Succeeded),
            &self.base_url,
        )
    }
}

/// What a customer types into the page.
const PAGE_CARD: &str = "pm_card_visa";

/// The total, its currency and what the page shows.
fn line_items(items: Vec<Params>) -> Result<(i64, String, String), Box<ApiError>> {
    let mut total: i64 = 0;
    let mut currencies = BTreeMap::new();
    let mut names = Vec::new();
    for mut item in items {
        let quantity = item.integer("quantity")?.unwrap_or(1).clamp(1, 1_000_000);
        let mut price = item.object("price_data")?;
        item.finish()?;
        let currency = super::checks::currency(&mut price)?;
        let unit = price.integer("unit_amount")?;
        let mut product = price.object("product_data")?;
        price.finish()?;
        let name = product.required("name")?;
        product.text("description")?;
        product.finish()?;
        let unit = unit
            .filter(|unit| (0..=99_999_999).contains(unit))
            .ok_or_else(|| {
                ApiError::invalid(
                    Some("parameter_missing"),
                    "line_items[0][price_data][unit_amount]",
                    "unit_amount must be a positive integer",
                )
            })?;
        total += unit * quantity;
        currencies.insert(currency, ());
        names.push(name);
    }
    match currencies.into_keys().collect::<Vec<_>>().as_slice() {
        [currency] if (50..=99_999_999).contains(&total) => {
            Ok((total, currency.clone(), names.join(", ")))
        }
        [_] => Err(ApiError::invalid(
            Some("amount_too_small"),
            "line_items",
            "The total must be between 50 and 99999999",
        )),
        [] => Err(ApiError::invalid(
            Some("parameter_missing"),
            "line_items",
            "Missing required param: line_items.",
        )),
        _ => Err(ApiError::invalid(
            None,
            "line_items",
            "All line items must have one currency",
        )),
    }
}

//! How objects look on the wire: every field a generated client insists on, and those the desk reads.

use serde_json::{Value, json};

use crate::{
    model::{Charge, ChargeState, Dispute, Event, Intent, Refund, Session, SessionState, Status},
    world::API_VERSION,
};

pub fn intent(intent: &Intent, expand_charge: bool) -> Value {
    let latest_charge = match &intent.charge {
        None => Value::Null,
        Some(charge) if expand_charge => self::charge(intent, charge),
        Some(charge) => json!(charge.id),
    };
    json!({
        "id": intent.id,
        "object": "payment_intent",
        "amount": intent.amount,
        "amount_capturable": intent.capturable(),
        "amount_details": { "tip": {} },
        "amount_received": intent.received(),
        "application": null,
        "application_fee_amount": null,
        "automatic_payment_methods": null,
        "canceled_at": intent.canceled_at,
        "cancellation_reason": intent.cancellation_reason,
        "capture_method": if intent.manual_capture { "manual" } else { "automatic" },
        "client_secret": intent.client_secret,
        "confirmation_method": "automatic",
        "created": intent.created,
        "currency": intent.currency,
        "customer": intent.customer,
        "description": intent.description,
        "last_payment_error": intent.last_payment_error,
        "latest_charge": latest_charge,
        "livemode": false,
        "metadata": intent.metadata,
        "next_action": match intent.status {
            Status::RequiresAction => json!({
                "type": "redirect_to_url",
                "redirect_to_url": { "return_url": intent.return_url, "url": null },
            }),
            _ => Value::Null,
        },
        "on_behalf_of": null,
        "payment_method": intent.payment_method,
        "payment_method_options": { "card": { "request_three_d_secure": "automatic" } },
        "payment_method_types": ["card"],
        "processing": null,
        "receipt_email": intent.receipt_email,
        "review": null,
        "setup_future_usage": null,
        "shipping": null,
        "statement_descriptor": null,
        "statement_descriptor_suffix": null,
        "status": intent.status.as_str(),
        "transfer_data": null,
        "transfer_group": null,
    })
}

pub fn charge(intent: &Intent, charge: &Charge) -> Value {
    let (failure_code, failure_message) = match &charge.failure {
        Some((code, message)) => (json!(code), json!(message)),
        None => (Value::Null, Value::Null),
    };
    let captured = charge.state == ChargeState::Captured;
    json!({
        "id": charge.id,
        "object": "charge",
        "amount": charge.amount,
        "amount_captured": charge.captured,
        "amount_refunded": match charge.state {
            // What was authorised and not taken counts as refunded, as Stripe shows it.
            ChargeState::Released => charge.amount,
            ChargeState::Captured => charge.amount - charge.captured + charge.refunded,
            ChargeState::Failed | ChargeState::Authorised => 0,
        },
        "balance_transaction": captured.then(|| booked(charge)),
        "billing_details": { "address": null, "email": null, "name": null, "phone": null, "tax_id": null },
        "captured": captured,
        "created": charge.created,
        "currency": intent.currency,
        "customer": intent.customer,
        "description": intent.description,
        "disputed": false,
        "failure_code": failure_code,
        "failure_message": failure_message,
        "livemode": false,
        "metadata": intent.metadata,
        "outcome": null,
        "paid": charge.state != ChargeState::Failed,
        "payment_intent": intent.id,
        "payment_method": intent.payment_method,
        "payment_method_details": {
            "type": "card",
            "card": {
                "brand": "visa",
                "capture_before": if charge.state == ChargeState::Authorised { json!(charge.capture_before) } else { Value::Null },
                "last4": "4242",
            },
        },
        "refunded": captured && charge.refunded == charge.captured,
        "status": if charge.state == ChargeState::Failed { "failed" } else { "succeeded" },
    })
}

fn booked(charge: &Charge) -> String {
    format!("txn_{}", charge.id)
}

/// The line of the account that a captured payment makes, with a fee of the usual height: 1.5 % and 25 minor units.
pub fn balance_transaction(intent: &Intent, charge: &Charge) -> Value {
    let fee = charge.captured * 15 / 1_000 + 25;
    json!({
        "id": booked(charge),
        "object": "balance_transaction",
        "amount": charge.captured,
        "currency": intent.currency,
        "fee": fee,
        "net": charge.captured - fee,
        "reporting_category": "charge",
        "source": charge.id,
        "type": "charge",
    })
}

pub fn refund(refund: &Refund) -> Value {
    json!({
        "id": refund.id,
        "object": "refund",
        "amount": refund.amount,
        "balance_transaction": null,
        "charge": refund.charge,
        "created": refund.created,
        "currency": refund.currency,
        "failure_reason": refund.failure_reason,
        "metadata": refund.metadata,
        "payment_intent": refund.intent,
        "reason": refund.reason,
        "receipt_number": null,
        "status": refund.state.as_str(),
    })
}

pub fn dispute(dispute: &Dispute) -> Value {
    let lines: Vec<Value> = (dispute.moved.iter().enumerate())
        .map(|(n, (amount, fee))| {
            json!({
                "id": format!("txn_{}_{n}", dispute.id),
                "object": "balance_transaction",
                "amount": amount,
                "currency": dispute.currency,
                "fee": fee,
                "net": amount - fee,
                "reporting_category": if *amount < 0 { "dispute" } else { "dispute_reversal" },
                "type": "adjustment",
            })
        })
        .collect();
    let inquiry = dispute.state.as_str().starts_with("warning");
    json!({
        "id": dispute.id,
        "object": "dispute",
        "amount": dispute.amount,
        "balance_transactions": lines,
        "charge": dispute.charge,
        "created": dispute.created,
        "currency": dispute.currency,
        "enhanced_eligibility_types": [],
        "evidence": {},
        "evidence_details": {
            "due_by": dispute.evidence_due_by,
            "has_evidence": dispute.submissions > 0,
            "past_due": false,
            "submission_count": dispute.submissions,
        },
        "is_charge_refundable": inquiry,
        "livemode": false,
        "metadata": {},
        "payment_intent": dispute.intent,
        "reason": dispute.reason,
        "status": dispute.state.as_str(),
    })
}

/// `paid`: the intent behind it has succeeded. An authorised session is complete and still unpaid.
pub fn session(session: &Session, paid: bool, base_url: &str) -> Value {
    json!({
        "id": session.id,
        "object": "checkout.session",
        "amount_subtotal": session.amount,
        "amount_total": session.amount,
        "automatic_tax": { "enabled": false, "liability": null, "provider": null, "status": null },
        "billing_address_collection": null,
        "cancel_url": session.cancel_url,
        "client_reference_id": session.client_reference_id,
        "created": session.created,
        "currency": session.currency,
        "custom_fields": [],
        "custom_text": {
            "after_submit": null, "shipping_address": null, "submit": null, "terms_of_service_acceptance": null,
        },
        "customer": session.customer,
        "customer_details": null,
        "customer_email": session.customer_email,
        "expires_at": session.expires_at,
        "livemode": false,
        "locale": null,
        "metadata": session.metadata,
        "mode": "payment",
        "payment_intent": session.intent,
        "payment_method_types": ["card"],
        "payment_status": if paid { "paid" } else { "unpaid" },
        "shipping_options": [],
        "status": session.state.as_str(),
        "success_url": session.success_url,
        "url": match session.state {
            SessionState::Open => json!(format!("{base_url}/c/{}", session.id)),
            SessionState::Complete | SessionState::Expired => Value::Null,
        },
    })
}

pub fn event(event: &Event) -> Value {
    // The journal could hold anything after an edit by hand; an event without its object is still an event.
    let object: Value = serde_json::from_str(&event.object).unwrap_or(Value::Null);
    json!({
        "id": event.id,
        "object": "event",
        "api_version": API_VERSION,
        "created": event.created,
        "data": { "object": object },
        "livemode": false,
        "pending_webhooks": i64::from(event.pending),
        "request": { "id": event.request_id, "idempotency_key": event.idempotency_key },
        "type": event.kind,
    })
}

pub fn list(path: &str, data: Vec<Value>, has_more: bool) -> Value {
    json!({ "object": "list", "data": data, "has_more": has_more, "url": path })
}

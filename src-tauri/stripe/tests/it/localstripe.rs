//! The same client against localstripe, a double that we did not write.
//!
//! It goes as far as localstripe does: it ignores idempotency keys, accepts any refund, rejects `description` and
//! `cancellation_reason`, has no Checkout and lists events oldest first. So this checks our bytes and our reading of
//! answers on the plain path, where it is right, and leaves the rest to the sandbox.

use std::{
    io::{BufRead, BufReader},
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use bizing_stripe::{Failure, IntentStatus, Operation, RefundStatus};

use crate::support::*;

struct LocalStripe {
    child: Child,
    url: String,
}

impl LocalStripe {
    fn start() -> LocalStripe {
        let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..");
        let python = std::env::var_os("BIZING_LOCALSTRIPE")
            .map_or_else(|| root.join(".cache/localstripe/bin/python"), PathBuf::from);
        let script = root.join("src-tauri/stripe/tests/localstripe.py");
        let started = Command::new(&python)
            .arg(script)
            .stdout(Stdio::piped())
            .spawn();
        let mut child = started.unwrap_or_else(|error| {
            panic!(
                "can't run {} ({error}). Install localstripe with `python3 -m venv .cache/localstripe && \
                 .cache/localstripe/bin/pip install --requirement src-tauri/stripe/tests/requirements.txt`, or name a \
                 python that has it in BIZING_LOCALSTRIPE.",
                python.display()
            )
        });
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let port: u16 = line
            .trim()
            .parse()
            .expect("localstripe prints its port; its own message is above");
        LocalStripe {
            child,
            url: format!("http://127.0.0.1:{port}"),
        }
    }
}

impl Drop for LocalStripe {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test]
async fn localstripe_understands_us_and_we_it() {
    let local = LocalStripe::start();
    let stripe = stripe(&local.url, "sk_test_local");
    let create = |payment_method: &str| {
        Operation::CreateIntent {
            amount_minor: 8000,
            currency: "eur".to_owned(),
            payment_method: payment_method.to_owned(),
            customer: None,
            description: None,
            metadata: metadata("effect-1"),
        }
        .encode()
    };

    let held = intent(stripe.send(&create("pm_card_visa"), "k1").await);
    assert_eq!(
        (held.status, held.amount, held.metadata),
        (IntentStatus::RequiresCapture, 8000, metadata("effect-1"))
    );
    assert!(held.latest_charge.unwrap().starts_with("ch_"));

    let taken = intent(stripe.send(&capture(&held.id), "k2").await);
    assert_eq!(taken.status, IntentStatus::Succeeded);
    assert_eq!(
        stripe.intent(&held.id).await.unwrap().status,
        IntentStatus::Succeeded
    );
    let again = stripe.send(&capture(&held.id), "k3").await.unwrap_err();
    assert!(
        matches!(&again, Failure::Refused { status: 400, .. }),
        "{again:?}"
    );

    let back = refunded(stripe.send(&refund(&held.id, 3000), "k4").await);
    assert_eq!((back.status, back.amount), (RefundStatus::Succeeded, 3000));
    let known = stripe.refunds_of(&held.id).await.unwrap();
    assert!(
        known
            .iter()
            .any(|refund| refund.id == back.id && refund.metadata == metadata("effect-refund")),
        "{known:?}"
    );

    let declined = stripe
        .send(&create("pm_card_chargeCustomerFail"), "k5")
        .await
        .unwrap_err();
    assert!(
        matches!(&declined, Failure::Declined { code, .. } if code == "card_declined"),
        "{declined:?}"
    );
    let missing = stripe.intent("pi_none").await.unwrap_err();
    assert!(
        matches!(&missing, Failure::Refused { status: 404, .. }),
        "{missing:?}"
    );
}

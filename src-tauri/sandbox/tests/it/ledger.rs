//! Whatever is asked in whatever order, the books add up, and they agree with the answers that were given.

use std::collections::BTreeMap;

use bizing_sandbox::{Ledger, Options};
use proptest::prelude::*;

use crate::support::*;

#[derive(Clone, Debug)]
enum Ask {
    Create {
        card: usize,
        amount: i64,
        manual: bool,
    },
    Confirm {
        intent: usize,
        card: usize,
    },
    Capture {
        intent: usize,
        amount: Option<i64>,
    },
    Cancel {
        intent: usize,
    },
    Refund {
        intent: usize,
        amount: Option<i64>,
    },
    Wait {
        hours: u32,
    },
}

const CARDS: [&str; 6] = [
    "pm_card_visa",
    "pm_card_visa",
    "pm_card_chargeDeclined",
    "pm_card_authenticationRequired",
    "pm_card_pendingRefund",
    "pm_card_refundFail",
];

fn ask() -> impl Strategy<Value = Ask> {
    let amount = || prop::option::of(1..12_000_i64);
    prop_oneof![
        3 => (0..CARDS.len(), 50..10_000_i64, any::<bool>()).prop_map(|(card, amount, manual)| Ask::Create { card, amount, manual }),
        1 => (0..8_usize, 0..CARDS.len()).prop_map(|(intent, card)| Ask::Confirm { intent, card }),
        4 => (0..8_usize, amount()).prop_map(|(intent, amount)| Ask::Capture { intent, amount }),
        1 => (0..8_usize).prop_map(|intent| Ask::Cancel { intent }),
        4 => (0..8_usize, amount()).prop_map(|(intent, amount)| Ask::Refund { intent, amount }),
        1 => (1..200_u32).prop_map(|hours| Ask::Wait { hours }),
    ]
}

/// What the answers alone say: (received, refunds that were accepted).
type Told = BTreeMap<String, (i64, i64)>;

async fn put(api: &Api, intents: &mut Vec<String>, told: &mut Told, ask: &Ask) {
    let pick = |n: usize| {
        intents
            .get(n % intents.len().max(1))
            .cloned()
            .unwrap_or_else(|| "pi_none".to_owned())
    };
    let amount_of = |amount: &Option<i64>| amount.map(|a| a.to_string());
    let (path, form) = match ask {
        Ask::Create {
            card,
            amount,
            manual,
        } => (
            "/v1/payment_intents".to_owned(),
            vec![
                ("amount", amount.to_string()),
                ("currency", "eur".to_owned()),
                ("confirm", "true".to_owned()),
                ("off_session", "true".to_owned()),
                (
                    "capture_method",
                    if *manual { "manual" } else { "automatic" }.to_owned(),
                ),
                ("payment_method", CARDS[*card].to_owned()),
            ],
        ),
        Ask::Confirm { intent, card } => (
            format!("/v1/payment_intents/{}/confirm", pick(*intent)),
            vec![("payment_method", CARDS[*card].to_owned())],
        ),
        Ask::Capture { intent, amount } => (
            format!("/v1/payment_intents/{}/capture", pick(*intent)),
            amount_of(amount)
                .map(|a| ("amount_to_capture", a))
                .into_iter()
                .collect(),
        ),
        Ask::Cancel { intent } => (
            format!("/v1/payment_intents/{}/cancel", pick(*intent)),
            vec![],
        ),
        Ask::Refund { intent, amount } => {
            let mut form = vec![("payment_intent", pick(*intent))];
            form.extend(amount_of(amount).map(|a| ("amount", a)));
            ("/v1/refunds".to_owned(), form)
        }
        Ask::Wait { hours } => return api.sandbox.advance_clock(hours * 3_600),
    };
    let form: Vec<(&str, &str)> = form
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    let (status, body) = api.post(&path, &form).await;
    assert!(
        [200, 400, 402, 404].contains(&status),
        "{ask:?}: {status} {body}"
    );
    let object = if status == 402 {
        &body["error"]["payment_intent"]
    } else {
        &body
    };
    match (object["object"].as_str(), object["id"].as_str()) {
        (Some("payment_intent"), Some(id)) => {
            if !intents.contains(&id.to_owned()) {
                intents.push(id.to_owned());
            }
            told.entry(id.to_owned()).or_default().0 = object["amount_received"].as_i64().unwrap();
        }
        (Some("refund"), Some(_)) => {
            let intent = object["payment_intent"].as_str().unwrap().to_owned();
            told.entry(intent).or_default().1 += object["amount"].as_i64().unwrap();
        }
        _ => {}
    }
}

fn agrees(ledger: &Ledger, told: &Told) {
    ledger.check().unwrap();
    for payment in &ledger.payments {
        let (received, refunds) = told[&payment.payment_intent];
        assert_eq!(payment.captured, received, "{payment:?}");
        // A refund that failed later was accepted too.
        assert!(
            payment.refunded + payment.refunds_pending <= refunds,
            "{payment:?}, told {refunds}"
        );
    }
    let sum: i64 = ledger.payments.iter().map(|p| p.captured).sum();
    assert_eq!(ledger.totals.captured, sum);
    assert_eq!(ledger.totals.payments, ledger.payments.len());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_books_add_up(asks in prop::collection::vec(ask(), 1..40)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let folder = tempfile::tempdir().unwrap();
            let journal = folder.path().join("journal");
            let options = Options { journal: Some(journal), ..Options::default() };
            let api = start(options.clone()).await;
            let (mut intents, mut told) = (Vec::new(), Told::new());
            for ask in &asks {
                put(&api, &mut intents, &mut told, ask).await;
                agrees(&api.sandbox.ledger(), &told);
            }
            let ledger = api.sandbox.ledger();
            api.sandbox.stop().await;
            let again = start(options).await;
            assert_eq!(again.sandbox.ledger(), ledger, "after a restart");
            again.sandbox.stop().await;
        });
    }
}

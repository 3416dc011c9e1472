//! Disputes as the sandbox shows them, read through the real client.

use bizing_sandbox::DisputeAct;
use bizing_stripe::DisputeStatus;

use crate::support::*;

#[tokio::test]
async fn a_dispute_shows_its_last_day_and_each_move_of_its_money() {
    let world = world().await;
    let paid = world.captured("k").await;
    let id = world
        .sandbox
        .dispute(&paid.id, "fraudulent", true)
        .expect("a captured payment can be disputed");
    let asked = world.stripe.dispute(&id).await.unwrap();
    assert_eq!(asked.status, DisputeStatus::WarningNeedsResponse);
    assert_eq!(asked.payment_intent.as_deref(), Some(paid.id.as_str()));
    assert_eq!((asked.amount, asked.moved.len()), (paid.amount, 0));
    assert!(asked.evidence_due_by.is_some_and(|due| due > now()));

    assert!(world.sandbox.act_on_dispute(&id, DisputeAct::Escalate));
    assert_eq!(
        refused(world.stripe.send(&refund(&paid.id, 100), "r").await),
        "charge_disputed"
    );
    assert!(world.sandbox.act_on_dispute(&id, DisputeAct::Answer));
    let open = world.stripe.dispute(&id).await.unwrap();
    assert_eq!(
        (open.status, open.submissions),
        (DisputeStatus::UnderReview, 1)
    );
    assert!(world.sandbox.act_on_dispute(&id, DisputeAct::Win));
    assert!(!world.sandbox.act_on_dispute(&id, DisputeAct::Lose));
    let won = world.stripe.dispute(&id).await.unwrap();
    assert_eq!(won.status, DisputeStatus::Won);
    let moved: Vec<(i64, i64)> = won.moved.iter().map(|m| (m.amount, m.fee)).collect();
    assert_eq!(moved, [(-paid.amount, 2000), (paid.amount, -2000)]);
    let kinds: Vec<String> = all_events(&world.stripe)
        .await
        .into_iter()
        .map(|e| e.kind)
        .filter(|k| k.starts_with("charge.dispute."))
        .collect();
    assert!(
        kinds.len() == 6
            && kinds.contains(&"charge.dispute.funds_withdrawn".to_owned())
            && kinds.contains(&"charge.dispute.funds_reinstated".to_owned()),
        "{kinds:?}"
    );
    assert_eq!(
        refused(world.stripe.dispute("dp_none").await),
        "resource_missing"
    );
    assert_eq!(world.sandbox.dispute("pi_none", "general", false), None);
}

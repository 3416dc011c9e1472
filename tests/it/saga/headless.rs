//! The console without a window: what would be done is said first, and is done with `--yes`.

use super::hands::*;
use crate::served;
use crate::support::desk::TestDesk;

/// `bizing-desk sagas …` under somebody's login.
pub async fn run(t: &TestDesk, group: &str, arguments: &[&str]) -> (Option<i32>, String) {
    served::run(&t.db.login(group), &[&["sagas"], arguments].concat()).await
}

#[tokio::test]
async fn a_saga_is_decided_without_a_window_under_the_plan_that_was_said_and_only_when_it_is_meant()
{
    let t = TestDesk::new().await;
    policy(&t, "park", 50_000, 3, 24).await;
    let worker = t.work().await;
    let it = stuck(&t, &worker, 0).await;
    let desk = t.desk(None);
    // By its id: no list is kept in this test, and a reference is looked for there.
    let reference = it.saga.to_string();

    let (code, said) = run(&t, "manager", &["show", &reference]).await;
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("+ compensate"), "{said}");
    assert!(
        said.contains("reopen         It is not over yet."),
        "{said}"
    );

    let (code, said) = run(&t, "manager", &["compensate", &reference]).await;
    assert_eq!(code, Some(0), "{said}");
    assert!(
        said.contains("80.00 EUR goes back") && said.contains("Nothing is done yet"),
        "{said}"
    );
    let (code, said) = run(&t, "manager", &["compensate", &reference, "--yes"]).await;
    assert_eq!(code, Some(1), "no reason: {said}");
    assert!(said.contains("at least 10 signs"), "{said}");
    let why = "called her, she cannot come";
    let all = ["compensate", &reference, "--reason", why, "--yes"];
    let (code, said) = run(&t, "staff", &all).await;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("This is a manager's decision."), "{said}");
    assert!(
        page(&desk, it.saga).await.row.parked.is_some(),
        "nothing yet"
    );

    let (code, said) = run(&t, "manager", &all).await;
    assert_eq!(code, Some(0), "{said}");
    t.wait_for_saga(it.booking, "compensated").await;
    assert_eq!(
        page(&desk, it.saga).await.commands.last().unwrap().reason,
        why
    );

    let (code, said) = run(&t, "staff", &["ask", &reference]).await;
    assert_eq!(code, Some(0), "both sides agree: {said}");
    assert!(said.contains("given back"), "{said}");
    let (code, said) = run(&t, "staff", &["show", "BK-NOSUCH"]).await;
    assert_eq!(code, Some(1));
    assert!(said.contains("No saga of BK-NOSUCH is here."), "{said}");
    worker.close().await;
}

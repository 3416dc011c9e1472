use std::sync::Arc;

use bizing_engine::app::backups::{erase_customer, preview_erasure};
use bizing_engine::app::desk::Desk;
use bizing_engine::app::host::{Host, HostKind};
use bizing_engine::app::wire::{EraseCustomer, PreviewErasure};
use bizing_engine::runtime::config::Config;
use uuid::Uuid;

use super::{failed, with_desk};
use crate::local_sandbox::LocalSandbox;
use crate::{Ended, Failed};

pub fn run(config: Config, customer: &str, reason: String, yes: bool) -> Ended {
    // The sandbox's mailbox holds mail of theirs too.
    let sandbox = Arc::new(LocalSandbox::default());
    with_desk(
        || Host::with(config, HostKind::Command, false, Some(sandbox)),
        async |_, desk| erase(desk, customer, reason, yes).await,
    )
}

async fn erase(desk: &Desk, customer: &str, reason: String, yes: bool) -> Ended {
    let customer_id = find(desk, customer).await?;
    let preview = preview_erasure(desk, PreviewErasure { customer_id })
        .await
        .map_err(failed)?;
    println!("{}, {}", preview.customer.name, customer_id);
    println!(
        "  Goes for good: {}.",
        or_nothing(&preview.fields.join(", "))
    );
    println!(
        "  Stays: {} bookings and their amounts. {} backups hold the key; a restore erases again.",
        preview.bookings, preview.backups
    );
    if let Some(why) = preview.refused {
        return Err(Failed::Run(why));
    }
    if !yes {
        return Err(Failed::Usage(
            "Nothing was done. Say --yes to do it: it cannot be taken back.".to_owned(),
        ));
    }
    let request = EraseCustomer {
        command_id: Uuid::now_v7(),
        customer_id,
        reason,
    };
    let erased = erase_customer(desk, request).await.map_err(failed)?;
    println!(
        "Erased at {}.",
        erased.erased_at.format("%Y-%m-%d %H:%M:%S UTC")
    );
    Ok(())
}

fn or_nothing(fields: &str) -> &str {
    if fields.is_empty() { "nothing" } else { fields }
}

/// By id, or by the one customer who has this address.
async fn find(desk: &Desk, customer: &str) -> Result<Uuid, Failed> {
    if let Ok(id) = customer.parse() {
        return Ok(id);
    }
    let ids: Vec<Uuid> = sqlx::query_scalar(
        "select customer_id from read.customers_v1 where lower(email) = lower($1) order by customer_id limit 20",
    )
    .bind(customer.trim())
    .fetch_all(&desk.people)
    .await
    .map_err(|e| failed(e.into()))?;
    match ids[..] {
        [id] => Ok(id),
        [] => Err(Failed::Usage(format!(
            "No customer has the e-mail address `{customer}`."
        ))),
        _ => Err(Failed::Usage(format!(
            "{} customers have that address. Name one by id:\n{}",
            ids.len(),
            ids.iter()
                .map(Uuid::to_string)
                .collect::<Vec<_>>()
                .join("\n")
        ))),
    }
}

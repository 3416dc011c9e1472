use bizing_engine::app::host::{Migrated, migrate_now};
use bizing_engine::runtime::config::Config;
use bizing_engine::store::migrate::SchemaState;

use super::failed;
use crate::{Ended, runtime};

pub fn run(config: Config) -> Ended {
    let done = runtime()?.block_on(migrate_now(config)).map_err(failed)?;
    println!("{}", sentence(&done));
    Ok(())
}

fn sentence(done: &Migrated) -> String {
    let Migrated {
        database,
        before,
        version,
        mode,
    } = done;
    match before {
        SchemaState::Current => format!("{database} is up to date: schema {version}, {mode}."),
        SchemaState::Absent => {
            format!("{database} is set up as a new desk: schema {version}, {mode}.")
        }
        SchemaState::Older { has, .. } | SchemaState::Newer { has, .. } => {
            format!("{database} is migrated from schema {has} to {version}, {mode}.")
        }
    }
}

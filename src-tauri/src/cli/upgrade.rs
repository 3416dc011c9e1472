use bizing_engine::app::host::upgrade_database;
use bizing_engine::runtime::config::Config;

use super::failed;
use crate::{Ended, runtime};

pub fn run(config: Config, from_backups: bool) -> Ended {
    let said = |text: &str| println!("{text}");
    let done = runtime()?
        .block_on(upgrade_database(config, from_backups, said))
        .map_err(failed)?;
    println!(
        "The database is of PostgreSQL {} now. The one of {} is kept in {}; remove it when you no longer need it.",
        done.to,
        done.from,
        done.kept.display()
    );
    Ok(())
}

//! Logins of people: list, add, put into a group, disable, enable, give a new password.

use std::sync::Arc;

use bizing_engine::app::desk::Desk;
use bizing_engine::app::host::{Host, HostKind};
use bizing_engine::app::people;
use bizing_engine::app::wire::{
    AddPerson, ChangePerson, Empty, Group, Person, PersonChange, PersonMade, ResetPassword,
};
use bizing_engine::runtime::config::Config;

use super::{failed, with_desk};
use crate::local_sandbox::LocalSandbox;
use crate::{Ended, Failed};

#[derive(clap::Subcommand)]
pub enum People {
    /// Who has a login, in which group, and when they were last here.
    List,
    /// Makes a login and prints its password, this once.
    Add {
        /// The login: a to z, digits and _.
        login: String,
        /// Their name, as colleagues see it.
        #[arg(long)]
        name: String,
        #[arg(long, value_enum)]
        group: GroupName,
    },
    /// Puts somebody into another group.
    Group {
        login: String,
        #[arg(value_enum)]
        group: GroupName,
    },
    /// Ends somebody's sessions and lets no new one begin. What they did stays.
    Disable { login: String },
    /// Lets them in again.
    Enable { login: String },
    /// Makes a new password and prints it, this once.
    Reset { login: String },
}

#[derive(Clone, Copy, clap::ValueEnum)]
pub enum GroupName {
    Viewer,
    Staff,
    Manager,
    Admin,
}

impl GroupName {
    fn group(self) -> Group {
        match self {
            GroupName::Viewer => Group::Viewer,
            GroupName::Staff => Group::Staff,
            GroupName::Manager => Group::Manager,
            GroupName::Admin => Group::Admin,
        }
    }

    fn change(self) -> PersonChange {
        match self {
            GroupName::Viewer => PersonChange::Viewer,
            GroupName::Staff => PersonChange::Staff,
            GroupName::Manager => PersonChange::Manager,
            GroupName::Admin => PersonChange::Admin,
        }
    }
}

pub fn run(config: Config, what: People) -> Ended {
    let sandbox = Arc::new(LocalSandbox::default());
    with_desk(
        || Host::with(config, HostKind::Command, false, Some(sandbox)),
        async |_, desk| carry_out(desk, what).await,
    )
}

async fn carry_out(desk: &Desk, what: People) -> Ended {
    match what {
        People::List => list(desk).await,
        People::Add { login, name, group } => {
            let request = AddPerson {
                login,
                name,
                group: group.group(),
            };
            told(&people::add(desk, request).await.map_err(failed)?);
            Ok(())
        }
        People::Group { login, group } => change(desk, login, group.change()).await,
        People::Disable { login } => change(desk, login, PersonChange::Disable).await,
        People::Enable { login } => change(desk, login, PersonChange::Enable).await,
        People::Reset { login } => {
            told(
                &people::reset_password(desk, ResetPassword { login })
                    .await
                    .map_err(failed)?,
            );
            Ok(())
        }
    }
}

async fn list(desk: &Desk) -> Ended {
    let all = people::list(desk, Empty {}).await.map_err(failed)?;
    if let (true, Some(why)) = (all.rows.is_empty(), all.refused) {
        return Err(Failed::Run(why));
    }
    for person in &all.rows {
        println!("{}", line(person));
    }
    Ok(())
}

async fn change(desk: &Desk, login: String, change: PersonChange) -> Ended {
    let person = people::change(desk, ChangePerson { login, change })
        .await
        .map_err(failed)?;
    println!("{}", line(&person));
    Ok(())
}

fn told(made: &PersonMade) {
    println!("{}", line(&made.person));
    println!("Password: {}", made.password);
    println!("Address:  {}", made.address);
    println!(
        "The password is shown this once. They put it in place of the … and enter the address at the first start."
    );
}

fn line(person: &Person) -> String {
    let group = person
        .group
        .map_or("no login on this server".to_owned(), |g| {
            format!("{g:?}").to_lowercase()
        });
    let seen = person.last_seen_at.map_or("never seen".to_owned(), |at| {
        format!("last seen {}", at.format("%Y-%m-%d %H:%M UTC"))
    });
    let state = if person.active {
        seen
    } else {
        "disabled".to_owned()
    };
    let name = person.name.as_deref().unwrap_or("(a computer)");
    format!("{:<31} {:<8} {name}, {state}", person.login, group)
}

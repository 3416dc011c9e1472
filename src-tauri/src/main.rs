//! The one binary of Bizing Desk: the window, the headless server and the commands. It parses arguments, sets up logging
//! and signals, and hands over to a door; what the desk does is in `bizing-engine`.

mod cli;
#[cfg(feature = "desktop")]
mod desktop;
mod feed;
mod http;
mod local_sandbox;
mod signals;
mod telemetry;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use bizing_engine::runtime::config::Config;
use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(
    name = "bizing-desk",
    version,
    about = "The desk where a booking business runs its day and mends what broke.",
    long_about = "The desk where a booking business runs its day and mends what broke.\n\nWithout a command it opens the window."
)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Runs without a window: background work, incoming webhooks, and the same desk in a browser on this computer.
    Serve(Serve),
    /// Brings the chosen database up to date, after a backup.
    Migrate {
        /// Also when no backup can be taken before.
        #[arg(long)]
        without_backup: bool,
    },
    /// Takes a backup of the chosen database.
    Backup {
        /// Restores it on trial right away, and compares.
        #[arg(long)]
        verify: bool,
    },
    /// Lists the backups that lie on this computer.
    Backups,
    /// Deletes a backup, as when the disk is full. The newest that was proved good stays.
    DeleteBackup {
        /// The .dump file, as `backups` lists it.
        file: PathBuf,
        /// Does it. Without, it only says what would go.
        #[arg(long)]
        yes: bool,
    },
    /// Restores a backup. The database that is in use stays, under another name.
    Restore {
        /// The .dump file; its .json must stand beside it.
        file: PathBuf,
        /// Makes this new database, or (with a / in it) this new data folder, and leaves everything else as it is.
        #[arg(long)]
        into: Option<String>,
        /// Does it. Without, it only says what it would do.
        #[arg(long)]
        yes: bool,
    },
    /// Moves this computer's own database to the newest PostgreSQL that is installed. The old one is kept.
    UpgradeDatabase {
        /// Restores the newest good backups instead, when the old version's programs cannot be had any more.
        #[arg(long)]
        from_backups: bool,
    },
    /// Erases what is known of a customer, for good. Bookings and amounts stay.
    EraseCustomer {
        /// Their id or their e-mail address.
        customer: String,
        /// Why; it stays in the log, so it must not name the person.
        #[arg(long)]
        reason: String,
        /// Does it. Without, it only says what it would do.
        #[arg(long)]
        yes: bool,
    },
    /// Logins of people: who has one, in which group; add, change, disable, new password.
    #[command(subcommand)]
    People(cli::people::People),
    /// Sagas without a window: looked at, decided, asked about at Stripe; the list for a spreadsheet.
    #[command(subcommand)]
    Sagas(cli::sagas::Sagas),
    /// Where webhooks are sent: the list, pause, let go on, test.
    #[command(subcommand)]
    Endpoints(cli::hooks::Endpoints),
    /// What left the desk: the list, and sending many again.
    #[command(subcommand)]
    Deliveries(cli::hooks::Deliveries),
    /// What came in: the list, and processing again.
    #[command(subcommand)]
    Inbox(cli::hooks::Inbox),
    /// Checks the desk and its data, and says what to do about what is wrong.
    Doctor {
        /// Also verifies every event's place in its hash chain. Reads the whole store.
        #[arg(long)]
        deep: bool,
    },
    /// Writes the log of events to a file, or to the standard output. docs/EXPORT.md describes it.
    Export {
        /// The file, which must not be there yet. `-` is the standard output.
        #[arg(default_value = "-")]
        file: PathBuf,
        /// Only events after this position: the one at which an earlier export ended.
        #[arg(long, default_value_t = 0)]
        from: i64,
    },
    /// Reads an exported log into a desk that has no events yet, or goes on where an import was cut off.
    Import {
        file: PathBuf,
        /// Says what would happen, and changes nothing.
        #[arg(long)]
        dry_run: bool,
    },
    /// Makes a projection's rows anew beside the live ones, says what differs, and swaps them in. Sends nothing.
    Replay(cli::replay::Replay),
    /// Projections without a window: the list, pause, resume, retry, skip, cancel a replay, roll back.
    #[command(subcommand)]
    Projections(cli::projections::Projections),
    /// A booking or customer as it stood at a time, a position of the log or a version, told from its events. Changes nothing.
    State(cli::state::State),
    /// What the read models say: days, payments ledger, customers. Changes nothing.
    #[command(subcommand)]
    Report(cli::report::Asked),
    /// Runs the demo business.
    Demo {
        /// Runs three bookings (one works, one is declined, one is taken back), prints what happened, and ends.
        #[arg(long)]
        once: bool,
    },
    /// Runs the sandbox of payments and mail by itself.
    Sandbox(SandboxArguments),
    /// Measures the event store on a private server of its own, beside the limit of this machine.
    Bench(cli::bench::Bench),
    /// Prints the types that the window is written against.
    Types,
}

#[derive(clap::Args)]
struct Serve {
    /// Where to listen: an address of this computer only. Port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:0", value_parser = address)]
    listen: SocketAddr,
    /// Run background work here (the default).
    #[arg(long, overrides_with = "no_worker")]
    worker: bool,
    /// Leave background work to other processes.
    #[arg(long)]
    no_worker: bool,
}

#[derive(clap::Args)]
struct SandboxArguments {
    /// Where the payment API answers. Port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:0", value_parser = address)]
    listen: SocketAddr,
    /// Where mail is caught.
    #[arg(long, value_parser = address)]
    smtp: Option<SocketAddr>,
    /// The file that remembers everything. Without it the state ends with the process.
    #[arg(long)]
    journal: Option<PathBuf>,
}

fn address(text: &str) -> Result<SocketAddr, &'static str> {
    text.parse()
        .map_err(|_| "write an address and a port, such as 127.0.0.1:7310")
}

/// What went wrong is on stderr already, or is said here in one place.
type Ended = Result<(), Failed>;

enum Failed {
    /// Something the person typed or set cannot be used.
    Usage(String),
    /// The command ran and did not succeed.
    Run(String),
    /// The command ran and found a difference that it was asked to look for.
    Differs(String),
}

fn main() -> ExitCode {
    // Parsing errors print the usage on stderr and end with 2.
    let arguments = Arguments::parse();
    // TLS of the database, of Stripe and of mail shares one provider; it can be set only once, here.
    let _ = rustls::crypto::ring::default_provider().install_default();
    match run(arguments.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failed::Usage(why)) => {
            eprintln!("{why}");
            ExitCode::from(2)
        }
        Err(Failed::Run(why)) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
        Err(Failed::Differs(why)) => {
            eprintln!("{why}");
            ExitCode::from(3)
        }
    }
}

fn run(command: Option<Command>) -> Ended {
    match command {
        None => window(),
        Some(Command::Types) => cli::types::run(),
        Some(Command::Bench(bench)) => {
            telemetry::to_stderr();
            cli::bench::run(bench)
        }
        Some(Command::Sandbox(arguments)) => {
            telemetry::to_stderr();
            cli::sandbox::run(arguments)
        }
        Some(Command::Serve(arguments)) => {
            let config = config()?;
            telemetry::start(&config);
            http::run(config, arguments.listen, !arguments.no_worker, None)
        }
        Some(Command::Migrate { without_backup }) => {
            telemetry::to_stderr();
            let mut config = config()?;
            config.migrate_without_backup = without_backup;
            cli::migrate::run(config)
        }
        Some(Command::Backup { verify }) => {
            telemetry::to_stderr();
            cli::backup::take(config()?, verify)
        }
        Some(Command::Backups) => {
            telemetry::to_stderr();
            cli::backup::list(config()?)
        }
        Some(Command::DeleteBackup { file, yes }) => {
            telemetry::to_stderr();
            cli::backup::delete(config()?, &file, yes)
        }
        Some(Command::Restore { file, into, yes }) => {
            telemetry::to_stderr();
            cli::backup::restore(config()?, &file, into, yes)
        }
        Some(Command::UpgradeDatabase { from_backups }) => {
            telemetry::to_stderr();
            cli::upgrade::run(config()?, from_backups)
        }
        Some(Command::People(what)) => {
            telemetry::to_stderr();
            cli::people::run(config()?, what)
        }
        Some(Command::Sagas(what)) => {
            telemetry::to_stderr();
            cli::sagas::run(config()?, what)
        }
        Some(Command::Endpoints(what)) => {
            telemetry::to_stderr();
            cli::hooks::endpoints(config()?, what)
        }
        Some(Command::Deliveries(what)) => {
            telemetry::to_stderr();
            cli::hooks::deliveries(config()?, what)
        }
        Some(Command::Inbox(what)) => {
            telemetry::to_stderr();
            cli::hooks::inbox(config()?, what)
        }
        Some(Command::EraseCustomer {
            customer,
            reason,
            yes,
        }) => {
            telemetry::to_stderr();
            cli::erase::run(config()?, &customer, reason, yes)
        }
        Some(Command::Doctor { deep }) => {
            telemetry::to_stderr();
            cli::doctor::run(config()?, deep)
        }
        Some(Command::Export { file, from }) => {
            telemetry::to_stderr();
            cli::transfer::export(config()?, &file, from)
        }
        Some(Command::Import { file, dry_run }) => {
            telemetry::to_stderr();
            cli::transfer::import(config()?, &file, dry_run)
        }
        Some(Command::Replay(replay)) => {
            telemetry::to_stderr();
            cli::replay::run(config()?, replay)
        }
        Some(Command::Projections(what)) => {
            telemetry::to_stderr();
            cli::projections::run(config()?, what)
        }
        Some(Command::State(asked)) => {
            telemetry::to_stderr();
            cli::state::run(config()?, asked)
        }
        Some(Command::Report(asked)) => {
            telemetry::to_stderr();
            cli::report::run(config()?, asked)
        }
        Some(Command::Demo { once }) => {
            telemetry::to_stderr();
            cli::demo::run(config()?, once)
        }
    }
}

fn config() -> Result<Config, Failed> {
    Config::from_environment().map_err(|bad| Failed::Usage(bad.to_string()))
}

#[cfg(feature = "desktop")]
fn window() -> Ended {
    match desktop::no_display() {
        None => desktop::run(Config::from_environment()),
        Some(why) => serve_instead(why),
    }
}

#[cfg(not(feature = "desktop"))]
fn window() -> Ended {
    serve_instead("This build has no window")
}

fn serve_instead(why: &str) -> Ended {
    eprintln!(
        "{why}, so the desk is served to a browser on this computer instead (as `bizing-desk serve` does)."
    );
    let config = config()?;
    telemetry::start(&config);
    http::run(config, SocketAddr::from(([127, 0, 0, 1], 0)), true, None)
}

/// A runtime for the commands that have no window of their own.
fn runtime() -> Result<tokio::runtime::Runtime, Failed> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|e| Failed::Run(format!("The program cannot start its threads: {e}.")))
}

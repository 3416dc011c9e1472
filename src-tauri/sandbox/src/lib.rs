//! A third party in a box, for tests, demonstrations and trying things out: a stateful subset of Stripe with a checkout
//! page, and a mail server that keeps what it is sent.
//!
//! It is the referee of the desk's payments, so it shares no code with it: its own form parser, its own signatures, its
//! own books ([`Sandbox::ledger`]). It promises to behave as Stripe documents it, faults included
//! ([`Sandbox::faults`]), and, with a journal, to forget nothing when it is killed.
//!
//! It listens on loopback only, moves no money and delivers no mail. What it does not have: customers, subscriptions,
//! Connect, Search.

mod api;
mod cards;
mod error;
mod faults;
mod http;
mod journal;
mod ledger;
mod mail;
mod model;
mod page;
mod params;
mod shared;
mod smtp;
mod table;
mod webhook;
mod wire;
mod world;

use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use anyhow::{Context, ensure};
use tokio::net::TcpListener;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use api::DisputeAct;
pub use faults::{Fault, Faults, Fired, Rule, When};
pub use ledger::{Ledger, Payment, Totals};
pub use webhook::{WebhookTarget, signature};

use shared::Shared;
use world::World;

#[derive(Clone, Debug)]
pub struct Options {
    /// A loopback address; port 0 takes a free one.
    pub listen: SocketAddr,
    /// The mail server, if there is to be one; loopback too.
    pub smtp: Option<SocketAddr>,
    /// The append-only file that remembers everything. Without it the state ends with the process.
    pub journal: Option<PathBuf>,
    pub webhook: Option<WebhookTarget>,
    pub secret_key: String,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            smtp: None,
            journal: None,
            webhook: None,
            secret_key: "sk_test_sandbox".to_owned(),
        }
    }
}

pub struct Sandbox {
    shared: Arc<Shared>,
    address: SocketAddr,
    smtp: Option<SocketAddr>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Sandbox {
    pub async fn start(options: Options) -> anyhow::Result<Sandbox> {
        let listener = bind(options.listen).await?;
        let address = listener.local_addr()?;
        let mail = match options.smtp {
            Some(address) => Some(bind(address).await?),
            None => None,
        };
        let smtp = mail.as_ref().map(TcpListener::local_addr).transpose()?;

        let mut world = World::open(options.journal.as_deref())?;
        world.base_url = format!("http://{address}");
        let owed: Vec<String> = world
            .events
            .iter()
            .filter(|e| e.pending)
            .map(|e| e.id.clone())
            .collect();
        let shared = Arc::new(Shared::new(world, options.secret_key));
        shared.set_webhook(options.webhook);
        shared.deliveries.owe(owed, &[]);

        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        // Whoever embeds us may have chosen a provider already; then theirs stays.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder()
            .timeout(Duration::from_secs(5))
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .build()?;
        tasks.spawn(webhook::deliver(shared.clone(), client, stop.clone()));
        let router = http::router(shared.clone(), tasks.clone());
        tasks.spawn(http::serve(listener, router, tasks.clone(), stop.clone()));
        if let Some(mail) = mail {
            tasks.spawn(smtp::serve(
                mail,
                shared.clone(),
                tasks.clone(),
                stop.clone(),
            ));
        }
        tasks.spawn(watch_clock(shared.clone(), stop.clone()));
        Ok(Sandbox {
            shared,
            address,
            smtp,
            tasks,
            stop,
        })
    }

    /// `http://127.0.0.1:…`: the base address of the API, and the overview page for people.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn smtp_addr(&self) -> Option<SocketAddr> {
        self.smtp
    }

    pub fn set_webhook(&self, target: Option<WebhookTarget>) {
        self.shared.set_webhook(target);
    }

    pub fn ledger(&self) -> Ledger {
        Ledger::of(&self.shared.world())
    }

    /// Moves the sandbox's own clock forward; what falls due on the way happens.
    pub fn advance_clock(&self, seconds: u32) {
        api::change(&self.shared, &[], |world| {
            world.advance_clock(seconds);
            world.sweep();
        });
    }

    /// The customer's bank disputes a captured payment, or with `inquiry` only asks about it. The id of the dispute.
    pub fn dispute(&self, payment_intent: &str, reason: &str, inquiry: bool) -> Option<String> {
        api::change(&self.shared, &[], |world| {
            world.dispute_payment(payment_intent, reason, inquiry)
        })
    }

    /// `false`: that cannot happen to it.
    pub fn act_on_dispute(&self, id: &str, act: DisputeAct) -> bool {
        api::change(&self.shared, &[], |world| world.act_on_dispute(id, act)).is_some()
    }

    pub fn faults(&self) -> Faults {
        self.shared.faults.clone()
    }

    /// Lets the answers under way finish, for two seconds.
    pub async fn stop(self) {
        self.stop.cancel();
        self.tasks.close();
        let _ = tokio::time::timeout(Duration::from_secs(5), self.tasks.wait()).await;
    }
}

/// Dropped without `stop`, it is gone as if killed; the journal is whole all the same.
impl Drop for Sandbox {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Shared {
    fn set_webhook(&self, target: Option<WebhookTarget>) {
        self.world().webhook_set = target.is_some();
        self.deliveries.set_target(target);
    }
}

async fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    ensure!(
        address.ip().is_loopback(),
        "the sandbox listens on this computer only, not on {address}"
    );
    TcpListener::bind(address)
        .await
        .with_context(|| format!("can't listen on {address}"))
}

/// Requests look at the clock by themselves; this is for webhooks about what nobody asked about.
async fn watch_clock(shared: Arc<Shared>, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(Duration::from_secs(1)) => api::change(&shared, &[], |_| ()),
            () = stop.cancelled() => return,
        }
    }
}

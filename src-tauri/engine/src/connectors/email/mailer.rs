//! The mail server as the delivery pipeline sees it.

use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use lettre::transport::smtp::client::TlsParameters;

use super::compose::{Composed, Mail, compose};
use super::config::{ConfigError, SmtpConfig};
use super::failure::SendFailure;
use super::session::{Session, tls_parameters};

/// Providers count logins and connections, so a run of mails goes over one connection. They also
/// close idle ones, often after a minute, and some limit the mails per connection to a hundred.
const IDLE_FOR: Duration = Duration::from_secs(20);
const MAILS_PER_SESSION: u32 = 100;
const IDLE_SESSIONS: usize = 2;
/// A person waits for a check.
const CHECK_LIMIT: Duration = Duration::from_secs(15);

/// The server took responsibility for the mail. Whether it reaches the mailbox is a later story.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    /// Its words, which usually hold its queue id: what the provider's support asks for.
    pub response: String,
}

pub struct Mailer {
    config: SmtpConfig,
    tls: TlsParameters,
    idle: Mutex<Vec<Idle>>,
}

struct Idle {
    session: Session,
    since: Instant,
    mails: u32,
}

impl fmt::Debug for Mailer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mailer")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

impl Mailer {
    /// Reads the certificates, connects to nothing. Blocks for some milliseconds: the system's
    /// certificates are files.
    pub fn new(config: &SmtpConfig) -> Result<Mailer, ConfigError> {
        let tls = tls_parameters(config)?;
        Ok(Mailer {
            config: config.clone(),
            tls,
            idle: Mutex::new(Vec::new()),
        })
    }

    /// Hands one mail over, once. To drop this future midway leaves the outcome unknown, as a crash
    /// does.
    pub async fn send(&self, mail: &Mail, message_id: &str) -> Result<Accepted, SendFailure> {
        let composed = compose(&self.config, mail, message_id)?;
        if let Some(Idle { session, mails, .. }) = self.take_idle().await {
            match self.deliver(session, mails, &composed).await {
                // The server hung up between its last word and our mail: no verdict on the mail. A
                // fresh try is safe, since “not sent” is certain.
                Err(SendFailure::NotSent { .. }) => {}
                result => return result,
            }
        }
        let session = Session::open(&self.config, &self.tls).await?;
        self.deliver(session, 0, &composed).await
    }

    /// Connects, greets, logs in and says goodbye: all that can be proved without sending a mail.
    pub async fn check(&self) -> Result<Duration, SendFailure> {
        let start = Instant::now();
        let session = tokio::time::timeout(CHECK_LIMIT, Session::open(&self.config, &self.tls))
            .await
            .map_err(|_| SendFailure::NotSent {
                cause: format!("{} did not answer within 15 s", self.config.host),
            })??;
        let took = start.elapsed();
        session.quit().await;
        Ok(took)
    }

    /// Says goodbye on idle connections. Dropping the mailer just closes them, which servers bear.
    pub async fn close(&self) {
        let idle = std::mem::take(&mut *self.lock());
        for Idle { session, .. } in idle {
            session.quit().await;
        }
    }

    async fn deliver(
        &self,
        mut session: Session,
        mails: u32,
        mail: &Composed,
    ) -> Result<Accepted, SendFailure> {
        match session
            .deliver(&self.config.from, mail, self.config.reply_timeout)
            .await
        {
            Ok(response) => {
                self.keep(session, mails + 1);
                Ok(Accepted { response })
            }
            Err(failure) => {
                // After an unknown outcome the server is gone or busy; waiting for its goodbye
                // would only take longer.
                if !failure.may_have_been_sent() {
                    session.quit().await;
                }
                Err(failure)
            }
        }
    }

    async fn take_idle(&self) -> Option<Idle> {
        loop {
            let mut idle = self.lock().pop()?;
            if idle.since.elapsed() < IDLE_FOR && idle.session.is_alive().await {
                return Some(idle);
            }
        }
    }

    fn keep(&self, session: Session, mails: u32) {
        let mut idle = self.lock();
        idle.retain(|idle| idle.since.elapsed() < IDLE_FOR);
        if mails < MAILS_PER_SESSION && idle.len() < IDLE_SESSIONS {
            idle.push(Idle {
                session,
                since: Instant::now(),
                mails,
            });
        }
    }

    /// The list is whole at every moment, so a panic elsewhere does not spoil it.
    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Idle>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

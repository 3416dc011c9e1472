//! One conversation with a mail server, driven command by command.
//!
//! The client library's own `send` answers “network error” alike for a connection lost before the
//! message and for one lost after it. Here each step says how far we came, and the final dot is a
//! moment that we can see.

use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use lettre::Address;
use lettre::transport::smtp::Error as SmtpError;
use lettre::transport::smtp::authentication::{Credentials, DEFAULT_MECHANISMS};
use lettre::transport::smtp::client::{AsyncSmtpConnection, Certificate, TlsParameters};
use lettre::transport::smtp::commands::{Data, Mail as MailFrom, Rcpt};
use lettre::transport::smtp::extension::{ClientId, Extension, MailBodyParameter, MailParameter};
use lettre::transport::smtp::response::{Response, Severity};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::compose::Composed;
use super::config::{ConfigError, Security, SmtpConfig, is_loopback};
use super::failure::{SendFailure, Stage, classify, lost};
use super::wire::LineStream;

pub(super) struct Session {
    connection: AsyncSmtpConnection,
    step: Duration,
}

pub(super) fn tls_parameters(config: &SmtpConfig) -> Result<TlsParameters, ConfigError> {
    let mut tls = TlsParameters::builder(config.host.clone());
    if let Some(pem) = &config.extra_ca {
        // An empty or wrong file parses to no certificate at all, without an error.
        if !pem
            .windows(27)
            .any(|part| part == b"-----BEGIN CERTIFICATE-----")
        {
            return Err(ConfigError::Authority);
        }
        tls = tls
            .add_root_certificate(Certificate::from_pem(pem).map_err(|_| ConfigError::Authority)?);
    }
    tls.build()
        .map_err(|error| ConfigError::Tls(error.to_string()))
}

impl Session {
    /// Connected, encrypted as far as the configuration asks, and logged in.
    pub(super) async fn open(
        config: &SmtpConfig,
        tls: &TlsParameters,
    ) -> Result<Session, SendFailure> {
        // A desktop has no name of its own on the internet; the address literal is what RFC 5321
        // §4.1.4 has for that.
        let hello = ClientId::default();
        let server = (config.host.as_str(), config.port);
        let connection = match config.security {
            Security::Implicit => {
                // TLS stands before the first line here, so nothing can be slipped in before it.
                let dial = AsyncSmtpConnection::connect_tokio1(
                    server,
                    Some(config.timeout),
                    &hello,
                    Some(tls.clone()),
                    None,
                );
                step(config.timeout, Stage::Connect, dial).await?
            }
            _ => {
                let tcp = timeout(config.timeout, TcpStream::connect(server))
                    .await
                    .map_err(|_| silent(Stage::Connect, config.timeout))?
                    .map_err(|error| lost(Stage::Connect, &format!("{}: {error}", config.host)))?;
                let greet = AsyncSmtpConnection::connect_with_transport(
                    Box::new(LineStream::new(tcp)),
                    &hello,
                );
                step(config.timeout, Stage::Connect, greet).await?
            }
        };
        let mut session = Session {
            connection,
            step: config.timeout,
        };
        session.encrypt(config, tls, &hello).await?;
        session.log_in(config).await?;
        Ok(session)
    }

    async fn encrypt(
        &mut self,
        config: &SmtpConfig,
        tls: &TlsParameters,
        hello: &ClientId,
    ) -> Result<(), SendFailure> {
        let wanted = match config.security {
            Security::Implicit | Security::None => return Ok(()),
            Security::Required => true,
            Security::Opportunistic => false,
        };
        if !self.connection.can_starttls() {
            return match wanted {
                false => Ok(()),
                true => Err(SendFailure::NotSent {
                    cause: format!(
                        "{} offers no encryption (STARTTLS) on port {}. Try smtps:// and port 465, or ask the provider",
                        config.host, config.port
                    ),
                }),
            };
        }
        step(
            self.step,
            Stage::StartTls,
            self.connection.starttls(tls.clone(), hello),
        )
        .await
    }

    async fn log_in(&mut self, config: &SmtpConfig) -> Result<(), SendFailure> {
        let Some((user, password)) = &config.login else {
            return Ok(());
        };
        // Whoever sits on the line can remove the offer of STARTTLS; that must not be a way to get
        // the password.
        if !self.connection.is_encrypted() && !is_loopback(&config.host) {
            return Err(SendFailure::Unauthorized {
                code: None,
                message: format!(
                    "{} offers no encryption, so the password was not sent",
                    config.host
                ),
            });
        }
        if self
            .connection
            .server_info()
            .get_auth_mechanism(DEFAULT_MECHANISMS)
            .is_none()
        {
            return Err(SendFailure::Unauthorized {
                code: None,
                message: format!(
                    "{} takes no user and password (AUTH PLAIN or LOGIN) here",
                    config.host
                ),
            });
        }
        let credentials = Credentials::new(user.clone(), password.reveal().to_owned());
        step(
            self.step,
            Stage::Login,
            self.connection.auth(DEFAULT_MECHANISMS, &credentials),
        )
        .await?;
        Ok(())
    }

    /// Hands one mail over. After any failure the session must not be used again.
    pub(super) async fn deliver(
        &mut self,
        from: &Address,
        mail: &Composed,
        reply_timeout: Duration,
    ) -> Result<String, SendFailure> {
        let parameters = self.parameters(from, mail)?;
        let sender = MailFrom::new(Some(from.clone()), parameters);
        step(self.step, Stage::Sender, self.connection.command(sender)).await?;
        let recipient = Rcpt::new(mail.to.clone(), Vec::new());
        step(
            self.step,
            Stage::Recipient,
            self.connection.command(recipient),
        )
        .await?;
        // Anything but 354 means that the server would read our message as commands.
        let go = step(self.step, Stage::Body, self.connection.command(Data)).await?;
        if !go.has_code(354) {
            return Err(lost(
                Stage::Body,
                &format!("the mail server answered DATA with {}", go.code()),
            ));
        }
        let answer = self.hand_over(&mail.bytes, reply_timeout).await?;
        match answer.code().severity {
            Severity::PositiveCompletion => Ok(answer.message().collect::<Vec<_>>().join(" ")),
            _ => Err(lost(
                Stage::Dot,
                &format!("the mail server answered {}", answer.code()),
            )),
        }
    }

    async fn hand_over(
        &mut self,
        bytes: &[u8],
        reply_timeout: Duration,
    ) -> Result<Response, SendFailure> {
        let dot = AtomicBool::new(false);
        let stage = || {
            if dot.load(Ordering::Relaxed) {
                Stage::Dot
            } else {
                Stage::Body
            }
        };
        let body = Body {
            bytes: Some(bytes),
            dot: &dot,
        };
        let mut sending = pin!(self.connection.message_iter(body));
        let result = match timeout(self.step, &mut sending).await {
            Ok(result) => result,
            Err(_) if stage() == Stage::Body => return Err(silent(Stage::Body, self.step)),
            Err(_) => match timeout(reply_timeout, &mut sending).await {
                Ok(result) => result,
                Err(_) => return Err(silent(Stage::Dot, self.step + reply_timeout)),
            },
        };
        result.map_err(|error| classify(stage(), &error))
    }

    /// What the message needs beyond plain SMTP; says so before anything is sent if the server
    /// cannot do it.
    fn parameters(
        &self,
        from: &Address,
        mail: &Composed,
    ) -> Result<Vec<MailParameter>, SendFailure> {
        let server = self.connection.server_info();
        let mut parameters = Vec::new();
        let ascii = |address: &Address| AsRef::<str>::as_ref(address).is_ascii();
        if !ascii(from) || !ascii(&mail.to) {
            if !server.supports_feature(Extension::SmtpUtfEight) {
                return Err(SendFailure::Unsendable {
                    cause: "the mail server cannot deliver to or from an address with letters such as é before the @"
                        .to_owned(),
                    recipient: !ascii(&mail.to),
                });
            }
            parameters.push(MailParameter::SmtpUtfEight);
        }
        // Bodies and headers are encoded to ASCII; what is left can only be the address itself.
        if !mail.bytes.is_ascii() {
            if !server.supports_feature(Extension::EightBitMime) {
                return Err(SendFailure::Unsendable {
                    cause: "the mail server takes 7-bit messages only".to_owned(),
                    recipient: false,
                });
            }
            parameters.push(MailParameter::Body(MailBodyParameter::EightBitMime));
        }
        Ok(parameters)
    }

    /// Whether the server still listens. A short wait: a new connection costs less than doubt.
    pub(super) async fn is_alive(&mut self) -> bool {
        timeout(
            self.step.min(Duration::from_secs(3)),
            self.connection.test_connected(),
        )
        .await
        .unwrap_or(false)
    }

    /// Says goodbye; nothing depends on the answer.
    pub(super) async fn quit(mut self) {
        let _ = timeout(
            self.step.min(Duration::from_secs(2)),
            self.connection.abort(),
        )
        .await;
    }
}

/// The message in one piece. The client asks for the next piece once the last one has gone out in
/// full, and writes the final dot when there is none: that question is the border between “not
/// sent” and “unknown”.
struct Body<'a> {
    bytes: Option<&'a [u8]>,
    dot: &'a AtomicBool,
}

impl<'a> Iterator for Body<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let piece = self.bytes.take();
        if piece.is_none() {
            self.dot.store(true, Ordering::Relaxed);
        }
        piece
    }
}

/// The library's own timeout covers nothing but the connect, so each step gets one here.
async fn step<T>(
    limit: Duration,
    stage: Stage,
    work: impl Future<Output = Result<T, SmtpError>>,
) -> Result<T, SendFailure> {
    match timeout(limit, work).await {
        Ok(result) => result.map_err(|error| classify(stage, &error)),
        Err(_) => Err(silent(stage, limit)),
    }
}

fn silent(stage: Stage, limit: Duration) -> SendFailure {
    lost(
        stage,
        &format!(
            "the mail server did not answer within {} s",
            limit.as_secs_f32()
        ),
    )
}

//! A mail server that takes everything and delivers nothing. The grammar is the `smtp-proto` crate's; the conversation,
//! its limits and the addresses that misbehave are here.

use std::{sync::Arc, time::Duration};

use smtp_proto::{
    Error, Request,
    request::receiver::{DataReceiver, DummyDataReceiver, RequestReceiver},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{api, shared::Shared};

const LARGEST_MESSAGE: usize = 2 * 1024 * 1024;
const MOST_RECIPIENTS: usize = 100;
const MOST_CONNECTIONS: usize = 64;
const MOST_ERRORS: usize = 20;
const IDLE: Duration = Duration::from_secs(60);
/// What a recipient called `slow…` costs.
const SLOW: Duration = Duration::from_secs(3);

pub async fn serve(
    listener: TcpListener,
    shared: Arc<Shared>,
    tasks: TaskTracker,
    stop: CancellationToken,
) {
    let room = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => return,
        };
        let Ok((mut stream, _)) = accepted else {
            continue;
        };
        let Ok(permit) = room.clone().try_acquire_owned() else {
            let _ = stream
                .write_all(b"421 4.3.2 Too many connections\r\n")
                .await;
            continue;
        };
        let (shared, stop) = (shared.clone(), stop.clone());
        tasks.spawn(async move {
            tokio::select! {
                _ = converse(&mut stream, &shared) => {}
                () = stop.cancelled() => {
                    let _ = stream.write_all(b"421 4.3.2 The sandbox is stopping\r\n").await;
                }
            }
            drop(permit);
        });
    }
}

enum Reading {
    Command,
    Data(DataReceiver, Vec<u8>),
    /// Too long: read to its end, kept nowhere.
    Discard(DummyDataReceiver),
}

#[derive(Default)]
struct Envelope {
    from: Option<String>,
    to: Vec<String>,
}

async fn converse(stream: &mut TcpStream, shared: &Arc<Shared>) -> std::io::Result<()> {
    stream
        .write_all(b"220 sandbox.localhost ESMTP: keeps everything, delivers nothing\r\n")
        .await?;
    let mut commands = RequestReceiver::default();
    let mut reading = Reading::Command;
    let mut envelope = Envelope::default();
    let mut errors = 0;
    let mut chunk = [0; 8 * 1024];
    loop {
        let count = match tokio::time::timeout(IDLE, stream.read(&mut chunk)).await {
            Ok(count) => count?,
            Err(_) => return stream.write_all(b"421 4.4.2 Idle for too long\r\n").await,
        };
        if count == 0 {
            return Ok(());
        }
        let mut bytes = chunk[..count].iter();
        while !bytes.as_slice().is_empty() {
            match &mut reading {
                Reading::Command => {
                    let (reply, data, quit) = match commands.ingest(&mut bytes) {
                        Ok(request) => command(request, &mut envelope).await,
                        Err(Error::NeedsMoreData { .. }) => continue,
                        Err(error) => {
                            errors += 1;
                            (refusal(&error).to_owned(), false, errors >= MOST_ERRORS)
                        }
                    };
                    stream.write_all(reply.as_bytes()).await?;
                    if quit {
                        return Ok(());
                    }
                    if data {
                        reading = Reading::Data(DataReceiver::new(), Vec::new());
                    }
                }
                Reading::Data(receiver, message) => {
                    if receiver.ingest(&mut bytes, message) {
                        let Envelope { from, to } = std::mem::take(&mut envelope);
                        let message = std::mem::take(message);
                        let id = api::change(shared, &[], |world| {
                            world.receive_mail(from.unwrap_or_default(), to, &message)
                        });
                        stream
                            .write_all(format!("250 2.0.0 Kept as {id}\r\n").as_bytes())
                            .await?;
                        reading = Reading::Command;
                    } else if message.len() > LARGEST_MESSAGE {
                        reading = Reading::Discard(DummyDataReceiver::new_data(receiver));
                    }
                }
                Reading::Discard(receiver) => {
                    if receiver.ingest(&mut bytes) {
                        envelope = Envelope::default();
                        stream
                            .write_all(b"552 5.3.4 The message is too long\r\n")
                            .await?;
                        reading = Reading::Command;
                    }
                }
            }
        }
    }
}

/// The reply, whether a message follows, and whether that was all.
async fn command<T: AsRef<str>>(
    request: Request<T>,
    envelope: &mut Envelope,
) -> (String, bool, bool) {
    let mut data = false;
    let mut quit = false;
    let reply = match request {
        Request::Ehlo { .. } | Request::Lhlo { .. } => {
            *envelope = Envelope::default();
            return (
                format!(
                    "250-sandbox.localhost\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250-ENHANCEDSTATUSCODES\r\n250 SIZE {LARGEST_MESSAGE}\r\n"
                ),
                false,
                false,
            );
        }
        Request::Helo { .. } => {
            *envelope = Envelope::default();
            "250 sandbox.localhost"
        }
        Request::Mail { from } if from.size > LARGEST_MESSAGE => {
            let _ = from;
            "552 5.3.4 The message is too long"
        }
        Request::Mail { .. } if envelope.from.is_some() => "503 5.5.1 One sender at a time",
        Request::Mail { from } => {
            envelope.from = Some(from.address.as_ref().to_owned());
            "250 2.1.0 Fine"
        }
        Request::Rcpt { .. } if envelope.from.is_none() => "503 5.5.1 MAIL first",
        Request::Rcpt { .. } if envelope.to.len() >= MOST_RECIPIENTS => {
            "452 4.5.3 Too many recipients"
        }
        Request::Rcpt { to } => {
            let address = to.address.as_ref();
            if address.starts_with("slow") {
                tokio::time::sleep(SLOW).await;
            }
            if address.starts_with("bounce") {
                "550 5.1.1 There is nobody of that name here"
            } else if address.starts_with("later") {
                "451 4.7.1 Greylisted, try again later"
            } else {
                envelope.to.push(address.to_owned());
                "250 2.1.5 Fine"
            }
        }
        Request::Data if envelope.from.is_none() => "503 5.5.1 MAIL first",
        Request::Data if envelope.to.is_empty() => "554 5.5.1 No valid recipients",
        Request::Data => {
            data = true;
            "354 Go on, end with a dot on a line of its own"
        }
        Request::Rset => {
            *envelope = Envelope::default();
            "250 2.0.0 Forgotten"
        }
        Request::Noop { .. } => "250 2.0.0 Still here",
        Request::Quit => {
            quit = true;
            "221 2.0.0 Goodbye"
        }
        _ => "502 5.5.1 Not in this sandbox",
    };
    (format!("{reply}\r\n"), data, quit)
}

fn refusal(error: &Error) -> &'static str {
    match error {
        Error::UnknownCommand => "500 5.5.1 No such command\r\n",
        Error::InvalidSenderAddress => "501 5.1.7 That is no sender's address\r\n",
        Error::InvalidRecipientAddress => "501 5.1.3 That is no recipient's address\r\n",
        Error::ResponseTooLong => "500 5.5.2 The line is too long\r\n",
        Error::InvalidParameter { .. } | Error::UnsupportedParameter { .. } => {
            "555 5.5.4 That parameter is not taken\r\n"
        }
        _ => "501 5.5.2 That can't be read\r\n",
    }
}

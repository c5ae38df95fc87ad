//! Deliveries to a stream of NATS JetStream: one message for each event. The next one is sent when the stream has acknowledged the
//! one before it: of several on their way a cluster of servers may lose one in the middle, and the order would be gone.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_nats::connection::State;
use async_nats::header::{HeaderMap, NATS_EXPECTED_STREAM, NATS_MESSAGE_ID};
use async_nats::jetstream::context::PublishErrorKind;
use async_nats::jetstream::{self, stream};
use async_nats::{Client, ConnectOptions};
use futures::future::BoxFuture;

use super::{Batch, Delivery, Error, Failure, Sink, secret};
use crate::config::Nats as Config;
use crate::event::Event;

/// Events between two looks at what else a set has to do.
const EVENTS: usize = 100;

/// A stream of NATS JetStream.
pub struct Nats {
    client: Client,
    context: jetstream::Context,
    subject: String,
    stream: String,
    /// What to make if the stream is missing.
    wanted: Option<stream::Config>,
    /// Whether it was found or made.
    found: AtomicBool,
}

impl Nats {
    /// Reads the files that it needs, and connects as soon as a server is there.
    pub fn open(config: &Config) -> BoxFuture<'_, Result<Nats, Error>> {
        Box::pin(async move {
            let useless = |why: String| Error::Useless { sink: config.name.clone(), why };
            let timeout = Duration::from_millis(config.timeout_ms);
            let mut options = ConnectOptions::new()
                .name(format!("twinset-relay {}", config.name))
                .retry_on_initial_connect()
                .connection_timeout(timeout)
                .request_timeout(Some(timeout));
            if let Some((user, password)) = user(config)? {
                options = options.user_and_password(user, password);
            }
            if let Some(file) = &config.ca_file {
                options = options.add_root_certificates(file.clone());
            }
            let client =
                options.connect(config.servers.clone()).await.map_err(|error| useless(error.to_string()))?;
            let mut context = jetstream::new(client.clone());
            context.set_timeout(timeout);
            let wanted = stream::Config {
                name: config.stream.clone(),
                subjects: vec![format!("{}.>", config.subject)],
                num_replicas: config.replicas,
                duplicate_window: Duration::from_secs(config.duplicates_s),
                ..stream::Config::default()
            };
            Ok(Nats {
                client,
                context,
                subject: config.subject.clone(),
                stream: config.stream.clone(),
                wanted: config.create.then_some(wanted),
                found: AtomicBool::new(false),
            })
        })
    }

    async fn publish(&self, set: u32, event: &Event) -> Result<(), Failure> {
        // What is published without a connection would be kept, and sent once for each try.
        if self.client.connection_state() != State::Connected {
            return Err(Failure::passing("no connection to a server"));
        }
        if !self.found.load(Ordering::Relaxed) {
            self.make().await?;
        }
        let mut headers = HeaderMap::new();
        headers.insert(NATS_MESSAGE_ID, event.key.to_string());
        headers.insert(NATS_EXPECTED_STREAM, self.stream.as_str());
        let subject = format!("{}.{set}.{}", self.subject, event.kind);
        let sent = self.context.publish_with_headers(subject, headers, event.text.clone());
        let acknowledged = async { sent.await?.await };
        match acknowledged.await {
            Ok(_) => Ok(()),
            Err(error) => {
                self.found.store(false, Ordering::Relaxed);
                Err(match error.kind() {
                    PublishErrorKind::MaxPayloadExceeded => Failure::refused(error.to_string()),
                    _ => Failure::passing(error.to_string()),
                })
            }
        }
    }

    /// Makes the stream, if it is this sink's business and there is none.
    async fn make(&self) -> Result<(), Failure> {
        if let Some(wanted) = &self.wanted {
            let made = self.context.get_or_create_stream(wanted.clone()).await;
            made.map_err(|error| Failure::passing(format!("stream {}: {error}", self.stream)))?;
        }
        self.found.store(true, Ordering::Relaxed);
        Ok(())
    }
}

/// Who the relay is to NATS, with the password.
pub fn user(config: &Config) -> Result<Option<(String, String)>, Error> {
    let (Some(user), Some(file)) = (&config.user, &config.password_file) else { return Ok(None) };
    let no_text =
        |_| Error::Useless { sink: config.name.clone(), why: format!("{} is no text", file.display()) };
    let password = String::from_utf8(secret(&config.name, file)?).map_err(no_text)?;
    Ok(Some((user.clone(), password)))
}

impl Sink for Nats {
    fn batch(&self) -> Batch {
        Batch { events: EVENTS, bytes: usize::MAX }
    }

    fn deliver<'a>(&'a self, set: u32, events: &'a [Event]) -> BoxFuture<'a, Delivery> {
        Box::pin(async move {
            for (taken, event) in events.iter().enumerate() {
                if let Err(failure) = self.publish(set, event).await {
                    return Delivery::part(taken, failure);
                }
            }
            Delivery::whole(events)
        })
    }
}

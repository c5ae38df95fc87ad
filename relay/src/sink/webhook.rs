//! Deliveries over HTTP: one POST for a batch of one set, signed. 2xx is the only thanks. It goes to the configured URL and nowhere
//! else: redirects are not followed.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use futures::future::BoxFuture;
use http::{HeaderMap, HeaderName, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use tokio::sync::Semaphore;

use super::sign::{SECRET_BYTES_MIN, Signer};
use super::{Batch, Delivery, Error, Failure, Sink, secret};
use crate::config::Webhook as Config;
use crate::event::Event;

/// When the request was signed, in seconds since 1970.
const TIMESTAMP: HeaderName = HeaderName::from_static("twinset-timestamp");
/// See [`super::sign`].
const SIGNATURE: HeaderName = HeaderName::from_static("twinset-signature");
/// Which events the request has: the same text, the same events.
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// How long a connection is kept that nothing needs.
const IDLE: Duration = Duration::from_secs(30);
/// What is read of an answer, and what of that is told to people.
const ANSWER_BYTES_MAX: usize = 64 << 10;
const ANSWER_CHARS_TOLD: usize = 200;

/// A receiver over HTTP.
pub struct Webhook {
    name: String,
    url: Uri,
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    signer: Signer,
    batch: Batch,
    turns: Semaphore,
    timeout: Duration,
}

impl Webhook {
    /// Reads the files that it needs; opens no connection yet.
    pub fn new(config: &Config) -> Result<Webhook, Error> {
        let useless = |why: String| Error::Useless { sink: config.name.clone(), why };
        let mut secrets = Vec::new();
        for key in &config.secrets {
            let secret = secret(&config.name, &key.file)?;
            if secret.len() < SECRET_BYTES_MIN {
                let (file, found) = (key.file.display(), secret.len());
                return Err(useless(format!(
                    "{file} has {found} bytes, and a secret at least {SECRET_BYTES_MIN}: openssl rand -hex 32"
                )));
            }
            secrets.push((key.id.clone(), secret));
        }
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        http.set_nodelay(true);
        let https = HttpsConnectorBuilder::new().with_tls_config(tls(config)?).https_or_http().enable_http1();
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .build(https.wrap_connector(http));
        Ok(Webhook {
            name: config.name.clone(),
            url: config.url.parse().map_err(|_| useless(format!("{} is no URL", config.url)))?,
            client,
            signer: Signer::new(&secrets),
            batch: Batch { events: config.batch_max, bytes: config.batch_bytes_max },
            turns: Semaphore::new(config.in_flight_max),
            timeout: Duration::from_millis(config.timeout_ms),
        })
    }

    async fn post(&self, set: u32, events: &[Event]) -> Result<(), Failure> {
        let request = self.request(set, events);
        let answer = self.client.request(request).await.map_err(|error| Failure::passing(told(&error)))?;
        let (parts, body) = answer.into_parts();
        match parts.status.is_success() {
            true => {
                // Read to its end, so that the connection serves again; nothing depends on it.
                let _ = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
                Ok(())
            }
            false => Err(failure(parts.status, &parts.headers, &beginning(body).await)),
        }
    }

    fn request(&self, set: u32, events: &[Event]) -> Request<Full<Bytes>> {
        let body = body(&self.name, set, events);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        Request::post(self.url.clone())
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::USER_AGENT, concat!("twinset-relay/", env!("CARGO_PKG_VERSION")))
            .header(IDEMPOTENCY_KEY, idempotency_key(events))
            .header(TIMESTAMP, now)
            .header(SIGNATURE, self.signer.sign(now, &body))
            .body(Full::new(body))
            .expect("every part of it was checked before")
    }
}

impl Sink for Webhook {
    fn batch(&self) -> Batch {
        self.batch
    }

    fn deliver<'a>(&'a self, set: u32, events: &'a [Event]) -> BoxFuture<'a, Delivery> {
        Box::pin(async move {
            let _turn = self.turns.acquire().await.expect("it is never closed");
            match tokio::time::timeout(self.timeout, self.post(set, events)).await {
                Ok(Ok(())) => Delivery::whole(events),
                Ok(Err(failure)) => Delivery::part(0, failure),
                Err(_) => Delivery::part(0, Failure::passing(format!("no answer within {:?}", self.timeout))),
            }
        })
    }
}

/// Trusts the authorities that are named, or those of the system.
fn tls(config: &Config) -> Result<ClientConfig, Error> {
    let useless = |why: String| Error::Useless { sink: config.name.clone(), why };
    let mut roots = RootCertStore::empty();
    match &config.ca_file {
        Some(file) => {
            let bad = |error| useless(format!("{}: {error}", file.display()));
            for certificate in CertificateDer::pem_file_iter(file).map_err(bad)? {
                roots.add(certificate.map_err(bad)?).map_err(|error| useless(error.to_string()))?;
            }
        }
        // Some of a system's many may be of a kind that is not known here.
        None => drop(roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs)),
    }
    if roots.is_empty() && config.url.starts_with("https:") {
        return Err(useless("no authority to trust: install ca-certificates, or set ca_file".into()));
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.map_err(|error| useless(error.to_string()))?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

/// The events as the routers told them, byte for byte.
fn body(sink: &str, set: u32, events: &[Event]) -> Bytes {
    let size: usize = events.iter().map(|event| event.text.len() + 1).sum();
    let mut body = Vec::with_capacity(size + sink.len() + 64);
    body.extend_from_slice(format!(r#"{{"sink":"{sink}","set":{set},"events":["#).as_bytes());
    for (n, event) in events.iter().enumerate() {
        body.extend_from_slice(if n == 0 { b"" } else { b"," });
        body.extend_from_slice(&event.text);
    }
    body.extend_from_slice(b"]}");
    body.into()
}

/// The event, or the first and the last one.
fn idempotency_key(events: &[Event]) -> String {
    match events {
        [] => String::new(),
        [one] => one.key.to_string(),
        [first, .., last] => format!("{}..{}", first.key, last.key),
    }
}

/// What an answer other than 2xx means. Most of 4xx are a verdict on the events; the others are about the way there, and events
/// do not become worse by it.
fn failure(status: StatusCode, headers: &HeaderMap, said: &str) -> Failure {
    let why = if said.is_empty() { status.to_string() } else { format!("{status}: {said}") };
    let about_the_way = matches!(status.as_u16(), 401 | 403 | 404 | 405 | 407 | 408 | 421 | 423 | 425 | 429);
    if status.is_client_error() && !about_the_way {
        return Failure::refused(why);
    }
    let after = headers.get(header::RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
    Failure { after: after.map(Duration::from_secs), ..Failure::passing(why) }
}

/// What people are told of an answer, on one line.
async fn beginning(body: Incoming) -> String {
    let Ok(body) = Limited::new(body, ANSWER_BYTES_MAX).collect().await else { return String::new() };
    let text = String::from_utf8_lossy(&body.to_bytes()).into_owned();
    let printable = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    printable.take(ANSWER_CHARS_TOLD).collect::<String>().trim().to_owned()
}

/// An error with what is behind it.
fn told(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut behind = error.source();
    while let Some(error) = behind {
        let _ = write!(text, ": {error}");
        behind = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(key: &str) -> Event {
        let text = format!(r#"{{"event":"{key}","previous":"","resume":"{key}","kind":"booked","n":1.10}}"#);
        Event::read(text.into()).expect("an event")
    }

    #[test]
    fn a_body_has_the_events_as_they_were_told() {
        let events = [event("1-1-5-0"), event("1-1-6-0")];
        let body = body("billing", 1, &events);
        let [first, second] = [&events[0], &events[1]].map(|event| String::from_utf8_lossy(&event.text));
        assert_eq!(body, format!(r#"{{"sink":"billing","set":1,"events":[{first},{second}]}}"#));
        assert_eq!(idempotency_key(&events), "1-1-5-0..1-1-6-0");
        assert_eq!(idempotency_key(&events[1..]), "1-1-6-0");
    }

    #[test]
    fn answers_are_verdicts_on_the_event_or_on_the_way() {
        let of =
            |status: u16| failure(StatusCode::from_u16(status).expect("a status"), &HeaderMap::new(), "");
        for verdict in [400, 402, 406, 409, 410, 413, 415, 422] {
            assert!(of(verdict).refused, "{verdict}");
        }
        for way in [301, 302, 307, 308, 401, 403, 404, 405, 408, 425, 429, 500, 502, 503, 504] {
            assert!(!of(way).refused, "{way}");
        }
        let mut headers = HeaderMap::new();
        headers.insert(header::RETRY_AFTER, "7".parse().expect("a value"));
        let later = failure(StatusCode::SERVICE_UNAVAILABLE, &headers, "busy");
        assert_eq!(
            (later.after, later.why.as_str()),
            (Some(Duration::from_secs(7)), "503 Service Unavailable: busy")
        );
    }
}

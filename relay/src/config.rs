//! The relay's configuration: one TOML file, read once, checked as a whole before any port or directory is touched. It must
//! not look anything up (no environment, no network); secrets are read by the sinks that need them. Above it: `main`; below
//! it: [`crate::event`], for what a filter may name.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http::Uri;
use serde::{Deserialize, Serialize};

use crate::event::{Filter, KINDS};

/// Everything that can be configured. Unknown keys are refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// HTTP addresses of routers of one cluster: when one goes away, the next is asked.
    pub routers: Vec<String>,
    /// Where the relay keeps how far each sink is, and what was refused. Of one relay only; locked while it runs.
    pub data_dir: PathBuf,
    /// Where it listens.
    pub listen: Listen,
    /// What it takes on at most.
    #[serde(default)]
    pub limits: Limits,
    /// Deliveries over HTTP.
    #[serde(default)]
    pub webhook: Vec<Webhook>,
    /// Deliveries to NATS JetStream.
    #[serde(default)]
    pub nats: Vec<Nats>,
}

/// Where the relay listens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listen {
    /// Health and metrics. Loopback only. Port 0 takes a free one.
    pub http: SocketAddr,
}

/// What the relay takes on at most.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Events of one set that are read ahead for one sink.
    pub read_ahead_events: usize,
    /// How long deliveries in progress are waited for at a shutdown.
    pub drain_ms: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { read_ahead_events: 256, drain_ms: 10_000 }
    }
}

/// A receiver over HTTP.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Webhook {
    /// Its name: of its directory, in logs and in metrics.
    pub name: String,
    /// Where batches are sent, and nowhere else.
    pub url: String,
    /// One secret, or two while they change.
    pub secrets: Vec<Secret>,
    /// Trusted in place of the system's authorities: a file of certificates in PEM.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// Whether events may leave this machine unencrypted.
    #[serde(default)]
    pub plain_http: bool,
    /// Events of one request.
    #[serde(default = "default_batch")]
    pub batch_max: usize,
    /// Bytes of one request, if it has more than one event.
    #[serde(default = "default_batch_bytes")]
    pub batch_bytes_max: usize,
    /// Requests in progress, over all sets; of one set there is one.
    #[serde(default = "default_in_flight")]
    pub in_flight_max: usize,
    /// How long one request may take.
    #[serde(default = "default_timeout")]
    pub timeout_ms: u64,
    /// What is delivered.
    #[serde(default)]
    pub filter: Filter,
    /// When a delivery is tried again.
    #[serde(default)]
    pub retry: Retry,
    /// What becomes of what cannot be delivered.
    #[serde(default)]
    pub dead_letters: DeadLetters,
}

/// A key that requests are signed with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Secret {
    /// Told to the receiver, so that it knows which key to take.
    pub id: String,
    /// Has the key: at least 32 bytes, white space at its end left out.
    pub file: PathBuf,
}

/// A stream of NATS JetStream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Nats {
    /// Its name: of its directory, in logs and in metrics.
    pub name: String,
    /// `nats://` or `tls://` addresses of one NATS cluster.
    pub servers: Vec<String>,
    /// The stream that must acknowledge.
    #[serde(default = "default_stream")]
    pub stream: String,
    /// What subjects begin with; the set and the kind follow.
    #[serde(default = "default_subject")]
    pub subject: String,
    /// Whether the stream is made if it is missing.
    #[serde(default)]
    pub create: bool,
    /// Copies that a stream has which is made here.
    #[serde(default = "default_replicas")]
    pub replicas: usize,
    /// How long a stream that is made here recognises what it has already.
    #[serde(default = "default_duplicates")]
    pub duplicates_s: u64,
    /// Who the relay is to NATS, together with `password_file`.
    #[serde(default)]
    pub user: Option<String>,
    /// Has the password.
    #[serde(default)]
    pub password_file: Option<PathBuf>,
    /// Trusted besides the system's authorities: a file of certificates in PEM.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// How long one acknowledgement may take.
    #[serde(default = "default_timeout")]
    pub timeout_ms: u64,
    /// What is delivered.
    #[serde(default)]
    pub filter: Filter,
    /// When a delivery is tried again.
    #[serde(default)]
    pub retry: Retry,
    /// What becomes of what cannot be delivered.
    #[serde(default)]
    pub dead_letters: DeadLetters,
}

/// When a delivery is tried again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Retry {
    /// The pause after the first failure; it doubles with each further one.
    pub min_ms: u64,
    /// The longest pause.
    pub max_ms: u64,
    /// Failures after which an event is a dead letter; 0: none is for that.
    pub tries_max: u32,
    /// Seconds since its first failure after which an event is a dead letter; 0: none is for that.
    pub age_max_s: u64,
}

impl Default for Retry {
    fn default() -> Self {
        Retry { min_ms: 200, max_ms: 60_000, tries_max: 0, age_max_s: 0 }
    }
}

/// What becomes of what cannot be delivered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DeadLetters {
    /// Whether its set goes on.
    pub on_dead: OnDead,
    /// Dead letters of this sink; with so many, a set that has another one waits.
    pub max: usize,
}

impl Default for DeadLetters {
    fn default() -> Self {
        DeadLetters { on_dead: OnDead::Halt, max: 1_000 }
    }
}

/// What a set does behind a dead letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnDead {
    /// It goes on: later events overtake the dead letter.
    Skip,
    /// It waits until somebody has the letter delivered again or drops it.
    Halt,
}

fn default_batch() -> usize {
    100
}

fn default_batch_bytes() -> usize {
    1 << 20
}

fn default_in_flight() -> usize {
    16
}

fn default_timeout() -> u64 {
    10_000
}

fn default_stream() -> String {
    "TWINSET".into()
}

fn default_subject() -> String {
    "twinset.events".into()
}

fn default_replicas() -> usize {
    1
}

fn default_duplicates() -> u64 {
    120
}

/// Why a configuration is refused.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// It is not the TOML that is expected.
    #[error("{}: {source}", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: Box<toml::de::Error>,
    },
    /// A value that makes no sense.
    #[error("{key}: {why}")]
    Invalid {
        /// The key, as in the file.
        key: String,
        /// What is wrong and what to write instead.
        why: String,
    },
}

fn invalid(key: impl Into<String>, why: impl Into<String>) -> Error {
    Error::Invalid { key: key.into(), why: why.into() }
}

fn in_range(key: impl Into<String>, value: u64, least: u64, most: u64) -> Result<(), Error> {
    match (least..=most).contains(&value) {
        true => Ok(()),
        false => Err(invalid(key, format!("{value} is not between {least} and {most}"))),
    }
}

impl Config {
    /// Reads and checks a file.
    pub fn load(path: &Path) -> Result<Config, Error> {
        let text =
            std::fs::read_to_string(path).map_err(|source| Error::Read { path: path.to_owned(), source })?;
        let config: Config = toml::from_str(&text)
            .map_err(|source| Error::Parse { path: path.to_owned(), source: Box::new(source) })?;
        config.validate()?;
        Ok(config)
    }

    /// Checks what the types cannot say.
    pub fn validate(&self) -> Result<(), Error> {
        if self.routers.is_empty() {
            return Err(invalid("routers", "at least one router's listen.http, as http://ADDRESS:PORT"));
        }
        for router in &self.routers {
            if authority(router).is_none() {
                return Err(invalid("routers", format!("{router:?} is not http://ADDRESS:PORT")));
            }
        }
        if !self.listen.http.ip().is_loopback() {
            let why = format!("{} is not a loopback address; there is no authentication", self.listen.http);
            return Err(invalid("listen.http", why));
        }
        in_range("limits.read_ahead_events", self.limits.read_ahead_events as u64, 1, 65_536)?;
        in_range("limits.drain_ms", self.limits.drain_ms, 0, 600_000)?;
        if self.webhook.is_empty() && self.nats.is_empty() {
            return Err(invalid("webhook", "no sink at all; add [[webhook]] or [[nats]]"));
        }
        let names = self.webhook.iter().map(|sink| &sink.name).chain(self.nats.iter().map(|sink| &sink.name));
        let mut seen = BTreeSet::new();
        for name in names {
            if !is_name(name) {
                return Err(invalid("name", format!("{name:?} is not 1 to 64 of a-z, 0-9, - and _")));
            }
            if !seen.insert(name) {
                return Err(invalid("name", format!("two sinks are called {name:?}")));
            }
        }
        self.webhook.iter().try_for_each(Webhook::validate)?;
        self.nats.iter().try_for_each(Nats::validate)
    }

    /// The configuration with every key, as TOML.
    pub fn to_toml(&self) -> String {
        toml::to_string(self).expect("the configuration has only types that TOML knows")
    }

    /// The names of all sinks.
    pub fn sinks(&self) -> impl Iterator<Item = &str> {
        let webhooks = self.webhook.iter().map(|sink| sink.name.as_str());
        webhooks.chain(self.nats.iter().map(|sink| sink.name.as_str()))
    }
}

impl Webhook {
    fn validate(&self) -> Result<(), Error> {
        let key = |key: &str| format!("webhook {:?}: {key}", self.name);
        let url: Uri = self.url.parse().map_err(|_| invalid(key("url"), "it is no URL"))?;
        match (url.scheme_str(), url.host()) {
            (Some("https"), Some(_)) => {}
            (Some("http"), Some(host)) if self.plain_http || is_this_machine(host) => {}
            (Some("http"), Some(_)) => {
                let why = "http:// to another machine sends events in the clear; take https://, or set plain_http = true";
                return Err(invalid(key("url"), why));
            }
            _ => return Err(invalid(key("url"), "neither http://HOST/... nor https://HOST/...")),
        }
        if url.authority().is_some_and(|authority| authority.as_str().contains('@')) {
            return Err(invalid(key("url"), "no user and no password; requests are signed"));
        }
        match self.secrets.as_slice() {
            [_] => {}
            [one, other] if one.id != other.id => {}
            _ => return Err(invalid(key("secrets"), "one, or two of different ids while they change")),
        }
        if let Some(secret) = self.secrets.iter().find(|secret| !is_key_id(&secret.id)) {
            let why = format!("id {:?} is not 1 to 64 of A-Z, a-z, 0-9, ., - and _", secret.id);
            return Err(invalid(key("secrets"), why));
        }
        in_range(key("batch_max"), self.batch_max as u64, 1, 1_000)?;
        in_range(key("batch_bytes_max"), self.batch_bytes_max as u64, 1_024, 64 << 20)?;
        in_range(key("in_flight_max"), self.in_flight_max as u64, 1, 1_024)?;
        in_range(key("timeout_ms"), self.timeout_ms, 1, 300_000)?;
        check_shared(&key, &self.filter, &self.retry, &self.dead_letters)
    }
}

impl Nats {
    fn validate(&self) -> Result<(), Error> {
        let key = |key: &str| format!("nats {:?}: {key}", self.name);
        if self.servers.is_empty() {
            return Err(invalid(key("servers"), "at least one, as nats://ADDRESS:PORT"));
        }
        let known = |server: &&String| server.starts_with("nats://") || server.starts_with("tls://");
        if let Some(server) = self.servers.iter().find(|server| !known(server)) {
            let why = format!("{server:?} is neither nats://ADDRESS:PORT nor tls://ADDRESS:PORT");
            return Err(invalid(key("servers"), why));
        }
        if !is_key_id(&self.stream) || self.stream.contains('.') {
            return Err(invalid(key("stream"), "1 to 64 of A-Z, a-z, 0-9, - and _"));
        }
        if !self.subject.split('.').all(is_key_id) {
            return Err(invalid(key("subject"), "words of A-Z, a-z, 0-9, - and _ with dots between them"));
        }
        if self.user.is_some() != self.password_file.is_some() {
            return Err(invalid(key("user"), "user and password_file come together"));
        }
        in_range(key("replicas"), self.replicas as u64, 1, 5)?;
        in_range(key("duplicates_s"), self.duplicates_s, 1, 86_400)?;
        in_range(key("timeout_ms"), self.timeout_ms, 1, 300_000)?;
        check_shared(&key, &self.filter, &self.retry, &self.dead_letters)
    }
}

fn check_shared(
    key: &dyn Fn(&str) -> String,
    filter: &Filter,
    retry: &Retry,
    dead_letters: &DeadLetters,
) -> Result<(), Error> {
    if let Some(kind) = filter.kinds.iter().find(|kind| !KINDS.contains(&kind.as_str())) {
        let why = format!("{kind:?} is no kind of event; docs/reference/events.md lists them");
        return Err(invalid(key("filter.kinds"), why));
    }
    if filter.accounts.iter().any(String::is_empty) {
        return Err(invalid(
            key("filter.accounts"),
            "an empty beginning; leave the key out for all accounts",
        ));
    }
    in_range(key("retry.min_ms"), retry.min_ms, 1, 60_000)?;
    in_range(key("retry.max_ms"), retry.max_ms, retry.min_ms, 3_600_000)?;
    in_range(key("dead_letters.max"), dead_letters.max as u64, 1, 1_000_000)
}

impl Retry {
    /// The pause after the first failure, and the longest one.
    pub fn bounds(&self) -> (Duration, Duration) {
        (Duration::from_millis(self.min_ms), Duration::from_millis(self.max_ms))
    }
}

/// `ADDRESS:PORT` of `http://ADDRESS:PORT`.
pub fn authority(router: &str) -> Option<&str> {
    let rest = router.strip_prefix("http://")?.trim_end_matches('/');
    let (host, port) = rest.rsplit_once(':')?;
    (!host.is_empty() && !host.contains('/') && port.parse::<u16>().is_ok()).then_some(rest)
}

/// A name that is a directory's, too.
fn is_name(text: &str) -> bool {
    let good = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_';
    (1..=64).contains(&text.len()) && text.bytes().all(good)
}

fn is_key_id(text: &str) -> bool {
    let good = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
    (1..=64).contains(&text.len()) && text.bytes().all(good)
}

fn is_this_machine(host: &str) -> bool {
    let address = host.trim_matches(['[', ']']).parse::<std::net::IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

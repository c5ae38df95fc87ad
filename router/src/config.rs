//! The router's configuration: one TOML file, read once, checked as a whole before any port is opened. It must not
//! look anything up (no environment, no network). Above it: `main`; below it: nothing.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use twinset_dispatch::drill::DrillFaultsConfig;

/// The longest deadline a client may ask for.
pub const DEADLINE_MS_MAX: u64 = 60_000;

/// Everything that can be configured. Unknown keys are refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// API addresses of some nodes, in any order; the others are learned from the catalogue.
    pub seeds: Vec<String>,
    /// Who this router is.
    pub router: Identity,
    /// Where it listens.
    pub listen: Listen,
    /// What it takes on at most.
    #[serde(default)]
    pub limits: Limits,
    /// Whether whoever has a token may kill this router for a drill.
    #[serde(default)]
    pub drill_faults: DrillFaultsConfig,
}

/// Who this router is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Identity {
    /// Its name, for logs.
    pub name: String,
    /// Its site: stale reads go there first.
    pub site: String,
}

/// Where it listens. Loopback only, because there is no authentication yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listen {
    /// HTTP/JSON. Port 0 takes a free one.
    pub http: SocketAddr,
    /// gRPC. Port 0 takes a free one.
    pub grpc: SocketAddr,
}

/// What the router takes on at most.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Bytes of one request body.
    pub body_bytes_max: usize,
    /// Transactions of one batch.
    pub batch_max: usize,
    /// Calls in progress over both protocols.
    pub in_flight_max: usize,
    /// Open connections of each protocol, and the same number of gRPC streams per connection.
    pub connections_max: usize,
    /// Streams of events that are open, over both protocols.
    pub event_streams_max: usize,
    /// Requests that wait for one set, sent or not.
    pub queue_per_set_requests: usize,
    /// Bytes of those requests.
    pub queue_per_set_bytes: usize,
    /// The deadline of a call that names none.
    pub deadline_ms: u64,
    /// How long calls in progress are waited for at a shutdown.
    pub drain_ms: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            body_bytes_max: 8 << 20,
            batch_max: 8190,
            in_flight_max: 16_384,
            connections_max: 4_096,
            event_streams_max: 256,
            queue_per_set_requests: 8_192,
            queue_per_set_bytes: 64 << 20,
            deadline_ms: 5_000,
            drain_ms: 10_000,
        }
    }
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
        key: &'static str,
        /// What is wrong and what to write instead.
        why: String,
    },
}

fn invalid(key: &'static str, why: impl Into<String>) -> Error {
    Error::Invalid { key, why: why.into() }
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
        for (key, name) in [("router.name", &self.router.name), ("router.site", &self.router.site)] {
            if name.is_empty() || name.len() > 64 {
                return Err(invalid(key, "1 to 64 characters"));
            }
        }
        for (key, address) in [("listen.http", self.listen.http), ("listen.grpc", self.listen.grpc)] {
            if !address.ip().is_loopback() {
                return Err(invalid(
                    key,
                    format!(
                        "{address} is not a loopback address; without authentication, which does not exist yet, every listener binds to loopback only (use 127.0.0.1 or [::1])"
                    ),
                ));
            }
        }
        if self.listen.http == self.listen.grpc && self.listen.http.port() != 0 {
            return Err(invalid("listen.grpc", "the same address as listen.http"));
        }
        if self.seeds.is_empty() {
            return Err(invalid("seeds", "at least one node's api address"));
        }
        if let Some(seed) = self.seeds.iter().find(|seed| !twinset_control::topology::is_address(seed)) {
            return Err(invalid("seeds", format!("{seed:?} is not name:port")));
        }
        if let Some((key, why)) = self.drill_faults.mistake() {
            return Err(invalid(key, why));
        }
        self.limits.validate()
    }

    /// The configuration with every key, as TOML.
    pub fn to_toml(&self) -> String {
        toml::to_string(self).expect("the configuration has only types that TOML knows")
    }
}

impl Limits {
    fn validate(&self) -> Result<(), Error> {
        let ranges = [
            ("limits.body_bytes_max", self.body_bytes_max, 1024, 1 << 30),
            ("limits.batch_max", self.batch_max, 1, 65_535),
            ("limits.in_flight_max", self.in_flight_max, 1, 1 << 20),
            ("limits.connections_max", self.connections_max, 1, 1 << 20),
            ("limits.event_streams_max", self.event_streams_max, 0, 1 << 16),
            ("limits.queue_per_set_requests", self.queue_per_set_requests, 1, 1 << 20),
            ("limits.queue_per_set_bytes", self.queue_per_set_bytes, 1 << 16, 1 << 36),
            ("limits.deadline_ms", self.deadline_ms as usize, 1, DEADLINE_MS_MAX as usize),
            ("limits.drain_ms", self.drain_ms as usize, 0, 600_000),
        ];
        for (key, value, least, most) in ranges {
            if !(least..=most).contains(&value) {
                return Err(invalid(key, format!("{value} is not between {least} and {most}")));
            }
        }
        if self.queue_per_set_bytes < self.body_bytes_max {
            return Err(invalid("limits.queue_per_set_bytes", "at least limits.body_bytes_max"));
        }
        Ok(())
    }

    /// The deadline of a call that names none.
    pub fn deadline(&self) -> Duration {
        Duration::from_millis(self.deadline_ms)
    }
}

//! The node's configuration file: every key, its default, and the checks that run before any port or file is touched.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use twinset_dispatch::drill::DrillFaultsConfig;

use crate::across::AcrossConfig;
use crate::check_back::{InitiatorConfig, config as check_back};
use crate::durability::sentinel::DurabilityConfig;
use crate::faults::FaultsConfig;
use crate::operators::OperatorsConfig;
use crate::recovery::RecoveryConfig;
use crate::vigil::ClockConfig;

/// All of `node.toml`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Who this node is.
    pub node: NodeConfig,
    /// Where it listens.
    pub listen: ListenConfig,
    /// Timers and limits of Raft.
    #[serde(default)]
    pub raft: RaftConfig,
    /// How commands are gathered into entries.
    #[serde(default)]
    pub proposer: ProposerConfig,
    /// Timers and bounds of transactions over several sets.
    #[serde(default)]
    pub across: AcrossConfig,
    /// When sets go on with one site alone, and when they return.
    #[serde(default)]
    pub durability: DurabilityConfig,
    /// When sets that have lost their majority with a site go on in the other one.
    #[serde(default)]
    pub recovery: RecoveryConfig,
    /// When its wall clock counts as wrong.
    #[serde(default)]
    pub clock: ClockConfig,
    /// When state is written out.
    #[serde(default)]
    pub store: StoreConfig,
    /// Who may be called about overdue holds; nobody else ever is.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub initiators: Vec<InitiatorConfig>,
    /// Whose administrative acts are proven, and whether others may act as well.
    #[serde(default)]
    pub operators: OperatorsConfig,
    /// Whether whoever has a token may harm this node for a drill.
    #[serde(default)]
    pub drill_faults: DrillFaultsConfig,
    /// Faults built in for tests; none.
    #[serde(default, skip_serializing_if = "FaultsConfig::is_off")]
    pub faults: FaultsConfig,
}

/// Who this node is.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeConfig {
    /// As in the topology file.
    pub name: String,
    /// As in the topology file.
    pub site: String,
    /// Hosts only the control set.
    #[serde(default)]
    pub arbiter: bool,
    /// Everything this node stores.
    pub data_dir: PathBuf,
}

/// Where the node listens. Without authentication, which does not exist yet, loopback only.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListenConfig {
    /// gRPC for routers and operators.
    pub api: SocketAddr,
    /// gRPC for the other nodes.
    pub peer: SocketAddr,
    /// HTTP for health and metrics.
    pub http: SocketAddr,
}

/// Timers and limits of Raft. The election maximum is the lease as well: it must be the same on every node.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RaftConfig {
    /// Between heartbeats, in milliseconds.
    pub heartbeat_ms: u64,
    /// Shortest wait of a replica in the home site, after the leader's lease, before it campaigns.
    pub election_timeout_min_ms: u64,
    /// The same outside the home site.
    pub election_timeout_away_min_ms: u64,
    /// Longest wait, and the lease. Above the minimum.
    pub election_timeout_max_ms: u64,
    /// Entries between two snapshots.
    pub snapshot_entries: u64,
    /// Entries that stay available to followers behind a snapshot.
    pub keep_entries: u64,
    /// For sending or installing one snapshot.
    pub snapshot_timeout_ms: u64,
}

impl Default for RaftConfig {
    fn default() -> Self {
        RaftConfig {
            heartbeat_ms: 50,
            election_timeout_min_ms: 200,
            election_timeout_away_min_ms: 450,
            election_timeout_max_ms: 400,
            snapshot_entries: 100_000,
            keep_entries: 100_000,
            snapshot_timeout_ms: 600_000,
        }
    }
}

/// How commands are gathered into entries.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ProposerConfig {
    /// Client calls that wait at the leader of one set; one more is refused as overloaded.
    pub queue_items: usize,
    /// Bytes of commands that wait or are in flight at the leader of one set.
    pub queue_bytes: usize,
    /// Commands in one entry.
    pub entry_commands: usize,
    /// Bytes of commands in one entry; a single call may exceed it.
    pub entry_bytes: usize,
    /// Entries in flight per set.
    pub in_flight: usize,
}

impl Default for ProposerConfig {
    fn default() -> Self {
        ProposerConfig {
            queue_items: 8192,
            queue_bytes: 64 << 20,
            entry_commands: 16_384,
            entry_bytes: 2 << 20,
            in_flight: 2,
        }
    }
}

/// When state is written out.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StoreConfig {
    /// A checkpoint is due after this many commands.
    pub checkpoint_commands: u64,
    /// Or after this many bytes of log.
    pub checkpoint_log_bytes: u64,
    /// Newest entries kept in memory, per set.
    pub tail_cache_bytes: usize,
}

impl Default for StoreConfig {
    fn default() -> Self {
        StoreConfig {
            checkpoint_commands: 262_144,
            checkpoint_log_bytes: 64 << 20,
            tail_cache_bytes: 32 << 20,
        }
    }
}

/// What is wrong with a configuration.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is not valid TOML, or a key is unknown, missing or of a wrong type.
    #[error("{path}: {source}")]
    Parse {
        /// The file.
        path: PathBuf,
        /// Where and what.
        source: Box<toml::de::Error>,
    },
    /// A value makes no sense.
    #[error("{key}: {reason}")]
    Invalid {
        /// The key, with its section.
        key: &'static str,
        /// What it must be.
        reason: String,
    },
}

fn ensure(ok: bool, key: &'static str, reason: impl Into<String>) -> Result<(), Error> {
    if ok { Ok(()) } else { Err(Error::Invalid { key, reason: reason.into() }) }
}

impl Config {
    /// Reads and checks a file.
    pub fn load(path: &Path) -> Result<Self, Error> {
        let text =
            std::fs::read_to_string(path).map_err(|source| Error::Read { path: path.into(), source })?;
        let config: Config = toml::from_str(&text)
            .map_err(|source| Error::Parse { path: path.into(), source: Box::new(source) })?;
        config.validate()?;
        Ok(config)
    }

    /// Checks every value; touches nothing.
    pub fn validate(&self) -> Result<(), Error> {
        ensure(twinset_ledger::id::is_valid(&self.node.name), "node.name", "1-64 of A-Za-z0-9._:-{}")?;
        ensure(twinset_ledger::id::is_valid(&self.node.site), "node.site", "1-64 of A-Za-z0-9._:-{}")?;
        ensure(!self.node.data_dir.as_os_str().is_empty(), "node.data_dir", "must name a directory")?;
        let listen = &self.listen;
        for (key, addr) in
            [("listen.api", listen.api), ("listen.peer", listen.peer), ("listen.http", listen.http)]
        {
            ensure(
                addr.ip().is_loopback(),
                key,
                format!("{addr} is not a loopback address; without authentication only loopback is served"),
            )?;
            ensure(addr.port() != 0, key, "a fixed port is needed: the other nodes must find it")?;
        }
        let distinct = listen.api != listen.peer && listen.api != listen.http && listen.peer != listen.http;
        ensure(distinct, "listen", "api, peer and http must be three different addresses")?;
        self.validate_raft()?;
        let proposer = &self.proposer;
        ensure(proposer.queue_items > 0, "proposer.queue_items", "must be above 0")?;
        ensure(proposer.in_flight > 0, "proposer.in_flight", "must be above 0")?;
        ensure(
            (1..=twinset_ledger::COMMANDS_PER_ENTRY_MAX).contains(&proposer.entry_commands),
            "proposer.entry_commands",
            format!("must be in 1..={}", twinset_ledger::COMMANDS_PER_ENTRY_MAX),
        )?;
        ensure(
            (1..=proposer.queue_bytes).contains(&proposer.entry_bytes),
            "proposer.entry_bytes",
            "must be above 0 and at most proposer.queue_bytes",
        )?;
        let across = &self.across;
        ensure(across.give_up_ms > 0, "across.give_up_ms", "must be above 0")?;
        ensure(across.inquire_ms > 0, "across.inquire_ms", "must be above 0")?;
        ensure(across.attempts_max > 0, "across.attempts_max", "must be above 0")?;
        let longest_silence = self.raft.election_timeout_max_ms * 2;
        ensure(
            self.durability.degrade_after_ms > longest_silence,
            "durability.degrade_after_ms",
            format!("must be above two election timeouts, {longest_silence}: an election is no lost site"),
        )?;
        ensure(
            self.recovery.silent_ms > longest_silence,
            "recovery.silent_ms",
            format!("must be above two election timeouts, {longest_silence}: an election is no lost site"),
        )?;
        ensure(self.store.checkpoint_commands > 0, "store.checkpoint_commands", "must be above 0")?;
        if let Some((key, reason)) = check_back::mistake(&self.initiators) {
            return Err(Error::Invalid { key, reason });
        }
        if let Some((key, reason)) = self.operators.mistake() {
            return ensure(false, key, reason);
        }
        if let Some((key, reason)) = self.drill_faults.mistake() {
            return ensure(false, key, reason);
        }
        self.faults.mistake().map_or(Ok(()), |(key, reason)| ensure(false, key, reason))
    }

    fn validate_raft(&self) -> Result<(), Error> {
        let raft = &self.raft;
        ensure(raft.heartbeat_ms >= 10, "raft.heartbeat_ms", "must be at least 10")?;
        ensure(
            raft.heartbeat_ms * 2 < raft.election_timeout_min_ms,
            "raft.election_timeout_min_ms",
            "must be more than two heartbeats",
        )?;
        ensure(
            raft.election_timeout_min_ms <= raft.election_timeout_away_min_ms
                && raft.election_timeout_away_min_ms <= raft.election_timeout_max_ms * 2,
            "raft.election_timeout_away_min_ms",
            "must be between election_timeout_min_ms and twice election_timeout_max_ms",
        )?;
        ensure(
            raft.election_timeout_min_ms < raft.election_timeout_max_ms,
            "raft.election_timeout_max_ms",
            "must be above election_timeout_min_ms",
        )?;
        ensure(raft.snapshot_entries > 0, "raft.snapshot_entries", "must be above 0")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
        [node]
        name = "a1"
        site = "A"
        data_dir = "data"
        [listen]
        api = "127.0.0.1:7101"
        peer = "127.0.0.1:7201"
        http = "127.0.0.1:7301"
    "#;

    fn check(text: &str) -> Result<(), String> {
        let config: Config = toml::from_str(text).map_err(|e| e.to_string())?;
        config.validate().map_err(|e| e.to_string())
    }

    #[test]
    fn the_smallest_file_is_enough() {
        check(GOOD).unwrap();
    }

    #[test]
    fn mistakes_are_named() {
        for (from, to, expected) in [
            ("name = \"a1\"", "nam = \"a1\"", "nam"),
            ("site = \"A\"", "site = \"A B\"", "node.site"),
            ("127.0.0.1:7101", "0.0.0.0:7101", "listen.api"),
            ("127.0.0.1:7301", "127.0.0.1:7101", "listen"),
            ("127.0.0.1:7201", "127.0.0.1:0", "listen.peer"),
            ("[listen]", "[raft]\nheartbeat_ms = 150\n[listen]", "raft.election_timeout_min_ms"),
            ("[listen]", "[proposer]\nentry_commands = 70000\n[listen]", "proposer.entry_commands"),
            ("[listen]", "[durability]\ndegrade_after_ms = 800\n[listen]", "durability.degrade_after_ms"),
            ("[listen]", "[faults]\ndie_at = \"switch.nowhere\"\n[listen]", "switch.nowhere"),
            (
                "[listen]",
                "[[initiators]]\nname = \"a\"\nurl = \"x\"\nsecret_file = \"s\"\n[listen]",
                "initiators.url",
            ),
            ("[listen]", "[drill_faults]\nenabled = true\n[listen]", "drill_faults.token_file"),
            ("[listen]", "[operators]\nrequired = true\n[listen]", "operators.tokens_file"),
            ("[listen]", "[faults]\nafter_us = 1\n[listen]", "faults.after_us"),
        ] {
            let error = check(&GOOD.replace(from, to)).unwrap_err();
            assert!(error.contains(expected), "{to}: {error}");
        }
    }
}

//! What a replica that a recovery has left behind holds beyond what goes on: told of once, and kept until an operator has seen it.
//! Of a set that was SYNC nothing of that was acknowledged; of one that was DEGRADED it may have been.

use serde::{Deserialize, Serialize};
use tracing::warn;
use twinset_control::{CONTROL_SET, Catalogue, Durability, Envelope, LogEnd};
use twinset_store::{RecordKind, ReplicaRecord, Store};

use crate::raft;

/// Commands of a tail that a report names one by one; more are only counted.
const COMMANDS_MAX: usize = 10_000;
/// Of a log, read at a time.
const PAGE_BYTES: usize = 1 << 20;

/// What a lost replica holds that the recovered set does not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TailReport {
    /// The set.
    pub set: u32,
    /// The lost replica.
    pub replica: u64,
    /// The incarnation that it is of.
    pub incarnation: u32,
    /// Whether something in it may have been acknowledged.
    pub may_be_acknowledged: bool,
    /// Where the set has gone on.
    pub recovered_at: LogEnd,
    /// Where this log ends.
    pub end: LogEnd,
    /// Commands beyond what goes on.
    pub count: u64,
    /// The first of them.
    pub commands: Vec<TailCommand>,
}

/// One command of a tail.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TailCommand {
    /// The log index of its entry.
    pub index: u64,
    /// The client's id, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// The accounts that it names.
    pub accounts: Vec<String>,
    /// The legs of a transaction.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub legs: Vec<String>,
    /// Of the control set: the command.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub record: Option<String>,
}

fn name(record: ReplicaRecord) -> String {
    format!("tail/{}-{}", record.set, record.replica_id)
}

/// Where the names of all reports of this node are kept.
const NAMES: &str = "tails";

/// Every report that this node has.
pub fn reports(store: &Store) -> anyhow::Result<Vec<TailReport>> {
    let report = |name: &String| {
        let stored = store.get_blob(name)?;
        Ok(stored.map(|bytes| serde_json::from_slice(&bytes)).transpose()?)
    };
    names(store)?.iter().filter_map(|name| report(name).transpose()).collect()
}

fn names(store: &Store) -> anyhow::Result<Vec<String>> {
    let stored = store.get_blob(NAMES)?;
    Ok(stored.map(|bytes| serde_json::from_slice(&bytes)).transpose()?.unwrap_or_default())
}

fn commands_after(store: &Store, set: u32, index: u64) -> anyhow::Result<(u64, Vec<TailCommand>)> {
    let (count, commands) = store.ledger(set)?.commands_after(index, COMMANDS_MAX)?;
    let commands = commands.into_iter().map(|command| TailCommand {
        index: command.index,
        request_id: command.request_id,
        accounts: command.accounts,
        legs: command.legs,
        record: None,
    });
    Ok((count, commands.collect()))
}

/// Of the control set: what was recorded without those who go on. What a snapshot has taken the place of is counted, and is in the
/// catalogue that this node has had.
fn records_after(store: &Store, index: u64) -> anyhow::Result<(u64, Vec<TailCommand>)> {
    let log = store.log(CONTROL_SET)?;
    let purged = log.purged().map_or(0, |id| id.index);
    let (from, to) = (index.max(purged) + 1, log.last().map_or(0, |id| id.index) + 1);
    let mut commands = Vec::new();
    let (mut next, mut count) = (from, purged.saturating_sub(index));
    while next < to {
        let page = log.read(next, to, PAGE_BYTES)?;
        anyhow::ensure!(!page.is_empty(), "entry {next} of the control set's log is missing");
        for record in page {
            next = record.id.index + 1;
            if record.kind != RecordKind::Commands {
                continue;
            }
            count += 1;
            if commands.len() < COMMANDS_MAX {
                let index = record.id.index;
                let command = Envelope::decode(&record.payload)?.command;
                let record = Some(serde_json::to_string(&command)?);
                commands.push(TailCommand { index, record, ..TailCommand::default() });
            }
        }
    }
    Ok((count, commands))
}

/// Writes the report on a replica that its set has gone on without, unless that is done. Nobody may have its log open.
pub fn keep_report(store: &Store, catalogue: &Catalogue, old: ReplicaRecord) -> anyhow::Result<()> {
    // One that was placed and taken away since has no tail of its own.
    if !catalogue.lost(old.set).iter().any(|lost| lost.id == old.replica_id) {
        return Ok(());
    }
    let recovered = match old.set {
        CONTROL_SET => catalogue.control.recovered.as_ref().map(|it| (it.end, Durability::Degraded)),
        set => catalogue.sets.get(&set).and_then(|set| set.recovered.as_ref()).map(|it| (it.end, it.was)),
    };
    let Some((recovered_at, was)) = recovered else { return Ok(()) };
    let mut names = names(store)?;
    if names.contains(&name(old)) {
        return Ok(());
    }
    let log = store.log(old.set)?;
    let (end, shared) = (raft::log_end(&log), raft::shared_until(&log, recovered_at)?);
    let (count, commands) = match old.set {
        CONTROL_SET => records_after(store, shared)?,
        set => commands_after(store, set, shared)?,
    };
    let report = TailReport {
        set: old.set,
        replica: old.replica_id,
        incarnation: old.incarnation,
        may_be_acknowledged: was == Durability::Degraded && count > 0,
        recovered_at,
        end,
        count,
        commands,
    };
    warn!(
        set = old.set,
        replica = old.replica_id,
        commands = count,
        may_be_acknowledged = report.may_be_acknowledged,
        "this replica was left behind by a recovery"
    );
    store.put_blob(&name(old), &serde_json::to_vec(&report)?)?;
    names.push(name(old));
    store.put_blob(NAMES, &serde_json::to_vec(&names)?)?;
    Ok(())
}

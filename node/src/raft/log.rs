//! openraft's log storage over the store's `Log`. Entries are readable when `append` returns; the callback comes from
//! the store's shared syncer, after the data is on disk.

use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};
use std::sync::Arc;

use futures::{Stream, StreamExt, stream};
use openraft::entry::RaftEntry;
use openraft::storage::{IOFlushed, LogState, RaftLogReader, RaftLogStorage};
use openraft::{OptionalSend, RaftTypeConfig};
use twinset_store::{Fault, Log, RecordKind};

use crate::gate::Gate;

use super::types::{Entries, LogId, TypeConfig, Vote, from_record, log_id, store_id, to_record};

/// Bytes of entries in one append message at most (one entry always goes).
const APPEND_BYTES_MAX: usize = 1 << 20;
/// Bytes of entries read at once for apply.
const APPLY_BYTES_MAX: usize = 4 << 20;

/// The log of one replica; clones are readers of the same log.
#[derive(Clone)]
pub struct LogStore {
    log: Log,
    gate: Option<Arc<Gate>>,
}

impl LogStore {
    /// Over the store's log of one set.
    pub fn new(log: Log) -> Self {
        LogStore { log, gate: None }
    }

    /// Tells `gate` what is on disk here, and of every term before its vote is stored, and so before anything of that term
    /// is appended. Waits for the disk once.
    pub fn telling(self, gate: Arc<Gate>) -> Result<Self, Fault> {
        self.log.sync()?;
        gate.durable(gate.cuts(), self.log.last().map_or(0, |id| id.index));
        Ok(LogStore { gate: Some(gate), ..self })
    }

    fn read(&self, from: u64, to: u64, bytes_max: usize) -> io::Result<Vec<Entries>> {
        let records = self.log.read(from, to, bytes_max).map_err(io::Error::other)?;
        records.iter().map(|record| from_record(record)).collect()
    }

    fn bounds(&self, range: &impl RangeBounds<u64>) -> (u64, u64) {
        let from = match range.start_bound() {
            Bound::Included(&i) => i,
            Bound::Excluded(&i) => i + 1,
            Bound::Unbounded => 0,
        };
        let to = match range.end_bound() {
            Bound::Included(&i) => i + 1,
            Bound::Excluded(&i) => i,
            Bound::Unbounded => u64::MAX,
        };
        let first = self.log.purged().map_or(0, |id| id.index + 1);
        let end = self.log.last().map_or(0, |id| id.index + 1);
        (from.max(first), to.min(end))
    }
}

impl RaftLogReader<TypeConfig> for LogStore {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> io::Result<Vec<Entries>> {
        let (mut from, to) = self.bounds(&range);
        let mut entries = Vec::new();
        while from < to {
            let piece = self.read(from, to, APPLY_BYTES_MAX)?;
            // The log was truncated meanwhile: what is left is the answer.
            let Some(last) = piece.last() else { break };
            from = last.index() + 1;
            entries.extend(piece);
        }
        Ok(entries)
    }

    async fn entries_stream<RB>(
        &mut self,
        range: RB,
    ) -> impl Stream<Item = io::Result<Entries>> + OptionalSend
    where
        RB: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        let log = self.clone();
        let (from, to) = self.bounds(&range);
        // After a restart the committed run may be the whole log since the checkpoint: read it in pieces.
        stream::unfold(from, move |from| {
            let log = log.clone();
            async move {
                if from >= to {
                    return None;
                }
                match log.read(from, to, APPLY_BYTES_MAX) {
                    Ok(entries) => {
                        let next = entries.last().map_or(to, |e| e.index() + 1);
                        Some((stream::iter(entries.into_iter().map(Ok).collect::<Vec<_>>()), next))
                    }
                    Err(error) => Some((stream::iter(vec![Err(error)]), to)),
                }
            }
        })
        .flatten()
        .boxed()
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> io::Result<Vec<Entries>> {
        // Not raised to the purge pointer: a run that begins later than asked would leave a hole in the follower's log,
        // and what is purged is still here.
        let end = end.min(self.log.last().map_or(0, |id| id.index + 1));
        if start >= end {
            return Ok(Vec::new());
        }
        let entries = self.read(start, end, APPEND_BYTES_MAX)?;
        let follows_on = entries.first().is_some_and(|first| first.index() == start);
        Ok(if follows_on { entries } else { Vec::new() })
    }

    async fn read_vote(&mut self) -> io::Result<Option<Vote>> {
        self.log.vote().map(|bytes| decode_vote(&bytes)).transpose()
    }
}

impl RaftLogStorage<TypeConfig> for LogStore {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> io::Result<LogState<TypeConfig>> {
        let purged = self.log.purged().map(log_id);
        Ok(LogState { last_purged_log_id: purged, last_log_id: self.log.last().map(log_id).or(purged) })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> io::Result<()> {
        if let Some(gate) = &self.gate {
            gate.term(vote.leader_id().term);
        }
        let (sender, synced) = tokio::sync::oneshot::channel();
        let saved = move |result| {
            // The receiver is gone only when the group is being dropped.
            let _ = sender.send(result);
        };
        self.log.save_vote(&encode_vote(vote), Box::new(saved)).map_err(io::Error::other)?;
        synced.await.map_err(io::Error::other)?.map_err(io::Error::other)
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> io::Result<()> {
        if let Some(committed) = committed {
            self.log.save_committed(store_id(&committed));
        }
        Ok(())
    }

    async fn read_committed(&mut self) -> io::Result<Option<LogId>> {
        Ok(self.log.committed().map(log_id))
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<TypeConfig>) -> io::Result<()>
    where
        I: IntoIterator<Item = <TypeConfig as RaftTypeConfig>::Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let records: Vec<_> = entries.into_iter().map(|entry| to_record(&entry)).collect();
        if let Some(gate) = &self.gate {
            let memberships = records.iter().filter(|record| record.kind == RecordKind::Membership);
            memberships.for_each(|record| gate.membership(record.id.index));
        }
        let last = records.last().map(|record| record.id.index);
        let told = self.gate.clone().zip(last).map(|(gate, index)| (gate.cuts(), gate, index));
        let appended = move |result: Result<(), Fault>| {
            if let (Ok(()), Some((cuts, gate, index))) = (&result, told) {
                gate.durable(cuts, index);
            }
            callback.io_completed(result.map_err(io::Error::other));
        };
        self.log.append(records, Box::new(appended)).map_err(io::Error::other)
    }

    async fn truncate_after(&mut self, last: Option<LogId>) -> io::Result<()> {
        let index = last.map(|id| id.index);
        if let Some(gate) = &self.gate {
            gate.cut(index.unwrap_or(0));
        }
        self.log.truncate_after(index).map_err(io::Error::other)
    }

    async fn purge(&mut self, upto: LogId) -> io::Result<()> {
        self.log.purge(store_id(&upto)).map_err(io::Error::other)
    }
}

pub(super) fn encode_vote(vote: &Vote) -> Vec<u8> {
    let leader = vote.leader_id();
    let mut bytes = Vec::with_capacity(17);
    bytes.extend(leader.term.to_le_bytes());
    bytes.extend(leader.voted_for.to_le_bytes());
    bytes.push(u8::from(vote.is_committed()));
    bytes
}

fn decode_vote(bytes: &[u8]) -> io::Result<Vote> {
    let Ok(bytes) = <&[u8; 17]>::try_from(bytes) else {
        return Err(io::Error::other(format!("a stored vote has 17 bytes, found {}", bytes.len())));
    };
    let word = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
    Ok(make_vote(word(0), word(8), bytes[16] != 0))
}

pub(super) fn make_vote(term: u64, leader: u64, committed: bool) -> Vote {
    if committed { Vote::new_committed(term, leader) } else { Vote::new(term, leader) }
}

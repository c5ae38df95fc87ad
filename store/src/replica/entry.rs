//! One command out of a log record, without decoding its neighbours again and again: an opened entry knows where each
//! of its commands lies. A few are kept, because retries come in bursts for the same entries.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use twinset_ledger::codec::{self, Entry, HEADER_BYTES, SHORT_BYTES, expand};
use twinset_ledger::command::Command;
use twinset_ledger::state::State;

use crate::fault::Fault;
use crate::log::Log;
use crate::record::RecordKind;

/// Opened entries that are kept.
const KEPT: usize = 4;
/// Where the header's count of commands begins; it is its last field.
const COUNT_AT: usize = HEADER_BYTES - 4;

/// An entry that knows where its commands lie.
pub(crate) struct Opened {
    pub(crate) index: u64,
    payload: Bytes,
    /// Where each command begins, and the end; None: all are in short form.
    starts: Option<Vec<u32>>,
}

impl Opened {
    pub(crate) fn new(index: u64, payload: Bytes) -> Result<Opened, Fault> {
        let entry = Entry::parse(&payload).map_err(|error| bad(index, &error))?;
        Ok(Opened::of(index, &payload, &entry))
    }

    /// The same of an entry that was parsed from `payload`.
    pub(crate) fn of(index: u64, payload: &Bytes, entry: &Entry<'_>) -> Opened {
        let starts = (!entry.is_all_short()).then(|| starts(payload, entry));
        Opened { index, starts, payload: payload.clone() }
    }

    /// The command at `offset`.
    pub(crate) fn one(&self, offset: u16) -> Option<One> {
        let offset = usize::from(offset);
        let range = match &self.starts {
            Some(starts) => *starts.get(offset)? as usize..*starts.get(offset + 1)? as usize,
            None => short_range(offset),
        };
        Some(One::new(self.index, &self.payload[..HEADER_BYTES], self.payload.get(range)?))
    }
}

/// One command of an entry, as an entry of its own.
pub(crate) struct One {
    index: u64,
    bytes: Vec<u8>,
}

impl One {
    fn new(index: u64, header: &[u8], record: &[u8]) -> One {
        let mut bytes = Vec::with_capacity(HEADER_BYTES + record.len());
        bytes.extend_from_slice(&header[..COUNT_AT]);
        bytes.extend_from_slice(&1u32.to_le_bytes());
        bytes.extend_from_slice(record);
        One { index, bytes }
    }

    fn entry(&self) -> Result<Entry<'_>, Fault> {
        Entry::parse(&self.bytes).map_err(|error| bad(self.index, &error))
    }

    /// The command, and the incarnation of its entry.
    pub(crate) fn command<S: State>(&self, state: &S) -> Result<(Command, u32), Fault> {
        let entry = self.entry()?;
        let command = match entry.record(0).expect("it was made with one record") {
            codec::Record::Short(short) => Command::Transaction(expand(&short, state)),
            codec::Record::General(bytes) => {
                codec::decode_command(bytes).map_err(|error| bad(self.index, &error))?
            }
        };
        Ok((command, entry.incarnation()))
    }

    /// Whether the command carries this request id.
    pub(crate) fn has_request_id(&self, request_id: &str) -> Result<bool, Fault> {
        Ok(match self.entry()?.record(0).expect("it was made with one record") {
            codec::Record::Short(short) => short.request_id.to_string() == request_id,
            codec::Record::General(bytes) => {
                let command = codec::decode_command(bytes).map_err(|error| bad(self.index, &error))?;
                command.request_id() == Some(request_id)
            }
        })
    }
}

/// Where a command lies in an entry whose commands are all in short form.
fn short_range(offset: usize) -> Range<usize> {
    let begin = HEADER_BYTES + offset * SHORT_BYTES;
    begin..begin + SHORT_BYTES
}

fn starts(payload: &[u8], entry: &Entry<'_>) -> Vec<u32> {
    let mut starts = Vec::with_capacity(entry.count() + 1);
    let mut at = HEADER_BYTES;
    for record in entry.records() {
        starts.push(u32::try_from(at).expect("an entry is far below 4 GiB"));
        at = match record {
            codec::Record::Short(_) => at + SHORT_BYTES,
            // A general record ends with its command.
            codec::Record::General(command) => {
                command.as_ptr() as usize - payload.as_ptr() as usize + command.len()
            }
        };
    }
    starts.push(u32::try_from(at).expect("an entry is far below 4 GiB"));
    starts
}

fn bad(index: u64, error: &codec::DecodeError) -> Fault {
    Fault::damaged("a log entry", format!("entry {index}: {error}"))
}

/// Reads entries of a set's log, keeping the last few open.
pub(crate) struct Entries {
    log: Log,
    kept: Mutex<VecDeque<Arc<Opened>>>,
}

impl Entries {
    pub(crate) fn new(log: Log) -> Entries {
        Entries { log, kept: Mutex::new(VecDeque::new()) }
    }

    /// The command at an offset of the entry at `index`. If all commands of the entry are known to be in short form, only
    /// that one is read.
    pub(crate) fn one(&self, index: u64, offset: u16, all_short: bool) -> Result<Option<One>, Fault> {
        if !all_short {
            return Ok(self.open(index)?.and_then(|opened| opened.one(offset)));
        }
        let range = short_range(offset.into());
        let header = self.log.slice(index, 0, HEADER_BYTES)?;
        let record = self.log.slice(index, range.start, range.end)?;
        Ok(header.zip(record).map(|(header, record)| One::new(index, &header, &record)))
    }

    /// The entry at `index`; None if that record carries no commands, or is not there.
    fn open(&self, index: u64) -> Result<Option<Arc<Opened>>, Fault> {
        if let Some(opened) = self.kept.lock().iter().find(|opened| opened.index == index) {
            return Ok(Some(Arc::clone(opened)));
        }
        let record = self.log.record(index)?.filter(|record| record.id.index == index);
        let Some(record) = record.filter(|record| record.kind == RecordKind::Commands) else {
            return Ok(None);
        };
        let opened = Arc::new(Opened::new(index, record.payload.clone())?);
        let mut kept = self.kept.lock();
        if kept.len() == KEPT {
            kept.pop_front();
        }
        kept.push_back(Arc::clone(&opened));
        Ok(Some(opened))
    }
}

#[cfg(test)]
mod tests {
    use twinset_ledger::codec::{EntryBuilder, encode_command};
    use twinset_ledger::memory::MemoryState;

    use super::*;

    #[test]
    fn every_command_of_a_mixed_entry_is_found() {
        let mut builder = EntryBuilder::new(1, 5, 77);
        let mut commands = Vec::new();
        for scale in 0..5 {
            let command = Command::DefineCurrency { code: "X".repeat(1 + usize::from(scale)), scale };
            let mut bytes = Vec::new();
            encode_command(&command, &mut bytes);
            builder.push_command_bytes(&bytes);
            commands.push(command);
        }
        let opened = Opened::new(9, builder.finish().into()).unwrap();
        let state = MemoryState::new(1);
        for (offset, command) in (0u16..).zip(&commands) {
            let one = opened.one(offset).unwrap();
            assert_eq!(one.command(&state).unwrap(), (command.clone(), 5));
            assert!(!one.has_request_id("x").unwrap());
        }
        assert!(opened.one(5).is_none());
    }

    #[test]
    fn damage_is_a_fault() {
        assert!(matches!(Opened::new(9, Bytes::from_static(b"no entry")), Err(Fault::Damaged { .. })));
    }
}

//! One command out of a log record, without decoding its neighbours again and again: an opened entry knows where each
//! of its commands lies. A few are kept, because retries come in bursts for the same entries.

use std::collections::VecDeque;
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
    pub(crate) incarnation: u32,
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
        Opened { index, incarnation: entry.incarnation(), starts, payload: payload.clone() }
    }

    /// The command at `offset`, if the entry has one there.
    pub(crate) fn command<S: State>(&self, offset: u16, state: &S) -> Result<Option<Command>, Fault> {
        let Some(bytes) = self.one(offset) else { return Ok(None) };
        let entry = Entry::parse(&bytes).map_err(|error| bad(self.index, &error))?;
        let record = entry.record(0).expect("it was made with one record");
        let command = match record {
            codec::Record::Short(short) => Command::Transaction(expand(&short, state)),
            codec::Record::General(bytes) => {
                codec::decode_command(bytes).map_err(|error| bad(self.index, &error))?
            }
        };
        Ok(Some(command))
    }

    /// Whether the command at `offset` carries this request id.
    pub(crate) fn has_request_id(&self, offset: u16, request_id: &str) -> Result<bool, Fault> {
        let Some(bytes) = self.one(offset) else { return Ok(false) };
        let entry = Entry::parse(&bytes).map_err(|error| bad(self.index, &error))?;
        Ok(match entry.record(0).expect("it was made with one record") {
            codec::Record::Short(short) => short.request_id.to_string() == request_id,
            codec::Record::General(bytes) => {
                let command = codec::decode_command(bytes).map_err(|error| bad(self.index, &error))?;
                command.request_id() == Some(request_id)
            }
        })
    }

    /// An entry of the one command at `offset`.
    fn one(&self, offset: u16) -> Option<Vec<u8>> {
        let offset = usize::from(offset);
        let range = match &self.starts {
            Some(starts) => *starts.get(offset)? as usize..*starts.get(offset + 1)? as usize,
            None => HEADER_BYTES + offset * SHORT_BYTES..HEADER_BYTES + (offset + 1) * SHORT_BYTES,
        };
        let record = self.payload.get(range)?;
        let mut bytes = Vec::with_capacity(HEADER_BYTES + record.len());
        bytes.extend_from_slice(&self.payload[..COUNT_AT]);
        bytes.extend_from_slice(&1u32.to_le_bytes());
        bytes.extend_from_slice(record);
        Some(bytes)
    }
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

    /// The entry at `index`; None if that record carries no commands, or is not there.
    pub(crate) fn open(&self, index: u64) -> Result<Option<Arc<Opened>>, Fault> {
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
        assert_eq!(opened.incarnation, 5);
        let state = MemoryState::new(1, 5);
        for (offset, command) in (0u16..).zip(&commands) {
            assert_eq!(opened.command(offset, &state).unwrap().as_ref(), Some(command));
            assert!(!opened.has_request_id(offset, "x").unwrap());
        }
        assert_eq!(opened.command(5, &state).unwrap(), None);
    }

    #[test]
    fn damage_is_a_fault() {
        assert!(matches!(Opened::new(9, Bytes::from_static(b"no entry")), Err(Fault::Damaged { .. })));
    }
}

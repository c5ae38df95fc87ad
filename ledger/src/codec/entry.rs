//! The entry: many commands that one log record carries. A header, then one record per command, each led by a tag:
//!
//! - header, 19 bytes: format u8 (1), rules version u16, incarnation u32, time u64 (Unix ns), count u32;
//! - tag 1, the short form: 64 bytes, see [`super::short`];
//! - tag 2, the general form: tag, length u32, an encoded command.
//!
//! Parsing checks everything except the insides of general records, which are decoded when they are applied.

use super::DecodeError;
use super::short::{self, SHORT_BYTES, Short};
use super::wire::Reader;
use crate::COMMANDS_PER_ENTRY_MAX;

/// The format that this build writes, and the only one that it reads.
pub const ENTRY_FORMAT: u8 = 1;
/// Bytes of the header.
pub const HEADER_BYTES: usize = 19;

const GENERAL_TAG: u8 = 2;
const COUNT_AT: usize = 15;

/// Collects commands into an entry.
#[derive(Debug)]
pub struct EntryBuilder {
    bytes: Vec<u8>,
    count: usize,
}

impl EntryBuilder {
    /// An entry without commands. `time_unix_ns` is the leader's clock.
    pub fn new(rules_version: u16, incarnation: u32, time_unix_ns: u64) -> Self {
        let mut bytes = vec![ENTRY_FORMAT];
        bytes.extend_from_slice(&rules_version.to_le_bytes());
        bytes.extend_from_slice(&incarnation.to_le_bytes());
        bytes.extend_from_slice(&time_unix_ns.to_le_bytes());
        bytes.extend_from_slice(&0u32.to_le_bytes());
        EntryBuilder { bytes, count: 0 }
    }

    /// Makes room for what is to come.
    pub fn reserve(&mut self, bytes: usize) {
        self.bytes.reserve(bytes);
    }

    /// Adds a transaction in short form. Panics if the entry is full.
    pub fn push_short(&mut self, short: &Short) {
        self.count_one();
        self.bytes.extend_from_slice(&short.encode());
    }

    /// Adds an encoded command, which the caller has decoded and validated: one that cannot be applied would stop
    /// every replica. Panics if the entry is full.
    pub fn push_command_bytes(&mut self, command: &[u8]) {
        self.count_one();
        let len = u32::try_from(command.len()).expect("a command is far below 4 GiB");
        self.bytes.push(GENERAL_TAG);
        self.bytes.extend_from_slice(&len.to_le_bytes());
        self.bytes.extend_from_slice(command);
    }

    /// Bytes so far.
    pub fn len_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Commands so far.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Whether no further command fits.
    pub fn is_full(&self) -> bool {
        self.count == COMMANDS_PER_ENTRY_MAX
    }

    /// The bytes for the log.
    pub fn finish(mut self) -> Vec<u8> {
        let count = u32::try_from(self.count).expect("bounded by COMMANDS_PER_ENTRY_MAX");
        self.bytes[COUNT_AT..HEADER_BYTES].copy_from_slice(&count.to_le_bytes());
        self.bytes
    }

    fn count_one(&mut self) {
        assert!(!self.is_full(), "an entry has at most {COMMANDS_PER_ENTRY_MAX} commands");
        self.count += 1;
    }
}

/// One command of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Record<'a> {
    /// A two-leg transaction.
    Short(Short),
    /// An encoded command of any kind, not decoded yet.
    General(&'a [u8]),
}

/// A parsed entry; borrows the bytes.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    rules_version: u16,
    incarnation: u32,
    time_unix_ns: u64,
    count: usize,
    all_short: bool,
    body: &'a [u8],
}

impl<'a> Entry<'a> {
    /// Checks and opens the bytes of an entry. Never panics.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::new(bytes);
        let format = r.u8()?;
        if format != ENTRY_FORMAT {
            return Err(DecodeError::Unknown { what: "entry format", found: u16::from(format) });
        }
        let (rules_version, incarnation, time_unix_ns) = (r.u16()?, r.u32()?, r.u64()?);
        let count = r.u32()? as usize;
        if count > COMMANDS_PER_ENTRY_MAX {
            return Err(DecodeError::OutOfRange { field: "count" });
        }
        let body = &bytes[HEADER_BYTES..];
        let mut all_short = true;
        for _ in 0..count {
            all_short &= matches!(next_record(&mut r)?, Record::Short(_));
        }
        r.end()?;
        Ok(Entry { rules_version, incarnation, time_unix_ns, count, all_short, body })
    }

    /// The version of the rules to apply it by.
    pub fn rules_version(&self) -> u16 {
        self.rules_version
    }

    /// The incarnation of the set that proposed it.
    pub fn incarnation(&self) -> u32 {
        self.incarnation
    }

    /// The leader's clock when it was proposed. Ledger time may be later, never earlier.
    pub fn time_unix_ns(&self) -> u64 {
        self.time_unix_ns
    }

    /// Commands in it.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Whether every record is in short form.
    pub fn is_all_short(&self) -> bool {
        self.all_short
    }

    /// The records in order.
    pub fn records(&self) -> Records<'a> {
        Records { reader: Reader::new(self.body), left: self.count }
    }

    /// Record `n` from 0: at once if all are short, by walking the lengths otherwise.
    pub fn record(&self, n: usize) -> Option<Record<'a>> {
        if n >= self.count {
            return None;
        }
        if !self.all_short {
            return self.records().nth(n);
        }
        let mut reader = Reader::new(&self.body[n * SHORT_BYTES..]);
        Some(next_record(&mut reader).expect("parse has read every record"))
    }
}

/// The records of an entry in order.
#[derive(Clone)]
pub struct Records<'a> {
    reader: Reader<'a>,
    left: usize,
}

impl<'a> Iterator for Records<'a> {
    type Item = Record<'a>;

    fn next(&mut self) -> Option<Record<'a>> {
        self.left = self.left.checked_sub(1)?;
        Some(next_record(&mut self.reader).expect("parse has read every record"))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for Records<'_> {}

fn next_record<'a>(r: &mut Reader<'a>) -> Result<Record<'a>, DecodeError> {
    let mut ahead = *r;
    match ahead.u8()? {
        short::TAG => Ok(Record::Short(Short::decode(&r.array()?)?)),
        GENERAL_TAG => {
            let len = ahead.u32()? as usize;
            let command = ahead.take(len)?;
            *r = ahead;
            Ok(Record::General(command))
        }
        found => Err(DecodeError::Unknown { what: "record tag", found: u16::from(found) }),
    }
}

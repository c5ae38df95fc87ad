//! The state record of a replica's generation: everything about the set that is neither an account nor a run of
//! entries. Written last by every checkpoint, in one batch with the accounts it touched; what it says was applied is
//! what the disk holds.

use std::collections::{BTreeMap, BTreeSet};

use twinset_ledger::account::Side;
use twinset_ledger::attempt::Attempts;
use twinset_ledger::buffer::Buffer;
use twinset_ledger::codec::{
    DecodeError, decode_attempts, decode_buffer, decode_sweeps, encode_attempts, encode_buffer, encode_sweeps,
};
use twinset_ledger::state::Durability;
use twinset_ledger::sweep::Sweeps;

use super::account::side;
use crate::record::LogId;
use crate::table::Table;
use crate::wire::{BadRecord, Fields, put_block};

/// Of sets that know ids of groups.
const VERSION: u8 = 8;
/// The one before, of sets that have sweeps, and know no groups.
const BEFORE_GROUPS: u8 = 7;
/// One before that, of sets that know buffered accounts, their own or others', and no sweeps.
const BEFORE_SWEEPS: u8 = 6;
/// One before that, of sets that knew no buffered accounts.
const BEFORE_BUFFERED: u8 = 5;
/// One before that, of sets that knew no attempts.
const BEFORE_ATTEMPTS: u8 = 2;

/// A record that the newest checkpoint, or the install of a snapshot, has given to the database: its table and key, one of
/// each table. The database keeps the list of its files in a log of its own; where the end of that is lost, files are
/// forgotten in silence, the newest first, and records with them. These tell.
pub(crate) type Witness = (Table, Vec<u8>);

/// A membership in the bytes of whoever wrote it, with the log record that carried it.
pub type Membership = (Option<LogId>, Vec<u8>);

/// How far a replica has come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// The last record applied.
    pub log_id: Option<LogId>,
    /// The last membership applied.
    pub membership: Option<Membership>,
}

/// Currencies, subjects and ids of groups that were defined in the set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Chart {
    pub(crate) currencies: BTreeMap<String, u8>,
    pub(crate) subjects: BTreeMap<String, (String, Side)>,
    /// Ids that are kept for groups of accounts.
    pub(crate) groups: BTreeSet<String>,
}

/// The record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SetState {
    pub(crate) applied: Applied,
    /// The running hash after the last record.
    pub(crate) hash: [u8; 32],
    pub(crate) last_time: u64,
    pub(crate) durability: Durability,
    /// Transactions and reversals booked, and parts of those over several sets.
    pub(crate) transactions: u64,
    /// Accounts opened.
    pub(crate) accounts: u32,
    /// Request ids remembered, so that the filter is made large enough.
    pub(crate) requests: u64,
    pub(crate) chart: Chart,
    /// Transactions over several sets that are open here.
    pub(crate) attempts: Attempts,
    /// What is known of buffered accounts, and what is on its way to them.
    pub(crate) buffer: Buffer,
    /// The sweeps of its accounts.
    pub(crate) sweeps: Sweeps,
    /// Of the last checkpoint.
    pub(crate) witnesses: Vec<Witness>,
}

impl Applied {
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        put_log_id(out, self.log_id);
        out.push(u8::from(self.membership.is_some()));
        if let Some((log_id, bytes)) = &self.membership {
            put_log_id(out, *log_id);
            put_block(out, bytes);
        }
    }

    pub(crate) fn decode(fields: &mut Fields<'_>) -> Result<Applied, BadRecord> {
        let log_id = log_id(fields)?;
        let membership = match fields.flag("membership")? {
            true => Some((self::log_id(fields)?, fields.block()?.to_vec())),
            false => None,
        };
        Ok(Applied { log_id, membership })
    }
}

fn put_log_id(out: &mut Vec<u8>, log_id: Option<LogId>) {
    out.push(u8::from(log_id.is_some()));
    if let Some(log_id) = log_id {
        out.extend_from_slice(&log_id.to_bytes());
    }
}

fn log_id(fields: &mut Fields<'_>) -> Result<Option<LogId>, BadRecord> {
    fields.flag("log id")?.then(|| LogId::read(fields)).transpose()
}

impl SetState {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let version = self.version();
        let mut out = vec![version];
        self.applied.encode(&mut out);
        out.extend_from_slice(&self.hash);
        out.extend_from_slice(&self.last_time.to_le_bytes());
        out.push(self.durability as u8);
        out.extend_from_slice(&self.transactions.to_le_bytes());
        out.extend_from_slice(&self.accounts.to_le_bytes());
        out.extend_from_slice(&self.requests.to_le_bytes());
        put_count(&mut out, self.chart.currencies.len());
        for (code, scale) in &self.chart.currencies {
            put_block(&mut out, code.as_bytes());
            out.push(*scale);
        }
        put_count(&mut out, self.chart.subjects.len());
        for (code, (name, side)) in &self.chart.subjects {
            put_block(&mut out, code.as_bytes());
            put_block(&mut out, name.as_bytes());
            out.push(*side as u8);
        }
        put_count(&mut out, self.witnesses.len());
        for (table, key) in &self.witnesses {
            out.push(*table as u8);
            put_block(&mut out, key);
        }
        match version {
            BEFORE_ATTEMPTS => {}
            BEFORE_BUFFERED => encode_attempts(&self.attempts, &mut out),
            _ => {
                let mut attempts = Vec::new();
                encode_attempts(&self.attempts, &mut attempts);
                put_block(&mut out, &attempts);
                let mut buffer = Vec::new();
                encode_buffer(&self.buffer, &mut buffer);
                if version == BEFORE_SWEEPS {
                    out.extend_from_slice(&buffer);
                    return out;
                }
                put_block(&mut out, &buffer);
                let mut sweeps = Vec::new();
                encode_sweeps(&self.sweeps, &mut sweeps);
                if version == BEFORE_GROUPS {
                    out.extend_from_slice(&sweeps);
                    return out;
                }
                put_block(&mut out, &sweeps);
                put_count(&mut out, self.chart.groups.len());
                for group in &self.chart.groups {
                    put_block(&mut out, group.as_bytes());
                }
            }
        }
        out
    }

    /// A build that knows no attempts, no buffered accounts, no sweeps or no groups reads what has none.
    fn version(&self) -> u8 {
        let with = [
            (!self.chart.groups.is_empty(), VERSION),
            (!self.sweeps.is_empty(), BEFORE_GROUPS),
            (!self.buffer.is_empty(), BEFORE_SWEEPS),
            (!self.attempts.is_empty(), BEFORE_BUFFERED),
        ];
        with.into_iter().find(|(has, _)| *has).map_or(BEFORE_ATTEMPTS, |(_, version)| version)
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<SetState, BadRecord> {
        let mut fields = Fields::new(bytes);
        let version = fields.u8()?;
        if ![VERSION, BEFORE_GROUPS, BEFORE_SWEEPS, BEFORE_BUFFERED, BEFORE_ATTEMPTS].contains(&version) {
            return Err(BadRecord::Value { field: "version", value: version.into() });
        }
        let mut state = SetState {
            applied: Applied::decode(&mut fields)?,
            hash: fields.array()?,
            last_time: fields.u64()?,
            durability: durability(fields.u8()?)?,
            transactions: fields.u64()?,
            accounts: fields.u32()?,
            requests: fields.u64()?,
            chart: Chart::default(),
            attempts: Attempts::default(),
            buffer: Buffer::default(),
            sweeps: Sweeps::default(),
            witnesses: Vec::new(),
        };
        for _ in 0..fields.u32()? {
            let code = fields.text("currency")?.to_owned();
            state.chart.currencies.insert(code, fields.u8()?);
        }
        for _ in 0..fields.u32()? {
            let code = fields.text("subject")?.to_owned();
            let name = fields.text("subject name")?.to_owned();
            state.chart.subjects.insert(code, (name, side(&mut fields)?));
        }
        for _ in 0..fields.u32()? {
            let number = fields.u8()?;
            let table = Table::from_number(number);
            let table = table.ok_or(BadRecord::Value { field: "table", value: number.into() })?;
            state.witnesses.push((table, fields.block()?.to_vec()));
        }
        if version == BEFORE_ATTEMPTS {
            fields.end()?;
            return Ok(state);
        }
        let attempts = if version == BEFORE_BUFFERED { fields.rest() } else { fields.block()? };
        state.attempts = decode_attempts(attempts).map_err(bad("attempts", bytes.len()))?;
        if version == BEFORE_BUFFERED {
            return Ok(state);
        }
        let buffer = if version == BEFORE_SWEEPS { fields.rest() } else { fields.block()? };
        state.buffer = decode_buffer(buffer).map_err(bad("buffered accounts", bytes.len()))?;
        if version == BEFORE_SWEEPS {
            return Ok(state);
        }
        let sweeps = if version == BEFORE_GROUPS { fields.rest() } else { fields.block()? };
        state.sweeps = decode_sweeps(sweeps).map_err(bad("sweeps", bytes.len()))?;
        if version == BEFORE_GROUPS {
            return Ok(state);
        }
        for _ in 0..fields.u32()? {
            state.chart.groups.insert(fields.text("group")?.to_owned());
        }
        fields.end()?;
        Ok(state)
    }
}

fn bad(field: &'static str, at: usize) -> impl Fn(DecodeError) -> BadRecord {
    move |error| match error {
        DecodeError::Trailing { left } => BadRecord::Trailing { count: left },
        DecodeError::Truncated => BadRecord::Short { at },
        _ => BadRecord::Value { field, value: 0 },
    }
}

fn put_count(out: &mut Vec<u8>, count: usize) {
    let count = u32::try_from(count).expect("definitions come one by one");
    out.extend_from_slice(&count.to_le_bytes());
}

fn durability(byte: u8) -> Result<Durability, BadRecord> {
    match byte {
        0 => Ok(Durability::Sync),
        1 => Ok(Durability::Degraded),
        other => Err(BadRecord::Value { field: "durability", value: other.into() }),
    }
}

#[cfg(test)]
mod tests {
    use twinset_ledger::attempt::{Attempt, Planned, Role};
    use twinset_ledger::command::LegKind;
    use twinset_ledger::id::{Position, TransactionId};

    use super::*;

    fn sample() -> SetState {
        let id = LogId { term: 1, leader: 2, index: 3 };
        SetState {
            applied: Applied { log_id: Some(id), membership: Some((Some(id), b"members".to_vec())) },
            hash: [7; 32],
            last_time: 99,
            durability: Durability::Degraded,
            transactions: 5,
            accounts: 2,
            requests: 8,
            chart: Chart {
                currencies: [("XTS".to_owned(), 3)].into(),
                subjects: [("4711".to_owned(), ("Fees".to_owned(), Side::Credit))].into(),
                groups: ["pot".to_owned(), "shop".to_owned()].into(),
            },
            attempts: attempts(),
            buffer: buffer(),
            sweeps: sweeps(),
            witnesses: vec![(Table::Posting, b"key".to_vec())],
        }
    }

    fn buffer() -> Buffer {
        // An own account that is leaving, one of another set, two parcels to it, an inbox, and a suspended credit.
        let mut bytes = vec![1, 3, 0, 0, 0];
        let id = |set: u32, position: u64| {
            [&set.to_le_bytes()[..], &1u32.to_le_bytes(), &position.to_le_bytes()].concat()
        };
        bytes.extend(id(1, 77));
        bytes.extend([1, 1, 3]);
        bytes.extend(b"far");
        bytes.extend([3]);
        bytes.extend(b"EUR");
        bytes.extend([2, 2]);
        bytes.extend(id(2, 99));
        bytes.extend([1, 1, 2, 0, 0, 0, 1, 0, 0, 0]);
        // Acknowledged 7, waiting 2: position, leg, payee and amount of each.
        bytes.extend([7, 2, 0x80, 0x08, 1, 0, 100, 5, 2, 0, 0xac, 0x02]);
        bytes.extend([1, 4, 0, 0, 0, 1, 0, 0, 0, 9]);
        bytes.extend([1, 0x80, 0x08]);
        decode_buffer(&bytes).unwrap()
    }

    fn sweeps() -> Sweeps {
        // Of three accounts, each with another schedule, the last one with a run that is open.
        let mut bytes = vec![3, 0, 0, 0];
        for (account, when) in [
            (1u8, [&[1, 60, 0, 0, 0][..], &[5; 8]].concat()),
            (2, vec![3]),
            (9, [&[2][..], &7i128.to_le_bytes()].concat()),
        ] {
            bytes.extend([account, 0, 0, 0, 4, 0, 0, 0, 1, 0, 0, 0, 77, 0, 0, 0, 0, 0, 0, 0, 4]);
            bytes.extend(b"main");
            bytes.extend(10i128.to_le_bytes());
            bytes.extend(when);
            bytes.extend([3, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, u8::from(account == 9)]);
        }
        bytes.extend([4, 0, 0, 0, 1, 0, 0, 0, 88, 0, 0, 0, 0, 0, 0, 0]);
        decode_sweeps(&bytes).unwrap()
    }

    fn attempts() -> Attempts {
        let mut attempts = Attempts::default();
        let id = TransactionId { set: 4, incarnation: 1, position: Position::new(7, 0) };
        let reserved = vec![Planned { no: 1, side: Side::Credit, amount: 300, kind: LegKind::Withdrawal }];
        let role = Role::Participant { reverses: None };
        attempts.open(id, Attempt { reserved, accounting_date: 5, opened_ns: 98, role });
        attempts
    }

    #[test]
    fn round_trip() {
        let mut bare = sample();
        bare.applied.membership = None;
        let mut ungrouped = sample();
        ungrouped.chart.groups.clear();
        assert_eq!(ungrouped.encode()[0], BEFORE_GROUPS);
        let unswept = SetState { sweeps: Sweeps::default(), ..ungrouped.clone() };
        assert_eq!(unswept.encode()[0], BEFORE_SWEEPS);
        let strict = SetState { buffer: Buffer::default(), ..unswept.clone() };
        assert_eq!(strict.encode()[0], BEFORE_BUFFERED);
        for state in [SetState::default(), sample(), bare, ungrouped, unswept, strict] {
            assert_eq!(SetState::decode(&state.encode()), Ok(state));
        }
    }

    #[test]
    fn golden_bytes_of_an_empty_set() {
        let bytes = SetState::default().encode();
        assert_eq!(bytes.len(), 1 + 2 + 32 + 8 + 1 + 8 + 4 + 8 + 4 + 4 + 4);
        assert_eq!(bytes[..3], [2, 0, 0]);
    }

    #[test]
    fn without_attempts_it_is_of_the_version_before() {
        let mut state = sample();
        assert_eq!(state.encode()[0], VERSION);
        state.chart.groups.clear();
        state.sweeps = Sweeps::default();
        state.buffer = Buffer::default();
        state.attempts = Attempts::default();
        let bytes = state.encode();
        assert_eq!(bytes[0], BEFORE_ATTEMPTS);
        assert_eq!(SetState::decode(&bytes), Ok(state));
        assert_eq!(SetState::decode(&[&bytes[..], &[0; 4]].concat()), Err(BadRecord::Trailing { count: 4 }));
    }

    #[test]
    fn bad_lengths_and_values_are_refused() {
        let bytes = sample().encode();
        for cut in 0..bytes.len() {
            assert!(SetState::decode(&bytes[..cut]).is_err(), "cut at {cut}");
        }
        assert_eq!(SetState::decode(&[&bytes[..], &[0]].concat()), Err(BadRecord::Trailing { count: 1 }));
        assert!(SetState::decode(&[&[1], &bytes[1..]].concat()).is_err());
    }
}

//! The outcomes of one entry, kept small: a transaction that was booked needs no byte, because its balances stand in
//! the postings and its content in the log. Written out are only the others: rejections, account commands, reversals.
//!
//! | bytes | field |
//! |---|---|
//! | 1 | version (1) |
//! | 1 | flags: bit 0, all commands are in short form |
//! | 4 | commands |
//! | 8 | ledger time of the first one |
//! | 4 | exceptions |
//! | 6 each | offset, end of its bytes; no bytes: nothing is remembered there |
//! | .. | encoded outcomes |

use twinset_ledger::outcome::{Effect, Outcome};

use super::encoded::EncodedOutcomes;
use crate::wire::{BadRecord, Fields};

const VERSION: u8 = 1;
const ALL_SHORT: u8 = 1;
const HEADER_BYTES: usize = 18;
const EXCEPTION_BYTES: usize = 6;

/// What the record says about one command.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Kept<'a> {
    /// A transaction that was booked, at this ledger time.
    Booked {
        /// In nanoseconds since the Unix epoch.
        time_unix_ns: u64,
    },
    /// The encoded outcome.
    Outcome(&'a [u8]),
    /// A replay or a complaint about a request id: nobody asks for it again.
    Nothing,
}

/// Makes the record of an entry from its outcomes, which are also there encoded. `start` is the ledger time of its first
/// command.
pub(crate) fn encode(
    outcomes: &[Outcome],
    encoded: &EncodedOutcomes,
    start: u64,
    all_short: bool,
) -> Vec<u8> {
    let mut table = Vec::new();
    let mut details = Vec::new();
    let mut exceptions = 0u32;
    for ((offset, outcome), bytes) in (0u16..).zip(outcomes).zip(encoded.slices()) {
        if stands_in_postings(outcome) {
            continue;
        }
        if outcome.is_remembered() {
            details.extend_from_slice(bytes);
        }
        exceptions += 1;
        let end = u32::try_from(details.len()).expect("outcomes of an entry are far below 4 GiB");
        table.extend_from_slice(&offset.to_le_bytes());
        table.extend_from_slice(&end.to_le_bytes());
    }
    let mut out = Vec::with_capacity(HEADER_BYTES + table.len() + details.len());
    out.extend_from_slice(&[VERSION, u8::from(all_short) * ALL_SHORT]);
    let count = u32::try_from(outcomes.len()).expect("an entry has at most 65,535 commands");
    out.extend_from_slice(&count.to_le_bytes());
    out.extend_from_slice(&start.to_le_bytes());
    out.extend_from_slice(&exceptions.to_le_bytes());
    out.extend_from_slice(&table);
    out.extend_from_slice(&details);
    out
}

/// Whether the outcome can be made again from the command and the postings.
fn stands_in_postings(outcome: &Outcome) -> bool {
    match &outcome.result {
        // Only a step books nothing: of a transaction there are postings.
        Ok(Effect::Posted(legs)) => {
            !outcome.replayed
                && !legs.is_empty()
                && legs.iter().all(|leg| leg.account.is_empty() && leg.posted == leg.available)
        }
        _ => false,
    }
}

/// A record, opened.
pub(crate) struct Outcomes<'a> {
    all_short: bool,
    count: u32,
    start: u64,
    table: &'a [u8],
    details: &'a [u8],
}

impl<'a> Outcomes<'a> {
    pub(crate) fn open(bytes: &'a [u8]) -> Result<Outcomes<'a>, BadRecord> {
        let mut fields = Fields::new(bytes);
        let version = fields.u8()?;
        if version != VERSION {
            return Err(BadRecord::Value { field: "version", value: version.into() });
        }
        let flags = fields.u8()?;
        if flags > ALL_SHORT {
            return Err(BadRecord::Value { field: "flags", value: flags.into() });
        }
        let count = fields.u32()?;
        let start = fields.u64()?;
        let exceptions = fields.u32()?;
        if exceptions > count {
            return Err(BadRecord::Value { field: "exceptions", value: exceptions.into() });
        }
        let table = fields.take(exceptions as usize * EXCEPTION_BYTES)?;
        let details = fields.rest();
        let outcomes = Outcomes { all_short: flags == ALL_SHORT, count, start, table, details };
        let end = outcomes.table.len() / EXCEPTION_BYTES;
        let end = end.checked_sub(1).map_or(0, |last| outcomes.exception(last).1);
        match details.len().checked_sub(end) {
            Some(0) => Ok(outcomes),
            Some(count) => Err(BadRecord::Trailing { count }),
            None => Err(BadRecord::Short { at: bytes.len() }),
        }
    }

    /// Whether every command of the entry is in short form, so that each lies where its number says.
    pub(crate) fn all_short(&self) -> bool {
        self.all_short
    }

    /// The ledger times of the first and of the last command; None if there are none.
    pub(crate) fn times(&self) -> Option<(u64, u64)> {
        Some((self.start, self.start.checked_add(u64::from(self.count.checked_sub(1)?))?))
    }

    /// What is kept of the command at `offset`; None if the entry has no such command.
    pub(crate) fn get(&self, offset: u16) -> Option<Kept<'a>> {
        if u32::from(offset) >= self.count {
            return None;
        }
        let (mut low, mut high) = (0, self.table.len() / EXCEPTION_BYTES);
        while low < high {
            let middle = (low + high) / 2;
            let (found, end) = self.exception(middle);
            match found.cmp(&offset) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
                std::cmp::Ordering::Equal => {
                    let begin = middle.checked_sub(1).map_or(0, |before| self.exception(before).1);
                    let detail = self.details.get(begin..end).unwrap_or_default();
                    return Some(if detail.is_empty() { Kept::Nothing } else { Kept::Outcome(detail) });
                }
            }
        }
        Some(Kept::Booked { time_unix_ns: self.start + u64::from(offset) })
    }

    fn exception(&self, at: usize) -> (u16, usize) {
        let mut fields = Fields::new(&self.table[at * EXCEPTION_BYTES..]);
        let offset = fields.u16().expect("the table holds whole exceptions");
        (offset, fields.u32().expect("the table holds whole exceptions") as usize)
    }
}

#[cfg(test)]
mod tests {
    use twinset_ledger::account::Side;
    use twinset_ledger::id::Position;
    use twinset_ledger::outcome::Posted;
    use twinset_ledger::rejection::Rejection;

    use super::*;

    fn outcome(offset: u16, result: Result<Effect, Rejection>) -> Outcome {
        Outcome {
            position: Position::new(9, offset),
            incarnation: 1,
            time_unix_ns: 100 + u64::from(offset),
            replayed: false,
            result,
        }
    }

    fn posted(available: i128) -> Result<Effect, Rejection> {
        let leg = |side| Posted { account: String::new(), side, amount: 1, scale: 2, posted: 5, available };
        Ok(Effect::Posted(vec![leg(Side::Debit), leg(Side::Credit)]))
    }

    fn sample() -> Vec<Outcome> {
        vec![
            outcome(0, posted(5)),
            outcome(1, Err(Rejection::AccountNotFound { account: "x".to_owned() })),
            Outcome { replayed: true, ..outcome(2, posted(5)) },
            outcome(3, Ok(Effect::Account)),
            // Something is held: the balances do not follow from the postings alone.
            outcome(4, posted(4)),
            outcome(5, posted(5)),
        ]
    }

    #[test]
    fn only_exceptions_are_written_out() {
        let all = sample();
        let bytes = encode(&all, &EncodedOutcomes::of(&all), 100, true);
        let record = Outcomes::open(&bytes).unwrap();
        assert!(record.all_short());
        assert_eq!(record.times(), Some((100, 105)));
        assert_eq!(record.get(0), Some(Kept::Booked { time_unix_ns: 100 }));
        assert_eq!(record.get(2), Some(Kept::Nothing));
        assert_eq!(record.get(5), Some(Kept::Booked { time_unix_ns: 105 }));
        assert_eq!(record.get(6), None);
        for offset in [1, 3, 4] {
            let Some(Kept::Outcome(detail)) = record.get(offset) else { panic!("{offset} is written out") };
            let decoded = twinset_ledger::codec::decode_outcome(detail).unwrap();
            assert_eq!(decoded, all[usize::from(offset)]);
        }
    }

    #[test]
    fn golden_bytes_of_the_common_case() {
        let one = &sample()[..1];
        let bytes = encode(one, &EncodedOutcomes::of(one), 100, false);
        assert_eq!(bytes, [1, 0, 1, 0, 0, 0, 100, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn bad_lengths_and_values_are_refused() {
        let bytes = encode(&sample(), &EncodedOutcomes::of(&sample()), 100, true);
        for cut in 0..bytes.len() {
            assert!(Outcomes::open(&bytes[..cut]).is_err(), "cut at {cut}");
        }
        assert!(Outcomes::open(&[&bytes[..], &[0]].concat()).is_err());
        for (at, bad) in [(0, 2), (1, 2), (14, 7)] {
            let mut changed = bytes.clone();
            changed[at] = bad;
            assert!(Outcomes::open(&changed).is_err(), "byte {at}");
        }
    }
}

//! Postings: the journal of those since the last checkpoint, in the order they were booked, and the chunks that a
//! checkpoint makes of it, one run per account. Both answer two questions: the posted balance after a position, and what
//! was posted to an account.
//!
//! A chunk may overlap an older one that a crash left behind. Their contents agree wherever they meet, so a reader
//! only has to look for the position itself and, if a chunk does not hold it, in the one before.

use twinset_ledger::id::Position;
use twinset_ledger::state::Posting;

use crate::wire::{BadRecord, Fields};

/// Postings in a chunk, unless the last transaction of it has more: postings of one position are never parted.
pub(crate) const CHUNK_POSTINGS: usize = 512;
const OPENING_BYTES: usize = 16;
const POSTING_BYTES: usize = 24;

/// A place between two postings of an account: before the `nth` of those at a position, counted from 0. It stays the same
/// on every replica, for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Spot {
    /// Of a command.
    pub position: Position,
    /// Among the account's postings there.
    pub nth: u32,
}

impl Spot {
    /// Before whatever is at `position`.
    pub(crate) fn before(position: u64) -> Spot {
        Spot { position: Position(position), nth: 0 }
    }
}

/// A posting of an account, found again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    /// The place before it.
    pub(crate) spot: Spot,
    pub(crate) delta: i128,
    /// Posted balance after it.
    pub(crate) after: i128,
}

impl Found {
    /// The place after it.
    pub(crate) fn end(&self) -> Spot {
        Spot { nth: self.spot.nth + 1, ..self.spot }
    }

    /// Posted balance before it.
    pub(crate) fn before(&self) -> i128 {
        self.after - self.delta
    }
}

/// Counts the postings of an account at each position.
#[derive(Default)]
struct Counter {
    position: Option<u64>,
    count: u32,
}

impl Counter {
    /// The place before the next posting, which is at `position`.
    fn next(&mut self, position: u64) -> Spot {
        self.count = if self.position == Some(position) { self.count + 1 } else { 0 };
        self.position = Some(position);
        Spot { position: Position(position), nth: self.count }
    }
}

/// A posting in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    position: u64,
    account: u32,
    slot: u16,
    delta: i128,
    /// Posted balance after it.
    after: i128,
}

/// The postings since a checkpoint, in order.
#[derive(Default)]
pub(crate) struct Journal {
    lines: Vec<Line>,
}

impl Journal {
    pub(crate) fn with_capacity(count: usize) -> Journal {
        Journal { lines: Vec::with_capacity(count) }
    }

    /// Empty, with the room that it has.
    pub(crate) fn emptied(mut self) -> Journal {
        self.lines.clear();
        self
    }

    pub(crate) fn len(&self) -> usize {
        self.lines.len()
    }

    /// Adds a posting; `slot` is the account's, `after` its posted balance after it.
    pub(crate) fn push(&mut self, account: u32, slot: u16, posting: Posting, after: i128) {
        let (position, delta) = (posting.position.0, posting.delta);
        self.lines.push(Line { position, account, slot, delta, after });
    }

    /// The posted balance of `account` after all its postings at `position`.
    pub(crate) fn after(&self, account: u32, position: u64) -> Option<i128> {
        let end = self.lines.partition_point(|line| line.position <= position);
        let there = self.lines[..end].iter().rev().take_while(|line| line.position == position);
        there.into_iter().find(|line| line.account == account).map(|line| line.after)
    }

    /// Finds the postings of `account` from `from` on and below the position `end`, in order. It looks at no more than
    /// `looks` lines, and the others of the last one's position: where to go on, or None if it saw all.
    pub(crate) fn forward(
        &self,
        account: u32,
        from: Spot,
        end: u64,
        looks: usize,
        found: &mut Vec<Found>,
    ) -> Option<Spot> {
        let lines = &self.lines[self.lines.partition_point(|line| line.position < from.position.0)..];
        let mut counter = Counter::default();
        let mut last = None;
        for (looked, line) in lines.iter().enumerate() {
            if line.position >= end {
                return None;
            }
            if looked >= looks && last != Some(line.position) {
                return Some(Spot::before(line.position));
            }
            last = Some(line.position);
            if line.account == account {
                let spot = counter.next(line.position);
                if spot >= from {
                    found.push(Found { spot, delta: line.delta, after: line.after });
                }
            }
        }
        None
    }

    /// The same from `to` backwards, newest first, down to the position `low`.
    pub(crate) fn backward(
        &self,
        account: u32,
        to: Spot,
        low: u64,
        looks: usize,
        found: &mut Vec<Found>,
    ) -> Option<Spot> {
        let mut rest = &self.lines[..self.lines.partition_point(|line| Spot::before(line.position) < to)];
        let mut looked = 0;
        while let Some(position) = rest.last().map(|line| line.position).filter(|&last| last >= low) {
            if looked >= looks {
                return Some(Spot::before(position + 1));
            }
            let count = rest.iter().rev().take_while(|line| line.position == position).count();
            let (before, there) = rest.split_at(rest.len() - count);
            let (begin, mut counter) = (found.len(), Counter::default());
            for line in there.iter().filter(|line| line.account == account) {
                let spot = counter.next(position);
                if spot < to {
                    found.push(Found { spot, delta: line.delta, after: line.after });
                }
            }
            found[begin..].reverse();
            looked += count;
            rest = before;
        }
        None
    }

    /// Cuts the journal into chunks, in the order of their keys: slot, account, first position; then the value.
    pub(crate) fn chunks<E>(
        &self,
        mut each: impl FnMut(u16, u32, u64, &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        // Slot and account in one number: sorting is most of the work here.
        let mut order: Vec<(u64, u32)> = Vec::with_capacity(self.lines.len());
        for (at, line) in self.lines.iter().enumerate() {
            let owner = u64::from(line.slot) << 32 | u64::from(line.account);
            order.push((owner, u32::try_from(at).expect("checkpoints come long before")));
        }
        order.sort_unstable();
        let mut value = Vec::with_capacity(OPENING_BYTES + CHUNK_POSTINGS * POSTING_BYTES);
        for run in order.chunk_by(|a, b| a.0 == b.0) {
            let lines: Vec<&Line> = run.iter().map(|&(_, at)| &self.lines[at as usize]).collect();
            let mut rest = &lines[..];
            while !rest.is_empty() {
                let (chunk, more) = rest.split_at(cut(rest));
                rest = more;
                value.clear();
                let first = chunk[0];
                value.extend_from_slice(&(first.after - first.delta).to_le_bytes());
                for line in chunk {
                    value.extend_from_slice(&line.position.to_le_bytes());
                    value.extend_from_slice(&line.delta.to_le_bytes());
                }
                each(first.slot, first.account, first.position, &value)?;
            }
        }
        Ok(())
    }
}

/// How many of one account's lines make a chunk.
fn cut(lines: &[&Line]) -> usize {
    let mut count = lines.len().min(CHUNK_POSTINGS);
    while count < lines.len() && lines[count].position == lines[count - 1].position {
        count += 1;
    }
    count
}

/// The posted balance after all postings of a chunk at `position`; None if it has none there.
pub(crate) fn after_in_chunk(chunk: &[u8], position: u64) -> Result<Option<i128>, BadRecord> {
    let mut fields = Fields::new(chunk);
    let mut balance = fields.i128()?;
    let mut found = None;
    while !fields.rest().is_empty() {
        let at = fields.u64()?;
        let delta = fields.i128()?;
        if at > position {
            break;
        }
        // Sums of postings were checked when they were booked.
        balance = balance.checked_add(delta).ok_or(BadRecord::Value { field: "delta", value: at })?;
        if at == position {
            found = Some(balance);
        }
    }
    Ok(found)
}

/// How many postings a chunk has, and the position of the last.
pub(crate) fn chunk_end(chunk: &[u8]) -> Result<(usize, u64), BadRecord> {
    let count = chunk.len().saturating_sub(OPENING_BYTES) / POSTING_BYTES;
    let last = chunk.len().checked_sub(POSTING_BYTES).filter(|_| count > 0);
    let last = last.ok_or(BadRecord::Short { at: chunk.len() })?;
    Ok((count, Fields::new(&chunk[last..]).u64()?))
}

/// All postings of a chunk, in order.
pub(crate) fn postings_of_chunk(chunk: &[u8]) -> Result<Vec<Found>, BadRecord> {
    let mut fields = Fields::new(chunk);
    let mut after = fields.i128()?;
    let mut found = Vec::with_capacity(chunk.len() / POSTING_BYTES);
    let mut counter = Counter::default();
    while !fields.rest().is_empty() {
        let position = fields.u64()?;
        let delta = fields.i128()?;
        after = after.checked_add(delta).ok_or(BadRecord::Value { field: "delta", value: position })?;
        found.push(Found { spot: counter.next(position), delta, after });
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use twinset_ledger::id::Position;

    use super::*;

    /// Of accounts 0, 1 and 2.
    const SLOTS: [u16; 3] = [9, 8, 7];

    fn journal(lines: &[(u32, u64, i128)]) -> Journal {
        let mut journal = Journal::default();
        let mut balances = std::collections::BTreeMap::<u32, i128>::new();
        for &(account, position, delta) in lines {
            let after = balances.entry(account).or_insert(100);
            *after += delta;
            let slot = SLOTS[account as usize];
            journal.push(account, slot, Posting { position: Position(position), delta }, *after);
        }
        journal
    }

    fn chunks(journal: &Journal) -> Vec<(u32, u64, Vec<u8>)> {
        let mut out = Vec::new();
        let all: Result<(), ()> = journal.chunks(|slot, account, first, value| {
            assert_eq!(slot, SLOTS[account as usize]);
            out.push((account, first, value.to_vec()));
            Ok(())
        });
        all.unwrap();
        out
    }

    #[test]
    fn the_balance_after_a_position_is_the_same_in_memory_and_in_chunks() {
        // Two postings of account 1 at position 6: the balance after it is after both.
        let journal = journal(&[(1, 5, 10), (2, 5, -10), (1, 6, 1), (1, 6, 2), (2, 6, -3), (1, 9, -50)]);
        let chunks = chunks(&journal);
        assert_eq!(chunks.iter().map(|chunk| chunk.0).collect::<Vec<_>>(), [2, 1], "in the order of slots");
        let expected = [
            (1, 5, Some(110)),
            (1, 6, Some(113)),
            (1, 9, Some(63)),
            (2, 6, Some(87)),
            (1, 7, None),
            (2, 9, None),
        ];
        for (account, position, balance) in expected {
            assert_eq!(journal.after(account, position), balance, "{account} at {position}");
            let chunk = &chunks.iter().find(|chunk| chunk.0 == account).unwrap().2;
            assert_eq!(after_in_chunk(chunk, position), Ok(balance), "{account} at {position}");
        }
    }

    fn spot(position: u64, nth: u32) -> Spot {
        Spot { nth, ..Spot::before(position) }
    }

    #[test]
    fn postings_are_found_in_both_directions_in_memory_and_in_chunks() {
        let lines = [(1, 5, 10), (2, 5, -10), (1, 6, 1), (2, 6, -3), (1, 6, 2), (2, 7, 4), (1, 9, -50)];
        let journal = journal(&lines);
        let all = |account| {
            let mut found = Vec::new();
            assert_eq!(journal.forward(account, spot(0, 0), u64::MAX, 99, &mut found), None);
            found
        };
        let of_one = [(5, 0, 110), (6, 0, 111), (6, 1, 113), (9, 0, 63)];
        assert_eq!(
            all(1).iter().map(|one| (one.spot.position.0, one.spot.nth, one.after)).collect::<Vec<_>>(),
            of_one
        );
        for (account, _, chunk) in chunks(&journal) {
            assert_eq!(postings_of_chunk(&chunk).unwrap(), all(account));
            let last = all(account).last().unwrap().spot.position.0;
            assert_eq!(chunk_end(&chunk), Ok((all(account).len(), last)));
        }
        // From every place to every other, with every number of looks.
        let places: Vec<Spot> = (4..=10).flat_map(|at| [spot(at, 0), spot(at, 1)]).collect();
        for (from, to) in places.iter().flat_map(|from| places.iter().map(move |to| (*from, *to))) {
            for looks in 1..8 {
                let (mut forward, mut at) = (Vec::new(), Some(from));
                while let Some(begin) = at {
                    at = journal.forward(1, begin, to.position.0, looks, &mut forward);
                    assert!(at.is_none_or(|at| at > begin));
                }
                let fits = |one: &&Found| one.spot >= from && one.spot.position.0 < to.position.0;
                assert_eq!(forward, all(1).iter().filter(fits).copied().collect::<Vec<_>>());
                let (mut backward, mut at) = (Vec::new(), Some(to));
                while let Some(end) = at {
                    at = journal.backward(1, end, from.position.0, looks, &mut backward);
                    assert!(at.is_none_or(|at| at < end));
                }
                let fits = |one: &&Found| one.spot < to && one.spot.position.0 >= from.position.0;
                assert_eq!(backward, all(1).iter().rev().filter(fits).copied().collect::<Vec<_>>());
            }
        }
    }

    #[test]
    fn chunks_are_capped_and_never_part_a_position() {
        let mut lines: Vec<_> = (0..511).map(|n| (1, n, 1)).collect();
        lines.extend([(1, 600, 1), (1, 600, 1), (1, 600, 1), (1, 601, 1)]);
        let chunks = chunks(&journal(&lines));
        assert_eq!(chunks.iter().map(|chunk| chunk.1).collect::<Vec<_>>(), [0, 601]);
        assert_eq!(chunks[0].2.len(), OPENING_BYTES + 514 * POSTING_BYTES);
        assert_eq!(after_in_chunk(&chunks[0].2, 600), Ok(Some(614)));
        assert_eq!(after_in_chunk(&chunks[1].2, 601), Ok(Some(615)));
    }

    #[test]
    fn golden_bytes_and_bad_lengths() {
        let chunk = &chunks(&journal(&[(1, 5, -1)]))[0].2;
        let mut golden = 100i128.to_le_bytes().to_vec();
        golden.extend_from_slice(&5u64.to_le_bytes());
        golden.extend_from_slice(&(-1i128).to_le_bytes());
        assert_eq!(*chunk, golden);
        for cut in (0..golden.len()).filter(|&cut| cut != OPENING_BYTES) {
            assert!(after_in_chunk(&golden[..cut], 5).is_err(), "cut at {cut}");
            assert!(postings_of_chunk(&golden[..cut]).is_err(), "cut at {cut}");
        }
        assert!(chunk_end(&golden[..OPENING_BYTES]).is_err() && chunk_end(&[]).is_err());
    }
}

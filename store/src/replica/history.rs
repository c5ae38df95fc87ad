//! The postings of one account, in order, from memory and from disk, a piece under each lock. Above are statements and
//! balances; below are the journal and the chunks of `postings`.

use twinset_ledger::account::AccountNo;
use twinset_ledger::id::Position;

use super::LedgerReplica;
use super::postings::{CHUNK_POSTINGS, Found, Spot, chunk_end, postings_of_chunk};
use super::rebuild::bad;
use super::state::{Fresh, ReplicaState};
use crate::fault::Fault;
use crate::keys;
use crate::table::Table;

/// Lines of a journal that are looked at under one lock.
const LINES_PER_LOCK: usize = 16_384;
/// Stored postings that are read under one lock; each chunk counts as some more.
const STORED_PER_LOCK: usize = 2_048;
const CHUNK_COST: usize = 32;
/// How many short chunks one looks back over for a longer one. What lies within the range of another chunk was left behind
/// by a crash in the middle of a checkpoint, each by one of its own, and is overwritten by most checkpoints that follow.
const LEFT_BEHIND_MAX: usize = 8;

/// A part of the way along an account's postings.
pub(super) struct Piece {
    pub(super) found: Vec<Found>,
    /// Where to go on; None: that was all.
    pub(super) next: Option<Spot>,
}

impl LedgerReplica {
    /// The posted balance of an account before a position.
    pub(super) fn balance_before(&self, no: AccountNo, end: Position) -> Result<i128, Fault> {
        let mut at = Spot::before(end.0);
        loop {
            let piece = self.cell.state.read().backward(no, at, Position(0))?;
            match (piece.found.first(), piece.next) {
                (Some(newest), _) => return Ok(newest.after),
                (None, Some(next)) => at = next,
                (None, None) => return Ok(0),
            }
        }
    }
}

impl ReplicaState {
    /// Postings of an account from `from` on and below `end`, in order: a piece of them, which may be empty.
    pub(super) fn forward(&self, no: AccountNo, from: Spot, end: Position) -> Result<Piece, Fault> {
        let mut found = Vec::new();
        let stored = Position::new(self.stored_end, 0);
        if from.position < stored {
            let next = self.stored_forward(no, from, end.min(stored), &mut found)?;
            let next = next.or((end > stored).then_some(Spot { position: stored, nth: 0 }));
            return Ok(Piece { found, next });
        }
        let mut next = None;
        for memory in self.frozen.as_deref().into_iter().chain(self.touched_since_freeze(no)) {
            next = memory.journal.forward(no, from, end.0, LINES_PER_LOCK, &mut found);
            if next.is_some() {
                break;
            }
        }
        Ok(Piece { found, next })
    }

    /// The same from `to` backwards and down to `low`, newest first.
    pub(super) fn backward(&self, no: AccountNo, to: Spot, low: Position) -> Result<Piece, Fault> {
        let mut found = Vec::new();
        let stored = Position::new(self.stored_end, 0);
        for memory in self.touched_since_freeze(no).into_iter().chain(self.frozen.as_deref()) {
            let low = low.max(stored);
            let next = memory.journal.backward(no, to, low.0, LINES_PER_LOCK, &mut found);
            if next.is_some() {
                return Ok(Piece { found, next });
            }
        }
        let next = match low < stored {
            // What memory had is a piece of its own.
            true if !found.is_empty() => Some(Spot { position: stored, nth: 0 }),
            true => self.stored_backward(no, to.min(Spot { position: stored, nth: 0 }), low, &mut found)?,
            false => None,
        };
        Ok(Piece { found, next })
    }

    /// What came since the last freeze, if the account has any part in it.
    fn touched_since_freeze(&self, no: AccountNo) -> Option<&Fresh> {
        (self.sides[no as usize].stamp == self.stamp).then_some(&self.fresh)
    }

    fn stored_forward(
        &self,
        no: AccountNo,
        from: Spot,
        end: Position,
        found: &mut Vec<Found>,
    ) -> Result<Option<Spot>, Fault> {
        let (mut at, mut cost) = (from, 0);
        while at.position < end {
            if cost >= STORED_PER_LOCK {
                return Ok(Some(at));
            }
            // Each time anew: the next chunk by its key may begin behind what a longer one before it still holds.
            let first = match self.furthest(no, at.position.0 + 1)? {
                Some((first, last)) if last >= at.position.0 => first,
                _ => match self.first_after(no, at.position.0, end)? {
                    Some(first) => first,
                    None => break,
                },
            };
            let postings = self.chunk(no, first)?;
            cost += postings.len() + CHUNK_COST;
            found.extend(postings.iter().filter(|one| one.spot >= at && one.spot.position < end).copied());
            at = Spot::before(postings.last().map_or(first, |one| one.spot.position.0) + 1);
        }
        Ok(None)
    }

    fn stored_backward(
        &self,
        no: AccountNo,
        to: Spot,
        low: Position,
        found: &mut Vec<Found>,
    ) -> Result<Option<Spot>, Fault> {
        let (mut at, mut cost) = (to, 0);
        while at.position > low || at.nth > 0 && at.position == low {
            if cost >= STORED_PER_LOCK {
                return Ok(Some(at));
            }
            let below = at.position.0 + u64::from(at.nth > 0);
            let Some((first, _)) = self.furthest(no, below)? else { break };
            let postings = self.chunk(no, first)?;
            cost += postings.len() + CHUNK_COST;
            let below = postings.iter().rev().filter(|one| one.spot < at && one.spot.position >= low);
            found.extend(below.copied());
            at = Spot::before(first);
        }
        Ok(None)
    }

    /// Where the first chunk of an account begins that begins after a position, and below `end`.
    fn first_after(&self, no: AccountNo, position: u64, end: Position) -> Result<Option<u64>, Fault> {
        let key = |first| keys::posting(self.generation, self.sides[no as usize].slot, no, first);
        let mut cursor = self.engine.cursor(Table::Posting, &key(end.0))?;
        cursor.seek(&key(position + 1));
        match cursor.key() {
            Some(key) => keys::parse_posting(key).map(Some).map_err(bad("a chunk of postings")),
            None => cursor.ended().map(|()| None),
        }
    }

    /// The postings of the chunk that begins at a position.
    fn chunk(&self, no: AccountNo, first: u64) -> Result<Vec<Found>, Fault> {
        let key = keys::posting(self.generation, self.sides[no as usize].slot, no, first);
        let chunk = self.engine.get(Table::Posting, &key)?;
        let chunk = chunk.ok_or_else(|| Fault::damaged("a chunk of postings", "it is gone"))?;
        postings_of_chunk(&chunk).map_err(bad("a chunk of postings"))
    }

    /// Of the chunks of an account that begin below a position, the first and the last position of the one that reaches
    /// furthest. If it reaches the position before that, it holds all that is there between its ends.
    fn furthest(&self, no: AccountNo, below: u64) -> Result<Option<(u64, u64)>, Fault> {
        let slot = self.sides[no as usize].slot;
        let mut cursor =
            self.engine.cursor(Table::Posting, &keys::posting(self.generation, slot, no, below))?;
        cursor.seek_to_last();
        let lowest = keys::posting(self.generation, slot, no, 0);
        let mut best: Option<(u64, u64)> = None;
        for _ in 0..=LEFT_BEHIND_MAX {
            let Some((key, chunk)) = cursor.item().filter(|(key, _)| *key >= &lowest[..]) else { break };
            let first = keys::parse_posting(key).map_err(bad("a chunk of postings"))?;
            let (count, last) = chunk_end(chunk).map_err(bad("a chunk of postings"))?;
            if best.is_none_or(|(_, furthest)| last > furthest) {
                best = Some((first, last));
            }
            // A chunk that is full lies within the range of no other: that one would have more postings than it can.
            if last >= below - 1 || count >= CHUNK_POSTINGS {
                break;
            }
            cursor.prev();
        }
        cursor.ended()?;
        Ok(best)
    }
}

#[cfg(test)]
mod tests {
    use twinset_ledger::command::Command;
    use twinset_ledger::state::Posting;

    use super::super::postings::Journal;
    use super::super::sample::{Fed, open, pay};
    use super::*;

    const ENTRIES: u64 = 160;

    /// Small, seeded, and the same everywhere.
    struct Dice(u64);

    impl Dice {
        fn roll(&mut self, below: u64) -> u64 {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (self.0 >> 33) % below
        }
    }

    /// Entries of many postings of account 0, and of a few of account 2, which lies idle now and then.
    fn entry(index: u64) -> Vec<Command> {
        let many = (0..index * 7 % 25).map(|n| pay(&format!("{index}-{n}"), "a", "b", 1 + n as i64));
        let few = index.is_multiple_of(5).then(|| pay(&format!("{index}-few"), "c", "b", 3));
        many.chain(few).chain([pay(&format!("{index}-back"), "b", "a", 2)]).collect()
    }

    fn all(fed: &Fed, no: AccountNo) -> Vec<Found> {
        let mut found = Vec::new();
        let state = fed.replica.cell.state.read();
        let journal = &state.fresh.journal;
        assert_eq!(journal.forward(no, Spot::before(0), u64::MAX, usize::MAX, &mut found), None);
        found
    }

    /// What a checkpoint leaves on disk that is killed before its last write.
    fn leave_behind(fed: &Fed, run: &[(AccountNo, Found)]) {
        let state = fed.replica.cell.state.read();
        let mut journal = Journal::default();
        for (no, found) in run {
            let posting = Posting { position: found.spot.position, delta: found.delta };
            journal.push(*no, state.sides[*no as usize].slot, posting, found.after);
        }
        let mut batch = state.engine.batch();
        let put = |slot, account, first, value: &[u8]| {
            batch.put(Table::Posting, &keys::posting(state.generation, slot, account, first), value);
            Ok::<_, Fault>(())
        };
        journal.chunks(put).unwrap();
        state.engine.write(batch).unwrap();
    }

    fn walk(fed: &Fed, no: AccountNo, (from, to): (Spot, Spot), backwards: bool) -> Vec<Found> {
        let (mut found, mut at) = (Vec::new(), if backwards { to } else { from });
        loop {
            let state = fed.replica.cell.state.read();
            let piece = match backwards {
                true => state.backward(no, at, from.position),
                false => state.forward(no, at, to.position),
            };
            let Piece { found: more, next } = piece.unwrap();
            found.extend(more);
            let Some(next) = next else { return found };
            assert!(if backwards { next < at } else { next > at }, "from {at:?} to {next:?}");
            at = next;
        }
    }

    /// Checkpoints at any place, some killed that had come further than the one after them.
    #[test]
    fn what_crashes_left_behind_hides_nothing() {
        let whole = Fed::new();
        whole.feed(&["a", "b", "c"].map(open));
        (1..ENTRIES).for_each(|index| assert_eq!(whole.feed(&entry(index)), index));
        let truth: Vec<(AccountNo, Found)> =
            [0, 2].into_iter().flat_map(|no| all(&whole, no).into_iter().map(move |one| (no, one))).collect();
        assert!(all(&whole, 0).len() > 3 * CHUNK_POSTINGS);
        for seed in 0..12 {
            let mut dice = Dice(seed);
            let fed = Fed::new();
            fed.feed(&["a", "b", "c"].map(open));
            let mut stored = 0;
            for index in 1..ENTRIES {
                fed.feed(&entry(index));
                if dice.roll(12) == 0 {
                    let reached = (index + dice.roll(60)).min(ENTRIES);
                    let lost = |(_, one): &&(AccountNo, Found)| {
                        (stored..reached).contains(&one.spot.position.index())
                    };
                    leave_behind(&fed, &truth.iter().filter(lost).copied().collect::<Vec<_>>());
                }
                if dice.roll(if seed % 2 == 0 { 2 } else { 15 }) == 0 {
                    fed.replica.checkpoint().unwrap();
                    stored = index + 1;
                }
                if dice.roll(4) > 0 {
                    continue;
                }
                let no = [0, 2][dice.roll(2) as usize];
                let there: Vec<Found> = truth
                    .iter()
                    .filter(|(owner, one)| *owner == no && one.spot.position.index() <= index)
                    .map(|(_, one)| *one)
                    .collect();
                let mut place =
                    || Spot { nth: 0, position: Position::new(dice.roll(index + 2), (dice.roll(30)) as u16) };
                let range = (place(), place());
                let within = |one: &&Found| (range.0..range.1).contains(&one.spot);
                let mut expected: Vec<Found> = there.iter().filter(within).copied().collect();
                assert!(walk(&fed, no, range, false) == expected, "seed {seed}, entry {index}, {range:?}");
                expected.reverse();
                assert!(walk(&fed, no, range, true) == expected, "seed {seed}, entry {index}, {range:?}");
                let end = range.1.position;
                let before = there.iter().rev().find(|one| one.spot.position < end);
                let balance = fed.replica.balance_before(no, end).unwrap();
                assert_eq!(balance, before.map_or(0, |one| one.after), "seed {seed}, before {end:?}");
            }
        }
    }
}

//! Which position a ledger time belongs to. Time rises strictly with the position, so it is found by bisecting the log:
//! one look at an outcome record under each lock, and as many looks as an index has bits.

use twinset_ledger::id::Position;

use super::LedgerReplica;
use super::outcomes::Outcomes;
use super::rebuild::bad;
use super::state::ReplicaState;
use crate::fault::Fault;
use crate::keys;
use crate::table::Table;

/// An entry that has commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Timed {
    index: u64,
    /// Ledger time of its first command.
    first: u64,
    /// Ledger time of its last command.
    last: u64,
}

impl LedgerReplica {
    /// The first position of the entries up to `upto` whose ledger time is `time_unix_ns` or later; if there is none, the one
    /// after them all.
    pub(super) fn first_at(&self, time_unix_ns: u64, upto: u64) -> Result<Position, Fault> {
        let after_all = upto + 1;
        let (mut low, mut high) = (0, after_all);
        while low < high {
            let middle = low.midpoint(high);
            match self.cell.state.read().timed_from(middle, after_all)? {
                Some(entry) if entry.last < time_unix_ns => low = entry.index + 1,
                _ => high = middle,
            }
        }
        let entry = self.cell.state.read().timed_from(low, after_all)?;
        let Some(entry) = entry else { return Ok(Position::new(after_all, 0)) };
        let offset = u16::try_from(time_unix_ns.saturating_sub(entry.first));
        let offset = offset.map_err(|_| {
            Fault::damaged("the outcome records", format!("time falls after entry {}", entry.index))
        })?;
        Ok(Position::new(entry.index, offset))
    }

    /// The index and the ledger time of the last command before a position; None if there is none.
    pub(super) fn last_before(&self, end: Position) -> Result<Option<(u64, u64)>, Fault> {
        let state = self.cell.state.read();
        if end.offset() > 0
            && let Some(entry) = state.timed_from(end.index(), end.index() + 1)?
        {
            let time = (entry.first + u64::from(end.offset()) - 1).min(entry.last);
            return Ok(Some((entry.index, time)));
        }
        Ok(state.timed_before(end.index())?.map(|entry| (entry.index, entry.last)))
    }
}

impl ReplicaState {
    /// The first entry with commands from `index` on and below `end`.
    fn timed_from(&self, index: u64, end: u64) -> Result<Option<Timed>, Fault> {
        let stored_end = end.min(self.stored_end);
        if index < stored_end {
            let mut cursor =
                self.engine.cursor(Table::Outcome, &keys::outcome(self.generation, stored_end))?;
            cursor.seek(&keys::outcome(self.generation, index));
            while let Some((key, record)) = cursor.item() {
                if let Some(timed) = timed(outcome_index(key)?, record)? {
                    return Ok(Some(timed));
                }
                cursor.next();
            }
            cursor.ended()?;
        }
        // The older part first.
        for memory in self.frozen.as_deref().into_iter().chain([&self.fresh]) {
            let begin = memory.outcomes.partition_point(|(at, _)| *at < index);
            for (at, record) in memory.outcomes[begin..].iter().take_while(|(at, _)| *at < end) {
                if let Some(timed) = timed(*at, record)? {
                    return Ok(Some(timed));
                }
            }
        }
        Ok(None)
    }

    /// The last entry with commands below `end`.
    fn timed_before(&self, end: u64) -> Result<Option<Timed>, Fault> {
        for memory in self.memories() {
            let end = memory.outcomes.partition_point(|(at, _)| *at < end);
            for (at, record) in memory.outcomes[..end].iter().rev() {
                if let Some(timed) = timed(*at, record)? {
                    return Ok(Some(timed));
                }
            }
        }
        let first = keys::outcome(self.generation, 0);
        let end = keys::outcome(self.generation, end.min(self.stored_end));
        let mut cursor = self.engine.cursor(Table::Outcome, &end)?;
        cursor.seek_to_last();
        while let Some((key, record)) = cursor.item().filter(|(key, _)| *key >= &first[..]) {
            if let Some(timed) = timed(outcome_index(key)?, record)? {
                return Ok(Some(timed));
            }
            cursor.prev();
        }
        cursor.ended()?;
        Ok(None)
    }
}

fn outcome_index(key: &[u8]) -> Result<u64, Fault> {
    keys::parse_outcome(key).map_err(bad("an outcome record"))
}

/// None: it has no commands.
fn timed(index: u64, record: &[u8]) -> Result<Option<Timed>, Fault> {
    let times = Outcomes::open(record).map_err(bad("an outcome record"))?.times();
    Ok(times.map(|(first, last)| Timed { index, first, last }))
}

#[cfg(test)]
mod tests {
    use twinset_ledger::command::Command;

    use super::super::sample::{Fed, open, pay};
    use super::*;
    use crate::record::{LogId, Record, RecordKind};

    /// Entries of several commands, blank ones between them, and how time goes on in them.
    #[test]
    fn every_time_leads_to_its_position_and_back() {
        let fed = Fed::new();
        let blank = |fed: &Fed| {
            let index = fed.log.last().map_or(0, |last| last.index + 1);
            let id = LogId { term: 1, leader: 1, index };
            let record = Record { id, kind: RecordKind::Blank, payload: Vec::new().into() };
            fed.append(vec![record.clone()]);
            fed.replica.apply(&record).unwrap();
            index
        };
        let mut commands: Vec<(Position, u64)> = Vec::new();
        blank(&fed);
        let mut feed = |fed: &Fed, batch: &[Command]| {
            let index = fed.feed(batch);
            let last = fed.replica.last_time();
            let first = last + 1 - batch.len() as u64;
            commands.extend((0..batch.len()).map(|n| (Position::new(index, n as u16), first + n as u64)));
        };
        feed(&fed, &[open("a"), open("b")]);
        for round in 0..12 {
            let batch: Vec<Command> =
                (0..=round % 4).map(|n| pay(&format!("{round}-{n}"), "a", "b", 1)).collect();
            feed(&fed, &batch);
            if round % 3 == 0 {
                blank(&fed);
            }
            if round % 5 == 4 {
                fed.replica.checkpoint().unwrap();
            }
        }
        let upto = blank(&fed);
        let end = Position::new(upto + 1, 0);
        let (first, last) = (commands[0].1, commands.last().unwrap().1);
        assert_eq!(fed.replica.first_at(0, upto), Ok(commands[0].0));
        assert_eq!(fed.replica.first_at(u64::MAX, upto), Ok(end));
        for time in first - 2..=last + 2 {
            let after = commands.iter().find(|(_, at)| *at >= time).map_or(end, |(position, _)| *position);
            assert_eq!(fed.replica.first_at(time, upto), Ok(after), "{time}");
            let before = commands.iter().rev().find(|(_, at)| *at < time);
            let before = before.map(|(position, time)| (position.index(), *time));
            assert_eq!(fed.replica.last_before(after), Ok(before), "{time}");
        }
        // Of the entries up to one in the middle, as if no more were there.
        let middle = commands[7].0.index();
        assert_eq!(fed.replica.first_at(last, middle), Ok(Position::new(middle + 1, 0)));
        let within = commands.iter().rev().find(|(position, _)| position.index() <= middle).unwrap();
        assert_eq!(
            fed.replica.last_before(Position::new(middle + 1, 0)),
            Ok(Some((within.0.index(), within.1)))
        );
    }
}

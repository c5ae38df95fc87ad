//! The log's part in installing a snapshot: what follows the snapshot is copied to the new generation, most of it while the
//! log goes on, and the rest while it stands still.

use std::sync::Arc;

use super::stored::read_stored;
use super::{Log, State};
use crate::engine::{Batch, Engine};
use crate::fault::Fault;
use crate::keys::{self, Generation};
use crate::record::{LogId, Record};
use crate::table::Table;

/// What has been copied of a log.
pub(crate) struct Carried {
    last: LogId,
    truncations: u64,
}

/// Bytes of records copied at once, from one generation to another.
const COPY_BYTES: usize = 1 << 20;

impl Log {
    /// Prepares a new generation's log, which already holds all records up to `upto`: copies what follows it here. The log
    /// goes on meanwhile; [`State::finish_carry`] does the rest.
    pub(crate) fn carry_over(&self, to: Generation, upto: LogId) -> Result<Carried, Fault> {
        let (generation, end, truncations) = {
            let state = self.cell.state.lock();
            (state.generation, state.last.map_or(0, |last| last.index + 1), state.truncations)
        };
        let mut last = upto;
        let follows = follows_on(self.engine(), generation, upto, end)?;
        while follows && last.index + 1 < end {
            let records = self.read(last.index + 1, end, COPY_BYTES);
            if self.cell.state.lock().truncations != truncations {
                break;
            }
            last = copy(self.engine(), to, &records?, last)?;
        }
        Ok(Carried { last, truncations })
    }
}

impl State {
    /// Completes what [`Log::carry_over`] began, now that nothing can be appended, and sets the pointers in `batch`. Gives
    /// the new last record.
    pub(crate) fn finish_carry(
        &self,
        engine: &Engine,
        to: Generation,
        upto: LogId,
        carried: &Carried,
        batch: &mut Batch<'_>,
    ) -> Result<LogId, Fault> {
        let mut last = carried.last;
        if carried.truncations != self.truncations && last != upto {
            let mut undo = engine.batch();
            let copied = keys::log(to, upto.index + 1, 0);
            undo.delete_range(Table::Log, &copied, &keys::log(to, last.index + 1, 0));
            engine.write(undo)?;
            last = upto;
        }
        let end = self.last.map_or(0, |last| last.index + 1);
        let follows = last != upto || follows_on(engine, self.generation, upto, end)?;
        while follows && last.index + 1 < end {
            let records = read_stored(engine, self.generation, last.index + 1, end, COPY_BYTES)?;
            last = copy(engine, to, &records, last)?;
        }
        batch.put(Table::Raft, &keys::named(keys::PURGED, to), &upto.to_bytes());
        Ok(last)
    }

    /// Takes the new generation's place, after the pointer was flipped.
    pub(crate) fn replace(&mut self, to: Generation, upto: LogId, last: LogId) {
        self.generation = to;
        self.purged = Some(upto);
        self.committed = None;
        self.committed_waits = false;
        self.last = Some(last);
        self.tail.clear();
    }
}

/// Whether a log has records after `upto` that go on from it: it must have that very record. One that cannot be read is
/// a fault, not another record: what follows it was acknowledged.
fn follows_on(engine: &Engine, generation: Generation, upto: LogId, end: u64) -> Result<bool, Fault> {
    if upto.index + 1 >= end {
        return Ok(false);
    }
    let found = read_stored(engine, generation, upto.index, upto.index + 1, 0)?;
    Ok(found.first().is_some_and(|found| found.id == upto))
}

/// Copies records, of which there is one at least, into another generation's log; gives the last one.
fn copy(engine: &Engine, to: Generation, records: &[Arc<Record>], after: LogId) -> Result<LogId, Fault> {
    let first = records.first().map(|record| record.id.index);
    if first != Some(after.index + 1) {
        let detail = format!("record {} is missing", after.index + 1);
        return Err(Fault::damaged("the log", detail));
    }
    let mut batch = engine.batch();
    for record in records {
        record.store(to, |key, value| batch.put(Table::Log, key, value));
    }
    engine.write(batch)?;
    Ok(records.last().map_or(after, |record| record.id))
}

#[cfg(test)]
mod tests {
    use std::ops::Range;

    use super::*;
    use crate::options::Options;
    use crate::record::RecordKind;
    use crate::shared::Shared;

    fn records(term: u64, range: Range<u64>) -> Vec<Record> {
        let record = |index| Record {
            id: LogId { term, leader: 1, index },
            kind: RecordKind::Commands,
            payload: vec![index as u8; 20_000].into(),
        };
        range.map(record).collect()
    }

    fn append(log: &Log, records: Vec<Record>) {
        log.append(records, Box::new(|result| result.unwrap())).unwrap();
    }

    /// Carries a log of 100 records, of which the snapshot has 20, to a new generation. `meanwhile` happens between the copy
    /// and the locks.
    fn carried(meanwhile: impl FnOnce(&Log)) -> (Vec<LogId>, Vec<LogId>) {
        let dir = tempfile::tempdir().unwrap();
        let shared = Arc::new(Shared::open(dir.path(), &Options::default()).unwrap());
        let log = Log::open(Arc::clone(&shared), 1).unwrap();
        append(&log, records(1, 0..100));
        let begun = shared.generations.begin(&shared.engine, 1).unwrap();
        let upto = LogId { term: 1, leader: 1, index: 19 };
        let ids = |generation| {
            let stored = read_stored(&shared.engine, generation, 20, 1000, usize::MAX).unwrap();
            stored.iter().map(|record| record.id).collect::<Vec<_>>()
        };
        let carried = log.carry_over(begun.generation(), upto).unwrap();
        let before = ids(begun.generation());
        meanwhile(&log);
        let state = log.freeze();
        let mut batch = shared.engine.batch();
        let last =
            state.finish_carry(&shared.engine, begun.generation(), upto, &carried, &mut batch).unwrap();
        let after = ids(begun.generation());
        assert_eq!((after.last(), state.last), (Some(&last), Some(last)));
        assert_eq!(after, ids(state.generation));
        (before, after)
    }

    #[test]
    fn the_log_is_copied_before_it_is_stopped() {
        let (before, after) = carried(|log| append(log, records(1, 100..103)));
        assert_eq!((before.len(), after.len()), (80, 83), "only what came meanwhile is left for the end");
    }

    #[test]
    fn a_record_that_cannot_be_read_is_no_other_record() {
        let dir = tempfile::tempdir().unwrap();
        let shared = Arc::new(Shared::open(dir.path(), &Options::default()).unwrap());
        let log = Log::open(Arc::clone(&shared), 1).unwrap();
        append(&log, records(1, 0..30));
        let upto = LogId { term: 1, leader: 1, index: 19 };
        let follows = |upto| follows_on(&shared.engine, log.generation(), upto, 30);
        assert_eq!(follows(upto), Ok(true));
        assert_eq!(follows(LogId { term: 2, ..upto }), Ok(false));
        assert_eq!(follows(LogId { index: 29, ..upto }), Ok(false), "there is nothing after it");
        log.damage(19);
        assert!(matches!(follows(upto), Err(Fault::Damaged { .. })), "{:?}", follows(upto));
        let begun = shared.generations.begin(&shared.engine, 1).unwrap();
        assert!(log.carry_over(begun.generation(), upto).is_err());
    }

    #[test]
    fn what_is_truncated_meanwhile_is_not_carried_over() {
        let (before, after) = carried(|log| {
            log.truncate_after(Some(50)).unwrap();
            append(log, records(2, 51..60));
        });
        assert_eq!((before.len(), after.len()), (80, 40));
        assert_eq!(after.last().map(|last| last.term), Some(2));
    }
}

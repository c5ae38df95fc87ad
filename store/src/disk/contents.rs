//! What a simulated disk holds: the records as a reader sees them, the records as the last sync left them, and between the
//! two what was written since, in order. A crash is a choice of how much of that is still there. Knows bytes and
//! tables; whose they are and when is decided above, in [`super`].
//!
//! A built file is durable when it was taken over, though batches written before it may be lost: that is how the real
//! database has it, and why what is ingested must not count before the record that says so.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Bound;
use std::sync::Arc;

use super::Kept;
use crate::engine::Change;
use crate::table::Table;

/// The records of a table.
pub(crate) type Records = BTreeMap<Arc<[u8]>, Arc<[u8]>>;

/// All tables. Cheap to clone: whoever writes next copies the table if somebody still reads it.
#[derive(Clone, Default)]
pub(crate) struct Tables([Arc<Records>; Table::ALL.len()]);

/// What is not yet covered by a sync.
enum Written {
    Batch { number: u64, bytes: u64, changes: Vec<Change> },
    File { table: Table, records: Arc<Records> },
}

/// The disk's records, and what a crash would leave of them.
#[derive(Default)]
pub(super) struct Contents {
    live: Tables,
    durable: Tables,
    unsynced: VecDeque<Written>,
    /// Records that cannot be read.
    rotten: BTreeSet<(Table, Arc<[u8]>)>,
}

impl Tables {
    /// The records of one table.
    pub(crate) fn of(&self, table: Table) -> &Arc<Records> {
        &self.0[table.place()]
    }

    fn change(&mut self, table: Table) -> &mut Records {
        Arc::make_mut(&mut self.0[table.place()])
    }

    fn apply(&mut self, change: &Change) {
        match change {
            Change::Put(table, key, value) => {
                self.change(*table).insert(Arc::clone(key), Arc::clone(value));
            }
            Change::Delete(table, key) => {
                self.change(*table).remove(&**key);
            }
            Change::DeleteRange(table, from, to) => self.delete_range(*table, from, to),
        }
    }

    fn delete_range(&mut self, table: Table, from: &[u8], to: &[u8]) {
        for key in keys_between(self.of(table), from, to) {
            self.change(table).remove(&*key);
        }
    }

    fn take_over(&mut self, table: Table, records: &Records) {
        let records = records.iter().map(|(key, value)| (Arc::clone(key), Arc::clone(value)));
        self.change(table).extend(records);
    }
}

impl Contents {
    pub(super) fn live(&self) -> &Tables {
        &self.live
    }

    /// Writes a batch. Visible at once, durable with a sync that covers its number.
    pub(super) fn write(&mut self, number: u64, changes: Vec<Change>) {
        for change in &changes {
            self.live.apply(change);
            self.heal(change);
        }
        let bytes = changes.iter().map(bytes_of).sum();
        self.unsynced.push_back(Written::Batch { number, bytes, changes });
    }

    /// Takes over a built file, visible and durable.
    pub(super) fn ingest(&mut self, table: Table, records: Records) {
        for key in records.keys() {
            self.rotten.remove(&(table, Arc::clone(key)));
        }
        self.live.take_over(table, &records);
        self.unsynced.push_back(Written::File { table, records: Arc::new(records) });
    }

    /// Makes the batches up to a number durable.
    pub(super) fn sync(&mut self, through: u64) {
        while let Some(written) = self.unsynced.front() {
            match written {
                Written::Batch { number, .. } if *number > through => break,
                Written::Batch { changes, .. } => {
                    changes.iter().for_each(|change| self.durable.apply(change))
                }
                Written::File { table, records } => self.durable.take_over(*table, records),
            }
            self.unsynced.pop_front();
        }
    }

    /// How many batches, and how many bytes in them, no sync has covered.
    pub(super) fn unsynced(&self) -> (u64, u64) {
        let batch = |written: &Written| match written {
            Written::Batch { bytes, .. } => Some(*bytes),
            Written::File { .. } => None,
        };
        self.unsynced.iter().filter_map(batch).fold((0, 0), |(count, sum), bytes| (count + 1, sum + bytes))
    }

    /// Leaves what a crash leaves: all that was synced, all files, and the batches that are kept. Gives the number of
    /// batches that are gone.
    pub(super) fn crash(&mut self, kept: Kept) -> u64 {
        let mut room = match kept {
            Kept::Nothing => (0, 0),
            Kept::Batches(count) => (count, u64::MAX),
            Kept::Bytes(bytes) => (u64::MAX, bytes),
            Kept::Everything => (u64::MAX, u64::MAX),
        };
        let mut lost = 0;
        for written in std::mem::take(&mut self.unsynced) {
            match written {
                Written::File { table, records } => self.durable.take_over(table, &records),
                Written::Batch { bytes, changes, .. } => {
                    // The log ends with the first batch that is not there whole.
                    if lost > 0 || room.0 == 0 || room.1 < bytes {
                        lost += 1;
                        continue;
                    }
                    room = (room.0 - 1, room.1 - bytes);
                    changes.iter().for_each(|change| self.durable.apply(change));
                }
            }
        }
        self.live = self.durable.clone();
        lost
    }

    /// What a crash leaves at worst, as new contents.
    pub(super) fn at_worst(&self) -> Contents {
        let mut durable = self.durable.clone();
        for written in &self.unsynced {
            if let Written::File { table, records } = written {
                durable.take_over(*table, records);
            }
        }
        Contents { live: durable.clone(), durable, unsynced: VecDeque::new(), rotten: self.rotten.clone() }
    }

    /// Everything that is there is durable from now on: a database writes what it reads of its log to tables.
    pub(super) fn settle(&mut self) {
        self.sync(u64::MAX);
    }

    /// The number of records.
    pub(super) fn records(&self) -> u64 {
        Table::ALL.into_iter().map(|table| self.live.of(table).len() as u64).sum()
    }

    /// Table and key of the `nth` record, in the order of tables and keys.
    pub(super) fn nth(&self, mut nth: u64) -> Option<(Table, Arc<[u8]>)> {
        for table in Table::ALL {
            let records = self.live.of(table);
            if nth < records.len() as u64 {
                let at = usize::try_from(nth).expect("it is below a length");
                return records.keys().nth(at).map(|key| (table, Arc::clone(key)));
            }
            nth -= records.len() as u64;
        }
        None
    }

    /// The record cannot be read from now on, until it is written anew.
    pub(super) fn rot(&mut self, table: Table, key: Arc<[u8]>) {
        self.rotten.insert((table, key));
    }

    /// Whether the record cannot be read.
    pub(super) fn is_rotten(&self, table: Table, key: &Arc<[u8]>) -> bool {
        !self.rotten.is_empty() && self.rotten.contains(&(table, Arc::clone(key)))
    }

    /// Flips a bit of a record, wherever the record is. Nothing happens to an empty one.
    pub(super) fn flip(&mut self, table: Table, key: &Arc<[u8]>, bit: u64) {
        for tables in [&mut self.live, &mut self.durable] {
            let Some(value) = tables.of(table).get(key).filter(|value| !value.is_empty()) else { continue };
            let mut bytes = value.to_vec();
            let bits = bytes.len() as u64 * 8;
            let at = usize::try_from(bit % bits / 8).expect("it is below a length");
            bytes[at] ^= 1 << (bit % 8);
            tables.change(table).insert(Arc::clone(key), bytes.into());
        }
    }

    /// What is written anew can be read.
    fn heal(&mut self, change: &Change) {
        if self.rotten.is_empty() {
            return;
        }
        match change {
            Change::Put(table, key, _) => {
                self.rotten.remove(&(*table, Arc::clone(key)));
            }
            Change::Delete(table, key) => {
                self.rotten.remove(&(*table, Arc::from(&**key)));
            }
            Change::DeleteRange(table, from, to) => {
                let within = |key: &[u8]| (&**from..&**to).contains(&key);
                self.rotten.retain(|(other, key)| other != table || !within(key));
            }
        }
    }
}

fn keys_between(records: &Records, from: &[u8], to: &[u8]) -> Vec<Arc<[u8]>> {
    if from >= to {
        return Vec::new();
    }
    let range = records.range::<[u8], _>((Bound::Included(from), Bound::Excluded(to)));
    range.map(|(key, _)| Arc::clone(key)).collect()
}

/// What a change takes in the log; only its order of magnitude is the real one's.
fn bytes_of(change: &Change) -> u64 {
    let (key, value) = match change {
        Change::Put(_, key, value) => (key.len(), value.len()),
        Change::Delete(_, key) => (key.len(), 0),
        Change::DeleteRange(_, from, to) => (from.len(), to.len()),
    };
    (key + value) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(key: &str, value: &str) -> Change {
        Change::Put(Table::Meta, key.as_bytes().into(), value.as_bytes().into())
    }

    fn shown(contents: &Contents) -> Vec<(String, String)> {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        contents.live().of(Table::Meta).iter().map(|(key, value)| (text(key), text(value))).collect()
    }

    fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
        expected.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn a_file_outlives_the_batches_before_it_and_keeps_its_place_among_those_that_are_left() {
        let file = |value: &str| Records::from([(b"a".as_slice().into(), value.as_bytes().into())]);
        for (kept, expected) in [
            (Kept::Nothing, [("a", "file"), ("z", "synced")].as_slice()),
            (Kept::Batches(1), &[("a", "file"), ("b", "1"), ("z", "synced")]),
            (Kept::Everything, &[("a", "2"), ("b", "1"), ("z", "synced")]),
        ] {
            let mut contents = Contents::default();
            contents.write(1, vec![put("z", "synced")]);
            contents.sync(1);
            contents.write(2, vec![put("a", "1"), put("b", "1")]);
            contents.ingest(Table::Meta, file("file"));
            contents.write(3, vec![put("a", "2")]);
            assert_eq!(shown(&contents), pairs(&[("a", "2"), ("b", "1"), ("z", "synced")]));
            contents.crash(kept);
            assert_eq!(shown(&contents), pairs(expected), "{kept:?}");
        }
    }

    #[test]
    fn a_sync_covers_what_it_names_and_what_is_there_at_an_open_is_settled() {
        let mut contents = Contents::default();
        (1..=3).for_each(|number| contents.write(number, vec![put(&format!("{number}"), "x")]));
        contents.sync(1);
        assert_eq!(contents.unsynced(), (2, 4));
        assert_eq!(contents.crash(Kept::Batches(1)), 1);
        assert_eq!(shown(&contents), pairs(&[("1", "x"), ("2", "x")]));
        contents.write(3, vec![put("3", "x")]);
        contents.settle();
        assert_eq!((contents.crash(Kept::Nothing), shown(&contents).len()), (0, 3));
    }
}

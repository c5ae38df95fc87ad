//! The newest records of one log, in memory: replication and apply read them from here. Bounded in bytes; always a run
//! without holes that ends with the log's last record, or empty.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::record::Record;

/// The cache.
pub(crate) struct Tail {
    records: VecDeque<Arc<Record>>,
    bytes: usize,
    bytes_max: usize,
}

impl Tail {
    pub(crate) fn new(bytes_max: usize) -> Tail {
        Tail { records: VecDeque::new(), bytes: 0, bytes_max }
    }

    /// The index of the oldest record that is held.
    pub(crate) fn first(&self) -> Option<u64> {
        self.records.front().map(|record| record.id.index)
    }

    /// Adds the log's newest record. At least the newest one is always held.
    pub(crate) fn push(&mut self, record: Arc<Record>) {
        if self.records.back().is_some_and(|last| last.id.index + 1 != record.id.index) {
            self.clear();
        }
        self.bytes += record.bytes();
        self.records.push_back(record);
        while self.bytes > self.bytes_max && self.records.len() > 1 {
            let oldest = self.records.pop_front().expect("there are two at least");
            self.bytes -= oldest.bytes();
        }
    }

    /// Forgets everything from `index` on.
    pub(crate) fn truncate_from(&mut self, index: u64) {
        while self.records.back().is_some_and(|last| last.id.index >= index) {
            let last = self.records.pop_back().expect("there is a last one");
            self.bytes -= last.bytes();
        }
    }

    pub(crate) fn clear(&mut self) {
        self.records.clear();
        self.bytes = 0;
    }

    /// Adds the records `[from, to)` to `out` until it holds `bytes_max`, one at least; `from` must be held.
    pub(crate) fn read(&self, from: u64, to: u64, bytes_max: usize, out: &mut Vec<Arc<Record>>) {
        let Some(first) = self.first() else { return };
        let skip = usize::try_from(from - first).expect("a cache has fewer records than memory has bytes");
        let mut bytes: usize = out.iter().map(|record| record.payload.len()).sum();
        for record in self.records.iter().skip(skip) {
            bytes += record.payload.len();
            if record.id.index >= to || (bytes > bytes_max && !out.is_empty()) {
                break;
            }
            out.push(Arc::clone(record));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{LogId, RecordKind};

    fn record(index: u64) -> Arc<Record> {
        let id = LogId { term: 1, leader: 1, index };
        Arc::new(Record { id, kind: RecordKind::Commands, payload: vec![0; 1000].into() })
    }

    fn read(tail: &Tail, from: u64, to: u64, bytes: usize) -> Vec<u64> {
        let mut out = Vec::new();
        tail.read(from, to, bytes, &mut out);
        out.iter().map(|record| record.id.index).collect()
    }

    #[test]
    fn bounded_contiguous_and_truncated() {
        let mut tail = Tail::new(5 * record(0).bytes());
        for index in 10..20 {
            tail.push(record(index));
        }
        assert_eq!(tail.first(), Some(15));
        assert_eq!(read(&tail, 16, 19, usize::MAX), [16, 17, 18]);
        assert_eq!(read(&tail, 16, 99, 2500), [16, 17]);
        assert_eq!(read(&tail, 16, 99, 0), [16]);
        tail.truncate_from(17);
        tail.push(record(17));
        assert_eq!(read(&tail, 15, 99, usize::MAX), [15, 16, 17]);
        tail.push(record(30));
        assert_eq!(tail.first(), Some(30));
        tail.truncate_from(0);
        assert_eq!((tail.first(), tail.bytes), (None, 0));
    }
}

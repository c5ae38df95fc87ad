//! The column families and how each is laid out on disk. Numbers and names never change their meaning.

use rocksdb::{BlockBasedOptions, Cache, DBCompressionType, Options as Rocks};

use crate::options::Options;

/// A column family. All sets share it; every key begins with a generation or a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Table {
    /// Raft log records, kept for ever: they are the ledger's lasting record.
    Log = 1,
    /// Votes and log pointers.
    Raft = 2,
    /// Identity, generations, replica records, blobs, documents, set states.
    Meta = 3,
    /// Accounts.
    Account = 4,
    /// Where request ids were decided.
    Request = 5,
    /// Chunks of postings.
    Posting = 6,
    /// Outcomes of entries.
    Outcome = 7,
    /// Reversals.
    Link = 8,
}

impl Table {
    pub(crate) const ALL: [Table; 8] = [
        Table::Log,
        Table::Raft,
        Table::Meta,
        Table::Account,
        Table::Request,
        Table::Posting,
        Table::Outcome,
        Table::Link,
    ];
    /// The tables that hold a replica's state and log, by generation; snapshots carry them in this order.
    pub(crate) const OF_REPLICA: [Table; 6] =
        [Table::Account, Table::Request, Table::Posting, Table::Outcome, Table::Link, Table::Log];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Table::Log => "log",
            Table::Raft => "raft",
            Table::Meta => "meta",
            Table::Account => "account",
            Table::Request => "request",
            Table::Posting => "posting",
            Table::Outcome => "outcome",
            Table::Link => "link",
        }
    }

    pub(crate) fn from_number(number: u8) -> Option<Table> {
        Table::ALL.into_iter().find(|&table| table as u8 == number)
    }

    /// Options of the column family, and of files that are built to be ingested into it.
    pub(crate) fn options(self, options: &Options, cache: Option<&Cache>) -> Rocks {
        let mut rocks = Rocks::default();
        let mut blocks = BlockBasedOptions::default();
        blocks.set_format_version(5);
        blocks.set_block_size(16 << 10);
        if let Some(cache) = cache {
            blocks.set_block_cache(cache);
        }
        if matches!(self, Table::Request | Table::Account) {
            blocks.set_bloom_filter(10.0, false);
        }
        rocks.set_compression_type(DBCompressionType::None);
        rocks.set_target_file_size_base(64 << 20);
        rocks.set_max_bytes_for_level_base(256 << 20);
        // Half of the cost of ingested runs is their compaction: let many gather. Measured, not guessed.
        rocks.set_level_zero_file_num_compaction_trigger(32);
        rocks.set_level_zero_slowdown_writes_trigger(96);
        rocks.set_level_zero_stop_writes_trigger(128);
        if self == Table::Log {
            rocks.set_write_buffer_size(options.log_write_buffer_bytes);
            rocks.set_target_file_size_base(256 << 20);
            rocks.set_level_zero_file_num_compaction_trigger(4);
        } else {
            rocks.set_write_buffer_size(32 << 20);
        }
        rocks.set_block_based_table_factory(&blocks);
        rocks
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_names_are_for_ever() {
        let all: Vec<_> = Table::ALL.into_iter().map(|table| (table as u8, table.name())).collect();
        assert_eq!(
            all,
            [
                (1, "log"),
                (2, "raft"),
                (3, "meta"),
                (4, "account"),
                (5, "request"),
                (6, "posting"),
                (7, "outcome"),
                (8, "link")
            ]
        );
        assert_eq!(Table::from_number(6), Some(Table::Posting));
        assert_eq!(Table::from_number(9), None);
    }
}

//! How each table is laid out by the real database.

use rocksdb::{BlockBasedOptions, Cache, DBCompressionType, Options as Rocksdb};

use crate::options::Options;
use crate::table::Table;

/// Options of the column family, and of files that are built to be ingested into it.
pub(super) fn options(table: Table, options: &Options, cache: Option<&Cache>) -> Rocksdb {
    let mut rocks = Rocksdb::default();
    let mut blocks = BlockBasedOptions::default();
    blocks.set_format_version(5);
    blocks.set_block_size(16 << 10);
    if let Some(cache) = cache {
        blocks.set_block_cache(cache);
    }
    if matches!(table, Table::Request | Table::Account) {
        blocks.set_bloom_filter(10.0, false);
    }
    rocks.set_compression_type(DBCompressionType::None);
    rocks.set_target_file_size_base(64 << 20);
    rocks.set_max_bytes_for_level_base(256 << 20);
    // Half of the cost of ingested runs is their compaction: let many gather. Measured, not guessed.
    rocks.set_level_zero_file_num_compaction_trigger(32);
    rocks.set_level_zero_slowdown_writes_trigger(96);
    rocks.set_level_zero_stop_writes_trigger(128);
    if table == Table::Log {
        rocks.set_write_buffer_size(options.log_write_buffer_bytes);
        rocks.set_target_file_size_base(256 << 20);
        rocks.set_level_zero_file_num_compaction_trigger(4);
    } else {
        rocks.set_write_buffer_size(32 << 20);
    }
    rocks.set_block_based_table_factory(&blocks);
    rocks
}

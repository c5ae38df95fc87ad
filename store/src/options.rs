//! The store's knobs. Every one has a default that was measured or reasoned about; none is read from the environment.

/// How a store is opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// A replica's checkpoint is due after this many commands.
    pub checkpoint_commands: u64,
    /// ... or after this many bytes of entries.
    pub checkpoint_log_bytes: u64,
    /// Newest log records kept in memory, for each set.
    pub tail_cache_bytes: usize,
    /// Whether a thread of the store makes checkpoints when they are due. Off: the owner calls `checkpoint` itself.
    pub background_checkpoints: bool,
    /// Callbacks that may wait for the syncer; a full queue makes the caller wait.
    pub sync_queue: usize,
    /// Cache of blocks read from disk, shared by all sets.
    pub block_cache_bytes: usize,
    /// Memory for log records that are not yet in a table file.
    pub log_write_buffer_bytes: usize,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            checkpoint_commands: 131_072,
            checkpoint_log_bytes: 32 << 20,
            tail_cache_bytes: 64 << 20,
            background_checkpoints: true,
            sync_queue: 4_096,
            block_cache_bytes: 64 << 20,
            log_write_buffer_bytes: 64 << 20,
        }
    }
}

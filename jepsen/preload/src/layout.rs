//! The file that a process with the library and the harness share: 64-bit words, mapped by the one, read and written in
//! place by the other. Included by both sides, so it uses nothing but the language.

/// In the first word of a file of this layout.
pub const MAGIC: u64 = 0x7477_696e_7365_7401;

/// In [`Word::FailSyncsOf`]: any file but a write-ahead log of the database.
pub const FAIL_NO_LOG: u64 = 1;
/// In [`Word::FailSyncsOf`]: the database's list of its files.
pub const FAIL_LIST: u64 = 2;

/// Words of the first part, by their place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Word {
    /// [`MAGIC`]; without it the library does nothing.
    Magic,
    /// So many of the next syncs fail with EIO.
    FailSyncs,
    /// Which syncs fail: 0, the next ones; [`FAIL_NO_LOG`], the next that are not of write-ahead logs; [`FAIL_LIST`],
    /// the next of the database's list of its files.
    FailSyncsOf,
    /// Every sync takes so much longer, in microseconds.
    SyncDelayUs,
    /// Not 0: syncs are reported as done and not done.
    Lie,
    /// Not 0: what would take more room fails with ENOSPC.
    DiskFull,
    /// So many of the next writes fail with EIO.
    FailWrites,
    /// What is added to the wall clock, in nanoseconds; a negative number in two's complement.
    ClockOffsetNs,
    /// Syncs of files and directories that were asked for.
    Syncs,
    /// Syncs that were made to fail.
    FailedSyncs,
    /// Syncs that were made to take longer.
    DelayedSyncs,
    /// Syncs that were reported as done and not done.
    LiedSyncs,
    /// Writes, and other calls that need room, that were refused.
    RefusedWrites,
    /// Readings of the wall clock that were shifted.
    ShiftedReads,
    /// Calls for random bytes that were answered from the seed.
    SeededRandoms,
    /// The number of the last change of a name.
    NameNumber,
    /// Graves that were dug: see [`GRAVES`].
    GravesDug,
    /// What could not be kept book of. Not 0: an image made from the books could be wrong.
    Unbooked,
}

/// The table of files begins at this word.
pub const FILES_AT: usize = 64;
/// Files that the table has room for.
pub const FILES: usize = 32_768;
/// Words per file: its key, how many of its bytes a sync has covered, and 1 if it is written in place.
pub const FILE_WORDS: usize = 3;
/// The table of graves begins at this word.
pub const GRAVES_AT: usize = FILES_AT + FILES * FILE_WORDS;
/// Files without a name that are kept, because a power cut may bring the name back: the newest so many.
pub const GRAVES: usize = 64;
/// Words per grave: the number of the change that took its name, and the hash of the directory of that name.
pub const GRAVE_WORDS: usize = 2;
/// Words of the whole file.
pub const WORDS: usize = GRAVES_AT + GRAVES * GRAVE_WORDS;

/// Beside the shared file, with this at the end of its name: the journal of names, a line per change.
pub const NAMES: &str = ".names";
/// The same for the directory of the files without a name; each is called by the number of its change.
pub const GRAVE_DIR: &str = ".graves";
/// The same for the directory of what was synced of files that are written in place; each is called by its key.
pub const SHADOW_DIR: &str = ".shadows";

/// Under which key a file stands in the table; never 0.
pub fn key(device: u64, inode: u64) -> u64 {
    (inode ^ device.rotate_left(40)).max(1)
}

/// Where the search for a key begins in the table of files.
pub fn first_slot(key: u64) -> usize {
    let mixed = key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
    mixed as usize % FILES
}

/// The bit-mixing step of SplitMix64.
pub fn mix(seed: u64) -> u64 {
    let mut z = seed;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

//! The marker: a small file that says up to which numbered write the write-ahead log was synced. The database cuts a
//! damaged log where the damage begins and opens without a word; the marker is how the store notices that something
//! it had acknowledged is gone. Written after every sync, never synced itself: an old marker only proves less.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use parking_lot::Mutex;

const FILE: &str = "synced";
/// Two slots, a disk block apart and written in turn, so that a torn write spoils only one.
const SLOT_BYTES: u64 = 4096;
const RECORD_BYTES: usize = 12;

/// What an existing marker says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Marked {
    /// There is no marker file.
    Missing,
    /// There is one, and no slot of it is readable.
    Unreadable,
    /// Everything up to this write was synced.
    Synced(u64),
}

/// The marker file, open for writing.
pub(crate) struct Marker {
    file: File,
    state: Mutex<State>,
}

struct State {
    synced: u64,
    slot: u64,
}

/// Reads the marker without changing it.
pub(crate) fn read(dir: &Path) -> io::Result<Marked> {
    let file = match File::open(dir.join(FILE)) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Marked::Missing),
        Err(error) => return Err(error),
    };
    let mut newest = None;
    for slot in 0..2 {
        let mut record = [0; RECORD_BYTES];
        match file.read_exact_at(&mut record, slot * SLOT_BYTES) {
            Ok(()) => newest = newest.max(decode(&record)),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {}
            Err(error) => return Err(error),
        }
    }
    Ok(newest.map_or(Marked::Unreadable, Marked::Synced))
}

impl Marker {
    /// Opens or creates the marker, at `synced`, and syncs it once.
    pub(crate) fn open(dir: &Path, synced: u64) -> io::Result<Marker> {
        let file =
            File::options().read(true).write(true).create(true).truncate(false).open(dir.join(FILE))?;
        for slot in 0..2 {
            file.write_all_at(&encode(synced), slot * SLOT_BYTES)?;
        }
        file.sync_all()?;
        File::open(dir)?.sync_all()?;
        Ok(Marker { file, state: Mutex::new(State { synced, slot: 0 }) })
    }

    /// Everything up to `synced` is on disk.
    pub(crate) fn advance(&self, synced: u64) -> io::Result<()> {
        let mut state = self.state.lock();
        if synced <= state.synced {
            return Ok(());
        }
        self.file.write_all_at(&encode(synced), state.slot * SLOT_BYTES)?;
        state.synced = synced;
        state.slot = 1 - state.slot;
        Ok(())
    }
}

fn encode(synced: u64) -> [u8; RECORD_BYTES] {
    let mut record = [0; RECORD_BYTES];
    record[..8].copy_from_slice(&synced.to_le_bytes());
    let crc = crc32c::crc32c(&record[..8]);
    record[8..].copy_from_slice(&crc.to_le_bytes());
    record
}

fn decode(record: &[u8; RECORD_BYTES]) -> Option<u64> {
    let (number, crc) = record.split_at(8);
    let good = crc32c::crc32c(number).to_le_bytes() == crc;
    good.then(|| u64::from_le_bytes(number.try_into().expect("eight bytes were split off")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_readable_slot_counts() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(read(dir.path()).unwrap(), Marked::Missing);
        let marker = Marker::open(dir.path(), 5).unwrap();
        assert_eq!(read(dir.path()).unwrap(), Marked::Synced(5));
        for synced in [9, 7, 12] {
            marker.advance(synced).unwrap();
        }
        assert_eq!(read(dir.path()).unwrap(), Marked::Synced(12));
        // 12 is in the second slot; without it the first one proves less, but not nothing.
        let path = dir.path().join(FILE);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[SLOT_BYTES as usize] ^= 1;
        std::fs::write(&path, &bytes).unwrap();
        assert_eq!(read(dir.path()).unwrap(), Marked::Synced(9));
        std::fs::write(&path, &bytes[..3]).unwrap();
        assert_eq!(read(dir.path()).unwrap(), Marked::Unreadable);
    }
}

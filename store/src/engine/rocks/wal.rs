//! A look at the write-ahead log files before the database reads them. The database's own reader never ends on a header
//! that names a type of recycled logs in a log that is not recycled (it neither skips it nor gives up), so one flipped
//! bit could hang a node at its start. This scan follows the reader block by block and finds such a header first.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

const BLOCK_BYTES: usize = 32 << 10;
const HEADER_BYTES: usize = 7;

/// A header that the database would never get past.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Unreadable {
    /// The log file.
    pub(crate) file: String,
    /// Where in it.
    pub(crate) offset: u64,
}

/// Looks through all log files of a database; None if its reader will come to an end.
pub(crate) fn check(database: &Path) -> io::Result<Option<Unreadable>> {
    let entries = match fs::read_dir(database) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_none_or(|extension| extension != "log") {
            continue;
        }
        if let Some(offset) = check_file(&mut File::open(&path)?)? {
            let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            return Ok(Some(Unreadable { file, offset }));
        }
    }
    Ok(None)
}

fn check_file(file: &mut impl Read) -> io::Result<Option<u64>> {
    let mut block = Vec::with_capacity(BLOCK_BYTES);
    let mut begin = 0;
    loop {
        block.clear();
        file.by_ref().take(BLOCK_BYTES as u64).read_to_end(&mut block)?;
        if block.is_empty() {
            return Ok(None);
        }
        if let Some(at) = check_block(&block) {
            return Ok(Some(begin + at as u64));
        }
        begin += block.len() as u64;
    }
}

/// Follows the records of a block as far as the database's reader does: up to the first that is cut or does not match
/// its checksum.
fn check_block(block: &[u8]) -> Option<usize> {
    let mut at = 0;
    while let Some(header) = block.get(at..at + HEADER_BYTES) {
        let kind = header[6];
        if matches!(kind, 5..=8 | 11 | 131) {
            return Some(at);
        }
        let length = usize::from(u16::from_le_bytes([header[4], header[5]]));
        let record = block.get(at + 6..at + HEADER_BYTES + length)?;
        let stored = u32::from_le_bytes([header[0], header[1], header[2], header[3]]);
        if kind == 0 && length == 0 || crc32c::crc32c(record) != unmask(stored) {
            return None;
        }
        at += HEADER_BYTES + length;
    }
    None
}

/// Checksums in log files are stored turned and shifted.
fn unmask(masked: u32) -> u32 {
    masked.wrapping_sub(0xa282_ead8).rotate_left(15)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(kind: u8, payload: &[u8]) -> Vec<u8> {
        let mut out = vec![0; 4];
        out.extend_from_slice(&(payload.len() as u16).to_le_bytes());
        out.push(kind);
        out.extend_from_slice(payload);
        let crc = crc32c::crc32c(&out[6..]).rotate_right(15).wrapping_add(0xa282_ead8);
        out[..4].copy_from_slice(&crc.to_le_bytes());
        out
    }

    fn check(bytes: &[u8]) -> Option<u64> {
        check_file(&mut &bytes[..]).unwrap()
    }

    #[test]
    fn only_what_the_reader_would_stand_on_is_found() {
        let good = record(1, b"payload");
        assert_eq!(check(&good.repeat(3)), None);
        for kind in [5, 8, 11, 131] {
            assert_eq!(check(&[&good[..], &record(kind, b"x")].concat()), Some(good.len() as u64));
        }
        // Behind a record that does not match, the reader skips the rest of the block, but not the next one.
        let mut torn = good.clone();
        torn[9] ^= 1;
        let mut bytes = [&torn[..], &record(5, b"x")].concat();
        assert_eq!(check(&bytes), None);
        bytes.resize(BLOCK_BYTES, 0);
        bytes.extend(record(6, b"x"));
        assert_eq!(check(&bytes), Some(BLOCK_BYTES as u64));
        assert_eq!(check(&[&good[..], &[0; 100]].concat()), None);
        assert_eq!(check(&good[..good.len() - 1]), None);
    }
}

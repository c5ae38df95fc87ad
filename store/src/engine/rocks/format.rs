//! The number of the stored format, in a small text file that is read before the database is touched: a build never
//! opens what it does not know. Raised by any change of a key or record that an older build would misread.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

/// The only format that this build reads and writes.
pub const FORMAT: u32 = 2;

const FILE: &str = "FORMAT";
const PREFIX: &str = "twinset-store ";

/// What a directory says of itself.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// No store was ever made here.
    Nothing,
    /// A store of this format.
    Known,
    /// Something else.
    Other(String),
}

/// Reads the format file.
pub(crate) fn read(dir: &Path) -> io::Result<Found> {
    let bytes = match fs::read(dir.join(FILE)) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::Nothing),
        Err(error) => return Err(error),
    };
    let text = String::from_utf8_lossy(&bytes);
    let number = text.trim_end().strip_prefix(PREFIX).unwrap_or(text.trim_end());
    Ok(if number == FORMAT.to_string() && text.starts_with(PREFIX) {
        Found::Known
    } else {
        Found::Other(number.chars().take(40).collect())
    })
}

/// Writes the format file so that it is there whole or not at all.
pub(crate) fn write(dir: &Path) -> io::Result<()> {
    let staged = dir.join("FORMAT.new");
    let mut file = File::create(&staged)?;
    writeln!(file, "{PREFIX}{FORMAT}")?;
    file.sync_all()?;
    fs::rename(&staged, dir.join(FILE))?;
    File::open(dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_own_format_is_known() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(read(dir.path()).unwrap(), Found::Nothing);
        write(dir.path()).unwrap();
        assert_eq!(read(dir.path()).unwrap(), Found::Known);
        for (text, found) in [("twinset-store 1\n", "1"), ("", ""), ("1\n", "1"), ("twinset-store 1x", "1x")]
        {
            fs::write(dir.path().join(FILE), text).unwrap();
            assert_eq!(read(dir.path()).unwrap(), Found::Other(found.to_owned()), "{text:?}");
        }
    }
}

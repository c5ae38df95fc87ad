//! How far a sink is in a set: one small file for each, replaced as a whole. It only ever says what was delivered or put among the
//! dead letters, so that a crash delivers again and leaves out nothing. What cannot be read is never taken for a beginning.

use std::io;
use std::path::{Path, PathBuf};

use crate::durable;
use crate::event::{Event, Key};

const HEAD: &str = "twinset-relay cursor 1";

/// A place behind an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The event.
    pub event: Key,
    /// What resumes the set's stream behind it.
    pub resume: String,
}

impl From<&Event> for Place {
    fn from(event: &Event) -> Place {
        Place { event: event.key, resume: event.resume.clone() }
    }
}

/// A cursor cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The system refuses.
    #[error("cannot use {}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// It is not as it was written.
    #[error(
        "{} is damaged; find out where the receiver is and set it with `twinset-relay cursors set`", path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
    },
}

/// The file of one sink and set.
#[derive(Clone, Debug)]
pub struct Cursor {
    dir: PathBuf,
    set: u32,
}

impl Cursor {
    /// The cursor of that sink and set.
    pub fn of(data_dir: &Path, sink: &str, set: u32) -> Cursor {
        Cursor { dir: data_dir.join("cursors").join(sink), set }
    }

    fn path(&self) -> PathBuf {
        self.dir.join(self.set.to_string())
    }

    fn failed(&self, source: io::Error) -> Error {
        Error::Io { path: self.path(), source }
    }

    /// Where the sink is; none: before the set's first event.
    pub fn load(&self) -> Result<Option<Place>, Error> {
        let text = match std::fs::read(self.path()) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(self.failed(error)),
        };
        let place = std::str::from_utf8(&text).ok().and_then(decode);
        match place.filter(|place| place.event.set == self.set) {
            Some(place) => Ok(Some(place)),
            None => Err(Error::Damaged { path: self.path() }),
        }
    }

    /// Moves it, durably.
    pub fn save(&self, place: &Place) -> Result<(), Error> {
        let write = || {
            durable::make_dir(&self.dir)?;
            durable::write(&self.dir, &self.set.to_string(), encode(place).as_bytes())
        };
        write().map_err(|error| self.failed(error))
    }

    /// Puts it before the set's first event.
    pub fn clear(&self) -> Result<(), Error> {
        match self.dir.is_dir() {
            true => durable::remove(&self.dir, &self.set.to_string()).map_err(|error| self.failed(error)),
            false => Ok(()),
        }
    }
}

/// The sets in which a sink has a cursor.
pub fn sets(data_dir: &Path, sink: &str) -> io::Result<Vec<u32>> {
    let entries = match std::fs::read_dir(data_dir.join("cursors").join(sink)) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut sets = Vec::new();
    for entry in entries {
        sets.extend(entry?.file_name().to_str().and_then(|name| name.parse::<u32>().ok()));
    }
    sets.sort_unstable();
    Ok(sets)
}

fn encode(place: &Place) -> String {
    let body = format!("{HEAD}\nevent {}\nresume {}\n", place.event, place.resume);
    let sum = crc32c::crc32c(body.as_bytes());
    format!("{body}crc32c {sum:08x}\n")
}

fn decode(text: &str) -> Option<Place> {
    let mut lines = text.lines();
    let head = lines.next()?;
    let event = lines.next()?.strip_prefix("event ")?.parse().ok()?;
    let place = Place { event, resume: lines.next()?.strip_prefix("resume ")?.to_owned() };
    (head == HEAD && encode(&place) == text).then_some(place)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(event: &str) -> Place {
        Place { event: event.parse().expect(event), resume: event.to_owned() }
    }

    #[test]
    fn a_place_is_kept_and_cleared() {
        let dir = tempfile::tempdir().expect("a directory");
        let cursor = Cursor::of(dir.path(), "billing", 2);
        assert_eq!(cursor.load().expect("readable"), None);
        cursor.clear().expect("nothing there");
        for event in ["2-1-5-0", "2-1-6-3"] {
            cursor.save(&place(event)).expect("saved");
            assert_eq!(cursor.load().expect("readable"), Some(place(event)));
        }
        assert_eq!(sets(dir.path(), "billing").expect("readable"), [2]);
        assert_eq!(sets(dir.path(), "other").expect("readable"), Vec::<u32>::new());
        cursor.clear().expect("cleared");
        assert_eq!(cursor.load().expect("readable"), None);
    }

    #[test]
    fn what_is_damaged_is_no_beginning() {
        let dir = tempfile::tempdir().expect("a directory");
        let cursor = Cursor::of(dir.path(), "billing", 2);
        cursor.save(&place("2-1-5-0")).expect("saved");
        let good = std::fs::read(cursor.path()).expect("there");
        let refused = |text: &[u8]| {
            std::fs::write(cursor.path(), text).expect("written");
            assert!(matches!(cursor.load(), Err(Error::Damaged { .. })), "{}", String::from_utf8_lossy(text));
        };
        for n in 0..good.len() {
            refused(&good[..n]);
            let mut flipped = good.clone();
            flipped[n] ^= 1;
            refused(&flipped);
        }
        // Another set's.
        refused(encode(&place("3-1-5-0")).as_bytes());
    }

    #[test]
    fn the_format_stays() {
        assert_eq!(
            encode(&place("2-1-5-0")),
            "twinset-relay cursor 1\nevent 2-1-5-0\nresume 2-1-5-0\ncrc32c eeb0cd69\n"
        );
    }
}

//! The dead letters of a sink: events that its receiver has refused, one file each, so that a running relay and a person at a
//! terminal can work on them at the same time. A letter is written before the cursor passes it. A person drops it by removing the
//! file, and asks for it again by renaming it; the relay looks once a second.

use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::durable;
use crate::event::{BadEvent, Event, Key};

/// A letter that waits for a decision.
const WAITS: &str = "letter";
/// A letter that is to be delivered again.
const AGAIN: &str = "again";

/// Why an event is here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cause {
    /// What the receiver said, or how it failed.
    pub why: String,
    /// How often it was tried.
    pub tries: u32,
    /// When it was given up, in seconds since 1970, by this machine's clock.
    pub unix_s: u64,
}

/// A dead letter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Letter {
    /// Why it is here.
    pub cause: Cause,
    /// What could not be delivered.
    pub event: Event,
}

/// The dead letters cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The system refuses.
    #[error("cannot use {}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// It is not as it was written.
    #[error("{} is no dead letter of this version", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with the event in it, if that is it.
        source: Option<BadEvent>,
    },
    /// There is none of that event.
    #[error("{key} is no dead letter of {sink}")]
    Missing {
        /// What was asked for.
        key: Key,
        /// Where.
        sink: String,
    },
}

/// What is known of a letter without opening it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    /// The event.
    pub key: Key,
    /// Whether it is to be delivered again.
    pub again: bool,
}

impl Entry {
    fn file(&self) -> String {
        format!("{}.{}", self.key, if self.again { AGAIN } else { WAITS })
    }
}

/// The dead letters of one sink.
#[derive(Clone, Debug)]
pub struct DeadLetters {
    sink: String,
    dir: PathBuf,
}

impl DeadLetters {
    /// Those of that sink.
    pub fn of(data_dir: &Path, sink: &str) -> DeadLetters {
        DeadLetters { sink: sink.to_owned(), dir: data_dir.join("dead-letters").join(sink) }
    }

    fn of_set(&self, set: u32) -> PathBuf {
        self.dir.join(set.to_string())
    }

    fn path(&self, entry: &Entry) -> PathBuf {
        self.of_set(entry.key.set).join(entry.file())
    }

    /// Those of one set, in the order of its log.
    pub fn list(&self, set: u32) -> Result<Vec<Entry>, Error> {
        let dir = self.of_set(set);
        let names = names(&dir).map_err(|source| Error::Io { path: dir, source })?;
        let mut entries: Vec<Entry> = names.iter().filter_map(|name| entry(name)).collect();
        entries.sort_unstable();
        Ok(entries)
    }

    /// Those of all sets, in the order of their logs.
    pub fn list_all(&self) -> Result<Vec<Entry>, Error> {
        let sets = names(&self.dir).map_err(|source| Error::Io { path: self.dir.clone(), source })?;
        let mut entries = Vec::new();
        for set in sets.iter().filter_map(|name| name.parse().ok()) {
            entries.extend(self.list(set)?);
        }
        entries.sort_unstable();
        Ok(entries)
    }

    /// Adds a letter; it waits from then on.
    pub fn put(&self, letter: &Letter) -> Result<(), Error> {
        let (dir, entry) = (self.of_set(letter.event.key.set), Entry { key: letter.event.key, again: false });
        let write = || {
            durable::make_dir(&dir)?;
            durable::write(&dir, &entry.file(), &text_of(letter))
        };
        write().map_err(|source| Error::Io { path: self.path(&entry), source })
    }

    /// A letter that was asked for again waits again, for a new cause. It has one file at every moment, whatever somebody does with
    /// it meanwhile.
    pub fn put_back(&self, letter: &Letter) -> Result<(), Error> {
        let (dir, key) = (self.of_set(letter.event.key.set), letter.event.key);
        let (waits, again) = (Entry { key, again: false }, Entry { key, again: true });
        let write = || {
            durable::write(&dir, &again.file(), &text_of(letter))?;
            durable::rename(&dir, &again.file(), &waits.file())
        };
        write().map_err(|source| Error::Io { path: self.path(&again), source })
    }

    /// Opens a letter.
    pub fn read(&self, entry: &Entry) -> Result<Letter, Error> {
        let path = self.path(entry);
        let text = match std::fs::read(&path) {
            Ok(text) => Bytes::from(text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(self.missing(entry.key)),
            Err(source) => return Err(Error::Io { path, source }),
        };
        let damaged = |source| Error::Damaged { path: path.clone(), source };
        let mut lines = text.split(|byte| *byte == b'\n');
        let (cause, event) = match [lines.next(), lines.next(), lines.next(), lines.next()] {
            [Some(cause), Some(event), Some([]), None] => (cause, text.slice_ref(event)),
            _ => return Err(damaged(None)),
        };
        let cause = serde_json::from_slice(cause).map_err(|_| damaged(None))?;
        let event = Event::read(event).map_err(|error| damaged(Some(error)))?;
        match event.key == entry.key {
            true => Ok(Letter { cause, event }),
            false => Err(damaged(None)),
        }
    }

    /// The letter of an event, whatever its state.
    pub fn find(&self, key: Key) -> Result<Entry, Error> {
        self.list(key.set)?.into_iter().find(|entry| entry.key == key).ok_or_else(|| self.missing(key))
    }

    /// Asks for a letter to be delivered again.
    pub fn redeliver(&self, key: Key) -> Result<(), Error> {
        let found = self.find(key)?;
        if found.again {
            return Ok(());
        }
        let again = Entry { again: true, ..found };
        durable::rename(&self.of_set(key.set), &found.file(), &again.file())
            .map_err(|source| Error::Io { path: self.path(&found), source })
    }

    /// Takes a letter away; nothing is wrong if it is gone already.
    pub fn remove(&self, entry: &Entry) -> Result<(), Error> {
        durable::remove(&self.of_set(entry.key.set), &entry.file())
            .map_err(|source| Error::Io { path: self.path(entry), source })
    }

    fn missing(&self, key: Key) -> Error {
        Error::Missing { key, sink: self.sink.clone() }
    }
}

/// The cause on one line, the event on the next.
fn text_of(letter: &Letter) -> Vec<u8> {
    let mut text = serde_json::to_vec(&letter.cause).expect("a cause is plain JSON");
    text.push(b'\n');
    text.extend_from_slice(&letter.event.text);
    text.push(b'\n');
    text
}

fn names(dir: &Path) -> io::Result<Vec<String>> {
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut names = Vec::new();
    for entry in entries {
        names.extend(entry?.file_name().into_string());
    }
    Ok(names)
}

fn entry(name: &str) -> Option<Entry> {
    let (key, state) = name.split_once('.')?;
    let again = match state {
        WAITS => false,
        AGAIN => true,
        _ => return None,
    };
    Some(Entry { key: key.parse().ok()?, again })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letter(key: &str) -> Letter {
        let text = format!(r#"{{"event":"{key}","previous":"","resume":"{key}","kind":"booked"}}"#);
        let event = Event::read(text.into()).expect("an event");
        Letter {
            cause: Cause { why: "422: no such customer".into(), tries: 1, unix_s: 1_764_000_000 },
            event,
        }
    }

    fn entries(letters: &DeadLetters) -> Vec<(String, bool)> {
        let entries = letters.list_all().expect("readable");
        entries.into_iter().map(|entry| (entry.key.to_string(), entry.again)).collect()
    }

    #[test]
    fn a_letter_waits_is_asked_for_again_and_goes() {
        let dir = tempfile::tempdir().expect("a directory");
        let letters = DeadLetters::of(dir.path(), "billing");
        assert_eq!(entries(&letters), []);
        for key in ["2-1-10-0", "1-1-7-0", "2-1-9-0"] {
            letters.put(&letter(key)).expect("put");
        }
        let waiting = |key: &str| (key.to_owned(), false);
        assert_eq!(entries(&letters), [waiting("1-1-7-0"), waiting("2-1-9-0"), waiting("2-1-10-0")]);
        let key: Key = "2-1-9-0".parse().expect("a key");
        letters.redeliver(key).expect("there");
        letters.redeliver(key).expect("asked for already");
        let found = letters.find(key).expect("there");
        assert!(found.again);
        assert_eq!(letters.read(&found).expect("readable"), letter("2-1-9-0"));
        // Refused again.
        letters.put_back(&letter("2-1-9-0")).expect("put back");
        assert!(!letters.find(key).expect("there").again);
        assert_eq!(letters.list(2).expect("readable").len(), 2);
        letters.remove(&letters.find(key).expect("there")).expect("removed");
        assert!(matches!(letters.find(key), Err(Error::Missing { .. })));
        assert!(matches!(letters.redeliver(key), Err(Error::Missing { .. })));
        assert_eq!(letters.list(2).expect("readable").len(), 1);
    }

    #[test]
    fn what_is_damaged_is_said() {
        let dir = tempfile::tempdir().expect("a directory");
        let letters = DeadLetters::of(dir.path(), "billing");
        letters.put(&letter("1-1-7-0")).expect("put");
        let entry = letters.find("1-1-7-0".parse().expect("a key")).expect("there");
        let good = std::fs::read(letters.path(&entry)).expect("there");
        for n in 0..good.len() {
            std::fs::write(letters.path(&entry), &good[..n]).expect("written");
            assert!(matches!(letters.read(&entry), Err(Error::Damaged { .. })), "{n} bytes");
        }
    }
}

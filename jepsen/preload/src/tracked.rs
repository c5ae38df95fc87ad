//! The table of files: how many bytes of each a sync has covered. Shared with the harness, kept over restarts of the node;
//! a slot is taken once and stays with its inode.

use std::ffi::c_int;
use std::sync::atomic::Ordering;

use crate::control::Control;
use crate::layout::{FILE_WORDS, FILES, FILES_AT, Word, first_slot, key};
use crate::place;

/// A file in the table.
#[derive(Clone, Copy)]
pub(crate) struct Tracked {
    control: &'static Control,
    slot: usize,
    /// Its key.
    pub(crate) key: u64,
}

/// Looks a file up.
pub(crate) fn find(control: &'static Control, key: u64) -> Option<Tracked> {
    let first = first_slot(key);
    for probe in 0..FILES {
        let slot = FILES_AT + (first + probe) % FILES * FILE_WORDS;
        match control.word(slot).load(Ordering::Acquire) {
            0 => return None,
            found if found == key => return Some(Tracked { control, slot, key }),
            _ => {}
        }
    }
    None
}

/// Looks a file up and enters it, with so many bytes covered, if it is not there.
pub(crate) fn enter(control: &'static Control, key: u64, covered: u64) -> Option<Tracked> {
    let first = first_slot(key);
    for probe in 0..FILES {
        let slot = FILES_AT + (first + probe) % FILES * FILE_WORDS;
        let taken = control.word(slot).compare_exchange(0, key, Ordering::AcqRel, Ordering::Acquire);
        match taken {
            Ok(_) => control.word(slot + 1).store(covered, Ordering::Relaxed),
            Err(found) if found == key => {}
            Err(_) => continue,
        }
        return Some(Tracked { control, slot, key });
    }
    control.count(Word::Unbooked);
    None
}

/// A file of the table, and what the kernel says of it, by its descriptor.
pub(crate) fn of_descriptor(control: &'static Control, file: c_int) -> Option<(Tracked, libc::stat)> {
    let status = place::status(file)?;
    Some((find(control, key_of(&status))?, status))
}

/// The key of a file.
pub(crate) fn key_of(status: &libc::stat) -> u64 {
    key(status.st_dev, status.st_ino)
}

impl Tracked {
    /// A sync has covered so many bytes.
    pub(crate) fn cover(self, bytes: u64) {
        self.control.word(self.slot + 1).fetch_max(bytes, Ordering::Relaxed);
    }

    /// It was cut to so many bytes.
    pub(crate) fn cut(self, bytes: u64) {
        self.control.word(self.slot + 1).fetch_min(bytes, Ordering::Relaxed);
    }

    /// It is new: the kernel gives the number of a file that is gone to the next.
    pub(crate) fn begin(self) {
        self.control.word(self.slot + 1).store(0, Ordering::Relaxed);
        self.control.word(self.slot + 2).store(0, Ordering::Relaxed);
    }

    /// It is written elsewhere than at its end.
    pub(crate) fn set_in_place(self) {
        self.control.word(self.slot + 2).store(1, Ordering::Relaxed);
    }

    /// Whether it is.
    pub(crate) fn is_in_place(self) -> bool {
        self.control.word(self.slot + 2).load(Ordering::Relaxed) != 0
    }
}

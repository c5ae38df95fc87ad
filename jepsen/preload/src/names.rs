//! The journal of names: a line for every file or directory that was created, renamed, linked or removed, and for every
//! sync of a directory, which makes the changes before it durable. What loses its name is kept in a grave meanwhile: a
//! power cut may bring the name back.

#![allow(unsafe_code)]

use std::ffi::{c_char, c_int};
use std::sync::atomic::Ordering;

use libc::AT_FDCWD;

use crate::control::Control;
use crate::layout::{GRAVE_DIR, GRAVE_WORDS, GRAVES, GRAVES_AT, Word};
use crate::real;
use crate::text::{Text, directory_of, hash};

/// The number of the next change.
pub(crate) fn next(control: &Control) -> u64 {
    control.word(Word::NameNumber as usize).fetch_add(1, Ordering::AcqRel) + 1
}

/// The number of the last change.
pub(crate) fn last(control: &Control) -> u64 {
    control.word(Word::NameNumber as usize).load(Ordering::Acquire)
}

/// Writes a line, whole: appending is one act of the kernel. The reason of the caller's own call stays.
pub(crate) fn note(control: &Control, number: u64, what: &[u8], names: &[&Text]) {
    let reason = real::errno();
    let mut line = Text::new();
    line.push_number(number).push(b" ").push(what);
    for name in names {
        line.push(b" ").push(name.get().unwrap_or_default());
    }
    let line = line.push(b"\n").get().unwrap_or_default();
    // SAFETY: the bytes are there and so many.
    let written = unsafe { real::write(control.names, line.as_ptr().cast(), line.len()) };
    if line.is_empty() || written != line.len().cast_signed() {
        control.count(Word::Unbooked);
    }
    real::set_errno(reason);
}

/// Gives the file that loses its `name` by change `number` another one in the graves; false if there is none. The oldest
/// grave goes for it.
pub(crate) fn bury(control: &Control, number: u64, dir: c_int, path: *const c_char, name: &Text) -> bool {
    let reason = real::errno();
    let grave = grave(control, number);
    // SAFETY: both texts end with a zero. A directory, or a name that nothing has, is refused, and rightly.
    let linked = unsafe { real::linkat(dir, path, AT_FDCWD, grave.c_str(), 0) };
    if linked == 0 {
        let place = control.word(Word::GravesDug as usize).fetch_add(1, Ordering::Relaxed) as usize % GRAVES;
        let at = GRAVES_AT + place * GRAVE_WORDS;
        let oldest = control.word(at).swap(number, Ordering::AcqRel);
        control.word(at + 1).store(hash(directory_of(name.get().unwrap_or_default())), Ordering::Release);
        clear(control, oldest);
    }
    real::set_errno(reason);
    linked == 0
}

/// The name was not taken after all.
pub(crate) fn unbury(control: &Control, number: u64) {
    let reason = real::errno();
    for place in 0..GRAVES {
        let word = control.word(GRAVES_AT + place * GRAVE_WORDS);
        if word.compare_exchange(number, 0, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
            clear(control, number);
        }
    }
    real::set_errno(reason);
}

/// What changed in a directory up to `number` is durable: nobody comes back from there.
pub(crate) fn settle(control: &Control, directory: &Text, number: u64) {
    let directory = hash(directory.get().unwrap_or_default());
    for place in 0..GRAVES {
        let at = GRAVES_AT + place * GRAVE_WORDS;
        let buried = control.word(at).load(Ordering::Acquire);
        if buried != 0
            && buried <= number
            && control.word(at + 1).load(Ordering::Acquire) == directory
            && control.word(at).compare_exchange(buried, 0, Ordering::AcqRel, Ordering::Relaxed).is_ok()
        {
            clear(control, buried);
        }
    }
}

fn clear(control: &Control, number: u64) {
    if number != 0 {
        // SAFETY: the text ends with a zero.
        unsafe { real::unlinkat(AT_FDCWD, grave(control, number).c_str(), 0) };
    }
}

fn grave(control: &Control, number: u64) -> Text {
    let mut path = control.path;
    path.push(GRAVE_DIR.as_bytes()).push(b"/").push_number(number);
    path
}

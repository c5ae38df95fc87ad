//! Syncs: they fail, lie or take long if the harness says so, and what a good one has covered is entered in the books: what
//! was there before it began.

#![allow(unsafe_code)]

use std::ffi::{c_int, c_uint};

use libc::{AT_FDCWD, S_IFDIR, S_IFMT, S_IFREG, off64_t};

use crate::control::{self, Control};
use crate::layout::{FAIL_LIST, SHADOW_DIR, Word};
use crate::text::Text;
use crate::tracked::{self, Tracked};
use crate::{names, place, real};

/// Files that are written in place are small.
const SHADOW_BYTES: usize = 16 << 10;

#[unsafe(no_mangle)]
unsafe extern "C" fn fsync(file: c_int) -> c_int {
    // SAFETY: it takes a descriptor, good or bad.
    sync(file, || unsafe { real::fsync(file) })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn fdatasync(file: c_int) -> c_int {
    // SAFETY: as above.
    sync(file, || unsafe { real::fdatasync(file) })
}

/// Promises nothing about a power cut, so it covers nothing and does not fail; but a slow disk is slow here too.
#[unsafe(no_mangle)]
unsafe extern "C" fn sync_file_range(file: c_int, offset: off64_t, bytes: off64_t, flags: c_uint) -> c_int {
    if let Some(control) = control::get()
        && control.read(Word::SyncDelayUs) != 0
        && tracked::of_descriptor(control, file).is_some()
    {
        delay(control);
    }
    // SAFETY: it takes numbers alone.
    unsafe { real::sync_file_range(file, offset, bytes, flags) }
}

/// What a sync is about.
enum Target {
    File { file: Tracked, bytes: u64, shadow: bool },
    Directory { number: u64 },
}

fn sync(file: c_int, really: impl FnOnce() -> c_int) -> c_int {
    let Some(control) = control::get() else { return really() };
    let Some(target) = target(control, file) else { return really() };
    control.count(Word::Syncs);
    delay(control);
    if control.read(Word::FailSyncs) != 0 && !is_spared(control, file) && control.take(Word::FailSyncs) {
        control.count(Word::FailedSyncs);
        real::set_errno(libc::EIO);
        return -1;
    }
    if control.read(Word::Lie) != 0 {
        control.count(Word::LiedSyncs);
        return 0;
    }
    let result = really();
    if result == 0 {
        match target {
            Target::File { file: tracked, bytes, shadow } => {
                if shadow {
                    keep(control, tracked);
                }
                tracked.cover(bytes);
            }
            Target::Directory { number } => {
                let Some(name) = place::of_descriptor(control, file) else { return result };
                let mut what = Text::new();
                what.push(b"sync ").push_number(number);
                names::note(control, names::next(control), what.get().unwrap_or_default(), &[&name]);
                names::settle(control, &name, number);
            }
        }
    }
    result
}

fn is_spared(control: &Control, file: c_int) -> bool {
    let which = control.read(Word::FailSyncsOf);
    which != 0
        && place::of_descriptor(control, file).is_some_and(|name| {
            let name = name.get().unwrap_or_default();
            let file = name.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
            if which == FAIL_LIST { !file.starts_with(b"MANIFEST-") } else { file.ends_with(b".log") }
        })
}

fn target(control: &'static Control, file: c_int) -> Option<Target> {
    let status = place::status(file)?;
    match status.st_mode & S_IFMT {
        S_IFREG => {
            let key = tracked::key_of(&status);
            let known = tracked::find(control, key);
            if known.is_none() {
                place::of_descriptor(control, file)?;
            }
            let known = known.or_else(|| tracked::enter(control, key, 0))?;
            let bytes = u64::try_from(status.st_size).ok()?;
            let shadow = known.is_in_place() && prepare(control, file, known, bytes);
            Some(Target::File { file: known, bytes, shadow })
        }
        S_IFDIR => {
            let number = names::last(control);
            place::of_descriptor(control, file).map(|_| Target::Directory { number })
        }
        _ => None,
    }
}

fn delay(control: &Control) {
    let us = control.read(Word::SyncDelayUs);
    if us != 0 {
        control.count(Word::DelayedSyncs);
        let (seconds, rest) = (us / 1_000_000, us % 1_000_000);
        let time = libc::timespec {
            tv_sec: seconds.try_into().unwrap_or(i64::MAX),
            tv_nsec: (rest * 1_000).cast_signed(),
        };
        // SAFETY: the time is there, and nobody wants to know what a signal has left of it.
        unsafe { libc::nanosleep(&time, std::ptr::null_mut()) };
    }
}

/// Copies a file that is written in place, beside its shadow; true if there is a copy now.
fn prepare(control: &Control, file: c_int, tracked: Tracked, bytes: u64) -> bool {
    let mut buffer = [0_u8; SHADOW_BYTES];
    let length = usize::try_from(bytes).unwrap_or(usize::MAX);
    let flags = libc::O_WRONLY | libc::O_CREAT | libc::O_TRUNC | libc::O_CLOEXEC;
    let (_, fresh) = shadow(control, tracked);
    // SAFETY: the buffer is there and long enough, the text ends with a zero, and the descriptor `to` is ours.
    let copied = length <= SHADOW_BYTES
        && unsafe {
            let read = libc::pread(file, buffer.as_mut_ptr().cast(), length, 0);
            let to = real::openat(AT_FDCWD, fresh.c_str(), flags, 0o644);
            let written = real::write(to, buffer.as_ptr().cast(), length);
            libc::close(to);
            read == length.cast_signed() && written == read
        };
    if !copied {
        control.count(Word::Unbooked);
    }
    copied
}

/// Puts the copy in the place of the old shadow.
fn keep(control: &Control, tracked: Tracked) {
    let (path, fresh) = shadow(control, tracked);
    // SAFETY: the texts end with a zero.
    if unsafe { real::renameat(AT_FDCWD, fresh.c_str(), AT_FDCWD, path.c_str()) } != 0 {
        control.count(Word::Unbooked);
    }
}

/// The path of a shadow, and of the next one.
fn shadow(control: &Control, tracked: Tracked) -> (Text, Text) {
    let mut path = control.path;
    path.push(SHADOW_DIR.as_bytes()).push(b"/").push_number(tracked.key);
    let mut fresh = path;
    fresh.push(b".new");
    (path, fresh)
}

//! Opening files: a file that is opened for writing enters the table, and a name that is new enters the journal. On a full
//! disk there is no room for a new name.

#![allow(unsafe_code)]

use std::ffi::{c_char, c_int};

use libc::{AT_FDCWD, O_ACCMODE, O_CREAT, O_RDONLY, O_TRUNC, O_WRONLY, S_IFMT, S_IFREG, mode_t};

use crate::control::{self, Control};
use crate::layout::Word;
use crate::{names, place, real, tracked};

#[unsafe(no_mangle)]
unsafe extern "C" fn open(path: *const c_char, flags: c_int, mode: mode_t) -> c_int {
    // SAFETY: the caller's promise to libc. Without O_CREAT there is no mode; then nobody reads it.
    unsafe { open_at(AT_FDCWD, path, flags, mode) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn open64(path: *const c_char, flags: c_int, mode: mode_t) -> c_int {
    // SAFETY: as above.
    unsafe { open_at(AT_FDCWD, path, flags, mode) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn openat(dir: c_int, path: *const c_char, flags: c_int, mode: mode_t) -> c_int {
    // SAFETY: as above.
    unsafe { open_at(dir, path, flags, mode) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn openat64(dir: c_int, path: *const c_char, flags: c_int, mode: mode_t) -> c_int {
    // SAFETY: as above.
    unsafe { open_at(dir, path, flags, mode) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn creat(path: *const c_char, mode: mode_t) -> c_int {
    // SAFETY: as above.
    unsafe { open_at(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn creat64(path: *const c_char, mode: mode_t) -> c_int {
    // SAFETY: as above.
    unsafe { open_at(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode) }
}

/// # Safety
/// As `openat`.
unsafe fn open_at(dir: c_int, path: *const c_char, flags: c_int, mode: mode_t) -> c_int {
    let writes = flags & O_ACCMODE != O_RDONLY;
    let ours = control::get().filter(|_| writes || flags & O_CREAT != 0);
    let named = ours.and_then(|control| Some((control, place::of_path(control, dir, path)?)));
    let Some((control, name)) = named else {
        // SAFETY: the caller's promise.
        return unsafe { real::openat(dir, path, flags, mode) };
    };
    // SAFETY: it reads a text that ends with a zero.
    let is_new = flags & O_CREAT != 0 && unsafe { libc::faccessat(dir, path, libc::F_OK, 0) } != 0;
    if is_new && control.read(Word::DiskFull) != 0 {
        control.count(Word::RefusedWrites);
        real::set_errno(libc::ENOSPC);
        return -1;
    }
    // SAFETY: the caller's promise.
    let file = unsafe { real::openat(dir, path, flags, mode) };
    if file >= 0 {
        if writes {
            track(control, file);
        }
        if is_new {
            names::note(control, names::next(control), b"create", &[&name]);
        }
    }
    file
}

/// A file that the table does not know was there before the library: all of it counts as covered.
fn track(control: &'static Control, file: c_int) {
    let Some(status) = place::status(file).filter(|status| status.st_mode & S_IFMT == S_IFREG) else {
        return;
    };
    let bytes = u64::try_from(status.st_size).unwrap_or(0);
    if let Some(file) = tracked::enter(control, tracked::key_of(&status), bytes)
        && bytes == 0
    {
        file.begin();
    }
}

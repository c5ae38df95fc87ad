//! Writes: refused on a full disk when they need room, or because the harness says so. Files that are written at a named
//! offset are noted, because then a length does not say what a sync has covered.

#![allow(unsafe_code)]

use std::ffi::{c_int, c_void};

use libc::{iovec, off_t, size_t, ssize_t};

use crate::control;
use crate::layout::Word;
use crate::{real, tracked};

#[unsafe(no_mangle)]
unsafe extern "C" fn write(file: c_int, bytes: *const c_void, count: size_t) -> ssize_t {
    if let Some(reason) = refusal(file, None, || count) {
        return refuse(reason);
    }
    // SAFETY: the caller's promise to libc.
    unsafe { real::write(file, bytes, count) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn writev(file: c_int, parts: *const iovec, count: c_int) -> ssize_t {
    // SAFETY: the caller's promise to libc.
    if let Some(reason) = refusal(file, None, || unsafe { bytes_of(parts, count) }) {
        return refuse(reason);
    }
    // SAFETY: the caller's promise to libc.
    unsafe { real::writev(file, parts, count) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn pwrite(file: c_int, bytes: *const c_void, count: size_t, offset: off_t) -> ssize_t {
    note_in_place(file);
    if let Some(reason) = refusal(file, Some(offset), || count) {
        return refuse(reason);
    }
    // SAFETY: the caller's promise to libc.
    unsafe { real::pwrite(file, bytes, count, offset) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn pwrite64(file: c_int, bytes: *const c_void, count: size_t, offset: off_t) -> ssize_t {
    // SAFETY: the caller's promise to libc.
    unsafe { pwrite(file, bytes, count, offset) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn pwritev(file: c_int, parts: *const iovec, count: c_int, offset: off_t) -> ssize_t {
    note_in_place(file);
    // SAFETY: the caller's promise to libc.
    if let Some(reason) = refusal(file, Some(offset), || unsafe { bytes_of(parts, count) }) {
        return refuse(reason);
    }
    // SAFETY: the caller's promise to libc.
    unsafe { real::pwritev(file, parts, count, offset) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn pwritev64(file: c_int, parts: *const iovec, count: c_int, offset: off_t) -> ssize_t {
    // SAFETY: the caller's promise to libc.
    unsafe { pwritev(file, parts, count, offset) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn ftruncate(file: c_int, length: off_t) -> c_int {
    if let Some(reason) = refusal(file, Some(length), || 0) {
        return refuse(reason) as c_int;
    }
    // SAFETY: it takes numbers alone.
    let result = unsafe { real::ftruncate(file, length) };
    if result == 0
        && let Some(control) = control::get()
        && let Some((file, _)) = tracked::of_descriptor(control, file)
    {
        file.cut(u64::try_from(length).unwrap_or(0));
    }
    result
}

#[unsafe(no_mangle)]
unsafe extern "C" fn ftruncate64(file: c_int, length: off_t) -> c_int {
    // SAFETY: it takes numbers alone.
    unsafe { ftruncate(file, length) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn fallocate(file: c_int, mode: c_int, offset: off_t, length: off_t) -> c_int {
    if let Some(reason) = refusal(file, Some(offset), || usize::try_from(length).unwrap_or(0)) {
        return refuse(reason) as c_int;
    }
    // SAFETY: it takes numbers alone.
    unsafe { real::fallocate(file, mode, offset, length) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn fallocate64(file: c_int, mode: c_int, offset: off_t, length: off_t) -> c_int {
    // SAFETY: it takes numbers alone.
    unsafe { fallocate(file, mode, offset, length) }
}

/// Gives its reason back instead of setting it.
#[unsafe(no_mangle)]
unsafe extern "C" fn posix_fallocate(file: c_int, offset: off_t, length: off_t) -> c_int {
    if let Some(reason) = refusal(file, Some(offset), || usize::try_from(length).unwrap_or(0)) {
        return reason;
    }
    // SAFETY: it takes numbers alone.
    unsafe { real::posix_fallocate(file, offset, length) }
}

/// Why a write of so many bytes at an offset (or where the file stands) is not done; None: it is done. Without a fault this
/// costs three loads from memory.
#[inline]
fn refusal(file: c_int, offset: Option<off_t>, bytes: impl FnOnce() -> size_t) -> Option<c_int> {
    let control = control::get()?;
    let (full, failing) = (control.read(Word::DiskFull) != 0, control.read(Word::FailWrites) != 0);
    if !full && !failing {
        return None;
    }
    let (_, status) = tracked::of_descriptor(control, file)?;
    if failing && control.take(Word::FailWrites) {
        control.count(Word::RefusedWrites);
        return Some(libc::EIO);
    }
    let begin = offset.unwrap_or_else(|| position(file, status.st_size));
    let end = usize::try_from(begin).unwrap_or(0).saturating_add(bytes());
    if full && end > usize::try_from(status.st_size).unwrap_or(0) {
        control.count(Word::RefusedWrites);
        return Some(libc::ENOSPC);
    }
    None
}

/// Where the next write of an open file goes.
fn position(file: c_int, size: off_t) -> off_t {
    // SAFETY: both take numbers alone.
    unsafe {
        match libc::fcntl(file, libc::F_GETFL) & libc::O_APPEND {
            0 => libc::lseek(file, 0, libc::SEEK_CUR),
            _ => size,
        }
    }
}

fn refuse(reason: c_int) -> ssize_t {
    real::set_errno(reason);
    -1
}

/// Whoever names the offset of a write need not write at the end.
fn note_in_place(file: c_int) {
    if let Some(control) = control::get()
        && let Some((file, _)) = tracked::of_descriptor(control, file)
    {
        file.set_in_place();
    }
}

/// # Safety
/// So many parts must be there.
unsafe fn bytes_of(parts: *const iovec, count: c_int) -> size_t {
    // SAFETY: the caller's promise.
    (0..usize::try_from(count).unwrap_or(0)).map(|at| unsafe { (*parts.add(at)).iov_len }).sum()
}

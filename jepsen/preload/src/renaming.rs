//! Names that change: each change enters the journal when it is done, and what loses its name is buried first.

#![allow(unsafe_code)]

use std::ffi::{c_char, c_int};

use libc::{AT_FDCWD, AT_REMOVEDIR, mode_t};

use crate::layout::Word;
use crate::{control, names, place, real};

#[unsafe(no_mangle)]
unsafe extern "C" fn rename(from: *const c_char, to: *const c_char) -> c_int {
    // SAFETY: the caller's promise to libc.
    unsafe { renameat(AT_FDCWD, from, AT_FDCWD, to) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn renameat(
    from_dir: c_int,
    from: *const c_char,
    to_dir: c_int,
    to: *const c_char,
) -> c_int {
    // SAFETY: the caller's promise to libc.
    let really = || unsafe { real::renameat(from_dir, from, to_dir, to) };
    let Some(control) = control::get() else { return really() };
    let old = place::of_path(control, from_dir, from);
    let new = place::of_path(control, to_dir, to);
    let Some((old, new)) = old.zip(new) else { return really() };
    let number = names::next(control);
    let replaces = names::bury(control, number, to_dir, to, &new);
    let result = really();
    if result == 0 {
        names::note(control, number, if replaces { b"replace" } else { b"rename" }, &[&old, &new]);
    } else {
        names::unbury(control, number);
    }
    result
}

#[unsafe(no_mangle)]
unsafe extern "C" fn unlink(path: *const c_char) -> c_int {
    // SAFETY: the caller's promise to libc.
    unsafe { unlinkat(AT_FDCWD, path, 0) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn rmdir(path: *const c_char) -> c_int {
    // SAFETY: the caller's promise to libc.
    unsafe { unlinkat(AT_FDCWD, path, AT_REMOVEDIR) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn unlinkat(dir: c_int, path: *const c_char, flags: c_int) -> c_int {
    // SAFETY: the caller's promise to libc.
    let really = || unsafe { real::unlinkat(dir, path, flags) };
    let named = control::get().and_then(|control| Some((control, place::of_path(control, dir, path)?)));
    let Some((control, name)) = named else { return really() };
    let number = names::next(control);
    let is_directory = flags & AT_REMOVEDIR != 0;
    if !is_directory {
        names::bury(control, number, dir, path, &name);
    }
    let result = really();
    if result == 0 {
        names::note(control, number, if is_directory { b"rmdir" } else { b"unlink" }, &[&name]);
    } else {
        names::unbury(control, number);
    }
    result
}

#[unsafe(no_mangle)]
unsafe extern "C" fn link(from: *const c_char, to: *const c_char) -> c_int {
    // SAFETY: the caller's promise to libc.
    let result = unsafe { real::linkat(AT_FDCWD, from, AT_FDCWD, to, 0) };
    if result == 0
        && let Some(control) = control::get()
        && let Some(name) = place::of_path(control, AT_FDCWD, to)
    {
        names::note(control, names::next(control), b"create", &[&name]);
    }
    result
}

#[unsafe(no_mangle)]
unsafe extern "C" fn mkdir(path: *const c_char, mode: mode_t) -> c_int {
    // SAFETY: the caller's promise to libc.
    let really = || unsafe { real::mkdirat(AT_FDCWD, path, mode) };
    let named = control::get().and_then(|control| Some((control, place::of_path(control, AT_FDCWD, path)?)));
    let Some((control, name)) = named.filter(|(_, name)| name.get().is_some_and(|name| !name.is_empty()))
    else {
        return really();
    };
    if control.read(Word::DiskFull) != 0 {
        control.count(Word::RefusedWrites);
        real::set_errno(libc::ENOSPC);
        return -1;
    }
    let result = really();
    if result == 0 {
        names::note(control, names::next(control), b"mkdir", &[&name]);
    }
    result
}

//! The functions of libc that this library stands before: looked up once each, by their names, behind this library.

#![allow(unsafe_code)]

use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::ptr::null_mut;
use std::sync::atomic::{AtomicPtr, Ordering};

use libc::{clockid_t, iovec, mode_t, off_t, off64_t, size_t, ssize_t, timespec};

/// Finds a function; two threads that do it at once find the same.
fn find(at: &AtomicPtr<c_void>, name: &CStr) -> *mut c_void {
    let known = at.load(Ordering::Relaxed);
    if !known.is_null() {
        return known;
    }
    // SAFETY: dlsym reads a name that ends with a zero.
    let found = unsafe { libc::dlsym(libc::RTLD_NEXT, name.as_ptr()) };
    if found.is_null() {
        std::process::abort();
    }
    at.store(found, Ordering::Relaxed);
    found
}

macro_rules! real {
    ($($name:ident($($arg:ident: $type:ty),*) -> $returned:ty;)*) => {$(
        /// # Safety
        /// As for the function of libc.
        pub(crate) unsafe fn $name($($arg: $type),*) -> $returned {
            static AT: AtomicPtr<c_void> = AtomicPtr::new(null_mut());
            const NAME: &CStr = match CStr::from_bytes_with_nul(concat!(stringify!($name), "\0").as_bytes()) {
                Ok(name) => name,
                Err(_) => panic!("a name has no zero in it"),
            };
            type Function = unsafe extern "C" fn($($type),*) -> $returned;
            // SAFETY: libc's function of this name has this signature; a variable last argument is passed alike on Linux.
            let function: Function = unsafe { std::mem::transmute(find(&AT, NAME)) };
            // SAFETY: the caller's promise.
            unsafe { function($($arg),*) }
        }
    )*};
}

real! {
    fsync(file: c_int) -> c_int;
    fdatasync(file: c_int) -> c_int;
    sync_file_range(file: c_int, offset: off64_t, bytes: off64_t, flags: c_uint) -> c_int;
    write(file: c_int, bytes: *const c_void, count: size_t) -> ssize_t;
    pwrite(file: c_int, bytes: *const c_void, count: size_t, offset: off_t) -> ssize_t;
    writev(file: c_int, parts: *const iovec, count: c_int) -> ssize_t;
    pwritev(file: c_int, parts: *const iovec, count: c_int, offset: off_t) -> ssize_t;
    ftruncate(file: c_int, length: off_t) -> c_int;
    fallocate(file: c_int, mode: c_int, offset: off_t, length: off_t) -> c_int;
    posix_fallocate(file: c_int, offset: off_t, length: off_t) -> c_int;
    openat(dir: c_int, path: *const c_char, flags: c_int, mode: mode_t) -> c_int;
    renameat(from_dir: c_int, from: *const c_char, to_dir: c_int, to: *const c_char) -> c_int;
    unlinkat(dir: c_int, path: *const c_char, flags: c_int) -> c_int;
    linkat(from_dir: c_int, from: *const c_char, to_dir: c_int, to: *const c_char, flags: c_int) -> c_int;
    mkdirat(dir: c_int, path: *const c_char, mode: mode_t) -> c_int;
    clock_gettime(clock: clockid_t, time: *mut timespec) -> c_int;
    getrandom(buffer: *mut c_void, length: size_t, flags: c_uint) -> ssize_t;
}

/// Why the last call failed.
pub(crate) fn errno() -> c_int {
    // SAFETY: libc gives the address of this thread's own number.
    unsafe { *libc::__errno_location() }
}

/// What the caller will find as the reason.
pub(crate) fn set_errno(reason: c_int) {
    // SAFETY: as above.
    unsafe { *libc::__errno_location() = reason }
}

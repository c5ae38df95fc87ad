//! Random bytes from a seed, so that a process without threads of its own choice is repeatable; from the system without one.

#![allow(unsafe_code)]

use std::ffi::{c_int, c_uint, c_void};
use std::sync::atomic::{AtomicU64, Ordering};

use libc::{size_t, ssize_t};

use crate::layout::{Word, mix};
use crate::{control, real};

const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
/// Nobody has looked into the environment yet.
const UNKNOWN: u64 = 0;
const SYSTEM: u64 = 1;
const SEEDED: u64 = 2;

static SOURCE: AtomicU64 = AtomicU64::new(UNKNOWN);
static STATE: AtomicU64 = AtomicU64::new(0);

#[unsafe(no_mangle)]
unsafe extern "C" fn getrandom(buffer: *mut c_void, length: size_t, flags: c_uint) -> ssize_t {
    if !seeded() {
        // SAFETY: the caller's promise to libc.
        return unsafe { real::getrandom(buffer, length, flags) };
    }
    // SAFETY: the caller gives a buffer of this length.
    fill(unsafe { std::slice::from_raw_parts_mut(buffer.cast(), length) });
    length.cast_signed()
}

#[unsafe(no_mangle)]
unsafe extern "C" fn getentropy(buffer: *mut c_void, length: size_t) -> c_int {
    const MOST: usize = 256;
    if length > MOST {
        real::set_errno(libc::EIO);
        return -1;
    }
    // SAFETY: the caller gives a buffer of this length; so short a wish is always fulfilled whole.
    let given = unsafe { getrandom(buffer, length, 0) };
    if given == length.cast_signed() { 0 } else { -1 }
}

fn fill(buffer: &mut [u8]) {
    for part in buffer.chunks_mut(size_of::<u64>()) {
        let state = STATE.fetch_add(STEP, Ordering::Relaxed);
        part.copy_from_slice(&mix(state.wrapping_add(STEP)).to_le_bytes()[..part.len()]);
    }
    if let Some(control) = control::get() {
        control.count(Word::SeededRandoms);
    }
}

/// Asks the environment once. It may be asked before this library is loaded: other libraries begin earlier.
fn seeded() -> bool {
    if SOURCE.load(Ordering::Acquire) == UNKNOWN {
        let seed = control::variable(c"TWINSET_PRELOAD_RANDOM");
        let seed = seed.and_then(|text| std::str::from_utf8(text.get()?).ok()?.parse().ok());
        // Whoever is first stores the seed; two threads cannot be here at once before the first is started.
        STATE.store(seed.unwrap_or(0), Ordering::Relaxed);
        SOURCE.store(if seed.is_some() { SEEDED } else { SYSTEM }, Ordering::Release);
    }
    SOURCE.load(Ordering::Acquire) == SEEDED
}

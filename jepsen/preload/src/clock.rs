//! The wall clock, shifted. Other clocks go on as they are: only what people call the time can be set by people.

#![allow(unsafe_code)]

use std::ffi::c_int;

use libc::{CLOCK_REALTIME, clockid_t, timespec};

use crate::layout::Word;
use crate::{control, real};

const SECOND_NS: i64 = 1_000_000_000;

#[unsafe(no_mangle)]
unsafe extern "C" fn clock_gettime(clock: clockid_t, time: *mut timespec) -> c_int {
    // SAFETY: the caller's promise to libc.
    let result = unsafe { real::clock_gettime(clock, time) };
    if clock != CLOCK_REALTIME || result != 0 {
        return result;
    }
    let Some(control) = control::get() else { return result };
    let offset = control.read(Word::ClockOffsetNs).cast_signed();
    // SAFETY: libc has just filled it.
    if let Some(time) = unsafe { time.as_mut() }
        && offset != 0
    {
        control.count(Word::ShiftedReads);
        let ns = time.tv_nsec + offset % SECOND_NS;
        time.tv_sec += offset / SECOND_NS + ns.div_euclid(SECOND_NS);
        time.tv_nsec = ns.rem_euclid(SECOND_NS);
    }
    result
}

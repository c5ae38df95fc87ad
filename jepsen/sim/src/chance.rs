//! Where a simulated process gets its randomness and its time: from the seed, whoever asks. The C library's calls are
//! replaced in this program alone: hash maps, tokio's and openraft's draws, what a library reads of the clock on its own.
//! Only the thread that runs the simulation is answered so; the store's threads ask the system as ever.
#![allow(unsafe_code)]

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use libc::{c_int, c_long, c_uint, c_void, clockid_t, size_t, ssize_t, timespec};

/// When a simulation begins, by its wall clock: 2026-01-01.
pub const EPOCH: Duration = Duration::from_secs(1_767_225_600);
/// And by its monotonic clock, so that subtracting a while from an early instant is possible.
const BOOTED_BEFORE: Duration = Duration::from_secs(86_400);

thread_local! {
    // Constant and without a destructor: it can be read at any moment of a thread's life.
    static SIMULATED: Cell<bool> = const { Cell::new(false) };
}
static STATE: AtomicU64 = AtomicU64::new(0);
static ELAPSED_NS: AtomicU64 = AtomicU64::new(0);

/// From here on, this thread lives in the simulation of `seed`. It must be a new thread: what others have drawn before is
/// drawn.
pub fn enter(seed: u64) {
    STATE.store(seed, Ordering::Relaxed);
    ELAPSED_NS.store(0, Ordering::Relaxed);
    SIMULATED.set(true);
}

/// From here on, this thread asks the system again.
pub fn leave() {
    SIMULATED.set(false);
}

/// The time of the simulation.
pub fn set_elapsed(elapsed: Duration) {
    let ns = u64::try_from(elapsed.as_nanos()).expect("a simulation is shorter than centuries");
    ELAPSED_NS.store(ns, Ordering::Relaxed);
}

/// The time of the simulation, as of its last step.
pub fn elapsed() -> Duration {
    Duration::from_nanos(ELAPSED_NS.load(Ordering::Relaxed))
}

/// One thread alone draws, so two steps are as good as one.
fn draw() -> u64 {
    let state = STATE.load(Ordering::Relaxed).wrapping_add(0x9e37_79b9_7f4a_7c15);
    STATE.store(state, Ordering::Relaxed);
    let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// # Safety
/// `at` is writable for `len` bytes.
unsafe fn fill(at: *mut c_void, len: size_t) {
    let at = at.cast::<u8>();
    for n in 0..len {
        let byte = draw().to_le_bytes()[0];
        // SAFETY: within `len` bytes, which the caller vouches for.
        unsafe { at.add(n).write(byte) };
    }
}

/// In place of the C library's.
///
/// # Safety
/// As for the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn getrandom(at: *mut c_void, len: size_t, flags: c_uint) -> ssize_t {
    if SIMULATED.get() {
        // SAFETY: the caller's promise is the same.
        unsafe { fill(at, len) };
        return len.cast_signed();
    }
    // SAFETY: the caller's promise is the same.
    let got: c_long = unsafe { libc::syscall(libc::SYS_getrandom, at, len, flags) };
    got as ssize_t
}

/// In place of the C library's.
///
/// # Safety
/// As for the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn getentropy(at: *mut c_void, len: size_t) -> c_int {
    // SAFETY: the caller's promise is the same.
    let got = unsafe { getrandom(at, len, 0) };
    if got == len.cast_signed() { 0 } else { -1 }
}

/// In place of the C library's: both clocks stand still within a step of the simulation.
///
/// # Safety
/// As for the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn clock_gettime(clock: clockid_t, at: *mut timespec) -> c_int {
    if !SIMULATED.get() {
        // SAFETY: the caller's promise is the same.
        return unsafe { libc::syscall(libc::SYS_clock_gettime, clock, at) } as c_int;
    }
    let now = elapsed() + if clock == libc::CLOCK_REALTIME { EPOCH } else { BOOTED_BEFORE };
    let told = timespec { tv_sec: now.as_secs().cast_signed(), tv_nsec: i64::from(now.subsec_nanos()) };
    // SAFETY: the caller has given a place for it.
    unsafe { at.write(told) };
    0
}

#[cfg(test)]
mod tests {
    use std::hash::{BuildHasher, RandomState};
    use std::time::{SystemTime, UNIX_EPOCH};

    use super::*;

    /// What the standard library draws and reads on a new thread that lives in the simulation of `seed`.
    fn drawn(seed: u64) -> (u64, Duration) {
        let thread = std::thread::spawn(move || {
            enter(seed);
            set_elapsed(Duration::from_secs(5));
            let drawn = (RandomState::new().hash_one(1), SystemTime::now());
            leave();
            (drawn.0, drawn.1.duration_since(UNIX_EPOCH).unwrap())
        });
        thread.join().unwrap()
    }

    #[test]
    fn what_the_standard_library_draws_and_reads_comes_from_the_seed() {
        let (hash, now) = drawn(1);
        assert_eq!(drawn(1).0, hash);
        assert_ne!(drawn(2).0, hash);
        assert_eq!(now, EPOCH + Duration::from_secs(5));
        assert_ne!(
            SystemTime::now().duration_since(UNIX_EPOCH).unwrap(),
            now,
            "every other thread asks the system"
        );
    }
}

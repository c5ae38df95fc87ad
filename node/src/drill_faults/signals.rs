//! How a process stands still and goes on by itself: a child that was started before wakes it, whatever has become of
//! whoever asked. The child is a fork that does nothing but sleep and signal; it dies with its parent.

use std::io;
use std::time::Duration;

/// Between two signals to a parent that has not taken one yet: a busy machine may not have stopped it in time.
const AGAIN_NS: libc::c_long = 20_000_000;

/// Stops the process, for so long at most: who knows its id may wake it earlier. To be called on a thread that
/// nothing else needs. Returns when the process goes on; fails when there can be no child, and then nothing has
/// stopped.
pub(super) fn pause(time: Duration) -> io::Result<()> {
    let end = now()?.checked_add(time).ok_or(io::ErrorKind::InvalidInput)?;
    let child = fork_waker(end)?;
    // To this thread: it does not go on before the process does.
    crate::faults::strike(libc::SIGSTOP);
    end_waker(child)
}

/// Monotonic, which goes on while the process does not.
#[allow(unsafe_code)]
fn now() -> io::Result<Duration> {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: it writes into `now` alone.
    if unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let seconds = u64::try_from(now.tv_sec).expect("monotonic time has no sign");
    let nanoseconds = u32::try_from(now.tv_nsec).expect("below a second");
    Ok(Duration::new(seconds, nanoseconds))
}

#[allow(unsafe_code)]
fn fork_waker(end: Duration) -> io::Result<libc::pid_t> {
    let end = libc::timespec {
        tv_sec: libc::time_t::try_from(end.as_secs()).map_err(io::Error::other)?,
        tv_nsec: end.subsec_nanos().into(),
    };
    // SAFETY: the call takes nothing.
    let parent = unsafe { libc::getpid() };
    // SAFETY: the child of a process with threads may use only what is safe in a signal handler; `wake` does.
    match unsafe { libc::fork() } {
        0 => wake(parent, &end),
        child if child > 0 => Ok(child),
        _ => Err(io::Error::last_os_error()),
    }
}

/// The child.
#[allow(unsafe_code)]
fn wake(parent: libc::pid_t, end: &libc::timespec) -> ! {
    // SAFETY: all of these are safe in a signal handler and take numbers, but for the time, which outlives the call.
    unsafe {
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
        // The parent may have died before that took effect. Its thread, which the signal hangs on, waits for this
        // child.
        if libc::getppid() == parent {
            let again = libc::timespec { tv_sec: 0, tv_nsec: AGAIN_NS };
            let (clock, nobody) = (libc::CLOCK_MONOTONIC, std::ptr::null_mut());
            // A signal that was meant for the parent's group ends the sleep, but not the wait.
            while libc::clock_nanosleep(clock, libc::TIMER_ABSTIME, end, nobody) == libc::EINTR {}
            while libc::kill(parent, libc::SIGCONT) == 0 {
                libc::nanosleep(&raw const again, nobody);
            }
        }
        libc::_exit(0)
    }
}

#[allow(unsafe_code)]
fn end_waker(child: libc::pid_t) -> io::Result<()> {
    // SAFETY: the child is this process's own, and nobody has waited for it: its id is not another's.
    unsafe { libc::kill(child, libc::SIGKILL) };
    loop {
        // SAFETY: a null status is allowed.
        if unsafe { libc::waitpid(child, std::ptr::null_mut(), 0) } == child {
            return Ok(());
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn a_process_that_stands_still_goes_on_by_itself() {
        let (began, time) = (Instant::now(), Duration::from_millis(40));
        pause(time).unwrap();
        assert!(began.elapsed() >= time);
        // Its time was over before it could stop: it goes on all the same.
        pause(Duration::ZERO).unwrap();
    }
}

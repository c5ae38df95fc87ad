//! The thread that holds delayed packets back: takes them from the switches' queues and lets them go when
//! [`super::schedule`] says. It sleeps while nothing is delayed; it ends, and so do the queues, when the [`Delayer`] is
//! dropped.

use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};

use super::nfqueue::Queue;
use super::schedule::{Path, Schedule};

/// Delays packets until it is dropped.
pub struct Delayer {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    schedule: Mutex<Schedule>,
    wake: EventFd,
    stop: AtomicBool,
}

/// Packets taken from one queue before the others have their turn.
const TAKEN_AT_ONCE: usize = 256;

impl Delayer {
    /// Takes over these queues.
    pub fn start(queues: Vec<Queue>) -> anyhow::Result<Self> {
        let wake = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
        let schedule = Mutex::new(Schedule::new(0));
        let shared = Arc::new(Shared { schedule, wake, stop: AtomicBool::new(false) });
        let of_thread = shared.clone();
        let thread =
            std::thread::Builder::new().name("delayer".to_owned()).spawn(move || of_thread.run(&queues))?;
        Ok(Delayer { shared, thread: Some(thread) })
    }

    /// From now on packets on these links wait, once a rule sends them here.
    pub fn delay(&self, number: u64, paths: Vec<Path>, delay: Duration, jitter: Duration) {
        self.shared.schedule().delay(number, paths, delay, jitter);
    }

    /// Undoes a delay; what still waits for it goes at once. Gives the number of packets that it has delayed.
    pub fn heal(&self, number: u64) -> anyhow::Result<u64> {
        let delayed = self.shared.schedule().heal(number, Instant::now());
        self.shared.wake.write(1)?;
        Ok(delayed)
    }
}

impl Drop for Delayer {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        // It fails only when a wake is pending already.
        let _ = self.shared.wake.write(1);
        if let Some(thread) = self.thread.take() {
            // What a panic had to say stands on stderr.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn schedule(&self) -> MutexGuard<'_, Schedule> {
        self.schedule.lock().expect("nothing panics under this lock")
    }

    fn run(&self, queues: &[Queue]) {
        let mut ready: Vec<PollFd<'_>> =
            queues.iter().map(|queue| PollFd::new(queue.as_fd(), PollFlags::POLLIN)).collect();
        ready.push(PollFd::new(self.wake.as_fd(), PollFlags::POLLIN));
        while !self.stop.load(Ordering::Relaxed) {
            let next = self.schedule().next_due();
            // An interrupted wait is a short one.
            let _ = poll(&mut ready, timeout(next, Instant::now()));
            // Nothing to read means that nobody has woken us.
            let _ = self.wake.read();
            for (number, queue) in queues.iter().enumerate() {
                self.take(number, queue);
            }
            let now = Instant::now();
            while let Some((queue, id)) = { self.schedule().pop_due(now) } {
                // A packet whose network is being taken down is gone, and nobody waits for it.
                let _ = queues[queue].let_go(id);
            }
        }
    }

    fn take(&self, number: usize, queue: &Queue) {
        for _ in 0..TAKEN_AT_ONCE {
            let Ok(packets) = queue.receive() else { return };
            if packets.is_empty() {
                return;
            }
            let now = Instant::now();
            let mut schedule = self.schedule();
            for packet in &packets {
                schedule.arrive(now, number, packet);
            }
        }
    }
}

/// How long to wait for the next packet: whole milliseconds, never too short, for ever if none waits.
fn timeout(next: Option<Instant>, now: Instant) -> PollTimeout {
    let Some(next) = next else { return PollTimeout::NONE };
    let left = next.saturating_duration_since(now).as_micros().div_ceil(1_000);
    PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_never_too_short_and_none_is_busy() {
        let now = Instant::now();
        let wait = |us: u64| timeout(Some(now + Duration::from_micros(us)), now);
        assert_eq!(timeout(None, now), PollTimeout::NONE);
        for (us, ms) in [(0, 0_u16), (1, 1), (1_000, 1), (2_500, 3)] {
            assert_eq!(wait(us), PollTimeout::from(ms), "{us}");
        }
        let past = now.checked_sub(Duration::from_secs(1)).unwrap();
        assert_eq!(timeout(Some(past), now), PollTimeout::ZERO);
    }
}

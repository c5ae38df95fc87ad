//! What a drill does to the disk of a store: syncs that stand still, that are slow, or that find no space. It acts in
//! one place, before each sync of the syncer's thread, and each strain ends by itself: the thread that waits looks at
//! the time. Above it is whoever holds the handle; it knows nothing of why. A store on a simulated disk never looks
//! at it: that disk has faults of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use crate::fault::Fault;

/// What a disk is made to suffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strain {
    /// No sync begins.
    Stall,
    /// Each sync begins so much later.
    Slow(Duration),
    /// There is no space: the next sync fails, and the store stops as it does on a full disk.
    Full,
}

/// The handle. Cheap to clone; one strain of each sort at a time, the newest.
#[derive(Clone, Default)]
pub struct Brake(Arc<Inner>);

#[derive(Default)]
struct Inner {
    /// Whether there is anything to look at below.
    on: AtomicBool,
    strains: Mutex<Strains>,
    changed: Condvar,
}

/// Each with its end.
#[derive(Default)]
struct Strains {
    stall: Option<Instant>,
    slow: Option<(Duration, Instant)>,
    full: Option<Instant>,
}

impl Brake {
    /// Begins a strain that ends by itself at `until`.
    pub fn press(&self, strain: Strain, until: Instant) {
        self.change(|strains| match strain {
            Strain::Stall => strains.stall = Some(until),
            Strain::Slow(by) => strains.slow = Some((by, until)),
            Strain::Full => strains.full = Some(until),
        });
    }

    /// Ends the strain of that sort, whatever its figures.
    pub fn release(&self, strain: Strain) {
        self.change(|strains| match strain {
            Strain::Stall => strains.stall = None,
            Strain::Slow(_) => strains.slow = None,
            Strain::Full => strains.full = None,
        });
    }

    /// Ends all of them.
    pub(crate) fn release_all(&self) {
        self.change(|strains| *strains = Strains::default());
    }

    fn change(&self, change: impl FnOnce(&mut Strains)) {
        let mut strains = self.0.strains.lock();
        change(&mut strains);
        let on = strains.stall.is_some() || strains.slow.is_some() || strains.full.is_some();
        self.0.on.store(on, Ordering::Relaxed);
        self.0.changed.notify_all();
    }

    /// Waits as long as the disk would keep a sync waiting, or fails as it would.
    pub(crate) fn before_sync(&self) -> Result<(), Fault> {
        if self.0.on.load(Ordering::Relaxed) { self.suffer() } else { Ok(()) }
    }

    fn suffer(&self) -> Result<(), Fault> {
        let began = Instant::now();
        let mut strains = self.0.strains.lock();
        loop {
            let now = Instant::now();
            if strains.full.is_some_and(|until| now < until) {
                return Err(Fault::DiskFull { operation: "sync" });
            }
            let slow = strains.slow.map(|(by, until)| until.min(began + by));
            let Some(end) = strains.stall.max(slow).filter(|end| now < *end) else { return Ok(()) };
            self.0.changed.wait_until(&mut strains, end);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{TryRecvError, sync_channel};

    use super::*;

    const LONG: Duration = Duration::from_secs(600);

    fn later(after: Duration) -> Instant {
        Instant::now() + after
    }

    #[test]
    fn a_stalled_sync_goes_on_when_the_strain_is_ended() {
        let brake = Brake::default();
        assert_eq!(brake.before_sync(), Ok(()));
        brake.press(Strain::Stall, later(LONG));
        let (tell, told) = sync_channel(1);
        std::thread::scope(|threads| {
            threads.spawn(|| tell.send(brake.before_sync()).unwrap());
            assert_eq!(told.try_recv(), Err(TryRecvError::Empty));
            brake.release(Strain::Stall);
            assert_eq!(told.recv_timeout(LONG), Ok(Ok(())));
        });
    }

    #[test]
    fn a_strain_ends_at_its_time_though_nobody_ends_it() {
        let brake = Brake::default();
        let until = later(Duration::from_millis(30));
        brake.press(Strain::Stall, until);
        assert_eq!(brake.before_sync(), Ok(()));
        assert!(Instant::now() >= until);
        brake.press(Strain::Full, until);
        assert_eq!(brake.before_sync(), Ok(()), "it was over before it began");
    }

    #[test]
    fn a_slow_sync_takes_so_much_longer_and_no_more_than_is_left_of_the_strain() {
        let (brake, by) = (Brake::default(), Duration::from_millis(20));
        brake.press(Strain::Slow(by), later(LONG));
        let began = Instant::now();
        assert_eq!(brake.before_sync(), Ok(()));
        assert!(began.elapsed() >= by);
        let until = later(by);
        brake.press(Strain::Slow(LONG), until);
        assert_eq!(brake.before_sync(), Ok(()));
        assert!(Instant::now() >= until);
    }

    #[test]
    fn a_full_disk_fails_the_sync_though_it_is_stalled_too() {
        let brake = Brake::default();
        brake.press(Strain::Stall, later(LONG));
        brake.press(Strain::Full, later(LONG));
        assert_eq!(brake.before_sync(), Err(Fault::DiskFull { operation: "sync" }));
        brake.release(Strain::Full);
        brake.release_all();
        assert_eq!(brake.before_sync(), Ok(()));
    }
}

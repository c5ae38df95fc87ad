//! The turns of an engine's writes and syncs, and the poison: the first fault, which every later call is told. The two
//! stand together because the database names the cause of a failure only to the call that met it; whoever comes after it
//! hears that something went before, and must not be the first to speak. Above it is [`crate::engine`].

use std::sync::OnceLock;

use parking_lot::Mutex;

use crate::fault::Fault;

/// Who writes, who syncs, and what stopped them.
pub(super) struct Turns {
    poison: OnceLock<Fault>,
    /// Number of the last batch written; held over a write and the poison that its failure leaves.
    written: Mutex<u64>,
    /// Held over a sync and the poison that its failure leaves.
    syncing: Mutex<()>,
}

impl Turns {
    /// After a numbered batch, with no fault yet.
    pub(super) fn after(written: u64) -> Turns {
        Turns { poison: OnceLock::new(), written: Mutex::new(written), syncing: Mutex::new(()) }
    }

    /// Fails when there was a fault.
    pub(super) fn check(&self) -> Result<(), Fault> {
        self.poison.get().map_or(Ok(()), |fault| Err(fault.as_stop()))
    }

    /// Stops everything: from now on every call fails. What comes after the first fault is only its consequence.
    pub(super) fn poison(&self, fault: Fault) -> Fault {
        if self.poison.set(fault.clone()).is_ok() {
            tracing::error!(%fault, "the store stops");
            return fault;
        }
        self.poison.get().expect("set by an earlier fault").as_stop()
    }

    /// The number of the last batch written.
    pub(super) fn written(&self) -> u64 {
        *self.written.lock()
    }

    /// Writes the batch that is given the next number, one at a time.
    pub(super) fn write(&self, write: impl FnOnce(u64) -> Result<(), Fault>) -> Result<(), Fault> {
        let mut written = self.written.lock();
        self.check()?;
        match write(*written + 1) {
            Ok(()) => {
                *written += 1;
                Ok(())
            }
            Err(fault @ Fault::Aftermath { .. }) => {
                drop(written);
                // A sync that failed is about to say why.
                drop(self.syncing.lock());
                Err(self.poison(fault))
            }
            Err(fault) => Err(self.poison(fault)),
        }
    }

    /// Syncs, one at a time: a write that hears of a failure waits here for the one that knows its cause.
    pub(super) fn sync(&self, sync: impl FnOnce() -> Result<(), Fault>) -> Result<(), Fault> {
        let _turn = self.syncing.lock();
        self.check()?;
        sync().map_err(|fault| {
            if matches!(fault, Fault::Aftermath { .. }) {
                // A write that failed is about to say why. It does not wait for this one while it holds its turn.
                drop(self.written.lock());
            }
            self.poison(fault)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::sync_channel;

    use super::*;

    const FULL: Fault = Fault::DiskFull { operation: "the cause" };
    const AFTER: Fault = Fault::Aftermath { operation: "the other" };

    #[test]
    fn the_cause_comes_first_although_a_write_hears_of_a_failed_sync_before_it_ends() {
        let turns = Turns::after(0);
        let (heard, hears) = sync_channel(1);
        std::thread::scope(|threads| {
            let (begun, begins) = sync_channel(1);
            let (turns, sync) = (&turns, move || {
                begun.send(()).unwrap();
                hears.recv().unwrap();
                Err(FULL)
            });
            threads.spawn(move || assert_eq!(turns.sync(sync), Err(FULL)));
            begins.recv().unwrap();
            let refused = turns.write(|_| {
                heard.send(()).unwrap();
                Err(AFTER)
            });
            assert_eq!(refused, Err(FULL.as_stop()));
        });
        assert_eq!(turns.check(), Err(FULL.as_stop()));
    }

    #[test]
    fn the_cause_comes_first_although_a_sync_hears_of_a_failed_write_before_it_ends() {
        let turns = Turns::after(0);
        let (heard, hears) = sync_channel(1);
        std::thread::scope(|threads| {
            let (begun, begins) = sync_channel(1);
            let (turns, write) = (&turns, move |_| {
                begun.send(()).unwrap();
                hears.recv().unwrap();
                Err(FULL)
            });
            threads.spawn(move || assert_eq!(turns.write(write), Err(FULL)));
            begins.recv().unwrap();
            let refused = turns.sync(|| {
                heard.send(()).unwrap();
                Err(AFTER)
            });
            assert_eq!(refused, Err(FULL.as_stop()));
        });
        assert_eq!(turns.check(), Err(FULL.as_stop()));
        assert_eq!(turns.written(), 0);
    }

    #[test]
    fn an_aftermath_whose_cause_nobody_met_stops_too() {
        let turns = Turns::after(7);
        assert_eq!(turns.write(|_| Ok(())), Ok(()));
        assert_eq!(turns.written(), 8);
        assert_eq!(turns.sync(|| Err(AFTER)), Err(AFTER));
        assert_eq!(turns.check(), Err(AFTER.as_stop()));
    }
}

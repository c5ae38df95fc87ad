//! How far a replica has come, and its running hash at the last few thousand records. Apart from the state and its lock:
//! every heartbeat tells both, and must wait for no reader.

use std::collections::VecDeque;

use super::LedgerReplica;
use super::set_state::{Applied, SetState};

/// Running hashes that are remembered.
const HASHES_KEPT: usize = 4096;

/// What heartbeats ask for. Changed under the lock of the state, read without it.
pub(super) struct Points {
    applied: Applied,
    /// By index, without gaps.
    hashes: VecDeque<(u64, [u8; 32])>,
}

impl Points {
    /// Of a state that was loaded.
    pub(super) fn of(about: &SetState) -> Points {
        let mut points = Points { applied: Applied::default(), hashes: VecDeque::new() };
        points.advance(about);
        points
    }

    /// One more record was applied.
    pub(super) fn advance(&mut self, about: &SetState) {
        let Some(last) = about.applied.log_id else { return };
        self.applied.log_id = Some(last);
        if self.applied.membership != about.applied.membership {
            self.applied.membership.clone_from(&about.applied.membership);
        }
        if self.hashes.len() == HASHES_KEPT {
            self.hashes.pop_front();
        }
        self.hashes.push_back((last.index, about.hash));
    }

    fn hash_at(&self, index: u64) -> Option<[u8; 32]> {
        let (first, _) = self.hashes.front()?;
        let at = usize::try_from(index.checked_sub(*first)?).ok()?;
        self.hashes.get(at).map(|(_, hash)| *hash)
    }
}

impl LedgerReplica {
    /// How far the replica has come.
    pub fn applied(&self) -> Applied {
        self.cell.points.lock().applied.clone()
    }

    /// The running hash after the record at `index`, if that is among the last few thousand.
    pub fn hash_at(&self, index: u64) -> Option<[u8; 32]> {
        self.cell.points.lock().hash_at(index)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;
    use std::thread;
    use std::time::{Duration, Instant};

    use super::super::sample::{Fed, open};

    #[test]
    fn a_heartbeat_waits_for_no_reader() {
        let fed = Fed::new();
        let last = fed.feed(&[open("a")]);
        let hash = fed.replica.hash_at(last);
        assert!(hash.is_some());
        let replica = &fed.replica;
        thread::scope(|scope| {
            let reading = replica.cell.state.read();
            let next = fed.record(last + 1, &[open("b")]);
            scope.spawn(move || replica.apply(&next).unwrap());
            // From when apply waits for the reader, other readers wait behind it.
            let deadline = Instant::now() + Duration::from_secs(60);
            while replica.cell.state.try_read().is_some() {
                assert!(Instant::now() < deadline, "apply does not wait");
                thread::yield_now();
            }
            let (tell, told) = channel();
            scope.spawn(move || {
                let applied = replica.applied().log_id.map(|applied| applied.index);
                tell.send((applied, replica.hash_at(last))).unwrap();
            });
            let heard = told.recv_timeout(Duration::from_secs(20));
            drop(reading);
            assert_eq!(heard, Ok((Some(last), hash)), "a heartbeat stood behind a reader");
        });
        assert_eq!(replica.applied().log_id.map(|applied| applied.index), Some(last + 1));
        assert!(replica.hash_at(last + 1).is_some());
    }
}

//! The last moves of sets that this node has carried out, phase by phase: what the report of a plan or a drill is made of. In
//! memory alone: what counts of a move stands in the control set.

use std::collections::VecDeque;

use parking_lot::Mutex;
use twinset_proto::cluster::v1::Move;

/// So many are kept: of as many sets as a node leads, and there and back.
const KEPT: usize = 512;

/// The last moves, in the order in which they ended.
#[derive(Debug, Default)]
pub struct Moves {
    ended: Mutex<VecDeque<Move>>,
}

impl Moves {
    /// One has ended.
    pub fn add(&self, ended: Move) {
        let mut all = self.ended.lock();
        if all.len() == KEPT {
            all.pop_front();
        }
        all.push_back(ended);
    }

    /// Those that began then or later.
    pub fn since(&self, unix_ms: u64) -> Vec<Move> {
        self.ended.lock().iter().filter(|one| one.began_unix_ms >= unix_ms).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_are_forgotten_and_earlier_ones_left_out() {
        let moves = Moves::default();
        for began_unix_ms in 0..KEPT as u64 + 3 {
            moves.add(Move { began_unix_ms, ..Move::default() });
        }
        let of = |since| moves.since(since).iter().map(|one| one.began_unix_ms).collect::<Vec<_>>();
        assert_eq!(of(0).first(), Some(&3));
        assert_eq!(of(0).len(), KEPT);
        assert_eq!(of(KEPT as u64 + 1), [KEPT as u64 + 1, KEPT as u64 + 2]);
    }
}

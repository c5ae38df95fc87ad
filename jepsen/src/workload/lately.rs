//! The transfers that a client has booked lately, for workloads that look them up. Pure.

use std::collections::VecDeque;

use twinset_tools::load::random::Random;

use crate::history::{Answer, Ask, Name};

/// Its name, the account of its first leg, and its request id.
pub type Booked = (Name, u32, String);

/// A client remembers so many.
const KEPT: usize = 200;

/// What was booked, the newest last.
#[derive(Default)]
pub struct Lately(VecDeque<Booked>);

impl Lately {
    /// A call was answered.
    pub fn heard(&mut self, ask: &Ask, answer: &Answer) {
        if let (Ask::Transfer(transfer), Answer::Booked { transaction, .. }) = (ask, answer) {
            self.0.push_back((*transaction, transfer.legs[0].0, transfer.id.clone()));
            if self.0.len() > KEPT {
                self.0.pop_front();
            }
        }
    }

    /// The newest: the hardest for a replica to have.
    pub fn newest(&self) -> Option<Booked> {
        self.0.back().cloned()
    }

    /// Any of them.
    pub fn any(&self, random: &mut Random) -> Option<Booked> {
        (!self.0.is_empty()).then(|| self.0[random.below(self.0.len())].clone())
    }
}

//! What clients leave behind when they stop: what is to be asked again, and what is to be looked up. Pure.

use std::collections::BTreeSet;

use twinset_tools::load::random::Random;

use super::again::Again;
use crate::history::{Answer, Ask, Retry};

/// What each client keeps to be looked up, of each sort.
const SAMPLE: usize = 40;
/// Of so many more, one takes the place of another.
const SELDOM: usize = 50;

/// What clients leave behind when they stop.
#[derive(Debug, Default)]
pub struct Left {
    /// Writes with an open end.
    pub open: Vec<Ask>,
    /// Some of the writes that were told `not_applied`.
    pub refused: Vec<Ask>,
    /// Some of all writes, to be looked up.
    pub sample: Vec<Ask>,
    /// Accounts on which a hold may have been placed.
    pub held: BTreeSet<u32>,
    /// Groups of accounts that somebody has read.
    pub groups: BTreeSet<u32>,
    /// Accounts that may have got something restricted.
    pub restricted: BTreeSet<u32>,
    /// Accounts that other sets may have paid without asking.
    pub buffered: BTreeSet<u32>,
    /// Accounts that somebody may have swept.
    pub swept: BTreeSet<u32>,
    /// Whether anybody has followed events, or only they tell of something.
    pub follows: bool,
}

impl Left {
    /// All of it.
    pub fn all(&self) -> impl Iterator<Item = &Ask> {
        self.open.iter().chain(&self.refused).chain(&self.sample)
    }

    /// Something new was asked.
    pub fn note(&mut self, ask: &Ask) {
        self.follows |= matches!(ask, Ask::Events { .. });
        if let Ask::PlaceHold { account, .. } = ask {
            self.held.insert(*account);
        }
        let booked = match ask {
            Ask::Transfer(transfer) => std::slice::from_ref(transfer),
            Ask::Batch { items, .. } => items,
            _ => &[],
        };
        for transfer in booked {
            self.restricted.extend(transfer.restricted().map(|(account, ..)| account));
        }
        if let Ask::ReadGroup { group, .. } = ask {
            self.groups.insert(*group);
        }
        if let Ask::SetMode { account, .. } = ask {
            self.buffered.insert(*account);
        }
        if let Ask::SetSweep { account, .. } = ask {
            self.swept.insert(*account);
            self.follows = true;
        }
    }

    /// A write was answered.
    pub fn keep(&mut self, ask: &Ask, answer: &Answer, random: &mut Random) {
        if answer.is_open() {
            self.open.push(ask.clone());
        }
        let refused = answer.is_nothing();
        let pile = if refused { &mut self.refused } else { &mut self.sample };
        if pile.len() < SAMPLE {
            pile.push(ask.clone());
        } else if random.below(SELDOM) == 0 {
            pile[random.below(SAMPLE)] = ask.clone();
        }
    }

    /// Something that was asked again was answered. With another body it is never there, and nothing to be looked up.
    pub fn keep_again(&mut self, again: &Again, answer: &Answer, random: &mut Random) {
        if again.why != Retry::OtherBody {
            self.keep(&again.ask, answer, random);
        } else if answer.is_open() {
            self.open.push(again.ask.clone());
        }
    }

    /// Takes in what another client left.
    pub fn append(&mut self, mut other: Left) {
        self.open.append(&mut other.open);
        self.refused.append(&mut other.refused);
        self.sample.append(&mut other.sample);
        self.held.append(&mut other.held);
        self.groups.append(&mut other.groups);
        self.restricted.append(&mut other.restricted);
        self.buffered.append(&mut other.buffered);
        self.swept.append(&mut other.swept);
        self.follows |= other.follows;
    }
}

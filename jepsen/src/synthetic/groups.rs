//! Groups of accounts in a made-up history: each part is read in its set, at once.

use super::{Maker, PROCESSES, TICK_NS};
use crate::check::replay::figures;
use crate::history::groups::{FoundGroup, FoundPart, group_of};
use crate::history::{Answer, AsOf, Ask, Figures, Level};

impl Maker {
    /// A group as it is read.
    pub(super) fn group(&self, group: u32) -> Answer {
        let id = self.history.accounts[group as usize].as_str();
        let mut found = FoundGroup {
            figures: Figures { limit: Some(0), ..Figures::default() },
            age_ms: 0,
            parts: Vec::new(),
        };
        for (number, part) in (0..).zip(&self.history.accounts).filter(|(_, part)| group_of(part) == Some(id))
        {
            let set = self.history.set_of(number).unwrap_or(1);
            let log = &self.logs[set as usize - 1];
            let own = figures(&log.model.accounts()[part]);
            let as_of = AsOf::now(log.place());
            found.parts.push(FoundPart { account: number, as_of, figures: own });
            let sum = &mut found.figures;
            let pairs = [
                (&mut sum.posted, own.posted),
                (&mut sum.available, own.available),
                (&mut sum.held, own.held),
                (&mut sum.incoming, own.incoming),
                (&mut sum.restricted, own.restricted),
                (&mut sum.debits, own.debits),
                (&mut sum.credits, own.credits),
            ];
            pairs.into_iter().for_each(|(sum, own)| *sum += own);
            sum.version += own.version;
            sum.limit = sum.limit.zip(own.limit).map(|(sum, own)| sum + own);
            sum.frozen_debit |= own.frozen_debit;
            sum.frozen_credit |= own.frozen_credit;
        }
        Answer::Group(Box::new(found))
    }

    /// All groups that somebody has read.
    pub(super) fn last_look_at_groups(&mut self) {
        let read = self.history.ops.iter().filter_map(|op| match op.ask {
            Ask::ReadGroup { group, .. } => Some(group),
            _ => None,
        });
        for group in read.collect::<std::collections::BTreeSet<u32>>() {
            self.now_ns += TICK_NS * PROCESSES as u64;
            self.ask((99, 0), Ask::ReadGroup { group, level: Level::Linearizable }, None);
        }
    }
}

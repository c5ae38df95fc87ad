//! Atomic batches in the replay. One that is booked is its transactions, one behind the other; one that is refused is asked of the
//! model as a whole, where the first of its results stands.

use twinset_ledger::Position;

use super::super::model::Verdict;
use super::super::witness::{Body, Decided};
use super::{Run, in_cents};
use crate::history::{Answer, Ask, Place, Transfer};

impl<'h> Run<'_, 'h> {
    /// What the model says of what stands here, if that is the result of an atomic batch that was refused.
    pub(super) fn together(&mut self, decided: &Decided) -> Option<Verdict> {
        if let Some(verdict) = self.grouped.remove(&decided.place) {
            return Some(verdict);
        }
        let (items, item) = self.refused_batch(decided)?;
        let log = &self.witness.sets[&self.set];
        let first_ns = decided.place.time_ns - item;
        let mut group = Vec::new();
        for (transfer, time_ns) in items.iter().zip(first_ns..) {
            let place = Place { time_ns, ..decided.place };
            let position = match log.binary_search_by_key(&place, |other| other.place) {
                Ok(at) => self.free(log[at].position),
                // What was known before is told no place of its own.
                Err(_) => self.unseen_place(),
            };
            group.push((position, time_ns, Body::Transfer(transfer).command(self.witness.history)));
        }
        let verdicts = self.model.apply_together(&group);
        for (verdict, time_ns) in verdicts.iter().zip(first_ns..) {
            if !verdict.replayed {
                let verdict = in_cents(verdict, &self.model);
                self.grouped.insert(Place { time_ns, ..decided.place }, verdict);
            }
        }
        self.grouped.remove(&decided.place)
    }

    /// A place that no log has.
    pub(super) fn unseen_place(&mut self) -> Position {
        self.unseen -= 1;
        Position(self.unseen)
    }

    /// The atomic batch that was refused here, and which of its transactions this is: some of the others were told so beside it.
    fn refused_batch(&self, decided: &Decided) -> Option<(&'h [Transfer], u64)> {
        self.witness.replies[decided.replies.clone()].iter().find_map(|reply| {
            let call = self.witness.call(*reply);
            let (Ask::Batch { items, atomic: true, .. }, Answer::Batch(answers)) =
                (&call.op.ask, &call.op.answer)
            else {
                return None;
            };
            let item = u64::from(reply.item);
            let first_ns = decided.place.time_ns.checked_sub(item)?;
            let beside = |(answer, time_ns): (&Answer, u64)| {
                matches!(answer, Answer::Rejected { code, place, .. }
                    if code == "batch_refused" && *place == Place { time_ns, ..decided.place })
            };
            answers.iter().zip(first_ns..).any(beside).then_some((items.as_slice(), item))
        })
    }
}

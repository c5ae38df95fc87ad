//! Runs of sweeps in the witness: where sets wrote down that one was refused. Events alone tell of that.

use std::collections::HashMap;

use twinset_ledger::{Position, TransactionId};

use super::{CallRef, Decided, What, Witness, calls};
use crate::history::{Answer, run_of};

impl Witness<'_> {
    /// Places what events tell of refused runs.
    pub(super) fn place_ends_of_runs(&mut self) {
        let runs: HashMap<(TransactionId, u32), CallRef> =
            calls(self.history).filter_map(|call| Some((run_of(call.body.id())?, call.at))).collect();
        let told = self.history.ops.iter().filter_map(|op| match &op.answer {
            Answer::Events { events, .. } => Some(events),
            _ => None,
        });
        let ends = told.flatten().filter_map(|told| {
            let refused = told.refused.as_ref()?;
            let call = *runs.get(&(refused.sweep.0, refused.run))?;
            Some((told.place, (told.event.0, call)))
        });
        let ends: HashMap<_, _> = ends.collect();
        for (place, (event, call)) in ends {
            self.sets.entry(place.set).or_default().push(Decided {
                what: What::RunEnded,
                place,
                position: Position::default(),
                name: Some(event),
                call,
                begin_ns: 0,
                end_ns: u64::MAX,
                replies: 0..0,
            });
        }
    }
}

//! Dry runs in the replay: the model tries the same where the dry run looked, and forgets it. What it says is what the real call would
//! have been told there.

use twinset_ledger::TransactionId;

use super::super::model::{self, Verdict};
use super::super::witness::{Body, Decided};
use super::words::{agrees, in_cents};
use super::{Read, Run};
use crate::history::{Answer, Ask, Name, Place, Transfer};

impl Run<'_, '_> {
    /// Whether a dry run may have been told so here.
    pub(super) fn foresees(&mut self, transfer: &Transfer, read: &Read<'_>) -> bool {
        let accounts: Vec<u32> = transfer.legs.iter().map(|(account, _)| *account).collect();
        let slacks: Vec<i128> = accounts.iter().map(|account| self.slack(*account)).collect();
        let at = read.as_of.place;
        let without = self.foreseen(transfer, at);
        if self.is_told(read, &without, &slacks) {
            return true;
        }
        // What may be set aside counts where only that explains it.
        let promised = self.promise(&accounts);
        let with = self.foreseen(transfer, at);
        self.forgive(promised);
        with != without && self.is_told(read, &with, &slacks)
    }

    fn is_told(&self, read: &Read<'_>, verdict: &Verdict, slacks: &[i128]) -> bool {
        match read.answer {
            Answer::ForeseenRefusal { code, .. } => {
                !verdict.replayed && matches!(verdict.answer, model::Answer::No(said) if said == code)
            }
            Answer::Foreseen { before, replayed, balances, .. } => {
                let name = TransactionId { set: self.set, incarnation: 1, position: verdict.position };
                let name = before.map_or(Name(name), |(name, _)| name);
                // As the real call would be answered.
                let place = before.map_or(read.as_of.place, |(_, place)| place);
                let balances = balances.clone();
                let told = Answer::Booked { transaction: name, place, replayed: *replayed, balances };
                (verdict.replayed, before.is_some()) == (*replayed, *replayed)
                    && (name.0.set, name.0.position) == (self.set, verdict.position)
                    && agrees(&told, verdict, slacks)
            }
            _ => false,
        }
    }

    /// What the real call would be told by whoever decides it right behind a place.
    fn foreseen(&mut self, transfer: &Transfer, at: Place) -> Verdict {
        let place = self.unseen_place();
        let command = Body::Transfer(transfer).command(self.witness.history);
        let verdict = self.model.would(place, at.time_ns + 1, &command);
        in_cents(&verdict, &self.model)
    }

    /// Dry runs of what was refused before are told where that was, and not as of when they looked: what is decided first stays, so the
    /// end of the log says whether it is right.
    pub(super) fn foreseen_again(&mut self, log: &[Decided]) {
        for (number, op) in self.witness.history.ops.iter().enumerate() {
            let (Ask::DryRun(transfer), Answer::Rejected { code, place, replayed }) = (&op.ask, &op.answer)
            else {
                continue;
            };
            if place.set != self.set {
                continue;
            }
            // Of what nobody was told the checker of refusals says what there is to say.
            let Ok(at) = log.binary_search_by_key(place, |decided| decided.place) else { continue };
            let verdict = self.foreseen(transfer, *place);
            let right = (*replayed, verdict.replayed, verdict.position) == (true, true, log[at].position)
                && matches!(verdict.answer, model::Answer::No(said) if said == code);
            self.replay.foreseen.checked += 1;
            if !right {
                self.replay.foreseen.wrong(|| {
                    format!(
                        "operation {number} ({:?}) was told {:?}; the model says {verdict:?}",
                        op.ask, op.answer
                    )
                });
            }
        }
    }
}

//! What clients say of their transactions stands with every part of them, in every set that booked one.

use twinset_ledger::attempt::VOTE;
use twinset_ledger::{
    Begin, BufferStep, Command, Effect, Label, Outcome, Position, Reversal, State, Step, TransactionId,
};

use super::{SETS, World};

impl World {
    /// At the end: of each part that a set has booked, its log says what the client said where it was asked.
    pub(super) fn check_labels(&mut self) {
        let mut seen = Vec::new();
        for set in SETS {
            let booked = self.state(set).history().filter(|(.., outcome)| !outcome.replayed);
            for (_, command, Outcome { result, .. }) in booked {
                let (what, of, label) = match (command, result) {
                    (Command::Step { attempt, step: Step::Commit }, Ok(Effect::Posted(_))) => {
                        ("part", *attempt, self.told(set, *attempt))
                    }
                    (
                        Command::BufferStep { by, step: BufferStep::Credit(credit) },
                        Ok(Effect::Posted(_) | Effect::Suspended { .. }),
                    ) => ("credit", *by, credit.label.clone()),
                    _ => continue,
                };
                let (asked, is_reversal) = self.said(of);
                assert_eq!(label, asked, "set {set} knows what was said of {of}");
                match label.is_empty() {
                    true => seen.push(format!("{what} without a label")),
                    false if is_reversal => seen.push(format!("{what} of a reversal with a label")),
                    false => seen.push(format!("{what} with a label")),
                }
            }
        }
        seen.into_iter().for_each(|what| self.saw(what));
    }

    /// What a set was told with its part.
    fn told(&self, set: u32, attempt: TransactionId) -> Label {
        let state = self.state(set);
        let position = state.request(&attempt.attempt_scope(), VOTE, Position(u64::MAX)).expect("no fault");
        let (prepare, _) = state.original(position.expect("it has voted")).expect("no fault").expect("so");
        match prepare {
            Command::Step { step: Step::Prepare { label, .. }, .. } => label,
            other => panic!("{other:?} is no vote"),
        }
    }

    /// What the client said, and whether of a reversal.
    fn said(&self, of: TransactionId) -> (Label, bool) {
        match self.state(of.set).original(of.position).expect("no fault") {
            Some((Command::Begin(Begin { transaction, .. }), _)) => {
                let (kind, reason) = (transaction.kind, transaction.reason);
                (Label { kind, reason, metadata: transaction.metadata }, false)
            }
            Some((Command::Reversal(Reversal { reason, metadata, .. }), _)) => {
                (Label { kind: 0, reason, metadata }, true)
            }
            other => panic!("{other:?} begins nothing"),
        }
    }
}

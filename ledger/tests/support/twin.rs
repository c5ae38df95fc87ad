//! A set under test and its model, fed with the same entries: every outcome, every account, every open attempt, every
//! hold and every restriction of the one must be the other's.

use twinset_ledger::apply::{came_of, newest_attempt};
use twinset_ledger::buffer::{Buffer, Transit};
use twinset_ledger::{Command, Outcome, State, TransactionId};

use crate::model::Model;
use crate::support::Books;

/// What stands in the books about buffered accounts, in the words of the model.
fn standing(buffer: &Buffer) -> Vec<String> {
    let own =
        buffer.all_own().map(|(no, own)| format!("own {no} since {} leaving {}", own.since, own.draining));
    let heard = buffer.all_announced().iter().map(|known| {
        let (account, Transit { parcels, amount }) = (&known.account, known.transit);
        format!(
            "heard {account:?} {} open {}, {parcels} of {amount} on the way",
            known.version, known.is_open
        )
    });
    let payee = |payee: u32| &buffer.all_announced()[payee as usize].account.account;
    let sent = buffer.streams().flat_map(|(name, stream)| {
        let (done, name) = (stream.acknowledged(), (name.to, name.incarnation));
        let head = format!("to {name:?}: {done} of {}", stream.last());
        let waiting = stream.after(done).zip(done + 1..).map(|((number, p), due)| {
            assert_eq!(number, due, "parcels are numbered in their order");
            format!("  {:?} {} {} {}", p.position, p.leg, payee(p.payee), p.amount)
        });
        std::iter::once(head).chain(waiting).collect::<Vec<_>>()
    });
    let taken = buffer.inboxes().map(|(name, taken)| format!("from {name:?}: {taken}"));
    let suspended = buffer.suspended().map(|position| format!("suspended {position:?}"));
    own.chain(heard).chain(sent).chain(taken).chain(suspended).collect()
}

/// Both of them.
pub struct Twin {
    /// The ledger's.
    pub books: Books,
    model: Model,
}

impl Twin {
    /// An empty set of that number.
    pub fn of(set: u32) -> Self {
        Twin { books: Books::of(set), model: Model::new(set) }
    }

    /// Applies the commands as one entry to both. What comes of them must not differ, nor what stands in the books then.
    pub fn apply(&mut self, time_unix_ns: u64, commands: &[Command]) -> Vec<Outcome> {
        let (index, incarnation) = (self.books.next_index(), self.books.incarnation);
        let outcomes = self.books.apply(time_unix_ns, commands);
        let expected = self.model.entry(index, incarnation, time_unix_ns, commands);
        assert_eq!(outcomes.len(), expected.len(), "one outcome for each command");
        for ((command, outcome), expected) in commands.iter().zip(&outcomes).zip(&expected) {
            assert_eq!(outcome, expected, "the ledger (left) and its model differ about {command:?}");
        }
        let accounts: Vec<_> = self.books.short.accounts().cloned().collect();
        assert_eq!(accounts, self.model.records(), "the accounts of the ledger (left) and its model differ");
        let attempts = self.books.short.attempts().iter().map(|(id, attempt)| (id, attempt.clone()));
        let attempts: Vec<_> = attempts.collect();
        assert_eq!(
            attempts,
            self.model.open_attempts(),
            "the attempts of the ledger (left) and its model differ"
        );
        let holds: Vec<_> = self.books.short.holds().iter().cloned().collect();
        assert_eq!(holds, self.model.holds(), "the holds of the ledger (left) and its model differ");
        let buffered = standing(self.books.short.buffer());
        assert_eq!(
            buffered,
            self.model.buffered(),
            "buffered accounts of the ledger (left) and its model differ"
        );
        let sweeps: Vec<_> = self.books.short.sweeps().iter().cloned().collect();
        assert_eq!(sweeps, self.model.sweeps(), "the sweeps of the ledger (left) and its model differ");
        let restrictions: Vec<_> = self.books.short.restrictions().iter().cloned().collect();
        assert_eq!(
            restrictions,
            self.model.restrictions(),
            "the restrictions of the ledger (left) and its model differ"
        );
        outcomes
    }

    /// What readers see of everything that was ever decided: what has come of it, which attempt is its newest, and what
    /// reverses it.
    pub fn compare_readings(&self) {
        let state = &self.books.short;
        for (position, command, outcome) in state.history().filter(|(.., outcome)| outcome.is_remembered()) {
            let Some(request_id) = command.request_id() else { continue };
            if matches!(command, Command::Step { .. }) {
                continue;
            }
            let told = came_of(state, outcome.clone()).expect("no fault");
            assert_eq!(Some(told), self.model.told(position), "what came of {command:?} at {position:?}");
            let newest = newest_attempt(state, position, request_id).expect("no fault");
            assert_eq!(newest, self.model.newest_attempt(position), "the newest attempt of {command:?}");
            let reversed = state.reversed(position).expect("no fault");
            let expected = self.model.reversals(position);
            let by: Vec<TransactionId> = expected.iter().map(|(by, _)| *by).collect();
            assert_eq!(reversed.by, by, "what reverses {command:?}");
            let amounts = if expected.is_empty() { Vec::new() } else { self.model.amounts(position) };
            for leg in 0..amounts.len() {
                let (taken, sum) =
                    (reversed.taken.of(leg, &amounts), expected.iter().map(|(_, legs)| legs[leg]).sum());
                assert_eq!(taken, sum, "how much is reversed of leg {leg} of {command:?}");
                // Two legs go by the minor units of the first one, whatever another set tells.
                let most = amounts[if amounts.len() == 2 { 0 } else { leg }];
                assert!(taken <= most, "no more of leg {leg} of {command:?} than was booked");
            }
        }
    }
}

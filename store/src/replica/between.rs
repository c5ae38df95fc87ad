//! What a set has open with others, as far as its clearing accounts hang on it. For `verify`, which adds up those of all sets: what
//! one of them has booked and another has not yet must be all that they show.

use std::collections::BTreeMap;

use twinset_ledger::account::Side;
use twinset_ledger::apply::CLEARING_SUBJECT;
use twinset_ledger::attempt::{Attempt, Planned, Role};
use twinset_ledger::buffer::StreamName;
use twinset_ledger::id::TransactionId;
use twinset_ledger::state::State;

use super::state::ReplicaState;

/// Attempts that are told at most. There are that many only if a set has been away under traffic.
const ATTEMPTS_MAX: usize = 20_000;

/// Debits and credits per currency, in minor units.
pub type Sums = BTreeMap<String, (i128, i128)>;

/// What is open.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Between {
    /// Attempts, in the order of their names; not all of them if there are very many.
    pub shares: Vec<Share>,
    /// What is sent to other sets and not acknowledged, by set.
    pub outgoing: BTreeMap<u32, Outbound>,
    /// By set and incarnation: the last number that was taken in of its stream.
    pub incoming: BTreeMap<(u32, u32), u64>,
}

/// An attempt as one set has it open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Share {
    /// Its name.
    pub attempt: TransactionId,
    /// Of its coordinator: it has booked its part.
    pub decided: bool,
    /// Of another set: what its clearing accounts get when it books its part.
    pub clearing: Sums,
}

/// What is sent to one set and not acknowledged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outbound {
    /// By incarnation: the last number that is acknowledged, and the last that was given.
    pub streams: BTreeMap<u32, (u64, u64)>,
    /// What that set's clearing accounts get when it takes all of it in.
    pub clearing: Sums,
}

impl Between {
    /// Of a state as it is.
    pub(super) fn of(state: &ReplicaState) -> Between {
        let attempts = state.about.attempts.iter().take(ATTEMPTS_MAX);
        let mut between = Between {
            shares: attempts.map(|(attempt, open)| state.share(attempt, open)).collect(),
            incoming: state.buffer().inboxes().collect(),
            ..Between::default()
        };
        for (StreamName { to, incarnation }, stream) in state.buffer().streams() {
            if stream.waiting() > 0 {
                let ends = (stream.acknowledged(), stream.last());
                between.outgoing.entry(to).or_default().streams.insert(incarnation, ends);
            }
        }
        for known in state.buffer().all_announced() {
            if let Some(outbound) = between.outgoing.get_mut(&known.version.set) {
                // The account gets it on its normal side, and the clearing account on the other.
                let side = known.account.normal_side.opposite();
                add(&mut outbound.clearing, &known.account.currency, side, known.transit.amount);
            }
        }
        between
    }
}

impl ReplicaState {
    fn share(&self, attempt: TransactionId, open: &Attempt) -> Share {
        let mut clearing = Sums::new();
        let decided = match &open.role {
            Role::Coordinator(coordination) => coordination.decided.is_some(),
            Role::Participant { .. } => {
                for Planned { no, side, amount, .. } in &open.reserved {
                    let account = self.account(*no);
                    if account.subject == CLEARING_SUBJECT {
                        add(&mut clearing, &account.currency, *side, *amount);
                    }
                }
                false
            }
        };
        Share { attempt, decided, clearing }
    }
}

fn add(sums: &mut Sums, currency: &str, side: Side, amount: i128) {
    if amount == 0 {
        return;
    }
    let (debits, credits) = sums.entry(currency.to_owned()).or_default();
    match side {
        Side::Debit => *debits += amount,
        Side::Credit => *credits += amount,
    }
}

#[cfg(test)]
mod tests {
    use rust_decimal::Decimal;
    use twinset_ledger::attempt::Step;
    use twinset_ledger::buffer::{BufferStep, Credit};
    use twinset_ledger::command::{Command, Leg};
    use twinset_ledger::id::Position;
    use twinset_ledger::label::Label;

    use super::super::sample::{Fed, announce, decide_and_settle, open, pay_far};
    use super::*;

    fn euros(debits: i128, credits: i128) -> Sums {
        Sums::from([("EUR".to_owned(), (debits, credits))])
    }

    #[test]
    fn what_is_open_is_told_with_what_the_other_sides_clearing_gets() {
        let fed = Fed::new();
        fed.feed(&[open("a")]);
        assert_eq!(fed.replica.totals().value.between, Between::default());
        let asked = fed.feed(&[pay_far("asked", "a", 2)]);
        let decided = fed.feed(&[pay_far("decided", "a", 2)]);
        fed.feed(&decide_and_settle(decided, Side::Credit, 2)[..1]);
        let theirs = |no| TransactionId { set: 2, incarnation: 1, position: Position::new(9, no) };
        let prepare = |no, side, cents| {
            let legs = vec![Leg::new("a", side, Decimal::new(cents, 2))];
            let step =
                Step::Prepare { legs, accounting_date: 20_000, reverses: None, label: Label::default() };
            Command::Step { attempt: theirs(no), step }
        };
        fed.feed(&[prepare(1, Side::Credit, 5), prepare(2, Side::Debit, 6)]);
        fed.feed(&[announce("far")]);
        fed.feed(&[pay_far("p-1", "a", 3), pay_far("p-2", "a", 4)]);
        let credit = Credit {
            number: 1,
            leg: 1,
            account: "a".to_owned(),
            side: Side::Credit,
            amount: 8,
            currency: "EUR".to_owned(),
            scale: 2,
            accounting_date: 20_000,
            label: Label::default(),
        };
        fed.feed(&[Command::BufferStep { by: theirs(3), step: BufferStep::Credit(credit) }]);

        let own = |index, decided| {
            let attempt = TransactionId { set: 1, incarnation: 1, position: Position::new(index, 0) };
            Share { attempt, decided, clearing: Sums::new() }
        };
        let other = |no, clearing| Share { attempt: theirs(no), decided: false, clearing };
        let streams = BTreeMap::from([(1, (0, 2))]);
        let expected = Between {
            shares: vec![own(asked, false), own(decided, true), other(1, euros(5, 0)), other(2, euros(0, 6))],
            outgoing: BTreeMap::from([(2, Outbound { streams, clearing: euros(7, 0) })]),
            incoming: BTreeMap::from([((2, 1), 1)]),
        };
        let told = fed.replica.totals().value;
        assert_eq!(told.between, expected);
        assert_eq!((told.attempts, told.parcels), (4, 2));
        // Acknowledged, it is nobody's any more.
        let by = TransactionId {
            set: 1,
            incarnation: 1,
            position: Position::new(fed.log.last().unwrap().index - 1, 1),
        };
        fed.feed(&[Command::BufferStep { by, step: BufferStep::Acknowledge { to: 2, through: 2 } }]);
        assert_eq!(fed.replica.totals().value.between.outgoing, BTreeMap::new());
    }
}

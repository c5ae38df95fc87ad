//! What a client would be told of one transaction, from what each set says to its part of it. Pure.

use twinset_ledger::apply::check_balance_across;
use twinset_ledger::attempt::Sum;
use twinset_ledger::{Command, Effect, Outcome, Rejection};

use super::{Foreseen, ForeseenLeg, no_answer};
use crate::api::{accounts_of, booked, not_rejected};
use crate::error::{At, Code, Error, Rejected};

/// What one set says.
#[derive(Clone, Copy, Debug)]
pub(super) struct Said<'a> {
    pub set: u32,
    pub as_of: At,
    pub outcome: &'a Outcome,
    /// Of its own legs, where it would coordinate.
    pub sums: &'a [Sum],
}

impl Said<'_> {
    /// Whether it was decided where it says; otherwise it would be, behind all that is there.
    fn is_known(&self) -> bool {
        self.outcome.position.index() <= self.as_of.index
    }

    /// The command of the same dry run whose answer this is, given again.
    pub fn again(&self) -> Option<usize> {
        let again = self.outcome.replayed && !self.is_known();
        again.then(|| usize::from(self.outcome.position.offset()))
    }

    /// A refusal is as of when the set was asked: there is no entry for it.
    fn refused(&self, rejection: Rejection) -> Error {
        Error::Rejected(Box::new(Rejected { rejection, at: self.as_of, replayed: false }))
    }
}

/// What would be told: what the set that decides it knows or refuses; then what another set refuses, in the order in which
/// they are given; then whether all legs balance.
pub(super) fn merge<'a>(
    own: &Said<'_>,
    others: impl ExactSizeIterator<Item = Result<Said<'a>, Error>>,
    transaction: Command,
    with_postings: bool,
) -> Result<Foreseen, Error> {
    let Command::Transaction(transaction) = transaction else { unreachable!("dry runs are of transactions") };
    match &own.outcome.result {
        Err(rejection) if !own.outcome.replayed => return Err(own.refused(rejection.clone())),
        Ok(Effect::Begun) if !own.outcome.replayed => {}
        _ => {
            let outcome = not_rejected(own.set, own.outcome.clone(), false)?;
            let foreseen = booked(own.set, outcome, with_postings.then(|| accounts_of(transaction)))?;
            let foreseen = Foreseen::from(foreseen);
            let before = foreseen.before.filter(|_| own.outcome.replayed);
            return Ok(Foreseen { before, ..foreseen });
        }
    }
    if others.len() == 0 {
        let text = format!("set {} knows of accounts in it that are of other sets", own.set);
        return Err(Error::new(Code::WrongSet, text));
    }
    let mut sums = own.sums.to_vec();
    for said in others {
        let said = said?;
        match &said.outcome.result {
            Err(rejection) => return Err(said.refused(rejection.clone())),
            Ok(Effect::Prepared(its)) => sums.extend_from_slice(its),
            Ok(_) => return Err(no_answer(said.set)),
        }
    }
    check_balance_across(own.set, &sums).map_err(|rejection| own.refused(rejection))?;
    let leg = |leg: twinset_ledger::Leg| ForeseenLeg {
        account: leg.account,
        group: None,
        side: leg.side,
        amount: leg.amount.to_string(),
        balances: None,
    };
    let postings = with_postings.then(|| transaction.legs.into_iter().map(leg).collect());
    Ok(Foreseen { before: None, replayed: false, postings })
}

#[cfg(test)]
mod tests {
    use twinset_ledger::account::Side;
    use twinset_ledger::apply::clearing_account;
    use twinset_ledger::{Leg, Position, Transaction};

    use super::*;

    const LAST: u64 = 7;

    fn at(set: u32) -> At {
        At { set, index: LAST, time_unix_ns: 9 }
    }

    fn sum(currency: &str, scale: u8, debits: i128, credits: i128) -> Sum {
        Sum { currency: currency.to_owned(), scale, debits, credits }
    }

    fn outcome(index: u64, replayed: bool, result: Result<Effect, Rejection>) -> Outcome {
        Outcome { position: Position::new(index, 3), incarnation: 1, time_unix_ns: 5, replayed, result }
    }

    /// Of what is not there.
    fn new(result: Result<Effect, Rejection>) -> Outcome {
        outcome(LAST + 100, false, result)
    }

    fn missing(account: &str) -> Rejection {
        Rejection::AccountNotFound { account: account.to_owned() }
    }

    fn merged(own: &Outcome, sums: &[Sum], others: &[&Outcome]) -> Result<Foreseen, Error> {
        let leg = |account: &str, side| Leg::new(account, side, "1.00".parse().expect("an amount"));
        let legs = vec![leg("a", Side::Debit), leg("b", Side::Credit)];
        let transaction = Transaction { request_id: "r".to_owned(), legs, ..Transaction::default() };
        let own = Said { set: 1, as_of: at(1), outcome: own, sums };
        let other = |(set, outcome)| Ok(Said { set, as_of: at(set), outcome, sums: &[] });
        let others: Vec<_> = (2..).zip(others.iter().copied()).map(other).collect();
        merge(&own, others.into_iter(), Command::Transaction(transaction), true)
    }

    #[test]
    fn the_coordinator_speaks_first_then_the_others_in_order_then_the_balance() {
        let begun = new(Ok(Effect::Begun));
        let debit = [sum("EUR", 2, 100, 0)];
        let credits = |credits| new(Ok(Effect::Prepared(vec![sum("EUR", 2, 0, credits)])));
        let (none_a, none_b, none_c) =
            (new(Err(missing("a"))), new(Err(missing("b"))), new(Err(missing("c"))));
        let refused = |own: &Outcome, others: &[&Outcome]| match merged(own, &debit, others) {
            Err(Error::Rejected(rejected)) => (rejected.at, rejected.replayed, rejected.rejection),
            other => panic!("{other:?}"),
        };
        assert_eq!(refused(&none_a, &[&none_b]), (at(1), false, missing("a")));
        assert_eq!(refused(&begun, &[&credits(1), &none_b, &none_c]), (at(3), false, missing("b")));
        let unbalanced =
            Rejection::Unbalanced { currency: "EUR".to_owned(), debits: 100, credits: 101, scale: 2 };
        assert_eq!(refused(&begun, &[&credits(99), &credits(2)]), (at(1), false, unbalanced));

        let foreseen = merged(&begun, &debit, &[&credits(100)]).expect("it would be booked");
        assert_eq!((foreseen.before, foreseen.replayed), (None, false));
        let legs = foreseen.postings.expect("asked for");
        assert!(legs.iter().all(|leg| leg.balances.is_none() && leg.amount == "1.00"), "{legs:?}");
    }

    #[test]
    fn what_is_known_already_is_told_as_it_was() {
        let place = At { set: 1, index: 4, time_unix_ns: 5 };
        let settled = outcome(4, true, Ok(Effect::Settled(Vec::new())));
        let nobody = new(Err(missing("b")));
        let (named, found) = merged(&settled, &[], &[&nobody]).expect("booked before").before.expect("named");
        assert_eq!((named.to_string().as_str(), found), ("1-1-4-3", place));
        match merged(&outcome(4, true, Err(missing("a"))), &[], &[&nobody]) {
            Err(Error::Rejected(rejected)) => assert_eq!((rejected.at, rejected.replayed), (place, true)),
            other => panic!("{other:?}"),
        }
        let under_way = merged(&outcome(4, true, Ok(Effect::Begun)), &[], &[&nobody]);
        assert_eq!(under_way.map_err(|error| error.code()), Err("unknown"));
        let posted = merged(&new(Ok(Effect::Posted(Vec::new()))), &[], &[]).expect("it would be booked");
        assert_eq!((posted.before, posted.replayed), (None, false));
        assert_eq!(merged(&new(Ok(Effect::Begun)), &[], &[]).map_err(|error| error.code()), Err("wrong_set"));
    }

    #[test]
    fn only_what_was_just_tried_is_an_answer_of_the_same_call() {
        let again = |outcome: &Outcome| Said { set: 1, as_of: at(1), outcome, sums: &[] }.again();
        assert_eq!(again(&outcome(LAST + 1, true, Ok(Effect::Begun))), Some(3));
        assert_eq!(again(&outcome(LAST, true, Ok(Effect::Begun))), None);
        assert_eq!(again(&new(Ok(Effect::Begun))), None);
    }

    #[test]
    fn each_currency_balances_in_the_same_minor_units() {
        let overflow = Rejection::AmountOverflow { account: clearing_account(1, "EUR") };
        let conflict = Rejection::CurrencyConflict { currency: "EUR".to_owned() };
        let unbalanced =
            Rejection::Unbalanced { currency: "CHF".to_owned(), debits: 3, credits: 0, scale: 2 };
        let table = [
            (vec![], Ok(())),
            (
                vec![sum("EUR", 2, 5, 0), sum("USD", 2, 0, 7), sum("EUR", 2, 0, 5), sum("USD", 2, 7, 0)],
                Ok(()),
            ),
            (vec![sum("EUR", 2, 5, 0), sum("CHF", 2, 3, 0), sum("EUR", 2, 0, 4)], Err(unbalanced)),
            (vec![sum("EUR", 2, 5, 0), sum("EUR", 3, 0, 50)], Err(conflict)),
            (vec![sum("EUR", 2, i128::MAX, 0), sum("EUR", 2, 1, 0)], Err(overflow)),
        ];
        for (sums, expected) in table {
            assert_eq!(check_balance_across(1, &sums), expected, "{sums:?}");
        }
    }
}

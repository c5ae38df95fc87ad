//! What the model says, in the words and in the cents of a history.

use twinset_ledger::Side;

use super::super::model::{self, Model};
use super::{holds, restricted};
use crate::history::{Answer, Figures, clearing};

/// Whether it was refused because of a floor.
pub(super) fn is_limit(answer: &Answer) -> bool {
    matches!(answer, Answer::Rejected { code, .. } if is_of_limit(code))
}

/// Whether a code says that a floor would be crossed.
pub(super) fn is_of_limit(code: &str) -> bool {
    ["limit_exceeded", "withdrawable_exceeded"].contains(&code)
}

/// Whether an answer to a write says what the model says.
/// `slacks`: how much less than in the model may be available to each leg's account.
pub(super) fn agrees(told: &Answer, verdict: &model::Verdict, slacks: &[i128]) -> bool {
    match (told, &verdict.answer) {
        (Answer::Booked { balances, .. }, model::Answer::Booked(legs)) => {
            let agrees = |((told, leg), slack): ((&(i64, i64), &model::Booked), &i128)| {
                i128::from(told.0) == leg.3 && (leg.4 - slack..=leg.4).contains(&i128::from(told.1))
            };
            balances.is_empty()
                || balances.len() == legs.len() && balances.iter().zip(legs).zip(slacks).all(agrees)
        }
        // Of what is on its way nobody can be told a balance.
        (Answer::Booked { balances, .. }, model::Answer::Buffered(legs)) => {
            let own = legs.iter().filter(|leg| clearing(&leg.0).is_none());
            let agrees = |((told, leg), slack): ((&(i64, i64), &model::Booked), &i128)| {
                i128::from(told.0) == leg.3 && (leg.4 - slack..=leg.4).contains(&i128::from(told.1))
            };
            balances.is_empty()
                || balances.len() == own.clone().count() && balances.iter().zip(own).zip(slacks).all(agrees)
        }
        // What was booked in all sets is compared when all of them were replayed.
        (Answer::Booked { .. }, model::Answer::Begun) => true,
        (Answer::Held { held, available, .. }, model::Answer::Held(expected)) => {
            holds::agrees(held, *available, expected, slacks.first().copied().unwrap_or(0))
        }
        (Answer::Released { restricted, cents, withdrawable, .. }, model::Answer::Restricted(expected)) => {
            let slack = slacks.first().copied().unwrap_or(0);
            restricted::agrees(restricted, (*cents, *withdrawable), expected, slack)
        }
        (Answer::Done { .. }, model::Answer::Done) => true,
        (Answer::Rejected { code, .. }, model::Answer::No(expected)) => code == expected,
        _ => false,
    }
}

/// What the model says, in the history's cents: hundredths in every currency.
pub(crate) fn in_cents(verdict: &model::Verdict, model: &Model) -> model::Verdict {
    let mut verdict = verdict.clone();
    if let model::Answer::Held(held) = &mut verdict.answer {
        holds::in_cents(held);
    }
    if let model::Answer::Restricted(now) = &mut verdict.answer {
        restricted::in_cents(now);
    }
    if let model::Answer::Booked(legs) | model::Answer::Buffered(legs) | model::Answer::Suspended(legs) =
        &mut verdict.answer
    {
        for (id, _, amount, posted, available) in legs {
            let cents = model.accounts()[id.as_str()].cents_of_a_minor_unit();
            [amount, posted, available].into_iter().for_each(|minor| *minor *= cents);
        }
    }
    verdict
}

/// An account of the model as the API shows it.
pub(crate) fn figures(account: &model::Account) -> Figures {
    let cents = |minor: i128| {
        let cents = minor * account.cents_of_a_minor_unit();
        i64::try_from(cents).expect("what clients asked for adds up to 64 bits")
    };
    Figures {
        posted: cents(account.balance()),
        available: cents(account.available()),
        held: cents(account.held()),
        incoming: cents(account.incoming()),
        restricted: cents(account.restricted()),
        debits: cents(account.debits),
        credits: cents(account.credits),
        limit: account.limit.map(cents),
        frozen_debit: account.frozen.contains(&Side::Debit),
        frozen_credit: account.frozen.contains(&Side::Credit),
        closed: account.closed,
        version: account.legs,
    }
}

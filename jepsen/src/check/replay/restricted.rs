//! Restricted funds in the replay. All of it is the model's, to the cent: what is restricted counts in figures that
//! clients read, and in the answers of releases; how much less may be withdrawn is how much less may be available.

use twinset_ledger::outcome::Restricted as Outcome;
use twinset_ledger::restriction::{Restriction, RestrictionEnd};
use twinset_ledger::{Command, TransactionId};

use super::super::model::{self, Model};
use super::super::witness::Decided;
use super::Run;
use crate::history::restrictions::{FoundRestriction, Restricted, RestrictionState};
use crate::history::{Ask, Name};

impl Run<'_, '_> {
    /// A restriction that the set has put away.
    pub(super) fn lapse(&mut self, decided: &Decided, account: u32, restriction: TransactionId) {
        let place = self.free(decided.position);
        let account = self.witness.history.accounts[account as usize].clone();
        let command = Command::ExpireRestriction { account, restriction };
        let came = self.model.apply_at(place, decided.place.time_ns, &command);
        self.replay.answers.checked += 1;
        if !matches!(came.answer, model::Answer::Restricted(_)) {
            self.replay.answers.wrong(|| {
                let place = decided.place;
                format!(
                    "restriction {restriction} was put away at {place:?}; the model says {:?}",
                    came.answer
                )
            });
        }
    }

    /// Whether a restriction may be shown so here.
    pub(super) fn shows_restriction(&self, found: &FoundRestriction) -> bool {
        let Some(id) = self.witness.history.accounts.get(found.account as usize) else { return false };
        let known = self.model.restriction(id, found.restricted.restriction.0);
        known.is_some_and(|known| self.is_shown(found, id, &known))
    }

    fn is_shown(&self, found: &FoundRestriction, account: &str, known: &Restriction) -> bool {
        let unit = self.model.accounts()[account].cents_of_a_minor_unit();
        let ended = known.ended.map(|ended| (self.set, ended.at.index()));
        found.restricted == figures(known, unit)
            && (found.made.set, found.made.index) == (self.set, known.made_at.index())
            && found.ended.map(|place| (place.set, place.index)) == ended
    }

    /// Whether a page shows all restrictions of an account between its ends that are in the state that was asked for,
    /// each as it is.
    pub(super) fn shows_restrictions(
        &self,
        ask: &Ask,
        found: &[FoundRestriction],
        next: Option<Name>,
    ) -> bool {
        let Ask::ListRestrictions { account, state, after, page_size, .. } = ask else { return false };
        let id = &self.witness.history.accounts[*account as usize];
        let wanted = |known: &Restriction| {
            let name = Name(known.transaction);
            after.is_none_or(|after| name > after)
                && next.is_none_or(|next| name <= next)
                && state.is_none_or(|state| state == word(known.ended.map(|ended| ended.how)))
        };
        let known = self.model.restrictions_of(id).into_iter().filter(wanted);
        found.len() <= *page_size as usize
            && known.clone().count() == found.len()
            && known
                .zip(found)
                .all(|(known, found)| found.account == *account && self.is_shown(found, id, &known))
    }
}

/// Whether a release was answered what the model says: `slack`, how much less may be withdrawn.
pub fn agrees(told: &Restricted, (cents, withdrawable): (i64, i64), expected: &Outcome, slack: i128) -> bool {
    let most = expected.withdrawable;
    *told == figures_of(expected)
        && i128::from(cents) == expected.released
        && (most - slack..=most).contains(&i128::from(withdrawable))
}

/// What a release has done, in the history's cents.
pub fn in_cents(now: &mut Outcome) {
    let unit = 10i128.pow(2u32.saturating_sub(u32::from(now.scale)));
    let Outcome { amount, released, left, withdrawable, .. } = now;
    [amount, released, left, withdrawable].into_iter().for_each(|minor| *minor *= unit);
}

/// A restriction of the model as the answer of a release tells it, all in cents.
pub fn figures_of(now: &Outcome) -> Restricted {
    Restricted {
        restriction: Name(now.restriction),
        state: word(now.ended),
        amount: cents(now.amount),
        left: cents(now.left),
        until_ns: now.until_ns,
    }
}

/// A restriction of the model as it is read.
pub fn figures(known: &Restriction, unit: i128) -> Restricted {
    Restricted {
        restriction: Name(known.transaction),
        state: word(known.ended.map(|ended| ended.how)),
        amount: cents(known.amount * unit),
        left: cents(known.left * unit),
        until_ns: known.until_ns,
    }
}

fn word(ended: Option<RestrictionEnd>) -> RestrictionState {
    match ended {
        None => RestrictionState::Open,
        Some(RestrictionEnd::Released) => RestrictionState::Released,
        Some(RestrictionEnd::Expired) => RestrictionState::Expired,
        Some(RestrictionEnd::Reversed) => RestrictionState::Reversed,
    }
}

fn cents(amount: i128) -> i64 {
    i64::try_from(amount).expect("what clients asked for is 64 bits")
}

/// What the model has of a restriction.
pub fn known(model: &Model, account: &str, restriction: Name) -> Option<Restriction> {
    model.restriction(account, restriction.0)
}

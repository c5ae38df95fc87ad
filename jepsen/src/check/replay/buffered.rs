//! What was paid without asking other sets, in the replay of one: where the payers' set has booked its own part, and where a set has
//! taken in what came from another one. When a set hears that it need not ask is told to no client: that it did not ask is
//! seen in its list, and here it has heard as much. Whether it may have is asked by the checker `buffered`.

use twinset_ledger::buffer::{Announcement, BufferStep, Credit};
use twinset_ledger::{Command, Label, Leg, Side, TransactionId};

use super::super::across::{AT_ONCE, Across, Came};
use super::super::model;
use super::super::witness::{Body, Call, Decided};
use super::several::{leg_of, scale, unit};
use super::{Booked, Run, Whole, in_cents};
use crate::history::event::EURO;
use crate::history::{Ask, Found};

impl<'h> Run<'_, 'h> {
    /// Whether what stands here was paid without asking.
    pub(super) fn is_paid(&self, decided: &Decided) -> bool {
        decided.name.is_some_and(|name| self.plans.paid.contains_key(&name))
    }

    /// The payers' own part.
    pub(super) fn pay(&mut self, number: usize, decided: &Decided) {
        let plans = self.plans;
        let (Some(name), call) = (decided.name, self.witness.call(decided.call)) else { return };
        let across = &plans.paid[&name];
        if across.coordinator != self.set {
            // Another checker says whose answer it should have been.
            return;
        }
        let command = call.body.command(self.witness.history);
        self.announce(across, true);
        let (place, lent) = (self.free(decided.position), self.lend(decided, &call));
        let verdict = self.model.apply_at(place, decided.place.time_ns, &command);
        self.unlend(lent);
        self.announce(across, false);
        let verdict = in_cents(&verdict, &self.model);
        self.decided_once(decided, &call, &verdict);
        self.answers(decided, &call, &verdict);
        self.spellings(decided, &call);
        let model::Answer::Buffered(legs) = &verdict.answer else { return };
        if verdict.replayed {
            return;
        }
        let scope = self.model.scope(decided.position, &command);
        let scope = plans.numbers.get(scope.as_str()).copied();
        let whole = Whole {
            number,
            decided: Some(decided.position.index()),
            scope,
            legs: across.legs.clone(),
            reverses: None,
        };
        self.replay.across.insert(name, whole);
        let booked = Booked {
            position: decided.position,
            decided: number as u32,
            call: decided.call,
            scope,
            legs: legs.iter().map(|leg| self.signed(leg)).collect(),
            reverses: None,
            part_of: Some(name),
        };
        self.replay.booked.entry(self.set).or_default().push(booked);
    }

    /// This set has heard, or not, that it need not ask for the legs of other sets.
    fn announce(&mut self, across: &Across, is_open: bool) {
        for (leg, set) in across.legs.iter().zip(&across.sets).filter(|(_, set)| **set != self.set) {
            let (currency, scale) = self.unit_of(leg.0);
            let account = Announcement {
                account: self.witness.history.accounts[leg.0 as usize].clone(),
                currency: currency.to_owned(),
                scale,
                normal_side: leg_of(self.witness, leg).side,
            };
            self.model.announce(*set, account, is_open);
        }
    }

    fn unit_of(&self, account: u32) -> (&'h str, u8) {
        let currency = self.plans.currencies.get(&account).copied().unwrap_or(EURO);
        (currency, scale(currency))
    }

    /// What this set has taken in of what another one has paid: the next leg of its own.
    pub(super) fn parcel(&mut self, number: usize, decided: &Decided, found: &Found, of: TransactionId) {
        let plans = self.plans;
        let across = &plans.paid[&of];
        let taken = self.taken_in.entry(of).or_default();
        let own = (0u8..).zip(across.legs.iter().zip(&across.sets)).filter(|(_, (_, set))| **set == self.set);
        let next = own.map(|(at, (leg, _))| (at, *leg)).nth(*taken);
        *taken += 1;
        let booked = match next {
            Some((at, leg)) => self.take_in(decided, of, (at, leg)),
            None => Err("all of it was taken in before".to_owned()),
        };
        self.replay.answers.checked += 1;
        if booked.as_ref().ok() != Some(&found.legs) {
            self.replay.answers.wrong(|| format!("{found:?} cannot have been booked: {booked:?}"));
        }
        if booked.is_err() {
            let legs: Vec<Leg> = found.legs.iter().map(|leg| leg_of(self.witness, leg)).collect();
            self.model.book_given(decided.position, &legs);
        }
        self.replay.booked.entry(self.set).or_default().push(Booked {
            position: decided.position,
            decided: number as u32,
            call: decided.call,
            scope: None,
            legs: found.legs.clone(),
            reverses: None,
            part_of: Some(of),
        });
    }

    /// The legs that the model books of it.
    fn take_in(
        &mut self,
        decided: &Decided,
        of: TransactionId,
        (at, leg): (u8, (u32, i64)),
    ) -> Result<Vec<(u32, i64)>, String> {
        let (currency, scale) = self.unit_of(leg.0);
        let asked = leg_of(self.witness, &leg);
        let credit = Credit {
            number: self.model.taken_in(of) + 1,
            leg: at,
            account: asked.account.clone(),
            side: if leg.1 > 0 { Side::Debit } else { Side::Credit },
            amount: i128::from(leg.1.abs()) / unit(scale),
            currency: currency.to_owned(),
            scale,
            accounting_date: 0,
            label: Label::default(),
        };
        let reason = self.model.refusal(std::slice::from_ref(&asked));
        let step = Command::BufferStep { by: of, step: BufferStep::Credit(credit) };
        let verdict = self.model.apply_at(decided.position, decided.place.time_ns, &step);
        match verdict.answer {
            model::Answer::Booked(legs) => Ok(self.all_signed(decided, legs)),
            model::Answer::Suspended(legs) => {
                let place = (self.set, decided.position);
                self.replay.suspended.insert(place, reason.unwrap_or_default());
                Ok(self.all_signed(decided, legs))
            }
            other => Err(format!("the model says {other:?}")),
        }
    }

    fn all_signed(&self, decided: &Decided, legs: Vec<model::Booked>) -> Vec<(u32, i64)> {
        self.legs_in_cents(decided.position, legs).iter().map(|leg| self.signed(leg)).collect()
    }

    /// For a reversal: whether it was refused where a part of the original may still have been on its way. Nobody is told when that
    /// is over; any other answer says that it was.
    pub(super) fn in_transit(&mut self, call: &Call<'_>, came: Came<'_>) -> bool {
        let Body::Other(Ask::Reverse { transaction, .. }) = call.body else { return false };
        let original = transaction.0;
        if !self.plans.paid.contains_key(&original) {
            return false;
        }
        // What is refused sooner says nothing of it.
        if came != Came::GivenUp && !matches!(came, Came::Refused(code) if AT_ONCE.contains(&code)) {
            self.model.arrived(original.position);
        }
        came == Came::GivenUp
    }
}

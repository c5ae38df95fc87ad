//! Holds in the replay. Their figures are the model's, to the cent; only what captures over several sets have in hand that came to
//! nothing is known by bounds alone, as no client is told when it was the hold's again. Where an answer says that something is
//! in hand, so much is lent for that question.

use twinset_ledger::hold::{Ended, Hold, HoldChange, HoldEvent};
use twinset_ledger::outcome::Held as Outcome;
use twinset_ledger::{Command, Position, TransactionId};

use super::super::across::Hand;
use super::super::model::{self, Model};
use super::super::witness::{Body, Call, Decided};
use super::Run;
use crate::history::holds::{FoundHold, Held, HoldChange as Told, HoldState};
use crate::history::{Answer, AsOf, Ask, Name};

/// What is lent of a hold for as long as a question takes: the attempts that have it in hand, with minor units.
pub type Lent = (Option<TransactionId>, Vec<(TransactionId, i128)>);

/// So many attempts that may have something of one hold in hand at once are told apart.
const AT_ONCE: usize = 10;

impl<'h> Run<'_, 'h> {
    /// A hold that the set has put away.
    pub(super) fn expire(&mut self, decided: &Decided, hold: TransactionId) {
        let place = self.free(decided.position);
        let came = self.model.apply_at(place, decided.place.time_ns, &Command::ExpireHold { hold });
        self.replay.answers.checked += 1;
        if !matches!(came.answer, model::Answer::Held(_)) {
            self.replay.answers.wrong(|| {
                format!("hold {hold} was put away at {:?}; the model says {:?}", decided.place, came.answer)
            });
        }
    }

    /// What may be in hand of a hold here, in cents.
    fn hands(&self, hold: TransactionId) -> Vec<i64> {
        let hands = self.plans.hands.get(&hold).map(Vec::as_slice).unwrap_or_default();
        let here = |hand: &&Hand| hand.set == self.set && hand.from < self.spot && self.spot < hand.until;
        hands.iter().filter(here).map(|hand| hand.cents).take(AT_ONCE).collect()
    }

    /// Lends of a command's hold what only explains its answer.
    pub(super) fn lend(&mut self, decided: &Decided, call: &Call<'h>) -> Lent {
        let Some(hold) = hold_of(call.body) else { return (None, Vec::new()) };
        let hands = self.hands(hold);
        let Some((account, record)) = self.model.hold(hold).filter(|_| !hands.is_empty()) else {
            return (None, Vec::new());
        };
        let unit = self.model.accounts()[account].cents_of_a_minor_unit();
        let chosen = match self.told(decided) {
            _ if record.ended.is_some() => Vec::new(),
            Some(Answer::Held { held, .. }) => {
                let lent = i128::from(held.capturing) - record.capturing * unit;
                with_sum(&hands, lent).unwrap_or_default()
            }
            Some(Answer::Rejected { code, .. }) if code == "hold_exceeded" => {
                let mut left = record.left() * unit;
                let mut fits = |cents: &i64| {
                    left -= i128::from(*cents);
                    left >= 0
                };
                hands.into_iter().take_while(|cents| fits(cents)).collect()
            }
            _ => Vec::new(),
        };
        let mut lent = Vec::new();
        for (number, cents) in (0..).zip(chosen) {
            let attempt = TransactionId { set: u32::MAX, incarnation: 1, position: Position(number) };
            self.model.lend(hold, attempt, i128::from(cents) / unit);
            lent.push((attempt, i128::from(cents) / unit));
        }
        (Some(hold), lent)
    }

    /// The question is over.
    pub(super) fn unlend(&mut self, (hold, lent): Lent) {
        for (attempt, minor) in lent {
            self.model.unlend(hold.expect("something of it was lent"), attempt, minor);
        }
    }

    fn told(&self, decided: &Decided) -> Option<&'h Answer> {
        let mut replies = self.witness.replies[decided.replies.clone()].iter();
        replies.next().map(|reply| self.witness.call(*reply).answer)
    }

    /// Whether a hold may be shown so here.
    pub(super) fn shows_hold(&self, found: &FoundHold, as_of: AsOf) -> bool {
        let id = found.held.hold.0;
        let Some((account, record)) = self.model.hold(id) else { return false };
        let unit = self.model.accounts()[account].cents_of_a_minor_unit();
        let expected = figures(&record, unit, as_of.place.time_ns);
        let hands = self.hands(id);
        let lent = found.held.capturing - expected.capturing;
        let with_lent = match record.ended {
            Some(_) => Held { released: expected.released - lent, ..expected },
            None => Held { left: expected.left - lent, ..expected },
        };
        self.plans.numbers.get(account) == Some(&found.account)
            && (found.placed.set, found.placed.index) == (id.set, id.position.index())
            && with_sum(&hands, lent.into()).is_some()
            && found.held == Held { capturing: found.held.capturing, ..with_lent }
            && self.shows_journal(found, &record, unit)
    }

    /// Where nothing of it was ever in hand without being booked, the journal is the model's, line for line; elsewhere what was
    /// captured is.
    fn shows_journal(&self, found: &FoundHold, record: &Hold, unit: i128) -> bool {
        let is_known = !self.plans.hands.contains_key(&found.held.hold.0);
        let counts = |change: Told| is_known || matches!(change, Told::Captured { .. });
        let expected = record.journal.iter().map(|line| (line.at.index(), change(line, unit)));
        let told = found.journal.iter().map(|line| (line.place.index, line.change));
        expected.filter(|(_, change)| counts(*change)).eq(told.filter(|(_, change)| counts(*change)))
    }

    /// Whether a page shows all holds of an account between its ends, each as it may be.
    pub(super) fn shows_holds(
        &self,
        ask: &Ask,
        (found, next): (&[FoundHold], Option<Name>),
        as_of: AsOf,
    ) -> bool {
        let Ask::ListHolds { account, after, .. } = ask else { return false };
        let holds = self.model.holds_on(&self.witness.history.accounts[*account as usize]);
        let (from, to) = (after.map(|name| name.0.position), next.map(|name| name.0.position));
        let between = |hold: &&TransactionId| {
            from.is_none_or(|from| hold.position > from) && to.is_none_or(|to| hold.position <= to)
        };
        holds.iter().filter(between).eq(found.iter().map(|found| &found.held.hold.0))
            && found.iter().all(|found| self.shows_hold(found, as_of))
    }
}

/// The hold that a command is on.
pub fn hold_of(body: Body<'_>) -> Option<TransactionId> {
    match body {
        Body::Transfer(transfer) => transfer.capture.map(|capture| capture.hold.0),
        Body::Other(Ask::ReleaseHold { hold, .. } | Ask::ExtendHold { hold, .. }) => Some(hold.0),
        Body::Other(_) => None,
    }
}

/// Whether a command on a hold was answered what the model says: `slack`, how much less may be available.
pub fn agrees(held: &Held, available: i64, expected: &Outcome, slack: i128) -> bool {
    let most = expected.available;
    let state = word(expected.ended);
    *held == figures_of(expected, state) && (most - slack..=most).contains(&i128::from(available))
}

/// A command's outcome on a hold, in the history's cents.
pub fn in_cents(held: &mut Outcome) {
    let unit = 10i128.pow(2u32.saturating_sub(u32::from(held.scale)));
    let Outcome { amount, captured, capturing, released, available, .. } = held;
    [amount, captured, capturing, released, available].into_iter().for_each(|minor| *minor *= unit);
}

/// A hold of the model as a command's answer tells it, all in cents.
pub fn figures_of(held: &Outcome, state: HoldState) -> Held {
    Held {
        hold: Name(held.hold),
        state,
        amount: cents(held.amount),
        captured: cents(held.captured),
        capturing: cents(held.capturing),
        released: cents(held.released),
        left: cents(held.amount - held.captured - held.capturing - held.released),
        expires_ns: held.expires_ns,
    }
}

/// A hold of the model as it is read at a time.
pub fn figures(record: &Hold, unit: i128, time_ns: u64) -> Held {
    let state = match record.ended {
        None if !record.is_open(time_ns) => HoldState::Expired,
        ended => word(ended),
    };
    Held {
        hold: Name(record.id),
        state,
        amount: cents(record.amount * unit),
        captured: cents(record.captured * unit),
        capturing: cents(record.capturing * unit),
        released: cents(record.released * unit),
        left: cents(record.left() * unit),
        expires_ns: record.expires_ns,
    }
}

/// The state of a hold whose time is not over.
pub fn word(ended: Option<Ended>) -> HoldState {
    match ended {
        None => HoldState::Open,
        Some(Ended::Captured) => HoldState::Captured,
        Some(Ended::Released) => HoldState::Released,
        Some(Ended::Expired) => HoldState::Expired,
    }
}

/// A line of the model's journal as it is told.
pub fn change(line: &HoldEvent, unit: i128) -> Told {
    match line.change {
        HoldChange::Captured { amount, by } => Told::Captured { cents: cents(amount * unit), by: Name(by) },
        HoldChange::Released { amount } => Told::Released { cents: cents(amount * unit) },
        HoldChange::Expired { amount } => Told::Expired { cents: cents(amount * unit) },
        HoldChange::Extended { expires_ns } => Told::Extended { expires_ns },
        HoldChange::CheckedBack { .. } => unreachable!("no client of these tests asks for check-back"),
    }
}

fn cents(amount: i128) -> i64 {
    i64::try_from(amount).expect("what clients asked for is 64 bits")
}

/// Some of the amounts that add up to a sum. None: no such are there.
fn with_sum(amounts: &[i64], sum: i128) -> Option<Vec<i64>> {
    (0..1u32 << amounts.len()).find_map(|mask| {
        let chosen = amounts.iter().enumerate().filter(|(at, _)| mask >> at & 1 == 1);
        let chosen: Vec<i64> = chosen.map(|(_, cents)| *cents).collect();
        (chosen.iter().map(|cents| i128::from(*cents)).sum::<i128>() == sum).then_some(chosen)
    })
}

/// What the model has of a hold.
pub fn known(model: &Model, hold: Name, time_ns: u64) -> Option<(String, Held, Vec<HoldEvent>)> {
    let (account, record) = model.hold(hold.0)?;
    let unit = model.accounts()[account].cents_of_a_minor_unit();
    Some((account.to_owned(), figures(&record, unit, time_ns), record.journal))
}

#[cfg(test)]
mod tests {
    use super::with_sum;

    #[test]
    fn what_is_in_hand_adds_up_of_what_may_be() {
        assert_eq!(with_sum(&[], 0), Some(vec![]));
        assert_eq!(with_sum(&[3, 5, 9], 14), Some(vec![5, 9]));
        assert_eq!(with_sum(&[3, 5, 9], 0), Some(vec![]));
        assert_eq!((with_sum(&[3, 5, 9], 4), with_sum(&[3], -3)), (None, None));
    }
}

//! Holds (ADR 12): place, release, extend, expire, and what a capture, which is a transaction, does to its hold. The scope is
//! the held account.
//!
//! Invariant: what an account holds back is what is left of its holds and what open attempts have set aside on it.

use rust_decimal::Decimal;

use super::account::reject_amount;
use super::booking::{Effect as Change, Terms, check_limit, check_status, held_overflow};
use super::{ApplyError, Stop, Turn};
use crate::account::AccountNo;
use crate::amount::to_minor;
use crate::attempt::{Capturing, Planned};
use crate::canary::{self, Canary};
use crate::check_back::{Asking, Came, OnExpiry, confirmation_of};
use crate::command::{Command, LegKind, Transaction};
use crate::hold::{Ended, Hold, HoldChange, HoldEvent, PlaceHold};
use crate::id::{Position, TransactionId};
use crate::outcome::{Effect, Held, Outcome};
use crate::rejection::Rejection;
use crate::state::State;

impl<S: State> Turn<'_, S> {
    /// Decides a client's command on a hold of `account`.
    pub(super) fn hold_command(
        &mut self,
        account: &str,
        command: &Command,
    ) -> Result<Effect, Stop<S::Fault>> {
        let no = self.existing(account)?;
        match command {
            Command::PlaceHold(place) => Ok(self.place(no, place)?),
            Command::ReleaseHold { hold, amount, .. } => self.release(no, *hold, *amount),
            Command::ExtendHold { hold, expires_ns, .. } => self.extend(no, *hold, *expires_ns),
            _ => unreachable!("the other commands are not on holds"),
        }
    }

    fn place(&mut self, no: AccountNo, place: &PlaceHold) -> Result<Effect, Rejection> {
        let account = self.state.account(no);
        if place.currency.as_ref().is_some_and(|currency| *currency != account.currency) {
            let expected = account.currency.clone();
            return Err(Rejection::CurrencyMismatch { account: account.id.clone(), expected });
        }
        let amount =
            to_minor(place.amount, account.scale).map_err(|error| reject_amount(error, &account.id))?;
        if place.expires_ns.is_some_and(|end| end <= self.time_unix_ns) {
            return Err(Rejection::ExpiryTooEarly { after_ns: self.time_unix_ns });
        }
        let leg = Planned { no, side: account.normal_side.opposite(), amount, kind: LegKind::Ordinary };
        check_status(self.state, &[leg])?;
        held_overflow(account, amount)?;
        check_limit(account, &Change::of(&leg), 0)?;
        let hold = Hold {
            id: self.here(),
            account: no,
            amount,
            captured: 0,
            capturing: 0,
            released: 0,
            expires_ns: place.expires_ns,
            check_back: match &place.on_expiry {
                OnExpiry::Release => None,
                OnExpiry::CheckBack(terms) => Some(Asking::new(terms.clone())),
            },
            ended: None,
            journal: Vec::new(),
        };
        self.state.account_mut(no).held += amount;
        Ok(self.now_stands(hold))
    }

    fn release(
        &mut self,
        no: AccountNo,
        id: TransactionId,
        amount: Option<Decimal>,
    ) -> Result<Effect, Stop<S::Fault>> {
        let account = self.state.account(no);
        let (name, scale) = (account.id.clone(), account.scale);
        let amount = amount.map(|amount| to_minor(amount, scale)).transpose();
        let amount = amount.map_err(|error| reject_amount(error, &name))?;
        let mut hold = self.open_hold(no, id)?.clone();
        let left = hold.left();
        let amount = amount.unwrap_or(left);
        if amount > left {
            return Err(Rejection::HoldExceeded { hold: id, left, needed: amount, scale }.into());
        }
        if amount < left && hold.is_full() {
            return Err(Rejection::HoldJournalFull { hold: id }.into());
        }
        self.give_back(&mut hold, amount, HoldChange::Released { amount });
        if amount == left {
            hold.ended = Some(Ended::Released);
        }
        Ok(self.now_stands(hold))
    }

    fn extend(
        &mut self,
        no: AccountNo,
        id: TransactionId,
        expires_ns: Option<u64>,
    ) -> Result<Effect, Stop<S::Fault>> {
        let mut hold = self.open_hold(no, id)?.clone();
        // No end is after every time. One that is overdue is not made so again.
        let before = hold.expires_ns.map_or(u64::MAX, |end| end.max(self.time_unix_ns));
        if expires_ns.is_some_and(|end| end <= before) {
            return Err(Rejection::ExpiryTooEarly { after_ns: before }.into());
        }
        if hold.is_full() {
            return Err(Rejection::HoldJournalFull { hold: id }.into());
        }
        hold.expires_ns = expires_ns;
        if let Some(asking) = &mut hold.check_back {
            asking.extended();
        }
        self.note(&mut hold, HoldChange::Extended { expires_ns });
        Ok(self.now_stands(hold))
    }

    /// Puts a hold away whose time is over.
    pub(super) fn expire(&mut self, id: TransactionId) -> Result<Effect, Rejection> {
        let is_due = |hold: &&Hold| {
            hold.id == id && hold.ends_by_itself_ns().is_some_and(|end| end <= self.time_unix_ns)
        };
        let due = self.state.hold(id.position).filter(is_due);
        let mut hold = due.ok_or(Rejection::StepOutOfPlace { attempt: id })?.clone();
        let amount = hold.left();
        self.give_back(&mut hold, amount, HoldChange::Expired { amount });
        hold.ended = Some(Ended::Expired);
        Ok(self.now_stands(hold))
    }

    /// What a transaction takes of the hold that it captures, if it does; `legs` are those of this set.
    pub(super) fn capturing(
        &self,
        transaction: &Transaction,
        legs: &[Planned],
    ) -> Result<Option<Capturing>, Stop<S::Fault>> {
        let Some(capture) = transaction.capture else { return Ok(None) };
        let no = self.existing(transaction.scope_account.as_deref().expect("a valid capture names it"))?;
        let hold = self.open_hold(no, capture.hold)?;
        let account = self.state.account(no);
        let total = |inflow: bool| {
            let mut own = legs.iter().filter(|leg| leg.no == no && account.is_inflow(leg.side) == inflow);
            let overflow = || Rejection::AmountOverflow { account: account.id.clone() };
            own.try_fold(0i128, |sum, leg| sum.checked_add(leg.amount)).ok_or_else(overflow)
        };
        let net = total(true)? - total(false)?;
        if net >= 0 {
            return Err(Rejection::CaptureWithoutOutflow { account: account.id.clone() }.into());
        }
        let (left, needed, scale) = (hold.left(), -net, account.scale);
        if needed > left {
            return Err(Rejection::HoldExceeded { hold: hold.id, left, needed, scale }.into());
        }
        if !capture.is_final && hold.is_full() {
            return Err(Rejection::HoldJournalFull { hold: hold.id }.into());
        }
        Ok(Some(Capturing {
            hold: hold.id.position,
            amount: needed,
            is_final: capture.is_final,
            confirms: confirmation_of(&transaction.request_id).map(|(_, no)| no),
        }))
    }

    /// What a hold has set aside for a capture already.
    pub(super) fn terms_of(&self, capturing: Option<Capturing>) -> Terms<'static> {
        let covered = capturing.map(|capturing| (self.held(capturing.hold).account, capturing.amount));
        Terms { covered, ..Terms::default() }
    }

    /// A capture is booked by this command, as part of the transaction `by`.
    pub(super) fn captured(&mut self, capturing: Capturing, by: TransactionId) {
        if canary::on(Canary::CaptureLeavesTheHold) {
            return;
        }
        self.state.account_mut(self.held(capturing.hold).account).held -= capturing.amount;
        self.book_capture(capturing, by, 0);
    }

    /// An attempt has set aside what it captures, and takes it over from the hold.
    pub(super) fn capture_begins(&mut self, Capturing { hold, amount, confirms, .. }: Capturing) {
        let mut hold = self.held(hold).clone();
        hold.capturing += amount;
        if let Some(asking) = hold.check_back.as_mut().filter(|_| confirms.is_some()) {
            asking.confirming = true;
        }
        self.state.account_mut(hold.account).held -= amount;
        self.state.put_hold(hold);
    }

    /// It is decided that an attempt is booked. What it has set aside is the attempt's affair.
    pub(super) fn capture_decided(&mut self, capturing: Capturing, by: TransactionId) {
        self.book_capture(capturing, by, capturing.amount);
    }

    /// An attempt is not booked, and has given back what it had set aside: that is the hold's again, unless that has ended.
    pub(super) fn capture_failed(&mut self, Capturing { hold, amount, confirms, .. }: Capturing) {
        let mut hold = self.held(hold).clone();
        hold.capturing -= amount;
        if let Some(asking) = hold.check_back.as_mut().filter(|_| confirms.is_some()) {
            asking.confirming = false;
        }
        if hold.ended.is_none() {
            self.state.account_mut(hold.account).held += amount;
        } else {
            hold.released += amount;
            self.note(&mut hold, HoldChange::Released { amount });
        }
        self.state.put_hold(hold);
    }

    fn book_capture(&mut self, capturing: Capturing, by: TransactionId, in_hand: i128) {
        let Capturing { hold, amount, is_final, confirms } = capturing;
        let mut hold = self.held(hold).clone();
        hold.capturing -= in_hand;
        hold.captured += amount;
        self.note(&mut hold, HoldChange::Captured { amount, by });
        if let Some((asking, no)) = hold.check_back.as_mut().zip(confirms) {
            (asking.tries, asking.confirming) = (no, false);
            self.note(&mut hold, HoldChange::CheckedBack { no, came: Came::Confirmed });
        }
        let left = hold.left();
        if hold.ended.is_none() && (is_final || left == 0 && hold.capturing == 0) {
            if left > 0 && !canary::on(Canary::FinalKeepsTheRest) {
                self.give_back(&mut hold, left, HoldChange::Released { amount: left });
            }
            hold.ended = Some(Ended::Captured);
        }
        self.state.put_hold(hold);
    }

    pub(super) fn give_back(&mut self, hold: &mut Hold, amount: i128, change: HoldChange) {
        hold.released += amount;
        let free = if canary::on(Canary::ReleasedStaysHeld) { 0 } else { amount };
        self.state.account_mut(hold.account).held -= free;
        self.note(hold, change);
    }

    pub(super) fn note(&self, hold: &mut Hold, change: HoldChange) {
        let (at, time_unix_ns) = (self.position, self.time_unix_ns);
        hold.journal.push(HoldEvent { at, time_unix_ns, change });
    }

    pub(super) fn now_stands(&mut self, hold: Hold) -> Effect {
        let account = self.state.account(hold.account);
        let held = Held {
            hold: hold.id,
            scale: account.scale,
            amount: hold.amount,
            captured: hold.captured,
            capturing: hold.capturing,
            released: hold.released,
            expires_ns: hold.expires_ns,
            ended: hold.ended,
            available: account.available(),
        };
        self.state.put_hold(hold);
        Effect::Held(held)
    }

    /// A hold that is not over.
    fn held(&self, at: Position) -> &Hold {
        self.state.hold(at).expect("a hold that something is captured from is not over")
    }

    /// The account's hold of that name, if it still takes commands.
    fn open_hold(&self, no: AccountNo, id: TransactionId) -> Result<&Hold, Stop<S::Fault>> {
        let found = self.state.hold(id.position).filter(|hold| hold.id == id && hold.account == no);
        match found {
            Some(hold)
                if hold.is_open(self.time_unix_ns)
                    || canary::on(Canary::IgnoredExpiry) && hold.ended.is_none() =>
            {
                Ok(hold)
            }
            Some(_) => Err(Rejection::HoldEnded { hold: id }.into()),
            None if self.was_placed(no, id)? => Err(Rejection::HoldEnded { hold: id }.into()),
            None => {
                let account = self.state.account(no).id.clone();
                Err(Rejection::HoldNotFound { account, hold: id }.into())
            }
        }
    }

    /// Whether a hold of that name was placed on the account. A state may have put away those that are over.
    fn was_placed(&self, no: AccountNo, id: TransactionId) -> Result<bool, ApplyError<S::Fault>> {
        if id.set != self.state.set() || id.position >= self.position {
            return Ok(false);
        }
        Ok(match self.original(id.position)? {
            Some((
                Command::PlaceHold(PlaceHold { account, .. }),
                Outcome { incarnation, result: Ok(Effect::Held(_)), .. },
            )) => incarnation == id.incarnation && self.state.account_no(&account) == Some(no),
            _ => false,
        })
    }
}

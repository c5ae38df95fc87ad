//! Check-back of overdue holds (ADR 15): what comes of each try, and which captures may confirm one.

use super::Turn;
use crate::check_back::{Came, CheckedBack, TRIES_MAX, confirmation_of};
use crate::command::Transaction;
use crate::hold::{Ended, Hold, HoldChange};
use crate::outcome::Effect;
use crate::rejection::Rejection;
use crate::state::State;

impl<S: State> Turn<'_, S> {
    /// Writes down what came of a try: of the next one of a hold that is overdue, when it is due.
    pub(super) fn checked_back(&mut self, done: &CheckedBack) -> Result<Effect, Rejection> {
        let CheckedBack { hold: id, no, came } = *done;
        let awaits = |hold: &&Hold| hold.id == id && hold.awaits(no, self.time_unix_ns);
        let found = self.state.hold(id.position).filter(awaits);
        let mut hold = found.ok_or(Rejection::StepOutOfPlace { attempt: id })?.clone();
        let asking = hold.check_back.as_mut().expect("it awaits a try");
        if came.next_ns().is_some() && asking.tries_in_a_row() >= TRIES_MAX {
            return Err(Rejection::HoldJournalFull { hold: id });
        }
        asking.tries = no;
        asking.next_ns = came.next_ns().unwrap_or(asking.next_ns);
        asking.kept = came == Came::Kept;
        self.note(&mut hold, HoldChange::CheckedBack { no, came });
        if matches!(came, Came::Cancelled | Came::Released) {
            let amount = hold.left();
            self.give_back(&mut hold, amount, HoldChange::Released { amount });
            hold.ended = Some(Ended::Released);
        }
        Ok(self.now_stands(hold))
    }

    /// Whether a transaction says that it confirms a hold, and is not what the hold waits for. What has ended says so itself.
    pub(super) fn confirms_out_of_place(&self, transaction: &Transaction) -> Option<Rejection> {
        let (id, no) = confirmation_of(&transaction.request_id)?;
        let hold = self.state.hold(id.position).filter(|hold| hold.id == id && hold.ended.is_none())?;
        let held = self.state.account(hold.account);
        let pays = |to: &str| {
            let [from, into] = transaction.legs.as_slice() else { return false };
            from.account == held.id && from.side == held.normal_side.opposite() && into.account == to
        };
        let terms = hold.check_back.as_ref().map(|asking| &asking.terms);
        let in_place = hold.awaits(no, self.time_unix_ns) && terms.is_some_and(|terms| pays(&terms.to));
        (!in_place).then_some(Rejection::StepOutOfPlace { attempt: id })
    }
}

//! Check-back of overdue holds: what the leader of a set does about those of its books. What an initiator says is drawn; a
//! confirmation is asked for as a client asks, so that what it does is counted as any other effect.

use proptest::sample::Index;
use twinset_ledger::apply::came_of;
use twinset_ledger::attempt::Ballot;
use twinset_ledger::check_back::{
    Came, CheckedBack, Failure, confirmation, confirmation_id, confirmation_of,
};
use twinset_ledger::hold::{Hold, HoldChange};
use twinset_ledger::{Begin, Command, Effect, Outcome, Position, Rejection, State, Step, TransactionId};

use super::sweeps::carried;
use super::{SETS, World};

impl World {
    /// A leader asks about a hold that is overdue, or will be in a moment, and does as it is told; `how`: what that is, and not
    /// always at the right time or under the right number. Or a client gives it more time.
    pub(super) fn check_back(&mut self, at: &Index, how: u8) {
        let soon = |set| self.state(set).last_time() + 4;
        // Who is late asks about any hold of these, and others only about those that are due.
        let overdue: Vec<&Hold> = match how % 4 {
            0 => SETS.iter().flat_map(|set| self.state(*set).holds().overdue(soon(*set))).collect(),
            _ => SETS.iter().flat_map(|set| self.state(*set).holds().to_ask("shop", soon(*set))).collect(),
        };
        let Some(hold) = overdue.get(at.index(overdue.len().max(1))) else { return };
        let (hold, set, soon) = ((*hold).clone(), hold.id.set, soon(hold.id.set));
        let state = self.state(set);
        let account = state.account(hold.account).clone();
        let no = hold.check_back.as_ref().expect("it is overdue").tries + 1;
        let next_ns = soon + u64::from(how % 3) * 4;
        if how > 15 {
            let (request_id, expires_ns) = (format!("longer-{no}-{soon}"), Some(soon + 10));
            let (account, hold) = (account.id, hold.id);
            return self.ask(set, Command::ExtendHold { request_id, account, hold, expires_ns });
        }
        let write = |no, came| Command::CheckedBack(CheckedBack { hold: hold.id, no, came });
        let refused = self.refused_confirmation(&account.id, hold.id, no);
        let told = match how {
            0 | 1 => Some(write(no, Came::Pending { next_ns })),
            2 => Some(write(no, Came::Failed { why: Failure::TimedOut, next_ns })),
            3 => Some(write(no, Came::Cancelled)),
            4 => Some(write(no, Came::Released)),
            5 => Some(write(no, Came::Kept)),
            6 => Some(write(no + 1, Came::Cancelled)),
            _ => refused.map(|number| write(no, Came::Failed { why: Failure::Refused { number }, next_ns })),
        };
        if let Some(told) = told {
            self.proposed.entry(set).or_default().push((told, None));
            return;
        }
        let minor = match how {
            7 => hold.left() + 1,
            8 | 9 => (hold.left() / 2).max(1),
            _ => hold.left(),
        };
        if minor > 0 {
            let confirms = carried(confirmation(&hold, &account, minor), set);
            if confirms.validate().is_ok() {
                self.ask(set, confirms);
            }
        }
    }

    /// Why the confirmation of that try has come to nothing, if it has.
    fn refused_confirmation(&self, account: &str, hold: TransactionId, no: u32) -> Option<u16> {
        let state = self.state(hold.set);
        let id = confirmation_id(hold, no);
        let first = state.request(account, &id, Position(u64::MAX)).expect("no fault")?;
        let (_, first) = state.original(first).expect("no fault").expect("it is remembered");
        came_of(state, first).expect("no fault").result.err().map(|refused| refused.number())
    }

    /// The leader of a set dies.
    pub(super) fn saw_crash_of_tries(&mut self, set: u32, proposed: &[Command]) {
        for command in proposed {
            match command {
                Command::CheckedBack(_) => self.saw("crash before a try"),
                command if is_confirmation(command) => self.saw("crash before confirmation"),
                _ => {}
            }
        }
        let confirming = |hold: &&Hold| hold.check_back.as_ref().is_some_and(|asking| asking.confirming);
        if self.state(set).holds().iter().any(|hold| confirming(&hold)) {
            self.saw("crash while confirming");
        }
    }

    /// Its leader has died, and nobody has heard of this.
    pub(super) fn saw_untold_try(&mut self, command: &Command, outcome: &Outcome) {
        if outcome.replayed || outcome.result.is_err() {
            return;
        }
        match command {
            Command::CheckedBack(_) => self.saw("crash after a try"),
            command if is_confirmation(command) => self.saw("crash after confirmation"),
            _ => {}
        }
    }

    /// Counts what has come of tries in an entry.
    pub(super) fn note_try(&mut self, set: u32, command: &Command, outcome: &Outcome) {
        match (command, &outcome.result) {
            (Command::CheckedBack(CheckedBack { came, .. }), Ok(_)) => self.saw(match came {
                Came::Failed { why: Failure::Refused { .. }, .. } => "try refused".to_owned(),
                came => format!("try {}", came.name()),
            }),
            (Command::CheckedBack(_), Err(_)) => self.saw("try out of place"),
            (Command::ExtendHold { hold, .. }, Ok(_)) if !outcome.replayed => {
                let tried =
                    self.state(set).holds().get(hold.position).and_then(|hold| hold.check_back.as_ref());
                if tried.is_some_and(|asking| asking.tries > 0) {
                    self.saw("tries counted anew");
                }
            }
            (Command::Step { attempt, step: Step::Decide(ballot) }, result) if !outcome.replayed => {
                let begun = self.state(set).original(attempt.position).expect("no fault");
                if begun.is_some_and(|(command, _)| is_confirmation(&command)) {
                    match (ballot, result) {
                        (_, Ok(_)) => self.saw("confirmed over several sets"),
                        (_, Err(Rejection::StepOutOfPlace { .. })) => {}
                        (Ballot::GivenUp { .. }, Err(_)) => self.saw("confirmation given up"),
                        (Ballot::Votes(_) | Ballot::Booked { .. }, Err(_)) => {
                            self.saw("confirmation refused elsewhere")
                        }
                    }
                }
            }
            (command, result) if is_confirmation(command) => self.saw(match result {
                _ if outcome.replayed => "confirmation again",
                Ok(Effect::Posted(_)) => "confirmed",
                Ok(Effect::Begun) => "confirmation begun",
                Ok(Effect::Buffered { .. }) => "confirmed without asking the payee",
                Err(Rejection::StepOutOfPlace { .. }) => "confirmation out of place",
                Err(Rejection::RequestMismatch { .. }) => "confirmation of another amount",
                _ => "confirmation refused",
            }),
            _ => {}
        }
    }

    /// At the end: a hold is confirmed once at most, and by the last of its tries, which are counted each once.
    pub(super) fn check_tries(&self) {
        for (set, twin) in &self.sets {
            for hold in twin.books.short.holds().iter().filter(|hold| hold.check_back.is_some()) {
                let tries = hold.journal.iter().filter_map(|line| match line.change {
                    HoldChange::CheckedBack { no, came } => Some((no, came)),
                    _ => None,
                });
                let tries: Vec<(u32, Came)> = tries.collect();
                assert!(tries.iter().map(|(no, _)| *no).eq(1..=tries.len() as u32), "{set}: {hold:?}");
                let confirmed = tries.iter().filter(|(_, came)| *came == Came::Confirmed).count();
                assert!(confirmed <= 1, "{set}: {hold:?} is confirmed once at most");
            }
        }
    }
}

/// Whether it confirms a hold, for a try that has a number of its own.
pub(super) fn is_confirmation(command: &Command) -> bool {
    let (Command::Transaction(transaction) | Command::Begin(Begin { transaction, .. })) = command else {
        return false;
    };
    confirmation_of(&transaction.request_id).is_some()
}

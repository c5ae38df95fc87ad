//! What must hold, whatever happens: after every entry, and when nothing is under way any more. And what has been met.

use std::collections::{BTreeMap, BTreeSet};

use twinset_ledger::apply::{CLEARING_SUBJECT, clearing_account};
use twinset_ledger::attempt::{Coordination, Role};
use twinset_ledger::codec::encode_outcome;
use twinset_ledger::memory::MemoryState;
use twinset_ledger::restriction::RestrictionEnd;
use twinset_ledger::{
    Account, Begin, Command, Effect, Outcome, Position, Rejection, Reversal, Side, State, Step, TransactionId,
};

use super::check_back::is_confirmation;
use super::leaders::name;
use super::sweeps::is_run;
use super::{ACCOUNTS, SETS, World};

impl World {
    /// After an entry of a set, whose accounts were `before`.
    pub(super) fn check_entry(&mut self, set: u32, before: &[Account]) {
        for (before, after) in before.iter().zip(self.state(set).accounts()) {
            let fell = after.available() < before.available();
            let crossed = after.limit.is_some_and(|limit| after.available() < limit);
            let is_asked = self.is_reconciled;
            assert!(
                !(is_asked && fell && crossed && after.limit == before.limit),
                "a limit is crossed: {after:?}"
            );
            assert!(!(before.closed && after.version != before.version), "{after:?} is closed");
        }
        self.check_conserved();
        if self.is_reconciled {
            self.check_clearing();
        }
    }

    /// The entries of each set, applied once more, give the same outcomes to the byte and the same state.
    pub fn check_again(&self) {
        for (set, twin) in &self.sets {
            let books = &twin.books;
            let mut again = MemoryState::new(*set);
            let mut bytes = (Vec::new(), Vec::new());
            for (index, entry) in (1..).zip(&books.entries) {
                let outcomes = again.apply(index, entry).expect("it applied before");
                outcomes.iter().for_each(|outcome| encode_outcome(outcome, &mut bytes.1));
            }
            self.outcomes[set].iter().for_each(|outcome| encode_outcome(outcome, &mut bytes.0));
            assert!(bytes.0 == bytes.1, "the outcomes of set {set}");
            assert!(again == books.short, "the state of set {set}");
        }
    }

    /// Of every currency, all accounts of all sets together have nothing, and what ordinary ones lack is on clearing accounts.
    pub(super) fn check_conserved(&self) {
        let mut sums = BTreeMap::<&str, [i128; 2]>::new();
        for account in SETS.iter().flat_map(|set| self.state(*set).accounts()) {
            let sums = sums.entry(&account.currency).or_default();
            sums[usize::from(account.subject == CLEARING_SUBJECT)] += account.debits - account.credits;
        }
        for (currency, [ordinary, clearing]) in sums {
            assert_eq!(ordinary + clearing, 0, "{currency} is conserved over all sets");
        }
    }

    /// All clearing accounts together are what is decided, and not booked everywhere.
    pub(super) fn check_clearing(&mut self) {
        let mut in_flight = BTreeMap::<String, i128>::new();
        let mut clearing = BTreeMap::<String, i128>::new();
        for set in SETS {
            let state = self.state(set);
            for account in state.accounts().filter(|account| account.subject == CLEARING_SUBJECT) {
                let id = clearing_account(set, &account.currency);
                assert!(account.id == id || self.is_after_loss && account.id.starts_with(&id), "{account:?}");
                *clearing.entry(account.currency.clone()).or_default() += account.debits - account.credits;
            }
            for (id, attempt) in state.attempts().iter() {
                if !matches!(attempt.role, Role::Participant { .. }) || self.decision(id) != Some(true) {
                    continue;
                }
                for leg in &attempt.reserved {
                    let account = state.account(leg.no);
                    if account.subject != CLEARING_SUBJECT {
                        let signed = if leg.side == Side::Debit { leg.amount } else { -leg.amount };
                        *in_flight.entry(account.currency.clone()).or_default() += signed;
                    }
                }
            }
        }
        for (currency, sum) in self.parcels_in_flight() {
            *in_flight.entry(currency).or_default() += sum;
        }
        clearing.retain(|_, sum| *sum != 0);
        in_flight.retain(|_, sum| *sum != 0);
        assert_eq!(clearing, in_flight, "the clearing accounts show what is in flight");
        for currency in clearing.keys() {
            self.saw(format!("in flight {currency}"));
        }
    }

    /// Nothing is open any more: balances are what the answers say, and nothing else.
    pub(super) fn check_the_end(&self) {
        for (request, begun) in &self.begun {
            let command = &self.asked[*request].1;
            if (is_run(command) || is_confirmation(command)) && !self.answers.contains_key(request) {
                // Given up, and under its number it does not begin again.
                continue;
            }
            let answer = self.answers.get(request).expect("what has begun ends");
            let last = begun.last().expect("it has begun");
            assert!(answer.position >= *last, "the answer is that of the last attempt");
            let set = self.asked[*request].0;
            let effects = self.effects.keys().filter(|id| id.set == set && begun.contains(&id.position));
            assert!(effects.count() <= 1, "a request has effect once: {:?}", self.asked[*request]);
        }
        self.check_holds();
        self.check_tries();
        self.check_sweeps();
        self.check_reversals();
        self.check_all_or_none();
        self.check_parcels();
        let mut expected = BTreeMap::<String, (i128, i128, i64)>::new();
        let mut count = |account: &str, side, amount: i128, legs| {
            let sums = expected.entry(account.to_owned()).or_default();
            *(if side == Side::Debit { &mut sums.0 } else { &mut sums.1 }) += amount;
            sums.2 += legs;
        };
        for (account, side, amount) in self.effects.values().flatten() {
            count(account, *side, *amount, 1);
        }
        for (account, side, amount, arrives) in self.detours() {
            let sign = if arrives { 1 } else { -1 };
            count(&account, side, i128::from(sign) * amount, sign);
        }
        expected.retain(|_, figures| *figures != (0, 0, 0));
        for account in SETS.iter().flat_map(|set| self.state(*set).accounts()) {
            assert_eq!((account.incoming, account.prepared), (0, 0), "{account:?}");
            if account.subject != CLEARING_SUBJECT {
                let legs = i64::try_from(account.version).expect("a few");
                let figures = (account.debits, account.credits, legs);
                let expected = expected.remove(&account.id).unwrap_or_default();
                assert_eq!(figures, expected, "{} has what was answered", account.id);
            }
        }
        assert!(expected.is_empty(), "nothing was booked nowhere: {expected:?}");
        self.sets.values().for_each(|twin| twin.compare_readings());
    }

    /// Of each hold has been captured what the transactions took that say so, and no more is held than what is left.
    fn check_holds(&self) {
        let mut captured = BTreeMap::<TransactionId, i128>::new();
        // Two requests may be the same one under the same id.
        let mut seen = BTreeSet::new();
        for (request, answer) in &self.answers {
            let (set, command) = &self.asked[*request];
            let (Command::Transaction(transaction) | Command::Begin(Begin { transaction, .. })) = command
            else {
                continue;
            };
            let by = TransactionId { set: *set, incarnation: answer.incarnation, position: answer.position };
            let (Some(capture), Some(effect), true) =
                (transaction.capture, self.effects.get(&by), seen.insert(by))
            else {
                continue;
            };
            let held = transaction.scope_account.as_deref().expect("a capture names it");
            let account = self.state(*set).account_by_id(held).expect("it is held");
            let own = effect.iter().filter(|(account, ..)| account == held);
            let out = own.map(|(_, side, amount)| if account.is_inflow(*side) { -amount } else { *amount });
            *captured.entry(capture.hold).or_default() += out.sum::<i128>();
        }
        let mut held = BTreeMap::<(u32, u32), i128>::new();
        for (set, hold) in
            SETS.iter().flat_map(|set| self.state(*set).holds().iter().map(move |hold| (*set, hold)))
        {
            let expected = captured.remove(&hold.id).unwrap_or_default();
            assert_eq!((hold.captured, hold.capturing), (expected, 0), "{hold:?}");
            *held.entry((set, hold.account)).or_default() += hold.left();
        }
        assert!(captured.is_empty(), "no other holds were captured: {captured:?}");
        for set in SETS {
            for (no, account) in (0..).zip(self.state(set).accounts()) {
                assert_eq!(account.held, held.remove(&(set, no)).unwrap_or_default(), "{account:?}");
            }
        }
    }

    /// Reversals turn their original's legs round, and together never exceed any of them.
    fn check_reversals(&self) {
        let mut reversals = BTreeMap::<TransactionId, BTreeMap<TransactionId, &Reversal>>::new();
        for (request, answer) in &self.answers {
            let (set, command) = &self.asked[*request];
            let (incarnation, position) = (answer.incarnation, answer.position);
            let by = TransactionId { set: *set, incarnation, position };
            let (Some(_), Command::Reversal(reversal)) = (self.effects.get(&by), command) else { continue };
            reversals.entry(reversal.transaction).or_default().insert(by, reversal);
        }
        for (original, by) in reversals {
            let legs = &self.effects[&original];
            let mut left: Vec<i128> = legs.iter().map(|(.., amount)| *amount).collect();
            let whole = left.clone();
            // What takes all that was left of many legs came last, and says by its own legs what that was.
            let of_the_rest =
                |(_, reversal): &(&TransactionId, &&Reversal)| reversal.legs.is_none() && legs.len() > 2;
            let (last, parts): (Vec<_>, Vec<_>) = by.iter().partition(of_the_rest);
            assert!(last.len() <= 1, "all that is left of {original} is taken back once: {last:?}");
            for (by, reversal) in parts.into_iter().chain(last) {
                let effect = &self.effects[by];
                let all = 0..legs.len();
                let named: Vec<usize> = match &reversal.legs {
                    Some(named) => named.iter().map(|part| usize::from(part.leg)).collect(),
                    None => all.filter(|at| left[*at] > 0).collect(),
                };
                let turned = effect.iter().map(|leg| (leg.0.clone(), leg.1 != Side::Debit));
                let straight = named.iter().map(|at| (legs[*at].0.clone(), legs[*at].1 == Side::Debit));
                assert!(turned.eq(straight), "{by} turns legs of {original} round");
                for (at, (.., amount)) in named.into_iter().zip(effect) {
                    left[at] -= amount;
                    assert!(left[at] >= 0, "no more of leg {at} of {original} than was booked, by {by}");
                    assert!(
                        reversal.legs.is_some() || legs.len() == 2 || left[at] == 0,
                        "all of leg {at} by {by}"
                    );
                }
            }
            let reversed = self.state(original.set).reversed(original.position).expect("no fault");
            let taken: Vec<i128> = (0..legs.len()).map(|leg| reversed.taken.of(leg, &whole)).collect();
            let expected: Vec<i128> = whole.iter().zip(&left).map(|(whole, left)| whole - left).collect();
            assert_eq!(taken, expected, "the original knows how much of each leg");
            let known: BTreeSet<TransactionId> = reversed.by.iter().copied().collect();
            assert!(known.iter().eq(by.keys()), "and the original knows by what");
        }
    }

    /// Every attempt that was ever begun has ended, in all its sets alike, and no leg of it is left in doubt.
    fn check_all_or_none(&self) {
        for set in SETS {
            let begun = self.outcomes[&set].iter().filter(|outcome| outcome.result == Ok(Effect::Begun));
            for Outcome { incarnation, position, .. } in begun.filter(|outcome| !outcome.replayed) {
                let attempt = TransactionId { set, incarnation: *incarnation, position: *position };
                let decided = self.decision(attempt).expect("what has begun is decided");
                let booked = |other: &u32| {
                    let end = self.step_taken(*other, attempt, Step::Commit.key());
                    end.is_some_and(|end| matches!(end.result, Ok(Effect::Posted(_))))
                };
                let booked: BTreeSet<u32> = SETS.into_iter().filter(booked).collect();
                let result = Step::Settle { parts: Vec::new() };
                let told = self.step_taken(set, attempt, result.key()).map(|outcome| outcome.result);
                let asked: BTreeSet<u32> = match &told {
                    Some(Ok(Effect::Settled(legs))) => legs.iter().map(|leg| home(&leg.account)).collect(),
                    Some(other) => panic!("{attempt} is settled with {other:?}"),
                    None => BTreeSet::new(),
                };
                assert_eq!(decided, told.is_some(), "{attempt} is told, if it is decided that it is booked");
                let others: BTreeSet<u32> = asked.into_iter().filter(|other| *other != set).collect();
                assert_eq!(booked, others, "{attempt} is booked in all its sets or in none");
            }
        }
    }

    /// Counts what an entry has met.
    pub(super) fn note(&mut self, set: u32, commands: &[Command], outcomes: &[Outcome], before: &[Account]) {
        self.note_restrictions(set);
        for (command, outcome) in commands.iter().zip(outcomes) {
            let code = outcome.result.as_ref().err().map(Rejection::code);
            self.note_hold(command, outcome);
            self.note_sweep(command, outcome);
            self.note_try(set, command, outcome);
            match command {
                Command::Step { step, .. } => self.note_step(step, outcome),
                _ if outcome.replayed => {}
                Command::Reversal(reversal) => {
                    let original = reversal.transaction.position;
                    let open = self.state(set).attempts().iter();
                    let others = open.filter(|(id, attempt)| {
                        id.position != outcome.position && reverses(&attempt.role) == Some(original)
                    });
                    match (others.count(), code) {
                        (1.., Some("reversal_exceeds")) => self.saw("reversal stopped by another"),
                        (1.., None) => self.saw("reversal beside another"),
                        _ => {}
                    }
                }
                Command::SetLimit { account, .. }
                | Command::Freeze { account, .. }
                | Command::CloseAccount { account, .. } => {
                    let prepared = before.iter().any(|before| before.id == *account && before.prepared != 0);
                    if prepared && code.is_none_or(|code| code == "account_not_empty") {
                        let what = match command {
                            Command::SetLimit { .. } => "limit",
                            Command::Freeze { .. } => "freeze",
                            _ => "close",
                        };
                        self.saw(format!("{what} while set aside"));
                    }
                }
                _ => {}
            }
            if let Some(code) = code.filter(|_| !outcome.replayed) {
                self.saw(code);
            }
            if let Err(Rejection::RequestMismatch { original, .. }) = &outcome.result {
                let first = self.state(set).original(*original).expect("no fault");
                if first.is_some_and(|(_, first)| first.result == Ok(Effect::Begun)) {
                    self.saw("mismatch with an attempt");
                }
            }
        }
    }

    /// Counts what an entry has made of restrictions, beside what was asked for.
    fn note_restrictions(&mut self, set: u32) {
        let index = self.sets[&set].books.next_index() - 1;
        let all = self.state(set).restrictions().iter();
        let turns = all.flat_map(|one| {
            let made = (one.made_at.index() == index).then_some("restriction made");
            let reversed = one.ended.filter(|ended| ended.at.index() == index);
            let reversed = reversed.filter(|ended| ended.how == RestrictionEnd::Reversed);
            made.into_iter().chain(reversed.map(|_| "restriction reversed"))
        });
        let turns: Vec<&str> = turns.collect();
        turns.into_iter().for_each(|what| self.saw(what));
    }

    fn note_hold(&mut self, command: &Command, outcome: &Outcome) {
        let done = outcome.result.is_ok() && !outcome.replayed;
        match command {
            Command::PlaceHold(_) if done => self.saw("held"),
            Command::ReleaseHold { .. } if done => self.saw("released"),
            Command::ExtendHold { .. } if done => self.saw("extended"),
            Command::ExpireHold { .. } if done => self.saw("expired"),
            Command::ReleaseRestriction { .. } if done => self.saw("restriction released"),
            Command::ExpireRestriction { .. } if done => self.saw("restriction expired"),
            Command::Transaction(transaction) if done && transaction.capture.is_some() => {
                self.saw("captured");
            }
            Command::Begin(begin) if done && begin.transaction.capture.is_some() => {
                self.saw("capture begun");
            }
            _ => {}
        }
    }

    fn note_step(&mut self, step: &Step, outcome: &Outcome) {
        match (step, &outcome.result) {
            (_, Err(Rejection::StepOutOfPlace { .. })) => {}
            (Step::Prepare { .. }, Ok(Effect::Posted(_) | Effect::Aborted)) => self.saw("late prepare"),
            (_, _) if outcome.replayed => self.saw(format!("{} again", name(step))),
            (Step::Prepare { .. }, Err(rejection)) => {
                self.saw(format!("prepare {}", rejection.code()));
            }
            (Step::Decide(_), Err(Rejection::SetUnavailable { .. })) => self.saw("given up"),
            (Step::Decide(_), Err(rejection)) => self.saw(format!("decide {}", rejection.code())),
            _ => {}
        }
    }
}

/// What an attempt that is not decided takes back.
fn reverses(role: &Role) -> Option<Position> {
    match role {
        Role::Coordinator(Coordination { reverses: Some((original, _)), decided: None, .. }) => {
            Some(original.position)
        }
        _ => None,
    }
}

/// The set that an account lives in.
pub(super) fn home(account: &str) -> u32 {
    let known = ACCOUNTS.iter().find(|(id, ..)| *id == account);
    known.expect("no other account was asked for").1
}

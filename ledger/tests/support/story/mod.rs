//! Histories of holds in one set: what is drawn is fitted to what came before, mostly, so that captures, releases and steps are
//! about holds and attempts that are there.

mod again;
mod check_back;
mod seen;

use proptest::sample::Index;
use rust_decimal::Decimal;
use twinset_ledger::amount::to_minor;
use twinset_ledger::apply::came_of;
use twinset_ledger::attempt::{Ballot, Part, Role, Sum, Vote};
use twinset_ledger::command::{Expected, Metadata, Precondition};
use twinset_ledger::hold::{Capture, Hold, PlaceHold};
use twinset_ledger::{
    Begin, Command, Effect, FreezeMode, Label, Leg, Outcome, Position, Posted, Rejection, Reversal, Side,
    State, Step, Transaction, TransactionId,
};

use crate::parts::{Parts, legs_at};
use crate::support::SET;
use crate::tally::Seen;
use crate::twin::Twin;

/// Accounts with their subject and currency, and whether they have a floor. The last is opened late, if at all.
pub const ACCOUNTS: [(&str, &str, &str, bool); 7] = [
    ("a", "liability", "EUR", true),
    ("b", "asset", "EUR", true),
    ("c", "liability", "EUR", false),
    ("d", "asset", "JPY", true),
    ("bank", "asset", "EUR", false),
    ("mint", "liability", "JPY", false),
    ("nobody", "asset", "EUR", false),
];
/// Those that holds are mostly placed on.
pub const HOLDERS: usize = 4;
/// What lives in other sets, in euros.
pub const ELSEWHERE: [(&str, u32); 2] = [("x", 2), ("y", 3)];

/// What is asked for, before it is fitted.
#[derive(Clone, Debug)]
pub enum Ask {
    Place {
        account: usize,
        amount: Decimal,
        currency: Option<String>,
        expiry: Option<i64>,
        reason: u16,
        /// Who is paid if it is checked back.
        payee: Option<usize>,
    },
    /// What comes of a check-back, and when the next is due.
    Tried {
        hold: Pick,
        came: u8,
        by: i64,
    },
    /// Quarters of what is left.
    Confirmed {
        hold: Pick,
        quarters: u8,
    },
    Release {
        hold: Pick,
        amount: Option<Decimal>,
    },
    Extend {
        hold: Pick,
        by: Option<i64>,
    },
    Expire {
        hold: Pick,
    },
    /// Mostly some quarters of what is left.
    Capture {
        hold: Pick,
        quarters: u8,
        legs: Legs,
        is_final: bool,
    },
    Move {
        from: usize,
        legs: Legs,
    },
    Prepare {
        legs: Vec<(usize, Side, Decimal, Vec<Expectation>)>,
        attempt: u64,
    },
    End {
        attempt: u64,
        commit: bool,
    },
    Decide {
        attempt: Index,
        how: u8,
    },
    Settle {
        attempt: Index,
    },
    Reverse {
        of: Index,
        booked: bool,
        amount: Option<Decimal>,
        parts: Option<Parts>,
    },
    Freeze {
        account: usize,
        mode: FreezeMode,
        on: bool,
    },
    Limit {
        account: usize,
        limit: Option<Decimal>,
    },
    Close {
        account: usize,
    },
    OpenLast,
    Again {
        of: Index,
        twist: u8,
    },
}

/// Which hold is meant, mostly one that has not ended; and how it is misnamed, if it is.
#[derive(Clone, Debug)]
pub struct Pick {
    pub back: Index,
    pub twist: u8,
}

/// What leaves an account, and where it goes.
#[derive(Clone, Debug)]
pub struct Legs {
    pub amount: Decimal,
    /// All of it, instead.
    pub total: Option<Decimal>,
    /// Places that get a part of it: of [`ACCOUNTS`], and behind them of [`ELSEWHERE`].
    pub to: Vec<usize>,
    /// Of each leg.
    pub expects: Vec<Vec<Expectation>>,
    pub twist: u8,
}

/// A precondition: what it expects, thousandths, and whether it is to be sensible.
pub type Expectation = (Expected, i64, bool);

/// A set under test, and what is remembered of what it was asked.
pub struct Story {
    pub twin: Twin,
    pub outcomes: Vec<Outcome>,
    pub seen: Seen,
    now: u64,
    entry: Vec<Command>,
    placed: Vec<(TransactionId, String)>,
    begun: Vec<TransactionId>,
    asked: Vec<Command>,
}

impl Story {
    /// One in which all accounts are open and have some money.
    pub fn new() -> Self {
        let mut story = Story {
            twin: Twin::of(SET),
            outcomes: Vec::new(),
            seen: Seen::new(),
            now: 5,
            entry: Vec::new(),
            placed: Vec::new(),
            begun: Vec::new(),
            asked: Vec::new(),
        };
        story.entry.extend((0..ACCOUNTS.len() - 1).map(|account| open("open".to_owned(), account)));
        let much = Decimal::new(60, 0);
        for (from, to) in [(2, 0), (2, 1), (4, 2), (5, 3)] {
            let to = (ACCOUNTS[to].0, outflow(from) == Side::Debit);
            let side = if to.1 { Side::Credit } else { Side::Debit };
            let legs = vec![Leg::new(ACCOUNTS[from].0, outflow(from), much), Leg::new(to.0, side, much)];
            let request_id = format!("fund-{}", to.0);
            story.entry.push(Command::Transaction(Transaction {
                request_id,
                legs,
                ..Transaction::default()
            }));
        }
        story.write(0);
        story
    }

    /// Takes the next command into the entry, if it is a valid one.
    pub fn ask(&mut self, request_id: &str, ask: &Ask) {
        let Some(command) = self.fitted(request_id, ask).filter(|command| command.validate().is_ok()) else {
            return;
        };
        match &command {
            Command::PlaceHold(place) => self.placed.push((self.here(), place.account.clone())),
            Command::Begin(_) => self.begun.push(self.here()),
            _ => {}
        }
        if !matches!(command, Command::Step { .. }) {
            self.asked.push(command.clone());
        }
        self.entry.push(command);
    }

    /// Writes the entry, some time later, and counts what came of it.
    pub fn write(&mut self, later: u64) {
        self.now += later;
        let commands = std::mem::take(&mut self.entry);
        let before: Vec<_> = self.twin.books.short.holds().iter().cloned().collect();
        let outcomes = self.twin.apply(self.now, &commands);
        self.now = self.now.max(self.twin.books.short.last_time());
        for (command, outcome) in commands.iter().zip(&outcomes) {
            *self.seen.entry(seen::outcome(command, outcome)).or_default() += 1;
        }
        for hold in self.twin.books.short.holds().iter() {
            let old = before.iter().find(|old| old.id == hold.id);
            for what in seen::turns(old, hold) {
                *self.seen.entry(what).or_default() += 1;
            }
        }
        self.outcomes.extend(outcomes);
    }

    /// What the next command is called.
    fn here(&self) -> TransactionId {
        let offset = u16::try_from(self.entry.len()).expect("entries are short");
        let books = &self.twin.books;
        let position = Position::new(books.next_index(), offset);
        TransactionId { set: SET, incarnation: books.incarnation, position }
    }

    fn hold(&self, pick: &Pick) -> Option<(TransactionId, String)> {
        let state = &self.twin.books.short;
        let known = state.holds().iter().map(|hold| (hold, &state.account(hold.account).id));
        let (open, ended): (Vec<_>, Vec<_>) = known.partition(|(hold, _)| hold.is_open(self.now));
        let name = |(hold, account): (&Hold, &String)| (hold.id, account.clone());
        let new =
            self.placed.iter().filter(|(hold, _)| hold.position.index() == self.here().position.index());
        let near: Vec<(TransactionId, String)> = match pick.twist {
            8..12 => self.placed.clone(),
            12..24 if !ended.is_empty() => ended.into_iter().map(name).collect(),
            24..40 => new.cloned().collect(),
            _ if open.is_empty() => new.cloned().collect(),
            _ => open.into_iter().map(name).collect(),
        };
        let (mut hold, mut account) = (!near.is_empty()).then(|| pick.back.get(&near).clone())?;
        match pick.twist {
            0 => hold.incarnation += 1,
            1 => hold.set += 1,
            2 => hold.position = self.here().position,
            3 => hold.position = Position::new(self.here().position.index() + 1, 0),
            4 => hold.position = Position::new(1, 2),
            5 | 6 => account = if account == "a" { "c".to_owned() } else { "a".to_owned() },
            7 => account = "nobody".to_owned(),
            _ => {}
        }
        Some((hold, account))
    }

    /// The open attempts that a set coordinates.
    fn open_attempts(&self, of: u32) -> Vec<TransactionId> {
        let all = self.twin.books.short.attempts().iter().map(|(id, _)| id);
        all.filter(|id| id.set == of).collect()
    }

    fn time(&self, from_now: Option<i64>) -> Option<u64> {
        // Far away is as far as there is time.
        from_now.map(|by| if by == i64::MAX { u64::MAX } else { self.now.saturating_add_signed(by) })
    }

    fn fitted(&self, request_id: &str, ask: &Ask) -> Option<Command> {
        let request_id = request_id.to_owned();
        Some(match ask.clone() {
            ask @ (Ask::Place { .. }
            | Ask::Release { .. }
            | Ask::Extend { .. }
            | Ask::Expire { .. }
            | Ask::Tried { .. }
            | Ask::Confirmed { .. }
            | Ask::Capture { .. }) => self.of_hold(request_id, ask)?,
            ask @ (Ask::Prepare { .. } | Ask::End { .. } | Ask::Decide { .. } | Ask::Settle { .. }) => {
                self.step(ask)?
            }
            Ask::Move { from, legs } => carried(Transaction {
                request_id,
                scope_account: Some(ACCOUNTS[from].0.to_owned()),
                legs: self.legs(from, &legs),
                ..Transaction::default()
            }),
            Ask::Reverse { of, booked, amount, parts } => {
                let state = &self.twin.books.short;
                let is_booked = |outcome: &Outcome| {
                    let told = came_of(state, outcome.clone()).expect("no fault");
                    matches!(told.result, Ok(Effect::Posted(_) | Effect::Settled(_)))
                };
                let of_client = |command: &Command| !matches!(command, Command::Step { .. });
                let worth = |command: &Command, outcome: &Outcome| of_client(command) && is_booked(outcome);
                let all = state.history().skip(10);
                let all = all.filter(|(_, command, outcome)| !booked || worth(command, outcome));
                let name = |outcome: &Outcome| (outcome.position, outcome.incarnation);
                let all: Vec<_> = all.map(|(.., outcome)| name(outcome)).collect();
                let (position, incarnation) = (!all.is_empty()).then(|| *of.get(&all))?;
                let (reason, metadata) = (0, Metadata::new());
                let transaction = TransactionId { set: SET, incarnation, position };
                let legs = parts.map(|parts| parts.of(&legs_at(state, position), |_| false));
                let amount = amount.filter(|_| legs.is_none());
                Command::Reversal(Reversal { request_id, transaction, amount, legs, reason, metadata })
            }
            Ask::Freeze { account, mode, on } => {
                let account = ACCOUNTS[account].0.to_owned();
                if on {
                    Command::Freeze { request_id, account, mode }
                } else {
                    Command::Unfreeze { request_id, account, mode }
                }
            }
            Ask::Limit { account, limit } => {
                Command::SetLimit { request_id, account: ACCOUNTS[account].0.to_owned(), limit }
            }
            Ask::Close { account } => {
                Command::CloseAccount { request_id, account: ACCOUNTS[account].0.to_owned() }
            }
            Ask::OpenLast => open(request_id, ACCOUNTS.len() - 1),
            Ask::Again { of, twist } => {
                let mut command = (!self.asked.is_empty()).then(|| of.get(&self.asked).clone())?;
                again::change(&mut command, twist);
                command
            }
        })
    }

    /// A command on a hold.
    fn of_hold(&self, request_id: String, ask: Ask) -> Option<Command> {
        Some(match ask {
            Ask::Place { account, amount, currency, expiry, reason, payee } => {
                Command::PlaceHold(PlaceHold {
                    request_id,
                    account: ACCOUNTS[account].0.to_owned(),
                    amount,
                    currency,
                    expires_ns: self.time(expiry),
                    on_expiry: check_back::on_expiry(payee),
                    reason,
                    metadata: Metadata::new(),
                })
            }
            Ask::Tried { hold, came, by } => self.tried(&hold, came, by)?,
            Ask::Confirmed { hold, quarters } => self.confirmed(&hold, quarters)?,
            Ask::Release { hold, amount } => {
                let (hold, account) = self.hold(&hold)?;
                Command::ReleaseHold { request_id, account, hold, amount }
            }
            Ask::Extend { hold, by } => {
                let (hold, account) = self.hold(&hold)?;
                Command::ExtendHold { request_id, account, hold, expires_ns: self.time(by) }
            }
            Ask::Expire { hold: pick } => {
                let state = &self.twin.books.short;
                let due: Vec<_> = state.holds().due(self.now).map(|hold| hold.id).collect();
                let hold = if due.is_empty() || pick.twist < 24 {
                    self.hold(&pick)?.0
                } else {
                    *pick.back.get(&due)
                };
                Command::ExpireHold { hold }
            }
            Ask::Capture { hold, quarters, mut legs, is_final } => {
                let (hold, account) = self.hold(&hold)?;
                let known = self.twin.books.short.holds().get(hold.position);
                let left = known.map_or(0, Hold::left) / 4 * i128::from(quarters);
                if quarters > 0 && left > 0 {
                    let known = known.expect("there is something left");
                    let left = if quarters == 4 { known.left() } else { left };
                    let scale = self.twin.books.short.account(known.account).scale;
                    legs.total = Some(Decimal::from_i128_with_scale(left, scale.into()));
                }
                let from = ACCOUNTS.iter().position(|one| one.0 == account)?;
                let transaction = Transaction {
                    request_id,
                    scope_account: Some(account),
                    legs: self.legs(from, &legs),
                    capture: Some(Capture { hold, is_final }),
                    ..Transaction::default()
                };
                carried(transaction)
            }
            other => unreachable!("{other:?} is about no hold"),
        })
    }

    /// What nodes propose for attempts.
    fn step(&self, ask: Ask) -> Option<Command> {
        Some(match ask {
            Ask::Prepare { legs, attempt } => {
                let leg = |(account, side, amount, expects): (_, _, _, Vec<_>)| Leg {
                    preconditions: self.preconditions(account, &expects),
                    ..Leg::new(ACCOUNTS[account].0, side, amount)
                };
                let legs = legs.into_iter().map(leg).collect();
                let step =
                    Step::Prepare { legs, accounting_date: 3, reverses: None, label: Label::default() };
                Command::Step { attempt: theirs(attempt), step }
            }
            Ask::End { attempt, commit } => {
                let step = if commit { Step::Commit } else { Step::Abort };
                let open = self.open_attempts(2);
                let known = open.get(attempt as usize % (open.len() + 1)).copied();
                Command::Step { attempt: known.unwrap_or(theirs(attempt)), step }
            }
            Ask::Decide { attempt, how } => {
                let own = self.open_attempts(SET);
                let newest = &self.begun[self.begun.len().saturating_sub(3)..];
                let near = if own.is_empty() || how % 8 == 0 { newest } else { &own };
                let attempt = (!near.is_empty()).then(|| *attempt.get(near))?;
                Command::Step { attempt, step: Step::Decide(self.ballot(attempt, how)?) }
            }
            Ask::Settle { attempt } => {
                let open = self.open_attempts(SET);
                let attempt = (!open.is_empty()).then(|| *attempt.get(&open))?;
                Command::Step { attempt, step: self.settle(attempt)? }
            }
            other => unreachable!("{other:?} is no step"),
        })
    }

    /// So much out of an account, and in equal parts to others; mostly.
    fn legs(&self, from: usize, legs: &Legs) -> Vec<Leg> {
        let side = outflow(from);
        let other = if side == Side::Debit { Side::Credit } else { Side::Debit };
        let others = Decimal::new(i64::try_from(legs.to.len() - 1).expect("they are few"), 0);
        // Of a total that is too small for equal parts the first gets the most.
        let part = legs.total.map_or(legs.amount, |total| (total / (others + Decimal::ONE)).trunc());
        let total = legs.total.unwrap_or(legs.amount * (others + Decimal::ONE));
        let mut all = vec![Leg::new(ACCOUNTS[from].0, side, total)];
        for place in &legs.to {
            let account =
                ACCOUNTS.get(*place).map_or_else(|| ELSEWHERE[*place - ACCOUNTS.len()].0, |one| one.0);
            all.push(Leg::new(account, other, part));
        }
        all[1].amount = total - part * others;
        if part == Decimal::ZERO {
            all.truncate(2);
        }
        match legs.twist {
            0 => all[0].amount += Decimal::ONE,
            1 => all[0].side = other,
            2 => all[1].currency = Some("JPY".to_owned()),
            3 | 4 => {
                all.push(Leg::new(ACCOUNTS[from].0, side, Decimal::ONE));
                all[1].amount += Decimal::ONE;
            }
            5 => {
                all.push(Leg::new(ACCOUNTS[from].0, other, Decimal::ONE));
                all[1].amount -= Decimal::ONE;
            }
            6 => all.rotate_left(1),
            _ => {}
        }
        for (leg, expects) in all.iter_mut().zip(&legs.expects) {
            let account = ACCOUNTS.iter().position(|one| one.0 == leg.account);
            leg.preconditions = account.map(|at| self.preconditions(at, expects)).unwrap_or_default();
        }
        all
    }

    fn preconditions(&self, account: usize, expects: &[Expectation]) -> Vec<Precondition> {
        let known = self.twin.books.short.account_by_id(ACCOUNTS[account].0);
        let one = |(expected, value, sensible): &Expectation| {
            let whole = Decimal::new(value / 1000, 0);
            let value = match (expected, sensible) {
                (Expected::Version, true) => known.map_or(0, |known| known.version).into(),
                (Expected::Version, false) => value.unsigned_abs().div_euclid(1000).into(),
                // Floors are low and ceilings high.
                (Expected::AvailableMin | Expected::PostedMin, true) => whole - Decimal::new(40, 0),
                (Expected::AvailableMax | Expected::PostedMax, true) => whole + Decimal::new(80, 0),
                (_, false) => Decimal::new(*value, if value % 2 == 0 { 2 } else { 3 }),
            };
            Precondition { expected: *expected, value }
        };
        let mut all: Vec<Precondition> = expects.iter().map(one).collect();
        all.sort_by_key(|one| one.expected);
        all.dedup_by_key(|one| one.expected);
        all
    }

    /// All say yes, or one does not, or is not heard of. An attempt of the same entry is not known yet; then it is given up.
    fn ballot(&self, attempt: TransactionId, how: u8) -> Option<Ballot> {
        let open = self.twin.books.short.attempts().get(attempt);
        let Some(Role::Coordinator(known)) = open.map(|open| &open.role) else {
            return (how < 8).then_some(Ballot::GivenUp { set: 2 });
        };
        if how < 4 {
            return Some(Ballot::GivenUp { set: 2 });
        }
        let vote = |set: u32| {
            let mut sum = Sum { currency: "EUR".to_owned(), scale: 2, debits: 0, credits: 0 };
            for leg in known.legs_of(set) {
                *(if leg.side == Side::Debit { &mut sum.debits } else { &mut sum.credits }) +=
                    to_minor(leg.amount, 2).unwrap_or(1);
            }
            match how {
                4..7 => Vote { set, said: Err(Rejection::AccountClosed { account: "x".to_owned() }) },
                7 => Vote { set, said: Ok(Vec::new()) },
                _ => Vote { set, said: Ok(vec![sum]) },
            }
        };
        Some(Ballot::Votes(known.other_sets(SET).into_iter().map(vote).collect()))
    }

    fn settle(&self, attempt: TransactionId) -> Option<Step> {
        let open = self.twin.books.short.attempts().get(attempt);
        let Some(Role::Coordinator(known)) = open.map(|open| &open.role) else { return None };
        let leg = |leg: &Leg| Posted {
            account: leg.account.clone(),
            side: leg.side,
            amount: to_minor(leg.amount, 2).unwrap_or(1),
            scale: 2,
            posted: 7,
            available: 5,
        };
        let part =
            |set| Part { set, position: Position::new(1, 0), legs: known.legs_of(set).map(leg).collect() };
        Some(Step::Settle { parts: known.other_sets(SET).into_iter().map(part).collect() })
    }
}

fn open(request_id: String, account: usize) -> Command {
    let (account, subject, currency, floor) = ACCOUNTS[account];
    Command::OpenAccount {
        request_id,
        account: account.to_owned(),
        subject: subject.to_owned(),
        currency: currency.to_owned(),
        normal_side: None,
        limit: floor.then_some(Decimal::ZERO),
        metadata: Metadata::new(),
    }
}

/// The side that lowers an account.
fn outflow(account: usize) -> Side {
    if ACCOUNTS[account].1 == "asset" { Side::Credit } else { Side::Debit }
}

fn theirs(attempt: u64) -> TransactionId {
    TransactionId { set: 2, incarnation: 1, position: Position::new(attempt, 0) }
}

/// Within the set, or over several where an account lives in another.
fn carried(transaction: Transaction) -> Command {
    let set_of = |leg: &Leg| ELSEWHERE.iter().find(|one| one.0 == leg.account).map_or(SET, |one| one.1);
    let sets: Vec<u32> = transaction.legs.iter().map(set_of).collect();
    match sets.iter().all(|set| *set == SET) {
        true => Command::Transaction(transaction),
        false => Command::Begin(Begin { transaction, sets }),
    }
}

//! Random histories: entries of the commands that [`crate::generate`] makes. What came before is known from the model, so that
//! reversals, repetitions and steps mostly are about something that is there.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::Index;
use twinset_ledger::amount::to_minor;
use twinset_ledger::attempt::{Attempt, Ballot, Coordination, Part, Role, Sum, Vote};
use twinset_ledger::check_back::{CheckedBack, OnExpiry};
use twinset_ledger::hold::PlaceHold;
use twinset_ledger::sweep::{self, Sweep, run_id, run_of};
use twinset_ledger::{
    Begin, Command, Durability, Leg, LegKind, Position, Posted, Rejection, Schedule, SetSweep, Side, Step,
    Transaction, TransactionId,
};

use crate::generate::{ACCOUNTS, ELSEWHERE, across, command, open, sweeping};
use crate::model::{Answer, Model};
use crate::support::SET;

/// Entries of valid commands: a time and a few commands each. The first opens most accounts, not all; the others now
/// and then repeat an earlier command or reverse an earlier transaction.
pub fn entries() -> impl Strategy<Value = Vec<(u64, Vec<Command>)>> {
    entries_of(command())
}

/// The same with transactions over several sets, of which the others say what they like; steps are mostly of what is open, and
/// mostly fit it.
pub fn entries_across() -> impl Strategy<Value = Vec<(u64, Vec<Command>)>> {
    entries_of(prop_oneof![1 => command(), 1 => across()])
}

/// The same with many sweeps.
pub fn entries_sweeping() -> impl Strategy<Value = Vec<(u64, Vec<Command>)>> {
    entries_of(prop_oneof![1 => command(), 1 => across(), 3 => sweeping()])
}

/// The same without anything that hangs on a time, or on what is beside it in the entry.
#[allow(dead_code, reason = "not every test asks")]
pub fn timeless(entries: &mut [(u64, Vec<Command>)]) {
    for (_, commands) in entries {
        for command in commands {
            match command {
                Command::PlaceHold(PlaceHold { expires_ns, on_expiry, .. }) => {
                    (*expires_ns, *on_expiry) = (None, OnExpiry::Release);
                }
                Command::ExtendHold { expires_ns, .. } => *expires_ns = None,
                Command::ExpireHold { hold } | Command::CheckedBack(CheckedBack { hold, .. }) => {
                    hold.set += 1
                }
                Command::ExpireRestriction { restriction, .. } => restriction.set += 9,
                // By what is there an order is due, or not at all.
                Command::SetSweep(SetSweep { schedule: Schedule::Every { from_ns, .. }, .. }) => {
                    *from_ns = None;
                }
                Command::Together { .. } => {
                    *command = Command::MarkDurability { durability: Durability::Sync };
                }
                _ => {}
            }
        }
    }
}

/// A command before it is fitted to what came before: itself, what it may repeat, what it is about, and how it goes wrong.
type Drawn = (Command, Option<Index>, Index, u8);

fn entries_of(command: impl Strategy<Value = Command>) -> impl Strategy<Value = Vec<(u64, Vec<Command>)>> {
    let drawn = (command, option::weighted(0.15, any::<Index>()), any::<Index>(), 0u8..24);
    let entry = (0u64..200, vec(drawn, 1..6));
    (vec(open(), 5), vec(entry, 1..24)).prop_map(|(mut opens, drawn)| {
        opens.iter_mut().zip(ACCOUNTS).for_each(|(open, id)| settle(open, id));
        let mut story = Story { model: Model::new(SET), earlier: Vec::new(), now: 0 };
        let mut entries = vec![(5, opens.clone())];
        story.now = 5;
        opens.into_iter().zip(0..).for_each(|(open, offset)| story.goes_on(1, offset, open));
        for ((time, drawn), index) in drawn.into_iter().zip(2..) {
            story.now = time.max(story.now);
            let commands = drawn.into_iter().zip(0..).map(|(drawn, offset)| {
                let command = story.fitted(drawn);
                story.goes_on(index, offset, command.clone());
                command
            });
            entries.push((time, commands.collect()));
        }
        entries
    })
}

/// What came before.
struct Story {
    model: Model,
    earlier: Vec<(Position, Command)>,
    /// The next command's ledger time.
    now: u64,
}

impl Story {
    fn goes_on(&mut self, index: u64, offset: u16, command: Command) {
        let position = Position::new(index, offset);
        self.model.apply_at(position, self.now, &command);
        self.now += 1;
        self.earlier.push((position, command));
    }

    fn fitted(&self, (mut command, repeat, at, twist): Drawn) -> Command {
        if let Some(repeat) = repeat {
            let of_client = |command: &Command| !matches!(command, Command::Step { .. });
            let worth = self.whose(|command, answer| match twist {
                0..8 => of_client(command) && *answer == Answer::No("set_unavailable"),
                8..13 => of_client(command) && matches!(answer, Answer::Settled(_)),
                13..16 => !of_client(command),
                _ => true,
            });
            return match worth.is_empty() {
                true => repeat.get(&self.earlier).1.clone(),
                false => repeat.get(&worth).1.clone(),
            };
        }
        match &mut command {
            Command::Reversal(reversal) if reversal.transaction.position.offset() < 4 => {
                let settled = self.whose(|_, answer| matches!(answer, Answer::Settled(_)));
                let asked =
                    |command: &Command| matches!(command, Command::Transaction(_) | Command::Begin(_));
                let all = self.whose(|command, _| asked(command));
                let of = if settled.is_empty() || twist < 6 { all } else { settled };
                if !of.is_empty() {
                    reversal.transaction.position = at.get(&of).0;
                }
            }
            Command::Step { attempt, step } => self.follow(attempt, step, &at, twist),
            Command::ReleaseHold { account, hold, .. } | Command::ExtendHold { account, hold, .. } => {
                self.hold(hold, Some(account), &at, twist);
            }
            Command::ExpireHold { hold } | Command::CheckedBack(CheckedBack { hold, .. }) => {
                self.hold(hold, None, &at, twist);
            }
            Command::ReleaseRestriction { account, restriction, .. }
            | Command::ExpireRestriction { account, restriction } => {
                self.restriction(account, restriction, &at, twist);
            }
            Command::SetSweep(order) if twist > 3 => self.order(order, &at),
            Command::EndRun { .. } => return self.of_sweep(command, &at, twist),
            Command::Transaction(Transaction { request_id, .. }) if run_of(request_id).is_some() => {
                return self.of_sweep(command, &at, twist);
            }
            Command::Transaction(transaction) if transaction.capture.is_none() && twist > 4 => {
                self.withdraw(transaction, &at);
            }
            Command::Transaction(transaction) | Command::Begin(Begin { transaction, .. }) => {
                let Transaction { capture: Some(capture), scope_account: Some(scope), legs, .. } =
                    transaction
                else {
                    return command;
                };
                let mut held = scope.clone();
                self.hold(&mut capture.hold, Some(&mut held), &at, twist);
                // Who has a leg already stays apart from it; in another set the scope is nobody's here.
                if ACCOUNTS.contains(&scope.as_str()) && legs.iter().all(|leg| leg.account != held) {
                    let of_scope = legs.iter_mut().filter(|leg| leg.account == *scope);
                    of_scope.for_each(|leg| leg.account.clone_from(&held));
                    *scope = held;
                }
            }
            _ => {}
        }
        command
    }

    /// Makes it a hold that was placed, mostly, and mostly on that account.
    fn hold(&self, hold: &mut TransactionId, account: Option<&mut String>, at: &Index, twist: u8) {
        let placed = self.whose(|command, answer| {
            matches!(command, Command::PlaceHold(_)) && !matches!(answer, Answer::No(_))
        });
        if placed.is_empty() || twist == 0 {
            return;
        }
        let (position, place) = at.get(&placed);
        *hold = TransactionId { position: *position, ..*hold };
        if let (Some(account), 2.., Command::PlaceHold(place)) = (account, twist, place) {
            account.clone_from(&place.account);
        }
    }

    /// Makes the withdrawal of a pair of legs one from an account of which something is restricted, if there is one.
    fn withdraw(&self, transaction: &mut Transaction, at: &Index) {
        let accounts = self.model.records();
        let restricted = accounts.iter().filter(|account| account.restricted > 0 && account.limit.is_some());
        let restricted: Vec<_> = restricted.collect();
        let [one, other] = transaction.legs.as_mut_slice() else { return };
        let (takes, gets) = if one.kind == LegKind::Withdrawal { (one, other) } else { (other, one) };
        if takes.kind != LegKind::Withdrawal || restricted.is_empty() {
            return;
        }
        let account = at.get(&restricted);
        if account.id != gets.account && transaction.scope_account.is_none() {
            takes.account.clone_from(&account.id);
            (takes.side, gets.side) = (account.normal_side.opposite(), account.normal_side);
        }
    }

    /// Makes it a restriction that was made, mostly.
    fn restriction(&self, account: &mut String, name: &mut TransactionId, at: &Index, twist: u8) {
        let made = self.model.restrictions();
        if made.is_empty() || twist == 0 {
            return;
        }
        let open: Vec<_> = made.iter().filter(|one| one.ended.is_none()).collect();
        let one = if open.is_empty() || twist == 1 { at.get(&made) } else { at.get(&open) };
        *name = one.transaction;
        if twist != 2 {
            account.clone_from(&self.model.records()[one.account as usize].id);
        }
    }

    /// Makes it one of an account that has something, if there is one.
    fn order(&self, order: &mut SetSweep, at: &Index) {
        let accounts = self.model.records();
        let rich = |account: &&twinset_ledger::Account| {
            let own = ACCOUNTS.contains(&account.id.as_str()) && account.id != order.to;
            own && account.withdrawable() > 0 && !account.closed
        };
        let rich: Vec<_> = accounts.iter().filter(rich).collect();
        if !rich.is_empty() {
            order.account.clone_from(&at.get(&rich).id);
        }
    }

    /// Makes what a leader says of a run one of the next run of a sweep that is there; mostly one that fits.
    fn of_sweep(&self, command: Command, at: &Index, twist: u8) -> Command {
        let (sweeps, accounts) = (self.model.sweeps(), self.model.records());
        let is_end = matches!(command, Command::EndRun { .. });
        let fits = |sweep: &&Sweep| {
            let account = &accounts[sweep.account as usize];
            let moves = sweep.movable(account) > 0;
            sweep.open.is_some() && is_end || sweep.is_due(account, self.now) && moves != is_end
        };
        let fitting: Vec<&Sweep> = sweeps.iter().filter(fits).collect();
        let of = if fitting.is_empty() || twist == 6 { sweeps.iter().collect() } else { fitting };
        if of.is_empty() || twist == 0 {
            return command;
        }
        let sweep = *at.get(&of);
        let account = &accounts[sweep.account as usize];
        let next = sweep.runs + 1;
        if is_end {
            let run = if sweep.open.is_some() == (twist > 1) { sweep.runs.max(1) } else { next };
            return Command::EndRun { account: account.id.clone(), sweep: sweep.id, run };
        }
        let movable = sweep.movable(account);
        let minor = match twist {
            1 => movable.saturating_add(1),
            2 => movable / 2,
            _ => movable,
        };
        let mut run = sweep::transaction(sweep, account, minor.max(1));
        match twist {
            3 => run.request_id = run_id(sweep.id, sweep.runs.max(1)),
            4 => run.legs[0].kind = LegKind::Ordinary,
            5 => run.kind = 1,
            _ => {}
        }
        let elsewhere = ELSEWHERE.iter().find(|(id, _)| *id == sweep.to);
        let fitted = match elsewhere {
            Some((_, set)) => Command::Begin(Begin { transaction: run, sets: vec![SET, *set] }),
            None => Command::Transaction(run),
        };
        if fitted.validate().is_ok() { fitted } else { command }
    }

    /// The earlier commands that were remembered, by themselves and what came of them.
    fn whose(&self, is: impl Fn(&Command, &Answer) -> bool) -> Vec<&(Position, Command)> {
        let is = |(position, command): &&(Position, Command)| {
            self.model.answer(*position).is_some_and(|answer| is(command, &answer))
        };
        self.earlier.iter().filter(is).collect()
    }

    /// Makes a step one of an attempt that is open, and mostly one that fits it.
    fn follow(&self, attempt: &mut TransactionId, step: &mut Step, at: &Index, twist: u8) {
        let open = self.model.open_attempts();
        let fits = |(_, attempt): &&(TransactionId, Attempt)| match (&attempt.role, &*step) {
            (Role::Participant { .. }, Step::Commit | Step::Abort) => true,
            (Role::Coordinator(Coordination { decided, .. }), Step::Decide(_)) => decided.is_none(),
            (Role::Coordinator(Coordination { decided, .. }), Step::Settle { .. }) => decided.is_some(),
            _ => false,
        };
        let fitting: Vec<_> = open.iter().filter(fits).collect();
        let others = fitting.is_empty() && !matches!(step, Step::Prepare { .. });
        let of = if others || twist == 0 { open.iter().collect() } else { fitting };
        if of.is_empty() || twist == 1 {
            return;
        }
        let (id, open) = at.get(&of);
        if others && twist > 3 {
            *step = match &open.role {
                Role::Participant { .. } => Step::Commit,
                Role::Coordinator(Coordination { decided: None, .. }) => {
                    Step::Decide(Ballot::Votes(Vec::new()))
                }
                Role::Coordinator(_) => Step::Settle { parts: Vec::new() },
            };
        }
        match (&open.role, step) {
            (_, Step::Prepare { .. }) => {}
            (Role::Coordinator(coordination), step) => {
                *attempt = *id;
                let accounts = self.model.records();
                // A reversal need have no leg here.
                let unit = coordination.legs_of(SET).next().map_or(("EUR", 2), |own| {
                    let own = accounts.iter().find(|account| account.id == own.account);
                    own.map(|own| (own.currency.as_str(), own.scale)).expect("it was found")
                });
                fit(step, coordination, unit, twist);
            }
            (Role::Participant { .. }, _) => *attempt = *id,
        }
    }
}

/// Lets the other sets say yes, or have booked, in the coordinator's unit; mostly.
fn fit(step: &mut Step, coordination: &Coordination, (currency, scale): (&str, u8), twist: u8) {
    let others = coordination.other_sets(SET);
    let in_minor = |leg: &Leg| to_minor(leg.amount, scale).unwrap_or(1);
    match step {
        Step::Decide(Ballot::Votes(votes)) => {
            let refusal = votes.pop().filter(|vote| vote.said.is_err());
            let vote = |set: &u32| {
                let mut sum = Sum { currency: currency.to_owned(), scale, debits: 0, credits: 0 };
                for leg in coordination.legs_of(*set) {
                    *(if leg.side == Side::Debit { &mut sum.debits } else { &mut sum.credits }) +=
                        in_minor(leg);
                }
                match twist {
                    2 => sum.debits += 1,
                    3 => sum.scale += 1,
                    4 => sum.credits = i128::MAX,
                    _ => {}
                }
                Vote { set: *set, said: Ok(vec![sum; if twist == 5 { 2 } else { 1 }]) }
            };
            *votes = others.iter().map(vote).collect();
            match (refusal, votes.first_mut()) {
                (Some(refusal), Some(first)) if twist > 8 => {
                    first.said = refusal.said;
                    if let Some(last) = votes.get_mut(1).filter(|_| twist > 15) {
                        last.said = Err(Rejection::AccountNotFound { account: "z".to_owned() });
                    }
                }
                (Some(refusal), _) => votes.push(refusal),
                _ => {}
            }
            mangle(votes, twist, |vote| &mut vote.set);
        }
        Step::Settle { parts } => {
            let part = |set: &u32| {
                // Another unit is not what it voted for, but the amount is right.
                let finer =
                    u8::from(twist == 11 && coordination.legs.iter().all(|leg| in_minor(leg) < 1 << 60));
                let leg = |leg: &Leg| Posted {
                    account: leg.account.clone(),
                    side: if twist == 2 { Side::Debit } else { leg.side },
                    amount: in_minor(leg) * 10i128.pow(finer.into()) + i128::from(twist == 3),
                    scale: scale + finer,
                    posted: 7,
                    available: 5,
                };
                let mut legs: Vec<Posted> = coordination.legs_of(*set).map(leg).collect();
                match (twist, legs.first_mut()) {
                    (4, Some(first)) => first.account.push('x'),
                    (5, Some(_)) => drop(legs.pop()),
                    (6.., Some(first)) => {
                        let clearing = Posted { account: format!("@clearing-{set}:EUR"), ..first.clone() };
                        legs.push(clearing);
                    }
                    _ => {}
                }
                Part { set: *set, position: Position::new(1, 0), legs }
            };
            *parts = others.iter().map(part).collect();
            mangle(parts, twist, |part| &mut part.set);
        }
        _ => {}
    }
}

/// One is missing, twice there, of nobody, or the coordinator's own.
fn mangle<T: Clone>(said: &mut Vec<T>, twist: u8, set: impl Fn(&mut T) -> &mut u32) {
    let Some(mut last) = said.last().cloned() else { return };
    match twist {
        6 => drop(said.pop()),
        7 => said.push(last),
        8 => *set(said.last_mut().expect("there is one")) = 9,
        9 => {
            *set(&mut last) = SET;
            said.push(last);
        }
        10 => said.reverse(),
        _ => {}
    }
}

/// Makes one of the first openings likely to succeed.
fn settle(open: &mut Command, id: &str) {
    if let Command::OpenAccount { account, subject, currency, .. } = open {
        *account = id.to_owned();
        if id < "e" {
            *subject = subject.replace("nosuch", "expense");
            *currency = "EUR".to_owned();
        }
    }
}

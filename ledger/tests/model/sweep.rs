//! Sweeps, from the words of ADR 18: of each order the list of its runs is kept, and all else is read from that.

use std::collections::BTreeMap;

use twinset_ledger::command::Metadata;
use twinset_ledger::sweep::{RunEnd, Schedule, SetSweep, Sweep, Timing};
use twinset_ledger::{
    AccountNo, Begin, Command, Effect, Leg, LegKind, Position, Rejection, Transaction, TransactionId,
};

use super::booking::minor;
use super::{Here, Model};

const SECOND: u64 = 1_000_000_000;
const MOST: usize = 10_000;

/// The order of each account that has one.
pub(super) type Orders = BTreeMap<String, Order>;

#[derive(Clone)]
pub(super) struct Order {
    id: TransactionId,
    since_ns: u64,
    asked: SetSweep,
    keep: i128,
    /// Of one with a threshold.
    above: i128,
    runs: Vec<Run>,
}

/// How a sweep stands.
#[allow(dead_code, reason = "not every test asks")]
#[derive(Debug)]
pub struct Course<'m> {
    /// Its name.
    pub id: TransactionId,
    /// What was asked for.
    pub asked: &'m SetSweep,
    /// The number of the last run.
    pub runs: u32,
    /// When it may run next, by ledger time.
    pub not_before: u64,
    /// Whether nothing but its schedule says that.
    pub by_schedule: bool,
    /// The last run's transaction.
    pub last: Option<TransactionId>,
    /// Whether what came of that is not known.
    pub is_open: bool,
    /// What may leave the account, in minor units.
    pub movable: i128,
    /// Whether its next run is due.
    pub is_due: bool,
}

#[derive(Clone)]
struct Run {
    time_ns: u64,
    /// Where its transaction stands, unless there was nothing to move.
    at: Option<TransactionId>,
    /// Whether what came of it is known, and if it was refused, when that was written down, and whether a set had not answered.
    known: bool,
    refused: Option<(u64, bool)>,
}

impl Order {
    fn is_waited_for(&self) -> bool {
        self.runs.last().is_some_and(|run| !run.known)
    }

    /// Counts up from where intervals begin, one after the other where that is near.
    fn turn_after(&self, now: u64) -> u64 {
        let (from, step) = match self.asked.schedule {
            Schedule::Above { .. } => return now,
            Schedule::Daily => (0, 86_400 * SECOND),
            Schedule::Every { seconds, from_ns } => {
                (from_ns.unwrap_or(self.since_ns), u64::from(seconds) * SECOND)
            }
        };
        let mut turn = u128::from(from);
        if turn <= now.into() {
            let whole = (u128::from(now) - turn) / u128::from(step);
            turn += whole * u128::from(step);
            while turn <= now.into() {
                turn += u128::from(step);
            }
        }
        u64::try_from(turn).unwrap_or(u64::MAX)
    }

    fn not_before(&self) -> u64 {
        let Some(last) = self.runs.last() else { return self.turn_after(self.since_ns) };
        let turn = self.turn_after(last.time_ns);
        match (last.refused, &self.asked.schedule) {
            (Some((at, _)), Schedule::Above { .. }) => at.saturating_add(60 * SECOND),
            (Some((at, true)), _) => turn.min(at.saturating_add(60 * SECOND)),
            _ => turn,
        }
    }
}

impl Model {
    pub(super) fn set_sweep(&mut self, here: Here, asked: &SetSweep) -> Result<Effect, Rejection> {
        let id = &asked.account;
        let Some(account) = self.accounts.get(id) else {
            return Err(Rejection::AccountNotFound { account: id.clone() });
        };
        if let Some(payee) = self.accounts.get(&asked.to).filter(|payee| payee.currency != account.currency) {
            let (account, expected) = (asked.to.clone(), payee.currency.clone());
            return Err(Rejection::CurrencyMismatch { account, expected });
        }
        let keep = minor(asked.keep, account.scale, id)?;
        let above = match asked.schedule {
            Schedule::Above { amount } => minor(amount, account.scale, id)?,
            _ => 0,
        };
        if account.closed {
            return Err(Rejection::AccountClosed { account: id.clone() });
        }
        if !self.orders.contains_key(id) && self.orders.len() == MOST {
            return Err(Rejection::TooManySweeps { most: 10_000 });
        }
        let (since_ns, asked) = (here.time_unix_ns, asked.clone());
        let order = Order { id: here.id(), since_ns, asked, keep, above, runs: Vec::new() };
        self.orders.insert(order.asked.account.clone(), order);
        Ok(Effect::Account)
    }

    pub(super) fn remove_sweep(&mut self, account: &str) -> Result<Effect, Rejection> {
        let account = account.to_owned();
        if !self.accounts.contains_key(&account) {
            return Err(Rejection::AccountNotFound { account });
        }
        match self.orders.remove(&account) {
            Some(_) => Ok(Effect::Account),
            None => Err(Rejection::SweepNotFound { account }),
        }
    }

    /// What may leave the account of an order now.
    fn too_much(&self, order: &Order) -> i128 {
        let account = &self.accounts[&order.asked.account];
        let beyond_keep = account.withdrawable() - order.keep;
        let beyond_floor = account.limit.map(|floor| account.withdrawable() - floor);
        beyond_floor.map_or(beyond_keep, |beyond| beyond.min(beyond_keep))
    }

    fn is_next(&self, here: Here, order: &Order, run: u32) -> bool {
        let much = match order.asked.schedule {
            Schedule::Above { .. } => {
                self.accounts[&order.asked.account].withdrawable() > order.above && self.too_much(order) > 0
            }
            _ => true,
        };
        let numbered = run as usize == order.runs.len() + 1;
        numbered && much && !order.is_waited_for() && order.not_before() <= here.time_unix_ns
    }

    /// Why a new transaction that is named as a run may not be taken in now.
    pub(super) fn sweeps_wrongly(&self, here: Here, command: &Command) -> Option<Rejection> {
        let (sweep, run, transaction) = run_of(command)?;
        let order = transaction.scope_account.as_ref().and_then(|account| self.orders.get(account));
        let right = order.is_some_and(|order| {
            order.id == sweep && self.is_next(here, order, run) && self.is_as_ordered(order, transaction)
        });
        (!right).then_some(Rejection::StepOutOfPlace { attempt: sweep })
    }

    fn is_as_ordered(&self, order: &Order, transaction: &Transaction) -> bool {
        let [from, to] = transaction.legs.as_slice() else { return false };
        let account = &self.accounts[&order.asked.account];
        let moves = |leg: &Leg, id: &str, kind| {
            leg.account == id
                && leg.currency.as_ref() == Some(&account.currency)
                && leg.preconditions.is_empty()
                && leg.kind == kind
        };
        let Ok(amount) = minor(from.amount, account.scale, "") else { return false };
        let about = Metadata::from([("twinset.sweep".to_owned(), order.id.to_string())]);
        moves(from, &order.asked.account, LegKind::Withdrawal)
            && moves(to, &order.asked.to, LegKind::Ordinary)
            && (from.side, to.side) == (account.normal.opposite(), account.normal)
            && from.amount == to.amount
            && amount <= self.too_much(order)
            && (transaction.kind, transaction.reason) == (0, 0)
            && transaction.accounting_date.is_none()
            && transaction.capture.is_none()
            && transaction.metadata == about
    }

    /// A command with a request id was decided that was in its place.
    pub(super) fn has_run(&mut self, here: Here, command: &Command, result: &Result<Effect, Rejection>) {
        let Some((_, _, Transaction { scope_account: Some(account), .. })) = run_of(command) else { return };
        let order = self.orders.get_mut(account).expect("it was in its place");
        let known = matches!(result, Ok(Effect::Posted(_) | Effect::Buffered { .. }));
        order.runs.push(Run { time_ns: here.time_unix_ns, at: Some(here.id()), known, refused: None });
    }

    pub(super) fn end_run(
        &mut self,
        here: Here,
        account: &str,
        sweep: TransactionId,
        run: u32,
    ) -> Result<Effect, Rejection> {
        let out_of_place = Err(Rejection::StepOutOfPlace { attempt: sweep });
        let Some(order) = self.orders.get(account).filter(|order| order.id == sweep).cloned() else {
            return out_of_place;
        };
        let time_ns = here.time_unix_ns;
        let (last, end) = match order.runs.last() {
            Some(last @ Run { at: Some(at), known: false, .. }) if run as usize == order.runs.len() => {
                let (refused, end) = match self.last_word(at.position).result {
                    Ok(Effect::Begun) => return out_of_place,
                    Ok(_) => (None, RunEnd::Booked),
                    Err(why) => {
                        let silent = matches!(why, Rejection::SetUnavailable { .. });
                        (Some((time_ns, silent)), RunEnd::Refused(why))
                    }
                };
                (Run { known: true, refused, ..last.clone() }, end)
            }
            _ if self.is_next(here, &order, run) && self.too_much(&order) <= 0 => {
                (Run { time_ns, at: None, known: true, refused: None }, RunEnd::Nothing)
            }
            _ => return out_of_place,
        };
        let runs = &mut self.orders.get_mut(account).expect("it was just there").runs;
        runs.truncate(run as usize - 1);
        runs.push(last);
        Ok(Effect::Ran(end))
    }

    /// The sweep of an account as it stands at that ledger time.
    #[allow(dead_code, reason = "not every test asks")]
    pub fn course(&self, account: &str, time_ns: u64) -> Option<Course<'_>> {
        let order = self.orders.get(account)?;
        let here = self.here(Position::default(), time_ns);
        let next = order.runs.len() as u32 + 1;
        Some(Course {
            id: order.id,
            asked: &order.asked,
            runs: next - 1,
            not_before: order.not_before(),
            by_schedule: order.runs.last().is_none_or(|run| run.at.is_some() && run.refused.is_none()),
            last: order.runs.last().and_then(|run| run.at),
            is_open: order.is_waited_for(),
            movable: self.too_much(order),
            is_due: self.is_next(here, order, next),
        })
    }

    /// Every sweep as the ledger shows it.
    #[allow(dead_code, reason = "not every test asks")]
    pub fn sweeps(&self) -> Vec<Sweep> {
        let numbers: BTreeMap<&str, AccountNo> = self.in_order().into_iter().zip(0..).collect();
        let mut all: Vec<Sweep> = self.orders.values().map(|order| order.record(&numbers)).collect();
        all.sort_by_key(|sweep| sweep.account);
        all
    }
}

impl Order {
    fn record(&self, numbers: &BTreeMap<&str, AccountNo>) -> Sweep {
        Sweep {
            id: self.id,
            account: numbers[&*self.asked.account],
            to: self.asked.to.clone(),
            keep: self.keep,
            timing: match self.asked.schedule {
                Schedule::Every { seconds, from_ns } => {
                    Timing::Every { seconds, from_ns: from_ns.unwrap_or(self.since_ns) }
                }
                Schedule::Above { .. } => Timing::Above { minor: self.above },
                Schedule::Daily => Timing::Daily,
            },
            runs: u32::try_from(self.runs.len()).expect("a few"),
            next_ns: self.not_before(),
            open: self.runs.last().filter(|run| !run.known).and_then(|run| run.at),
        }
    }
}

/// Which run of which sweep a transaction is named by.
pub(super) fn run_of(command: &Command) -> Option<(TransactionId, u32, &Transaction)> {
    let (Command::Transaction(transaction) | Command::Begin(Begin { transaction, .. })) = command else {
        return None;
    };
    let (sweep, run) = transaction.request_id.strip_prefix("~sweep-")?.rsplit_once('-')?;
    Some((sweep.parse().ok()?, run.parse().ok()?, transaction))
}

//! Sweeps: what the leader of a set does about those of its books. A run is asked for as a client asks, so that what it does is
//! counted as any other effect.

use proptest::sample::Index;
use twinset_ledger::sweep::{Sweep, run_id, transaction};
use twinset_ledger::{Begin, Command, Effect, Outcome, Rejection, RunEnd, SetSweep, State, Transaction};

use super::{ACCOUNTS, SETS, World};

/// How a leader does it that does nothing wrong.
const JUST_SO: u8 = 5;
const DAY_NS: u64 = 86_400_000_000_000;

impl World {
    /// A client's order, of an account that has something, if there is one.
    pub(super) fn order(&self, order: &SetSweep, at: &Index) -> (u32, Command) {
        let rich = |(id, set, _): &(&str, u32, _)| {
            let known = self.state(*set).account_by_id(id);
            known.is_some_and(|known| known.withdrawable() > 0 && known.id != order.to)
        };
        let rich: Vec<&str> = ACCOUNTS.into_iter().filter(rich).map(|(id, ..)| id).collect();
        let account = if rich.is_empty() { order.account.clone() } else { (*at.get(&rich)).to_owned() };
        (home(&account), Command::SetSweep(SetSweep { account, ..order.clone() }))
    }

    /// A client takes an order back.
    pub(super) fn remove_order(&self, request_id: &str, at: &Index) -> Option<(u32, Command)> {
        let ordered = SETS.into_iter().flat_map(|set| {
            let state = self.state(set);
            state.sweeps().iter().map(move |sweep| (set, state.account(sweep.account).id.clone()))
        });
        let ordered: Vec<(u32, String)> = ordered.collect();
        let (set, account) = ordered.get(at.index(ordered.len().max(1)))?.clone();
        Some((set, Command::RemoveSweep { request_id: request_id.to_owned(), account }))
    }

    /// A leader runs what may be due, and writes down what may have ended; `how`: not always just so.
    pub(super) fn sweep(&mut self, set: u32, how: u8) {
        let state = self.state(set);
        let mut runs = Vec::new();
        let mut ends = Vec::new();
        for sweep in state.sweeps().iter() {
            let account = state.account(sweep.account);
            let end = |run| Command::EndRun { account: account.id.clone(), sweep: sweep.id, run };
            let movable = sweep.movable(account);
            match (sweep.open, movable) {
                (Some(_), _) if how < 6 => ends.push(end(sweep.runs)),
                (None, ..=0) => ends.push(end(sweep.runs + 1)),
                _ if how == 0 => ends.push(end(sweep.runs + 1)),
                (_, 1..) => {
                    let minor = match how {
                        1 => movable + 1,
                        2 => (movable / 2).max(1),
                        _ => movable,
                    };
                    let mut run = transaction(sweep, account, minor);
                    if how == 3 {
                        run.request_id = run_id(sweep.id, sweep.runs.max(1));
                    }
                    runs.push(carried(run, set));
                }
                (Some(_), _) => {}
            }
        }
        self.proposed.entry(set).or_default().extend(ends.into_iter().map(|end| (end, None)));
        runs.into_iter().filter(|run| run.validate().is_ok()).for_each(|run| self.ask(set, run));
    }

    /// At the end: leaders write down what came of runs, and run once more what is due a day later.
    pub fn sweep_up(&mut self) {
        for _ in 0..2 {
            self.come_to_rest(&[]);
            for set in SETS {
                self.sweep(set, JUST_SO);
                let later = self.state(set).last_time() + DAY_NS;
                self.entry(set, later, false);
            }
        }
    }

    /// Counts what has come of sweeps in an entry.
    pub(super) fn note_sweep(&mut self, command: &Command, outcome: &Outcome) {
        if outcome.replayed {
            if is_run(command) {
                self.saw("run again");
            }
            return;
        }
        match (command, &outcome.result) {
            (Command::SetSweep(_), Ok(_)) => self.saw("sweep set"),
            (Command::RemoveSweep { .. }, Ok(_)) => self.saw("sweep removed"),
            (Command::EndRun { .. }, Ok(Effect::Ran(end))) => self.saw(match end {
                RunEnd::Nothing => "run of nothing",
                RunEnd::Booked => "run booked elsewhere",
                RunEnd::Refused(Rejection::SetUnavailable { .. }) => "run given up",
                RunEnd::Refused(_) => "run refused",
            }),
            (Command::EndRun { .. }, Err(_)) => self.saw("end out of place"),
            (command, result) if is_run(command) => self.saw(match result {
                Ok(Effect::Posted(_)) => "run booked",
                Ok(Effect::Begun) => "run begun",
                Ok(Effect::Buffered { .. }) => "run paid without asking",
                Err(Rejection::StepOutOfPlace { .. }) => "run out of place",
                Err(Rejection::RequestMismatch { .. }) => "run of another amount",
                _ => "run decided",
            }),
            _ => {}
        }
    }

    /// A sweep waits for nothing that has ended.
    pub(super) fn check_sweeps(&self) {
        for (set, twin) in &self.sets {
            let state = &twin.books.short;
            let open = state.sweeps().iter().filter_map(|sweep: &Sweep| sweep.open);
            for open in open {
                assert_eq!(open.set, *set, "a sweep's own set decides on its runs");
                let (command, _) =
                    state.original(open.position).expect("no fault").expect("it is remembered");
                assert!(is_run(&command), "{command:?}");
            }
        }
    }
}

/// The set where an account lives.
fn home(account: &str) -> u32 {
    ACCOUNTS.iter().find(|(id, ..)| *id == account).expect("one of them").1
}

/// Within the set, or over two.
pub(super) fn carried(transaction: Transaction, set: u32) -> Command {
    let sets: Vec<u32> = transaction.legs.iter().map(|leg| home(&leg.account)).collect();
    match sets.iter().all(|other| *other == set) {
        true => Command::Transaction(transaction),
        false => Command::Begin(Begin { transaction, sets }),
    }
}

/// Whether it is a run of a sweep, which is asked for under another number once it has been given up.
pub(super) fn is_run(command: &Command) -> bool {
    let (Command::Transaction(transaction) | Command::Begin(Begin { transaction, .. })) = command else {
        return false;
    };
    transaction.request_id.starts_with("~sweep-")
}

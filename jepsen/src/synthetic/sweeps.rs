//! Sweeps in a made-up history: between the clients' calls the sets run what is due, some turns late, and what came of each run is
//! written down.

use std::collections::BTreeSet;

use futures::FutureExt;
use twinset_ledger::sweep::{RunEnd, Timing, run_id};
use twinset_ledger::{Command, Effect, Outcome, TransactionId};

use super::past::News;
use super::{Log, Maker, PROCESSES, TICK_NS, unit};
use crate::books::sweeps::{look_up, removal};
use crate::history::marks::Mark;
use crate::history::sweeps::{Refused, Swept, Terms, Turned, When};
use crate::history::{Answer, AsOf, Ask, History, Name, Transfer};

/// Turns between two looks at what is due.
const PACE: u64 = 4;

/// A sweep that is due.
struct Due {
    sweep: TransactionId,
    account: u32,
    to: u32,
    run: u32,
    cents: i64,
}

impl Maker {
    /// Sets look at their sweeps now and then.
    pub(super) fn sweep(&mut self) {
        self.looks += 1;
        if self.looks.is_multiple_of(PACE) {
            self.sweep_all();
        }
    }

    /// Runs all that is due; gives how many.
    fn sweep_all(&mut self) -> usize {
        let due: Vec<Due> = self.logs.iter().flat_map(|log| log.due(&self.history)).collect();
        for one in &due {
            self.run_of(one);
        }
        due.len()
    }

    fn run_of(&mut self, due: &Due) {
        let Due { sweep, account, to, run, cents } = *due;
        if cents > 0 {
            let legs = vec![(account, cents), (to, -cents)];
            let (id, scope, marks) = (run_id(sweep, run), Some(account), vec![(0, Mark::Withdrawal)]);
            self.answer(&Ask::Transfer(Transfer { id, scope, label: None, capture: None, marks, legs }));
        }
        let id = self.history.accounts[account as usize].clone();
        let log = &self.logs[sweep.set as usize - 1];
        let is_open = log.model.course(&id, log.time_ns).is_some_and(|course| course.is_open);
        if cents <= 0 || is_open {
            let ended = self.step(sweep.set, &Command::EndRun { account: id, sweep, run });
            let Outcome { position, result: Ok(Effect::Ran(end)), .. } = ended else {
                unreachable!("{ended:?} ends no run")
            };
            if let RunEnd::Refused(why) = end {
                let code = why.code().to_owned();
                let refused = Some(Refused { sweep: Name(sweep), account, run, code });
                let log = &mut self.logs[sweep.set as usize - 1];
                log.tell(position, News { kind: "sweep_refused", refused, ..News::default() });
            }
        }
    }

    /// Nothing is due any more, and there are no sweeps any more.
    pub(super) fn stop_sweeps(&mut self) {
        let asked = self.history.ops.iter().filter_map(|op| match op.ask {
            Ask::SetSweep { account, .. } => Some(account),
            _ => None,
        });
        let accounts: BTreeSet<u32> = asked.collect();
        if !accounts.is_empty() {
            self.sweep_all();
        }
        for account in accounts {
            self.now_ns += TICK_NS * PROCESSES as u64;
            self.ask((99, 0), removal(account), None);
        }
    }

    /// Every run is looked up, and made up into what its set asked of itself.
    pub(super) fn look_runs_up(&mut self) {
        for set in 0..self.logs.len() {
            let events = self.logs[set].events.clone();
            let ask = async |ask: &Ask| {
                self.now_ns += TICK_NS * PROCESSES as u64;
                self.ask((99, 0), ask.clone(), None)
            };
            look_up(&events, ask).now_or_never().expect("nothing is waited for");
        }
    }
}

impl Log {
    fn due(&self, history: &History) -> Vec<Due> {
        let number =
            |id: &str| history.accounts.iter().position(|known| known == id).expect("it is known") as u32;
        let sweeps = self.model.sweeps();
        let accounts = self.model.records();
        let due = sweeps.iter().filter_map(|sweep| {
            let own = &accounts[sweep.account as usize];
            let course = self.model.course(&own.id, self.time_ns).filter(|course| course.is_due)?;
            let cents = i64::try_from(course.movable * unit(own.scale)).expect("small");
            let (account, to) = (number(&own.id), number(&sweep.to));
            Some(Due { sweep: sweep.id, account, to, run: course.runs + 1, cents })
        });
        due.collect()
    }

    /// The sweep of an account, or all.
    pub(super) fn swept(&self, ask: &Ask, history: &History) -> Answer {
        let number =
            |id: &str| history.accounts.iter().position(|known| known == id).expect("it is known") as u32;
        let accounts = self.model.records();
        let swept = self.model.sweeps().into_iter().map(|sweep| {
            let own = &accounts[sweep.account as usize];
            let cents = |minor: i128| i64::try_from(minor * unit(own.scale)).expect("small");
            let when = match sweep.timing {
                Timing::Every { seconds, .. } => When::Every(seconds),
                Timing::Above { minor } => When::Above(cents(minor)),
                Timing::Daily => When::Daily,
            };
            Swept {
                sweep: Name(sweep.id),
                account: number(&own.id),
                terms: Terms { to: number(&sweep.to), keep: cents(sweep.keep), when },
                runs: sweep.runs,
                next_ns: sweep.next_ns,
                open: sweep.open.map(Name),
            }
        });
        let as_of = AsOf::now(self.place());
        let found: Vec<Swept> = match ask {
            Ask::ReadSweep { account, .. } => swept.filter(|one| one.account == *account).collect(),
            _ => swept.collect(),
        };
        match ask {
            Ask::ReadSweep { .. } if found.is_empty() => Answer::Absent { as_of },
            _ => Answer::Swept { as_of, found },
        }
    }
}

/// What the event of a command says of a sweep.
pub(super) fn turned(ask: &Ask) -> Option<Turned> {
    match ask {
        Ask::SetSweep { account, terms, .. } => {
            let every = match terms.when {
                When::Every(seconds) => Some(seconds),
                When::Above(_) | When::Daily => None,
            };
            Some(Turned { account: *account, every })
        }
        Ask::RemoveSweep { account, .. } => Some(Turned { account: *account, every: None }),
        _ => None,
    }
}

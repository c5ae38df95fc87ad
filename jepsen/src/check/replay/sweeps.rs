//! Sweeps in the replay. Their runs stand in the log like what clients ask for, as they were looked up, and the model says whether
//! each was due and may have moved so much. Of two things nobody is told where they are: that there was nothing to move, which
//! counts as a run, and that what a run over several sets came to was written down. The first is put where it first could be, where a
//! later run has a number that needs it; the second where the run was decided.

use std::collections::BTreeMap;

use rust_decimal::Decimal;
use twinset_ledger::sweep::{Schedule, SetSweep};
use twinset_ledger::{Command, Position, TransactionId};

use super::super::model::{self, Course};
use super::super::witness::{Body, Call, Decided, Witness, calls, schedule};
use super::Run;
use crate::books::sweeps::THE_END;
use crate::history::sweeps::{Swept, Terms};
use crate::history::{Ask, History, run_of};

/// What is known of a set's sweeps before its replay.
#[derive(Default)]
pub struct Known {
    /// Accounts that somebody has swept.
    accounts: Vec<u32>,
    /// The numbers of the runs of each sweep, in order.
    runs: BTreeMap<TransactionId, Vec<u32>>,
}

impl Known {
    /// What a witness has of a set.
    pub fn of(witness: &Witness<'_>, set: u32) -> Self {
        let mut known = Known::default();
        for call in calls(witness.history) {
            if let Body::Other(Ask::SetSweep { account, .. }) = call.body {
                let is_own = witness.history.set_of(*account) == Some(set);
                known.accounts.extend(Some(*account).filter(|_| is_own));
            }
            if let Some((sweep, run)) = run_of(call.body.id()).filter(|(sweep, _)| sweep.set == set) {
                known.runs.entry(sweep).or_default().push(run);
            }
        }
        known.accounts.sort_unstable();
        known.accounts.dedup();
        known.runs.values_mut().for_each(|runs| runs.sort_unstable());
        known
    }

    /// The last known run up to one, and the first behind it.
    fn around(&self, sweep: TransactionId, run: u32) -> (u32, Option<u32>) {
        let runs = self.runs.get(&sweep).map(Vec::as_slice).unwrap_or_default();
        let behind = runs.partition_point(|known| *known <= run);
        (behind.checked_sub(1).map_or(0, |last| runs[last]), runs.get(behind).copied())
    }
}

impl<'h> Run<'_, 'h> {
    /// Runs that found nothing to move, up to a ledger time, where known ones need them.
    pub(super) fn idle_runs(&mut self, until_ns: u64) {
        for at in 0..self.sweeps.accounts.len() {
            let account = self.sweeps.accounts[at];
            while self.idle_run(account, until_ns) {}
        }
    }

    fn idle_run(&mut self, account: u32, until_ns: u64) -> bool {
        let id = &self.witness.history.accounts[account as usize];
        let Some(course) = self.model.course(id, self.time_ns) else { return false };
        let (sweep, run, from_ns) = (course.id, course.runs + 1, self.time_ns.max(course.not_before));
        let is_missing = self.sweeps.around(sweep, course.runs).1.is_some_and(|next| next > run);
        if !is_missing || course.is_open || from_ns >= until_ns {
            return false;
        }
        let promised = self.promise(&[account]);
        let command = Command::EndRun { account: id.clone(), sweep, run };
        self.unseen -= 1;
        let ended = self.model.apply_at(Position(self.unseen), from_ns, &command);
        self.forgive(promised);
        ended.answer == model::Answer::Done
    }

    /// A refusal was written down.
    pub(super) fn end_run(&mut self, decided: &Decided) {
        let call = self.witness.call(decided.call);
        let Some(command) = end_of(&call, self.witness.history) else { return };
        let place = self.free(decided.position);
        let came = self.model.apply_at(place, decided.place.time_ns, &command);
        self.replay.answers.checked += 1;
        if came.answer != model::Answer::Done {
            self.replay.answers.wrong(|| {
                format!("{:?} was ended at {:?}; the model says {:?}", call.body, decided.place, came.answer)
            });
        }
    }

    /// What is a run of a sweep was booked over several sets: soon that is written down.
    pub(super) fn end_booked_run(&mut self, decided: &Decided) {
        let call = self.witness.call(decided.call);
        if let Some(command) = end_of(&call, self.witness.history) {
            self.unseen -= 1;
            self.model.apply_at(Position(self.unseen), decided.place.time_ns, &command);
        }
    }

    /// Nobody pays any more, and all sets serve: what is above its threshold then was forgotten.
    pub(super) fn left_undone(&mut self, decided: &Decided, call: &Call<'h>) {
        let Body::Other(Ask::RemoveSweep { id, account }) = call.body else { return };
        if id != THE_END {
            return;
        }
        self.replay.swept.checked += 1;
        let promised = self.promise(&[*account]);
        let id = &self.witness.history.accounts[*account as usize];
        let course = self.model.course(id, decided.place.time_ns);
        let is_due = |course: &Course<'_>| {
            course.is_due && course.movable > 0 && matches!(course.asked.schedule, Schedule::Above { .. })
        };
        if let Some(course) = course.filter(is_due) {
            let (sweep, movable) = (course.id, course.movable);
            self.replay.swept.wrong(|| {
                format!("sweep {sweep} of {id} has left {movable} cents undone, by {:?}", decided.place)
            });
        }
        self.forgive(promised);
    }

    /// Whether a sweep may be shown so here.
    pub(super) fn shows_sweep(&self, told: &Swept, time_ns: u64) -> bool {
        let id = &self.witness.history.accounts[told.account as usize];
        let Some(course) = self.model.course(id, time_ns) else { return false };
        let (last, next) = self.sweeps.around(course.id, course.runs);
        let idles = matches!(course.asked.schedule, Schedule::Every { .. } | Schedule::Daily);
        let runs = match idles {
            true => told.runs >= last && next.is_none_or(|next| told.runs < next),
            false => told.runs == course.runs,
        };
        let open = told.open.map(|name| name.0);
        let is_the_last = told.runs == course.runs;
        told.sweep.0 == course.id
            && as_asked(&told.terms, course.asked, self.witness.history)
            && runs
            && (open.is_none() || entry(open) == entry(course.last))
            && (!course.is_open || open.is_some())
            && (!is_the_last || !course.by_schedule || told.next_ns == course.not_before)
    }

    /// Whether the sweeps of the set are these.
    pub(super) fn shows_sweeps(&self, told: &[Swept], time_ns: u64) -> bool {
        let all = self.model.sweeps();
        all.iter().map(|sweep| sweep.id).eq(told.iter().map(|told| told.sweep.0))
            && told.iter().all(|told| self.shows_sweep(told, time_ns))
    }

    /// What the model has of an account's sweep.
    pub(super) fn sweep_in_words(&self, account: u32) -> String {
        format!("{:?}", self.model.course(&self.witness.history.accounts[account as usize], self.time_ns))
    }

    /// Whether an account has no sweep here.
    pub(super) fn lacks_sweep(&self, account: u32) -> bool {
        self.model.course(&self.witness.history.accounts[account as usize], self.time_ns).is_none()
    }
}

/// The set and the entry of a run: where in its entry one stands that was refused, nobody is told.
fn entry(run: Option<TransactionId>) -> Option<(u32, u64)> {
    run.map(|run| (run.set, run.position.index()))
}

/// What writes down how a run has ended; None: it is none.
fn end_of(call: &Call<'_>, history: &History) -> Option<Command> {
    let Body::Transfer(transfer) = call.body else { return None };
    let (sweep, run) = run_of(&transfer.id)?;
    Some(Command::EndRun { account: history.accounts[transfer.scope? as usize].clone(), sweep, run })
}

fn as_asked(told: &Terms, asked: &SetSweep, history: &History) -> bool {
    let to = history.accounts.get(told.to as usize);
    to == Some(&asked.to) && Decimal::new(told.keep, 2) == asked.keep && schedule(told.when) == asked.schedule
}

//! What clients asked and what they were told: the raw material of every check. Plain data, sends and judges nothing.
//! [`Recorder`] writes it as it happens, [`read`] gives it back; what stands in it is [`event`]'s business.
//!
//! An operation is an `invoke` and an end: `ok`, `rejected`, `not_applied` or `unknown`. One process (a client's number) has
//! one operation at a time, and is not used again after an unknown end. Faults, changes of leaders and the phases of a run
//! stand between them, all on one monotonic clock.

mod answer;
pub mod buffered;
pub mod event;
mod found;
pub mod groups;
pub mod holdings;
pub mod holds;
pub mod label;
pub mod marks;
mod place;
mod read;
mod recorder;
pub mod records;
pub mod restrictions;
mod runs;
pub mod sweeps;
mod transfer;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use event::{
    Answer, AsOf, Ask, End, Event, Figures, Found, InDoubt, Invoke, Level, Meta, Mode, Name, Part, Phase,
    Place, Retry, Transfer, VerifyLine,
};
pub use read::{Error, read};
pub use recorder::{Recorder, Sink};
pub use runs::run_of;

use crate::nemesis::{Evidence, Fault};
use holdings::Holdings;
use records::Recorded;

/// One operation of one process.
#[derive(Clone, Debug, PartialEq)]
pub struct Op {
    /// Who asked.
    pub process: u32,
    /// Number of the site that it asked from.
    pub site: u8,
    /// Number of the router that was asked.
    pub router: u8,
    /// Before it was sent, in nanoseconds on the history's clock.
    pub begin_ns: u64,
    /// After it was answered or given up; none: it never was.
    pub end_ns: Option<u64>,
    /// Why it was asked again, if it was.
    pub retry: Option<Retry>,
    /// What was asked.
    pub ask: Ask,
    /// What came back.
    pub answer: Answer,
}

/// A fault with its times in nanoseconds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FaultSpan {
    /// What was done.
    pub fault: Fault,
    /// Before it began.
    pub begin_ns: u64,
    /// When all of it was in force; none: nobody has noted that.
    pub acts_ns: Option<u64>,
    /// When all of it was undone; none: nobody has noted that.
    pub undone_ns: Option<u64>,
    /// After it was undone and the cluster was whole; none: it never was.
    pub end_ns: Option<u64>,
    /// What was seen of it.
    pub evidence: Option<Evidence>,
}

/// Another node leads a set.
#[derive(Clone, Debug, PartialEq)]
pub struct LeaderChange {
    /// When it was seen, in nanoseconds.
    pub at_ns: u64,
    /// The set.
    pub set: u32,
    /// The node; empty: none.
    pub node: String,
}

/// All of a run.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// What was run.
    pub meta: Meta,
    /// Account ids by number.
    pub accounts: Vec<String>,
    /// In the order of their begins.
    pub ops: Vec<Op>,
    /// What sets have asked of themselves, by what was found of it: see [`run_of`].
    pub runs: Vec<Op>,
    /// In the order of their begins.
    pub faults: Vec<FaultSpan>,
    /// In their order.
    pub leaders: Vec<LeaderChange>,
    /// What the control set has put on record, in its order.
    pub records: Vec<Recorded>,
    /// When each phase began, in nanoseconds.
    pub phases: Vec<(Phase, u64)>,
    /// What the replicas of the sets said of themselves in the end.
    pub verify: Vec<VerifyLine>,
    /// What each replica itself held in the end.
    pub holdings: Vec<Holdings>,
    /// What was open between sets before everything was read in the end; None: nobody asked.
    pub in_doubt: Option<Vec<InDoubt>>,
    /// What went wrong around the traffic: unlisted lines in logs, processes that died by themselves.
    pub notes: Vec<String>,
    /// The file ends in the middle of a line.
    pub cut: bool,
}

/// The set of an account, its own accounts included.
pub fn set_of(slots: &[u32], account: &str) -> Option<u32> {
    match own_account(account) {
        Some((set, _)) => Some(set),
        None => slots.get(usize::from(twinset_ledger::slot_of(account))).copied(),
    }
}

/// Set and currency of a clearing account; None for any other.
pub fn clearing(account: &str) -> Option<(u32, &str)> {
    named_by_set(account, "@clearing-")
}

/// Set and currency of a suspense account; None for any other. No client can read one.
pub fn suspense(account: &str) -> Option<(u32, &str)> {
    named_by_set(account, "@suspense-")
}

/// Whether clients can read the account of that id by itself.
pub fn is_readable(account: &str) -> bool {
    suspense(account).is_none() && !groups::is_group(account)
}

/// Set and currency of an account that a set has opened by itself; None for any other.
pub fn own_account(account: &str) -> Option<(u32, &str)> {
    clearing(account).or_else(|| suspense(account))
}

fn named_by_set<'a>(account: &'a str, prefix: &str) -> Option<(u32, &'a str)> {
    let (set, currency) = account.strip_prefix(prefix)?.split_once(':')?;
    Some((set.parse().ok()?, currency))
}

impl History {
    /// When a phase began.
    pub fn phase(&self, phase: Phase) -> Option<u64> {
        self.phases.iter().find(|(known, _)| *known == phase).map(|(_, at)| *at)
    }

    /// The set of each account, where the slots are known.
    pub fn set_of(&self, account: u32) -> Option<u32> {
        set_of(&self.meta.slots, self.accounts.get(account as usize)?)
    }

    /// The set of each leg of a transaction, if there are several.
    pub fn sets_across(&self, transfer: &Transfer) -> Option<Vec<u32>> {
        let sets: Option<Vec<u32>> = transfer.legs.iter().map(|(account, _)| self.set_of(*account)).collect();
        sets.filter(|sets| sets.iter().any(|set| *set != sets[0]))
    }

    /// Where processes do two things at a time, or go on after an unknown end: such a history proves nothing.
    pub fn malformed(&self) -> Vec<String> {
        let mut last: BTreeMap<u32, (usize, u64, bool)> = BTreeMap::new();
        let mut found = Vec::new();
        for (number, op) in self.ops.iter().enumerate() {
            if let Some((before, end, open)) = last.get(&op.process) {
                if *open {
                    found.push(format!("process {} is used after the unknown end of {before}", op.process));
                } else if op.begin_ns < *end {
                    found.push(format!("process {} begins {number} before {before} ends", op.process));
                }
            }
            let open = op.end_ns.is_none() || op.answer.is_open();
            last.insert(op.process, (number, op.end_ns.unwrap_or(u64::MAX), open));
        }
        found
    }
}

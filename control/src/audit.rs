//! The audit log's tail in the catalogue: who did what, when, why, and what came of it. Append-only: nothing here
//! changes or removes a record except that the oldest leave the tail; `total` counts them for ever.

use serde::{Deserialize, Serialize};

use crate::catalogue::Durability;
use crate::durability::Policy;
use crate::plan;

/// Records kept in the catalogue; older ones only count.
pub const TAIL_RECORDS_MAX: usize = 256;

/// The newest records and the number of all there ever were.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Audit {
    /// Records ever written.
    pub total: u64,
    /// The newest of them, newest last.
    pub tail: Vec<Record>,
}

/// One thing that was done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// Its number, from 1, without gaps.
    pub no: u64,
    /// The control set's log index that did it.
    pub index: u64,
    /// The leader's time when it proposed it, nanoseconds since 1970.
    pub time_unix_ns: u64,
    /// Who asked for it.
    pub who: String,
    /// Why.
    pub why: String,
    /// What was asked for.
    pub what: Action,
    /// What came of it.
    pub outcome: Outcome,
}

/// What was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Action {
    /// To move a set's home.
    Switch {
        /// The set.
        set: u32,
        /// The switch's id.
        id: u64,
        /// The home before.
        from: String,
        /// The home wanted.
        to: String,
    },
    /// To record a set's durability.
    Durability {
        /// The set.
        set: u32,
        /// As recorded before.
        from: Durability,
        /// As recorded now.
        to: Durability,
        /// The greatest index known to be safe.
        last_safe_index: u64,
    },
    /// To choose whether a set may go on with one site alone.
    Policy {
        /// The set.
        set: u32,
        /// The policy wanted.
        policy: Policy,
    },
    /// To let a set whose majority is lost go on in one site.
    Recovery {
        /// The set.
        set: u32,
        /// The recovery's id.
        id: u64,
        /// The site that survives.
        site: String,
    },
    /// To let a node throw away what a lost replica holds.
    Release {
        /// The set.
        set: u32,
        /// The lost replica.
        replica: u64,
    },
    /// To give a set another copy.
    Place {
        /// The set.
        set: u32,
        /// Its id.
        replica: u64,
        /// Where it stands.
        node: String,
    },
    /// To give a learner its vote.
    Promote {
        /// The set.
        set: u32,
        /// The learner.
        replica: u64,
    },
    /// To record where a node is reached.
    Node {
        /// The node.
        node: String,
    },
    /// To define a group of accounts.
    Group {
        /// Its id.
        group: String,
        /// How many accounts it has.
        parts: usize,
    },
    /// To carry out a plan.
    Plan {
        /// Its id.
        id: u64,
        /// What it is for.
        kind: plan::Kind,
    },
    /// To hold a drill.
    Drill {
        /// Its id.
        id: u64,
        /// The scenario's name.
        scenario: String,
        /// The set that it is about.
        set: u32,
    },
    /// To stop a drill.
    StopDrill {
        /// Its id.
        id: u64,
    },
    /// To halt all plans.
    StopPlans {
        /// Those that were running.
        plans: Vec<u64>,
    },
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Outcome {
    /// It is under way; another record tells its end.
    Begun,
    /// It is done.
    Done,
    /// It was given up and everything is as before.
    Aborted {
        /// Why it was given up.
        reason: String,
    },
}

impl Audit {
    /// Appends a record; its number is given here. The oldest record leaves a full tail.
    pub(crate) fn append(&mut self, mut record: Record) {
        self.total += 1;
        record.no = self.total;
        if self.tail.len() >= TAIL_RECORDS_MAX {
            self.tail.drain(..=self.tail.len() - TAIL_RECORDS_MAX);
        }
        self.tail.push(record);
    }
}

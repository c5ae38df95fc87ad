//! The audit log: who did what, when, why, and what came of it. Append-only: nothing here changes or removes a
//! record. The catalogue, which goes to everybody, has the newest records and the [chain](crate::chain)'s newest
//! hash, which stands for all of them; the control set's voters keep every record beside it, as [`Audit::since`]
//! gives them.

use serde::{Deserialize, Serialize};

use crate::catalogue::Durability;
use crate::chain::{Hash, Head, Link};
use crate::durability::Policy;
use crate::plan;
use crate::proof::Proof;

/// Records kept in the catalogue; the voters have the older ones.
pub const TAIL_RECORDS_MAX: usize = 256;

/// The first rules that chain records.
const CHAINED_RULES: u16 = 2;

/// The newest records, and what stands for all there ever were.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Audit {
    /// Records ever written.
    pub total: u64,
    /// None until the first record under rules that chain them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chain: Option<Chain>,
    /// The newest of them, newest last.
    pub tail: Vec<Record>,
}

/// How far the chain goes: from its first record to the newest one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Chain {
    /// The number of its first record: 1, unless earlier ones had left the tail before records were chained.
    pub first: u64,
    /// The hash of the newest record.
    pub hash: Hash,
}

/// How far the log went at some time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    total: u64,
    chain: Option<Chain>,
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
    /// What speaks for that.
    #[serde(default, skip_serializing_if = "Proof::is_declared")]
    pub proof: Proof,
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
    /// To let the control set go on without its majority.
    RecoverControl {
        /// The plan that was confirmed.
        plan: String,
        /// Its incarnation since then.
        incarnation: u32,
        /// Its replicas since then.
        survivors: Vec<u64>,
    },
    /// To go on without a survivor that died before it was fenced.
    GiveUp {
        /// The set.
        set: u32,
        /// The recovery's id.
        id: u64,
        /// The survivor.
        replica: u64,
    },
    /// To let a recovered set answer clients, brought together with its peers.
    Reconcile {
        /// The set.
        set: u32,
        /// The recovery's id.
        id: u64,
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
    /// To let a replica take the place of another one.
    Replace {
        /// The set.
        set: u32,
        /// The replacement's id.
        id: u64,
        /// The replica that leaves.
        old: u64,
        /// The one that takes its place.
        new: u64,
        /// Where that one stands.
        node: String,
    },
    /// To let that one leave again.
    GiveUpReplacement {
        /// The set.
        set: u32,
        /// The replacement's id.
        id: u64,
        /// The replica that is to leave.
        replica: u64,
    },
    /// To take a node out of the cluster.
    RemoveNode {
        /// The node.
        node: String,
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
    /// To let a node harm itself for a drill.
    Fault {
        /// The node.
        node: String,
        /// The fault's id there.
        id: u64,
        /// What it is.
        fault: String,
        /// How long it acts, in milliseconds: it ends then by itself, and no record says so.
        deadline_ms: u32,
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

impl Record {
    /// The bytes that are hashed: its JSON, fields in the order above. Part of what never changes: a field that is
    /// added must be left out where it has its default.
    pub fn canonical(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("plain data with string keys has a JSON form")
    }
}

impl Audit {
    /// Appends a record of a cluster; its number is given here. The oldest record leaves a full tail. A log that was
    /// kept without a chain gets one with the first entry under rules that have it, from the oldest record on that is
    /// still there: the entry says so, and not the build that applies it, as voters change their builds one after the
    /// other.
    pub(crate) fn append(&mut self, rules: u16, cluster_id: &str, mut record: Record) {
        let before = self.mark();
        self.total += 1;
        record.no = self.total;
        if self.tail.len() >= TAIL_RECORDS_MAX {
            self.tail.drain(..=self.tail.len() - TAIL_RECORDS_MAX);
        }
        self.tail.push(record);
        if self.chain.is_none() && rules < CHAINED_RULES {
            return;
        }
        let first = self.tail[0].no;
        let first = self.chain.map_or(first, |chain| chain.first);
        let links = self.follow(before, first, cluster_id);
        let hash = links.last().expect("a record was appended").hash;
        self.chain = Some(Chain { first, hash });
    }

    /// Whether that is among the newest records.
    pub(crate) fn has(&self, what: &Action, outcome: &Outcome) -> bool {
        self.tail.iter().any(|record| record.what == *what && record.outcome == *outcome)
    }

    /// How far it goes now, for [`Audit::since`].
    pub fn mark(&self) -> Mark {
        Mark { total: self.total, chain: self.chain }
    }

    /// The number and hash of the newest record; before the first one, of what it will follow.
    pub fn head(&self, cluster_id: &str) -> Head {
        let hash = self.chain.map_or_else(|| Hash::genesis(cluster_id), |chain| chain.hash);
        Head { number: self.chain.map_or(0, |_| self.total), hash }
    }

    /// The number of the chain's first record, or of the one that will be.
    pub fn first(&self) -> u64 {
        self.chain.map_or(1, |chain| chain.first)
    }

    /// What the history gets for what one command has appended since `before`.
    pub fn since(&self, before: Mark, cluster_id: &str) -> Vec<Link> {
        self.chain.map_or_else(Vec::new, |chain| self.follow(before, chain.first, cluster_id))
    }

    fn follow(&self, before: Mark, first: u64, cluster_id: &str) -> Vec<Link> {
        let (from, mut hash) = match before.chain {
            Some(chain) => (before.total + 1, chain.hash),
            None => (first, Hash::genesis(cluster_id)),
        };
        let link = |record: &Record| {
            let (number, record) = (record.no, record.canonical());
            hash = hash.next(&record);
            Link { number, record, hash }
        };
        self.tail.iter().filter(|record| record.no >= from).map(link).collect()
    }
}

//! The lines of a history: one JSON object each, what happened by its name. Amounts are whole cents, in every currency hundredths of what
//! it is called by, times nanoseconds on the
//! history's clock, accounts numbers that an `account` line has named before. What is there is never renamed: a change is a
//! new [`FORMAT`].

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::FaultSpan;
pub use super::found::{Figures, Found, InDoubt, Part};
use super::holdings::Holdings;
pub use super::place::{AsOf, Name, Place};
pub use super::transfer::Transfer;

use super::buffered::{InTransit, Suspended};
use super::groups::FoundGroup;
use super::holds::{FoundHold, Held, Line, Told};
use super::records::Recorded;
use super::restrictions::{FoundRestriction, Restricted, RestrictionState};
use super::sweeps::{Swept, Terms};
use crate::nemesis::{Evidence, Fault};

/// The format that this build writes and reads.
pub const FORMAT: u32 = 1;

/// The first line: what was run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Meta {
    /// [`FORMAT`].
    pub format: u32,
    /// Where all choices come from.
    pub seed: u64,
    /// The workloads by name.
    pub workloads: Vec<String>,
    /// The nemeses by name.
    pub nemeses: Vec<String>,
    /// The commit of the checkout that the run was started in; empty outside of one.
    pub commit: String,
    /// Cores and memory.
    pub machine: String,
    /// The sets that clients use.
    pub sets: Vec<u32>,
    /// The owning set of every slot.
    pub slots: Vec<u32>,
    /// The sites that clients are in, by number.
    pub sites: Vec<String>,
    /// The routers, by number.
    pub routers: Vec<String>,
    /// The site of each node that holds accounts, by its name.
    #[serde(default)]
    pub nodes: BTreeMap<String, String>,
    /// The nodes that hold a replica of each set.
    #[serde(default)]
    pub replicas: BTreeMap<u32, Vec<String>>,
    /// The last log index of each incarnation of a set before the one that it has in the end; of those that were recovered.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub lives: BTreeMap<u32, Vec<u64>>,
    /// Whether sets may go on with one site alone, and are recovered when they have lost the other.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub go_on: bool,
}

impl Meta {
    /// The incarnation of what a set was given at a log index.
    pub fn incarnation_at(&self, set: u32, index: u64) -> u32 {
        let earlier = self.lives.get(&set).map_or(0, |ends| ends.partition_point(|&end| end < index));
        1 + u32::try_from(earlier).expect("a set has few lives")
    }
}

/// One line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// The first line.
    Meta(Meta),
    /// An account gets its number: the next one.
    Account {
        /// Its id.
        id: String,
    },
    /// An operation begins.
    Invoke(Invoke),
    /// It ends.
    End(End),
    /// A fault begins.
    FaultBegin {
        /// Before it is done.
        at_ns: u64,
        /// What is done.
        fault: Fault,
    },
    /// The last fault is in force, for as long as it says from here on.
    FaultActs {
        /// When everything of it was done.
        at_ns: u64,
    },
    /// The last fault is undone; the cluster may have to recover.
    FaultUndone {
        /// After everything of it was undone.
        at_ns: u64,
    },
    /// The last fault is undone, and the cluster whole.
    FaultEnd {
        /// After that.
        at_ns: u64,
        /// What was seen of it.
        evidence: Evidence,
    },
    /// A fault that was over when it was written: where faults overlap, their begins and ends cannot be told apart.
    Fault(FaultSpan),
    /// Another node leads a set.
    Leader {
        /// When it was seen.
        at_ns: u64,
        /// The set.
        set: u32,
        /// The node; empty: none.
        node: String,
    },
    /// The control set has put something on record.
    Recorded(Recorded),
    /// A set was recovered: the last log index of each of its incarnations before the one that it has now.
    Lives {
        /// The set.
        set: u32,
        /// In their order.
        ends: Vec<u64>,
    },
    /// A part of the run begins.
    Phase {
        /// When.
        at_ns: u64,
        /// Which.
        phase: Phase,
    },
    /// What the replicas said of themselves.
    Verify {
        /// One per check.
        lines: Vec<VerifyLine>,
    },
    /// What one replica itself holds in the end.
    Holdings(Holdings),
    /// What the leaders of all sets have open between sets, before everything is read in the end.
    InDoubt {
        /// None: nothing is under way.
        open: Vec<InDoubt>,
    },
    /// Something that should not have happened around the traffic.
    Note {
        /// In words.
        text: String,
    },
}

/// What comparing the replicas of a set gave.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerifyLine {
    /// `set 1`, `all sets`.
    pub subject: String,
    /// Whether it holds.
    pub clean: bool,
    /// The figures, or what is wrong.
    pub detail: String,
}

/// The parts of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Accounts are opened.
    Setup,
    /// Clients work, faults come and go.
    Traffic,
    /// All faults are undone, clients go on.
    Healed,
    /// Clients have stopped; what they left open is asked again.
    Resolve,
    /// Everything is read.
    Final,
    /// Everything was read.
    Done,
}

/// An operation begins.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Invoke {
    /// Its number, from 0.
    pub op: u64,
    /// Before it is sent.
    pub at_ns: u64,
    /// Who asks.
    pub process: u32,
    /// Number of the site.
    pub site: u8,
    /// Number of the router.
    pub router: u8,
    /// Why it is asked again, if it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<Retry>,
    /// What is asked.
    pub ask: Ask,
}

/// An operation ends.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct End {
    /// Its number.
    pub op: u64,
    /// After it was answered or given up.
    pub at_ns: u64,
    /// What came back.
    pub answer: Answer,
}

/// Why something is asked again with the same request id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Retry {
    /// The same once more, through another router.
    Again,
    /// At the same time through another router.
    Beside,
    /// After a set got another leader.
    AfterFailover,
    /// With other content: never to be done.
    OtherBody,
    /// After the traffic, to learn what became of it.
    Resolving,
}

/// Linearizable or stale.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Everything that was answered before.
    Linearizable,
    /// A state of the past.
    Stale,
}

/// Which legs a freeze refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the words say it")]
pub enum Mode {
    Debit,
    Credit,
    Both,
}

/// Legs: account, and cents: above zero a debit, below a credit.
pub type Leg = (u32, i64);

/// The currency of accounts that name none.
pub const EURO: &str = "EUR";

fn euro() -> String {
    EURO.to_owned()
}

fn is_euro(currency: &str) -> bool {
    currency == EURO
}

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names of the fields are those of the API")]
pub enum Ask {
    /// Open an account.
    Open {
        id: String,
        account: u32,
        subject: String,
        #[serde(default = "euro", skip_serializing_if = "is_euro")]
        currency: String,
        limit: Option<i64>,
    },
    /// Change its floor.
    SetLimit { id: String, account: u32, limit: Option<i64> },
    /// Freeze or, not `on`, unfreeze it.
    Freeze { id: String, account: u32, mode: Mode, on: bool },
    /// Close it.
    Close { id: String, account: u32 },
    /// Book a transaction.
    Transfer(Transfer),
    /// Ask what would come of a transaction.
    DryRun(Transfer),
    /// Take one back, whole or so much of it, or parts of its legs: which leg, and how much.
    Reverse {
        id: String,
        transaction: Name,
        cents: Option<i64>,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        parts: Vec<(u16, i64)>,
    },
    /// Book many, each for itself or, if it is `atomic`, all or none.
    Batch {
        items: Vec<Transfer>,
        with_postings: bool,
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        atomic: bool,
    },
    /// Set an amount aside.
    PlaceHold { id: String, account: u32, cents: i64, expires_ns: Option<u64> },
    /// Give a part of a hold back, or all that is left.
    ReleaseHold { id: String, account: u32, hold: Name, cents: Option<i64> },
    /// Let it end later, or never.
    ExtendHold { id: String, account: u32, hold: Name, expires_ns: Option<u64> },
    /// Let other sets pay an account without asking it, or, not `buffered`, let them ask again.
    SetMode { id: String, account: u32, buffered: bool },
    /// Book a suspended credit on.
    ResolveSuspense { id: String, item: Name, account: u32 },
    /// Sweep an account, in place of what it was swept by.
    SetSweep { id: String, account: u32, terms: Terms },
    /// Sweep it no more.
    RemoveSweep { id: String, account: u32 },
    /// Read its sweep.
    ReadSweep { account: u32, level: Level },
    /// Read the sweeps of a set.
    ListSweeps { set: u32, level: Level },
    /// Read what is on its way to an account.
    ReadTransit { account: u32, level: Level },
    /// Read a page of what stands on the suspense accounts of a set.
    ListSuspense { set: u32, after: Option<Name>, page_size: u32, level: Level },
    /// Release what is restricted by a transaction, or so much of it.
    ReleaseRestriction { id: String, account: u32, restriction: Name, cents: Option<i64> },
    /// Read a restriction.
    ReadRestriction { account: u32, restriction: Name, level: Level },
    /// Read a page of an account's restrictions, of all or of those in a state.
    ListRestrictions {
        account: u32,
        state: Option<RestrictionState>,
        after: Option<Name>,
        page_size: u32,
        level: Level,
    },
    /// Read a hold.
    ReadHold { account: u32, hold: Name, level: Level },
    /// Read a page of an account's holds.
    ListHolds { account: u32, after: Option<Name>, page_size: u32, level: Level },
    /// Read a page of an account's statement; an empty cursor: from its first posting on.
    Statement { account: u32, cursor: String, page_size: u32, level: Level },
    /// Read an account's balance after an entry of its set.
    Balance { account: u32, index: u64, level: Level },
    /// Read a page of a set's events, or of those of all sets; empty: from the first one on.
    Events { set: Option<u32>, after: String, page_size: u32, level: Level },
    /// Read an account.
    ReadAccount { account: u32, level: Level },
    /// Read a group of accounts.
    ReadGroup { group: u32, level: Level },
    /// Read a transaction.
    ReadTransaction { transaction: Name, level: Level },
    /// Read what became of a request id.
    ReadRequest { scope: u32, id: String, level: Level },
    /// Read a page of a set's transactions.
    List { set: u32, after: Option<Name>, page_size: u32, level: Level },
}

impl Ask {
    /// Whether it may change anything.
    pub fn is_write(&self) -> bool {
        self.read_level().is_none()
    }

    /// The level of a read; none for a write.
    pub fn read_level(&self) -> Option<Level> {
        match self {
            Ask::ReadAccount { level, .. }
            | Ask::ReadGroup { level, .. }
            | Ask::ReadTransaction { level, .. }
            | Ask::ReadRequest { level, .. }
            | Ask::List { level, .. }
            | Ask::ReadTransit { level, .. }
            | Ask::ListSuspense { level, .. }
            | Ask::ReadSweep { level, .. }
            | Ask::ListSweeps { level, .. }
            | Ask::ReadRestriction { level, .. }
            | Ask::ListRestrictions { level, .. }
            | Ask::ReadHold { level, .. }
            | Ask::ListHolds { level, .. }
            | Ask::Statement { level, .. }
            | Ask::Balance { level, .. }
            | Ask::Events { level, .. } => Some(*level),
            Ask::DryRun(_) => Some(Level::Linearizable),
            _ => None,
        }
    }
}

/// What came back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// An account was opened or changed.
    Done {
        /// Where.
        place: Place,
        /// Whether this was the first answer given again.
        replayed: bool,
    },
    /// A transaction was booked.
    Booked {
        /// Its name.
        transaction: Name,
        /// Where.
        place: Place,
        /// Whether this was the first answer given again.
        replayed: bool,
        /// Posted and available of each leg's account afterwards, if told; a leg that is in transit has none.
        balances: Vec<(i64, i64)>,
    },
    /// What would come of a transaction: it would be booked, or was booked before.
    Foreseen {
        /// As of when.
        as_of: AsOf,
        /// Its name and where, if it was booked before.
        before: Option<(Name, Place)>,
        /// Whether it would be told as the first answer given again.
        replayed: bool,
        /// Posted and available of each leg's account afterwards.
        balances: Vec<(i64, i64)>,
    },
    /// The ledger would say no.
    ForeseenRefusal {
        /// As of when.
        as_of: AsOf,
        /// The stable code.
        code: String,
    },
    /// One answer for each of a batch.
    Batch(Vec<Answer>),
    /// An account.
    Account {
        /// As of when.
        as_of: AsOf,
        /// What it has.
        figures: Figures,
    },
    /// A group of accounts.
    Group(Box<FoundGroup>),
    /// A transaction.
    Transaction {
        /// As of when.
        as_of: AsOf,
        /// What it is.
        found: Box<Found>,
    },
    /// A page of transactions.
    Page {
        /// As of when.
        as_of: AsOf,
        /// In the order of their positions.
        found: Vec<Found>,
        /// Where the next page begins; none: there is none.
        next: Option<Name>,
    },
    /// A hold was placed or changed.
    Held {
        /// Where.
        place: Place,
        /// Whether this was the first answer given again.
        replayed: bool,
        /// As it stands then.
        held: Held,
        /// What is available on its account then.
        available: i64,
    },
    /// A hold.
    Hold {
        /// As of when.
        as_of: AsOf,
        /// What it is.
        found: Box<FoundHold>,
    },
    /// A page of holds.
    Holds {
        /// As of when.
        as_of: AsOf,
        /// In the order in which they were placed.
        found: Vec<FoundHold>,
        /// Behind which the next page begins; none: there is none.
        next: Option<Name>,
    },
    /// A restriction was released, or a part of it.
    Released {
        /// Where.
        place: Place,
        /// Whether this was the first answer given again.
        replayed: bool,
        /// As it stands then.
        restricted: Restricted,
        /// So much.
        cents: i64,
        /// What may be withdrawn from its account then.
        withdrawable: i64,
    },
    /// A restriction.
    Restriction {
        /// As of when.
        as_of: AsOf,
        /// What it is.
        found: FoundRestriction,
    },
    /// A page of restrictions.
    Restrictions {
        /// As of when.
        as_of: AsOf,
        /// In the order of their names.
        found: Vec<FoundRestriction>,
        /// Behind which the next page begins; none: there is none.
        next: Option<Name>,
    },
    /// A page of a statement.
    Statement {
        /// As of when.
        as_of: AsOf,
        /// In the order of booking.
        lines: Vec<Line>,
        /// The balances before the first posting and after the last one of all pages.
        ends: (i64, i64),
        /// The cursor of the next page; empty: there is none.
        next: String,
    },
    /// What is on its way to an account.
    Transit {
        /// From each set that has answered and ever heard that the account need not be asked.
        from: Vec<InTransit>,
        /// Sets that have not answered.
        silent: Vec<u32>,
    },
    /// A page of what stands on suspense accounts.
    Suspense {
        /// As of when.
        as_of: AsOf,
        /// In the order in which they came.
        found: Vec<Suspended>,
        /// Behind which the next page begins; none: there is none.
        next: Option<Name>,
    },
    /// The sweep of an account, or those of a set.
    Swept {
        /// As of when.
        as_of: AsOf,
        /// In the order in which their accounts were opened.
        found: Vec<Swept>,
    },
    /// A balance of the past.
    Balance {
        /// As of when.
        as_of: AsOf,
        /// What it was.
        posted: i64,
    },
    /// A page of events.
    Events {
        /// As of when, by set.
        as_of: Vec<Place>,
        /// How old it may be, in milliseconds.
        age_ms: u64,
        /// In the order of each set.
        events: Vec<Told>,
        /// Whether there was more already.
        more: bool,
        /// Where the next page begins.
        next: String,
    },
    /// There is nothing of that name.
    Absent {
        /// As of when.
        as_of: AsOf,
    },
    /// The ledger said no.
    Rejected {
        /// The stable code.
        code: String,
        /// Where.
        place: Place,
        /// Whether this was the first answer given again.
        replayed: bool,
    },
    /// A set did not answer in time: nothing was booked, and the same may be asked again. Of a request id that is looked up, what
    /// came of it so far.
    GivenUp {
        /// Where the attempt was begun.
        place: Place,
    },
    /// Certainly nothing happened in this call.
    NotApplied {
        /// The stable code; `unsent` when no router took the connection.
        code: String,
    },
    /// It may have happened.
    Unknown {
        /// What was seen instead of an answer.
        why: String,
    },
}

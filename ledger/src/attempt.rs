//! Transactions over several sets: what travels between the sets, and what each of them keeps open meanwhile. An attempt is
//! one try of a transaction, named for ever by where its coordinator's log began it. The rules are
//! [`crate::apply`]'s; who sends what to whom is the node's business.
//!
//! ```text
//! coordinator    Begin ----------------> Decide -----------------> Settle: the answer
//!                     \                ^        \                ^
//! each other set       `--> Prepare --'          `--> Commit ---'   or Abort
//! ```

use std::collections::{BTreeMap, BTreeSet};

use crate::account::{AccountNo, Side};
use crate::command::{Leg, LegKind, Transaction};
use crate::id::{Position, TransactionId};
use crate::label::Label;
use crate::outcome::Posted;
use crate::rejection::Rejection;
use crate::reversed::{Taken, TakenBack};

/// Sets that one transaction can touch at most.
pub const SETS_MAX: usize = 16;
/// Legs of a transaction over several sets at most.
pub const LEGS_ACROSS_MAX: usize = 64;

/// A transaction over several sets, as its coordinator takes it in. A leader makes it of a transaction, because only the
/// catalogue knows where accounts live.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Begin {
    /// As the client asked.
    pub transaction: Transaction,
    /// The set of each leg's account; two different ones at least.
    pub sets: Vec<u32>,
}

impl Begin {
    /// The set that coordinates it: the scope account's. The command must be valid.
    pub fn coordinator(&self) -> u32 {
        let scope = scope_across(&self.transaction);
        let at = self.transaction.legs.iter().position(|leg| leg.account == scope);
        self.sets[at.expect("the scope account has a leg")]
    }

    /// The legs of one set, in the client's order.
    pub fn legs_of(&self, set: u32) -> impl Iterator<Item = &Leg> {
        legs_of(&self.transaction.legs, &self.sets, set)
    }
}

/// Of legs and the set of each, those of one set.
fn legs_of<'a>(legs: &'a [Leg], sets: &'a [u32], set: u32) -> impl Iterator<Item = &'a Leg> {
    legs.iter().zip(sets).filter(move |(_, of)| **of == set).map(|(leg, _)| leg)
}

/// The account whose set coordinates a transaction over several sets, and under which its request id is remembered: named,
/// or the smallest account that is debited, or the smallest of all. Unlike within one set it does not hang on normal
/// sides: whoever routes the request knows none.
pub fn scope_across(transaction: &Transaction) -> &str {
    let smallest = |debited_only: bool| {
        let legs = transaction.legs.iter().filter(|leg| !debited_only || leg.side == Side::Debit);
        legs.map(|leg| leg.account.as_str()).min()
    };
    let default = || smallest(true).or_else(|| smallest(false)).expect("a valid transaction has legs");
    transaction.scope_account.as_deref().unwrap_or_else(default)
}

/// What one set's log takes in of an attempt. Proposed by nodes only, as often as they like: each kind counts once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// To every other set: check these legs, and set aside what they need.
    Prepare {
        /// The legs of that set.
        legs: Vec<Leg>,
        /// The day on which all sets book, in days since 1970-01-01.
        accounting_date: i32,
        /// The earlier transaction that is taken back, if one is.
        reverses: Option<TransactionId>,
        /// What the client says of the transaction.
        label: Label,
    },
    /// In the coordinator's log: whether it is booked.
    Decide(Ballot),
    /// To every other set: book what was set aside.
    Commit,
    /// To every other set: give back what was set aside.
    Abort,
    /// In the coordinator's log: all have booked, and this is what the client is told.
    Settle {
        /// What each other set has booked.
        parts: Vec<Part>,
    },
    /// In the log of a recovered coordinator: it has lost the attempt's beginning, and this is what all others hold of it.
    Lost {
        /// What sets have agreed to, if one of them has booked; None: nobody has, and nobody will.
        votes: Option<Vec<Vote>>,
    },
    /// In the log of a recovered set that has lost its part of what its coordinator has decided: it is booked after all.
    Restore(Restore),
}

/// A set's part of a decided attempt, as its coordinator knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restore {
    /// The legs of that set; none, if its coordinator has lost them, too.
    pub legs: Vec<Leg>,
    /// Their sums, as that set had said when it set them aside; None: nobody knows that any more.
    pub sums: Option<Vec<Sum>>,
    /// The day on which all sets book, in days since 1970-01-01.
    pub accounting_date: i32,
    /// The earlier transaction that is taken back, if one is.
    pub reverses: Option<TransactionId>,
    /// What the client says of the transaction.
    pub label: Label,
}

/// What a decision rests on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ballot {
    /// What the other sets have said; of all of them, unless one refuses.
    Votes(Vec<Vote>),
    /// This set has not answered in time.
    GivenUp {
        /// Its number.
        set: u32,
    },
    /// A set has booked its part: so it was decided, in an incarnation whose end was lost.
    Booked {
        /// Its number.
        set: u32,
        /// What is known of what sets have said.
        votes: Vec<Vote>,
    },
}

/// What one set says to its legs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vote {
    /// The set.
    pub set: u32,
    /// The sums of its legs, which are set aside; or why not.
    pub said: Result<Vec<Sum>, Rejection>,
}

/// Debits and credits of one currency in one set's legs, in minor units.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sum {
    /// The currency's code.
    pub currency: String,
    /// Its decimal places in that set.
    pub scale: u8,
    /// Sum of the debit legs.
    pub debits: i128,
    /// Sum of the credit legs.
    pub credits: i128,
}

impl Sum {
    /// Of a single leg, in the minor units of that currency and scale.
    pub(crate) fn of_one(side: Side, amount: i128, (currency, scale): (&str, u8)) -> Sum {
        let (debits, credits) = match side {
            Side::Debit => (amount, 0),
            Side::Credit => (0, amount),
        };
        Sum { currency: currency.to_owned(), scale, debits, credits }
    }
}

/// What one set has booked of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// The set.
    pub set: u32,
    /// Where in its log.
    pub position: Position,
    /// Its legs in the order in which they were asked for, and then its clearing legs.
    pub legs: Vec<Posted>,
}

/// A leg in minor units, ready to be booked or set aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Planned {
    /// The account.
    pub no: AccountNo,
    /// Debit or credit.
    pub side: Side,
    /// Above zero.
    pub amount: i128,
    /// What it means for restricted funds.
    pub kind: LegKind,
}

/// An attempt that is open in this set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// What is set aside here: the legs of this set, and then its clearing legs. Empty once it is booked.
    pub reserved: Vec<Planned>,
    /// The day on which all sets book.
    pub accounting_date: i32,
    /// The ledger time at which this set opened it.
    pub opened_ns: u64,
    /// What this set is in it.
    pub role: Role,
}

/// What a set is in an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Role {
    /// It has set aside its part and waits for the decision.
    Participant {
        /// The earlier transaction that is taken back, if one is.
        reverses: Option<TransactionId>,
    },
    /// It decides.
    Coordinator(Coordination),
}

/// What a coordinator knows of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Coordination {
    /// All legs in the client's order.
    pub legs: Vec<Leg>,
    /// The set of each.
    pub sets: Vec<u32>,
    /// If it takes back an earlier transaction: which one, and how much of it.
    pub reverses: Option<(TransactionId, Taken)>,
    /// If it captures a hold: what it takes of it.
    pub captures: Option<Capturing>,
    /// Where it was decided that it is booked; None while the sets are asked.
    pub decided: Option<Position>,
    /// What the client says of it, which the other sets are told with their parts.
    pub label: Label,
}

/// What an attempt takes of a hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capturing {
    /// Where the hold was placed.
    pub hold: Position,
    /// In minor units.
    pub amount: i128,
    /// Whether the rest is given back when it is booked.
    pub is_final: bool,
    /// If it confirms an overdue hold: the number of the try.
    pub confirms: Option<u32>,
}

impl Coordination {
    /// The sets that take part beside the coordinator's own.
    pub fn other_sets(&self, own: u32) -> BTreeSet<u32> {
        self.sets.iter().copied().filter(|&set| set != own).collect()
    }

    /// The legs of one set, in the client's order.
    pub fn legs_of(&self, set: u32) -> impl Iterator<Item = &Leg> {
        legs_of(&self.legs, &self.sets, set)
    }
}

/// All attempts that are open in a set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attempts {
    open: BTreeMap<TransactionId, Attempt>,
}

impl Attempts {
    /// The open attempt of that name.
    pub fn get(&self, id: TransactionId) -> Option<&Attempt> {
        self.open.get(&id)
    }

    /// All, in the order of their names.
    pub fn iter(&self) -> impl ExactSizeIterator + DoubleEndedIterator<Item = (TransactionId, &Attempt)> {
        self.open.iter().map(|(id, attempt)| (*id, attempt))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.open.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// How much of the transaction at `original` open attempts may yet take back.
    pub fn reversing(&self, original: Position) -> TakenBack {
        let mut reversing = TakenBack::default();
        for attempt in self.open.values() {
            match &attempt.role {
                Role::Coordinator(Coordination { reverses: Some((of, taken)), decided: None, .. })
                    if of.position == original =>
                {
                    reversing.add(taken);
                }
                _ => {}
            }
        }
        reversing
    }

    /// Opens an attempt. Panics if one of that name is open.
    pub fn open(&mut self, id: TransactionId, attempt: Attempt) {
        let before = self.open.insert(id, attempt);
        assert!(before.is_none(), "the attempt {id} is opened once");
    }

    /// An open attempt for change.
    pub(crate) fn get_mut(&mut self, id: TransactionId) -> Option<&mut Attempt> {
        self.open.get_mut(&id)
    }

    /// Closes an attempt.
    pub(crate) fn close(&mut self, id: TransactionId) -> Option<Attempt> {
        self.open.remove(&id)
    }
}

impl Step {
    /// What stands for a request id: what is remembered of an attempt, and where, is found by it.
    pub fn key(&self) -> &'static str {
        match self {
            Step::Prepare { .. } => VOTE,
            Step::Decide(_) | Step::Lost { .. } => DECISION,
            Step::Commit | Step::Abort | Step::Restore(_) => END,
            Step::Settle { .. } => RESULT,
        }
    }
}

// Outside the alphabet of request ids: under an attempt's scope stands the client's own id as well, where another attempt
// follows it.

/// What a set has said to its legs.
pub const VOTE: &str = "~vote";
/// What the coordinator has decided.
pub const DECISION: &str = "~decision";
/// What came of it in a set.
pub const END: &str = "~end";
/// What the client is told.
pub const RESULT: &str = "~result";

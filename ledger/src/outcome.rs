//! What became of a command: part of the replicated result, hashed, and sent to the client as it is.

use crate::account::Side;
use crate::attempt::Sum;
use crate::buffer::{Sent, StreamEnd};
use crate::hold::Ended;
use crate::id::{Position, TransactionId};
use crate::rejection::Rejection;
use crate::restriction::RestrictionEnd;
use crate::sweep::RunEnd;

/// The answer to one command. A replay carries the first answer's position, incarnation, time and result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Where the command was (first) decided.
    pub position: Position,
    /// Of the set when it was decided: with the position, it names the transaction for ever.
    pub incarnation: u32,
    /// Ledger time of that, in nanoseconds since the Unix epoch.
    pub time_unix_ns: u64,
    /// Whether this is the first answer given again.
    pub replayed: bool,
    /// Done, or a deterministic no.
    pub result: Result<Effect, Rejection>,
}

/// What a command did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// A definition.
    Defined {
        /// False if it was there already.
        changed: bool,
    },
    /// An account was opened or changed.
    Account,
    /// Legs were booked in this set: one for each leg, in the order of the legs; of a transaction over several sets, this
    /// set's legs, and then its clearing legs.
    Posted(Vec<Posted>),
    /// The durability state was marked.
    Marked,
    /// A transaction over several sets is under way: its answer comes later, under the same position.
    Begun,
    /// The legs of an attempt are set aside in this set.
    Prepared(Vec<Sum>),
    /// What was set aside for an attempt is given back.
    Aborted,
    /// A transaction over several sets is booked in all of them: one for each leg, in the client's order.
    Settled(Vec<Posted>),
    /// The next commands stand or fall together.
    Grouped,
    /// A hold was placed or changed, and now stands so.
    Held(Held),
    /// A transaction over several sets is booked here, and what is of other sets is on its way to them: the last word.
    Buffered {
        /// This set's legs in the client's order, and then its clearing legs.
        booked: Vec<Posted>,
        /// The other legs, in the client's order.
        sent: Vec<Sent>,
    },
    /// A credit from another set could not be booked where it should be, and stands on the suspense account.
    Suspended {
        /// Why.
        reason: Rejection,
        /// The leg on the suspense account, and the clearing leg.
        booked: Vec<Posted>,
    },
    /// The credit was taken in before.
    Taken,
    /// It is known that an account of another set need not be asked.
    Announced,
    /// It is known that an account of another set is to be asked; these are the ends of the streams to that set.
    Withdrawn(Vec<StreamEnd>),
    /// What another set has taken in is forgotten.
    Acknowledged,
    /// A restriction was released, or a part of it, and it now stands so.
    Restricted(Restricted),
    /// What came of a sweep's run is written down.
    Ran(RunEnd),
}

impl Effect {
    /// Whether legs were booked in this set. Where a coordinator has no leg in what it takes back, its decision books none.
    pub fn books(&self) -> bool {
        match self {
            Effect::Posted(legs) => !legs.is_empty(),
            Effect::Buffered { .. } | Effect::Suspended { .. } => true,
            _ => false,
        }
    }
}

/// A hold's figures after a command, in minor units.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// The hold.
    pub hold: TransactionId,
    /// Decimal places of a minor unit.
    pub scale: u8,
    /// As placed.
    pub amount: i128,
    /// Booked by captures.
    pub captured: i128,
    /// In the hands of open transactions over several sets.
    pub capturing: i128,
    /// Given back.
    pub released: i128,
    /// As [`crate::hold::Hold::expires_ns`].
    pub expires_ns: Option<u64>,
    /// How it has ended, if it has.
    pub ended: Option<Ended>,
    /// Available balance of the held account.
    pub available: i128,
}

/// A restriction's figures after a command, in minor units.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restricted {
    /// The transaction that brought the money.
    pub restriction: TransactionId,
    /// Decimal places of a minor unit.
    pub scale: u8,
    /// As booked.
    pub amount: i128,
    /// What this command has released.
    pub released: i128,
    /// What may still not be withdrawn.
    pub left: i128,
    /// As [`crate::restriction::Restriction::until_ns`].
    pub until_ns: Option<u64>,
    /// How it has ended, if it has.
    pub ended: Option<RestrictionEnd>,
    /// What of the account may be withdrawn; below zero, if restricted money was paid on.
    pub withdrawable: i128,
}

/// A leg as booked, with the balances after it, in minor units.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Posted {
    /// The account's id, where the command names no legs (reversals, attempts); empty for transactions.
    pub account: String,
    /// Debit or credit.
    pub side: Side,
    /// In minor units, above zero.
    pub amount: i128,
    /// Decimal places of a minor unit.
    pub scale: u8,
    /// Posted balance after the whole transaction.
    pub posted: i128,
    /// Available balance after the whole transaction.
    pub available: i128,
}

impl Outcome {
    /// Whether this is a first answer that its request id brings back: neither a replay nor a complaint about the id.
    pub fn is_remembered(&self) -> bool {
        !self.replayed && self.result.as_ref().err().is_none_or(Rejection::is_remembered)
    }

    /// The ledger day of the decision, in days since 1970-01-01: the accounting date of what names none.
    pub fn day(&self) -> i32 {
        const DAY_NS: u64 = 86_400_000_000_000;
        i32::try_from(self.time_unix_ns / DAY_NS).expect("u64 nanoseconds are 213,503 days")
    }
}

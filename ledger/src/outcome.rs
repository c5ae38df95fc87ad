//! What became of a command: part of the replicated result, hashed, and sent to the client as it is.

use crate::account::Side;
use crate::attempt::Sum;
use crate::id::Position;
use crate::rejection::Rejection;

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

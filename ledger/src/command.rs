//! What can be asked of a set: the owned form of every command. Bytes are [`crate::codec`]'s business; rules are
//! [`crate::apply`]'s. `validate` refuses what is malformed before anything reaches a log.

use std::collections::BTreeMap;

use rust_decimal::Decimal;

use crate::account::{FreezeMode, Side};
use crate::attempt::{Begin, Step};
use crate::id::TransactionId;
pub use crate::malformed::Malformed;
use crate::state::Durability;

/// Free key/value pairs; at most 32, keys up to 64 bytes, values up to 512.
pub type Metadata = BTreeMap<String, String>;

/// One command of an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Gives a currency its scale. The same definition again changes nothing; another one is rejected.
    DefineCurrency {
        /// The currency's code.
        code: String,
        /// Decimal places of its minor unit.
        scale: u8,
    },
    /// Adds a general-ledger subject. The same definition again changes nothing; another one is rejected.
    DefineSubject {
        /// The subject's code.
        code: String,
        /// For people.
        name: String,
        /// The side that raises its accounts.
        normal_side: Side,
    },
    /// Opens an account.
    OpenAccount {
        /// The client's idempotency key, within the account.
        request_id: String,
        /// The account's id.
        account: String,
        /// General-ledger subject code.
        subject: String,
        /// Currency code.
        currency: String,
        /// None: the subject's.
        normal_side: Option<Side>,
        /// The floor of the available balance in major units; None: no floor.
        limit: Option<Decimal>,
        /// Free.
        metadata: Metadata,
    },
    /// Changes the floor of the available balance.
    SetLimit {
        /// The client's idempotency key, within the account.
        request_id: String,
        /// The account's id.
        account: String,
        /// The new floor in major units; None: no floor.
        limit: Option<Decimal>,
    },
    /// Refuses debit legs, credit legs or both from now on.
    Freeze {
        /// The client's idempotency key, within the account.
        request_id: String,
        /// The account's id.
        account: String,
        /// Which legs.
        mode: FreezeMode,
    },
    /// Ends such a refusal.
    Unfreeze {
        /// The client's idempotency key, within the account.
        request_id: String,
        /// The account's id.
        account: String,
        /// Which legs.
        mode: FreezeMode,
    },
    /// Closes an account whose balance is zero, for good.
    CloseAccount {
        /// The client's idempotency key, within the account.
        request_id: String,
        /// The account's id.
        account: String,
    },
    /// Books legs, all or none.
    Transaction(Transaction),
    /// Takes back a transaction, whole or in part.
    Reversal(Reversal),
    /// Marks the durability state of the set from this entry on. Proposed by nodes only.
    MarkDurability {
        /// The state from this entry on.
        durability: Durability,
    },
    /// Begins a transaction over several sets. Proposed by nodes only, in place of the client's transaction.
    Begin(Begin),
    /// Takes an attempt a step on. Proposed by nodes only.
    Step {
        /// The attempt.
        attempt: TransactionId,
        /// The step.
        step: Step,
    },
}

/// One atomic journal entry: two or more legs, balanced per currency.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Transaction {
    /// The client's idempotency key.
    pub request_id: String,
    /// None: the smallest account id among the outflow legs, or among all legs if none is an outflow; over several sets
    /// [`crate::attempt::scope_across`].
    pub scope_account: Option<String>,
    /// In the client's order.
    pub legs: Vec<Leg>,
    /// The client's kind of transaction.
    pub kind: u16,
    /// The client's reason code.
    pub reason: u16,
    /// Days since 1970-01-01; None: the day of the ledger time.
    pub accounting_date: Option<i32>,
    /// Free.
    pub metadata: Metadata,
}

/// What a transaction asks of one account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leg {
    /// The account's id.
    pub account: String,
    /// Debit or credit.
    pub side: Side,
    /// In major units, above zero.
    pub amount: Decimal,
    /// If named, it must be the account's.
    pub currency: Option<String>,
}

/// Takes back what is left of a transaction, or a part of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reversal {
    /// The client's idempotency key, within the original's scope account.
    pub request_id: String,
    /// The transaction to reverse, of the same set.
    pub transaction: TransactionId,
    /// None: all that is left. A part is possible for a transaction of two legs.
    pub amount: Option<Decimal>,
    /// The client's reason code.
    pub reason: u16,
    /// Free.
    pub metadata: Metadata,
}

impl Command {
    /// The client's idempotency key, or what stands for it in a step; definitions and marks have none, as repeating them is
    /// harmless.
    pub fn request_id(&self) -> Option<&str> {
        match self {
            Command::OpenAccount { request_id, .. }
            | Command::SetLimit { request_id, .. }
            | Command::Freeze { request_id, .. }
            | Command::Unfreeze { request_id, .. }
            | Command::CloseAccount { request_id, .. } => Some(request_id),
            Command::Transaction(transaction) => Some(&transaction.request_id),
            Command::Reversal(reversal) => Some(&reversal.request_id),
            Command::Begin(begin) => Some(&begin.transaction.request_id),
            Command::Step { step, .. } => Some(step.key()),
            Command::DefineCurrency { .. }
            | Command::DefineSubject { .. }
            | Command::MarkDurability { .. } => None,
        }
    }

    /// The account ids that the command names, in its order, repeated as it repeats them: what it is routed by. A
    /// reversal names none: its transaction's id names the set. Nor does a step, which is sent to a set.
    pub fn accounts(&self) -> impl Iterator<Item = &str> {
        let (one, legs) = match self {
            Command::OpenAccount { account, .. }
            | Command::SetLimit { account, .. }
            | Command::Freeze { account, .. }
            | Command::Unfreeze { account, .. }
            | Command::CloseAccount { account, .. } => (Some(account), [].as_slice()),
            Command::Transaction(transaction) => (None, transaction.legs.as_slice()),
            Command::Begin(begin) => (None, begin.transaction.legs.as_slice()),
            Command::DefineCurrency { .. }
            | Command::DefineSubject { .. }
            | Command::Reversal(_)
            | Command::Step { .. }
            | Command::MarkDurability { .. } => (None, [].as_slice()),
        };
        one.into_iter().chain(legs.iter().map(|leg| &leg.account)).map(String::as_str)
    }
}

//! What can be asked of a set: the owned form of every command. Bytes are [`crate::codec`]'s business; rules are
//! [`crate::apply`]'s. `validate` refuses what is malformed before anything reaches a log.

use std::collections::BTreeMap;

use rust_decimal::Decimal;

use crate::account::{FreezeMode, Side};
use crate::id::TransactionId;
use crate::state::Durability;

/// Free key/value pairs; at most 32, keys up to 64 bytes, values up to 512.
pub type Metadata = BTreeMap<String, String>;

/// One command of an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Gives a currency its scale. The same definition again changes nothing; another one is rejected.
    DefineCurrency { code: String, scale: u8 },
    /// Adds a general-ledger subject. The same definition again changes nothing; another one is rejected.
    DefineSubject { code: String, name: String, normal_side: Side },
    /// Opens an account.
    OpenAccount {
        request_id: String,
        account: String,
        subject: String,
        currency: String,
        /// None: the subject's.
        normal_side: Option<Side>,
        /// The floor of the available balance in major units; None: no floor.
        limit: Option<Decimal>,
        metadata: Metadata,
    },
    /// Changes the floor of the available balance.
    SetLimit { request_id: String, account: String, limit: Option<Decimal> },
    /// Refuses debit legs, credit legs or both from now on.
    Freeze { request_id: String, account: String, mode: FreezeMode },
    /// Ends such a refusal.
    Unfreeze { request_id: String, account: String, mode: FreezeMode },
    /// Closes an account whose balance is zero, for good.
    CloseAccount { request_id: String, account: String },
    /// Books legs, all or none.
    Transaction(Transaction),
    /// Takes back a transaction, whole or in part.
    Reversal(Reversal),
    /// Marks the durability state of the set from this entry on. Proposed by nodes only.
    MarkDurability { durability: Durability },
}

/// One atomic journal entry: two or more legs, balanced per currency.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Transaction {
    /// The client's idempotency key.
    pub request_id: String,
    /// None: the smallest account id among the outflow legs, or among all legs if none is an outflow.
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

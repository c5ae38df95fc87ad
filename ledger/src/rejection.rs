//! The deterministic "no": part of the replicated result, remembered with the request id, and sent to the client.
//! Not here: what is malformed ([`crate::command::Malformed`], never in a log) and what is a local failure.
//!
//! When several reasons hold at once, the first of this order is given; within one reason, the first leg in the
//! client's order (for `unbalanced`, the smallest currency code):
//!
//! | rank | transaction and reversal | account commands |
//! |---|---|---|
//! | 0 | `request_mismatch` | `request_mismatch` |
//! | 1 | `account_not_found`, `transaction_not_found` | `account_exists`, `account_not_found` |
//! | 2 | `not_reversible`, `partial_reversal_of_many_legs` | `subject_unknown`, then `currency_unknown` |
//! | 3 | `currency_mismatch` | |
//! | 4 | `excess_scale`, and `amount_overflow` of an amount that no minor units can hold | the same, of the limit |
//! | 5 | `unbalanced`, `reversal_exceeds` | |
//! | 6 | `account_closed` | `account_closed` |
//! | 7 | `account_frozen` | |
//! | 8 | `amount_overflow` of a balance | |
//! | 9 | `limit_exceeded` | `account_not_empty` |
//!
//! Of a transaction over several sets each set gives its own first reason for its own legs: the coordinator at once, before
//! the others are asked; then whichever other set refuses, the first in the coordinator's log. Ranks of different sets are
//! not compared. Whether all legs together balance is seen last, when all have said yes: `currency_conflict`, where two sets
//! have given a currency different scales, then `unbalanced`. `set_unavailable` is the one reason that is not the last
//! word: the same request may be tried again. A reversal of such a transaction is refused by the ranks above, and then
//! as a transaction over several sets.

use crate::account::Side;
use crate::amount::to_decimal_string;
use crate::id::{Position, TransactionId};

/// Why a command was refused. Amounts are in minor units, with the scale beside them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// The request id was used in this scope for something else. Never remembered itself.
    #[error("the request id was used before with a different {field}, at {}-{}", original.index(), original.offset())]
    RequestMismatch {
        /// The first field that differs.
        field: String,
        /// Where the id was first used.
        original: Position,
    },
    /// No such account in this set.
    #[error("there is no account {account}")]
    AccountNotFound {
        /// The account's id.
        account: String,
    },
    /// The id was given out before.
    #[error("the account {account} exists already")]
    AccountExists {
        /// The account's id.
        account: String,
    },
    /// No such subject, built in or defined.
    #[error("there is no subject {subject}")]
    SubjectUnknown {
        /// The subject's code.
        subject: String,
    },
    /// The subject is defined differently.
    #[error("the subject {subject} is defined already, with another name or normal side")]
    SubjectConflict {
        /// The subject's code.
        subject: String,
    },
    /// No such currency, built in or defined.
    #[error("there is no currency {currency}")]
    CurrencyUnknown {
        /// The currency's code.
        currency: String,
    },
    /// The currency is defined differently.
    #[error("the currency {currency} is defined already, with another scale")]
    CurrencyConflict {
        /// The currency's code.
        currency: String,
    },
    /// A leg names another currency than its account's.
    #[error("the account {account} is in {expected}, not in the currency that the leg names")]
    CurrencyMismatch {
        /// The account's id.
        account: String,
        /// The account's currency.
        expected: String,
    },
    /// An amount has more decimal places than the account's currency.
    #[error("amounts of the account {account} have at most {scale} decimal places")]
    ExcessScale {
        /// The account's id.
        account: String,
        /// Decimal places allowed.
        scale: u8,
    },
    /// An amount, or a balance with it, would be too large to keep.
    #[error("the amount is too large for the account {account}")]
    AmountOverflow {
        /// The account's id.
        account: String,
    },
    /// Debits and credits of a currency differ.
    #[error("debits of {} and credits of {} {currency} do not balance",
        to_decimal_string(*debits, *scale), to_decimal_string(*credits, *scale))]
    Unbalanced {
        /// The smallest currency code that does not balance.
        currency: String,
        /// Sum of its debit legs.
        debits: i128,
        /// Sum of its credit legs.
        credits: i128,
        /// Of both sums.
        scale: u8,
    },
    /// The account is closed, for good.
    #[error("the account {account} is closed")]
    AccountClosed {
        /// The account's id.
        account: String,
    },
    /// The account is frozen on the side of the leg.
    #[error("the account {account} is frozen for {}", match side { Side::Debit => "debits", Side::Credit => "credits" })]
    AccountFrozen {
        /// The account's id.
        account: String,
        /// The side that is refused.
        side: Side,
    },
    /// The available balance would fall below its floor.
    #[error("the account {account} has {} available above a floor of {}, and {} is needed",
        to_decimal_string(*available, *scale), to_decimal_string(*limit, *scale), to_decimal_string(*needed, *scale))]
    LimitExceeded {
        /// The account's id.
        account: String,
        /// Available before the transaction.
        available: i128,
        /// The floor.
        limit: i128,
        /// Net outflow of the whole transaction.
        needed: i128,
        /// Of the three.
        scale: u8,
    },
    /// An account closes only when all its figures are zero.
    #[error("the account {account} is not empty")]
    AccountNotEmpty {
        /// The account's id.
        account: String,
    },
    /// No transaction of this set has that id.
    #[error("there is no transaction {transaction}")]
    TransactionNotFound {
        /// As the client named it.
        transaction: TransactionId,
    },
    /// It is itself a reversal, or was not booked.
    #[error("{transaction} is not a booked transaction that can be reversed")]
    NotReversible {
        /// As the client named it.
        transaction: TransactionId,
    },
    /// More than what is left of the original.
    #[error("only {} of the transaction is left to reverse", to_decimal_string(*left, *scale))]
    ReversalExceeds {
        /// What is left of the first leg.
        left: i128,
        /// Of that.
        scale: u8,
    },
    /// A step that nodes proposed does not fit what this set knows of the attempt. Clients never see it.
    #[error("the step does not fit the attempt {attempt}")]
    StepOutOfPlace {
        /// The attempt.
        attempt: TransactionId,
    },
    /// A set of the transaction did not answer in time. Nothing was booked, and the same request may try again.
    #[error("set {set} did not answer in time, and nothing was booked")]
    SetUnavailable {
        /// Its number.
        set: u32,
    },
    /// A part of a transaction with more than two legs is not defined.
    #[error("{transaction} has more than two legs and can only be reversed as a whole")]
    PartialReversalOfManyLegs {
        /// As the client named it.
        transaction: TransactionId,
    },
}

impl Rejection {
    /// The number it is stored under. Never changes, never reused.
    pub fn number(&self) -> u16 {
        match self {
            Rejection::RequestMismatch { .. } => 1,
            Rejection::AccountNotFound { .. } => 2,
            Rejection::AccountExists { .. } => 3,
            Rejection::SubjectUnknown { .. } => 4,
            Rejection::SubjectConflict { .. } => 5,
            Rejection::CurrencyUnknown { .. } => 6,
            Rejection::CurrencyConflict { .. } => 7,
            Rejection::CurrencyMismatch { .. } => 8,
            Rejection::ExcessScale { .. } => 9,
            Rejection::AmountOverflow { .. } => 10,
            Rejection::Unbalanced { .. } => 11,
            Rejection::AccountClosed { .. } => 12,
            Rejection::AccountFrozen { .. } => 13,
            Rejection::LimitExceeded { .. } => 14,
            Rejection::AccountNotEmpty { .. } => 15,
            Rejection::TransactionNotFound { .. } => 16,
            Rejection::NotReversible { .. } => 17,
            Rejection::ReversalExceeds { .. } => 18,
            Rejection::PartialReversalOfManyLegs { .. } => 19,
            Rejection::StepOutOfPlace { .. } => 20,
            Rejection::SetUnavailable { .. } => 21,
        }
    }

    /// The code that clients see. Never changes.
    pub fn code(&self) -> &'static str {
        CODES[usize::from(self.number()) - 1]
    }

    /// Whether the request id remembers it: all do but the complaint about the id itself. Nor is a step remembered that came
    /// out of its order: it may come again in it.
    pub fn is_remembered(&self) -> bool {
        !matches!(self, Rejection::RequestMismatch { .. } | Rejection::StepOutOfPlace { .. })
    }
}

/// All codes, in the order of their numbers from 1.
pub const CODES: [&str; 21] = [
    "request_mismatch",
    "account_not_found",
    "account_exists",
    "subject_unknown",
    "subject_conflict",
    "currency_unknown",
    "currency_conflict",
    "currency_mismatch",
    "excess_scale",
    "amount_overflow",
    "unbalanced",
    "account_closed",
    "account_frozen",
    "limit_exceeded",
    "account_not_empty",
    "transaction_not_found",
    "not_reversible",
    "reversal_exceeds",
    "partial_reversal_of_many_legs",
    "step_out_of_place",
    "set_unavailable",
];

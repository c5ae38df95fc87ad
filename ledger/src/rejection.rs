//! The deterministic "no": part of the replicated result, remembered with the request id, and sent to the client.
//! Not here: what is malformed ([`crate::command::Malformed`], never in a log) and what is a local failure.
//!
//! When several reasons hold at once, the first of this order is given; within one reason, the first leg in the
//! client's order (for `unbalanced`, the smallest currency code):
//!
//! | rank | transaction, capture and reversal | account, hold, restriction and sweep commands |
//! |---|---|---|
//! | 0 | `leg_on_group`, then `request_mismatch` | `request_mismatch` |
//! | 1 | `account_not_found`, `transaction_not_found` | `suspense_not_found`, `suspense_resolved`; then `account_exists`, `account_not_found`, then `sweep_not_found` |
//! | 2 | `not_reversible`, `partial_reversal_of_many_legs`, `leg_not_found` | `subject_unknown`, then `currency_unknown` |
//! | 3 | `currency_mismatch` | `currency_mismatch`, of a hold, of what is suspended, and of who gets what is swept |
//! | 4 | `excess_scale`, and `amount_overflow` of an amount that no minor units can hold; then the same of the leg's preconditions | the same, of the limit or amount, or of what a sweep keeps and then its threshold |
//! | 5 | `restricted_outflow`; then `hold_not_found`, `hold_ended`, `capture_without_outflow`, `hold_exceeded`, `hold_journal_full` | `hold_not_found`, `hold_ended`, then `hold_exceeded` or `expiry_too_early`, then `hold_journal_full`; `restriction_exceeded` |
//! | 6 | `unbalanced`, then `reversal_exceeds` | |
//! | 7 | `account_closed` | `account_closed` |
//! | 8 | `account_frozen` | `account_frozen`, of placing a hold |
//! | 9 | `precondition_failed` | |
//! | 10 | `amount_overflow` of a balance | `amount_overflow` of what is held |
//! | 11 | `limit_exceeded` | `account_not_empty`, then `account_buffered`; `limit_exceeded`, of placing a hold; `too_many_sweeps` |
//! | 12 | `withdrawable_exceeded` | |
//!
//! Of a transaction over several sets each set gives its own first reason for its own legs: the coordinator at once, before
//! the others are asked; then whichever other set refuses, the first in the coordinator's log. Ranks of different sets are
//! not compared. Whether all legs together balance is seen last, when all have said yes: `currency_conflict`, where two sets
//! have given a currency different scales, then `unbalanced`. `set_unavailable` and `leg_on_group` are the reasons that are not
//! the last word: the same request may be tried again. Of an atomic batch the first transaction that is refused gives its own
//! reason, and all others `batch_refused`; a leg on a group in one of them is the reason of all. A reversal of such a transaction is refused by the ranks above, and then
//! as a transaction over several sets.
//!
//! Of a transaction that pays buffered accounts of other sets, the own legs are refused by the ranks 1 to 4, then the others, in
//! their order, by what was announced of their accounts (`currency_mismatch`, `excess_scale`, `amount_overflow`), then all by the
//! ranks from 5 on, `currency_conflict` beside `unbalanced`. Its reversal is `set_unavailable` while a part of it is on its way.

use crate::account::Side;
use crate::amount::to_decimal_string;
use crate::command::Expected;
use crate::date;
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
    /// A leg or a hold names another currency than its account's.
    #[error("the account {account} is in {expected}, not in the currency that is named")]
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
    #[error("only {} of {} is left to reverse", to_decimal_string(*left, *scale),
        leg.map_or_else(|| "the transaction".to_owned(), |leg| format!("leg {leg}")))]
    ReversalExceeds {
        /// What is left of the leg; if none was named, of the first one.
        left: i128,
        /// Of that.
        scale: u8,
        /// The leg, if legs were named: the first of which too much was asked for.
        leg: Option<u16>,
    },
    /// A step that nodes proposed does not fit what this set knows of the attempt, of the hold or the restriction that is to expire, or of
    /// the sweep. Clients
    /// never see it.
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
    /// No hold of that account has that name.
    #[error("the account {account} has no hold {hold}")]
    HoldNotFound {
        /// The account's id.
        account: String,
        /// As the client named it.
        hold: TransactionId,
    },
    /// It was captured, released or expired.
    #[error("the hold {hold} has ended")]
    HoldEnded {
        /// The hold.
        hold: TransactionId,
    },
    /// More than what is left of the hold.
    #[error("{} is left of the hold {hold}, and {} is asked for",
        to_decimal_string(*left, *scale), to_decimal_string(*needed, *scale))]
    HoldExceeded {
        /// The hold.
        hold: TransactionId,
        /// What can still be captured.
        left: i128,
        /// What was asked for.
        needed: i128,
        /// Of both.
        scale: u8,
    },
    /// The legs of a capture together take nothing from the held account.
    #[error("the transaction takes nothing from the held account {account}")]
    CaptureWithoutOutflow {
        /// The account's id.
        account: String,
    },
    /// A hold's expiry is in the past, or before the one that it has.
    #[error("the expiry must be after {}", date::timestamp(*after_ns))]
    ExpiryTooEarly {
        /// Ledger time in nanoseconds since the Unix epoch.
        after_ns: u64,
    },
    /// A figure of an account is not as a leg expects it.
    #[error("the account {account} does not fulfil {} {}: it has {}",
        expected.name(), to_decimal_string(*wanted, *scale), to_decimal_string(*found, *scale))]
    PreconditionFailed {
        /// The account's id.
        account: String,
        /// Which figure, and how it is compared.
        expected: Expected,
        /// What it is.
        found: i128,
        /// What it is compared with.
        wanted: i128,
        /// Of both; 0 for a version.
        scale: u8,
    },
    /// Another transaction of the same atomic batch was refused.
    #[error("transaction {item} of the batch was refused, and with it all others")]
    BatchRefused {
        /// Which one, counted from 0.
        item: u16,
    },
    /// So much has happened to the hold that it takes only what ends it.
    #[error(
        "the journal of the hold {hold} is full: only a final capture or a release of all that is left is taken"
    )]
    HoldJournalFull {
        /// The hold.
        hold: TransactionId,
    },
    /// A leg that takes money from its account says that it is restricted: only what arrives can be.
    #[error("the restricted leg on the account {account} brings it nothing")]
    RestrictedOutflow {
        /// The account's id.
        account: String,
    },
    /// What of the account may be withdrawn would fall below its floor.
    #[error("the account {account} has {} withdrawable above a floor of {}, and {} is needed",
        to_decimal_string(*withdrawable, *scale), to_decimal_string(*limit, *scale), to_decimal_string(*needed, *scale))]
    WithdrawableExceeded {
        /// The account's id.
        account: String,
        /// Available and not restricted before the transaction.
        withdrawable: i128,
        /// The floor.
        limit: i128,
        /// Net outflow of the whole transaction, beyond what a hold covers.
        needed: i128,
        /// Of the three.
        scale: u8,
    },
    /// More than what is left of the restriction; of one that has ended, or never was, nothing is.
    #[error("only {} is left of what {restriction} restricts on the account {account}",
        to_decimal_string(*left, *scale))]
    RestrictionExceeded {
        /// The account's id.
        account: String,
        /// As the client named it.
        restriction: TransactionId,
        /// What can still be released.
        left: i128,
        /// Of that.
        scale: u8,
    },
    /// The account may be paid from other sets without being asked.
    #[error("the account {account} is not strict")]
    AccountBuffered {
        /// The account's id.
        account: String,
    },
    /// Nothing of that name stands on a suspense account of this set, or ever did.
    #[error("nothing is in suspense under {item}")]
    SuspenseNotFound {
        /// As the client named it.
        item: TransactionId,
    },
    /// What stood on a suspense account under that name was booked on.
    #[error("{item} was booked on before")]
    SuspenseResolved {
        /// As the client named it.
        item: TransactionId,
    },
    /// The account has no sweep.
    #[error("the account {account} has no sweep")]
    SweepNotFound {
        /// The account's id.
        account: String,
    },
    /// The set has as many sweeps as it can have.
    #[error("the set of the account has {most} sweeps, and no room for another")]
    TooManySweeps {
        /// As many as one set can have.
        most: u32,
    },
    /// A leg names a group of accounts, and not one of its parts. Never remembered: who puts it on a part is to find his request id
    /// as he left it.
    #[error("{group} is a group of accounts: a leg names one of its parts")]
    LegOnGroup {
        /// The group's id.
        group: String,
    },
    /// One amount says nothing of how a part of more than two legs is made up.
    #[error("{transaction} has more than two legs: a part of it is reversed by naming legs")]
    PartialReversalOfManyLegs {
        /// As the client named it.
        transaction: TransactionId,
    },
    /// A reversal names a leg that the original does not have.
    #[error("{transaction} has no leg {leg}")]
    LegNotFound {
        /// As the client named it.
        transaction: TransactionId,
        /// The first such leg, counted from 0.
        leg: u16,
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
            Rejection::HoldNotFound { .. } => 22,
            Rejection::HoldEnded { .. } => 23,
            Rejection::HoldExceeded { .. } => 24,
            Rejection::CaptureWithoutOutflow { .. } => 25,
            Rejection::ExpiryTooEarly { .. } => 26,
            Rejection::PreconditionFailed { .. } => 27,
            Rejection::BatchRefused { .. } => 28,
            Rejection::HoldJournalFull { .. } => 29,
            Rejection::RestrictedOutflow { .. } => 30,
            Rejection::WithdrawableExceeded { .. } => 31,
            Rejection::RestrictionExceeded { .. } => 32,
            Rejection::AccountBuffered { .. } => 33,
            Rejection::SuspenseNotFound { .. } => 34,
            Rejection::SuspenseResolved { .. } => 35,
            Rejection::SweepNotFound { .. } => 36,
            Rejection::TooManySweeps { .. } => 37,
            Rejection::LegOnGroup { .. } => 38,
            Rejection::LegNotFound { .. } => 39,
        }
    }

    /// The code that clients see. Never changes.
    pub fn code(&self) -> &'static str {
        CODES[usize::from(self.number()) - 1]
    }

    /// Whether the request id remembers it: all do but the complaint about the id itself. Nor is a step remembered that came
    /// out of its order, as it may come again in it, nor a leg on a group, which is to come again on a part.
    pub fn is_remembered(&self) -> bool {
        use Rejection::{LegOnGroup, RequestMismatch, StepOutOfPlace};
        !matches!(self, RequestMismatch { .. } | StepOutOfPlace { .. } | LegOnGroup { .. })
    }
}

/// All codes, in the order of their numbers from 1.
pub const CODES: [&str; 39] = [
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
    "hold_not_found",
    "hold_ended",
    "hold_exceeded",
    "capture_without_outflow",
    "expiry_too_early",
    "precondition_failed",
    "batch_refused",
    "hold_journal_full",
    "restricted_outflow",
    "withdrawable_exceeded",
    "restriction_exceeded",
    "account_buffered",
    "suspense_not_found",
    "suspense_resolved",
    "sweep_not_found",
    "too_many_sweeps",
    "leg_on_group",
    "leg_not_found",
];

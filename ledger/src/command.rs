//! What can be asked of a set: the owned form of every command. Bytes are [`crate::codec`]'s business; rules are
//! [`crate::apply`]'s. `validate` refuses what is malformed before anything reaches a log.

use std::collections::BTreeMap;

use rust_decimal::Decimal;

use crate::account::{FreezeMode, Side};
use crate::amount::{AmountError, to_minor};
use crate::attempt::{Begin, Step};
use crate::buffer::{BufferStep, PostingMode};
use crate::check_back::CheckedBack;
use crate::hold::{Capture, PlaceHold};
use crate::id::TransactionId;
pub use crate::malformed::Malformed;
use crate::state::Durability;
use crate::sweep::SetSweep;

/// Free key/value pairs; at most 32, keys up to 64 bytes, values up to 512.
pub type Metadata = BTreeMap<String, String>;

/// The key in a transaction's metadata by whose value it is found without an account. No decision depends on it.
pub const REFERENCE: &str = "reference";

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
    /// Keeps an id for a group of accounts (ADR 17): no transaction may have a leg on it. The same again changes nothing.
    DefineGroup {
        /// The group's id.
        group: String,
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
    /// Changes how an account may be paid from other sets.
    SetPostingMode {
        /// The client's idempotency key, within the account.
        request_id: String,
        /// The account's id.
        account: String,
        /// Whether it is asked first.
        mode: PostingMode,
    },
    /// Books a credit on that stands on a suspense account; each once.
    ResolveSuspense {
        /// The client's idempotency key, within the suspended credit.
        request_id: String,
        /// The suspended credit: where it was taken in.
        item: TransactionId,
        /// The account that gets it, of the same set and currency.
        account: String,
    },
    /// Sets the sweep of an account.
    SetSweep(SetSweep),
    /// Takes the sweep of an account away.
    RemoveSweep {
        /// The client's idempotency key, within the account.
        request_id: String,
        /// The account's id.
        account: String,
    },
    /// Books legs, all or none.
    Transaction(Transaction),
    /// Takes back a transaction, whole or in part.
    Reversal(Reversal),
    /// Sets an amount aside.
    PlaceHold(PlaceHold),
    /// Gives back what is left of a hold, or a part of it.
    ReleaseHold {
        /// The client's idempotency key, within the account.
        request_id: String,
        /// The held account's id.
        account: String,
        /// The hold.
        hold: TransactionId,
        /// In major units, above zero; None: all that is left, which ends the hold.
        amount: Option<Decimal>,
    },
    /// Moves the expiry of a hold to a later time.
    ExtendHold {
        /// The client's idempotency key, within the account.
        request_id: String,
        /// The held account's id.
        account: String,
        /// The hold.
        hold: TransactionId,
        /// As [`PlaceHold::expires_ns`].
        expires_ns: Option<u64>,
    },
    /// Puts a hold away whose time is over. Proposed by nodes only.
    ExpireHold {
        /// The hold.
        hold: TransactionId,
    },
    /// Releases what is left of a restriction, or a part of it.
    ReleaseRestriction {
        /// The client's idempotency key, within the account.
        request_id: String,
        /// The account's id.
        account: String,
        /// The transaction that brought the money.
        restriction: TransactionId,
        /// In major units, above zero; None: all that is left, which ends the restriction.
        amount: Option<Decimal>,
    },
    /// Puts a restriction away whose time has come. Proposed by nodes only.
    ExpireRestriction {
        /// The account's id.
        account: String,
        /// The transaction that brought the money.
        restriction: TransactionId,
    },
    /// Writes down what came of asking about an overdue hold. Proposed by nodes only.
    CheckedBack(CheckedBack),
    /// Writes down what came of a sweep's run, or that there was nothing to move. Proposed by nodes only.
    EndRun {
        /// The account's id.
        account: String,
        /// The sweep.
        sweep: TransactionId,
        /// The number of the run.
        run: u32,
    },
    /// The next commands of the entry, which are transactions, are booked together or not at all.
    Together {
        /// How many; at least one.
        count: u16,
    },
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
    /// Says or does something about buffered accounts. Proposed by nodes only.
    BufferStep {
        /// What it is about: a mode change, or a payer's transaction.
        by: TransactionId,
        /// The step.
        step: BufferStep,
    },
}

/// One atomic journal entry: two or more legs, balanced per currency.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Transaction {
    /// The client's idempotency key; of a capture that confirms a hold, [`crate::check_back::confirmation_id`]; of a sweep's
    /// run, [`crate::sweep::run_id`].
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
    /// If it captures a hold; then the scope account is named.
    pub capture: Option<Capture>,
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
    /// What must be true of the account before the transaction. In the order of [`Expected`], each at most once.
    pub preconditions: Vec<Precondition>,
    /// What it means for restricted funds.
    pub kind: LegKind,
}

/// What a leg means for restricted funds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LegKind {
    /// Nothing.
    #[default]
    Ordinary,
    /// What leaves the account may only be what is withdrawable of it.
    Withdrawal,
    /// What arrives is available but not withdrawable. No other leg of the transaction is on the account.
    Restricted {
        /// From this ledger time on it is released without a command, in nanoseconds since the Unix epoch; None: only by one.
        until_ns: Option<u64>,
    },
}

/// What must be true of a figure of an account before a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Precondition {
    /// Which figure, and how it is compared.
    pub expected: Expected,
    /// In major units; of a version, the whole number.
    pub value: Decimal,
}

/// Which figure a precondition is about, and how that is compared with its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Expected {
    /// The available balance is at least so much.
    AvailableMin = 1,
    /// The available balance is at most so much.
    AvailableMax = 2,
    /// The posted balance is at least so much.
    PostedMin = 3,
    /// The posted balance is at most so much.
    PostedMax = 4,
    /// [`crate::Account::version`] is just this.
    Version = 5,
}

impl Precondition {
    /// Its value in what the figure is counted in, for an account whose minor units have so many decimal places; with
    /// the places that it has then.
    pub(crate) fn minor(&self, scale: u8) -> Result<(i128, u8), AmountError> {
        let scale = if self.expected == Expected::Version { 0 } else { scale };
        Ok((to_minor(self.value, scale)?, scale))
    }
}

impl Expected {
    /// All of them, in their order.
    pub const ALL: [Expected; 5] = [
        Expected::AvailableMin,
        Expected::AvailableMax,
        Expected::PostedMin,
        Expected::PostedMax,
        Expected::Version,
    ];

    /// The name of such a precondition in requests and answers. Never changes.
    pub fn name(self) -> &'static str {
        match self {
            Expected::AvailableMin => "available_min",
            Expected::AvailableMax => "available_max",
            Expected::PostedMin => "posted_min",
            Expected::PostedMax => "posted_max",
            Expected::Version => "version",
        }
    }
}

impl Leg {
    /// An ordinary one that names no currency and expects nothing.
    pub fn new(account: &str, side: Side, amount: Decimal) -> Self {
        let account = account.to_owned();
        Leg { account, side, amount, currency: None, preconditions: Vec::new(), kind: LegKind::Ordinary }
    }
}

/// Takes back what is left of a transaction, or a part of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reversal {
    /// The client's idempotency key, within the original's scope account.
    pub request_id: String,
    /// The transaction to reverse, of the same set.
    pub transaction: TransactionId,
    /// So much of each leg of a transaction of two. Neither it nor `legs`: all that is left of every leg.
    pub amount: Option<Decimal>,
    /// Parts of these legs and nothing of the others; at least one. Not beside an amount.
    pub legs: Option<Vec<LegPart>>,
    /// The client's reason code.
    pub reason: u16,
    /// Free.
    pub metadata: Metadata,
}

/// A part of one leg of an earlier transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LegPart {
    /// Which leg, in the order of that transaction, from 0. Of several parts they rise.
    pub leg: u16,
    /// In major units, above zero.
    pub amount: Decimal,
}

impl Command {
    /// The client's idempotency key, or what stands for it in a step; definitions, marks and expiries have none, as
    /// repeating them is harmless.
    pub fn request_id(&self) -> Option<&str> {
        match self {
            Command::OpenAccount { request_id, .. }
            | Command::SetLimit { request_id, .. }
            | Command::Freeze { request_id, .. }
            | Command::Unfreeze { request_id, .. }
            | Command::CloseAccount { request_id, .. }
            | Command::SetPostingMode { request_id, .. }
            | Command::ResolveSuspense { request_id, .. }
            | Command::PlaceHold(PlaceHold { request_id, .. })
            | Command::ReleaseHold { request_id, .. }
            | Command::ExtendHold { request_id, .. }
            | Command::ReleaseRestriction { request_id, .. }
            | Command::SetSweep(SetSweep { request_id, .. })
            | Command::RemoveSweep { request_id, .. } => Some(request_id),
            Command::Transaction(transaction) => Some(&transaction.request_id),
            Command::Reversal(reversal) => Some(&reversal.request_id),
            Command::Begin(begin) => Some(&begin.transaction.request_id),
            Command::Step { step, .. } => Some(step.key()),
            Command::DefineCurrency { .. }
            | Command::DefineSubject { .. }
            | Command::DefineGroup { .. }
            | Command::ExpireHold { .. }
            | Command::ExpireRestriction { .. }
            | Command::CheckedBack(_)
            | Command::EndRun { .. }
            | Command::Together { .. }
            | Command::BufferStep { .. }
            | Command::MarkDurability { .. } => None,
        }
    }

    /// The client's own name for what the command books, which need not be unique: what its metadata have under
    /// [`REFERENCE`]. Only where a client's transaction or reversal is taken in: what nodes propose in other sets is a part of it.
    pub fn reference(&self) -> Option<&str> {
        let metadata = match self {
            Command::Transaction(transaction) => &transaction.metadata,
            Command::Begin(begin) => &begin.transaction.metadata,
            Command::Reversal(reversal) => &reversal.metadata,
            _ => return None,
        };
        metadata.get(REFERENCE).map(String::as_str)
    }

    /// The account ids that the command names, in its order, repeated as it repeats them: what it is routed by. A
    /// reversal names none: its transaction's id names the set; so does what is suspended. Nor does what nodes propose, which is sent to a set.
    pub fn accounts(&self) -> impl Iterator<Item = &str> {
        let (one, legs) = match self {
            Command::OpenAccount { account, .. }
            | Command::SetLimit { account, .. }
            | Command::Freeze { account, .. }
            | Command::Unfreeze { account, .. }
            | Command::CloseAccount { account, .. }
            | Command::SetPostingMode { account, .. }
            | Command::PlaceHold(PlaceHold { account, .. })
            | Command::ReleaseHold { account, .. }
            | Command::ExtendHold { account, .. }
            | Command::ReleaseRestriction { account, .. }
            | Command::SetSweep(SetSweep { account, .. })
            | Command::RemoveSweep { account, .. } => (Some(account), [].as_slice()),
            Command::Transaction(transaction) => (None, transaction.legs.as_slice()),
            Command::Begin(begin) => (None, begin.transaction.legs.as_slice()),
            Command::DefineCurrency { .. }
            | Command::DefineSubject { .. }
            | Command::DefineGroup { .. }
            | Command::Reversal(_)
            | Command::Step { .. }
            | Command::ExpireHold { .. }
            | Command::ExpireRestriction { .. }
            | Command::CheckedBack(_)
            | Command::EndRun { .. }
            | Command::Together { .. }
            | Command::ResolveSuspense { .. }
            | Command::BufferStep { .. }
            | Command::MarkDurability { .. } => (None, [].as_slice()),
        };
        one.into_iter().chain(legs.iter().map(|leg| &leg.account)).map(String::as_str)
    }
}

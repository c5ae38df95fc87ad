//! What makes a command malformed: refused before it reaches a log, never remembered, needing no state to decide.
//! What needs state is [`crate::apply`]'s to reject.

use std::collections::BTreeSet;

use rust_decimal::Decimal;

use crate::LEGS_MAX;
use crate::attempt::{Ballot, Begin, LEGS_ACROSS_MAX, Part, Restore, SETS_MAX, Step, Sum, Vote};
use crate::buffer::{Announcement, BufferStep, SENT_AGAIN_MAX};
use crate::chart::SCALE_MAX;
use crate::check_back::{Came, CheckBack, CheckedBack, OnExpiry, confirmation_of};
use crate::command::{Command, Expected, Leg, LegKind, Metadata, Precondition, Reversal, Transaction};
use crate::hold::PlaceHold;
use crate::id::is_valid;
use crate::rejection::Rejection;
use crate::sweep::{INTERVAL_S_MAX, Schedule, SetSweep, run_of};

/// Pairs of metadata at most.
pub const METADATA_PAIRS_MAX: usize = 32;
/// Bytes of a metadata key at most.
pub const METADATA_KEY_BYTES_MAX: usize = 64;
/// Bytes of a metadata value at most.
pub const METADATA_VALUE_BYTES_MAX: usize = 512;
/// Bytes of a subject's name at most.
pub const NAME_BYTES_MAX: usize = 128;
/// The accounting dates allowed, in days since 1970-01-01: 0001-01-01 to 9999-12-31.
pub const DATES: std::ops::RangeInclusive<i32> = -719_162..=2_932_896;

/// Why a command is refused before anyone looks at the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// A request id outside the alphabet or length.
    #[error("the request id is not 1-64 of A-Za-z0-9._:-{{}}")]
    RequestId,
    /// An account id outside the alphabet or length.
    #[error("an account id is not 1-64 of A-Za-z0-9._:-{{}}")]
    AccountId,
    /// A currency code outside the alphabet or length.
    #[error("a currency code is not 1-64 of A-Za-z0-9._:-{{}}")]
    Currency,
    /// A subject code outside the alphabet or length.
    #[error("a subject code is not 1-64 of A-Za-z0-9._:-{{}}")]
    Subject,
    /// A subject's name that is empty or too long.
    #[error("a subject's name has 1-{NAME_BYTES_MAX} bytes")]
    Name,
    /// A scale above the greatest.
    #[error("a currency has at most {SCALE_MAX} decimal places")]
    Scale,
    /// Fewer than two legs.
    #[error("a transaction has at least two legs")]
    TooFewLegs,
    /// More than [`LEGS_MAX`] legs.
    #[error("a transaction has at most {LEGS_MAX} legs")]
    TooManyLegs,
    /// Both legs of a two-leg transaction on one account.
    #[error("the two legs name the same account")]
    SameAccount,
    /// The named scope account has no leg.
    #[error("the scope account is not an account of the transaction's legs")]
    ScopeAccount,
    /// More than [`LEGS_ACROSS_MAX`] legs over several sets.
    #[error("a transaction over several sets has at most {LEGS_ACROSS_MAX} legs")]
    TooManyLegsAcross,
    /// More than [`SETS_MAX`] sets.
    #[error("a transaction touches at most {SETS_MAX} sets")]
    TooManySets,
    /// What nodes say of an attempt does not fit together.
    #[error("the step of the attempt does not fit together")]
    Step,
    /// A capture does not name its scope account.
    #[error("a capture names the held account as its scope account")]
    CaptureScope,
    /// A hold that is to be checked back has no expiry.
    #[error("a hold that is checked back when its time is over has an expiry")]
    CheckBack,
    /// The name of an initiator outside the alphabet or length.
    #[error("an initiator's name is not 1-64 of A-Za-z0-9._:-{{}}")]
    Initiator,
    /// A leg's preconditions repeat one, or name a version that is no whole number.
    #[error("a leg has each precondition once, and a version is a whole number")]
    Precondition,
    /// An account with a restricted leg has another one.
    #[error("an account with a restricted leg has no other leg in the transaction")]
    RestrictedLeg,
    /// A sweep that keeps less than nothing, or whose schedule cannot be.
    #[error(
        "a sweep keeps nothing or more, and runs every 1-{INTERVAL_S_MAX} seconds, above no less than what it keeps, or \
         daily"
    )]
    Sweep,
    /// A reversal that names both an amount and legs, or no leg, or one twice.
    #[error("a reversal names an amount, or at least one leg and each once")]
    ReversalLegs,
    /// A group of no transactions.
    #[error("an atomic batch has at least one transaction")]
    EmptyGroup,
    /// Zero or negative.
    #[error("an amount is above zero")]
    Amount,
    /// Outside the years 1 to 9999.
    #[error("an accounting date is between 0001-01-01 and 9999-12-31")]
    Date,
    /// Too many pairs, an empty key, or a key or value too long.
    #[error(
        "metadata has at most {METADATA_PAIRS_MAX} pairs, keys of 1-{METADATA_KEY_BYTES_MAX} bytes and values of at \
         most {METADATA_VALUE_BYTES_MAX}"
    )]
    Metadata,
}

/// The list of all, each with its code.
macro_rules! codes {
    ($($variant:ident $code:literal)*) => {
        impl Malformed {
            /// All of them.
            pub const ALL: &[Malformed] = &[$(Malformed::$variant),*];

            /// The code that clients see. Never changes.
            pub fn code(self) -> &'static str {
                match self {
                    $(Malformed::$variant => $code),*
                }
            }
        }
    };
}

codes! {
    RequestId "malformed_request_id"
    AccountId "malformed_account_id"
    Currency "malformed_currency"
    Subject "malformed_subject"
    Name "malformed_name"
    Scale "scale_too_large"
    TooFewLegs "too_few_legs"
    TooManyLegs "too_many_legs"
    SameAccount "same_account"
    ScopeAccount "scope_account_without_leg"
    TooManyLegsAcross "too_many_legs_across_sets"
    TooManySets "too_many_sets"
    Step "malformed_step"
    CaptureScope "capture_without_scope_account"
    CheckBack "check_back_without_expiry"
    Initiator "malformed_initiator"
    Precondition "malformed_precondition"
    RestrictedLeg "restricted_leg_not_alone"
    Sweep "malformed_sweep"
    ReversalLegs "malformed_reversal_legs"
    EmptyGroup "empty_batch"
    Amount "amount_not_positive"
    Date "date_out_of_range"
    Metadata "metadata_too_large"
}

impl Command {
    /// Whether a client may ask for it, as far as its form goes: the names that nodes give to their own transactions are not for it.
    pub fn validate_of_client(&self) -> Result<(), Malformed> {
        self.validate()?;
        match self {
            Command::Transaction(transaction) => {
                check(is_valid(&transaction.request_id), Malformed::RequestId)
            }
            _ => Ok(()),
        }
    }

    /// Whether the command may be proposed at all.
    pub fn validate(&self) -> Result<(), Malformed> {
        match self {
            Command::DefineCurrency { code, scale } => {
                check(is_valid(code), Malformed::Currency)?;
                check(*scale <= SCALE_MAX, Malformed::Scale)
            }
            Command::DefineSubject { code, name, .. } => {
                check(is_valid(code), Malformed::Subject)?;
                check((1..=NAME_BYTES_MAX).contains(&name.len()), Malformed::Name)
            }
            Command::DefineGroup { group } => check(is_valid(group), Malformed::AccountId),
            Command::OpenAccount { request_id, account, subject, currency, metadata, .. } => {
                ids(request_id, account)?;
                check(is_valid(subject), Malformed::Subject)?;
                check(is_valid(currency), Malformed::Currency)?;
                metadata_fits(metadata)
            }
            Command::SetLimit { request_id, account, .. }
            | Command::Freeze { request_id, account, .. }
            | Command::Unfreeze { request_id, account, .. }
            | Command::CloseAccount { request_id, account }
            | Command::SetPostingMode { request_id, account, .. }
            | Command::ResolveSuspense { request_id, account, .. } => ids(request_id, account),
            Command::RemoveSweep { request_id, account } => ids(request_id, account),
            Command::SetSweep(set) => set.validate(),
            Command::EndRun { account, run, .. } => {
                check(is_valid(account), Malformed::AccountId)?;
                check(*run > 0, Malformed::Step)
            }
            Command::BufferStep { step, .. } => step.validate(),
            Command::Transaction(transaction) => transaction.validate(),
            Command::Reversal(reversal) => reversal.validate(),
            Command::PlaceHold(place) => place.validate(),
            Command::ReleaseHold { request_id, account, amount, .. }
            | Command::ReleaseRestriction { request_id, account, amount, .. } => {
                ids(request_id, account)?;
                check(amount.is_none_or(|amount| amount > Decimal::ZERO), Malformed::Amount)
            }
            Command::ExtendHold { request_id, account, .. } => ids(request_id, account),
            Command::Together { count } => check(*count > 0, Malformed::EmptyGroup),
            Command::ExpireRestriction { account, .. } => check(is_valid(account), Malformed::AccountId),
            Command::CheckedBack(done) => done.validate(),
            Command::MarkDurability { .. } | Command::ExpireHold { .. } => Ok(()),
            Command::Begin(begin) => begin.validate(),
            Command::Step { step, .. } => step.validate(),
        }
    }
}

impl Transaction {
    fn validate(&self) -> Result<(), Malformed> {
        let named_by_nodes = self.confirms() || run_of(&self.request_id).is_some();
        check(is_valid(&self.request_id) || named_by_nodes, Malformed::RequestId)?;
        check(self.legs.len() >= 2, Malformed::TooFewLegs)?;
        check(self.legs.len() <= LEGS_MAX, Malformed::TooManyLegs)?;
        self.legs.iter().try_for_each(Leg::validate)?;
        if let [first, second] = self.legs.as_slice() {
            check(first.account != second.account, Malformed::SameAccount)?;
        }
        restricted_alone(&self.legs)?;
        if let Some(scope) = &self.scope_account {
            check(self.legs.iter().any(|leg| leg.account == *scope), Malformed::ScopeAccount)?;
        }
        check(self.capture.is_none() || self.scope_account.is_some(), Malformed::CaptureScope)?;
        check(self.accounting_date.is_none_or(|date| DATES.contains(&date)), Malformed::Date)?;
        metadata_fits(&self.metadata)
    }

    /// Whether it is named as the confirmation of the hold that it captures as a whole.
    fn confirms(&self) -> bool {
        let confirmed = confirmation_of(&self.request_id).map(|(hold, _)| hold);
        self.capture.is_some_and(|capture| capture.is_final && Some(capture.hold) == confirmed)
    }
}

impl SetSweep {
    fn validate(&self) -> Result<(), Malformed> {
        ids(&self.request_id, &self.account)?;
        check(is_valid(&self.to), Malformed::AccountId)?;
        check(self.to != self.account, Malformed::SameAccount)?;
        let possible = match &self.schedule {
            Schedule::Every { seconds, .. } => (1..=INTERVAL_S_MAX).contains(seconds),
            Schedule::Above { amount } => *amount >= self.keep,
            Schedule::Daily => true,
        };
        check(self.keep >= Decimal::ZERO && possible, Malformed::Sweep)
    }
}

impl CheckedBack {
    /// Journals alone say of a hold that it was confirmed.
    fn validate(&self) -> Result<(), Malformed> {
        let sound = match self.came {
            Came::Failed { why, .. } => why.is_sound(),
            Came::Confirmed => false,
            Came::Pending { .. } | Came::Cancelled | Came::Released | Came::Kept => true,
        };
        check(sound && self.no > 0, Malformed::Step)
    }
}

impl PlaceHold {
    fn validate(&self) -> Result<(), Malformed> {
        ids(&self.request_id, &self.account)?;
        check(self.amount > Decimal::ZERO, Malformed::Amount)?;
        check(self.currency.as_deref().is_none_or(is_valid), Malformed::Currency)?;
        if let OnExpiry::CheckBack(CheckBack { initiator, to }) = &self.on_expiry {
            check(is_valid(initiator), Malformed::Initiator)?;
            check(is_valid(to), Malformed::AccountId)?;
            check(*to != self.account, Malformed::SameAccount)?;
            check(self.expires_ns.is_some(), Malformed::CheckBack)?;
        }
        metadata_fits(&self.metadata)
    }
}

impl Begin {
    fn validate(&self) -> Result<(), Malformed> {
        let Begin { transaction, sets } = self;
        transaction.validate()?;
        check(transaction.legs.len() <= LEGS_ACROSS_MAX, Malformed::TooManyLegsAcross)?;
        let different: BTreeSet<u32> = sets.iter().copied().collect();
        check(different.len() <= SETS_MAX, Malformed::TooManySets)?;
        check(sets.len() == transaction.legs.len() && different.len() >= 2, Malformed::Step)?;
        let legs = || transaction.legs.iter().zip(sets);
        let lives_there = |(leg, set): (&Leg, &u32)| {
            legs().all(|(other, its_set)| other.account != leg.account || its_set == set)
        };
        check(legs().all(lives_there), Malformed::Step)
    }
}

impl Step {
    fn validate(&self) -> Result<(), Malformed> {
        match self {
            Step::Prepare { legs, accounting_date, label, .. } => {
                check((1..LEGS_ACROSS_MAX).contains(&legs.len()), Malformed::Step)?;
                check(DATES.contains(accounting_date), Malformed::Date)?;
                legs.iter().try_for_each(Leg::validate)?;
                restricted_alone(legs)?;
                metadata_fits(&label.metadata)
            }
            Step::Decide(Ballot::Votes(votes)) => {
                check(votes.len() < SETS_MAX && votes.iter().all(Vote::is_sound), Malformed::Step)
            }
            Step::Decide(Ballot::Booked { votes, .. }) | Step::Lost { votes: Some(votes) } => {
                check(have_agreed(votes), Malformed::Step)
            }
            Step::Settle { parts } => {
                let few = |part: &Part| part.legs.len() < 2 * LEGS_ACROSS_MAX;
                check(parts.len() < SETS_MAX && parts.iter().all(few), Malformed::Step)
            }
            Step::Restore(Restore { legs, sums, accounting_date, label, .. }) => {
                let says_something = !legs.is_empty() || sums.is_some();
                let few = legs.len() < LEGS_ACROSS_MAX && sums.iter().all(|sums| few_sums(sums));
                check(says_something && few, Malformed::Step)?;
                check(DATES.contains(accounting_date), Malformed::Date)?;
                legs.iter().try_for_each(Leg::validate)?;
                restricted_alone(legs)?;
                metadata_fits(&label.metadata)
            }
            Step::Decide(Ballot::GivenUp { .. })
            | Step::Lost { votes: None }
            | Step::Commit
            | Step::Abort => Ok(()),
        }
    }
}

/// What sets have agreed to: of each once.
fn have_agreed(votes: &[Vote]) -> bool {
    let agreed = |vote: &Vote| vote.said.as_ref().is_ok_and(|sums| few_sums(sums));
    votes.len() < SETS_MAX && votes.is_sorted_by(|a, b| a.set < b.set) && votes.iter().all(agreed)
}

/// As many as a set's part can have, and each in order, so that one meaning has one form.
fn few_sums(sums: &[Sum]) -> bool {
    let rises =
        sums.windows(2).all(|two| (&two[0].currency, two[0].scale) < (&two[1].currency, two[1].scale));
    let fits =
        |sum: &Sum| is_valid(&sum.currency) && sum.scale <= SCALE_MAX && sum.debits >= 0 && sum.credits >= 0;
    sums.len() < LEGS_ACROSS_MAX && rises && sums.iter().all(fits)
}

impl BufferStep {
    fn validate(&self) -> Result<(), Malformed> {
        let announces = |one: &Announcement| {
            check(is_valid(&one.account), Malformed::AccountId)?;
            check(is_valid(&one.currency), Malformed::Currency)?;
            check(one.scale <= SCALE_MAX, Malformed::Scale)
        };
        match self {
            BufferStep::Announce(account) | BufferStep::Withdraw(account) => announces(account),
            BufferStep::Drained { account, ends } => {
                check(is_valid(account), Malformed::AccountId)?;
                check(u16::try_from(ends.len()).is_ok(), Malformed::Step)
            }
            BufferStep::Credit(credit) => {
                check(is_valid(&credit.account), Malformed::AccountId)?;
                check(is_valid(&credit.currency), Malformed::Currency)?;
                check(credit.scale <= SCALE_MAX, Malformed::Scale)?;
                check(credit.amount > 0, Malformed::Amount)?;
                check(DATES.contains(&credit.accounting_date), Malformed::Date)?;
                metadata_fits(&credit.label.metadata)
            }
            BufferStep::Acknowledge { .. } => Ok(()),
            BufferStep::Lost { sums, .. } => check(few_sums(sums), Malformed::Step),
            BufferStep::SendAgain { parcels, .. } => {
                check((1..=SENT_AGAIN_MAX).contains(&parcels.len()), Malformed::Step)
            }
        }
    }
}

impl Vote {
    /// Few sums, or the last word of a set: what may be said again is no reason to decide by.
    fn is_sound(&self) -> bool {
        match &self.said {
            Ok(sums) => sums.len() < LEGS_ACROSS_MAX,
            Err(refusal) => refusal.is_remembered() && !matches!(refusal, Rejection::SetUnavailable { .. }),
        }
    }
}

impl Leg {
    fn validate(&self) -> Result<(), Malformed> {
        check(is_valid(&self.account), Malformed::AccountId)?;
        check(self.currency.as_deref().is_none_or(is_valid), Malformed::Currency)?;
        check(self.amount > Decimal::ZERO, Malformed::Amount)?;
        let rising = self.preconditions.is_sorted_by(|a, b| a.expected < b.expected);
        let whole = |one: &Precondition| {
            let number = u64::try_from(one.value.mantissa());
            one.expected != Expected::Version || one.value.scale() == 0 && number.is_ok()
        };
        check(rising && self.preconditions.iter().all(whole), Malformed::Precondition)
    }
}

/// All that a restricted leg brings stays: nothing of it leaves by another leg, whose withdrawal would be of nothing else.
fn restricted_alone(legs: &[Leg]) -> Result<(), Malformed> {
    let restricted = |leg: &&Leg| matches!(leg.kind, LegKind::Restricted { .. });
    let alone = |leg: &Leg| legs.iter().filter(|other| other.account == leg.account).count() == 1;
    check(legs.iter().filter(restricted).all(alone), Malformed::RestrictedLeg)
}

impl Reversal {
    fn validate(&self) -> Result<(), Malformed> {
        check(is_valid(&self.request_id), Malformed::RequestId)?;
        check(self.amount.is_none_or(|amount| amount > Decimal::ZERO), Malformed::Amount)?;
        if let Some(legs) = &self.legs {
            let rising = legs.is_sorted_by(|a, b| a.leg < b.leg);
            let possible = legs.last().is_some_and(|last| usize::from(last.leg) < LEGS_MAX);
            check(self.amount.is_none() && rising && possible, Malformed::ReversalLegs)?;
            check(legs.iter().all(|part| part.amount > Decimal::ZERO), Malformed::Amount)?;
        }
        metadata_fits(&self.metadata)
    }
}

fn ids(request_id: &str, account: &str) -> Result<(), Malformed> {
    check(is_valid(request_id), Malformed::RequestId)?;
    check(is_valid(account), Malformed::AccountId)
}

fn metadata_fits(metadata: &Metadata) -> Result<(), Malformed> {
    let pair_fits = |(key, value): (&String, &String)| {
        (1..=METADATA_KEY_BYTES_MAX).contains(&key.len()) && value.len() <= METADATA_VALUE_BYTES_MAX
    };
    check(metadata.len() <= METADATA_PAIRS_MAX && metadata.iter().all(pair_fits), Malformed::Metadata)
}

fn check(holds: bool, otherwise: Malformed) -> Result<(), Malformed> {
    if holds { Ok(()) } else { Err(otherwise) }
}

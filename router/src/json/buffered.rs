//! Buffered accounts and suspense in JSON. See [`crate::buffered`].

use serde::Serialize;
use twinset_ledger::PostingMode;
use twinset_proto::ledger::v1 as wire;
use utoipa::ToSchema;

use super::reply::{Position, side};
use super::request::SideText;

/// Whether sets whose accounts pay an account ask it first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum ModeText {
    /// They do.
    Strict,
    /// They do not.
    Buffered,
}

impl From<ModeText> for PostingMode {
    fn from(mode: ModeText) -> PostingMode {
        match mode {
            ModeText::Strict => PostingMode::Strict,
            ModeText::Buffered => PostingMode::Buffered,
        }
    }
}

/// A mode in a word; empty if it is not told.
pub(super) fn mode_text(mode: i32) -> &'static str {
    match wire::PostingMode::try_from(mode) {
        Ok(wire::PostingMode::PostingStrict) => "strict",
        Ok(wire::PostingMode::PostingBuffered) => "buffered",
        Ok(wire::PostingMode::PostingDraining) => "draining",
        Ok(wire::PostingMode::PostingUnspecified) | Err(_) => "",
    }
}

/// POST /v1/accounts/{account}/posting-mode
#[derive(Debug, serde::Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SetPostingMode {
    /// The idempotency key, within the account.
    pub request_id: String,
    /// The mode from now on.
    pub mode: ModeText,
}

/// POST /v1/suspense/{item}/resolve
#[derive(Debug, serde::Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ResolveSuspense {
    /// The idempotency key, within the suspended credit.
    pub request_id: String,
    /// The account that gets it, of the same set and currency.
    pub account: String,
}

/// What is on its way to a buffered account.
#[derive(Debug, Serialize, ToSchema)]
pub struct InTransit {
    /// The account.
    pub account: String,
    /// Its currency; empty if no set that has answered ever heard of it.
    pub currency: String,
    /// From all sets that have answered.
    pub amount: String,
    /// From each set that has answered and has paid it unasked.
    pub from: Vec<InTransitFrom>,
    /// Sets that have not answered: what is on its way from them is not known.
    pub silent: Vec<u32>,
}

/// What is on its way from one set.
#[derive(Debug, Serialize, ToSchema)]
pub struct InTransitFrom {
    /// The payers' set.
    pub set: u32,
    /// How many credits.
    pub credits: u64,
    /// Their sum.
    pub amount: String,
    /// As of when.
    pub as_of: Option<Position>,
    /// How old the answer may be; 0 for a linearizable read.
    pub age_ms: u64,
}

impl From<wire::GetInTransitReply> for InTransit {
    fn from(reply: wire::GetInTransitReply) -> InTransit {
        let from = |of: wire::InTransit| InTransitFrom {
            set: of.set,
            credits: of.credits,
            amount: of.amount,
            as_of: of.as_of.map(Position::from),
            age_ms: of.age_ms,
        };
        InTransit {
            account: reply.account,
            currency: reply.currency,
            amount: reply.amount,
            from: reply.from.into_iter().map(from).collect(),
            silent: reply.silent,
        }
    }
}

/// Credits that stand on the suspense accounts of a set.
#[derive(Debug, Serialize, ToSchema)]
pub struct SuspensePage {
    /// In the order in which they came.
    pub credits: Vec<SuspendedCredit>,
    /// Give it as `after` for the next page; empty: there is none.
    pub next: String,
    /// As of when.
    pub as_of: Option<Position>,
    /// How old the answer may be; 0 for a linearizable read.
    pub age_ms: u64,
}

/// A credit from another set that could not be booked where it should be.
#[derive(Debug, Serialize, ToSchema)]
pub struct SuspendedCredit {
    /// Its name.
    #[schema(example = "2-1-907-4")]
    pub item: String,
    /// Whose it was to be.
    pub account: String,
    /// Debit or credit.
    pub side: Option<SideText>,
    /// In major units.
    pub amount: String,
    /// Currency code.
    pub currency: String,
    /// The payer's transaction.
    pub transaction: String,
    /// "YYYY-MM-DD".
    pub accounting_date: String,
    /// Why it was not booked there: a code of docs/reference/errors.md.
    pub reason: String,
    /// The same in words.
    pub detail: String,
    /// Where it was taken in.
    pub position: Option<Position>,
}

impl From<wire::ListSuspenseReply> for SuspensePage {
    fn from(page: wire::ListSuspenseReply) -> SuspensePage {
        let credit = |credit: wire::SuspendedCredit| SuspendedCredit {
            side: side(credit.side),
            item: credit.item,
            account: credit.account,
            amount: credit.amount,
            currency: credit.currency,
            transaction: credit.transaction,
            accounting_date: credit.accounting_date,
            reason: credit.reason,
            detail: credit.detail,
            position: credit.position.map(Position::from),
        };
        SuspensePage {
            credits: page.credits.into_iter().map(credit).collect(),
            next: page.next,
            as_of: page.as_of.map(Position::from),
            age_ms: page.age_ms,
        }
    }
}

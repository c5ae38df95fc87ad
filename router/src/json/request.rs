//! Requests in JSON, strictly: unknown fields are refused, amounts are strings, dates are dates, and what
//! [`super::strict`] says of all of them. What these types let through is well-formed text; whether it makes sense is
//! for `Command::validate` and the ledger to say.

use std::collections::BTreeMap;
use std::fmt;

use rust_decimal::Decimal;
use serde::de::{Deserialize, Deserializer, Error as _, Visitor};
use twinset_ledger::{
    Command, FreezeMode, Leg, LegPart, Reversal, Side, Transaction, TransactionId, amount, date,
};
use utoipa::ToSchema;

use super::holds::{Capture, Preconditions};
use super::restrictions::Restricted;
use super::strict::Strict;
use crate::batch::Batch;
use crate::error::Error;
use crate::restrictions::kind_of;

/// A decimal in a JSON string.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Amount(pub Decimal);

/// The floor of an account: a decimal, or "none".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit(pub Option<Decimal>);

impl Default for Limit {
    fn default() -> Self {
        Limit(Some(Decimal::ZERO))
    }
}

/// A day, as "YYYY-MM-DD".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Date(pub i32);

/// Takes only strings, and says what to write instead of a number.
pub(super) struct Text<F> {
    pub(super) parse: F,
    pub(super) expected: &'static str,
}

impl<T, F: Fn(&str) -> Result<T, String>> Visitor<'_> for Text<F> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.expected)
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<T, E> {
        (self.parse)(text).map_err(E::custom)
    }
}

const AMOUNT: &str =
    "an amount in a JSON string, such as \"10.50\" (a JSON number is refused: it could lose cents)";

fn decimal(text: &str) -> Result<Decimal, String> {
    amount::parse(text).map_err(|error| error.to_string())
}

impl<'de> Deserialize<'de> for Amount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(Text { parse: |text: &str| decimal(text).map(Amount), expected: AMOUNT })
    }
}

/// Reads a limit: a decimal, or "none".
pub fn parse_limit(text: &str) -> Result<Option<Decimal>, String> {
    if text == "none" { Ok(None) } else { decimal(text).map(Some) }
}

impl<'de> Deserialize<'de> for Limit {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let expected = "a limit in a JSON string: \"none\", or an amount such as \"-100.00\"";
        deserializer.deserialize_str(Text { parse: |text: &str| parse_limit(text).map(Limit), expected })
    }
}

impl<'de> Deserialize<'de> for Date {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let expected = "a date as \"YYYY-MM-DD\"";
        let parse =
            |text: &str| date::parse(text).map(Date).ok_or_else(|| format!("{text:?} is not {expected}"));
        deserializer.deserialize_str(Text { parse, expected })
    }
}

/// Debit or credit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum SideText {
    /// Left.
    Debit,
    /// Right.
    Credit,
}

impl From<SideText> for Side {
    fn from(side: SideText) -> Side {
        match side {
            SideText::Debit => Side::Debit,
            SideText::Credit => Side::Credit,
        }
    }
}

impl From<Side> for SideText {
    fn from(side: Side) -> SideText {
        match side {
            Side::Debit => SideText::Debit,
            Side::Credit => SideText::Credit,
        }
    }
}

/// Which legs a freeze refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum FreezeText {
    /// Debit legs.
    Debit,
    /// Credit legs.
    Credit,
    /// All legs.
    Both,
}

/// PUT /v1/currencies/{code}
#[derive(Debug, serde::Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DefineCurrency {
    /// Decimal places of a minor unit.
    pub scale: u8,
}

/// PUT /v1/subjects/{code}
#[derive(Debug, serde::Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DefineSubject {
    /// For people.
    pub name: String,
    /// The side that raises the balance of its accounts.
    pub normal_side: SideText,
}

/// POST /v1/accounts
#[derive(Debug, serde::Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct OpenAccount {
    /// The idempotency key, within the account.
    pub request_id: String,
    /// 1-64 of `A-Za-z0-9._:-{}`. A part in braces decides the set alone.
    pub account: String,
    /// General-ledger subject.
    pub subject: String,
    /// Currency code.
    pub currency: String,
    /// Absent: the subject's.
    pub normal_side: Option<SideText>,
    /// Floor of the available balance: "none" for no floor. Absent: "0".
    #[serde(default)]
    #[schema(value_type = String, default = "0")]
    pub limit: Limit,
    /// Free.
    #[serde(default)]
    pub metadata: BTreeMap<String, String>,
}

/// POST /v1/accounts/{id}/limit
#[derive(Debug, serde::Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SetLimit {
    /// The idempotency key, within the account.
    pub request_id: String,
    /// Floor of the available balance: "none" for no floor.
    #[schema(value_type = String)]
    pub limit: Limit,
}

/// POST /v1/accounts/{id}/freeze and /unfreeze
#[derive(Debug, serde::Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Freeze {
    /// The idempotency key, within the account.
    pub request_id: String,
    /// Which legs.
    pub mode: FreezeText,
}

/// POST /v1/accounts/{id}/close
#[derive(Debug, serde::Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CloseAccount {
    /// The idempotency key, within the account.
    pub request_id: String,
}

/// POST /v1/transactions
#[derive(Debug, serde::Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PostTransaction {
    /// The idempotency key, within the scope account.
    pub request_id: String,
    /// Absent: the smallest account id among the outflow legs; if the legs are in several sets, the smallest that is
    /// debited.
    pub scope_account: Option<String>,
    /// Two or more, balanced per currency.
    pub legs: Vec<PostLeg>,
    /// Yours.
    #[serde(default)]
    pub kind: u16,
    /// Yours.
    #[serde(default)]
    pub reason: u16,
    /// Absent: the day of the ledger time.
    #[schema(value_type = Option<String>, example = "2026-01-31")]
    pub accounting_date: Option<Date>,
    /// If it captures a hold of its scope account.
    pub capture: Option<Capture>,
    /// Free.
    #[serde(default)]
    pub metadata: BTreeMap<String, String>,
}

/// What a transaction asks of one account.
#[derive(Debug, serde::Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PostLeg {
    /// The account's id.
    pub account: String,
    /// Debit or credit.
    pub side: SideText,
    /// Above zero, in major units.
    #[schema(value_type = String, example = "10.50")]
    pub amount: Amount,
    /// If named, it must be the account's.
    pub currency: Option<String>,
    /// What must be true of the account before the transaction.
    pub preconditions: Option<Box<Preconditions>>,
    /// Whether what leaves the account may only be what is withdrawable of it.
    #[serde(default)]
    pub withdrawal: bool,
    /// What arrives is available and not withdrawable. Not beside `withdrawal`, and no other leg is on the account.
    pub restricted: Option<Restricted>,
}

/// POST /v1/batches
#[derive(Debug, serde::Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PostBatch {
    /// Each stands for itself, unless the batch is atomic.
    pub transactions: Vec<PostTransaction>,
    /// All are booked, or none. Their accounts must be of one set.
    #[serde(default)]
    pub atomic: bool,
    /// Whether the results name the postings.
    #[serde(default)]
    pub with_postings: bool,
}

/// POST /v1/transactions/{id}/reversals
#[derive(Debug, serde::Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Reverse {
    /// The idempotency key, within the original's scope account.
    pub request_id: String,
    /// So much of each leg of a transaction of two. Neither it nor `legs`: all that is left of every leg.
    #[schema(value_type = Option<String>, example = "10.50")]
    pub amount: Option<Amount>,
    /// Parts of these legs, and nothing of the others: at least one, in any order, none twice. Together they balance. Not beside an
    /// amount.
    pub legs: Option<Vec<ReverseLeg>>,
    /// Yours.
    #[serde(default)]
    pub reason: u16,
    /// Free.
    #[serde(default)]
    pub metadata: BTreeMap<String, String>,
}

/// A part of a leg.
#[derive(Debug, serde::Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ReverseLeg {
    /// Which leg, in the order of the transaction, from 0.
    pub leg: u16,
    /// In major units.
    #[schema(value_type = String, example = "10.50")]
    pub amount: Amount,
}

impl OpenAccount {
    /// The command that is meant.
    pub fn into_command(self) -> Command {
        Command::OpenAccount {
            request_id: self.request_id,
            account: self.account,
            subject: self.subject,
            currency: self.currency,
            normal_side: self.normal_side.map(Side::from),
            limit: self.limit.0,
            metadata: self.metadata,
        }
    }
}

impl Freeze {
    /// The command that is meant.
    pub fn into_command(self, account: String, freeze: bool) -> Command {
        let mode = match self.mode {
            FreezeText::Debit => FreezeMode::Debit,
            FreezeText::Credit => FreezeMode::Credit,
            FreezeText::Both => FreezeMode::Both,
        };
        let request_id = self.request_id;
        match freeze {
            true => Command::Freeze { request_id, account, mode },
            false => Command::Unfreeze { request_id, account, mode },
        }
    }
}

impl PostTransaction {
    /// The transaction that is meant.
    pub fn into_transaction(self) -> Result<Transaction, Error> {
        let leg = |leg: PostLeg| {
            let until = leg.restricted.map(|restricted| restricted.until.map(|time| time.0));
            Ok(Leg {
                account: leg.account,
                side: leg.side.into(),
                amount: leg.amount.0,
                currency: leg.currency,
                preconditions: leg.preconditions.map(|asked| (*asked).into()).unwrap_or_default(),
                kind: kind_of(leg.withdrawal, until).map_err(Error::malformed)?,
            })
        };
        Ok(Transaction {
            request_id: self.request_id,
            scope_account: self.scope_account,
            legs: self.legs.into_iter().map(leg).collect::<Result<_, Error>>()?,
            kind: self.kind,
            reason: self.reason,
            accounting_date: self.accounting_date.map(|date| date.0),
            capture: self.capture.map(From::from),
            metadata: self.metadata,
        })
    }
}

impl PostBatch {
    /// The batch that is meant.
    pub fn into_batch(self) -> Result<Batch, Error> {
        let transactions = self.transactions.into_iter().map(PostTransaction::into_transaction);
        let transactions = transactions.collect::<Result<_, _>>()?;
        Ok(Batch { transactions, atomic: self.atomic, with_postings: self.with_postings })
    }
}

impl Reverse {
    /// The command that is meant.
    pub fn into_command(self, transaction: TransactionId) -> Command {
        Command::Reversal(Reversal {
            request_id: self.request_id,
            transaction,
            amount: self.amount.map(|amount| amount.0),
            legs: self.legs.map(|legs| {
                in_their_order(legs.into_iter().map(|part| LegPart { leg: part.leg, amount: part.amount.0 }))
            }),
            reason: self.reason,
            metadata: self.metadata,
        })
    }
}

/// Parts of legs as the ledger takes them, whatever order they came in.
pub(crate) fn in_their_order(parts: impl IntoIterator<Item = LegPart>) -> Vec<LegPart> {
    let mut parts: Vec<LegPart> = parts.into_iter().collect();
    parts.sort_by_key(|part| part.leg);
    parts
}

/// Reads a body.
pub fn parse<'de, T: Deserialize<'de>>(body: &'de [u8]) -> Result<T, serde_json::Error> {
    if body.is_empty() {
        return Err(serde_json::Error::custom("the body is empty; a JSON object is expected"));
    }
    let mut json = serde_json::Deserializer::from_slice(body);
    let request = T::deserialize(Strict(&mut json))?;
    json.end()?;
    Ok(request)
}

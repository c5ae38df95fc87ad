//! Replies in JSON. Written straight from what the core gives; money as strings, times as RFC 3339 in UTC.

use std::collections::BTreeMap;

use serde::Serialize;
use twinset_proto::ledger::v1 as wire;
use utoipa::ToSchema;

use crate::api::{Booked, BookedLeg, Figures, Found, Receipt};
use crate::error::At;
use crate::json::buffered;
use crate::json::holds::{CaptureFound, HoldFound};
use crate::json::request::SideText;
use crate::json::restrictions::{RestrictedFound, RestrictionFound};
use crate::text;

/// Where and when something was decided.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Position {
    /// The set.
    pub set: u32,
    /// The index of the entry in the set's log.
    pub index: u64,
    /// Ledger time, strictly increasing in a set.
    #[schema(example = "2026-01-31T12:00:00.000000001Z")]
    pub time: String,
}

impl From<At> for Position {
    fn from(at: At) -> Position {
        Position { set: at.set, index: at.index, time: text::time(at.time_unix_ns) }
    }
}

impl From<wire::Position> for Position {
    fn from(position: wire::Position) -> Position {
        Position { set: position.set, index: position.index, time: text::time(position.time_unix_ns) }
    }
}

/// A definition was made, or was there already.
#[derive(Debug, Serialize, ToSchema)]
pub struct Defined {
    /// Whether it is new.
    pub changed: bool,
}

/// An account was opened or changed.
#[derive(Debug, Serialize, ToSchema)]
pub struct AccountChanged {
    /// Where.
    pub position: Position,
    /// Whether this is the first answer given again.
    pub replayed: bool,
}

impl From<Receipt> for AccountChanged {
    fn from(receipt: Receipt) -> AccountChanged {
        AccountChanged { position: receipt.at.into(), replayed: receipt.replayed }
    }
}

/// A transaction was booked.
#[derive(Debug, Serialize, ToSchema)]
pub struct TransactionBooked {
    /// Its name from now on.
    #[schema(example = "1-1-1842-17")]
    pub transaction: String,
    /// Where.
    pub position: Position,
    /// Whether this is the first answer given again.
    pub replayed: bool,
    /// One per leg, in the order of the legs; absent in a batch that did not ask for them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub postings: Option<Vec<Posting>>,
}

/// A leg as booked.
#[derive(Debug, Serialize, ToSchema)]
pub struct Posting {
    /// The account.
    pub account: String,
    /// The group that it is a part of; absent if there is none, and in events.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// Debit or credit.
    pub side: SideText,
    /// In major units.
    pub amount: String,
    /// Balance after the transaction; absent in transit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub posted: Option<String>,
    /// Available after the transaction; absent in transit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub available: Option<String>,
    /// True if the leg is on its way to a buffered account of another set; absent otherwise.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub in_transit: bool,
}

impl From<BookedLeg> for Posting {
    fn from(leg: BookedLeg) -> Posting {
        let BookedLeg { account, group, side, amount, after } = leg;
        let in_transit = after.is_none();
        let (posted, available) = after.map(|Figures { posted, available }| (posted, available)).unzip();
        Posting { account, group, side: side.into(), amount, posted, available, in_transit }
    }
}

impl From<Booked> for TransactionBooked {
    fn from(booked: Booked) -> TransactionBooked {
        TransactionBooked {
            transaction: booked.transaction.to_string(),
            position: booked.at.into(),
            replayed: booked.replayed,
            postings: booked.postings.map(|postings| postings.into_iter().map(Posting::from).collect()),
        }
    }
}

/// The results of a batch, in its order.
#[derive(Debug, Serialize, ToSchema)]
pub struct BatchDone {
    /// One per transaction.
    pub results: Vec<BatchItem>,
}

/// What became of one transaction of a batch.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum BatchItem {
    /// It was booked.
    Ok(TransactionBooked),
    /// It was not, or it is not known.
    Problem(Problem),
}

/// The honest error, as in RFC 9457. A rejection's own fields stand beside these.
#[derive(Debug, Serialize, ToSchema)]
pub struct Problem {
    /// Always "about:blank": the code says more.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// What the code means, in general.
    pub title: &'static str,
    /// The HTTP status.
    pub status: u16,
    /// Stable; listed in docs/reference/errors.md.
    pub code: &'static str,
    /// The code's number, as stable.
    pub number: u16,
    /// "rejected", "not_applied" or "unknown".
    pub outcome: &'static str,
    /// Whether the same request, under the same request id, may come to another end later.
    pub retryable: bool,
    /// What happened this time.
    pub detail: String,
    /// Where it was decided, or as of when it was looked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub position: Option<Position>,
    /// Whether this is the first answer given again; only with a rejection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replayed: Option<bool>,
    /// True if it was a dry run: this is what the call would be told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dry_run: Option<bool>,
    /// The rejection's fields, the place of what is malformed in an atomic batch, or `age_ms` of a stale read that found nothing.
    #[serde(flatten)]
    #[schema(additional_properties, value_type = BTreeMap<String, String>)]
    pub fields: BTreeMap<&'static str, String>,
}

/// An account with its figures, as of a position; or a group of accounts with their sums.
#[derive(Debug, Serialize, ToSchema)]
pub struct AccountFound {
    /// The account. Of a group, each figure is the sum of its parts', and a flag is set if it is set on one of them.
    pub account: Account,
    /// As of when; null of a group, whose parts are read each for itself.
    pub as_of: Option<Position>,
    /// How old the answer may be; 0 for a linearizable read.
    pub age_ms: u64,
    /// Of a group: its parts, in the order of its definition.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<PartFound>,
    /// What is on its way to it, if that was asked for. It is older than the figures: a credit that arrived in between is in both.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub in_transit: Option<buffered::InTransit>,
}

/// A part of a group.
#[derive(Debug, Serialize, ToSchema)]
pub struct PartFound {
    /// The account.
    pub account: Account,
    /// As of when.
    pub as_of: Option<Position>,
    /// How old the answer may be; 0 for a linearizable read.
    pub age_ms: u64,
}

/// An account. Amounts in major units, positive on its normal side.
#[derive(Debug, Serialize, ToSchema)]
pub struct Account {
    /// Its id.
    pub account: String,
    /// The group that it is a part of; absent if there is none.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub group: String,
    /// General-ledger subject.
    pub subject: String,
    /// Currency code.
    pub currency: String,
    /// The side that raises the balance.
    pub normal_side: Option<SideText>,
    /// Floor of the available balance, or "none".
    pub limit: String,
    /// Refuses debit legs.
    pub frozen_debit: bool,
    /// Refuses credit legs.
    pub frozen_credit: bool,
    /// Closed for good.
    pub closed: bool,
    /// The balance.
    pub posted: String,
    /// Set aside by holds.
    pub held: String,
    /// Announced by other sets.
    pub incoming: String,
    /// Available but not withdrawable.
    pub restricted: String,
    /// Posted less held.
    pub available: String,
    /// Available less restricted.
    pub withdrawable: String,
    /// Sum of all debit legs.
    pub debits: String,
    /// Sum of all credit legs.
    pub credits: String,
    /// Count of postings.
    pub version: u64,
    /// "strict", "buffered" or "draining": whether sets whose accounts pay it ask it first; empty of a group.
    pub posting_mode: &'static str,
    /// Free.
    pub metadata: BTreeMap<String, String>,
}

pub(super) fn side(side: i32) -> Option<SideText> {
    match wire::Side::try_from(side) {
        Ok(wire::Side::Debit) => Some(SideText::Debit),
        Ok(wire::Side::Credit) => Some(SideText::Credit),
        _ => None,
    }
}

impl From<wire::Account> for Account {
    fn from(account: wire::Account) -> Account {
        Account {
            account: account.account,
            group: account.group,
            subject: account.subject,
            currency: account.currency,
            normal_side: side(account.normal_side),
            limit: account.limit,
            frozen_debit: account.frozen_debit,
            frozen_credit: account.frozen_credit,
            closed: account.closed,
            posted: account.posted,
            held: account.held,
            incoming: account.incoming,
            restricted: account.restricted,
            available: account.available,
            withdrawable: account.withdrawable,
            debits: account.debits,
            credits: account.credits,
            version: account.version,
            posting_mode: buffered::mode_text(account.posting_mode),
            metadata: account.metadata.into_iter().collect(),
        }
    }
}

impl From<wire::GetAccountReply> for AccountFound {
    fn from(reply: wire::GetAccountReply) -> AccountFound {
        let account = reply.account.unwrap_or_default().into();
        let parts = reply.parts.into_iter().map(PartFound::from).collect();
        let (as_of, age_ms) = (reply.as_of.map(Position::from), reply.age_ms);
        let in_transit = reply.in_transit.map(buffered::InTransit::from);
        AccountFound { account, as_of, age_ms, parts, in_transit }
    }
}

impl From<wire::GetAccountReply> for PartFound {
    fn from(reply: wire::GetAccountReply) -> PartFound {
        let account = reply.account.unwrap_or_default().into();
        PartFound { account, as_of: reply.as_of.map(Position::from), age_ms: reply.age_ms }
    }
}

/// A transaction, as of a position.
#[derive(Debug, Serialize, ToSchema)]
pub struct TransactionFound {
    /// The transaction.
    pub transaction: Transaction,
    /// As of when.
    pub as_of: Option<Position>,
    /// How old the answer may be; 0 for a linearizable read.
    pub age_ms: u64,
}

/// A transaction as it was asked for, and its links to reversals.
#[derive(Debug, Serialize, ToSchema)]
pub struct Transaction {
    /// Its name.
    pub transaction: String,
    /// Where it was booked.
    pub position: Option<Position>,
    /// The client's idempotency key.
    pub request_id: String,
    /// The account that the key belongs to.
    pub scope_account: String,
    /// In the client's order.
    pub legs: Vec<Leg>,
    /// The client's.
    pub kind: u32,
    /// The client's.
    pub reason: u32,
    /// "YYYY-MM-DD".
    pub accounting_date: String,
    /// Free.
    pub metadata: BTreeMap<String, String>,
    /// The transaction that this one reverses, if it is a reversal.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reverses: String,
    /// Its reversals.
    pub reversed_by: Vec<String>,
    /// Only in a page of transactions: this is what one set has booked of a transaction over several sets, which has
    /// this name. The legs are those of that set, and then those of its clearing accounts.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub part_of: String,
    /// If it captures a hold of its scope account.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub capture: Option<CaptureFound>,
}

/// What a transaction asked of one account.
#[derive(Debug, Serialize, ToSchema)]
pub struct Leg {
    /// The account.
    pub account: String,
    /// Debit or credit.
    pub side: Option<SideText>,
    /// In major units.
    pub amount: String,
    /// The account's currency.
    pub currency: String,
    /// True if the leg is on its way to a buffered account of another set, and was not seen booked there; absent otherwise.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub in_transit: bool,
    /// How much of it reversals have taken back; absent: nothing.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reversed: String,
    /// Whether it is a withdrawal; absent: it is none.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub withdrawal: bool,
    /// If what it brings is restricted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restricted: Option<RestrictedFound>,
}

impl From<wire::Transaction> for Transaction {
    fn from(transaction: wire::Transaction) -> Transaction {
        let leg = |leg: wire::Leg| Leg {
            account: leg.account,
            side: side(leg.side),
            amount: leg.amount,
            currency: leg.currency,
            in_transit: leg.in_transit,
            reversed: leg.reversed,
            withdrawal: leg.withdrawal,
            restricted: leg.restricted.map(RestrictedFound::from),
        };
        Transaction {
            transaction: transaction.transaction,
            position: transaction.position.map(Position::from),
            request_id: transaction.request_id,
            scope_account: transaction.scope_account,
            legs: transaction.legs.into_iter().map(leg).collect(),
            kind: transaction.kind,
            reason: transaction.reason,
            accounting_date: transaction.accounting_date,
            metadata: transaction.metadata.into_iter().collect(),
            reverses: transaction.reverses,
            reversed_by: transaction.reversed_by,
            part_of: transaction.part_of,
            capture: transaction.capture.map(CaptureFound::from),
        }
    }
}

impl From<wire::GetTransactionReply> for TransactionFound {
    fn from(reply: wire::GetTransactionReply) -> TransactionFound {
        let transaction = reply.transaction.unwrap_or_default().into();
        TransactionFound { transaction, as_of: reply.as_of.map(Position::from), age_ms: reply.age_ms }
    }
}

/// What a request id stands for.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub enum RequestFound {
    /// A transaction or a reversal.
    Transaction(TransactionFound),
    /// A command of an account: the account.
    Account(AccountFound),
    /// A command of a hold: the hold as it is now.
    Hold(HoldFound),
    /// A command of a restriction: the restriction as it is now.
    Restriction(RestrictionFound),
}

impl From<Found> for RequestFound {
    fn from(found: Found) -> RequestFound {
        match found {
            Found::Transaction(found) => RequestFound::Transaction(found.into()),
            Found::Account(found) => RequestFound::Account(found.into()),
            Found::Hold(found) => RequestFound::Hold(found.into()),
            Found::Restriction(found) => RequestFound::Restriction(found.into()),
        }
    }
}

/// A page of transactions of one set, in the order of their positions.
#[derive(Debug, Serialize, ToSchema)]
pub struct TransactionPage {
    /// The page.
    pub transactions: Vec<Transaction>,
    /// Where the next page starts (`after`); empty at the end. A page may be short, or empty, before that.
    pub next: String,
    /// As of when.
    pub as_of: Option<Position>,
    /// How old the answer may be; 0 for a linearizable read.
    pub age_ms: u64,
}

/// A page of the transactions that have a reference of the client's own, in the order of sets and, within one, of positions.
#[derive(Debug, Serialize, ToSchema)]
pub struct FoundTransactions {
    /// The page: each once, as a whole, from the set of its scope account.
    pub transactions: Vec<Transaction>,
    /// Where the next page starts (`after`); empty at the end. A page may be short, or empty, before that.
    pub next: String,
    /// Sets that have not answered: what there is is not known. Where nothing is found and a set has not answered, the answer is
    /// an error.
    pub silent: Vec<u32>,
    /// As of when, of each set that has answered.
    pub as_of: Vec<Position>,
    /// How old the oldest answer may be; 0 for a linearizable read.
    pub age_ms: u64,
}

impl From<wire::FindTransactionsReply> for FoundTransactions {
    fn from(reply: wire::FindTransactionsReply) -> FoundTransactions {
        FoundTransactions {
            transactions: reply.transactions.into_iter().map(Transaction::from).collect(),
            next: reply.next,
            silent: reply.silent,
            as_of: reply.as_of.into_iter().map(Position::from).collect(),
            age_ms: reply.age_ms,
        }
    }
}

impl From<wire::ListTransactionsReply> for TransactionPage {
    fn from(reply: wire::ListTransactionsReply) -> TransactionPage {
        TransactionPage {
            transactions: reply.transactions.into_iter().map(Transaction::from).collect(),
            next: reply.next,
            as_of: reply.as_of.map(Position::from),
            age_ms: reply.age_ms,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_set_has_booked_of_a_transaction_names_the_whole() {
        let leg = |account: &str, side: wire::Side| wire::Leg {
            account: account.into(),
            side: side.into(),
            amount: "4.00".into(),
            currency: "EUR".into(),
            ..wire::Leg::default()
        };
        let part = wire::Transaction {
            transaction: "2-1-3-0".into(),
            part_of: "1-1-4-0".into(),
            legs: vec![leg("bob", wire::Side::Credit), leg("@clearing-2:EUR", wire::Side::Debit)],
            ..wire::Transaction::default()
        };
        let whole = wire::Transaction { part_of: String::new(), ..part.clone() };
        let transactions = vec![part, whole];
        let page = wire::ListTransactionsReply { transactions, ..wire::ListTransactionsReply::default() };
        let page = serde_json::to_value(TransactionPage::from(page)).expect("plain JSON");
        let [part, whole] = [0, 1].map(|n| &page["transactions"][n]);
        assert_eq!((&part["part_of"], &part["transaction"]), (&"1-1-4-0".into(), &"2-1-3-0".into()));
        assert_eq!(part["legs"][1]["account"], "@clearing-2:EUR");
        assert!(whole.get("part_of").is_none(), "{whole}");
    }
}

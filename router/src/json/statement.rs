//! An account's past in JSON: the query parameters that ask for it, and the replies. The meaning is
//! [`crate::api`]'s; times are RFC 3339.

use std::collections::BTreeMap;

use serde::Serialize;
use twinset_proto::ledger::v1 as wire;
use utoipa::ToSchema;

use super::reply::{Position, side};
use super::request::SideText;
use crate::error::Error;
use crate::query::Query;

/// What the query of a statement may say, for the description of the API.
pub const ABOUT_STATEMENT: [(&str, &str); 13] = [
    ("from", "RFC 3339: postings of this ledger time or later."),
    ("until", "RFC 3339: postings before this ledger time."),
    ("from_date", "YYYY-MM-DD: accounting dates from this one on."),
    ("until_date", "YYYY-MM-DD: accounting dates up to this one, which is included."),
    ("kind", "Only transactions of this kind."),
    ("reason", "Only transactions with this reason code."),
    ("min_amount", "Only postings of this amount or more."),
    ("max_amount", "Only postings of this amount or less."),
    ("metadata_key", "Only transactions whose metadata have this key."),
    ("metadata_value", "With metadata_key: and this value under it."),
    ("order", "\"oldest_first\" (default) or \"newest_first\"."),
    ("cursor", "Where the page begins: \"next\" of the page before it."),
    ("page_size", "1 to 1000; 100 without it."),
];
/// The same of a balance.
pub const ABOUT_BALANCE: [(&str, &str); 2] = [
    ("time", "RFC 3339: after everything up to this ledger time. Not together with position."),
    ("position", "A log index of the account's set: after the entry there. Without both: now."),
];
/// The query parameters of a statement.
pub const STATEMENT_PARAMETERS: [&str; 14] = names(ABOUT_STATEMENT);
/// The query parameters of a balance.
pub const BALANCE_PARAMETERS: [&str; 3] = names(ABOUT_BALANCE);

const fn names<const N: usize, const M: usize>(
    about: [(&'static str, &'static str); N],
) -> [&'static str; M] {
    let mut names = ["consistency"; M];
    let mut n = 0;
    while n < N {
        names[n + 1] = about[n].0;
        n += 1;
    }
    names
}

/// Asks for a page of a statement.
pub fn statement(account: String, query: &Query) -> Result<wire::GetStatementRequest, Error> {
    let text = |name: &str| query.given(name).map(|text| text.unwrap_or_default().to_owned());
    let newest_first = match query.value("order") {
        None | Some("oldest_first") => false,
        Some("newest_first") => true,
        Some(other) => {
            return Err(Error::malformed(format!(
                "order is \"oldest_first\" or \"newest_first\", not {other:?}"
            )));
        }
    };
    Ok(wire::GetStatementRequest {
        account,
        from_unix_ns: query.time("from")?,
        until_unix_ns: query.time("until")?,
        from_date: text("from_date")?,
        until_date: text("until_date")?,
        kind: query.number("kind")?,
        reason: query.number("reason")?,
        min_amount: text("min_amount")?,
        max_amount: text("max_amount")?,
        metadata_key: text("metadata_key")?,
        metadata_value: query.value("metadata_value").map(str::to_owned),
        newest_first,
        cursor: text("cursor")?,
        page_size: query.page_size()?,
        consistency: query.consistency()?.into(),
    })
}

/// Asks for a balance.
pub fn balance(account: String, query: &Query) -> Result<wire::GetBalanceRequest, Error> {
    use wire::get_balance_request::At;
    let at = match (query.time("time")?, query.number("position")?) {
        (Some(_), Some(_)) => return Err(Error::malformed("time and position are given; one is enough")),
        (Some(time), None) => Some(At::TimeUnixNs(time)),
        (None, Some(index)) => Some(At::Index(index)),
        (None, None) => None,
    };
    Ok(wire::GetBalanceRequest { account, at, consistency: query.consistency()?.into() })
}

/// A page of an account's statement.
#[derive(Debug, Serialize, ToSchema)]
pub struct Statement {
    /// The account.
    pub account: String,
    /// Its currency.
    pub currency: String,
    /// The side that raises the balance.
    pub normal_side: Option<SideText>,
    /// Posted balance before everything between the times that were asked for, filtered or not. Absent if accounting dates
    /// were asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub opening: Option<String>,
    /// Posted balance after all that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub closing: Option<String>,
    /// In the order that was asked for.
    pub lines: Vec<StatementLine>,
    /// Where the next page begins (`cursor`); empty at the end. A page may be short, or empty, before that.
    pub next: String,
    /// As of when.
    pub as_of: Option<Position>,
    /// How old the answer may be; 0 for a linearizable read.
    pub age_ms: u64,
}

/// A posting, and what is known of its transaction.
#[derive(Debug, Serialize, ToSchema)]
pub struct StatementLine {
    /// What booked it. Of a leg of a transaction over several sets, what this account's set booked.
    pub transaction: String,
    /// Where.
    pub position: Option<Position>,
    /// Debit or credit.
    pub side: Option<SideText>,
    /// In major units.
    pub amount: String,
    /// Posted balance after it.
    pub posted: String,
    /// The client's.
    pub kind: u32,
    /// The client's.
    pub reason: u32,
    /// "YYYY-MM-DD".
    pub accounting_date: String,
    /// The client's idempotency key. Empty where another set keeps it, under `part_of`.
    pub request_id: String,
    /// Free.
    pub metadata: BTreeMap<String, String>,
    /// The transaction over several sets that this is a part of.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub part_of: String,
    /// The transaction that this one reverses, if it is a reversal.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reverses: String,
}

impl From<wire::GetStatementReply> for Statement {
    fn from(reply: wire::GetStatementReply) -> Statement {
        let line = |line: wire::StatementLine| StatementLine {
            transaction: line.transaction,
            position: line.position.map(Position::from),
            side: side(line.side),
            amount: line.amount,
            posted: line.posted,
            kind: line.kind,
            reason: line.reason,
            accounting_date: line.accounting_date,
            request_id: line.request_id,
            metadata: line.metadata.into_iter().collect(),
            part_of: line.part_of,
            reverses: line.reverses,
        };
        Statement {
            account: reply.account,
            currency: reply.currency,
            normal_side: side(reply.normal_side),
            opening: reply.opening,
            closing: reply.closing,
            lines: reply.lines.into_iter().map(line).collect(),
            next: reply.next,
            as_of: reply.as_of.map(Position::from),
            age_ms: reply.age_ms,
        }
    }
}

/// The posted balance of an account at a moment; or of a group of accounts, the sum of theirs.
#[derive(Debug, Serialize, ToSchema)]
pub struct Balance {
    /// The account.
    pub account: String,
    /// Its currency.
    pub currency: String,
    /// The side that raises the balance.
    pub normal_side: Option<SideText>,
    /// The posted balance. What was set aside at a moment of the past is not kept.
    pub posted: String,
    /// The set's last command by then; absent if there was none, and of a group.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub position: Option<Position>,
    /// As of when; null of a group, whose parts are read each for itself.
    pub as_of: Option<Position>,
    /// How old the answer may be; 0 for a linearizable read.
    pub age_ms: u64,
    /// Of a group: its parts, in the order of its definition.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<PartBalance>,
}

/// The posted balance of a part of a group at that moment.
#[derive(Debug, Serialize, ToSchema)]
pub struct PartBalance {
    /// The account.
    pub account: String,
    /// The posted balance.
    pub posted: String,
    /// The set's last command by then; absent if there was none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub position: Option<Position>,
    /// As of when.
    pub as_of: Option<Position>,
    /// How old the answer may be; 0 for a linearizable read.
    pub age_ms: u64,
}

impl From<wire::GetBalanceReply> for PartBalance {
    fn from(reply: wire::GetBalanceReply) -> PartBalance {
        PartBalance {
            account: reply.account,
            posted: reply.posted,
            position: reply.position.map(Position::from),
            as_of: reply.as_of.map(Position::from),
            age_ms: reply.age_ms,
        }
    }
}

impl From<wire::GetBalanceReply> for Balance {
    fn from(reply: wire::GetBalanceReply) -> Balance {
        Balance {
            account: reply.account,
            currency: reply.currency,
            normal_side: side(reply.normal_side),
            posted: reply.posted,
            position: reply.position.map(Position::from),
            as_of: reply.as_of.map(Position::from),
            age_ms: reply.age_ms,
            parts: reply.parts.into_iter().map(PartBalance::from).collect(),
        }
    }
}

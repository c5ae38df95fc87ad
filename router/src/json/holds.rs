//! Holds in JSON: what requests may say of them and how replies look, captures and preconditions of transactions included. As
//! strict as [`super::request`].

use std::collections::BTreeMap;

use rust_decimal::Decimal;
use serde::Serialize;
use serde::de::{Deserialize, Deserializer};
use twinset_ledger::command::{Expected, Precondition};
use twinset_ledger::hold;
use twinset_ledger::{Command, Transaction, TransactionId, check_back, date};
use twinset_proto::ledger::v1 as wire;
use utoipa::ToSchema;

use super::reply::Position;
use super::request::{Amount, Date, PostLeg, PostTransaction, Text};
use crate::error::Error;
use crate::holds::parse_hold;
use crate::named;

/// A time, as RFC 3339 in UTC; in nanoseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Time(pub u64);

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let expected = "a time in UTC, such as \"2026-12-24T18:00:00Z\"";
        let parse = |text: &str| {
            date::parse_timestamp(text).map(Time).ok_or_else(|| format!("{text:?} is not {expected}"))
        };
        deserializer.deserialize_str(Text { parse, expected })
    }
}

/// The name of a hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HoldId(pub TransactionId);

impl<'de> Deserialize<'de> for HoldId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let parse = |text: &str| parse_hold(text).map(HoldId).map_err(|error| error.to_string());
        deserializer.deserialize_str(Text { parse, expected: "a hold's id, such as \"1-1-1842-17\"" })
    }
}

/// POST /v1/accounts/{account}/holds
#[derive(Debug, serde::Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PlaceHold {
    /// The idempotency key, within the account.
    pub request_id: String,
    /// Above zero, in major units.
    #[schema(value_type = String, example = "10.50")]
    pub amount: Amount,
    /// If named, it must be the account's.
    pub currency: Option<String>,
    /// From this ledger time on the hold takes no command, and what is left is given back. Absent: no end.
    #[schema(value_type = Option<String>, example = "2026-12-24T18:00:00Z")]
    pub expires_at: Option<Time>,
    /// What comes of it at its end. Absent: what is left is given back.
    pub on_expiry: Option<OnExpiry>,
    /// Yours.
    #[serde(default)]
    pub reason: u16,
    /// Free.
    #[serde(default)]
    pub metadata: BTreeMap<String, String>,
}

/// What comes of a hold at its end.
#[derive(Debug, serde::Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct OnExpiry {
    /// It is overdue until its initiator has said what is to come of it.
    pub check_back: CheckBack,
}

/// Who is asked about an overdue hold.
#[derive(Debug, serde::Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CheckBack {
    /// The name of an initiator in the nodes' configuration.
    #[schema(example = "shop")]
    pub initiator: String,
    /// The account, of any set, that is paid if the hold is confirmed.
    pub to: String,
}

/// POST /v1/accounts/{account}/holds/{hold}/captures
#[derive(Debug, serde::Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CaptureHold {
    /// The idempotency key, within the held account.
    pub request_id: String,
    /// Two or more, balanced per currency. What they together take from the held account comes out of the hold.
    pub legs: Vec<PostLeg>,
    /// Whether the rest of the hold is given back.
    #[serde(default, rename = "final")]
    pub is_final: bool,
    /// Yours.
    #[serde(default)]
    pub kind: u16,
    /// Yours.
    #[serde(default)]
    pub reason: u16,
    /// Absent: the day of the ledger time.
    #[schema(value_type = Option<String>, example = "2026-01-31")]
    pub accounting_date: Option<Date>,
    /// Free.
    #[serde(default)]
    pub metadata: BTreeMap<String, String>,
}

/// POST /v1/accounts/{account}/holds/{hold}/release
#[derive(Debug, serde::Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ReleaseHold {
    /// The idempotency key, within the account.
    pub request_id: String,
    /// Absent: all that is left, which ends the hold.
    #[schema(value_type = Option<String>, example = "10.50")]
    pub amount: Option<Amount>,
}

/// POST /v1/accounts/{account}/holds/{hold}/extend
#[derive(Debug, serde::Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ExtendHold {
    /// The idempotency key, within the account.
    pub request_id: String,
    /// Later than it is now. Null: no end. It must be there: forgetting it would lock the money up.
    #[serde(deserialize_with = "Option::deserialize")]
    #[schema(value_type = Option<String>, required = true, example = "2026-12-24T18:00:00Z")]
    pub expires_at: Option<Time>,
}

/// Makes a transaction a capture: what it takes from its scope account, which must be named, comes out of the hold.
#[derive(Debug, serde::Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Capture {
    /// The hold.
    #[schema(value_type = String, example = "1-1-1842-17")]
    pub hold: HoldId,
    /// Whether the rest of the hold is given back.
    #[serde(default, rename = "final")]
    pub is_final: bool,
}

/// What must be true of a leg's account before the transaction: each that is given. Amounts may be negative.
#[derive(Debug, Default, serde::Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Preconditions {
    /// The available balance is at least this.
    #[schema(value_type = Option<String>, example = "10.50")]
    pub available_min: Option<Amount>,
    /// The available balance is at most this.
    #[schema(value_type = Option<String>)]
    pub available_max: Option<Amount>,
    /// The posted balance is at least this.
    #[schema(value_type = Option<String>)]
    pub posted_min: Option<Amount>,
    /// The posted balance is at most this.
    #[schema(value_type = Option<String>)]
    pub posted_max: Option<Amount>,
    /// The account's version is just this.
    pub version: Option<u64>,
}

impl PlaceHold {
    /// The command that is meant.
    pub fn into_command(self, account: String) -> Command {
        Command::PlaceHold(hold::PlaceHold {
            request_id: self.request_id,
            account,
            amount: self.amount.0,
            currency: self.currency,
            expires_ns: self.expires_at.map(|time| time.0),
            on_expiry: self.on_expiry.map_or(check_back::OnExpiry::Release, |on_expiry| {
                let CheckBack { initiator, to } = on_expiry.check_back;
                check_back::OnExpiry::CheckBack(check_back::CheckBack { initiator, to })
            }),
            reason: self.reason,
            metadata: self.metadata,
        })
    }
}

impl CaptureHold {
    /// The transaction that is meant.
    pub fn into_transaction(self, account: String, hold: TransactionId) -> Result<Transaction, Error> {
        let whole = PostTransaction {
            request_id: self.request_id,
            scope_account: Some(account),
            legs: self.legs,
            kind: self.kind,
            reason: self.reason,
            accounting_date: self.accounting_date,
            capture: Some(Capture { hold: HoldId(hold), is_final: self.is_final }),
            metadata: self.metadata,
        };
        whole.into_transaction()
    }
}

impl From<Capture> for hold::Capture {
    fn from(capture: Capture) -> hold::Capture {
        hold::Capture { hold: capture.hold.0, is_final: capture.is_final }
    }
}

impl From<Preconditions> for Vec<Precondition> {
    fn from(asked: Preconditions) -> Vec<Precondition> {
        let amount = |amount: Option<Amount>| amount.map(|amount| amount.0);
        let values = [
            (Expected::AvailableMin, amount(asked.available_min)),
            (Expected::AvailableMax, amount(asked.available_max)),
            (Expected::PostedMin, amount(asked.posted_min)),
            (Expected::PostedMax, amount(asked.posted_max)),
            (Expected::Version, asked.version.map(Decimal::from)),
        ];
        let given = |(expected, value): (_, Option<Decimal>)| Some(Precondition { expected, value: value? });
        values.into_iter().filter_map(given).collect()
    }
}

/// A hold was placed, released or extended.
#[derive(Debug, Serialize, ToSchema)]
pub struct HoldChanged {
    /// As it now stands.
    pub hold: HoldFigures,
    /// The account's available balance after it.
    pub available: String,
    /// Where.
    pub position: Option<Position>,
    /// Whether this is the first answer given again.
    pub replayed: bool,
}

/// A hold and its figures: `amount` = `captured` + `capturing` + `released` + `left`. Amounts in major units.
#[derive(Debug, Serialize, ToSchema)]
pub struct HoldFigures {
    /// Its name.
    #[schema(example = "1-1-1842-17")]
    pub hold: String,
    /// The held account.
    pub account: String,
    /// Its currency; absent in the reply to a command.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub currency: String,
    /// "open", "overdue", "captured", "released" or "expired".
    pub state: &'static str,
    /// As placed.
    pub amount: String,
    /// Booked by captures.
    pub captured: String,
    /// In the hands of transactions over several sets that are under way.
    pub capturing: String,
    /// Given back.
    pub released: String,
    /// What can still be captured.
    pub left: String,
    /// Its end; absent: none.
    #[serde(skip_serializing_if = "String::is_empty")]
    #[schema(example = "2026-12-24T18:00:00Z")]
    pub expires_at: String,
}

/// A hold as it stands, how it was placed, and what has happened to it.
#[derive(Debug, Serialize, ToSchema)]
pub struct Hold {
    /// Its figures.
    #[serde(flatten)]
    pub figures: HoldFigures,
    /// Where it was placed.
    pub placed: Option<Position>,
    /// The idempotency key of that.
    pub request_id: String,
    /// The client's.
    pub reason: u32,
    /// Free.
    pub metadata: BTreeMap<String, String>,
    /// What comes of it at its end; absent: what is left is given back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_expiry: Option<OnExpiryFound>,
    /// What has happened to it since, in order.
    pub journal: Vec<HoldEvent>,
}

/// What comes of a hold at its end.
#[derive(Debug, Serialize, ToSchema)]
pub struct OnExpiryFound {
    /// It is overdue until its initiator has said what is to come of it.
    pub check_back: CheckBackFound,
}

/// Who is asked about an overdue hold, and how far that is.
#[derive(Debug, Serialize, ToSchema)]
pub struct CheckBackFound {
    /// Its name in the nodes' configuration.
    pub initiator: String,
    /// The account that is paid if the hold is confirmed.
    pub to: String,
    /// The number of the last try that is written down.
    pub tries: u32,
    /// No try before it; absent: none was named.
    #[serde(skip_serializing_if = "String::is_empty")]
    #[schema(example = "2026-12-24T18:00:05Z")]
    pub next_at: String,
    /// A confirmation over several sets is under way.
    pub confirming: bool,
    /// The last resort was to keep it: nobody is asked any more, and a person has to end it.
    pub kept: bool,
}

/// Something that has happened to a hold.
#[derive(Debug, Serialize, ToSchema)]
pub struct HoldEvent {
    /// Where.
    pub position: Option<Position>,
    /// "captured", "released", "expired", "extended" or "checked_back".
    pub change: &'static str,
    /// What was captured or given back; absent if it was extended.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub amount: String,
    /// The transaction that has captured it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub transaction: String,
    /// Its new end, if it was extended; absent: none.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub expires_at: String,
    /// If its initiator was asked: what came of that.
    #[serde(rename = "try", skip_serializing_if = "Option::is_none")]
    pub tried: Option<CheckBackTry>,
}

/// What came of asking about an overdue hold once.
#[derive(Debug, Serialize, ToSchema)]
pub struct CheckBackTry {
    /// Counted from 1.
    pub number: u32,
    /// "pending", "failed", "cancelled" or "confirmed"; of a last resort "released", "kept" or "confirmed".
    pub result: String,
    /// Of a failed one: "unreachable", "timed_out", "bad_status", "bad_answer", or the code with which the ledger refused.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub why: String,
    /// When the next is due; absent: none follows.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub next_at: String,
}

/// A hold, as of a position.
#[derive(Debug, Serialize, ToSchema)]
pub struct HoldFound {
    /// The hold.
    pub hold: Hold,
    /// As of when.
    pub as_of: Option<Position>,
    /// How old the answer may be; 0 for a linearizable read.
    pub age_ms: u64,
}

/// A page of an account's holds, in the order in which they were placed.
#[derive(Debug, Serialize, ToSchema)]
pub struct HoldPage {
    /// The page.
    pub holds: Vec<Hold>,
    /// Where the next page starts (`after`); empty at the end. A page may be short, or empty, before that.
    pub next: String,
    /// As of when.
    pub as_of: Option<Position>,
    /// How old the answer may be; 0 for a linearizable read.
    pub age_ms: u64,
}

/// A page of overdue holds of all accounts, the longest overdue first.
#[derive(Debug, Serialize, ToSchema)]
pub struct OverdueHolds {
    /// The page.
    pub holds: Vec<Hold>,
    /// Where the next page starts (`after`); empty at the end.
    pub next: String,
    /// Sets that have not answered: what is overdue there is not known.
    pub silent: Vec<u32>,
    /// As of when, of each set that has answered.
    pub as_of: Vec<Position>,
    /// How old the oldest answer may be; 0 for a linearizable read.
    pub age_ms: u64,
}

/// The hold that a transaction captures.
#[derive(Debug, Serialize, ToSchema)]
pub struct CaptureFound {
    /// The hold.
    pub hold: String,
    /// Whether it gave the rest of the hold back.
    #[serde(rename = "final")]
    pub is_final: bool,
}

impl From<wire::Capture> for CaptureFound {
    fn from(capture: wire::Capture) -> CaptureFound {
        CaptureFound { hold: capture.hold, is_final: capture.r#final }
    }
}

impl From<wire::HoldReply> for HoldChanged {
    fn from(reply: wire::HoldReply) -> HoldChanged {
        HoldChanged {
            hold: figures(reply.hold.unwrap_or_default()).0,
            available: reply.available,
            position: reply.position.map(Position::from),
            replayed: reply.replayed,
        }
    }
}

/// The figures of a hold, and what is left of the message without them.
pub(super) fn figures(mut hold: wire::Hold) -> (HoldFigures, wire::Hold) {
    let take = std::mem::take::<String>;
    let figures = HoldFigures {
        state: named::word(hold.state()),
        hold: take(&mut hold.hold),
        account: take(&mut hold.account),
        currency: take(&mut hold.currency),
        amount: take(&mut hold.amount),
        captured: take(&mut hold.captured),
        capturing: take(&mut hold.capturing),
        released: take(&mut hold.released),
        left: take(&mut hold.left),
        expires_at: take(&mut hold.expires_at),
    };
    (figures, hold)
}

impl From<wire::Hold> for Hold {
    fn from(hold: wire::Hold) -> Hold {
        let (figures, rest) = figures(hold);
        Hold {
            figures,
            placed: rest.placed.map(Position::from),
            request_id: rest.request_id,
            reason: rest.reason,
            metadata: rest.metadata.into_iter().collect(),
            on_expiry: rest.check_back.map(|found| OnExpiryFound { check_back: found.into() }),
            journal: rest.journal.into_iter().map(HoldEvent::from).collect(),
        }
    }
}

impl From<wire::CheckBackState> for CheckBackFound {
    fn from(state: wire::CheckBackState) -> CheckBackFound {
        let wire::CheckBackState { initiator, to, tries, next_at, confirming, kept } = state;
        CheckBackFound { initiator, to, tries, next_at, confirming, kept }
    }
}

impl From<wire::CheckBackTry> for CheckBackTry {
    fn from(tried: wire::CheckBackTry) -> CheckBackTry {
        let wire::CheckBackTry { number, result, why, next_at } = tried;
        CheckBackTry { number, result, why, next_at }
    }
}

impl From<wire::HoldEvent> for HoldEvent {
    fn from(event: wire::HoldEvent) -> HoldEvent {
        use wire::hold_event::Change;
        let none = String::new;
        let mut tried = None;
        let (change, amount, transaction, expires_at) = match event.change {
            Some(Change::Captured(captured)) => ("captured", captured.amount, captured.transaction, none()),
            Some(Change::Released(amount)) => ("released", amount, none(), none()),
            Some(Change::Expired(amount)) => ("expired", amount, none(), none()),
            Some(Change::Extended(expires_at)) => ("extended", none(), none(), expires_at),
            Some(Change::CheckedBack(found)) => {
                tried = Some(found.into());
                ("checked_back", none(), none(), none())
            }
            None => ("", none(), none(), none()),
        };
        let position = event.position.map(Position::from);
        HoldEvent { position, change, amount, transaction, expires_at, tried }
    }
}

impl From<wire::GetHoldReply> for HoldFound {
    fn from(reply: wire::GetHoldReply) -> HoldFound {
        let hold = reply.hold.unwrap_or_default().into();
        HoldFound { hold, as_of: reply.as_of.map(Position::from), age_ms: reply.age_ms }
    }
}

impl From<wire::ListHoldsReply> for HoldPage {
    fn from(reply: wire::ListHoldsReply) -> HoldPage {
        HoldPage {
            holds: reply.holds.into_iter().map(Hold::from).collect(),
            next: reply.next,
            as_of: reply.as_of.map(Position::from),
            age_ms: reply.age_ms,
        }
    }
}

impl From<wire::ListOverdueHoldsReply> for OverdueHolds {
    fn from(reply: wire::ListOverdueHoldsReply) -> OverdueHolds {
        OverdueHolds {
            holds: reply.holds.into_iter().map(Hold::from).collect(),
            next: reply.next,
            silent: reply.silent,
            as_of: reply.as_of.into_iter().map(Position::from).collect(),
            age_ms: reply.age_ms,
        }
    }
}

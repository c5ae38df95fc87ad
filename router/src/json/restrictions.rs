//! Restricted funds in JSON: what requests may say of them and how replies look. As strict as [`super::request`].

use serde::Serialize;
use twinset_proto::ledger::v1 as wire;
use utoipa::ToSchema;

use super::holds::Time;
use super::reply::Position;
use super::request::Amount;
use crate::named;

/// What makes a leg restricted: what it brings is available, and not withdrawable.
#[derive(Debug, serde::Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Restricted {
    /// From this ledger time on it is released. Absent: only by a release.
    #[schema(value_type = Option<String>, example = "2026-12-24T18:00:00Z")]
    pub until: Option<Time>,
}

/// POST /v1/accounts/{account}/restrictions/{restriction}/release
#[derive(Debug, serde::Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ReleaseRestriction {
    /// The idempotency key, within the account.
    pub request_id: String,
    /// Absent: all that is left, which ends the restriction.
    #[schema(value_type = Option<String>, example = "10.50")]
    pub amount: Option<Amount>,
}

/// A restriction was released, or a part of it.
#[derive(Debug, Serialize, ToSchema)]
pub struct RestrictionChanged {
    /// As it now stands.
    pub restriction: RestrictionFigures,
    /// What was released.
    pub released: String,
    /// What of the account may be withdrawn after it; below zero, if restricted money was paid on.
    pub withdrawable: String,
    /// Where.
    pub position: Option<Position>,
    /// Whether this is the first answer given again.
    pub replayed: bool,
}

/// A restriction and its figures. Amounts in major units.
#[derive(Debug, Serialize, ToSchema)]
pub struct RestrictionFigures {
    /// Its name within the account: the transaction that brought the money.
    #[schema(example = "1-1-1842-17")]
    pub restriction: String,
    /// The account that got it.
    pub account: String,
    /// Its currency; absent in the reply to a command.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub currency: String,
    /// "open", "released", "expired" or "reversed".
    pub state: &'static str,
    /// As booked.
    pub amount: String,
    /// What may still not be withdrawn.
    pub left: String,
    /// When it is released without a command; absent: never.
    #[serde(skip_serializing_if = "String::is_empty")]
    #[schema(example = "2026-12-24T18:00:00Z")]
    pub until: String,
}

/// A restriction as it stands.
#[derive(Debug, Serialize, ToSchema)]
pub struct Restriction {
    /// Its figures.
    #[serde(flatten)]
    pub figures: RestrictionFigures,
    /// Where the account's set has booked the money.
    pub made: Option<Position>,
    /// Where it has ended, if it has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended: Option<Position>,
}

/// A restriction, as of a position.
#[derive(Debug, Serialize, ToSchema)]
pub struct RestrictionFound {
    /// The restriction.
    pub restriction: Restriction,
    /// As of when.
    pub as_of: Option<Position>,
    /// How old the answer may be; 0 for a linearizable read.
    pub age_ms: u64,
}

/// A page of an account's restrictions, in the order of their transactions' names.
#[derive(Debug, Serialize, ToSchema)]
pub struct RestrictionPage {
    /// The page.
    pub restrictions: Vec<Restriction>,
    /// Where the next page starts (`after`); empty at the end. A page may be short, or empty, before that.
    pub next: String,
    /// As of when.
    pub as_of: Option<Position>,
    /// How old the answer may be; 0 for a linearizable read.
    pub age_ms: u64,
}

/// That the client has said of a leg that it is restricted.
#[derive(Debug, Serialize, ToSchema)]
pub struct RestrictedFound {
    /// When that ends without a command; absent: never.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub until: String,
}

impl From<wire::Restricted> for RestrictedFound {
    fn from(restricted: wire::Restricted) -> RestrictedFound {
        RestrictedFound { until: restricted.until }
    }
}

impl From<wire::RestrictionReply> for RestrictionChanged {
    fn from(reply: wire::RestrictionReply) -> RestrictionChanged {
        RestrictionChanged {
            restriction: reply.restriction.unwrap_or_default().into(),
            released: reply.released,
            withdrawable: reply.withdrawable,
            position: reply.position.map(Position::from),
            replayed: reply.replayed,
        }
    }
}

impl From<wire::Restriction> for RestrictionFigures {
    fn from(restriction: wire::Restriction) -> RestrictionFigures {
        RestrictionFigures {
            state: named::word(restriction.state()),
            restriction: restriction.restriction,
            account: restriction.account,
            currency: restriction.currency,
            amount: restriction.amount,
            left: restriction.left,
            until: restriction.until,
        }
    }
}

impl From<wire::Restriction> for Restriction {
    fn from(mut restriction: wire::Restriction) -> Restriction {
        let (made, ended) = (restriction.made.take(), restriction.ended.take());
        let (made, ended) = (made.map(Position::from), ended.map(Position::from));
        Restriction { figures: restriction.into(), made, ended }
    }
}

impl From<wire::GetRestrictionReply> for RestrictionFound {
    fn from(reply: wire::GetRestrictionReply) -> RestrictionFound {
        let restriction = reply.restriction.unwrap_or_default().into();
        RestrictionFound { restriction, as_of: reply.as_of.map(Position::from), age_ms: reply.age_ms }
    }
}

impl From<wire::ListRestrictionsReply> for RestrictionPage {
    fn from(reply: wire::ListRestrictionsReply) -> RestrictionPage {
        RestrictionPage {
            restrictions: reply.restrictions.into_iter().map(Restriction::from).collect(),
            next: reply.next,
            as_of: reply.as_of.map(Position::from),
            age_ms: reply.age_ms,
        }
    }
}

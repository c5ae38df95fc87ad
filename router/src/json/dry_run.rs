//! Replies of dry runs in JSON: those of the real calls, without what there is not.

use serde::Serialize;
use utoipa::ToSchema;

use super::reply::{Position, Problem};
use super::request::SideText;
use crate::dry_run::{DryRun, Foreseen, ForeseenLeg};
use crate::error::{At, Error};
use crate::status;

/// A transaction would be booked, or was booked before. Nothing is promised.
#[derive(Debug, Serialize, ToSchema)]
pub struct TransactionDryRun {
    /// Always true.
    pub dry_run: bool,
    /// What the call would be told.
    #[serde(flatten)]
    pub would: WouldBeBooked,
    /// As of when each set was asked, in the order of their numbers.
    pub as_of: Vec<Position>,
}

/// What a call would be told of a transaction.
#[derive(Debug, Serialize, ToSchema)]
pub struct WouldBeBooked {
    /// Its name, if it was booked before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transaction: Option<String>,
    /// Where, if it was booked before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub position: Option<Position>,
    /// Whether it would be a first answer given again: of what was booked before, or of one before it in this dry run.
    pub replayed: bool,
    /// One per leg, in the order of the legs; absent in a batch that did not ask for them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub postings: Option<Vec<WouldBePosted>>,
}

/// A leg as it would be booked.
#[derive(Debug, Serialize, ToSchema)]
pub struct WouldBePosted {
    /// The account.
    pub account: String,
    /// The group that it is a part of; absent if there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// Debit or credit.
    pub side: SideText,
    /// In major units; over several sets, as it was asked for.
    pub amount: String,
    /// Balance after the transaction; absent over several sets.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub posted: Option<String>,
    /// Available after the transaction; absent over several sets.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub available: Option<String>,
}

/// What a batch would be told, in its order. Nothing is promised.
#[derive(Debug, Serialize, ToSchema)]
pub struct BatchDryRun {
    /// Always true.
    pub dry_run: bool,
    /// One per transaction.
    pub results: Vec<BatchDryRunItem>,
    /// As of when each set was asked, in the order of their numbers.
    pub as_of: Vec<Position>,
}

/// What would come of one transaction of a batch.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum BatchDryRunItem {
    /// It would be booked, or was booked before.
    Ok(WouldBeBooked),
    /// It would not, or a set did not answer.
    Problem(Problem),
}

fn positions(as_of: Vec<At>) -> Vec<Position> {
    as_of.into_iter().map(Position::from).collect()
}

impl TransactionDryRun {
    /// What is told of it, as of these positions.
    pub fn new(foreseen: Foreseen, as_of: Vec<At>) -> Self {
        TransactionDryRun { dry_run: true, would: foreseen.into(), as_of: positions(as_of) }
    }
}

impl From<Foreseen> for WouldBeBooked {
    fn from(foreseen: Foreseen) -> Self {
        let Foreseen { before, replayed, postings } = foreseen;
        WouldBeBooked {
            transaction: before.map(|(transaction, _)| transaction.to_string()),
            position: before.map(|(_, at)| at.into()),
            replayed,
            postings: postings.map(|legs| legs.into_iter().map(WouldBePosted::from).collect()),
        }
    }
}

impl From<ForeseenLeg> for WouldBePosted {
    fn from(leg: ForeseenLeg) -> Self {
        let ForeseenLeg { account, group, side, amount, balances } = leg;
        let (posted, available) = balances.unzip();
        WouldBePosted { account, group, side: side.into(), amount, posted, available }
    }
}

impl From<DryRun> for BatchDryRun {
    fn from(told: DryRun) -> Self {
        let item = |result| match result {
            Ok(foreseen) => BatchDryRunItem::Ok(WouldBeBooked::from(foreseen)),
            Err(error) => BatchDryRunItem::Problem(status::problem(&Error::of_dry_run(error))),
        };
        let results = told.results.into_iter().map(item).collect();
        BatchDryRun { dry_run: true, results, as_of: positions(told.as_of) }
    }
}

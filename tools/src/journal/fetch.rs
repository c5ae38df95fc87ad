//! Asks a router for the journal of a tag: where it is, its transactions page by page, its accounts. What becomes of
//! them is [`super::export`]'s business.

use std::collections::BTreeMap;

use futures::stream::{self, StreamExt, TryStreamExt};
use http::Method;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::api::{CallFailed, HttpApi, metadata_of, segment};
use super::export::{self, Export, Held, Listed, accounts_of};
use super::ids;
use super::send::{Pace, call};

/// Transactions asked for at a time.
const PAGE: usize = 500;

/// Why there is no export.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Nothing was imported under the tag.
    #[error("no journal was imported under the tag {tag}")]
    NoJournal {
        /// The tag.
        tag: String,
    },
    /// A call failed for good.
    #[error("{what}: {failed}")]
    Call {
        /// What was asked for.
        what: String,
        /// The router's words.
        failed: CallFailed,
    },
    /// An answer that is not as the API describes it.
    #[error("the router's answer to {what} cannot be read")]
    Answer {
        /// What was asked for.
        what: String,
    },
    /// What the ledger holds cannot be written as a journal.
    #[error(transparent)]
    Export(#[from] export::Error),
}

/// Reads the journal of `tag` and writes it as beancount text; `progress` hears of transactions read.
pub async fn fetch<A: HttpApi>(
    api: &A,
    tag: &str,
    pace: Pace,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<Export, Error> {
    let path = format!("/v1/accounts/{}", segment(&ids::journal_account(tag)));
    let found = get(api, &path, pace).await.map_err(|failed| match failed.code.as_str() {
        "not_found" | "account_not_found" => Error::NoJournal { tag: tag.to_owned() },
        _ => Error::Call { what: "the journal's own account".to_owned(), failed },
    })?;
    let journal = metadata_of(&found["account"]);
    let set = found.pointer("/as_of/set").and_then(Value::as_u64);
    let set = set.ok_or(Error::Answer { what: "a read of an account".to_owned() })?;
    let listed = transactions(api, tag, set, pace, progress).await?;
    let accounts: BTreeMap<String, Held> = stream::iter(accounts_of(&listed))
        .map(|id| account(api, id, pace))
        .buffer_unordered(pace.openings)
        .try_collect()
        .await?;
    Ok(export::beancount(tag, Some(&journal), &accounts, &listed)?)
}

async fn get<A: HttpApi>(api: &A, path: &str, pace: Pace) -> Result<Value, CallFailed> {
    call(api, Method::GET, path, &Value::Null, pace).await
}

/// The transactions of the set that touch an account of the tag.
async fn transactions<A: HttpApi>(
    api: &A,
    tag: &str,
    set: u64,
    pace: Pace,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<Vec<Listed>, Error> {
    let prefix = ids::prefix(tag);
    let what = || format!("a page of set {set}'s transactions");
    let mut kept = Vec::new();
    let mut after = String::new();
    loop {
        let start = if after.is_empty() { String::new() } else { format!("&after={}", segment(&after)) };
        let path = format!("/v1/sets/{set}/transactions?page_size={PAGE}{start}");
        let page = get(api, &path, pace).await.map_err(|failed| Error::Call { what: what(), failed })?;
        let next = page.get("next").and_then(Value::as_str).unwrap_or_default().to_owned();
        let listed: Vec<Listed> =
            read(&page["transactions"]).ok_or_else(|| Error::Answer { what: what() })?;
        progress(listed.len() as u64);
        kept.extend(listed.into_iter().filter(|t| t.legs.iter().any(|leg| leg.account.starts_with(&prefix))));
        if next.is_empty() {
            return Ok(kept);
        }
        after = next;
    }
}

async fn account<A: HttpApi>(api: &A, id: &str, pace: Pace) -> Result<(String, Held), Error> {
    let what = || format!("account {id}");
    let path = format!("/v1/accounts/{}", segment(id));
    let found = get(api, &path, pace).await.map_err(|failed| Error::Call { what: what(), failed })?;
    let held = read(&found["account"]).ok_or_else(|| Error::Answer { what: what() })?;
    Ok((id.to_owned(), held))
}

fn read<T: DeserializeOwned>(value: &Value) -> Option<T> {
    T::deserialize(value).ok()
}

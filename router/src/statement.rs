//! The calls about an account's past, once, for both protocols: what is asked is checked here, as far as no ledger is needed
//! for it. See [`crate::api`].

use tokio::time::Instant;
use twinset_ledger::{amount, date};
use twinset_proto::cluster::v1::{ReadReply, read_reply, read_request};
use twinset_proto::ledger::v1 as wire;

use crate::api::{Api, PAGE_DEFAULT, PAGE_MAX, missing, no_account, page_of};
use crate::convert;
use crate::error::Error;
use crate::groups;

impl Api {
    /// A page of an account's statement.
    pub async fn statement(
        &self,
        asked: wire::GetStatementRequest,
        deadline: Instant,
    ) -> Result<wire::GetStatementReply, Error> {
        let consistency = convert::consistency(asked.consistency)?;
        let set = self.set_of_readable(&asked.account)?;
        let asked = checked(asked)?;
        let account = asked.account.clone();
        match self.reads.read(set, consistency, read_request::Query::Statement(asked), deadline).await? {
            ReadReply { result: Some(read_reply::Result::Statement(reply)) } => {
                if reply.lines.is_empty() {
                    self.not_an_unknown_group(&account, consistency, deadline).await?;
                }
                Ok(reply)
            }
            reply => Err(missing(&reply, &no_account(&account))),
        }
    }

    /// The posted balance of an account at a time or at a log index.
    pub async fn balance(
        &self,
        asked: wire::GetBalanceRequest,
        deadline: Instant,
    ) -> Result<wire::GetBalanceReply, Error> {
        let consistency = convert::consistency(asked.consistency)?;
        let view = self.view();
        if let Some(group) = view.groups.get(&asked.account) {
            return groups::read::balance(self, group, asked, consistency, deadline).await;
        }
        let set = self.set_of_readable(&asked.account)?;
        let (account, at) = (asked.account.clone(), asked.at);
        match self.reads.read(set, consistency, read_request::Query::Balance(asked), deadline).await? {
            ReadReply { result: Some(read_reply::Result::Balance(reply)) } => {
                if reply.posted.bytes().all(|byte| b"0.".contains(&byte)) {
                    self.not_an_unknown_group(&account, consistency, deadline).await?;
                }
                Ok(reply)
            }
            reply => {
                let ahead = |index: u64| match at {
                    Some(wire::get_balance_request::At::Index(asked)) if asked > index => Some(asked),
                    _ => None,
                };
                let error = missing(&reply, &no_account(&account));
                Err(match error.position().and_then(|(at, _)| Some((at, ahead(at.index)?))) {
                    Some((at, asked)) => missing(
                        &reply,
                        &format!("set {set} has come to position {}, and not to {asked} yet", at.index),
                    ),
                    None => error,
                })
            }
        }
    }

    /// Refuses what was read of an account with nothing on it, if the account only keeps the id of a group that this router
    /// does not know yet: the group may have had something.
    async fn not_an_unknown_group(
        &self,
        account: &str,
        consistency: wire::Consistency,
        deadline: Instant,
    ) -> Result<(), Error> {
        self.account(account, consistency, deadline).await.map(drop)
    }
}

/// What is asked, if it can be; with the page's size.
fn checked(mut asked: wire::GetStatementRequest) -> Result<wire::GetStatementRequest, Error> {
    asked.page_size = Some(page_of(asked.page_size, PAGE_DEFAULT, PAGE_MAX)?);
    if let (Some(from), Some(until)) = (asked.from_unix_ns, asked.until_unix_ns)
        && from >= until
    {
        return Err(Error::malformed("from is not before until"));
    }
    let from_date = day(&asked.from_date, "from_date")?;
    let until_date = day(&asked.until_date, "until_date")?;
    if from_date.zip(until_date).is_some_and(|(from, until)| from > until) {
        return Err(Error::malformed("from_date is after until_date"));
    }
    for (number, name) in [(asked.kind, "kind"), (asked.reason, "reason")] {
        if let Some(number) = number.filter(|number| *number > u16::MAX.into()) {
            return Err(Error::malformed(format!("{name} {number} is too large")));
        }
    }
    let amount_min = money(&asked.min_amount, "min_amount")?;
    let amount_max = money(&asked.max_amount, "max_amount")?;
    if amount_min.zip(amount_max).is_some_and(|(min, max)| min > max) {
        return Err(Error::malformed("min_amount is more than max_amount"));
    }
    if asked.metadata_value.is_some() && asked.metadata_key.is_empty() {
        return Err(Error::malformed("metadata_value is given without metadata_key"));
    }
    Ok(asked)
}

fn day(text: &str, name: &str) -> Result<Option<i32>, Error> {
    let bad = || Error::malformed(format!("{name} {text:?} is not \"YYYY-MM-DD\""));
    if text.is_empty() { Ok(None) } else { date::parse(text).ok_or_else(bad).map(Some) }
}

fn money(text: &str, name: &str) -> Result<Option<rust_decimal::Decimal>, Error> {
    let bad = |error| Error::malformed(format!("{name}: {error}"));
    if text.is_empty() { Ok(None) } else { amount::parse(text).map_err(bad).map(Some) }
}

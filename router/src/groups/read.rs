//! What is read of a group: the sums of its parts' figures. Each part is read by itself, all at once, as any account is; one
//! that does not answer is an answer for none of them, never a sum without it. The whole is of no one moment, but what was
//! answered before the read began is in it, as each part's own read has it.

use futures::future::try_join_all;
use tokio::time::Instant;
use twinset_control::groups::MARK;
use twinset_dispatch::groups::Group;
use twinset_ledger::canary::{self, Canary};
use twinset_proto::cluster::v1::{ReadReply, read_reply, read_request};
use twinset_proto::ledger::v1 as wire;

use crate::api::{Api, missing, no_account};
use crate::convert::side_on_wire;
use crate::error::{Code, Error};

/// Asks the set of each part.
async fn ask(
    api: &Api,
    group: &Group,
    consistency: wire::Consistency,
    query: impl Fn(&str) -> read_request::Query,
    deadline: Instant,
) -> Result<Vec<ReadReply>, Error> {
    let parts = group.definition.parts.iter().zip(&group.sets);
    let asked = parts.map(async |(part, set)| {
        let reply = api.reads.read(*set, consistency, query(part), deadline).await?;
        match reply.result {
            Some(read_reply::Result::NotFound(_)) => Err(missing(&reply, &no_account(part))),
            _ => Ok(reply),
        }
    });
    try_join_all(asked).await
}

/// The group as an account: each figure the sum of its parts', and the parts beside it.
pub(crate) async fn account(
    api: &Api,
    group: &Group,
    consistency: wire::Consistency,
    deadline: Instant,
) -> Result<wire::GetAccountReply, Error> {
    let query = |part: &str| read_request::Query::Account(part.into());
    let mut parts = Vec::new();
    for reply in ask(api, group, consistency, query, deadline).await? {
        let Some(read_reply::Result::Account(mut part)) = reply.result else { return Err(no_sum(group)) };
        part.account.get_or_insert_default().group.clone_from(&group.definition.id);
        parts.push(part);
    }
    let mut accounts: Vec<&wire::Account> = parts.iter().filter_map(|part| part.account.as_ref()).collect();
    if canary::on(Canary::GroupWithoutAPart) && accounts.len() > 1 {
        accounts.pop();
    }
    let sum = |figure: fn(&wire::Account) -> &str| {
        sum(accounts.iter().map(|account| figure(account))).ok_or_else(|| no_sum(group))
    };
    let any = |flag: fn(&wire::Account) -> bool| accounts.iter().any(|account| flag(account));
    let first = accounts.first().ok_or_else(|| no_sum(group))?;
    let unlimited = any(|account| account.limit == "none");
    let account = wire::Account {
        account: group.definition.id.clone(),
        subject: first.subject.clone(),
        currency: group.definition.currency.clone(),
        normal_side: side_on_wire(super::side_of(group)).into(),
        limit: if unlimited { "none".into() } else { sum(|account| &account.limit)? },
        frozen_debit: any(|account| account.frozen_debit),
        frozen_credit: any(|account| account.frozen_credit),
        closed: any(|account| account.closed),
        posted: sum(|account| &account.posted)?,
        held: sum(|account| &account.held)?,
        incoming: sum(|account| &account.incoming)?,
        restricted: sum(|account| &account.restricted)?,
        available: sum(|account| &account.available)?,
        withdrawable: sum(|account| &account.withdrawable)?,
        debits: sum(|account| &account.debits)?,
        credits: sum(|account| &account.credits)?,
        version: accounts.iter().map(|account| account.version).sum(),
        ..wire::Account::default()
    };
    let age_ms = parts.iter().map(|part| part.age_ms).max().unwrap_or_default();
    Ok(wire::GetAccountReply { account: Some(account), age_ms, parts, ..wire::GetAccountReply::default() })
}

/// The sum of the parts' posted balances at a ledger time, or now.
pub(crate) async fn balance(
    api: &Api,
    group: &Group,
    asked: wire::GetBalanceRequest,
    consistency: wire::Consistency,
    deadline: Instant,
) -> Result<wire::GetBalanceReply, Error> {
    if matches!(asked.at, Some(wire::get_balance_request::At::Index(_))) {
        return Err(Error::malformed(format!(
            "{} is a group: a position is of one set, so ask for a time, or for a part's balance",
            asked.account
        )));
    }
    let query = |part: &str| {
        read_request::Query::Balance(wire::GetBalanceRequest { account: part.into(), ..asked.clone() })
    };
    let mut parts = Vec::new();
    for reply in ask(api, group, consistency, query, deadline).await? {
        let Some(read_reply::Result::Balance(part)) = reply.result else { return Err(no_sum(group)) };
        parts.push(part);
    }
    Ok(wire::GetBalanceReply {
        account: group.definition.id.clone(),
        currency: group.definition.currency.clone(),
        normal_side: side_on_wire(super::side_of(group)).into(),
        posted: sum(parts.iter().map(|part| part.posted.as_str())).ok_or_else(|| no_sum(group))?,
        age_ms: parts.iter().map(|part| part.age_ms).max().unwrap_or_default(),
        parts,
        ..wire::GetBalanceReply::default()
    })
}

/// Refuses to speak of an account that only keeps the id of a group that this router has not heard of: it is empty, and the
/// group is not.
pub(crate) fn not_heard_of(account: Option<&wire::Account>) -> Result<(), Error> {
    match account {
        Some(account) if account.closed && account.metadata.get(MARK) == Some(&account.account) => {
            let text = format!(
                "{} is a group, or is to be one, that this router does not know yet",
                account.account
            );
            Err(Error::new(Code::GroupUnknown, text))
        }
        _ => Ok(()),
    }
}

fn no_sum(group: &Group) -> Error {
    let text = format!("what was answered for the parts of {} cannot be added up", group.definition.id);
    Error::new(Code::NoLeader, text)
}

/// The sum of decimals of the same scale; None if they are not that, or it has no form.
fn sum<'a>(figures: impl Iterator<Item = &'a str>) -> Option<String> {
    let mut total: Option<(i128, usize)> = None;
    for figure in figures {
        let places = figure.split_once('.').map_or(0, |(_, fraction)| fraction.len());
        let minor: i128 = figure.replacen('.', "", 1).parse().ok()?;
        total = match total {
            None => Some((minor, places)),
            Some((sum, same)) if same == places => Some((sum.checked_add(minor)?, places)),
            Some(_) => return None,
        };
    }
    let (minor, places) = total?;
    Some(twinset_ledger::amount::to_decimal_string(minor, places.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_added_to_the_last_place() {
        let most = i128::MAX.to_string();
        let table: [(&[&str], Option<&str>); 8] = [
            (&["1.10", "2.95", "-0.05"], Some("4.00")),
            (&["-1.10", "1.00"], Some("-0.10")),
            (&["7"], Some("7")),
            (&["7", "-9"], Some("-2")),
            (&["0.001"], Some("0.001")),
            (&["1.0", "1.00"], None),
            (&[&most, "1"], None),
            (&["none"], None),
        ];
        for (figures, expected) in table {
            assert_eq!(sum(figures.iter().copied()).as_deref(), expected, "{figures:?}");
        }
        assert_eq!(sum(std::iter::empty()), None);
    }
}

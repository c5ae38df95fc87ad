//! The making of a group of accounts: which accounts its parts are, and the steps to it in an order that can be broken off
//! anywhere and gone on with: the group's id is taken out of use as an account, the parts are opened, the id is kept for the group in
//! every set's log, the group is defined.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use http::Method;
use serde_json::{Map, Value, json};
use tokio::time::Instant;
use tonic::Code;
use twinset_control::groups::{MARK, PARTS_MAX, Side, is_id};
use twinset_control::{Catalogue, Command, Group};
use twinset_ledger::slot_of;
use twinset_proto::cluster::v1::DefineGroupRequest;

use crate::cluster::admin::{self, Survey};
use crate::cluster::{control, operator};
use crate::cmd::router::{self, CallError, Router};
use crate::drill::moment;
use crate::error;

/// The request id of every account's opening: the account is its scope, so that a repeated run finds what it did.
const OPEN: &str = "twinset-group-open";
const CLOSE: &str = "twinset-group-close";
/// For the control set to answer, and for routers to hear of the group.
const PATIENCE: Duration = Duration::from_secs(15);
const LOOK_EVERY: Duration = Duration::from_millis(50);
const NAME_YOURSELF: &str = "name your token with --operator-token-file FILE";

/// A part, and the set that it lives in.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Part {
    /// The account.
    pub account: String,
    /// Its set.
    pub set: u32,
}

/// What is to be made.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The group's id.
    pub id: String,
    /// The currency of its parts.
    pub currency: String,
    /// Their general-ledger subject.
    pub subject: String,
    /// The floor of each; None: the router's default.
    pub limit: Option<String>,
    /// Kept with each.
    pub metadata: Map<String, Value>,
    /// Who makes it, for the audit log.
    pub who: String,
    /// Why.
    pub why: String,
}

/// The parts of a group of this id: `ID.1`, `ID.2` and so on, without those that would give a set more than its share. The
/// shares differ by one at most, so that every set has a part if there are as many parts as sets.
pub fn plan(catalogue: &Catalogue, id: &str, parts: usize) -> anyhow::Result<Vec<Part>> {
    if !is_id(id) || id.contains(['{', '}']) {
        return Err(error::usage(
            format!("{id} is no id for a group"),
            "an id of a group is 1-64 of A-Za-z0-9._:- without braces, which would keep all parts in one set",
        ));
    }
    if !(1..=PARTS_MAX).contains(&parts) {
        return Err(error::usage(
            format!("a group has 1 to {PARTS_MAX} parts, not {parts}"),
            "one part in each set is the usual number; more spread a hot account within the sets",
        ));
    }
    let (slots, sets) = (catalogue.slot_table(), catalogue.sets.len());
    let (share, mut spare) = (parts / sets, parts % sets);
    let mut shares = BTreeMap::<u32, usize>::new();
    let mut planned = Vec::with_capacity(parts);
    for number in 1u64.. {
        if planned.len() == parts {
            break;
        }
        let account = format!("{id}.{number}");
        if !is_id(&account) {
            return Err(error::usage(
                format!("{id} is too long: its part {account} would be no account id"),
                "shorten it",
            ));
        }
        let set = slots[usize::from(slot_of(&account))];
        let has = shares.entry(set).or_default();
        if *has > share || (*has == share && spare == 0) {
            continue;
        }
        if *has == share {
            spare -= 1;
        }
        *has += 1;
        planned.push(Part { account, set });
    }
    Ok(planned)
}

/// The group of this id, if it is defined: with these parts and this currency, or else an error.
pub fn defined<'a>(
    catalogue: &'a Catalogue,
    wanted: &Wanted,
    parts: &[Part],
) -> anyhow::Result<Option<&'a Group>> {
    let ids = || parts.iter().map(|part| &part.account);
    if let Some(group) = catalogue.groups.get(&wanted.id) {
        if group.currency == wanted.currency && group.parts.iter().eq(ids()) {
            return Ok(Some(group));
        }
        return Err(error::failure(
            format!(
                "{} is a group of {} parts in {}, and never changes",
                wanted.id,
                group.parts.len(),
                group.currency
            ),
            "`twinset group show` shows it; choose another id",
        ));
    }
    for other in catalogue.groups.values() {
        let taken = |account: &String| other.id == *account || other.parts.contains(account);
        if let Some(account) = ids().chain([&wanted.id]).find(|account| taken(account)) {
            return Err(error::failure(
                format!("{account} belongs to the group {}", other.id),
                "choose another id; nothing was done",
            ));
        }
    }
    Ok(None)
}

/// Takes the group's id out of use as an account, for ever: an account of that id is opened, and closed.
pub async fn reserve(router: &mut Router, wanted: &Wanted, parts: usize) -> anyhow::Result<()> {
    let metadata = json!({ MARK: wanted.id, "parts": parts.to_string() });
    let body = json!({
        "request_id": OPEN, "account": wanted.id, "subject": wanted.subject, "currency": wanted.currency,
        "metadata": metadata,
    });
    write(router, &wanted.id, "/v1/accounts", body).await?;
    let path = format!("/v1/accounts/{}/close", router::segment(&wanted.id));
    write(router, &wanted.id, &path, json!({ "request_id": CLOSE })).await
}

/// Opens a part.
pub async fn open(router: &mut Router, wanted: &Wanted, part: &Part) -> anyhow::Result<()> {
    let mut body = json!({
        "request_id": OPEN, "account": part.account, "subject": wanted.subject, "currency": wanted.currency,
        "metadata": wanted.metadata,
    });
    if let Some(limit) = &wanted.limit {
        body["limit"] = limit.clone().into();
    }
    write(router, &part.account, "/v1/accounts", body).await
}

async fn write(router: &mut Router, account: &str, path: &str, body: Value) -> anyhow::Result<()> {
    let result = router.call(Method::POST, path, Some(&body)).await;
    result.map(drop).map_err(|error| match error.code() {
        Some("account_exists") => error::failure(
            format!("{account} is an account already, and not of this group"),
            "choose another id for the group; accounts that were opened for this one stay, and take no part in anything",
        ),
        Some("request_mismatch") => error::failure(
            format!("{account} was opened for this group, but otherwise: {error}"),
            "repeat the command as it was first given (parts, subject, currency, limit, metadata), or choose another id",
        ),
        _ if error.unknown() || matches!(error, CallError::NoAnswer { .. }) => error::failure(
            format!("it is not known whether {account} was opened for the group: {error}"),
            "run the same command again: it goes on where it stopped",
        ),
        _ => error::failure(
            format!("{account} was not opened for the group: {error}"),
            "docs/reference/errors.md explains the code; the same command goes on where it stopped",
        ),
    })
}

/// The group as it is to be defined. Its parts are open: the first tells the side that its subject has.
pub async fn definition(router: &mut Router, wanted: &Wanted, parts: &[Part]) -> anyhow::Result<Group> {
    let first = &parts.first().expect("a group has a part").account;
    let path = format!("/v1/accounts/{}", router::segment(first));
    let reply = router
        .call(Method::GET, &path, None)
        .await
        .map_err(|error| router::read_failed(&format!("{first} cannot be read"), error))?;
    let normal_side = match reply["account"]["normal_side"].as_str() {
        Some("debit") => Side::Debit,
        Some("credit") => Side::Credit,
        other => {
            return Err(error::failure(
                format!("{first} has no normal side that is known here: {other:?}"),
                "use a `twinset` of the routers' version",
            ));
        }
    };
    Ok(Group {
        id: wanted.id.clone(),
        currency: wanted.currency.clone(),
        normal_side,
        parts: parts.iter().map(|part| part.account.clone()).collect(),
    })
}

/// Keeps the id in the log of every set, so that none takes a leg on it for one on an account: a router that has not heard of
/// the group is told to ask again, whatever is remembered of the request.
async fn keep_id(survey: &Survey, wanted: &Wanted) -> anyhow::Result<()> {
    let catalogue = survey.catalogue()?;
    let seeds: Vec<String> = survey.answers.keys().cloned().collect();
    let deadline = Instant::now() + PATIENCE;
    let mut lacking: BTreeSet<u32> = catalogue.sets.keys().copied().collect();
    loop {
        let now = admin::survey(&seeds).await;
        let mut reasons = Vec::new();
        // The set where the id would be an account's has the say: no other one keeps it before that has said yes.
        let own = catalogue.slot_table()[usize::from(slot_of(&wanted.id))];
        let asked = if lacking.contains(&own) { BTreeSet::from([own]) } else { lacking.clone() };
        for set in asked {
            match keep_id_in(&now, set, wanted).await {
                Ok(()) => drop(lacking.remove(&set)),
                Err(status) if status.code() == Code::AlreadyExists => {
                    return Err(error::failure(status.message(), "choose another id for the group"));
                }
                Err(status) if operator::is_refused(&status) => {
                    return Err(error::failure(admin::explain(&status), NAME_YOURSELF));
                }
                Err(status) => reasons.push(format!("set {set}: {}", admin::explain(&status))),
            }
        }
        // What a set holds in one site only may be lost with it, and the control set would know the group.
        let now = admin::survey(&seeds).await;
        let sets = moment::sets(&now, catalogue);
        let unsafe_ones = sets.iter().filter(|(_, set)| set.leader.is_none() || set.is_unsafe());
        reasons.extend(unsafe_ones.map(|(set, _)| format!("set {set} is not in SYNC")));
        if lacking.is_empty() && reasons.is_empty() {
            return Ok(());
        }
        if Instant::now() >= deadline {
            return Err(error::failure(
                format!("{} is not kept for a group by every set: {}", wanted.id, reasons.join("; ")),
                "run the same command again when every set is in SYNC: it goes on where it stopped",
            ));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

async fn keep_id_in(survey: &Survey, set: u32, wanted: &Wanted) -> Result<(), tonic::Status> {
    let (addr, _) = survey.leader(set).ok_or_else(|| tonic::Status::unavailable("no leader answers"))?;
    let mut node = admin::client(&addr).map_err(|error| tonic::Status::unavailable(error.to_string()))?;
    let request = DefineGroupRequest { set, group: wanted.id.clone(), who: wanted.who.clone() };
    node.define_group(operator::signed(request)).await.map(drop)
}

/// Defines it: its id is kept by every set, and then routers take credits for it.
pub async fn define(survey: &Survey, wanted: &Wanted, group: Group) -> anyhow::Result<()> {
    keep_id(survey, wanted).await?;
    let command = Command::CreateGroup { group, who: wanted.who.clone(), why: wanted.why.clone() };
    control::propose(survey, survey.catalogue()?, &command, PATIENCE).await.map(drop).map_err(|error| {
        let next = match &error {
            control::Error::Rejected(_) => "`twinset group list` shows the groups that there are",
            control::Error::Refused(_) => NAME_YOURSELF,
            control::Error::NoAnswer(_) => "run the same command again: it goes on where it stopped",
        };
        error::failure(format!("{} was not defined: {error}", wanted.id), next)
    })
}

/// Waits until the router knows the group; whether it does.
pub async fn heard_of(router: &mut Router, id: &str) -> bool {
    let (path, deadline) = (format!("/v1/accounts/{}", router::segment(id)), Instant::now() + PATIENCE);
    loop {
        match router.call(Method::GET, &path, None).await {
            Ok(reply) if reply["parts"].is_array() => return true,
            _ if Instant::now() >= deadline => return false,
            _ => tokio::time::sleep(LOOK_EVERY).await,
        }
    }
}

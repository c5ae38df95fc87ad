//! What is looked at before a drill begins: it begins from a cluster that is well, or not at all.

use futures::future::join_all;
use serde_json::{Value, json};
use twinset_control::{CONTROL_SET, Catalogue};

use super::play::Options;
use super::scenario::{Act, Condition, Role};
use super::wait;
use crate::cluster::admin::{self, Survey};
use crate::cluster::faults::At;
use crate::drill::cast::Cast;
use crate::{error, http1};

/// One check before a drill.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Check {
    /// Its name, which never changes.
    pub check: &'static str,
    /// Why it refuses; None: it passes.
    pub refused: Option<String>,
}

/// Refuses to begin, naming every check that says no.
pub async fn refuse(options: &Options, survey: &Survey) -> anyhow::Result<()> {
    let refused = run(options, survey).await;
    let refused: Vec<String> = refused
        .into_iter()
        .filter_map(|check| check.refused.map(|why| format!("{}: {why}", check.check)))
        .collect();
    if refused.is_empty() {
        return Ok(());
    }
    Err(error::failure(
        format!("the drill does not begin: {}", refused.join("; ")),
        "a drill begins with a cluster that is well: `twinset status` shows what is not",
    ))
}

/// Runs all checks.
pub async fn run(options: &Options, survey: &Survey) -> Vec<Check> {
    let Some(catalogue) = &survey.catalogue else {
        return vec![Check { check: "nodes", refused: Some("no node knows a catalogue".to_owned()) }];
    };
    let cast = match Cast::new(catalogue, options.set, options.routers.clone()) {
        Ok(cast) => cast,
        Err(why) => return vec![Check { check: "set", refused: Some(why) }],
    };
    let base = wait::Base::of(survey, catalogue);
    let lacks = |condition| wait::lacks(condition, survey, &cast, &base);
    let check = |check, refused| Check { check, refused };
    let control = survey.leader(CONTROL_SET).is_none();
    let mut all = vec![
        check("control", control.then(|| "the control set has no leader that answers".to_owned())),
        check("nodes", lacks(Condition::Answering)),
        check("routers", routers(options).await),
        check("leaders", lacks(Condition::Leaders)),
        check("durability", lacks(Condition::Sync)),
        check("homes", lacks(Condition::Home).or_else(|| isolated(catalogue))),
        check("plans", lacks(Condition::NoPlan)),
        check("roles", roles(options, survey, &cast)),
    ];
    if options.scenario.has_faults() {
        all.push(check("faults", faults(options, survey, &cast).await));
    }
    all
}

async fn routers(options: &Options) -> Option<String> {
    let opened = options.routers.iter().map(async |router| {
        let listens = http1::listens(&router.http, admin::ASK).await;
        (!listens).then(|| format!("{} does not answer", router.name))
    });
    join_all(opened).await.into_iter().flatten().next()
}

fn isolated(catalogue: &Catalogue) -> Option<String> {
    let site = catalogue.sites.values().find(|site| site.isolated)?;
    Some(format!("site {} is isolated", site.name))
}

/// A role that is nobody in this cluster is found before anything begins, not in the middle.
fn roles(options: &Options, survey: &Survey, cast: &Cast) -> Option<String> {
    let wanted = options.scenario.acts().filter_map(|act| match act {
        Act::Fault { on, .. } => Some(*on),
        _ => None,
    });
    wanted.map(|role| cast.players(role, survey)).find_map(Result::err)
}

/// Whether each process that is to be harmed knows faults for drills, and none acts yet.
async fn faults(options: &Options, survey: &Survey, cast: &Cast) -> Option<String> {
    if options.token.is_none() {
        return Some("it harms processes, and there is no token for that".to_owned());
    }
    let everybody = [Role::HomeSite, Role::AwaySite, Role::Arbiter];
    let players = everybody.iter().filter_map(|role| cast.players(*role, survey).ok()).flatten();
    let players: Vec<_> = players.collect();
    let asked = players.iter().map(async |process| {
        match (At { process: &process.name, addr: &process.addr }).list().await {
            Err(error) => Some(error.to_string()),
            Ok(faults) => faults
                .first()
                .map(|fault| format!("fault {} of {} acts on {} already", fault.id, fault.who, process.name)),
        }
    });
    join_all(asked).await.into_iter().flatten().next()
}

/// The audit records since then that the catalogue still has.
pub fn audit_since(catalogue: &Catalogue, unix_ms: u64) -> Vec<Value> {
    let since = catalogue.audit.tail.iter().filter(|record| record.time_unix_ns / 1_000_000 >= unix_ms);
    since.map(|record| json!(record)).collect()
}

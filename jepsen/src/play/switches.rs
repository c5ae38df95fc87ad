//! Planned switches of all sets, one right after the other. They run beside whoever plays them, so that another fault can fall
//! into the middle of one.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, anyhow};
use tokio::task::JoinHandle;
use twinset_control::Role;
use twinset_tools::cluster::admin::{self, Survey};
use twinset_tools::cmd::switch;

use super::{Act, Player, Stage, nothing};
use crate::nemesis::{Evidence, Fault};

/// By then a switch has come to an end, whatever became of the nodes that carried it out.
const PATIENCE: Duration = Duration::from_secs(60);

/// What came of each.
#[derive(Default)]
struct Said {
    done: Vec<String>,
    given_up: Vec<String>,
}

/// Planned switches.
#[derive(Default)]
pub(super) struct Switches(Option<JoinHandle<Said>>);

impl Player for Switches {
    fn plays(&self, fault: &Fault) -> bool {
        matches!(fault, Fault::Switches { .. })
    }

    fn begin<'a>(&'a mut self, stage: &'a mut Stage, fault: &'a Fault) -> Act<'a, ()> {
        Box::pin(async move {
            let Fault::Switches { count } = fault else { return Ok(()) };
            let storm = storm(stage.cluster.layout().node_addrs(), stage.sets.clone(), *count);
            self.0 = Some(tokio::spawn(storm));
            Ok(())
        })
    }

    fn end<'a>(&'a mut self, stage: &'a mut Stage, fault: &'a Fault) -> Act<'a, Evidence> {
        Box::pin(async move {
            let (Some(storm), Fault::Switches { count }) = (self.0.take(), fault) else {
                return Ok(nothing());
            };
            let said = tokio::time::timeout(PATIENCE, storm).await.context("a switch has no end")??;
            let asked = *count as usize * stage.sets.len();
            let (done, given_up) = (said.done.join(", "), said.given_up.join(", "));
            let detail = format!("{} of {asked}: {done}; given up: [{given_up}]", said.done.len());
            Ok(Evidence { acted: said.done.len() * 2 >= asked, detail })
        })
    }
}

async fn storm(seeds: Vec<String>, sets: Vec<u32>, count: u32) -> Said {
    let mut said = Said::default();
    for _ in 0..count {
        for set in &sets {
            let survey = admin::survey(&seeds).await;
            match switch_once(&seeds, &survey, *set).await {
                Ok(done) => said.done.push(done),
                // A switch may be given up; what it must not do is for the checkers to see.
                Err(error) => said.given_up.push(error.to_string()),
            }
        }
    }
    said
}

/// One switch; an error: it was given up, or left the voters as they were.
async fn switch_once(seeds: &[String], survey: &Survey, set: u32) -> anyhow::Result<String> {
    let catalogue = survey.catalogue()?;
    let home = catalogue.sets.get(&set).map(|set| set.home.clone()).unwrap_or_default();
    let to = catalogue.other_site(&home).ok_or_else(|| anyhow!("set {set} has no other site"))?;
    let (who, why) = ("twinset-jepsen".to_owned(), "a storm of switches".to_owned());
    let request =
        twinset_proto::cluster::v1::SwitchRequest { set, to_site: to.to_owned(), who, why, dry_run: false };
    let outcome = switch::switch(survey, request, &mut |_| {}).await?;
    let (before, after) = (voters(survey, set)?, voters(&admin::survey(seeds).await, set)?);
    anyhow::ensure!(before != after, "set {set} was switched to {to} with the same voters {before:?}");
    Ok(format!("set {set} to {to}, voters now {after:?}, paused {} us", outcome.pause_us()))
}

/// The nodes that vote in a set, as the catalogue has it.
fn voters(survey: &Survey, set: u32) -> anyhow::Result<BTreeSet<String>> {
    let set = survey.catalogue()?.sets.get(&set).ok_or_else(|| anyhow!("there is no set {set}"))?;
    let voters = set.replicas.iter().filter(|replica| replica.role == Role::Voter);
    Ok(voters.map(|replica| replica.node.clone()).collect())
}

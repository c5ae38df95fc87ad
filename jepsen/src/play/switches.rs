//! Planned switches of all sets, one right after the other. They run beside whoever plays them, so that another fault can fall
//! into the middle of one.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, anyhow};
use tokio::sync::watch;
use tokio::task::JoinSet;
use twinset_control::Role;
use twinset_proto::cluster::v1::{SwitchProgress, SwitchRequest};
use twinset_tools::cluster::admin::{self, Survey};
use twinset_tools::cmd::switch;

use super::{Act, Player, Stage, nothing};
use crate::nemesis::{Evidence, Fault};

/// By then one switch has come to an end, whatever became of the nodes that carried it out.
const PATIENCE: Duration = Duration::from_secs(45);
/// By then a switch of the storm is under way, if any can be.
const UNDER_WAY: Duration = Duration::from_secs(2);

/// What came of each.
#[derive(Default)]
struct Said {
    done: Vec<String>,
    given_up: Vec<String>,
}

/// Planned switches. Dropped, they end.
#[derive(Default)]
pub(super) struct Switches {
    storm: JoinSet<Said>,
    /// Whether a switch is under way at this moment.
    moving: watch::Sender<bool>,
}

impl Player for Switches {
    fn plays(&self, fault: &Fault) -> bool {
        matches!(fault, Fault::Switches { .. })
    }

    fn begin<'a>(&'a mut self, stage: &'a mut Stage, fault: &'a Fault) -> Act<'a, ()> {
        Box::pin(async move {
            let Fault::Switches { count } = fault else { return Ok(()) };
            self.moving.send_replace(false);
            let (seeds, sets) = (stage.cluster.layout().node_addrs(), stage.sets.clone());
            self.storm.spawn(storm(seeds, sets, *count, self.moving.clone()));
            Ok(())
        })
    }

    fn in_its_midst(&mut self) -> Act<'_, bool> {
        Box::pin(async move {
            let mut moving = self.moving.subscribe();
            Ok(tokio::time::timeout(UNDER_WAY, moving.wait_for(|moving| *moving)).await.is_ok())
        })
    }

    fn end<'a>(&'a mut self, stage: &'a mut Stage, fault: &'a Fault) -> Act<'a, Evidence> {
        Box::pin(async move {
            let Fault::Switches { count } = fault else { return Ok(nothing()) };
            let asked = *count as usize * stage.sets.len();
            let said = tokio::time::timeout(PATIENCE * asked as u32, self.storm.join_next()).await;
            self.storm.abort_all();
            let Some(said) = said.context("a switch has no end")? else { return Ok(nothing()) };
            let said = said?;
            let (done, given_up) = (said.done.join(", "), said.given_up.join(", "));
            let detail = format!("{} of {asked}: {done}; given up: [{given_up}]", said.done.len());
            Ok(Evidence { acted: said.done.len() * 2 >= asked, detail })
        })
    }
}

async fn storm(seeds: Vec<String>, sets: Vec<u32>, count: u32, moving: watch::Sender<bool>) -> Said {
    let mut said = Said::default();
    for _ in 0..count {
        for set in &sets {
            let survey = admin::survey(&seeds).await;
            let once = switch_once(&seeds, &survey, *set, &moving).await;
            moving.send_replace(false);
            match once {
                Ok(done) => said.done.push(done),
                // A switch may be given up; what it must not do is for the checkers to see.
                Err(error) => said.given_up.push(error.to_string()),
            }
        }
    }
    said
}

/// One switch; an error: it was given up, or left the voters as they were.
async fn switch_once(
    seeds: &[String],
    survey: &Survey,
    set: u32,
    moving: &watch::Sender<bool>,
) -> anyhow::Result<String> {
    let catalogue = survey.catalogue()?;
    let home = catalogue.sets.get(&set).map(|set| set.home.clone()).unwrap_or_default();
    let to = catalogue.other_site(&home).ok_or_else(|| anyhow!("set {set} has no other site"))?;
    let (who, why) = ("twinset-jepsen".to_owned(), "a storm of switches".to_owned());
    let request = SwitchRequest { set, to_site: to.to_owned(), who, why, dry_run: false, plan: 0 };
    let begun = &mut |_: &SwitchProgress| {
        moving.send_replace(true);
    };
    let outcome = switch::switch(survey, request, begun).await?;
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

//! Sites that are lost, and the arbiter: their processes die at the same instant. A site is not brought back before the
//! sets of the other one have gone on, on record; afterwards the cluster heals by itself.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;
use twinset_control::{Catalogue, Durability};
use twinset_tools::cluster::admin::{self, Survey};
use twinset_tools::cluster::process::Signal;

use super::{Act, Player, Stage, nothing};
use crate::death;
use crate::nemesis::{Evidence, Fault, Lame};
use crate::wait;

/// By then every set has gone on without a site, a voter of the control set among the dead ones that believes in
/// nobody's silence for half a minute after it is back.
const GONE_ON: Duration = Duration::from_secs(120);

/// Lost sites.
#[derive(Default)]
pub(super) struct Sites {
    /// As what each set was on record before: its incarnation, and its home.
    before: BTreeMap<u32, (u32, String)>,
    lost: Vec<String>,
    lost_at: Option<Instant>,
}

impl Sites {
    /// Waits until every set has gone on in the other site.
    async fn gone_on(&self, stage: &Stage, site: &str) -> anyhow::Result<Survey> {
        let seeds = stage.cluster.layout().node_addrs();
        wait::until(&seeds, GONE_ON, |survey| {
            let catalogue = survey.catalogue.as_ref().ok_or("nobody answers")?;
            let waits = catalogue.sets.values().find(|set| {
                set.recovery.is_some() || set.durability != Durability::Degraded || set.home == site
            });
            waits.map_or(Ok(()), |set| Err(format!("set {} does not go on without site {site}", set.id)))
        })
        .await
    }

    fn what_came_of_it(&self, catalogue: &Catalogue, site: &str) -> Evidence {
        let mut words = Vec::new();
        let mut acted = !self.lost.is_empty();
        for set in catalogue.sets.values() {
            let (incarnation, home) = self.before.get(&set.id).cloned().unwrap_or_default();
            let recovered = set.incarnation > incarnation;
            acted &= recovered == (home == site);
            words.push(match recovered {
                true => format!("set {} goes on in {} as incarnation {}", set.id, set.home, set.incarnation),
                false => format!("set {} goes on alone", set.id),
            });
        }
        let took_ms = self.lost_at.map_or(0, |at| at.elapsed().as_millis());
        let detail = format!("{} died; after {took_ms} ms: {}", self.lost.join(", "), words.join(", "));
        Evidence { acted, detail }
    }
}

impl Player for Sites {
    fn plays(&self, fault: &Fault) -> bool {
        matches!(fault, Fault::SiteLoss { .. })
    }

    fn begin<'a>(&'a mut self, stage: &'a mut Stage, fault: &'a Fault) -> Act<'a, ()> {
        Box::pin(async move {
            let Fault::SiteLoss { victims, arbiter, lame, .. } = fault else { return Ok(()) };
            *self = Sites::default();
            let survey = wait::in_sync(stage.cluster.layout()).await?;
            let sets = survey.catalogue()?.sets.values();
            self.before = sets.map(|set| (set.id, (set.incarnation, set.home.clone()))).collect();
            if let Some(Lame { victim, for_ms }) = lame {
                stage.cluster.signal(victim, Signal::Stop).await?;
                tokio::time::sleep(Duration::from_millis(*for_ms)).await;
                if !is_sync(&admin::survey(&stage.cluster.layout().node_addrs()).await) {
                    // Nobody recovers by himself what was DEGRADED: the site is lost when all is well again.
                    stage.cluster.signal(victim, Signal::Cont).await?;
                    wait::in_sync(stage.cluster.layout()).await?;
                }
            }
            let all: Vec<&String> = victims.iter().chain(arbiter).collect();
            let dead = death::end_at_once(&stage.cluster, &all).await;
            if let Some(Lame { victim, .. }) = lame {
                stage.cluster.signal(victim, Signal::Cont).await?;
            }
            dead?;
            self.lost = all.into_iter().cloned().collect();
            self.lost_at = Some(Instant::now());
            Ok(())
        })
    }

    fn end<'a>(&'a mut self, stage: &'a mut Stage, fault: &'a Fault) -> Act<'a, Evidence> {
        Box::pin(async move {
            let Fault::SiteLoss { site, victims, arbiter, .. } = fault else { return Ok(nothing()) };
            if let Some(name) = arbiter {
                start(stage, name)?;
            }
            let gone_on = match self.lost.is_empty() {
                true => Ok(None),
                false => self.gone_on(stage, site).await.map(Some),
            };
            for name in victims {
                start(stage, name)?;
            }
            match gone_on? {
                Some(survey) => Ok(self.what_came_of_it(survey.catalogue()?, site)),
                None => Ok(nothing()),
            }
        })
    }
}

/// The arbiter alone.
#[derive(Default)]
pub(super) struct Arbiters {
    /// Up to where the log of each set was committed when it had died.
    committed: Option<BTreeMap<u32, u64>>,
}

impl Player for Arbiters {
    fn plays(&self, fault: &Fault) -> bool {
        matches!(fault, Fault::ArbiterLoss { .. })
    }

    fn begin<'a>(&'a mut self, stage: &'a mut Stage, fault: &'a Fault) -> Act<'a, ()> {
        Box::pin(async move {
            let Fault::ArbiterLoss { victim, .. } = fault else { return Ok(()) };
            self.committed = None;
            death::end(&mut stage.cluster, victim).await?;
            self.committed = Some(committed(stage).await);
            Ok(())
        })
    }

    fn end<'a>(&'a mut self, stage: &'a mut Stage, fault: &'a Fault) -> Act<'a, Evidence> {
        Box::pin(async move {
            let Fault::ArbiterLoss { victim, .. } = fault else { return Ok(nothing()) };
            let after = committed(stage).await;
            start(stage, victim)?;
            let Some(before) = self.committed.take() else { return Ok(nothing()) };
            let wrote = |set: &&u32| after.get(*set) > before.get(*set);
            let wrote: Vec<String> = stage.sets.iter().filter(wrote).map(u32::to_string).collect();
            let detail = format!("{victim} was away, and sets {} wrote", wrote.join(", "));
            Ok(Evidence { acted: wrote.len() == stage.sets.len(), detail })
        })
    }
}

/// Whether every set is on record as SYNC.
fn is_sync(survey: &Survey) -> bool {
    let sync = |catalogue: &Catalogue| catalogue.sets.values().all(|set| set.durability == Durability::Sync);
    survey.catalogue.as_ref().is_some_and(sync)
}

/// Up to where the log of each set that is led is committed.
async fn committed(stage: &Stage) -> BTreeMap<u32, u64> {
    let survey = admin::survey(&stage.cluster.layout().node_addrs()).await;
    let led = stage.sets.iter().filter_map(|set| Some((*set, wait::leader(&survey, *set)?.committed_index)));
    led.collect()
}

fn start(stage: &mut Stage, name: &str) -> anyhow::Result<()> {
    if !stage.cluster.alive(name)? {
        stage.cluster.start_process(name)?;
    }
    Ok(())
}

//! Faults of processes as a whole: killed, frozen, and sets that are switched from one to another.

use std::time::Duration;

use twinset_tools::cluster::admin::{self, Survey};
use twinset_tools::cluster::process::Signal;
use twinset_tools::cmd::switch;

use super::{Act, Player, Stage, nothing};
use crate::death;
use crate::nemesis::{Evidence, Fault};

/// SIGKILL.
#[derive(Default)]
pub(super) struct Kills {
    ended: Vec<String>,
}

impl Player for Kills {
    fn plays(&self, fault: &Fault) -> bool {
        matches!(fault, Fault::Kill { .. })
    }

    fn begin<'a>(&'a mut self, stage: &'a mut Stage, fault: &'a Fault) -> Act<'a, ()> {
        Box::pin(async move {
            self.ended.clear();
            let Fault::Kill { victims, .. } = fault else { return Ok(()) };
            for victim in victims {
                let pid = stage.cluster.layout().process(victim)?.pid;
                death::end(&mut stage.cluster, victim).await?;
                self.ended.push(format!("{victim} (process {}) ended", pid.map_or(0, |pid| pid.number)));
            }
            Ok(())
        })
    }

    fn end<'a>(&'a mut self, stage: &'a mut Stage, fault: &'a Fault) -> Act<'a, Evidence> {
        Box::pin(async move {
            let Fault::Kill { victims, again_ms, .. } = fault else { return Ok(nothing()) };
            for victim in victims {
                if !stage.cluster.alive(victim)? {
                    stage.cluster.start_process(victim)?;
                }
            }
            if let Some(again) = again_ms {
                tokio::time::sleep(Duration::from_millis(*again)).await;
                for victim in victims {
                    death::end(&mut stage.cluster, victim).await?;
                    stage.cluster.start_process(victim)?;
                    self.ended.push(format!("{victim} once more"));
                }
            }
            Ok(Evidence { acted: self.ended.len() >= victims.len(), detail: self.ended.join(", ") })
        })
    }
}

/// SIGSTOP and SIGCONT.
pub(super) struct Pauses;

impl Player for Pauses {
    fn plays(&self, fault: &Fault) -> bool {
        matches!(fault, Fault::Pause { .. })
    }

    fn begin<'a>(&'a mut self, stage: &'a mut Stage, fault: &'a Fault) -> Act<'a, ()> {
        Box::pin(async move {
            let Fault::Pause { victims, .. } = fault else { return Ok(()) };
            for victim in victims {
                stage.cluster.signal(victim, Signal::Stop).await?;
            }
            Ok(())
        })
    }

    fn end<'a>(&'a mut self, stage: &'a mut Stage, fault: &'a Fault) -> Act<'a, Evidence> {
        Box::pin(async move {
            let Fault::Pause { victims, for_ms } = fault else { return Ok(nothing()) };
            let mut seen = Vec::new();
            for victim in victims {
                let pid = stage.cluster.layout().process(victim)?.pid;
                // Still frozen at the end: it was all the time, since nobody else sends CONT.
                let frozen = match pid {
                    Some(pid) => pid.alive() && pid.frozen(Duration::ZERO).await,
                    None => false,
                };
                if frozen {
                    seen.push(format!("all threads of {victim} stood still for {for_ms} ms"));
                }
                stage.cluster.signal(victim, Signal::Cont).await?;
            }
            Ok(Evidence { acted: seen.len() == victims.len(), detail: seen.join(", ") })
        })
    }
}

/// Planned switches.
#[derive(Default)]
pub(super) struct Switches {
    done: Vec<String>,
    failed: Vec<String>,
}

impl Player for Switches {
    fn plays(&self, fault: &Fault) -> bool {
        matches!(fault, Fault::Switches { .. })
    }

    fn begin<'a>(&'a mut self, stage: &'a mut Stage, fault: &'a Fault) -> Act<'a, ()> {
        Box::pin(async move {
            self.done.clear();
            self.failed.clear();
            let Fault::Switches { count } = fault else { return Ok(()) };
            let seeds = stage.cluster.layout().node_addrs();
            for _ in 0..*count {
                for set in stage.sets.clone() {
                    let survey = admin::survey(&seeds).await;
                    match switch_once(&survey, set).await {
                        Ok(said) => self.done.push(said),
                        // A switch may be given up; what it must not do is for the checkers to see.
                        Err(error) => self.failed.push(error.to_string()),
                    }
                }
            }
            Ok(())
        })
    }

    fn end<'a>(&'a mut self, stage: &'a mut Stage, fault: &'a Fault) -> Act<'a, Evidence> {
        Box::pin(async move {
            let Fault::Switches { count } = fault else { return Ok(nothing()) };
            let asked = *count as usize * stage.sets.len();
            let (done, failed) = (self.done.join(", "), self.failed.join(", "));
            let detail = format!("{} of {asked}: {done}; given up: [{failed}]", self.done.len());
            Ok(Evidence { acted: self.done.len() * 2 >= asked, detail })
        })
    }
}

async fn switch_once(survey: &Survey, set: u32) -> anyhow::Result<String> {
    let catalogue = survey.catalogue()?;
    let home = catalogue.sets.get(&set).map(|set| set.home.clone()).unwrap_or_default();
    let to = catalogue.other_site(&home).ok_or_else(|| anyhow::anyhow!("set {set} has no other site"))?;
    let (who, why) = ("twinset-jepsen".to_owned(), "a storm of switches".to_owned());
    let request =
        twinset_proto::cluster::v1::SwitchRequest { set, to_site: to.to_owned(), who, why, dry_run: false };
    let outcome = switch::switch(survey, request, &mut |_| {}).await?;
    Ok(format!("set {set} to {to}, paused {} us", outcome.pause_us()))
}

//! Faults of processes as a whole: killed and frozen.

use std::time::Duration;

use twinset_tools::cluster::process::Signal;

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

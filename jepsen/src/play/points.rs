//! Leaders that die or stand still at a point of a protocol. The victim is started anew with the point in its configuration and is given
//! the lead of the set; clients bring it to the point. It harms itself: whether it did is seen from outside.

use std::time::Duration;

use tokio::time::Instant;
use twinset_tools::cluster::process::{Pid, Signal};

use super::{Act, Player, Stage, nothing};
use crate::nemesis::{Evidence, Fault, points};
use crate::preload::ending;
use crate::wait;

/// By then a node that is given the lead of a set has it, and has got to its point.
const STRUCK: Duration = Duration::from_secs(90);
/// So long nobody answers of the other site: longer than a coordinator waits for a vote.
const SILENT: Duration = Duration::from_secs(5);
/// How often that is tried: something must be under way when it begins.
const TRIES: usize = 6;
/// Between two looks at whether it was struck.
const POLL: Duration = Duration::from_millis(10);
/// Between two looks at whether it still leads.
const LOOK: Duration = Duration::from_secs(1);

/// Strikes at points.
#[derive(Default)]
pub(super) struct Points {
    /// The victim's configuration without the fault.
    plain: Option<String>,
    armed: Option<Armed>,
}

/// A process with a fault in it.
struct Armed {
    pid: Pid,
    at: Instant,
    /// How long it took until it was struck.
    struck: Option<Duration>,
}

impl Armed {
    async fn is_struck(&self, freezes: bool) -> bool {
        match freezes {
            true => self.pid.alive() && self.pid.frozen(Duration::ZERO).await,
            false => self.pid.ended(Duration::ZERO).await,
        }
    }

    /// Waits until it is; false: not within that time.
    async fn struck_within(&self, freezes: bool, patience: Duration) -> bool {
        let until = Instant::now() + patience;
        while !self.is_struck(freezes).await {
            if Instant::now() >= until {
                return false;
            }
            tokio::time::sleep(POLL).await;
        }
        true
    }

    /// Gives it the lead of the set, unless it is struck before.
    async fn lead(&self, stage: &mut Stage, (victim, set): (&str, u32), freezes: bool) -> anyhow::Result<()> {
        let until = Instant::now() + STRUCK;
        loop {
            let survey = tokio::select! {
                struck = self.struck_within(freezes, STRUCK) => {
                    anyhow::ensure!(struck, "the cluster is not whole beside {victim}");
                    return Ok(());
                }
                survey = wait::whole(stage.cluster.layout()) => survey?,
            };
            let leader = survey.leader(set).map(|(_, reply)| reply.node.clone()).unwrap_or_default();
            if leader == victim {
                return Ok(());
            }
            anyhow::ensure!(Instant::now() < until, "{victim} does not lead set {set}, {leader} does");
            // Asked to stop, it hands over to its neighbour.
            stage.cluster.stop_process(&leader).await?;
            stage.cluster.start_process(&leader)?;
        }
    }

    /// Lets the others stand still until it has got to its point.
    async fn in_silence(&self, stage: &mut Stage, silent: &[String], freezes: bool) -> anyhow::Result<()> {
        for name in silent {
            stage.cluster.signal(name, Signal::Stop).await?;
        }
        self.struck_within(freezes, SILENT).await;
        for name in silent {
            stage.cluster.signal(name, Signal::Cont).await?;
        }
        Ok(())
    }

    /// Waits until it is struck; gives it the lead once more where a busy machine has taken that away.
    async fn strike(&self, stage: &mut Stage, fault: &Fault) -> anyhow::Result<bool> {
        let Fault::AtPoint { victim, set, freezes, silent, .. } = fault else { return Ok(false) };
        let (until, mut tries) = (Instant::now() + STRUCK, 0);
        while Instant::now() < until {
            self.lead(stage, (victim, *set), *freezes).await?;
            if !silent.is_empty() && tries < TRIES && !self.is_struck(*freezes).await {
                tries += 1;
                self.in_silence(stage, silent, *freezes).await?;
            }
            if self.struck_within(*freezes, LOOK).await {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

impl Player for Points {
    fn plays(&self, fault: &Fault) -> bool {
        matches!(fault, Fault::AtPoint { .. })
    }

    fn begin<'a>(&'a mut self, stage: &'a mut Stage, fault: &'a Fault) -> Act<'a, ()> {
        Box::pin(async move {
            let Fault::AtPoint { victim, .. } = fault else { return Ok(()) };
            self.armed = None;
            let path = stage.cluster.layout().config_path(victim);
            let plain = self.plain.insert(std::fs::read_to_string(&path)?);
            std::fs::write(&path, format!("{plain}{}", points::section(fault)))?;
            stage.cluster.stop_process(victim).await?;
            stage.cluster.start_process(victim)?;
            let pid = ending::pid(&stage.cluster, victim)?;
            let armed = self.armed.insert(Armed { pid, at: Instant::now(), struck: None });
            if armed.strike(stage, fault).await? {
                armed.struck = Some(armed.at.elapsed());
            }
            Ok(())
        })
    }

    fn end<'a>(&'a mut self, stage: &'a mut Stage, fault: &'a Fault) -> Act<'a, Evidence> {
        Box::pin(async move {
            let Fault::AtPoint { victim, silent, freezes, .. } = fault else { return Ok(nothing()) };
            // Whoever starts it from now on starts it unharmed.
            if let Some(plain) = self.plain.take() {
                std::fs::write(stage.cluster.layout().config_path(victim), plain)?;
            }
            for name in silent {
                stage.cluster.signal(name, Signal::Cont).await?;
            }
            let Some(armed) = self.armed.take() else { return restarted(stage, victim, nothing()).await };
            let seen = match (armed.struck, armed.is_struck(*freezes).await) {
                (Some(after), true) => after,
                // It would strike some time later.
                _ => return restarted(stage, victim, never(fault)).await,
            };
            // Who ends by a signal that nobody has sent has sent it himself.
            let acted = *freezes || ending::exit_code(armed.pid).await.is_none();
            let evidence = Evidence { acted, detail: told(fault, seen) };
            if *freezes {
                stage.cluster.signal(victim, Signal::Cont).await?;
                return Ok(evidence);
            }
            stage.cluster.start_process(victim)?;
            Ok(evidence)
        })
    }
}

/// Starts it anew, whether it runs or not.
async fn restarted(stage: &mut Stage, victim: &str, evidence: Evidence) -> anyhow::Result<Evidence> {
    if stage.cluster.alive(victim)? {
        stage.cluster.stop_process(victim).await?;
    }
    stage.cluster.start_process(victim)?;
    Ok(evidence)
}

fn never(fault: &Fault) -> Evidence {
    let Fault::AtPoint { victim, point, set, .. } = fault else { return nothing() };
    let detail = format!("{victim}, given the lead of set {set}, never got to {point}, or went on behind it");
    Evidence { acted: false, detail }
}

fn told(fault: &Fault, after: Duration) -> String {
    let Fault::AtPoint { victim, set, point, passes, freezes, silent, .. } = fault else {
        return String::new();
    };
    let what = if *freezes { "stood still" } else { "died" };
    let kept = if silent.is_empty() { "" } else { ", kept waiting by the other site" };
    let (ms, time) = (after.as_millis(), passes + 1);
    format!(
        "{victim} {what} at {point} when it got there for time {time}, given the lead of set {set}{kept}; {ms} ms after its start"
    )
}

//! Deaths: which process dies next, and for how long. The choice is pure and seeded.

use std::time::Duration;

use serde::Serialize;
use tokio::time::Instant;
use twinset_control::CONTROL_SET;
use twinset_tools::cluster::LocalCluster;
use twinset_tools::cluster::layout::{Kind, Layout};
use twinset_tools::cluster::process::{Pid, Signal};
use twinset_tools::load::random::Random;

use crate::wait;

/// Who dies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Victim {
    /// Whoever leads that set.
    LeaderOf(u32),
    /// That process.
    Process(String),
}

/// One death.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Death {
    /// Who.
    pub victim: Victim,
    /// How long the process stays dead.
    pub down: Duration,
    /// It dies again so long after its start, in the middle of its recovery.
    pub again: Option<Duration>,
}

/// Draws the next death.
pub fn next(random: &mut Random, layout: &Layout, sets: &[u32]) -> Death {
    let victim = match random.below(100) {
        0..40 => Victim::LeaderOf(sets[random.below(sets.len())]),
        40..44 => Victim::LeaderOf(CONTROL_SET),
        44..82 => one_of(random, layout, Kind::Node),
        82..90 => one_of(random, layout, Kind::Arbiter),
        _ => one_of(random, layout, Kind::Router),
    };
    let mut ms = |most: usize| Duration::from_millis(random.below(most) as u64);
    let (down, again) = (ms(1_500), ms(600));
    let again = (random.below(100) < 15).then_some(again);
    Death { victim, down, again }
}

fn one_of(random: &mut Random, layout: &Layout, kind: Kind) -> Victim {
    let names: Vec<&String> = layout.processes.iter().filter(|p| p.kind == kind).map(|p| &p.name).collect();
    Victim::Process(names[random.below(names.len())].clone())
}

/// Kills a process and waits until its last thread has ended: its main thread may be gone while another one still holds
/// the ports and the lock of the data directory.
pub async fn end(cluster: &mut LocalCluster, name: &str) -> anyhow::Result<()> {
    let pid = cluster.layout().process(name)?.pid;
    cluster.kill(name).await?;
    match pid {
        Some(pid) => threads_end(pid, name).await,
        None => Ok(()),
    }
}

/// The same of many, none of which can notice before that the others die.
pub async fn end_at_once(cluster: &LocalCluster, names: &[&String]) -> anyhow::Result<()> {
    let mut victims = Vec::new();
    for name in names {
        let pid = cluster.layout().process(name)?.pid.filter(|pid| pid.alive());
        victims.push((pid.ok_or_else(|| anyhow::anyhow!("{name} does not run"))?, name));
    }
    for (pid, _) in &victims {
        pid.signal(Signal::Kill);
    }
    for (pid, name) in victims {
        anyhow::ensure!(pid.ended(wait::HEAL).await, "{name} does not end");
        threads_end(pid, name).await?;
    }
    Ok(())
}

async fn threads_end(pid: Pid, name: &str) -> anyhow::Result<()> {
    let threads = format!("/proc/{}/task", pid.number);
    let deadline = Instant::now() + wait::HEAL;
    while std::fs::read_dir(&threads).is_ok_and(|tasks| tasks.count() > 1) {
        anyhow::ensure!(Instant::now() < deadline, "a thread of {name} does not end");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(())
}

/// Processes that have died without us.
pub fn missing(cluster: &LocalCluster) -> anyhow::Result<Vec<String>> {
    let mut missing = Vec::new();
    for process in &cluster.layout().processes {
        if !cluster.alive(&process.name)? {
            missing.push(process.name.clone());
        }
    }
    Ok(missing)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_draws_the_same_deaths_and_every_process_dies_some_time() {
        let layout = Layout::new("d".as_ref(), "b".as_ref(), 2, 7100);
        let draw = |seed| {
            let mut random = Random::seeded(seed);
            (0..300).map(|_| next(&mut random, &layout, &[1, 2])).collect::<Vec<_>>()
        };
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
        let deaths = draw(3);
        for process in &layout.processes {
            assert!(deaths.iter().any(|death| death.victim == Victim::Process(process.name.clone())));
        }
        for set in [CONTROL_SET, 1, 2] {
            assert!(deaths.iter().any(|death| death.victim == Victim::LeaderOf(set)));
        }
    }
}

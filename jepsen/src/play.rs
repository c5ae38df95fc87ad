//! Playing faults: a nemesis draws the next [`Fault`] from the seed, a [`Player`] does it to the cluster, undoes it, and says what
//! was seen of it. The cluster is whole again before the next one, so that no set loses its quorum by us unless the fault
//! itself is meant to. Where a new kind of fault goes: a player in [`players`], a line in [`ALL`].

mod links;
mod machine;
mod restarts;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::future::LocalBoxFuture;
use twinset_control::CONTROL_SET;
use twinset_tools::cluster::LocalCluster;
use twinset_tools::cluster::admin::{self, Survey};
use twinset_tools::cluster::process::Signal;
use twinset_tools::cmd::switch;
use twinset_tools::error;
use twinset_tools::load::random::Random;

use crate::death::{self, Victim};
use crate::history::{Event, Recorder};
use crate::logs::Allowed;
use crate::nemesis::{self, Evidence, Fault};
use crate::net::Net;
use crate::preload::Machines;
use crate::wait;

/// The cluster that faults are played on.
pub struct Stage {
    /// Its processes.
    pub cluster: LocalCluster,
    /// What is between them.
    pub net: Net,
    /// What is below the nodes.
    pub machines: Machines,
    /// The sets that clients use.
    pub sets: Vec<u32>,
}

/// What a player does.
pub type Act<'a, T> = LocalBoxFuture<'a, anyhow::Result<T>>;

/// Does and undoes some kinds of fault.
pub trait Player {
    /// Whether it plays such a fault.
    fn plays(&self, fault: &Fault) -> bool;

    /// Begins it, and returns as soon as it acts.
    fn begin<'a>(&'a mut self, stage: &'a mut Stage, fault: &'a Fault) -> Act<'a, ()>;

    /// Undoes it. Harmless where there is nothing to undo.
    fn end<'a>(&'a mut self, stage: &'a mut Stage, fault: &'a Fault) -> Act<'a, Evidence>;
}

/// What `--nemesis` names.
pub struct Nemesis {
    /// Its name.
    pub name: &'static str,
    /// One line for `list`.
    pub about: &'static str,
    /// Whether it wants networks of our own, as root or in a user namespace.
    pub on_links: bool,
    /// What a process may say of it in its log.
    pub allowed: &'static [Allowed],
    /// Draws the next fault. Who leads a set is known only by then: the survey says.
    pub draw: fn(&mut Random, &Stage, &Survey) -> Fault,
}

/// Every nemesis.
pub const ALL: &[Nemesis] = &[
    Nemesis {
        name: "kill",
        about: "SIGKILL of a leader, a node, the arbiter or a router; sometimes once more while it recovers",
        on_links: false,
        allowed: &[],
        draw: |random, stage, survey| {
            let death = death::next(random, stage.cluster.layout(), &stage.sets);
            Fault::Kill {
                victims: vec![name(&death.victim, survey)],
                down_ms: millis(death.down),
                again_ms: death.again.map(millis),
            }
        },
    },
    Nemesis {
        name: "pause",
        about: "SIGSTOP of a process for longer than its lease, then SIGCONT",
        on_links: false,
        allowed: &[],
        draw: |random, stage, survey| {
            let death = death::next(random, stage.cluster.layout(), &stage.sets);
            let for_ms = 600 + random.below(4_000) as u64;
            Fault::Pause { victims: vec![name(&death.victim, survey)], for_ms }
        },
    },
    Nemesis {
        name: "switches",
        about: "planned switches of all sets, one right after the other; each changes the voters",
        on_links: false,
        allowed: &[],
        draw: |random, _, _| Fault::Switches { count: 1 + random.below(4) as u32 },
    },
    Nemesis {
        name: "restart",
        about: "every process is asked to stop and started again, one after the other",
        on_links: false,
        allowed: &[],
        draw: |_, _, _| Fault::RollingRestart,
    },
    Nemesis {
        name: "partition",
        about: "links are cut: one node, the sites, one way, a bridge, a ring, clients from a site; silent or with resets",
        on_links: true,
        allowed: &[],
        draw: |random, stage, _| nemesis::links::partition(random, stage.cluster.layout()),
    },
    Nemesis {
        name: "delay",
        about: "links between sites or around a process are slow, and connections overtake each other",
        on_links: true,
        allowed: &[],
        draw: |random, stage, _| nemesis::links::delay(random, stage.cluster.layout()),
    },
    Nemesis {
        name: "loss",
        about: "links lose packets",
        on_links: true,
        allowed: &[],
        draw: |random, stage, _| nemesis::links::loss(random, stage.cluster.layout()),
    },
    Nemesis {
        name: "disk",
        about: "a node's sync fails, its disk is full, or slow",
        on_links: false,
        allowed: nemesis::disk::ALLOWED,
        draw: |random, stage, _| nemesis::disk::draw(random, stage.cluster.layout()),
    },
    Nemesis {
        name: "power",
        about: "one node, a site or everything loses power, and with it what was not synced",
        on_links: false,
        allowed: nemesis::power::ALLOWED,
        draw: |random, stage, _| nemesis::power::draw(random, stage.cluster.layout()),
    },
    Nemesis {
        name: "clock",
        about: "a node's wall clock jumps, and jumps back",
        on_links: false,
        allowed: nemesis::clock::ALLOWED,
        draw: |random, stage, _| nemesis::clock::draw(random, stage.cluster.layout()),
    },
    Nemesis {
        name: "corrupt",
        about: "a stopped node's log, table, manifest or marker is damaged; the node is judged, then made whole",
        on_links: false,
        allowed: nemesis::corrupt::ALLOWED,
        draw: |random, stage, _| nemesis::corrupt::draw(random, stage.cluster.layout()),
    },
];

/// Stands for every nemesis that can be done here.
pub const EVERY: &str = "all";

/// The nemeses of a list of names.
pub fn named(names: &[String]) -> anyhow::Result<Vec<&'static Nemesis>> {
    let one = |name: &String| {
        ALL.iter().find(|nemesis| nemesis.name == name).ok_or_else(|| {
            let known: Vec<&str> = ALL.iter().map(|nemesis| nemesis.name).collect();
            error::usage(format!("there is no nemesis {name}"), format!("choose of {}", known.join(", ")))
        })
    };
    names.iter().map(one).collect()
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn name(victim: &Victim, survey: &Survey) -> String {
    match victim {
        Victim::Process(name) => name.clone(),
        Victim::LeaderOf(set) => {
            survey.leader(*set).map(|(_, reply)| reply.node.clone()).unwrap_or_else(|| "a1".to_owned())
        }
    }
}

/// Everyone who plays faults.
pub fn players() -> Vec<Box<dyn Player>> {
    vec![
        Box::new(Kills::default()),
        Box::new(Pauses),
        Box::new(Switches::default()),
        Box::new(restarts::Restarts::default()),
        Box::new(links::Links),
        Box::new(machine::Disks::default()),
        Box::new(machine::Clocks::default()),
        Box::new(machine::Cuts::default()),
        Box::new(machine::Damages::default()),
    ]
}

/// Plays one fault from its begin until the cluster is whole again; both stand in the history. An error means that it could
/// not be played, or that the cluster did not heal.
pub async fn play(
    stage: &mut Stage,
    players: &mut [Box<dyn Player>],
    fault: &Fault,
    recorder: &Recorder,
) -> anyhow::Result<Evidence> {
    let player = players.iter_mut().find(|player| player.plays(fault));
    let player = player.ok_or_else(|| anyhow::anyhow!("nobody plays {fault:?}"))?;
    recorder.add(Event::FaultBegin { at_ns: recorder.now_ns(), fault: fault.clone() });
    let begun = player.begin(stage, fault).await;
    if begun.is_ok() {
        tokio::time::sleep(lasts(fault)).await;
    }
    let evidence = player.end(stage, fault).await?;
    begun?;
    wait::whole(stage.cluster.layout()).await?;
    recorder.add(Event::FaultEnd { at_ns: recorder.now_ns(), evidence: evidence.clone() });
    Ok(evidence)
}

/// How long a fault acts before it is undone.
pub fn lasts(fault: &Fault) -> Duration {
    let ms = match fault {
        Fault::Kill { down_ms, .. }
        | Fault::PowerLoss { down_ms, .. }
        | Fault::FsyncError { down_ms, .. } => down_ms,
        Fault::Pause { for_ms, .. }
        | Fault::Partition { for_ms, .. }
        | Fault::Delay { for_ms, .. }
        | Fault::Loss { for_ms, .. }
        | Fault::ClockStep { for_ms, .. }
        | Fault::DiskFull { for_ms, .. }
        | Fault::SlowDisk { for_ms, .. } => for_ms,
        Fault::Corrupt { .. } | Fault::Switches { .. } | Fault::RollingRestart => &0,
    };
    Duration::from_millis(*ms)
}

/// SIGKILL.
#[derive(Default)]
struct Kills {
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
struct Pauses;

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
struct Switches {
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

fn nothing() -> Evidence {
    Evidence { acted: false, detail: "not this player's fault".to_owned() }
}

/// Who leads each set, as lines of the history; counts the changes. Ends when it is dropped.
pub async fn watch_leaders(
    seeds: Vec<String>,
    sets: Vec<u32>,
    recorder: Arc<Recorder>,
    changes: Arc<AtomicU64>,
) {
    let mut known = BTreeMap::new();
    let mut pace = tokio::time::interval(Duration::from_millis(500));
    loop {
        pace.tick().await;
        let survey = admin::survey(&seeds).await;
        for set in std::iter::once(CONTROL_SET).chain(sets.iter().copied()) {
            let node = survey.leader(set).map(|(_, reply)| reply.node.clone()).unwrap_or_default();
            if known.insert(set, node.clone()) != Some(node.clone()) {
                recorder.add(Event::Leader { at_ns: recorder.now_ns(), set, node });
                changes.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_nemesis_has_a_player_and_a_name_of_its_own() {
        let names: std::collections::BTreeSet<&str> = ALL.iter().map(|nemesis| nemesis.name).collect();
        assert_eq!(names.len(), ALL.len());
        let layout = twinset_tools::cluster::Layout::new("d".as_ref(), "b".as_ref(), 2, 7100);
        let mut random = Random::seeded(1);
        let mut drawn = vec![
            Fault::Kill { victims: vec!["a1".into()], down_ms: 1, again_ms: None },
            Fault::Pause { victims: vec!["a1".into()], for_ms: 1 },
            Fault::Switches { count: 1 },
            Fault::RollingRestart,
        ];
        for draw in [
            nemesis::links::partition,
            nemesis::links::delay,
            nemesis::links::loss,
            nemesis::disk::draw,
            nemesis::power::draw,
            nemesis::clock::draw,
            nemesis::corrupt::draw,
        ] {
            drawn.extend((0..20).map(|_| draw(&mut random, &layout)));
        }
        for fault in &drawn {
            assert_eq!(players().iter().filter(|player| player.plays(fault)).count(), 1, "{fault:?}");
        }
        assert!(named(&["kill".into()]).is_ok());
        assert!(named(&["earthquake".into()]).is_err());
    }
}

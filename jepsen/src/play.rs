//! Playing faults: a nemesis draws the next [`Fault`] from the seed, a [`Player`] does it to the cluster, undoes it, and says what
//! was seen of it. The cluster is whole again before the next one, so that no set loses its quorum by us unless the fault
//! itself is meant to. Where a new kind of fault goes: a player in [`players`], a line in [`nemeses::ALL`].

mod links;
mod machine;
pub mod nemeses;
mod plans;
mod points;
mod processes;
pub mod records;
mod restarts;
mod sites;
mod switches;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::future::LocalBoxFuture;
use tokio::time::Instant;
use twinset_control::CONTROL_SET;
use twinset_tools::cluster::LocalCluster;
use twinset_tools::cluster::admin;

use crate::history::{Event, Recorder};
use crate::nemesis::{Evidence, Fault};
use crate::net::Net;
use crate::preload::Machines;
use crate::wait;
use records::Records;

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

    /// Waits until another fault would fall into the middle of this one; false: it does not come to that. Most act from
    /// their begin on.
    fn in_its_midst(&mut self) -> Act<'_, bool> {
        Box::pin(async { Ok(true) })
    }

    /// Undoes it. Harmless where there is nothing to undo.
    fn end<'a>(&'a mut self, stage: &'a mut Stage, fault: &'a Fault) -> Act<'a, Evidence>;
}

/// Everyone who plays faults.
pub fn players() -> Vec<Box<dyn Player>> {
    vec![
        Box::new(processes::Kills::default()),
        Box::new(processes::Pauses),
        Box::new(switches::Switches::default()),
        Box::new(restarts::Restarts::default()),
        Box::new(links::Links),
        Box::new(machine::Disks::default()),
        Box::new(machine::Clocks::default()),
        Box::new(machine::Cuts::default()),
        Box::new(machine::Damages::default()),
        Box::new(sites::Sites::default()),
        Box::new(sites::Arbiters::default()),
        Box::new(plans::Plans::default()),
        Box::new(points::Points::default()),
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
    recorder.add(Event::FaultBegin { at_ns: recorder.now_ns(), fault: fault.clone() });
    let evidence = act(stage, players, fault, Some(recorder)).await?;
    // A set that goes on with one site would lose what it acknowledges if that was the next to be lost.
    wait::in_sync(stage.cluster.layout()).await?;
    recorder.add(Event::FaultEnd { at_ns: recorder.now_ns(), evidence: evidence.clone() });
    Ok(evidence)
}

/// Begins a fault, lets it act for as long as it lasts, with another one in its midst if it has one, and undoes it, whatever
/// becomes of it. `recorder` is told when all of it is in force, and when it is undone.
fn act<'a>(
    stage: &'a mut Stage,
    players: &'a mut [Box<dyn Player>],
    fault: &'a Fault,
    recorder: Option<&'a Recorder>,
) -> Act<'a, Evidence> {
    let note = move |event: fn(u64) -> Event| {
        if let Some(recorder) = recorder {
            recorder.add(event(recorder.now_ns()));
        }
    };
    Box::pin(async move {
        let (outer, inner) = match fault {
            Fault::Amid { around, within } => (&**around, Some(&**within)),
            alone => (alone, None),
        };
        let begun = player_of(players, outer)?.begin(stage, outer).await;
        let (mut amid, mut met) = (Ok(None), false);
        if begun.is_ok() {
            note(|at_ns| Event::FaultActs { at_ns });
            let (lasts, began) = (outer.lasts(), Instant::now());
            if let Some(inner) = inner {
                tokio::time::sleep(lasts / 4).await;
                met = player_of(players, outer)?.in_its_midst().await?;
                amid = act(stage, players, inner, None).await.map(Some);
                tokio::time::sleep(lasts / 4).await;
            }
            tokio::time::sleep_until(began + lasts).await;
        }
        let mut evidence = player_of(players, outer)?.end(stage, outer).await?;
        note(|at_ns| Event::FaultUndone { at_ns });
        begun?;
        if let Some(inner) = amid? {
            // Switches whose nodes die are given up: that is what the other fault is there for, if it met one.
            evidence.acted |= met && matches!(outer, Fault::Switches { .. });
            evidence.acted &= met && inner.acted;
            evidence.detail += &format!("; in the middle of it {}", inner.detail);
        }
        Ok(evidence)
    })
}

fn player_of<'p>(
    players: &'p mut [Box<dyn Player>],
    fault: &Fault,
) -> anyhow::Result<&'p mut Box<dyn Player>> {
    let player = players.iter_mut().find(|player| player.plays(fault));
    player.ok_or_else(|| anyhow::anyhow!("nobody plays {fault:?}"))
}

fn nothing() -> Evidence {
    Evidence { acted: false, detail: "not this player's fault".to_owned() }
}

/// Who leads each set and what is on record of it, as lines of the history; counts the changes of leaders. Ends when it is dropped.
pub async fn watch(
    seeds: Vec<String>,
    sets: Vec<u32>,
    recorder: Arc<Recorder>,
    changes: Arc<AtomicU64>,
    records: &mut Records,
) {
    let mut known = BTreeMap::new();
    let mut pace = tokio::time::interval(Duration::from_millis(500));
    loop {
        pace.tick().await;
        let survey = admin::survey(&seeds).await;
        if let Some(catalogue) = &survey.catalogue {
            records.look(catalogue, &recorder);
        }
        for set in std::iter::once(CONTROL_SET).chain(sets.iter().copied()) {
            let node = survey.leader(set).map(|(_, reply)| reply.node.clone()).unwrap_or_default();
            if known.insert(set, node.clone()) != Some(node.clone()) {
                recorder.add(Event::Leader { at_ns: recorder.now_ns(), set, node });
                changes.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

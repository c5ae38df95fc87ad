//! Power cuts: nodes are killed, all at once, and what they had not synced is lost or torn; then they are started again. One
//! node, a few, a whole site, or everything. Whether the cluster is whole again and the books are right, the caller asks.

use std::time::Duration;

use futures::future::LocalBoxFuture;
use twinset_tools::cluster::LocalCluster;
use twinset_tools::cluster::layout::{Kind, Layout};
use twinset_tools::cluster::process::Signal;
use twinset_tools::load::random::Random;

use super::{Evidence, Fault};
use crate::preload::image::{self, Lost, Unsynced};
use crate::preload::layout::Word;
use crate::preload::{Machines, ending};
use crate::wait;

/// Every other cut comes while the syncs take so much longer: then there is something that is written and not yet synced.
const SLOW: Duration = Duration::from_millis(40);

/// Nodes without power.
#[derive(Debug)]
pub struct Acting {
    lost: Vec<(String, Lost)>,
}

/// Draws a cut. The arbiter loses power only together with others: alone it often has nothing to lose.
pub fn draw(random: &mut Random, layout: &Layout) -> Fault {
    let names = |of: &dyn Fn(&str, Kind) -> bool| -> Vec<String> {
        let nodes = layout.nodes().filter(|node| of(&node.site, node.kind));
        nodes.map(|node| node.name.clone()).collect()
    };
    let (mut all, mut nodes) = (names(&|_, _| true), names(&|_, kind| kind == Kind::Node));
    let victims = match random.below(10) {
        0..4 => vec![nodes.swap_remove(random.below(nodes.len()))],
        4..6 => {
            let first = nodes.swap_remove(random.below(nodes.len()));
            all.retain(|name| *name != first);
            vec![first, all.swap_remove(random.below(all.len()))]
        }
        6..8 => {
            let site = if random.below(2) == 0 { "A" } else { "B" };
            names(&|at, kind| at == site && kind == Kind::Node)
        }
        _ => all,
    };
    Fault::PowerLoss { victims, down_ms: random.below(1_500) as u64, seed: random.bits() >> 32 }
}

/// Cuts the power of the fault's nodes and makes of their directories what is left.
pub fn inject<'a>(
    cluster: &'a mut LocalCluster,
    machines: &'a Machines,
    fault: &'a Fault,
) -> LocalBoxFuture<'a, anyhow::Result<Acting>> {
    Box::pin(async move {
        let Fault::PowerLoss { victims, seed, .. } = fault else {
            anyhow::bail!("{fault:?} is no power cut")
        };
        cut(cluster, machines, victims, *seed, Unsynced::Drawn).await
    })
}

/// The same, for who knows what is to become of what was not synced.
pub fn cut<'a>(
    cluster: &'a mut LocalCluster,
    machines: &'a Machines,
    victims: &'a [String],
    seed: u64,
    unsynced: Unsynced,
) -> LocalBoxFuture<'a, anyhow::Result<Acting>> {
    Box::pin(async move {
        let mut random = Random::seeded(seed);
        if random.below(2) == 0 {
            slow(machines, victims, SLOW)?;
            tokio::time::sleep(SLOW).await;
        }
        let pids: Vec<_> =
            victims.iter().map(|victim| ending::pid(cluster, victim)).collect::<anyhow::Result<_>>()?;
        for (victim, pid) in victims.iter().zip(&pids) {
            anyhow::ensure!(pid.signal(Signal::Kill), "{victim} does not run");
        }
        let mut lost = Vec::new();
        for (victim, pid) in victims.iter().zip(&pids) {
            anyhow::ensure!(pid.ended(wait::HEAL).await, "{victim} does not end");
            let seed = random.bits();
            let cut = machines.of(victim)?.work(move |machine| image::cut_power(machine, seed, unsynced));
            lost.push((victim.clone(), cut.await?));
        }
        slow(machines, victims, Duration::ZERO)?;
        Ok(Acting { lost })
    })
}

fn slow(machines: &Machines, victims: &[String], by: Duration) -> anyhow::Result<()> {
    let us = u64::try_from(by.as_micros())?;
    victims.iter().try_for_each(|victim| machines.of(victim)?.control.set(Word::SyncDelayUs, us))
}

/// Starts the nodes again, and says what was lost.
pub fn heal(cluster: &mut LocalCluster, acting: &Acting) -> anyhow::Result<Evidence> {
    let mut detail = Vec::new();
    for (victim, Lost { files, bytes, names }) in &acting.lost {
        cluster.start_process(victim)?;
        detail.push(format!(
            "{victim}: {files} files with unsynced bytes, {bytes} bytes and {names} changes of names lost"
        ));
    }
    let losers = acting.lost.iter().filter(|(_, lost)| lost.anything()).count();
    Ok(Evidence { acted: losers * 2 >= acting.lost.len(), detail: detail.join("; ") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_node_a_site_and_everything_lose_power_some_time() {
        let layout = Layout::new("d".as_ref(), "b".as_ref(), 2, 7100);
        let draw = |seed| {
            let mut random = Random::seeded(seed);
            (0..100).map(|_| draw(&mut random, &layout)).collect::<Vec<_>>()
        };
        assert_eq!(draw(1), draw(1));
        let victims: Vec<Vec<String>> = draw(1)
            .into_iter()
            .map(|fault| match fault {
                Fault::PowerLoss { victims, .. } => victims,
                other => panic!("{other:?}"),
            })
            .collect();
        for wanted in [&["a2"][..], &["a1", "a2"], &["b1", "b2"], &["a1", "a2", "b1", "b2", "c1"]] {
            assert!(victims.iter().any(|victims| victims == wanted), "{wanted:?}");
        }
    }
}

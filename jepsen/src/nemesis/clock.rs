//! Steps of a node's wall clock, forth and back. Nothing may be ordered by it: the ledger's time keeps rising. A leader that is
//! wrong by more than a second for a second hands its sets over. Only the reading of the clock is changed, and only for this process.

use twinset_tools::cluster::LocalCluster;
use twinset_tools::cluster::layout::{Kind, Layout};
use twinset_tools::load::random::Random;

use super::{Evidence, Fault};
use crate::logs::Allowed;
use crate::preload::{Machines, ending};

/// What a node says when its clock is wrong.
pub const WRONG: &[Allowed] =
    &[Allowed { part: "this node's clock is wrong", why: "a leader with a wrong clock gives up leading" }];

/// A clock that is wrong.
#[derive(Debug)]
pub struct Acting {
    victim: String,
    by_ms: i64,
    before: u64,
}

const HOUR_MS: i64 = 3_600_000;

/// Draws a step: some milliseconds, some minutes or an hour, forth or back. Not of the arbiter, which hardly looks.
pub fn draw(random: &mut Random, layout: &Layout) -> Fault {
    let nodes = layout.nodes().filter(|node| node.kind == Kind::Node);
    let nodes: Vec<&str> = nodes.map(|node| node.name.as_str()).collect();
    let victim = nodes[random.below(nodes.len())].to_owned();
    let least = 1 + random.below(1_000) as i64;
    let size = match random.below(3) {
        0 => least,
        1 => 288 * least,
        _ => HOUR_MS + least,
    };
    let by_ms = if random.below(2) == 0 { size } else { -size };
    Fault::ClockStep { victim, by_ms, for_ms: 300 + random.below(3_000) as u64 }
}

/// Lets the clock jump.
pub fn inject(machines: &Machines, fault: &Fault) -> anyhow::Result<Acting> {
    let Fault::ClockStep { victim, by_ms, .. } = fault else {
        anyhow::bail!("{fault:?} is no step of a clock")
    };
    let control = &machines.of(victim)?.control;
    let before = control.counts()?.shifted_reads;
    control.shift_clock(*by_ms)?;
    Ok(Acting { victim: victim.clone(), by_ms: *by_ms, before })
}

/// Lets it jump back, and says whether anybody has looked at it meanwhile. An error: the node has ended.
pub fn heal(cluster: &LocalCluster, machines: &Machines, acting: &Acting) -> anyhow::Result<Evidence> {
    let Acting { victim, by_ms, before } = acting;
    let control = &machines.of(victim)?.control;
    control.shift_clock(0)?;
    anyhow::ensure!(ending::pid(cluster, victim)?.alive(), "{victim} has ended when its clock was wrong");
    let read = control.counts()?.shifted_reads - before;
    Ok(Evidence { acted: read > 0, detail: format!("{victim}: read {read} times when wrong by {by_ms} ms") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_of_all_sizes_and_both_directions_come_from_the_seed() {
        let layout = Layout::new("d".as_ref(), "b".as_ref(), 2, 7100);
        let draw = |seed| {
            let mut random = Random::seeded(seed);
            (0..60).map(|_| draw(&mut random, &layout)).collect::<Vec<_>>()
        };
        assert_eq!(draw(1), draw(1));
        let steps: Vec<i64> = draw(1)
            .iter()
            .map(|fault| match fault {
                Fault::ClockStep { by_ms, .. } => *by_ms,
                other => panic!("{other:?}"),
            })
            .collect();
        for wanted in [1..=1_000, 1_001..=HOUR_MS, HOUR_MS..=2 * HOUR_MS] {
            assert!(steps.iter().any(|step| wanted.contains(step)));
            assert!(steps.iter().any(|step| wanted.contains(&-step)));
        }
    }
}

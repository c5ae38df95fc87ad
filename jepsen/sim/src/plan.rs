//! What one seed stands for: the shape of the cluster, the network, the load and the faults of a run. Every run draws another
//! subset of everything that could be, so that many runs meet combinations that no single one would. Pure.

use std::time::Duration;

use twinset_jepsen::workload;
use twinset_tools::load::random::Random;

use crate::faults::{self, Fault};

/// The nodes, in the order in which they are made: two in each site, and the arbiter in a third place.
pub const NODES: [&str; 5] = ["a1", "a2", "b1", "b2", "c1"];
/// The routers, one in each site.
pub const ROUTERS: [&str; 2] = ["ra", "rb"];
/// Where the clients of each site run.
pub const CLIENTS: [&str; 2] = ["ca", "cb"];
/// Where the operator works.
pub const OPERATOR: &str = "op";

/// Whether a machine is in site A.
pub fn in_site_a(machine: &str) -> bool {
    matches!(machine, "a1" | "a2" | "ra" | "ca")
}

/// Everything that was drawn for a run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Whence all of it comes.
    pub seed: u64,
    /// Sets of accounts.
    pub sets: u32,
    /// Longest way of a message within a site, in milliseconds.
    pub near_ms: u64,
    /// And between the sites.
    pub far_ms: u64,
    /// Whether the machines take their turns in another order in each step.
    pub random_order: bool,
    /// Of a thousand million messages, how many break their link for a moment.
    pub breaks_per_billion: u32,
    /// Client tasks in each site.
    pub clients: usize,
    /// What the clients ask for, by the names of the Jepsen harness.
    pub workloads: Vec<&'static str>,
    /// Longest pause of a client between two calls, in milliseconds.
    pub think_ms: u64,
    /// How long a call may take, in milliseconds.
    pub deadline_ms: u64,
    /// Of a hundred questions, how many have been asked before.
    pub repeats_percent: usize,
    /// Longest sync of a disk but for the seldom slow one, in milliseconds.
    pub sync_ms: u64,
    /// Raft's: entries between two snapshots, and entries kept behind them.
    pub snapshot_entries: u64,
    /// Commands between two checkpoints of the store.
    pub checkpoint_commands: u64,
    /// Commands in one entry, at most.
    pub entry_commands: usize,
    /// Entries in flight.
    pub in_flight: usize,
    /// How long there are faults.
    pub safety: Duration,
    /// What goes wrong, in the order of time.
    pub faults: Vec<Planned>,
}

/// A fault at its time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Planned {
    /// After the begin of the safety phase.
    pub at: Duration,
    /// How long it lasts.
    pub for_: Duration,
    /// What it is.
    pub fault: Fault,
}

impl Plan {
    /// What `seed` stands for, with a safety phase of that length.
    pub fn draw(seed: u64, safety: Duration) -> Plan {
        let mut random = Random::seeded(seed ^ 0x7477_696e_7365_7431);
        let mut one_of = |choices: &[u64]| choices[random.below(choices.len())];
        let mut plan = Plan {
            seed,
            sets: one_of(&[2, 2, 3, 4]) as u32,
            near_ms: one_of(&[1, 1, 2, 5]),
            far_ms: one_of(&[1, 3, 10, 40]),
            random_order: one_of(&[0, 1]) == 1,
            breaks_per_billion: one_of(&[0, 0, 20_000, 200_000]) as u32,
            clients: one_of(&[1, 2, 4]) as usize,
            workloads: Vec::new(),
            think_ms: one_of(&[20, 50, 200]),
            deadline_ms: one_of(&[500, 2_000, 5_000]),
            repeats_percent: one_of(&[40, 50]) as usize,
            sync_ms: one_of(&[0, 1, 5]),
            snapshot_entries: one_of(&[50, 200, 100_000]),
            checkpoint_commands: one_of(&[20, 100, 262_144]),
            entry_commands: one_of(&[1, 3, 16_384]) as usize,
            in_flight: one_of(&[1, 2, 4]) as usize,
            safety,
            faults: Vec::new(),
        };
        // The last one is a mixture of all, on all their accounts: too many to open each time.
        let single = &workload::ALL[..workload::ALL.len() - 1];
        plan.workloads = (0..=random.below(2)).map(|_| single[random.below(single.len())].name).collect();
        plan.workloads.dedup();
        plan.faults = faults::schedule(&mut random, safety, plan.sets);
        // The most to go wrong is between sets.
        if random.below(3) == 0 && !plan.workloads.contains(&workload::ACROSS) {
            plan.workloads.push(workload::ACROSS);
        }
        plan
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const SAFETY: Duration = Duration::from_secs(20);

    #[test]
    fn the_same_seed_is_the_same_run_and_others_are_others() {
        let text = |seed| format!("{:?}", Plan::draw(seed, SAFETY));
        assert_eq!(text(1), text(1));
        let plans: BTreeSet<String> = (0..100).map(text).collect();
        assert_eq!(plans.len(), 100);
    }

    #[test]
    fn every_workload_is_drawn_some_time_and_the_one_over_several_sets_often() {
        let plans: Vec<Plan> = (0..200).map(|seed| Plan::draw(seed, SAFETY)).collect();
        let count = |name: &'static str| plans.iter().filter(|plan| plan.workloads.contains(&name)).count();
        for kind in &workload::ALL[..workload::ALL.len() - 1] {
            assert!(count(kind.name) > 0, "{}", kind.name);
        }
        assert!(count(workload::ACROSS) > 50, "{}", count(workload::ACROSS));
        assert!(count(workload::BUFFERED) > 10, "{}", count(workload::BUFFERED));
    }

    #[test]
    fn every_kind_of_fault_is_drawn_some_time_and_every_one_ends() {
        let mut kinds = BTreeSet::new();
        for seed in 0..200 {
            let mut before = Duration::ZERO;
            for planned in Plan::draw(seed, SAFETY).faults {
                assert!(planned.at >= before && planned.at + planned.for_ <= SAFETY, "{planned:?}");
                before = planned.at;
                kinds.insert(planned.fault.kind());
            }
        }
        assert_eq!(kinds, faults::KINDS.into_iter().collect());
    }
}

//! Does the faults of a plan to the simulated world and undoes them. What is wanted is always worked out from all faults in
//! force, so that overlapping ones end one by one; only the difference to what is done to the world.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tracing::info;
use turmoil::Sim;

use crate::cluster::Cluster;
use crate::faults::Fault;
use crate::plan::{CLIENTS, NODES, OPERATOR, Plan, ROUTERS, in_site_a};
use crate::run::Shared;

/// Every machine, in the order in which they were made.
pub fn machines() -> impl Iterator<Item = &'static str> + Clone {
    NODES.into_iter().chain(ROUTERS).chain(CLIENTS).chain([OPERATOR])
}

/// How it is between two machines, in the order of their names.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
struct Between {
    /// The first is not heard by the second.
    there: bool,
    /// The second is not heard by the first.
    back: bool,
    held: bool,
}

type Pair = (&'static str, &'static str);

/// The faults in force, and what was done for them.
pub struct World {
    plan: Arc<Plan>,
    next: usize,
    active: Vec<(Duration, Fault)>,
    down: BTreeSet<&'static str>,
    between: BTreeMap<Pair, Between>,
    /// How many faults have begun.
    pub begun: usize,
}

impl World {
    /// A world in which nothing is wrong yet.
    pub fn new(plan: Arc<Plan>) -> World {
        World { plan, next: 0, active: Vec::new(), down: BTreeSet::new(), between: BTreeMap::new(), begun: 0 }
    }

    /// Begins and ends what is due, so long after the begin of the safety phase.
    pub fn advance(&mut self, sim: &mut Sim<'_>, cluster: &Cluster, shared: &Shared, since: Duration) {
        let before = (self.begun, self.active.len());
        self.active.retain(|(until, _)| *until > since);
        while let Some(planned) = self.plan.faults.get(self.next).filter(|planned| planned.at <= since) {
            info!(fault = ?planned.fault, for_ = ?planned.for_, "fault");
            if let Fault::Switch(set) = planned.fault {
                shared.order(set);
            }
            self.active.push((planned.at + planned.for_, planned.fault.clone()));
            self.next += 1;
            self.begun += 1;
        }
        if before != (self.begun, self.active.len()) {
            self.settle(sim, cluster);
        }
    }

    /// Ends everything: what the network broke by itself as well.
    pub fn heal(&mut self, sim: &mut Sim<'_>, cluster: &Cluster) {
        info!("heal");
        self.active.clear();
        self.next = self.plan.faults.len();
        self.settle(sim, cluster);
        sim.set_fail_rate(0.0);
        let all: Vec<&str> = machines().collect();
        for (n, one) in all.iter().enumerate() {
            for other in &all[n + 1..] {
                sim.release(*one, *other);
                sim.repair(*one, *other);
            }
        }
    }

    /// A process has ended by itself: the machine has none until somebody starts it.
    pub fn bury(&mut self, sim: &mut Sim<'_>, cluster: &Cluster, machine: &'static str) {
        cluster.processes.forget(machine);
        sim.crash(machine);
        self.down.insert(machine);
    }

    fn settle(&mut self, sim: &mut Sim<'_>, cluster: &Cluster) {
        for (pair, wanted) in self.wanted() {
            let is = self.between.insert(pair, wanted).unwrap_or_default();
            if is != wanted {
                change(sim, pair, is, wanted);
            }
        }
        for (node, skew) in &cluster.skews {
            skew.set(self.skew(node));
        }
        let down = self.wanted_down();
        for machine in down.difference(&self.down) {
            info!(machine, "killed");
            cluster.processes.forget(machine);
            sim.crash(*machine);
        }
        for machine in self.down.difference(&down) {
            info!(machine, "started");
            sim.bounce(*machine);
        }
        self.down = down;
    }

    fn wanted(&self) -> BTreeMap<Pair, Between> {
        let all: Vec<&'static str> = machines().collect();
        let mut wanted = BTreeMap::new();
        for (n, &one) in all.iter().enumerate() {
            for &other in &all[n + 1..] {
                let is = |holds: &dyn Fn(&Fault) -> bool| self.active.iter().any(|(_, fault)| holds(fault));
                let between = Between {
                    there: is(&|fault| cuts(fault, one, other)),
                    back: is(&|fault| cuts(fault, other, one)),
                    held: is(&|fault| holds(fault, one, other)),
                };
                wanted.insert((one, other), between);
            }
        }
        wanted
    }

    fn wanted_down(&self) -> BTreeSet<&'static str> {
        let crashes = self.active.iter().filter_map(|(_, fault)| match fault {
            Fault::Crash(victims) => Some(victims),
            _ => None,
        });
        crashes.flatten().copied().collect()
    }

    fn skew(&self, node: &str) -> i64 {
        let mut skews = self.active.iter().rev().filter_map(|(_, fault)| match fault {
            Fault::Clock(victim, ms) if *victim == node => Some(*ms),
            _ => None,
        });
        skews.next().unwrap_or(0)
    }
}

/// Whether a fault keeps the second from hearing the first.
fn cuts(fault: &Fault, from: &str, to: &str) -> bool {
    let is_third = |machine: &str| machine == "c1" || machine == OPERATOR;
    match fault {
        Fault::Isolate(victims) => victims.contains(&from) != victims.contains(&to),
        Fault::SiteSplit => !is_third(from) && !is_third(to) && in_site_a(from) != in_site_a(to),
        Fault::OneWay(one, other) => (from, to) == (*one, *other),
        _ => false,
    }
}

fn holds(fault: &Fault, one: &str, other: &str) -> bool {
    matches!(fault, Fault::Hold(a, b) if (*a, *b) == (one, other) || (*b, *a) == (one, other))
}

/// What is cut is not held as well: the network knows only one of the two.
fn change(sim: &Sim<'_>, (one, other): Pair, is: Between, wanted: Between) {
    if is.held {
        sim.release(one, other);
    }
    sim.repair(one, other);
    if wanted.there {
        sim.partition_oneway(one, other);
    }
    if wanted.back {
        sim.partition_oneway(other, one);
    }
    if wanted.held && !wanted.there && !wanted.back {
        sim.hold(one, other);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_fault_cuts_what_it_says() {
        let isolate = Fault::Isolate(vec!["a1"]);
        assert!(cuts(&isolate, "a1", "b1") && cuts(&isolate, "ra", "a1") && !cuts(&isolate, "a2", "b1"));
        assert!(cuts(&Fault::SiteSplit, "a1", "b2") && cuts(&Fault::SiteSplit, "rb", "a1"));
        assert!(!cuts(&Fault::SiteSplit, "a1", "a2") && !cuts(&Fault::SiteSplit, "c1", "b2"));
        let one_way = Fault::OneWay("a1", "b1");
        assert!(cuts(&one_way, "a1", "b1") && !cuts(&one_way, "b1", "a1"));
        assert!(holds(&Fault::Hold("a1", "b1"), "b1", "a1") && !holds(&Fault::SiteSplit, "a1", "b1"));
    }
}

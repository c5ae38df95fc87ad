//! Does the faults of a plan to the simulated world and undoes them. What is wanted is always worked out from all faults in
//! force, so that overlapping ones end one by one; only the difference to what is done to the world.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tracing::info;
use turmoil::Sim;

use crate::cluster::Cluster;
use crate::disk::Death;
use crate::faults::{Fault, Tally};
use crate::plan::{CLIENTS, NODES, OPERATOR, Plan, ROUTERS, in_site_a};
use crate::run::Shared;
use crate::trace::Trace;
use crate::watch::{self, Nodes};

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

/// A process that has ended by itself is started again after so long, if its fault is over.
const AGAIN_AFTER: Duration = Duration::from_millis(300);
/// So long after a fault of its disk a process may still end because of it.
const LATE: Duration = Duration::from_secs(3);

/// A fault in force.
struct Active {
    until: Duration,
    fault: Fault,
    /// Its number in [`World::spans`].
    span: usize,
    /// What there was of its effect when it began.
    before: u64,
    /// Whether it was seen to act already.
    acted: bool,
}

/// When a fault was in force, in nanoseconds on the history's clock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// The fault.
    pub fault: Fault,
    /// From when on; the clock stands still while it is done.
    pub begin_ns: u64,
    /// Until when; none: the run has ended before.
    pub end_ns: Option<u64>,
    /// Whether it was seen to act; as long as it is in force, nobody knows.
    pub acted: Option<bool>,
}

/// The end of a node's process, whatever ended it, and what came after; in nanoseconds on the history's clock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ending {
    /// Whose machine it was on.
    pub node: &'static str,
    /// When it ended.
    pub ended_ns: u64,
    /// When the next process began; none: the run has ended before.
    pub again_ns: Option<u64>,
    /// When that one had grown up ([`watch::is_grown`]), or had ended; none: the run has ended before.
    pub grown_ns: Option<u64>,
}

/// What a world does its faults to.
pub struct Stage<'a, 'sim> {
    /// The machines and the network.
    pub sim: &'a mut Sim<'sim>,
    /// The processes and the disks.
    pub cluster: &'a Cluster,
    /// What the operator is told.
    pub shared: &'a Shared,
    /// What the network has stopped.
    pub trace: &'a Trace,
}

/// The faults in force, and what was done for them.
pub struct World {
    plan: Arc<Plan>,
    next: usize,
    now: Duration,
    active: Vec<Active>,
    down: BTreeSet<&'static str>,
    /// Processes that ended by themselves, and when they are started again.
    ended: BTreeMap<&'static str, Duration>,
    /// Until when a process may end by itself.
    excused: BTreeMap<&'static str, Duration>,
    between: BTreeMap<Pair, Between>,
    /// How many faults of each kind have begun, and how many were seen to act.
    pub tally: Tally,
    /// All faults so far, in the order of their begins.
    pub spans: Vec<Span>,
    /// All ends of processes so far, in their order.
    pub endings: Vec<Ending>,
}

impl World {
    /// A world in which nothing is wrong yet.
    pub fn new(plan: Arc<Plan>) -> World {
        World {
            plan,
            next: 0,
            now: Duration::ZERO,
            active: Vec::new(),
            down: BTreeSet::new(),
            ended: BTreeMap::new(),
            excused: BTreeMap::new(),
            between: BTreeMap::new(),
            tally: Tally::default(),
            spans: Vec::new(),
            endings: Vec::new(),
        }
    }

    /// Begins and ends what is due, so long after the begin of the safety phase.
    pub fn advance(&mut self, stage: &mut Stage<'_, '_>, since: Duration) {
        self.now = since;
        let is_over = |until: &Duration| *until <= since;
        let over: Vec<Active> = self.active.extract_if(.., |active| is_over(&active.until)).collect();
        let again = self.ended.len();
        self.ended.retain(|_, at| !is_over(at));
        let mut changed = !over.is_empty() || self.ended.len() != again;
        over.into_iter().for_each(|active| self.end(stage, active));
        while let Some(planned) = self.plan.faults.get(self.next).filter(|planned| planned.at <= since) {
            info!(fault = ?planned.fault, for_ = ?planned.for_, "fault");
            let planned = planned.clone();
            self.begin(stage, planned.fault, planned.at + planned.for_);
            self.next += 1;
            changed = true;
        }
        if changed {
            self.settle(stage);
        }
    }

    fn begin(&mut self, stage: &Stage<'_, '_>, fault: Fault, until: Duration) {
        self.tally.begun(fault.kind());
        let disks = &stage.cluster.disks;
        match &fault {
            Fault::Switch(set) => stage.shared.order(*set),
            Fault::SyncError(victim) => disks.fail_sync(victim),
            Fault::DeathAtWork(victim, nth) => disks.die_at(victim, *nth),
            _ => {}
        }
        for victim in NODES.into_iter().filter(|node| fault.may_end(node)) {
            let excused = self.excused.entry(victim).or_default();
            *excused = (*excused).max(until + LATE);
        }
        let victims = fault.victims();
        let acted =
            !victims.is_empty() && victims.iter().any(|victim| stage.cluster.processes.run_on(victim));
        let before = effect(stage, &fault);
        let (span, begin_ns) = (self.spans.len(), stage.shared.recorder.now_ns());
        self.spans.push(Span { fault: fault.clone(), begin_ns, end_ns: None, acted: None });
        self.active.push(Active { until, fault, span, before, acted });
    }

    fn end(&mut self, stage: &Stage<'_, '_>, active: Active) {
        if let Fault::SyncError(victim) | Fault::DeathAtWork(victim, _) = &active.fault {
            stage.cluster.disks.fail_no_more(victim);
        }
        let acted = active.acted || effect(stage, &active.fault) > active.before;
        let span = &mut self.spans[active.span];
        (span.end_ns, span.acted) = (Some(stage.shared.recorder.now_ns()), Some(acted));
        info!(fault = ?active.fault, acted, "over");
        if acted {
            self.tally.acted(active.fault.kind());
        }
    }

    /// Ends everything: what the network broke by itself as well.
    pub fn heal(&mut self, stage: &mut Stage<'_, '_>) {
        info!("heal");
        self.next = self.plan.faults.len();
        self.ended.clear();
        for active in std::mem::take(&mut self.active) {
            self.end(stage, active);
        }
        self.settle(stage);
        stage.sim.set_fail_rate(0.0);
        let all: Vec<&str> = machines().collect();
        for (n, one) in all.iter().enumerate() {
            for other in &all[n + 1..] {
                stage.sim.release(*one, *other);
                stage.sim.repair(*one, *other);
            }
        }
    }

    /// A process has ended by itself: the machine has none until it is started again. Whether a fault explains that.
    pub fn bury(&mut self, stage: &mut Stage<'_, '_>, machine: &'static str) -> bool {
        self.kill(stage, machine, Death::Killed);
        self.down.insert(machine);
        let mut again = self.now + AGAIN_AFTER;
        for active in self.active.iter_mut().filter(|active| active.fault.may_end(machine)) {
            active.acted = true;
            again = again.max(active.until);
        }
        self.ended.insert(machine, again);
        self.excused.get(machine).is_some_and(|until| self.now <= *until)
    }

    /// Sees which processes have grown up.
    pub fn look(&mut self, nodes: &Nodes, now_ns: u64) {
        let young = self.endings.iter_mut().filter(|ending| ending.grown_ns.is_none());
        for ending in young.filter(|ending| ending.again_ns.is_some()) {
            let grown = nodes.get(ending.node).is_some_and(|node| watch::is_grown(node, self.plan.sets));
            ending.grown_ns = grown.then_some(now_ns);
        }
    }

    fn kill(&mut self, stage: &mut Stage<'_, '_>, machine: &'static str, death: Death) {
        info!(machine, ?death, "dies");
        stage.cluster.processes.forget(machine);
        // Before its tasks are dropped: what they hold must not reach the disk any more.
        if NODES.contains(&machine) {
            stage.cluster.disks.die(machine, death);
            self.has_ended(machine, stage.shared.recorder.now_ns());
        }
        stage.sim.crash(machine);
    }

    fn has_ended(&mut self, node: &'static str, now_ns: u64) {
        // Whoever was young to its end is not young after it.
        for ending in self.endings.iter_mut().filter(|ending| ending.node == node) {
            ending.again_ns.get_or_insert(now_ns);
            ending.grown_ns.get_or_insert(now_ns);
        }
        self.endings.push(Ending { node, ended_ns: now_ns, again_ns: None, grown_ns: None });
    }

    fn has_begun(&mut self, node: &str, now_ns: u64) {
        if let Some(ending) = self.endings.iter_mut().rfind(|ending| ending.node == node) {
            ending.again_ns.get_or_insert(now_ns);
        }
    }

    fn settle(&mut self, stage: &mut Stage<'_, '_>) {
        for (pair, wanted) in self.wanted() {
            let is = self.between.insert(pair, wanted).unwrap_or_default();
            if is != wanted {
                change(stage.sim, pair, is, wanted);
            }
        }
        for node in NODES {
            stage.cluster.skews[node].set(self.skew(node));
            let of_disk = |fault: &Fault| match fault {
                Fault::DiskFull(victim) if *victim == node => Some(None),
                Fault::SlowDisk(victim, by_ms) if *victim == node => Some(Some(*by_ms)),
                _ => None,
            };
            let wrong: Vec<_> = self.active.iter().filter_map(|active| of_disk(&active.fault)).collect();
            stage.cluster.disks.fill(node, wrong.contains(&None));
            stage.cluster.disks.slow(node, wrong.into_iter().flatten().max().unwrap_or(0));
        }
        let down = self.wanted_down();
        let before = std::mem::replace(&mut self.down, down.clone());
        for machine in down.difference(&before) {
            let cut = |active: &Active| matches!(&active.fault, Fault::PowerLoss(of) if of.contains(machine));
            let death = if self.active.iter().any(cut) { Death::PowerLoss } else { Death::Killed };
            self.kill(stage, machine, death);
        }
        for machine in before.difference(&down) {
            info!(machine, "started");
            stage.sim.bounce(*machine);
            self.has_begun(machine, stage.shared.recorder.now_ns());
        }
    }

    fn wanted(&self) -> BTreeMap<Pair, Between> {
        let all: Vec<&'static str> = machines().collect();
        let mut wanted = BTreeMap::new();
        for (n, &one) in all.iter().enumerate() {
            for &other in &all[n + 1..] {
                let is =
                    |holds: &dyn Fn(&Fault) -> bool| self.active.iter().any(|active| holds(&active.fault));
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
        let of_faults = self.active.iter().flat_map(|active| active.fault.victims());
        of_faults.chain(self.ended.keys()).copied().collect()
    }

    fn skew(&self, node: &str) -> i64 {
        let mut skews = self.active.iter().rev().filter_map(|active| match active.fault {
            Fault::Clock(victim, ms) if victim == node => Some(ms),
            _ => None,
        });
        skews.next().unwrap_or(0)
    }
}

/// What there was so far of what a fault brings about.
fn effect(stage: &Stage<'_, '_>, fault: &Fault) -> u64 {
    match fault {
        Fault::Isolate(_) | Fault::SiteSplit | Fault::OneWay(..) => stage.trace.stopped().dropped,
        Fault::Hold(..) => stage.trace.stopped().held,
        Fault::SlowDisk(victim, _) => stage.cluster.disks.slowed(victim),
        Fault::Clock(victim, _) => stage.cluster.skews[victim].reads(),
        Fault::Switch(_) => stage.shared.switches(),
        Fault::Crash(_)
        | Fault::PowerLoss(_)
        | Fault::SyncError(_)
        | Fault::DiskFull(_)
        | Fault::DeathAtWork(..) => 0,
    }
}

/// Whether a fault keeps the second from hearing the first.
pub fn cuts(fault: &Fault, from: &str, to: &str) -> bool {
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
    fn a_process_is_young_from_its_begin_until_it_has_grown_up_or_ended() {
        let mut world = World::new(Arc::new(Plan::draw(1, Duration::from_secs(1))));
        world.has_ended("a1", 1);
        world.has_ended("b1", 2);
        world.has_begun("a1", 3);
        world.look(&Nodes::new(), 4);
        world.has_ended("a1", 5);
        let ending = |node, ended_ns, again_ns, grown_ns| Ending { node, ended_ns, again_ns, grown_ns };
        let endings =
            [ending("a1", 1, Some(3), Some(5)), ending("b1", 2, None, None), ending("a1", 5, None, None)];
        assert_eq!(world.endings, endings);
    }

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

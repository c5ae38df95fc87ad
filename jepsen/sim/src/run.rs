//! One run: the cluster is born, then there are load and faults, then everything is healed, every set must serve within a
//! bound of simulated time, what was left open is asked again, everything is read, and the replicas meet. What was asked and
//! answered is judged afterwards (`verdict.rs`).

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use anyhow::{anyhow, ensure};
use futures::future::join_all;
use parking_lot::Mutex;
use tracing::info;
use turmoil::Sim;
use twinset_jepsen::clients::Left;
use twinset_jepsen::history::{self, Event, Recorder};
use twinset_jepsen::workload::{self, Ground, Kind};

use crate::clients::Client;
use crate::cluster::{self, Cluster};
use crate::faults::Tally;
use crate::operator::Operator;
use crate::plan::{CLIENTS, NODES, OPERATOR, Plan, in_site_a};
use crate::trace::Trace;
use crate::watch::{self, Watch};
use crate::world::{Stage, World, machines};
use crate::{chance, panics, verdict};

const TICK: Duration = Duration::from_millis(1);
/// The invariants are looked at every so many steps.
const LOOK_EVERY: u64 = 100;
/// For the birth of the cluster.
const BIRTH_MAX: Duration = Duration::from_secs(60);
/// For every set to serve after everything is healed.
const SERVE_MAX: Duration = Duration::from_secs(30);
/// For all look-ups after that.
const ASKING_MAX: Duration = Duration::from_secs(300);
/// For the replicas to have applied the same.
const MEET_MAX: Duration = Duration::from_secs(30);
/// Segments that may be under way on one connection.
const TCP_SEGMENTS: usize = 1 << 14;

/// Where a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Phase {
    /// The cluster is given its first catalogue, chart and accounts.
    Birth,
    /// Clients work, and faults strike.
    Load,
    /// Everything is healed; every set has to serve.
    Settling,
    /// Everything that was asked for is looked up.
    Asking,
    /// Nobody asks any more.
    Done,
}

/// What clients, operator and the run itself share.
pub struct Shared {
    /// The plan.
    pub plan: Arc<Plan>,
    /// Takes down what is asked and answered.
    pub recorder: Arc<Recorder>,
    /// The workloads.
    pub kinds: Vec<&'static Kind>,
    /// Their accounts.
    pub ground: Arc<Ground>,
    /// What clients have left to be asked again or looked up.
    pub left: Mutex<Left>,
    /// Clients that have not left it yet.
    pub working: AtomicUsize,
    /// Sets that the operator is to switch.
    pub orders: Mutex<VecDeque<u32>>,
    /// Sets that were switched.
    pub switched: AtomicU64,
    /// How often a set got another leader.
    pub failovers: AtomicU64,
    phase: AtomicU8,
}

impl Shared {
    fn new(plan: Arc<Plan>) -> Shared {
        let named = |name: &&str| workload::ALL.iter().find(|kind| kind.name == *name);
        let kinds: Vec<&'static Kind> = plan.workloads.iter().filter_map(named).collect();
        let catalogue = cluster::catalogue(plan.sets);
        let slots = catalogue.slot_table();
        let recorder = Recorder::in_memory(verdict::meta(&plan, &catalogue));
        recorder.phase(history::Phase::Setup);
        Shared {
            ground: Ground::new(recorder.clone(), &slots, &kinds),
            recorder,
            kinds,
            left: Mutex::default(),
            working: AtomicUsize::new(CLIENTS.len() * plan.clients),
            orders: Mutex::default(),
            switched: AtomicU64::new(0),
            failovers: AtomicU64::new(0),
            phase: AtomicU8::new(Phase::Birth as u8),
            plan,
        }
    }

    /// Where the run is.
    pub fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Relaxed) {
            0 => Phase::Birth,
            1 => Phase::Load,
            2 => Phase::Settling,
            3 => Phase::Asking,
            _ => Phase::Done,
        }
    }

    /// It goes on to another phase.
    pub fn enter(&self, phase: Phase) {
        info!(?phase, "phase");
        self.recorder.phase(match phase {
            Phase::Birth => history::Phase::Setup,
            Phase::Load => history::Phase::Traffic,
            Phase::Settling => history::Phase::Healed,
            Phase::Asking => history::Phase::Resolve,
            Phase::Done => history::Phase::Done,
        });
        self.phase.store(phase as u8, Ordering::Relaxed);
    }

    /// How many sets were switched.
    pub fn switches(&self) -> u64 {
        self.switched.load(Ordering::Relaxed)
    }

    /// The operator is to switch a set; he forgets what he does not come to.
    pub fn order(&self, set: u32) {
        let mut orders = self.orders.lock();
        if orders.len() < 8 {
            orders.push_back(set);
        }
    }
}

/// What a run came to.
pub struct Outcome {
    /// What was run.
    pub plan: Arc<Plan>,
    /// What was found wrong while it ran; empty, if all is well so far.
    pub violations: Vec<String>,
    /// Everything that was asked and answered, and the faults.
    pub events: Vec<Event>,
    /// How many faults there were.
    pub faults: Tally,
    /// How long it was in simulated time.
    pub simulated: Duration,
}

/// Runs a plan, on a thread that [`chance::enter`] has prepared.
pub fn run(plan: Plan, trace: Trace) -> Outcome {
    let mut run = Run::new(Arc::new(plan), trace);
    let result = run.all();
    let mut outcome = run.outcome();
    if let Err(error) = result {
        outcome.violations.push(format!("{error:#}"));
    }
    outcome
}

struct Run {
    plan: Arc<Plan>,
    sim: Sim<'static>,
    cluster: Cluster,
    shared: Arc<Shared>,
    world: World,
    watch: Watch,
    trace: Trace,
    /// When the safety phase began.
    began: Option<Duration>,
    steps: u64,
    violations: Vec<String>,
}

impl Run {
    fn new(plan: Arc<Plan>, trace: Trace) -> Run {
        info!(?plan, "plan");
        let mut builder = turmoil::Builder::new();
        builder
            .epoch(UNIX_EPOCH + chance::EPOCH)
            .simulation_duration(Duration::from_secs(1 << 20))
            .tick_duration(TICK)
            .tcp_capacity(TCP_SEGMENTS)
            .min_message_latency(TICK)
            .max_message_latency(Duration::from_millis(plan.far_ms))
            .rng_seed(plan.seed);
        if plan.random_order {
            builder.enable_random_order();
        }
        let mut sim = builder.build();
        let cluster = Cluster::new(plan.clone());
        cluster.build(&mut sim);
        let shared = Arc::new(Shared::new(plan.clone()));
        for machine in CLIENTS {
            let clients: Vec<_> = (0..plan.clients).map(|n| Client::new(&shared, machine, n).run()).collect();
            sim.client(machine, async move {
                join_all(clients).await;
                Ok(())
            });
        }
        let operator = Operator::new(shared.clone(), cluster.processes.clone());
        sim.client(
            OPERATOR,
            async move { operator.run().await.map_err(|error| format!("{error:#}").into()) },
        );
        let all: Vec<&str> = machines().collect();
        for (n, one) in all.iter().enumerate() {
            for other in all[n + 1..].iter().filter(|other| in_site_a(one) == in_site_a(other)) {
                sim.set_link_max_message_latency(*one, *other, Duration::from_millis(plan.near_ms));
            }
        }
        let world = World::new(plan.clone());
        let (watch, violations) = (Watch::default(), Vec::new());
        Run { plan, sim, cluster, shared, world, watch, trace, began: None, steps: 0, violations }
    }

    fn all(&mut self) -> anyhow::Result<()> {
        self.until("birth", BIRTH_MAX, |run| run.shared.phase() >= Phase::Load)?;
        self.sim.set_fail_rate(f64::from(self.plan.breaks_per_billion) / 1e9);
        let began = self.sim.elapsed();
        self.began = Some(began);
        while self.sim.elapsed() - began < self.plan.safety {
            self.step()?;
        }
        self.on_stage(World::heal);
        self.shared.enter(Phase::Settling);
        self.until("liveness: every set serves", SERVE_MAX, |run| run.shared.phase() >= Phase::Asking)?;
        self.until("liveness: every look-up is answered", ASKING_MAX, |run| {
            run.shared.phase() >= Phase::Done
        })?;
        let sets = self.plan.sets;
        self.until("liveness: the replicas have applied the same", MEET_MAX, |run| {
            watch::have_met(&run.cluster.processes.nodes(), sets)
        })?;
        let lines = watch::verify(&self.cluster.processes.nodes(), sets);
        self.shared.recorder.add(Event::Verify { lines });
        Ok(())
    }

    /// Steps until something holds.
    fn until(&mut self, what: &str, within: Duration, holds: impl Fn(&Run) -> bool) -> anyhow::Result<()> {
        let began = self.sim.elapsed();
        while !holds(self) {
            ensure!(self.sim.elapsed() - began <= within, "{what}: not within {within:?}");
            self.step()?;
        }
        Ok(())
    }

    fn on_stage<T>(&mut self, act: impl FnOnce(&mut World, &mut Stage<'_, 'static>) -> T) -> T {
        let Run { sim, cluster, shared, trace, world, .. } = self;
        act(world, &mut Stage { sim, cluster, shared, trace })
    }

    fn step(&mut self) -> anyhow::Result<()> {
        if let Some(began) = self.began {
            let since = self.sim.elapsed() - began;
            self.on_stage(|world, stage| world.advance(stage, since));
        }
        self.sim.step().map_err(|error| anyhow!("{error}"))?;
        chance::set_elapsed(self.sim.elapsed());
        self.cluster.disks.advance(self.sim.elapsed());
        self.steps += 1;
        self.bury();
        self.violations.extend(panics::seen());
        if self.steps.is_multiple_of(LOOK_EVERY) {
            let nodes = self.cluster.processes.nodes();
            self.watch.look(&nodes, &self.cluster.disks);
            self.violations.extend(self.watch.violations());
            self.shared.failovers.store(self.watch.changes(), Ordering::Relaxed);
            self.world.look(&nodes, self.shared.recorder.now_ns());
        }
        ensure!(self.violations.is_empty(), "stopped at the first violation");
        Ok(())
    }

    /// Processes that have ended by themselves, or with their disks, are gone; where no fault explains it, that is wrong.
    fn bury(&mut self) {
        let mut ended = self.cluster.processes.ended();
        let with_its_disk = NODES.into_iter().filter(|node| self.cluster.disks.has_died(node));
        for node in with_its_disk {
            if !ended.iter().any(|(machine, _)| *machine == node) {
                ended.push((node, "it has died with its disk".to_owned()));
            }
        }
        for (machine, reason) in ended {
            info!(machine, reason, "has ended");
            if !self.on_stage(|world, stage| world.bury(stage, machine)) {
                self.violations.push(format!("fault: {machine} has stopped itself: {reason}"));
            }
        }
    }

    fn outcome(self) -> Outcome {
        self.cluster.disks.trace();
        let Run { plan, shared, world, violations, sim, .. } = self;
        let events =
            shared.recorder.events().into_iter().chain(verdict::faults(&world, shared.recorder.now_ns()));
        Outcome { plan, events: events.collect(), faults: world.tally, simulated: sim.elapsed(), violations }
    }
}

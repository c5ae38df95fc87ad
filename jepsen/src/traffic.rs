//! Traffic for tests that bring their own faults: clients of the `mixed` workload over a running cluster, with a history in
//! memory, and the account of it afterwards. A small spelling of [`crate::clients`], [`crate::books`] and [`crate::check`].

use std::sync::Arc;
use std::time::Instant;

use twinset_tools::cluster::LocalCluster;

use crate::api::{Patience, Router};
use crate::books;
use crate::check::{self, Finding};
use crate::clients::{self, Clients, Flow, Left, Site};
use crate::founding;
use crate::history::{Answer, Ask, History, Meta, Phase, Recorder};
use crate::wait;
use crate::workload::{self, Ground};

/// What traffic to make.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where clients are, and where they reach the routers from there.
    pub sites: Vec<Site>,
    /// What the cluster is.
    pub meta: Meta,
    /// Where all choices come from.
    pub seed: u64,
    /// Loops.
    pub clients: usize,
    /// Operations per second, all clients together; answers that are slow lower it.
    pub rate: u32,
    /// Operations in all: nothing new is sent beyond it.
    pub requests_max: usize,
}

/// Clients in one place, which reach the routers as the host does.
pub fn here(cluster: &LocalCluster) -> Vec<Site> {
    let routers = cluster.layout().routers().map(|router| router.http.clone()).collect();
    vec![Site { name: "here".into(), routers }]
}

/// Traffic that flows.
pub struct Traffic {
    /// Takes down everything; a test's own calls, too.
    pub recorder: Arc<Recorder>,
    clients: Clients,
}

/// Traffic that has stopped, not yet accounted for.
pub struct Stopped {
    /// Takes down what follows.
    pub recorder: Arc<Recorder>,
    /// What clients left open; a test adds its own.
    pub left: Left,
}

impl Traffic {
    /// Opens the accounts, defines the groups, and lets the traffic flow.
    pub async fn start(cluster: &LocalCluster, options: &Options) -> anyhow::Result<Self> {
        let recorder = Recorder::in_memory(Meta {
            seed: options.seed,
            workloads: vec!["mixed".into()],
            ..options.meta.clone()
        });
        let kinds = workload::named(&["mixed".to_owned()])?;
        recorder.phase(Phase::Setup);
        let ground = Ground::new(recorder.clone(), &options.meta.slots, &kinds);
        clients::open(&recorder, &ground, &options.sites[0].routers).await?;
        founding::found(cluster, &ground, &recorder).await?;
        recorder.phase(Phase::Traffic);
        let flow = Flow {
            sites: options.sites.clone(),
            ground,
            kinds,
            seed: options.seed,
            clients: options.clients,
            rate: options.rate,
            ops_max: options.requests_max as u64,
        };
        let clients = Clients::start(&recorder, &flow);
        Ok(Traffic { recorder, clients })
    }

    /// When the clock of the history began.
    pub fn began(&self) -> Instant {
        self.recorder.began()
    }

    /// Sends nothing new, and waits for what is under way.
    pub async fn stop(self) -> anyhow::Result<Stopped> {
        let left = self.clients.stop().await?;
        self.recorder.phase(Phase::Resolve);
        Ok(Stopped { recorder: self.recorder, left })
    }
}

/// One call of a test's own, by a process of its own, taken down with all others. `number` is the router's.
pub async fn recorded(
    recorder: &Recorder,
    (router, number): (&mut Router, usize),
    ask: &Ask,
    patience: impl Into<Patience>,
) -> Answer {
    let op = recorder.invoke(recorder.process(), 0, number as u8, None, ask);
    let answer = router.ask(recorder, ask, patience.into()).await;
    recorder.end(op, &answer);
    answer
}

impl Stopped {
    /// Resolves what is open, reads everything, compares the replicas.
    pub async fn account_for(self, cluster: &LocalCluster) -> anyhow::Result<History> {
        books::last_look(cluster, &self.recorder, &self.left, &mut |_| {}).await?;
        let mut history = History::from_events(self.recorder.events())?;
        // A set may have been recovered since the first line was written.
        let survey = wait::whole(cluster.layout()).await?;
        let sets = survey.catalogue()?.sets.values().filter(|set| !set.lives.is_empty());
        history.meta.lives = sets.map(|set| (set.id, set.lives.clone())).collect();
        Ok(history)
    }
}

/// What is wrong with a history whose test judges liveness by itself.
pub fn violations(history: &History) -> Vec<Finding> {
    let findings = check::all(&check::Case::of(history));
    findings.into_iter().filter(|finding| finding.verdict.is_red() && finding.checker != "liveness").collect()
}

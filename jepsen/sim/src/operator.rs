//! The operator of a simulated cluster, over the same calls as the `twinset` command: gives the blank nodes their cluster,
//! opens the accounts, switches sets when a fault says so, and at the end asks again for everything that clients have left
//! open, waits for what sets have open with each other, and reads everything. Judges nothing.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{bail, ensure};
use futures::future::join_all;
use parking_lot::Mutex;
use tonic::transport::{Channel, Endpoint};
use tracing::trace;
use twinset_jepsen::books::{
    Scopes, buffered, events, holds, in_doubt, last_reads, list, replicas, restrictions, shares, sweeps,
};
use twinset_jepsen::clients::Left;
use twinset_jepsen::history::{self, Answer, Ask, Retry};
use twinset_proto::cluster::v1 as cluster_api;
use twinset_proto::cluster::v1::admin_client::AdminClient;

use crate::asker::Asker;
use crate::cluster::{self, CLUSTER_ID, Processes};
use crate::plan::{NODES, OPERATOR, ROUTERS};
use crate::platform::{Simulated, dial};
use crate::run::{Phase, Shared};
use crate::watch;

const POLL: Duration = Duration::from_millis(50);
const DEADLINE: Duration = Duration::from_secs(5);
/// How long sets may have anything open with each other once everything is resolved.
const IN_DOUBT: Duration = Duration::from_secs(60);
/// Questions under way at once.
const AT_ONCE: usize = 16;
const PAGE_SIZE: u32 = 200;

/// The operator.
pub struct Operator {
    shared: Arc<Shared>,
    processes: Arc<Processes>,
    platform: Simulated,
}

impl Operator {
    /// Who looks at the processes to know which node leads a set.
    pub fn new(shared: Arc<Shared>, processes: Arc<Processes>) -> Operator {
        Operator { shared, processes, platform: Simulated::sound() }
    }

    /// From the blank nodes to the last look-up.
    pub async fn run(self) -> anyhow::Result<()> {
        self.bootstrap().await?;
        self.open_accounts().await?;
        self.shared.enter(Phase::Load);
        while self.shared.phase() < Phase::Settling {
            let order = self.shared.orders.lock().pop_front();
            match order {
                Some(set) => self.switch(set).await,
                None => tokio::time::sleep(POLL).await,
            }
        }
        self.probe().await?;
        while self.shared.working.load(Ordering::Relaxed) > 0 {
            tokio::time::sleep(POLL).await;
        }
        self.shared.enter(Phase::Asking);
        self.resolve().await;
        self.drained().await;
        self.sweeps_stopped().await;
        let catalogue = cluster::catalogue(self.shared.plan.sets);
        let channel = async |node: &str| self.channel(node).await;
        let all_over = in_doubt::wait(&self.shared.recorder, &catalogue, IN_DOUBT, channel).await;
        self.put_away().await;
        self.shared.recorder.phase(history::Phase::Final);
        self.read_everything(all_over).await;
        self.shared.enter(Phase::Done);
        Ok(())
    }

    async fn channel(&self, node: &str) -> anyhow::Result<Channel> {
        let endpoint = Endpoint::from_shared(format!("http://{}", cluster::api(node)))?;
        Ok(dial(&self.platform, &endpoint.connect_timeout(Duration::from_millis(500))).await?)
    }

    async fn admin(&self, node: &str) -> anyhow::Result<AdminClient<Channel>> {
        Ok(AdminClient::new(self.channel(node).await?))
    }

    /// A node that does not answer yet is asked again: the run's own deadline ends it.
    async fn bootstrap(&self) -> anyhow::Result<()> {
        let mut catalogue = cluster::catalogue(self.shared.plan.sets);
        for group in self.shared.ground.groups() {
            let group = group.definition(&self.shared.recorder);
            catalogue.groups.insert(group.id.clone(), group);
        }
        let json = bytes::Bytes::from(catalogue.to_json());
        for node in NODES {
            loop {
                let request = cluster_api::BootstrapRequest {
                    cluster_id: CLUSTER_ID.to_owned(),
                    catalogue_json: json.clone(),
                };
                if let Ok(mut admin) = self.admin(node).await {
                    match admin.bootstrap(request).await {
                        Ok(_) => break,
                        Err(status) if status.code() == tonic::Code::Unavailable => {}
                        Err(status) => bail!("{node} refuses its cluster: {}", status.message()),
                    }
                }
                tokio::time::sleep(POLL).await;
            }
        }
        while !self.all_ready() {
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    }

    fn all_ready(&self) -> bool {
        let nodes = self.processes.nodes();
        nodes.len() == NODES.len() && nodes.values().all(|node| node.not_ready().is_none())
    }

    /// Opens the accounts of all workloads.
    async fn open_accounts(&self) -> anyhow::Result<()> {
        let recorder = &self.shared.recorder;
        let opens = self.shared.ground.opens();
        let openers = shares(opens, AT_ONCE).map(async |asks| {
            let mut asker = Asker::new(recorder, OPERATOR);
            for ask in asks {
                let answer = asker.insist(ask, None, DEADLINE).await;
                ensure!(matches!(answer, Answer::Done { .. }), "{ask:?}: {answer:?}");
            }
            Ok(())
        });
        join_all(openers).await.into_iter().collect()
    }

    /// Switches a set to the site where it is not at home; that it fails is part of the game.
    async fn switch(&self, set: u32) {
        let nodes = self.processes.nodes();
        let leads = |node: &&twinset_node::node::Node| {
            node.sets.get(set).is_some_and(|replica| replica.group.is_leader())
        };
        let Some(leader) = nodes.values().map(|node| &**node).find(leads) else { return };
        let name = leader.config.node.name.clone();
        let home = leader.cell.get().and_then(|c| c.sets.get(&set).map(|set| set.home.clone()));
        let to_site = if home.as_deref() == Some("A") { "B" } else { "A" };
        drop(nodes);
        let request = cluster_api::SwitchRequest { set, to_site: to_site.to_owned(), ..Default::default() };
        let switched = async {
            let mut steps = self.admin(&name).await?.switch(request).await?.into_inner();
            while let Some(step) = steps.message().await? {
                trace!(set, to_site, ?step, "switch");
            }
            anyhow::Ok(())
        };
        match tokio::time::timeout(DEADLINE, switched).await {
            Ok(Ok(())) => {
                self.shared.switched.fetch_add(1, Ordering::Relaxed);
            }
            Ok(Err(error)) => trace!(set, to_site, %error, "not switched"),
            Err(_) => trace!(set, to_site, "not switched in time"),
        }
    }

    /// A write in every set: all of them serve again.
    async fn probe(&self) -> anyhow::Result<()> {
        let Shared { recorder, ground, kinds, .. } = &*self.shared;
        let probes = ground.sets().iter().map(async |set| {
            let account = ground.account(kinds[0].name, *set, "probe");
            let ask = Ask::Open {
                id: "probe".into(),
                account,
                subject: "liability".into(),
                currency: "EUR".into(),
                limit: None,
            };
            let answer = Asker::new(recorder, OPERATOR).insist(&ask, None, DEADLINE).await;
            ensure!(matches!(answer, Answer::Done { .. }), "{ask:?}: {answer:?}");
            Ok(())
        });
        join_all(probes).await.into_iter().collect()
    }

    /// What clients have left open is asked again until it is decided.
    async fn resolve(&self) {
        let asks = self.shared.left.lock().open.clone();
        self.ask_all(asks, Some(Retry::Resolving)).await;
    }

    /// All transactions of all sets through both routers, every account, and what became of some requests.
    async fn read_everything(&self, all_over: bool) {
        let Shared { recorder, ground, left, .. } = &*self.shared;
        let scopes = Mutex::new(Scopes::of(&left.lock()));
        let lists = (0..ROUTERS.len()).flat_map(|router| ground.sets().iter().map(move |set| (router, *set)));
        let lists = lists.map(async |(router, set)| {
            let mut asker = Asker::new(recorder, OPERATOR);
            list(set, PAGE_SIZE, &scopes, async |ask| asker.insist_on(router, ask, DEADLINE).await).await
        });
        join_all(lists).await;
        let asks = last_reads(recorder, &left.lock(), &scopes.into_inner(), all_over);
        self.ask_all(asks.clone(), None).await;
        self.each(
            |left| &left.held,
            async |account, asker| {
                holds::list(account, async |ask| asker.insist(ask, None, DEADLINE).await).await;
            },
        )
        .await;
        self.each(
            |left| &left.restricted,
            async |account, asker| {
                restrictions::list(account, async |ask| asker.insist(ask, None, DEADLINE).await).await;
            },
        )
        .await;
        let is_any_buffered = !self.shared.left.lock().buffered.is_empty();
        for set in ground.sets().iter().filter(|_| is_any_buffered) {
            let mut asker = Asker::new(recorder, OPERATOR);
            buffered::list(*set, async |ask| asker.insist(ask, None, DEADLINE).await).await;
        }
        let follows = self.shared.left.lock().follows;
        for set in ground.sets().iter().filter(|_| follows) {
            let mut asker = Asker::new(recorder, OPERATOR);
            let told = events(*set, PAGE_SIZE, async |ask| asker.insist(ask, None, DEADLINE).await).await;
            sweeps::look_up(&told, async |ask| asker.insist(ask, None, DEADLINE).await).await;
        }
        while !watch::have_met(&self.processes.nodes(), self.shared.plan.sets) {
            tokio::time::sleep(POLL).await;
        }
        let catalogue = cluster::catalogue(self.shared.plan.sets);
        let channel = async |node: &str| self.channel(node).await;
        replicas::read(recorder, &catalogue, &asks, channel).await;
    }

    /// Waits until nothing is on its way to any account, or the patience is over.
    async fn drained(&self) {
        let until = tokio::time::Instant::now() + buffered::PATIENCE;
        let accounts = self.shared.left.lock().buffered.clone();
        let mut asker = Asker::new(&self.shared.recorder, OPERATOR);
        for account in accounts {
            let mut pending = async || {
                buffered::is_in_transit(account, async |ask| asker.insist(ask, None, DEADLINE).await).await
            };
            while pending().await && tokio::time::Instant::now() < until {
                tokio::time::sleep(POLL).await;
            }
        }
    }

    /// Waits until no sweep has anything to move, or the patience is over; then there are no sweeps any more.
    async fn sweeps_stopped(&self) {
        let until = tokio::time::Instant::now() + sweeps::PATIENCE;
        let accounts = self.shared.left.lock().swept.clone();
        let mut asker = Asker::new(&self.shared.recorder, OPERATOR);
        for account in &accounts {
            let mut pending = async || {
                sweeps::is_pending(*account, async |ask| asker.insist(ask, None, DEADLINE).await).await
            };
            while pending().await && tokio::time::Instant::now() < until {
                tokio::time::sleep(POLL).await;
            }
        }
        for account in accounts {
            asker.insist(&sweeps::removal(account), None, DEADLINE).await;
        }
    }

    /// Waits until no set has a hold or a restriction to put away, or the patience is over.
    async fn put_away(&self) {
        let until = tokio::time::Instant::now() + holds::PATIENCE;
        self.each(
            |left| &left.held,
            async |account, asker| {
                let mut pending = async || {
                    holds::any_pending(account, async |ask| asker.insist(ask, None, DEADLINE).await).await
                };
                while pending().await && tokio::time::Instant::now() < until {
                    tokio::time::sleep(POLL).await;
                }
            },
        )
        .await;
        let until = tokio::time::Instant::now() + restrictions::PATIENCE;
        self.each(
            |left| &left.restricted,
            async |account, asker| {
                let mut pending = async || {
                    restrictions::any_pending(account, async |ask| asker.insist(ask, None, DEADLINE).await)
                        .await
                };
                while pending().await && tokio::time::Instant::now() < until {
                    tokio::time::sleep(POLL).await;
                }
            },
        )
        .await;
    }

    /// Something with each account of some that clients left.
    async fn each(&self, of: fn(&Left) -> &BTreeSet<u32>, mut each: impl AsyncFnMut(u32, &mut Asker)) {
        let accounts = of(&self.shared.left.lock()).clone();
        let mut asker = Asker::new(&self.shared.recorder, OPERATOR);
        for account in accounts {
            each(account, &mut asker).await;
        }
    }

    /// Some at a time, each until there is a definite answer.
    async fn ask_all(&self, asks: Vec<Ask>, retry: Option<Retry>) {
        let askers = shares(&asks, AT_ONCE).map(async |asks| {
            let mut asker = Asker::new(&self.shared.recorder, OPERATOR);
            for ask in asks {
                asker.insist(ask, retry, DEADLINE).await;
            }
        });
        join_all(askers).await;
    }
}

//! The operator of a simulated cluster, over the same calls as the `twinset` command: gives the blank nodes their cluster,
//! writes the chart and opens the accounts, switches sets when a fault says so, and at the end asks for everything that
//! clients had asked for.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{bail, ensure};
use tonic::transport::Endpoint;
use tracing::trace;
use twinset_ledger::TransactionId;
use twinset_proto::cluster::v1 as cluster_api;
use twinset_proto::cluster::v1::admin_client::AdminClient;
use twinset_proto::ledger::v1 as api;

use crate::clients::{Answer, Door, account, bank, look, post};
use crate::cluster::{self, CLUSTER_ID, Processes};
use crate::history::{Decided, Transfer};
use crate::plan::{NODES, ROUTERS};
use crate::platform::{Simulated, dial};
use crate::run::{Phase, Shared};

const POLL: Duration = Duration::from_millis(50);
const DEADLINE: Duration = Duration::from_secs(5);

/// The operator.
pub struct Operator {
    shared: Arc<Shared>,
    processes: Arc<Processes>,
    doors: Vec<Door>,
    platform: Simulated,
}

impl Operator {
    /// Who looks at the processes to know which node leads a set.
    pub fn new(shared: Arc<Shared>, processes: Arc<Processes>) -> Operator {
        let doors = ROUTERS.into_iter().map(Door::new).collect();
        Operator { shared, processes, doors, platform: Simulated::sound() }
    }

    /// From the blank nodes to the last look-up.
    pub async fn run(mut self) -> anyhow::Result<()> {
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
        self.shared.enter(Phase::Asking);
        self.look_everything_up().await?;
        self.shared.enter(Phase::Done);
        Ok(())
    }

    async fn admin(&self, node: &str) -> anyhow::Result<AdminClient<tonic::transport::Channel>> {
        let endpoint = Endpoint::from_shared(format!("http://{}", cluster::api(node)))?;
        let endpoint = endpoint.connect_timeout(Duration::from_millis(500));
        Ok(AdminClient::new(dial(&self.platform, &endpoint).await?))
    }

    /// A node that does not answer yet is asked again: the run's own deadline ends it.
    async fn bootstrap(&self) -> anyhow::Result<()> {
        let json = bytes::Bytes::from(cluster::catalogue(self.shared.plan.sets).to_json());
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

    async fn open_accounts(&mut self) -> anyhow::Result<()> {
        let currency = api::DefineCurrencyRequest { code: "EUR".to_owned(), scale: 2 };
        let subject = api::DefineSubjectRequest {
            code: "wallet".to_owned(),
            name: "what customers are owed".to_owned(),
            normal_side: api::Side::Credit.into(),
        };
        self.until_done("EUR", async |door: &mut Door| {
            door.call(currency.clone(), DEADLINE, async |c, m| c.define_currency(m).await).await
        })
        .await?;
        self.until_done("the subject", async |door: &mut Door| {
            door.call(subject.clone(), DEADLINE, async |c, m| c.define_subject(m).await).await
        })
        .await?;
        let (groups, accounts) = (self.shared.plan.groups, self.shared.plan.accounts);
        for group in 0..groups {
            let names = (0..accounts).map(|n| (account(group, n), "0"));
            for (name, limit) in std::iter::once((bank(group), "none")).chain(names) {
                let request = api::OpenAccountRequest {
                    request_id: format!("open-{name}"),
                    account: name.clone(),
                    subject: "wallet".to_owned(),
                    currency: "EUR".to_owned(),
                    limit: Some(limit.to_owned()),
                    ..Default::default()
                };
                self.until_done(&name, async |door: &mut Door| {
                    door.call(request.clone(), DEADLINE, async |c, m| c.open_account(m).await).await
                })
                .await?;
            }
        }
        Ok(())
    }

    /// Asks until it is done, through one router and then the other.
    async fn until_done<R: std::fmt::Debug>(
        &mut self,
        what: &str,
        ask: impl AsyncFn(&mut Door) -> Answer<R>,
    ) -> anyhow::Result<R> {
        for turn in 0.. {
            match ask(&mut self.doors[turn % 2]).await {
                Answer::Ok(reply) => return Ok(reply),
                Answer::Rejected(code, ..) => bail!("{what}: {code}"),
                answer => trace!(what, ?answer, "once more"),
            }
            tokio::time::sleep(POLL).await;
        }
        unreachable!("it asks for ever")
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

    /// One transfer in every group: all sets serve again.
    async fn probe(&mut self) -> anyhow::Result<()> {
        for group in 0..self.shared.plan.groups {
            let request_id = format!("probe-{group}");
            let transfer = Transfer { from: bank(group), to: account(group, 0), cents: 1 };
            self.shared.history.lock().begin(&request_id, &transfer);
            let reply = self
                .until_done(&request_id, async |door: &mut Door| {
                    let message = post(&request_id, &transfer);
                    door.call(message, DEADLINE, async |c, m| c.post_transaction(m).await).await
                })
                .await?;
            let decided = Decided::Booked(reply.transaction.parse::<TransactionId>()?);
            self.shared.history.lock().decided(&request_id, decided, Vec::new(), reply.replayed);
        }
        Ok(())
    }

    /// What became of every request id, and every account as it is.
    async fn look_everything_up(&mut self) -> anyhow::Result<()> {
        let asked: Vec<(String, String)> = {
            let history = self.shared.history.lock();
            history.requests.iter().map(|(id, request)| (id.clone(), request.transfer.from.clone())).collect()
        };
        for (n, (request_id, scope)) in asked.into_iter().enumerate() {
            self.decide(&request_id).await?;
            let found = self.look_up(&request_id, &scope, n).await?;
            trace!(request_id, ?found, "looked up");
            let mut history = self.shared.history.lock();
            history.requests.get_mut(&request_id).expect("it was asked for").found = Some(found);
        }
        for group in 0..self.shared.plan.groups {
            let names = (0..self.shared.plan.accounts).map(|n| account(group, n));
            for name in std::iter::once(bank(group)).chain(names.collect::<Vec<_>>()) {
                let floors = self.shared.history.lock().floors();
                let look =
                    self.until_done(&name, async |door: &mut Door| look(door, &name, DEADLINE).await).await?;
                self.shared.history.lock().looked(&floors, look);
            }
        }
        Ok(())
    }

    /// A request without a definite answer is sent once more: what may still be under way comes too late after that.
    async fn decide(&mut self, request_id: &str) -> anyhow::Result<()> {
        let transfer = {
            let history = self.shared.history.lock();
            let request = &history.requests[request_id];
            if request.decided.is_some() {
                return Ok(());
            }
            request.transfer.clone()
        };
        for turn in 0.. {
            let message = post(request_id, &transfer);
            let door = &mut self.doors[turn % 2];
            let answer = door.call(message, DEADLINE, async |c, m| c.post_transaction(m).await).await;
            let (decided, replayed) = match answer {
                Answer::Ok(reply) => (Decided::Booked(reply.transaction.parse()?), reply.replayed),
                Answer::Rejected(code, set, index, replayed) => {
                    (Decided::Rejected { code, set, index }, replayed)
                }
                Answer::NotFound | Answer::NotApplied(_) | Answer::Unknown(_) => {
                    tokio::time::sleep(POLL).await;
                    continue;
                }
            };
            self.shared.history.lock().decided(request_id, decided, Vec::new(), replayed);
            return Ok(());
        }
        unreachable!("it asks for ever")
    }

    async fn look_up(&mut self, id: &str, scope: &str, turn: usize) -> anyhow::Result<Option<Decided>> {
        for turn in turn.. {
            let message = api::GetRequestRequest {
                scope_account: scope.to_owned(),
                request_id: id.to_owned(),
                ..Default::default()
            };
            let door = &mut self.doors[turn % 2];
            match door.call(message, DEADLINE, async |c, m| c.get_request(m).await).await {
                Answer::Ok(reply) => {
                    let Some(api::get_request_reply::Found::Transaction(found)) = reply.found else {
                        bail!("{id} is no transaction");
                    };
                    let transaction = found.transaction.unwrap_or_default();
                    ensure!(transaction.request_id == id, "{id} found as {}", transaction.request_id);
                    return Ok(Some(Decided::Booked(transaction.transaction.parse()?)));
                }
                Answer::Rejected(code, set, index, _) => {
                    return Ok(Some(Decided::Rejected { code, set, index }));
                }
                Answer::NotFound => return Ok(None),
                Answer::NotApplied(_) | Answer::Unknown(_) => tokio::time::sleep(POLL).await,
            }
        }
        unreachable!("it asks for ever")
    }
}

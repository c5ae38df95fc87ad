//! What the conductor asks of nodes, over the calls that operators use: how they are, a switch, a mark. It asks by
//! the port that is for nodes, on behalf of whoever has begun the plan. One attempt each; when to ask again is for
//! others.

use std::collections::BTreeMap;
use std::time::Duration;

use parking_lot::Mutex;
use tonic::transport::Channel;
use tonic::{Code, Status};
use twinset_control::Plan;
use twinset_control::plan::State;
use twinset_ledger::canary::{self, Canary};
use twinset_proto::cluster::v1 as wire;
use wire::admin_client::AdminClient;

use super::decide::{Ask, cut};
use crate::catalogue::CatalogueCell;
use crate::dial::{self, MESSAGE_BYTES_MAX};
use crate::operators::on_behalf;

/// A node that has not said how it is by then says nothing.
const STATUS_WITHIN: Duration = Duration::from_secs(1);
/// A switch is over by then, whatever has become of it; so is a mark.
const OVER_WITHIN: Duration = Duration::from_secs(20);

/// The way to the nodes.
pub struct Nodes {
    cell: CatalogueCell,
    channels: Mutex<BTreeMap<String, Channel>>,
}

impl Nodes {
    /// Connects when it is asked to.
    pub fn new(cell: CatalogueCell) -> Self {
        Nodes { cell, channels: Mutex::default() }
    }

    async fn client(&self, node: &str) -> Result<AdminClient<Channel>, String> {
        let known = self.channels.lock().get(node).cloned();
        let channel = match known {
            Some(channel) => channel,
            None => {
                let catalogue = self.cell.get().ok_or("no catalogue")?;
                let address = &catalogue.nodes.get(node).ok_or("it is not in the catalogue")?.peer_addr;
                let channel =
                    dial::connect(self.cell.platform(), address).await.map_err(|error| error.to_string())?;
                self.channels.lock().insert(node.to_owned(), channel.clone());
                channel
            }
        };
        Ok(AdminClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX))
    }

    /// What came of a call. A connection that has failed is not used again.
    fn heard<T>(&self, node: &str, answer: Result<T, Status>) -> Result<T, String> {
        answer.map_err(|status| {
            if matches!(status.code(), Code::Unavailable | Code::Unknown | Code::Cancelled) {
                self.channels.lock().remove(node);
            }
            format!("{node}: {}", status.message())
        })
    }

    /// How a node is.
    pub async fn status(&self, node: &str) -> Result<wire::StatusReply, String> {
        let mut client = self.client(node).await?;
        let request = wire::StatusRequest { without_catalogue: true, first_catalogue: false };
        let reply = tokio::time::timeout(STATUS_WITHIN, client.status(request)).await;
        match reply {
            Ok(reply) => self.heard(node, reply).map(tonic::Response::into_inner),
            Err(_) => {
                self.channels.lock().remove(node);
                Err(format!("{node}: no answer in time"))
            }
        }
    }

    /// Asks the leader of a set for a step of a plan; says how long the set took no writes, if it moved.
    pub async fn ask(&self, node: &str, plan: &Plan, set: u32, what: &Ask) -> Result<Option<u64>, String> {
        let asked = async {
            match what {
                Ask::Switch { to } => self.switch(node, plan, set, to).await.map(Some),
                Ask::Mark { degraded } => self.mark(node, plan, set, *degraded).await.map(|()| None),
            }
        };
        let answer = tokio::time::timeout(OVER_WITHIN, asked).await;
        answer.unwrap_or_else(|_| Err(format!("{node}: not over within {OVER_WITHIN:?}")))
    }

    async fn switch(&self, node: &str, plan: &Plan, set: u32, to: &str) -> Result<u64, String> {
        let request = wire::SwitchRequest {
            set,
            to_site: to.to_owned(),
            who: plan.who.clone(),
            why: why(plan),
            dry_run: false,
            // By hand, as it were: the log takes no switch of a plan that does not run.
            plan: if canary::on(Canary::PlanResumedTwice) && plan.state == State::Stopped {
                0
            } else {
                plan.id
            },
        };
        let mut client = self.client(node).await?;
        let mut phases = self.heard(node, client.switch(on_behalf(&plan.proof, request)).await)?.into_inner();
        let mut last = None;
        while let Some(phase) = self.heard(node, phases.message().await)? {
            last = Some(phase);
        }
        match last {
            Some(last) if last.failed => Err(last.detail),
            Some(last) if last.phase == "done" => Ok(last.pause_us),
            _ => Err(format!("{node} fell silent in the middle of the switch")),
        }
    }

    async fn mark(&self, node: &str, plan: &Plan, set: u32, degraded: bool) -> Result<(), String> {
        let request = wire::SetDurabilityRequest { set, degraded, who: plan.who.clone(), why: why(plan) };
        let mut client = self.client(node).await?;
        self.heard(node, client.set_durability(on_behalf(&plan.proof, request)).await).map(|_| ())
    }
}

/// What the audit log says of what a plan does.
fn why(plan: &Plan) -> String {
    cut(&format!("plan {} ({}): {}", plan.id, plan.kind, plan.why))
}

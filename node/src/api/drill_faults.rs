//! What drills ask of a node: that it harms itself. It answers while the node is silent, too: no cut is for a
//! connection that asks for nothing else. Each fault is on record in the control set before it acts, if that answers
//! at once; a drill that is about the control set itself goes on without.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tonic::{Request, Response, Status};
use tracing::info;
use twinset_control::{Command, Proof};
use twinset_dispatch::drill::Refused;
use twinset_proto::cluster::v1 as wire;
use wire::drill_faults_server::DrillFaults as Service;

use crate::conductor::cut;
use crate::drill_faults::{DrillFaults, Ended};
use crate::node::Node;

/// A fault does not wait longer for its record, which is then made as soon as it can be.
const RECORD_WITHIN: Duration = Duration::from_millis(250);

/// The service.
pub struct DrillFaultsService {
    /// None: the configuration does not enable them.
    pub faults: Option<Arc<DrillFaults>>,
    /// The node that is harmed.
    pub node: Arc<Node>,
}

impl DrillFaultsService {
    fn enabled(&self) -> Result<&DrillFaults, Refused> {
        self.faults.as_deref().ok_or(Refused::NotEnabled)
    }

    /// Has a fault put on record, and tells when that has been tried. A node without a cluster has nowhere to.
    fn record(&self, command: Command, proof: Proof) -> oneshot::Receiver<()> {
        let (recorded, heard) = oneshot::channel();
        if self.node.identified_catalogue().is_none() {
            return heard;
        }
        let control = self.node.control.clone();
        self.node.spawn(async move {
            if let Err(error) = control.propose_for(&proof, &command).await {
                info!(%error, "a drill's fault is not on record");
            }
            // Whoever asked may have waited long enough.
            let _ = recorded.send(());
        });
        heard
    }

    fn begun(&self, id: u64, request: &wire::BeginFaultRequest) -> Command {
        Command::RecordFault {
            node: self.node.config.node.name.clone(),
            id,
            fault: request.fault.as_ref().map(in_words).unwrap_or_default(),
            deadline_ms: request.deadline_ms,
            ended: false,
            who: cut(&request.who),
            why: cut(&request.why),
        }
    }

    fn ended(&self, ended: &Ended, who: String, why: &str) -> Command {
        Command::RecordFault {
            node: self.node.config.node.name.clone(),
            id: ended.id,
            fault: in_words(&ended.fault),
            deadline_ms: ended.deadline_ms,
            ended: true,
            who,
            why: why.to_owned(),
        }
    }
}

/// A fault as people read it.
fn in_words(fault: &wire::DrillFault) -> String {
    let by = if fault.by_ms == 0 { String::new() } else { format!(" by {} ms", fault.by_ms) };
    let far = [("node", &fault.node), ("site", &fault.site)].into_iter().find(|(_, name)| !name.is_empty());
    let far = far.map(|(what, name)| format!(" with {what} {name}, {}", fault.direction)).unwrap_or_default();
    format!("{}{by}{far}", fault.kind)
}

#[tonic::async_trait]
impl Service for DrillFaultsService {
    async fn begin_fault(
        &self,
        request: Request<wire::BeginFaultRequest>,
    ) -> Result<Response<wire::BeginFaultReply>, Status> {
        let faults = self.enabled()?;
        let id = faults.prepare(request.get_ref())?;
        let (who, proof) = self.node.operators.sign(&request, &request.get_ref().who)?;
        let request = wire::BeginFaultRequest { who, ..request.into_inner() };
        let unbegun =
            Ended { id, fault: request.fault.clone().unwrap_or_default(), deadline_ms: request.deadline_ms };
        // Too late or never: then the log says so.
        drop(tokio::time::timeout(RECORD_WITHIN, self.record(self.begun(id, &request), proof)).await);
        if let Err(refused) = faults.begin(id, request) {
            // Another one of its kind came first.
            let (who, proof) = ("drill faults".to_owned(), self.node.control.own_proof());
            drop(self.record(self.ended(&unbegun, who, "it has not begun"), proof));
            return Err(refused.into());
        }
        Ok(Response::new(wire::BeginFaultReply { id }))
    }

    async fn end_fault(
        &self,
        request: Request<wire::EndFaultRequest>,
    ) -> Result<Response<wire::EndFaultReply>, Status> {
        let faults = self.enabled()?;
        // Whoever has the fault's token may always end it.
        let signed = self.node.operators.sign(&request, "operator");
        let (who, proof) = signed.unwrap_or_else(|_| ("operator".to_owned(), Proof::Declared));
        let ended = faults.end(request.get_ref())?;
        drop(self.record(self.ended(&ended, who, "before its deadline"), proof));
        Ok(Response::new(wire::EndFaultReply {}))
    }

    async fn list_faults(
        &self,
        _: Request<wire::ListFaultsRequest>,
    ) -> Result<Response<wire::ListFaultsReply>, Status> {
        Ok(Response::new(wire::ListFaultsReply { faults: self.enabled()?.list() }))
    }
}

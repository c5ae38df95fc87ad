//! What drills ask of a router: that it dies. It is stateless, so there is nothing else that only it could do to
//! itself: what its disk, its clock or its network would suffer is told by those of the nodes. Off unless the
//! configuration enables it.

use std::sync::Arc;

use tonic::{Request, Response, Status};
use twinset_dispatch::drill::{REPLY_LEAVES, Refused, Token};
use twinset_proto::cluster::v1 as wire;
use wire::drill_faults_server::DrillFaults;

/// The service. None: the configuration does not enable it.
#[derive(Clone)]
pub struct Service(Arc<Option<Token>>);

impl Service {
    /// With the token that has to be shown.
    pub fn new(token: Option<Token>) -> Service {
        Service(Arc::new(token))
    }

    fn token(&self) -> Result<&Token, Refused> {
        self.0.as_ref().as_ref().ok_or(Refused::NotEnabled)
    }
}

#[tonic::async_trait]
impl DrillFaults for Service {
    async fn begin_fault(
        &self,
        request: Request<wire::BeginFaultRequest>,
    ) -> Result<Response<wire::BeginFaultReply>, Status> {
        let request = request.into_inner();
        let time = self.token()?.admit(&request)?;
        let fault = request.fault.unwrap_or_default();
        if fault != (wire::DrillFault { kind: "kill".to_owned(), ..wire::DrillFault::default() }) {
            return Err(Refused::Senseless("a router knows the kind \"kill\" alone".to_owned()).into());
        }
        tracing::warn!(request.who, request.why, "a drill's fault begins: this router kills itself");
        tokio::spawn(async move {
            tokio::time::sleep(time.min(REPLY_LEAVES)).await;
            die();
        });
        Ok(Response::new(wire::BeginFaultReply { id: 1 }))
    }

    async fn end_fault(
        &self,
        request: Request<wire::EndFaultRequest>,
    ) -> Result<Response<wire::EndFaultReply>, Status> {
        self.token()?.check(&request.get_ref().token)?;
        Err(Refused::Over { id: request.get_ref().id }.into())
    }

    async fn list_faults(
        &self,
        _: Request<wire::ListFaultsRequest>,
    ) -> Result<Response<wire::ListFaultsReply>, Status> {
        self.token()?;
        Ok(Response::new(wire::ListFaultsReply { faults: Vec::new() }))
    }
}

/// As by kill -9: nothing is drained.
#[allow(unsafe_code)]
fn die() {
    // SAFETY: raise takes an integer and touches no memory of ours.
    let raised = unsafe { libc::raise(libc::SIGKILL) };
    assert_eq!(raised, 0, "a process may signal itself");
}

//! What drills ask of a node: that it harms itself. It answers while the node is silent, too: no cut is for a
//! connection that asks for nothing else.

use std::sync::Arc;

use tonic::{Request, Response, Status};
use twinset_dispatch::drill::Refused;
use twinset_proto::cluster::v1 as wire;
use wire::drill_faults_server::DrillFaults as Service;

use crate::drill_faults::DrillFaults;

/// The service.
pub struct DrillFaultsService {
    /// None: the configuration does not enable them.
    pub faults: Option<Arc<DrillFaults>>,
}

impl DrillFaultsService {
    fn enabled(&self) -> Result<&DrillFaults, Refused> {
        self.faults.as_deref().ok_or(Refused::NotEnabled)
    }
}

#[tonic::async_trait]
impl Service for DrillFaultsService {
    async fn begin_fault(
        &self,
        request: Request<wire::BeginFaultRequest>,
    ) -> Result<Response<wire::BeginFaultReply>, Status> {
        let id = self.enabled()?.begin(request.into_inner())?;
        Ok(Response::new(wire::BeginFaultReply { id }))
    }

    async fn end_fault(
        &self,
        request: Request<wire::EndFaultRequest>,
    ) -> Result<Response<wire::EndFaultReply>, Status> {
        self.enabled()?.end(request.get_ref())?;
        Ok(Response::new(wire::EndFaultReply {}))
    }

    async fn list_faults(
        &self,
        _: Request<wire::ListFaultsRequest>,
    ) -> Result<Response<wire::ListFaultsReply>, Status> {
        Ok(Response::new(wire::ListFaultsReply { faults: self.enabled()?.list() }))
    }
}

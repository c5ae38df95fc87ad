//! Asking processes to harm themselves for a drill, and to end it. What may be asked is written in
//! docs/reference/drill-faults.md; who asks is `cmd/fault.rs` or a drill.

use std::time::Duration;

use bytes::Bytes;
use tonic::transport::Channel;
use twinset_proto::cluster::v1::drill_faults_client::DrillFaultsClient;
use twinset_proto::cluster::v1::{
    ActiveFault, BeginFaultRequest, DrillFault, EndFaultRequest, ListFaultsRequest,
};

use super::{admin, operator};
use crate::error;

/// A process that serves these calls.
#[derive(Clone, Copy, Debug)]
pub struct At<'a> {
    /// Its name, for messages.
    pub process: &'a str,
    /// Where it listens for gRPC.
    pub addr: &'a str,
}

/// Who begins a fault, and why.
#[derive(Clone, Debug)]
pub struct Asker {
    /// What every process was given.
    pub token: Bytes,
    /// Whose act it is.
    pub who: String,
    /// Why.
    pub why: String,
}

impl At<'_> {
    /// Begins a fault; gives its id. The process ends it after `time` by itself.
    pub async fn begin(&self, fault: DrillFault, time: Duration, asker: &Asker) -> anyhow::Result<u64> {
        let request = BeginFaultRequest {
            token: asker.token.clone(),
            fault: Some(fault),
            deadline_ms: u32::try_from(time.as_millis()).unwrap_or(u32::MAX),
            who: asker.who.clone(),
            why: asker.why.clone(),
        };
        let mut client = self.client()?;
        let reply = tokio::time::timeout(admin::ASK, client.begin_fault(operator::signed(request))).await;
        Ok(self.answered("no fault has begun", reply)?.id)
    }

    /// Ends a fault before its time.
    pub async fn end(&self, id: u64, token: &Bytes) -> anyhow::Result<()> {
        let request = EndFaultRequest { token: token.clone(), id };
        let mut client = self.client()?;
        let reply = tokio::time::timeout(admin::ASK, client.end_fault(operator::signed(request))).await;
        self.answered(&format!("fault {id} was not ended"), reply).map(drop)
    }

    /// The faults that act there.
    pub async fn list(&self) -> anyhow::Result<Vec<ActiveFault>> {
        let mut client = self.client()?;
        let reply = tokio::time::timeout(admin::ASK, client.list_faults(ListFaultsRequest {})).await;
        Ok(self.answered("it is not known which faults act there", reply)?.faults)
    }

    fn client(&self) -> anyhow::Result<DrillFaultsClient<Channel>> {
        Ok(DrillFaultsClient::new(admin::channel(self.addr)?))
    }

    /// A reply, or what to try next.
    fn answered<T>(
        &self,
        so: &str,
        reply: Result<Result<tonic::Response<T>, tonic::Status>, tokio::time::error::Elapsed>,
    ) -> anyhow::Result<T> {
        let why = match reply {
            Ok(Ok(reply)) => return Ok(reply.into_inner()),
            Ok(Err(status)) => admin::explain(&status),
            Err(_) => format!("no answer within {:?}", admin::ASK),
        };
        Err(error::failure(
            format!("{}: {so}: {why}", self.process),
            "`twinset fault list` shows what acts; docs/reference/drill-faults.md what there is",
        ))
    }
}

//! Pages of the audit log, for operators who read it and for those who check its chain.

use tonic::Status;
use twinset_control::chain::Link;
use twinset_proto::cluster::v1 as wire;

use crate::control_set::AuditPage;
use crate::node::Node;
use crate::platform;
use crate::set::Kind;

/// Records of a page at most.
const RECORDS_MAX: u32 = 1_000;
/// A page ends with the record that reaches this.
const PAGE_BYTES_MAX: usize = 1 << 20;

/// What this node's replica of the control set has.
pub(super) async fn list(
    node: &Node,
    request: wire::ListAuditRequest,
) -> Result<wire::ListAuditReply, Status> {
    let wire::ListAuditRequest { from, backwards, limit } = request;
    let replica = node.sets.control();
    let machine = replica.as_ref().and_then(|replica| match &replica.kind {
        Kind::Control(machine) => Some(machine.clone()),
        Kind::Ledger(_) => None,
    });
    let machine = machine.ok_or_else(|| {
        Status::failed_precondition("this node has no replica of the control set, which keeps the audit log")
    })?;
    let limit = limit.min(RECORDS_MAX).into();
    let read = move || machine.audit(from, backwards, limit, PAGE_BYTES_MAX);
    let page = platform::blocking(&*node.platform, read).await;
    let page = page.map_err(|error| Status::internal(error.to_string()))?;
    let AuditPage { cluster_id, first, head, links } =
        page.map_err(|error| Status::internal(format!("the audit log cannot be read: {error}")))?;
    let record = |Link { number, record, hash }| wire::AuditRecord {
        number,
        record_json: record.into(),
        hash: hash.as_bytes().to_vec().into(),
    };
    Ok(wire::ListAuditReply {
        cluster_id,
        first,
        head_number: head.number,
        head_hash: head.hash.as_bytes().to_vec().into(),
        records: links.into_iter().map(record).collect(),
    })
}

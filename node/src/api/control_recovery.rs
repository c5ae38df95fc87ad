//! The recovery of the control set, step by step, as an operator's command asks for it: each is signed, and so goes on record.

use tonic::{Request, Status};
use twinset_control::LogEnd;
use twinset_control::apply::TEXT_BYTES_MAX;
use twinset_control::control_recovery::PLAN_BYTES_MAX;
use twinset_proto::cluster::v1 as wire;

use super::admin::{check_cluster, or_default};
use crate::hosting::FenceError;
use crate::node::Node;
use crate::recovery::control::Promise;

impl From<FenceError> for Status {
    fn from(error: FenceError) -> Status {
        match error {
            FenceError::Refused(_) => Status::failed_precondition(error.to_string()),
            FenceError::Failed(_) => Status::unavailable(error.to_string()),
        }
    }
}

pub(super) async fn fence(
    node: &Node,
    call: Request<wire::FenceControlRequest>,
) -> Result<wire::FenceControlReply, Status> {
    let declared = or_default(&call.get_ref().who, "operator");
    let (who, proof) = node.operators.sign(&call, &declared)?;
    let wire::FenceControlRequest { cluster_id, plan, incarnation, replica, survivors, why, .. } =
        call.into_inner();
    check_cluster(node, &cluster_id)?;
    let text = |text: &str, max: usize| {
        !text.trim().is_empty() && text.len() <= max && !text.contains(char::is_control)
    };
    let known = node.identified_catalogue();
    let is_node = |name: &String| known.as_ref().is_some_and(|known| known.nodes.contains_key(name));
    let survives = survivors.get(&replica) == Some(&node.config.node.name);
    // The record of it may not be refused when it comes to that.
    let texts = text(&plan, PLAN_BYTES_MAX) && text(&who, TEXT_BYTES_MAX) && text(&why, TEXT_BYTES_MAX);
    if !texts || !survives || !survivors.values().all(is_node) {
        return Err(Status::invalid_argument(
            "a plan has an id, nodes that survive, and who wants it and why",
        ));
    }
    let survivors = survivors.into_iter().collect();
    let wanted = Promise { plan, incarnation, survivors, who, proof, why, go_on: None };
    let end = node.fence_control(replica, wanted).await?;
    Ok(wire::FenceControlReply { last_term: end.term, last_index: end.index })
}

pub(super) async fn revive(
    node: &Node,
    call: Request<wire::ReviveControlRequest>,
) -> Result<wire::ReviveControlReply, Status> {
    // Who asked for it was signed with the first step; whoever goes on with it must be an operator as well.
    node.operators.sign(&call, "operator")?;
    let request = call.into_inner();
    check_cluster(node, &request.cluster_id)?;
    let end = LogEnd { term: request.last_term, index: request.last_index };
    node.revive_control((&request.plan, request.incarnation), request.from, end).await?;
    Ok(wire::ReviveControlReply {})
}

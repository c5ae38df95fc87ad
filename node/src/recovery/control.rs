//! The recovery of the control set itself, on an operator's word: this node's part in it. There is no control set that could keep
//! what is under way, so each survivor keeps its own promise on disk, to one plan for one incarnation: first that its copy speaks in
//! no earlier one any more, then that the log of one of them goes on. The operator's command asks survivor by survivor; it may die
//! anywhere and be given again. Above: `api/admin.rs`.
//!
//! Invariant: a copy is opened in a new incarnation only by the plan that it was fenced for, and the first entry of that
//! incarnation is the record of the recovery.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tracing::{info, warn};
use twinset_control::{CONTROL_SET, Catalogue, Command, Envelope, LEASE_MS, LogEnd, Proof};
use twinset_proto::cluster::v1 as wire;
use twinset_store::{ReplicaRecord, Store};

use crate::hosting::FenceError;
use crate::node::Node;
use crate::raft::{self, Role};
use crate::set::Replica;

/// Incarnations that one recovery may leave out.
const LEAP_MAX: u32 = 1_000;

/// Whoever has heard a leader so lately has one.
const HEARD: Duration = Duration::from_secs(2);
const BLOB: &str = "control-recovery";

/// What this node has promised.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Promise {
    /// The plan that an operator has confirmed.
    pub plan: String,
    /// The incarnation that the control set will have.
    pub incarnation: u32,
    /// The replicas that go on, by their nodes.
    pub survivors: BTreeMap<u64, String>,
    /// Who asked for it.
    pub who: String,
    /// What speaks for that.
    #[serde(default, skip_serializing_if = "Proof::is_declared")]
    pub proof: Proof,
    /// Why.
    pub why: String,
    /// Every survivor is fenced: which log goes on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub go_on: Option<GoOn>,
}

/// Which log goes on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GoOn {
    /// The survivor whose log it is.
    pub from: u64,
    /// Where it ends.
    pub end: LogEnd,
    /// The entry that records the recovery, if this node's log goes on.
    pub entry: String,
}

impl Promise {
    /// The promise of this node, if it has ever made one: the newest.
    pub fn of(store: &Store) -> anyhow::Result<Option<Promise>> {
        let stored = store.get_blob(BLOB)?;
        Ok(stored.map(|bytes| serde_json::from_slice(&bytes)).transpose()?)
    }

    /// Synced.
    fn keep(&self, store: &Store) -> anyhow::Result<()> {
        Ok(store.put_blob(BLOB, &serde_json::to_vec(self).expect("plain data has a JSON form"))?)
    }

    /// Whether `other` is of the same recovery.
    fn is_same(&self, other: &Promise) -> bool {
        (&self.plan, self.incarnation, &self.survivors) == (&other.plan, other.incarnation, &other.survivors)
    }

    /// The incarnation in which this node's copy may be open: that of the catalogue, unless the log that knows better is not open yet.
    pub fn incarnation_of(promise: Option<&Promise>, catalogue: &Catalogue, replica: u64) -> u32 {
        let known = catalogue.control.incarnation;
        let going_on = promise.filter(|it| it.go_on.is_some() && it.survivors.contains_key(&replica));
        going_on.map_or(known, |promise| promise.incarnation.max(known))
    }

    /// What this copy's log is to go on with, if it is the one that goes on in that incarnation.
    pub fn going_on(&self, record: ReplicaRecord) -> Option<&GoOn> {
        self.go_on.as_ref().filter(|go_on| {
            (go_on.from, self.incarnation) == (record.replica_id, record.incarnation)
                && record.set == CONTROL_SET
        })
    }
}

/// Who leads the control set, if this copy has heard him a moment ago or is it, with a majority behind it.
fn heard_leader(replica: &Replica) -> Option<u64> {
    let view = replica.group.view().borrow().clone();
    let gate = &replica.fence.gate;
    let lately = match view.role {
        Role::Leader => gate.silence_of_majority().is_some_and(|silent| silent <= HEARD),
        _ => gate.heard().is_some_and(|at| at.elapsed() <= HEARD),
    };
    view.leader.filter(|_| lately)
}

impl Node {
    fn control_copy(&self) -> anyhow::Result<Option<ReplicaRecord>> {
        Ok(self.store.replicas()?.into_iter().find(|record| record.set == CONTROL_SET))
    }

    /// What this node's copy of the control set is.
    pub fn inspect_control(&self) -> anyhow::Result<wire::InspectControlReply> {
        let known = self.identified_catalogue();
        let mut reply = wire::InspectControlReply {
            node: self.config.node.name.clone(),
            site: self.config.node.site.clone(),
            cluster_id: known.as_ref().map(|known| known.cluster_id.clone()).unwrap_or_default(),
            ..wire::InspectControlReply::default()
        };
        let Some(record) = self.control_copy()? else { return Ok(reply) };
        let end = raft::log_end(&self.store.log(CONTROL_SET)?);
        (reply.replica, reply.incarnation) = (record.replica_id, record.incarnation);
        (reply.last_term, reply.last_index) = (end.term, end.index);
        let document = self.store.document(CONTROL_SET)?.bytes();
        if !document.is_empty() {
            let applied = Catalogue::from_json(&document)?;
            reply.version = applied.version;
            reply.recorded_unix_ns = applied.audit.tail.last().map_or(0, |record| record.time_unix_ns);
        }
        if let Some(replica) = self.sets.control() {
            reply.open = true;
            reply.voters = replica.group.view().borrow().voters.iter().copied().collect();
            let leader = heard_leader(&replica);
            let node = |id| known.as_ref()?.replica(CONTROL_SET, id).map(|replica| replica.node.clone());
            // One that the catalogue does not know leads all the same.
            reply.leader_node =
                leader.map(|id| node(id).unwrap_or_else(|| format!("replica {id}"))).unwrap_or_default();
        }
        reply.promise = Promise::of(&self.store)?.map(|promise| wire::ControlPromise {
            plan: promise.plan,
            incarnation: promise.incarnation,
            survivors: promise.survivors.into_iter().collect(),
            who: promise.who,
            revived: promise.go_on.is_some(),
        });
        Ok(reply)
    }

    /// Takes this node's copy out of the control set, for that plan. It promises first: a copy that is closed says what for.
    pub async fn fence_control(&self, replica: u64, wanted: Promise) -> Result<LogEnd, FenceError> {
        let _one_at_a_time = self.recovering_control.lock().await;
        let refused = |why: String| Err(FenceError::Refused(why));
        let Some(record) = self.control_copy()?.filter(|record| record.replica_id == replica) else {
            return refused(format!("replica {replica} of the control set is not here"));
        };
        let kept = Promise::of(&self.store)?.filter(|kept| kept.incarnation >= wanted.incarnation);
        match kept {
            Some(kept) if kept.is_same(&wanted) => {}
            Some(kept) => {
                return refused(format!(
                    "plan {} of {} is under way here for incarnation {}: go on with that one, or plan anew",
                    kept.plan, kept.who, kept.incarnation
                ));
            }
            None => {
                let known = self.identified_catalogue();
                if known.as_ref().is_none_or(|known| known.replica(CONTROL_SET, replica).is_none()) {
                    return refused(format!("replica {replica} belongs to the control set no more"));
                }
                let newest = record.incarnation.max(known.map_or(0, |known| known.control.incarnation));
                if wanted.incarnation <= newest {
                    return refused(format!("the control set has incarnation {newest} already"));
                }
                // The record of lives grows by what is left out.
                if wanted.incarnation - newest > LEAP_MAX {
                    return refused(format!("incarnation {} leaves out too many", wanted.incarnation));
                }
                if let Some(leader) = self.sets.control().and_then(|replica| heard_leader(&replica)) {
                    return refused(format!(
                        "replica {leader} leads the control set: nothing is to be recovered"
                    ));
                }
                wanted.keep(&self.store)?;
                let Promise { plan, incarnation, survivors, who, .. } = &wanted;
                warn!(plan, incarnation, ?survivors, who, "the control set is being recovered");
            }
        }
        Ok(self.fence(CONTROL_SET, replica, wanted.incarnation).await?.end)
    }

    /// Every survivor is fenced for that plan, and the log of `from` goes on. Opens this copy.
    pub async fn revive_control(
        &self,
        (plan, incarnation): (&str, u32),
        from: u64,
        end: LogEnd,
    ) -> Result<(), FenceError> {
        let _one_at_a_time = self.recovering_control.lock().await;
        let refused = |why: String| Err(FenceError::Refused(why));
        let promise =
            Promise::of(&self.store)?.filter(|kept| (&*kept.plan, kept.incarnation) == (plan, incarnation));
        let Some(mut promise) = promise else {
            return refused(format!(
                "this copy was not fenced for plan {plan} and incarnation {incarnation}"
            ));
        };
        let fenced = self.control_copy()?.filter(|record| record.incarnation == incarnation);
        let (Some(record), true) = (fenced, promise.survivors.contains_key(&from)) else {
            return refused(format!("replica {from} does not survive, or this copy is not fenced yet"));
        };
        match &promise.go_on {
            // Whoever asks again may have read the end that it has gone on to since.
            Some(kept) if kept.from == from => {}
            Some(kept) => {
                return refused(format!("the log of replica {} goes on, after {:?}", kept.from, kept.end));
            }
            None => {
                let own = raft::log_end(&self.store.log(CONTROL_SET).map_err(anyhow::Error::from)?);
                if own > end || record.replica_id == from && own != end {
                    return refused(format!("the log here ends at {own:?}, not at {end:?} or before"));
                }
                // Whatever the old control set has let answer in one site alone has stopped by then.
                tokio::time::sleep(Duration::from_millis(LEASE_MS)).await;
                let entry = self.first_entry(&promise, from, end);
                promise.go_on = Some(GoOn { from, end, entry });
                promise.keep(&self.store)?;
                info!(plan, incarnation, from, ?end, "the control set goes on");
            }
        }
        let catalogue = self.cell.get().ok_or_else(|| anyhow::anyhow!("no catalogue yet"))?;
        Ok(self.reconcile(&catalogue).await?)
    }

    fn first_entry(&self, promise: &Promise, from: u64, end: LogEnd) -> String {
        let Promise { plan, incarnation, survivors, who, proof, why, .. } = promise.clone();
        let command = Command::RecoverControl { plan, incarnation, survivors, from, end, who, why };
        let envelope = Envelope::new(self.platform.now_unix_ns(), proof, command);
        String::from_utf8(envelope.encode()).expect("JSON is UTF-8")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn promise() -> Promise {
        Promise {
            plan: "p".to_owned(),
            incarnation: 2,
            survivors: [(3, "b1".to_owned())].into(),
            who: "ann".to_owned(),
            proof: Proof::Declared,
            why: "fire".to_owned(),
            go_on: None,
        }
    }

    /// A node must find the promise of an earlier build.
    #[test]
    fn golden_promises() {
        let (end, entry) = (LogEnd { term: 4, index: 50 }, "{}".to_owned());
        let revived = Promise { proof: Proof::Token, go_on: Some(GoOn { from: 3, end, entry }), ..promise() };
        for (promise, json) in [
            (promise(), r#"{"plan":"p","incarnation":2,"survivors":{"3":"b1"},"who":"ann","why":"fire"}"#),
            (
                revived,
                concat!(
                    r#"{"plan":"p","incarnation":2,"survivors":{"3":"b1"},"who":"ann","proof":"token","why":"fire","#,
                    r#""go_on":{"from":3,"end":{"term":4,"index":50},"entry":"{}"}}"#
                ),
            ),
        ] {
            assert_eq!(serde_json::to_string(&promise).unwrap(), json);
            assert_eq!(serde_json::from_str::<Promise>(json).unwrap(), promise);
            assert!(serde_json::from_str::<Promise>(&json[..json.len() - 1]).is_err());
        }
    }

    #[test]
    fn only_who_was_told_to_go_on_is_open_in_a_new_incarnation() {
        let topology = include_str!("../../../deploy/examples/topology.toml");
        let topology: twinset_control::Topology = toml::from_str(topology).unwrap();
        let mut catalogue = topology.place("c").unwrap();
        let fenced = promise();
        let go_on = GoOn { from: 3, end: LogEnd::default(), entry: String::new() };
        let revived = Promise { go_on: Some(go_on), ..promise() };
        let of = |promise: &Promise, catalogue: &Catalogue, replica| {
            Promise::incarnation_of(Some(promise), catalogue, replica)
        };
        assert_eq!(Promise::incarnation_of(None, &catalogue, 3), 1);
        assert_eq!([of(&fenced, &catalogue, 3), of(&revived, &catalogue, 3)], [1, 2]);
        assert_eq!(of(&revived, &catalogue, 4), 1, "another copy than the one that was fenced");
        catalogue.control.incarnation = 5;
        assert_eq!(of(&revived, &catalogue, 3), 5, "a later recovery");
        let record = |replica_id, incarnation| ReplicaRecord { set: CONTROL_SET, replica_id, incarnation };
        assert!(revived.going_on(record(3, 2)).is_some() && fenced.going_on(record(3, 2)).is_none());
        for other in [record(3, 1), record(3, 5), record(4, 2), ReplicaRecord { set: 1, ..record(3, 2) }] {
            assert!(revived.going_on(other).is_none(), "{other:?}");
        }
    }
}

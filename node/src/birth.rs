//! When a node takes part in its cluster for the first time. A replica that has voted or acknowledged must never come back
//! empty under its old id, and a blank node cannot tell by itself whether it is new or has lost its disk. So a node takes
//! part only when it has heard from every other node that this one belongs to the cluster as well. Then, beside a node
//! that takes part, a blank one has lost its data; and while it is refused, nobody has to remember anything about it.
//!
//! The exception is a node that was added to a cluster which takes part: nothing was ever placed on it. It asks the control
//! set's leader how new the catalogue is that says so, and remembers which ids had been given out by then: of a replica that is
//! older it holds nothing, and nobody may take it for that one.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use serde::{Deserialize, Serialize};
use tracing::info;
use twinset_control::Catalogue;
use twinset_store::{Fault, Store};

use crate::catalogue::CatalogueCell;
use crate::cluster_check::{cluster_at, first_status_at, status_at};
use crate::control_client::ControlClient;
use crate::platform::Platform;

const ANSWER_WITHIN: Duration = Duration::from_secs(2);
const POLL: Duration = Duration::from_millis(50);

/// Why a blank node does not get its place.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// For ever, under these replica ids.
    #[error(
        "node {peer} takes part in the cluster, which it does only if this node was a member: this node's data is lost, \
         and its replica ids cannot be used again"
    )]
    Lost {
        /// A node that takes part.
        peer: String,
    },
    /// For ever, under these replica ids.
    #[error(
        "replica {replica} of set {set} is placed on this node, which is blank: its data is lost; give its replicas to another \
         node with `twinset node replace`"
    )]
    Placed {
        /// The set.
        set: u32,
        /// The replica.
        replica: u64,
    },
    /// For now.
    #[error("whether anything was placed on this node before cannot be known: {reason}")]
    Unconfirmed {
        /// What is in the way.
        reason: String,
    },
    /// For now.
    #[error("node {peer} does not answer: whether this node is new cannot be known")]
    Silent {
        /// The node.
        peer: String,
    },
}

/// What a node says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Said {
    /// Empty: none yet.
    cluster_id: String,
    takes_part: bool,
}

/// Whether a blank node may become the member `me` of this cluster. All others are asked.
pub async fn may_begin(platform: &dyn Platform, catalogue: &Catalogue, me: &str) -> Result<(), Refused> {
    let others = catalogue.nodes.values().filter(|node| node.name != me);
    let answers =
        join_all(others.map(async |node| (node.name.clone(), ask(platform, &node.api_addr).await))).await;
    judge(&catalogue.cluster_id, &answers)
}

fn judge(cluster_id: &str, answers: &[(String, Option<Said>)]) -> Result<(), Refused> {
    let takes_part = |said: &Said| said.takes_part && said.cluster_id == cluster_id;
    if let Some((peer, _)) = answers.iter().find(|(_, said)| said.as_ref().is_some_and(takes_part)) {
        return Err(Refused::Lost { peer: peer.clone() });
    }
    match answers.iter().find(|(_, said)| said.is_none()) {
        Some((peer, _)) => Err(Refused::Silent { peer: peer.clone() }),
        None => Ok(()),
    }
}

async fn ask(platform: &dyn Platform, address: &str) -> Option<Said> {
    let status = status_at(platform, address, ANSWER_WITHIN).await?;
    Some(Said { cluster_id: status.cluster_id, takes_part: !status.replicas.is_empty() })
}

/// What a node remembers that has joined a cluster which took part already.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Joined {
    /// Every replica below was given out before.
    pub next_replica_id: u64,
}

const JOINED: &str = "joined";
/// For news to reach a node that joins.
const NEWS_WITHIN: Duration = Duration::from_secs(5);

impl Joined {
    /// What this node remembers of that; none: the cluster began with it.
    pub fn of(store: &Store) -> anyhow::Result<Option<Joined>> {
        let stored = store.get_blob(JOINED)?;
        Ok(stored.map(|bytes| serde_json::from_slice(&bytes)).transpose()?)
    }

    /// Keeps it. Synced.
    pub fn keep(self, store: &Store) -> Result<(), Fault> {
        store.put_blob(JOINED, &serde_json::to_vec(&self).expect("plain data has a JSON form"))
    }
}

/// Waits for a catalogue that is no older than this call, and gives it if nothing is placed on the blank node `me`. The cell has
/// some catalogue of the cluster, and is followed.
pub async fn newest_without(
    cell: &CatalogueCell,
    control: &ControlClient,
    me: &str,
) -> Result<Arc<Catalogue>, Refused> {
    let version = control.newest_version().await.map_err(|reason| Refused::Unconfirmed { reason })?;
    let mut news = cell.watch();
    let newest = tokio::time::timeout(
        NEWS_WITHIN,
        news.wait_for(|known| known.as_ref().is_some_and(|known| known.version >= version)),
    );
    let newest = match newest.await {
        Ok(Ok(known)) => known.clone(),
        Ok(Err(_)) | Err(_) => None,
    };
    let unconfirmed = || Refused::Unconfirmed { reason: format!("catalogue {version} does not come") };
    let newest = newest.ok_or_else(unconfirmed)?;
    let placed = newest.replicas_on(me).next().map(|(set, replica)| (set, replica.id));
    match placed {
        None => Ok(newest),
        Some((set, replica)) => Err(Refused::Placed { set, replica }),
    }
}

/// The catalogue that the cluster was made with, by whoever has it of the others.
pub async fn first_catalogue(
    platform: &dyn Platform,
    catalogue: &Catalogue,
    me: &str,
) -> Result<Catalogue, Refused> {
    let others = catalogue.nodes.values().filter(|node| node.name != me);
    let asked = others.map(async |node| {
        let status = first_status_at(platform, &node.api_addr, ANSWER_WITHIN).await?;
        Catalogue::from_json(&status.first_catalogue_json).ok()
    });
    let known = join_all(asked).await.into_iter().flatten();
    let first = known.filter(|known| known.cluster_id == catalogue.cluster_id).min_by_key(|it| it.version);
    first.ok_or_else(|| Refused::Unconfirmed { reason: "nobody gives the first catalogue".to_owned() })
}

/// Returns when every other node has said once that it belongs to this cluster.
pub async fn all_belong(platform: &dyn Platform, catalogue: &Catalogue, me: &str) {
    let mut missing: BTreeSet<&str> =
        catalogue.nodes.keys().map(String::as_str).filter(|n| *n != me).collect();
    let mut told = 0;
    while !missing.is_empty() {
        if missing.len() != told {
            told = missing.len();
            info!(?missing, "waiting for the other nodes to become members");
        }
        let asked = missing.iter().filter_map(|name| catalogue.nodes.get(*name));
        let answers =
            join_all(asked.map(async |node| (&node.name, cluster_at(platform, &node.api_addr).await))).await;
        for (name, _) in answers.into_iter().filter(|(_, id)| id.as_ref() == Some(&catalogue.cluster_id)) {
            missing.remove(name.as_str());
        }
        tokio::time::sleep(POLL).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blank_node_is_judged_by_what_all_others_say() {
        let said =
            |cluster_id: &str, takes_part| Some(Said { cluster_id: cluster_id.to_owned(), takes_part });
        let (blank, member, active) = (said("", false), said("c", false), said("c", true));
        let foreign = said("other", true);
        let lost = |peer: &str| Err(Refused::Lost { peer: peer.to_owned() });
        let silent = |peer: &str| Err(Refused::Silent { peer: peer.to_owned() });
        for (answers, expected) in [
            ([blank.clone(), blank.clone(), blank.clone()], Ok(())),
            ([blank.clone(), member.clone(), member.clone()], Ok(())),
            ([foreign.clone(), foreign.clone(), foreign], Ok(())),
            ([blank.clone(), active.clone(), blank.clone()], lost("n1")),
            ([None, active, None], lost("n1")),
            ([member, None, blank], silent("n1")),
        ] {
            let named: Vec<_> = (0..).map(|n| format!("n{n}")).zip(answers).collect();
            assert_eq!(judge("c", &named), expected, "{named:?}");
        }
    }
}

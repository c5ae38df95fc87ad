//! Whether this node's data belongs to the cluster that it finds at its peers' addresses. A data directory of another cluster
//! would be refused message by message; it is better told once, and loudly.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use tonic::transport::Endpoint;
use tracing::warn;
use twinset_control::Catalogue;
use twinset_proto::cluster::v1::IdentifyRequest;
use twinset_proto::cluster::v1::admin_client::AdminClient;

use crate::fatal;

const TIMEOUT: Duration = Duration::from_millis(500);
const RETRY: Duration = Duration::from_millis(500);

/// Asks the other nodes for their cluster until one is of ours, and stops this node if most of them are of another. One
/// alone proves nothing: it may be the stray itself.
pub async fn run(catalogue: Arc<Catalogue>, me: String) {
    let mut foreign: BTreeMap<String, String> = BTreeMap::new();
    loop {
        let peers = catalogue.nodes.values().filter(|node| node.name != me);
        let answers =
            join_all(peers.map(async |node| (node.name.clone(), cluster_at(&node.api_addr).await))).await;
        for (name, cluster) in answers.into_iter().filter_map(|(name, cluster)| Some((name, cluster?))) {
            if cluster == catalogue.cluster_id {
                return;
            }
            if foreign.insert(name.clone(), cluster.clone()).is_none() {
                warn!(peer = name, cluster, ours = catalogue.cluster_id, "peer of another cluster");
            }
        }
        if foreign.len() * 2 > catalogue.nodes.len() - 1 {
            fatal::stop(&format!(
                "the data directory belongs to cluster {}, but the nodes at its peers' addresses do not: {foreign:?}",
                catalogue.cluster_id
            ));
        }
        tokio::time::sleep(RETRY).await;
    }
}

/// The cluster of the node at an address; none while it is silent or blank.
async fn cluster_at(address: &str) -> Option<String> {
    let endpoint =
        Endpoint::from_shared(format!("http://{address}")).ok()?.connect_timeout(TIMEOUT).timeout(TIMEOUT);
    let reply = AdminClient::new(endpoint.connect().await.ok()?).identify(IdentifyRequest {}).await.ok()?;
    Some(reply.into_inner().cluster_id).filter(|cluster| !cluster.is_empty())
}

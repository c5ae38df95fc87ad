//! Whether this node's data is what its configuration and its catalogue take it for. What can be known from the data
//! directory alone is checked before anything is opened: name, cluster, addresses, and for each replica who it has been so
//! far. Then the node looks for its cluster at its peers' addresses: a data directory of another cluster would be refused
//! message by message; it is better told once, and loudly.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use futures::future::join_all;
use tracing::warn;
use twinset_control::{Catalogue, Node};
use twinset_proto::cluster::v1::admin_client::AdminClient;
use twinset_proto::cluster::v1::{IdentifyRequest, StatusReply, StatusRequest};
use twinset_store::{Identity, ReplicaRecord};

use crate::catalogue::CatalogueCell;
use crate::config::Config;
use crate::dial::{self, MESSAGE_BYTES_MAX};
use crate::fatal;
use crate::platform::Platform;

const TIMEOUT: Duration = Duration::from_millis(500);
const RETRY: Duration = Duration::from_millis(500);

/// A node is started where the cluster of its data does not have it.
#[derive(Debug, thiserror::Error)]
#[error(
    "{key}: this node is to listen on {here}, but {dir} belongs to cluster {name} ({cluster_id}), which has node {me} at \
     {there}: start it with the configuration of that cluster, or with the data directory that belongs to this one; a \
     node of that cluster is started with the addresses that its catalogue has"
)]
pub struct Elsewhere {
    key: &'static str,
    here: SocketAddr,
    there: String,
    dir: String,
    name: String,
    cluster_id: String,
    me: String,
}

/// Why a node must not work with the data that it finds.
#[derive(Debug, thiserror::Error)]
pub enum Stray {
    /// Of another node.
    #[error("node.data_dir: {dir} belongs to node {owner}, not {me}")]
    OtherNode {
        /// The directory.
        dir: String,
        /// Whose it is.
        owner: String,
        /// Who was started with it.
        me: String,
    },
    /// It contradicts itself.
    #[error("the data directory is of cluster {identity}, its catalogue of {catalogue}")]
    OtherCatalogue {
        /// The cluster of the identity.
        identity: String,
        /// The cluster of the catalogue.
        catalogue: String,
    },
    /// Its cluster has no such node.
    #[error(
        "node {me} was taken out of cluster {name} ({cluster_id}), to which {dir} belongs: to bring its machine back, \
         start it with an empty data directory under a new name, and add that node (`twinset node add`)"
    )]
    TakenOut {
        /// The directory.
        dir: String,
        /// The cluster's name.
        name: String,
        /// Its id.
        cluster_id: String,
        /// Who was started with it.
        me: String,
    },
    /// Its cluster has this node elsewhere.
    #[error(transparent)]
    Elsewhere(Box<Elsewhere>),
    /// The log here was written by a replica that the catalogue does not mean.
    #[error(
        "set {set}: this node holds replica {held} of incarnation {held_incarnation}, the catalogue has replica {placed} \
         of incarnation {placed_incarnation} here: one must not speak with the log of the other; start with an empty \
         data directory only if the catalogue gives this node a new replica id"
    )]
    OtherReplica {
        /// The set.
        set: u32,
        /// The id of the replica here.
        held: u64,
        /// Its incarnation.
        held_incarnation: u32,
        /// The id in the catalogue.
        placed: u64,
        /// The incarnation there.
        placed_incarnation: u32,
    },
}

/// Whether the data directory is this node's, by the catalogue given.
fn owned(config: &Config, identity: &Identity, catalogue: &Catalogue) -> Result<(), Stray> {
    let me = &config.node.name;
    let dir = config.node.data_dir.display().to_string();
    if identity.node != *me {
        return Err(Stray::OtherNode { dir, owner: identity.node.clone(), me: me.clone() });
    }
    if catalogue.cluster_id != identity.cluster_id {
        return Err(Stray::OtherCatalogue {
            identity: identity.cluster_id.clone(),
            catalogue: catalogue.cluster_id.clone(),
        });
    }
    if !catalogue.nodes.contains_key(me) {
        let (name, cluster_id) = (catalogue.cluster_name.clone(), catalogue.cluster_id.clone());
        return Err(Stray::TakenOut { dir, name, cluster_id, me: me.clone() });
    }
    match elsewhere(config, catalogue) {
        None => Ok(()),
        Some((key, here, there)) => Err(Stray::Elsewhere(Box::new(Elsewhere {
            key,
            here,
            there,
            dir,
            name: catalogue.cluster_name.clone(),
            cluster_id: catalogue.cluster_id.clone(),
            me: me.clone(),
        }))),
    }
}

/// The first listener that a catalogue has somewhere else: its key, its address here, and the one there.
pub fn elsewhere(config: &Config, catalogue: &Catalogue) -> Option<(&'static str, SocketAddr, String)> {
    let node = catalogue.nodes.get(&config.node.name);
    let listen = &config.listen;
    let listeners = [
        ("listen.api", listen.api, node.map(|node| &node.api_addr)),
        ("listen.peer", listen.peer, node.map(|node| &node.peer_addr)),
        ("listen.http", listen.http, node.map(|node| &node.http_addr)),
    ];
    let wrong = |found: Option<&String>, here| !found.is_some_and(|found| may_lead_to(found, here));
    let (key, here, found) = listeners.into_iter().find(|(_, here, found)| wrong(*found, *here))?;
    Some((key, here, found.map_or_else(|| "no address".to_owned(), Clone::clone)))
}

/// Whether who dials `address` may end at `listen`. What a name stands for cannot be known here; its port can.
fn may_lead_to(address: &str, listen: SocketAddr) -> bool {
    match address.parse::<SocketAddr>() {
        Ok(address) => address == listen,
        Err(_) => address.rsplit_once(':').is_some_and(|(_, port)| port == listen.port().to_string()),
    }
}

/// Checks what the data directory says of itself. A catalogue that has this node elsewhere may be out of date: then the
/// nodes that it names are asked for a newer one, once.
pub async fn check_own(config: &Config, identity: &Identity, cell: &CatalogueCell) -> anyhow::Result<()> {
    let catalogue = || cell.get().context("the catalogue is missing from the data directory");
    let stored = catalogue()?;
    if let Err(Stray::Elsewhere(_) | Stray::TakenOut { .. }) = owned(config, identity, &stored) {
        hear_news(cell, &config.node.name).await;
    }
    owned(config, identity, &*catalogue()?)?;
    Ok(())
}

/// Takes the newest catalogue that another node has, of those that answer at once.
pub async fn hear_news(cell: &CatalogueCell, me: &str) {
    let Some(stored) = cell.get() else { return };
    let peers = stored.nodes.values().filter(|node| node.name != me);
    let known = join_all(peers.map(async |node| catalogue_at(cell.platform(), &node.api_addr).await)).await;
    known.into_iter().flatten().for_each(|known| cell.offer(known));
}

/// What is to be done with the log that is here, by the replica that the catalogue has here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// It is that replica's, or there is none yet.
    Open,
    /// It knows more than this catalogue: it is fenced for a recovery that is not over, or was placed since.
    Wait,
    /// It is of a replica that was given up: the catalogue gives this node a new one.
    Anew(ReplicaRecord),
}

/// Ids and incarnations only rise: which of the two is older shows in them.
pub fn place(held: Option<ReplicaRecord>, placed: ReplicaRecord) -> Result<Place, Stray> {
    let Some(held) = held else { return Ok(Place::Open) };
    let newer = (held.replica_id, held.incarnation).cmp(&(placed.replica_id, placed.incarnation));
    match (newer, held.replica_id == placed.replica_id) {
        (Ordering::Equal, _) => Ok(Place::Open),
        (Ordering::Greater, _) => Ok(Place::Wait),
        (Ordering::Less, false) => Ok(Place::Anew(held)),
        // Nobody goes on in a new incarnation without having been fenced for it.
        (Ordering::Less, true) => Err(Stray::OtherReplica {
            set: placed.set,
            held: held.replica_id,
            held_incarnation: held.incarnation,
            placed: placed.replica_id,
            placed_incarnation: placed.incarnation,
        }),
    }
}

/// Asks the other nodes for their cluster until one is of ours, and stops this node if most of them are of another. One
/// alone proves nothing: it may be the stray itself.
pub async fn run(platform: Arc<dyn Platform>, catalogue: Arc<Catalogue>, me: String) {
    let mut foreign: BTreeMap<String, String> = BTreeMap::new();
    loop {
        let peers = catalogue.nodes.values().filter(|node| node.name != me);
        let ask = async |node: &Node| (node.name.clone(), cluster_at(&*platform, &node.api_addr).await);
        let answers = join_all(peers.map(ask)).await;
        for (name, cluster) in answers.into_iter().filter_map(|(name, cluster)| Some((name, cluster?))) {
            if cluster == catalogue.cluster_id {
                return;
            }
            if foreign.insert(name.clone(), cluster.clone()).is_none() {
                warn!(peer = name, cluster, ours = catalogue.cluster_id, "peer of another cluster");
            }
        }
        if foreign.len() * 2 > catalogue.nodes.len() - 1 {
            let reason = format!(
                "the data directory belongs to cluster {}, but the nodes at its peers' addresses do not: {foreign:?}",
                catalogue.cluster_id
            );
            fatal::stop(&*platform, &reason);
        }
        tokio::time::sleep(RETRY).await;
    }
}

/// The cluster of the node at an address; none while it is silent or blank.
pub(crate) async fn cluster_at(platform: &dyn Platform, address: &str) -> Option<String> {
    let mut client = AdminClient::new(dial::connect(platform, address).await.ok()?);
    let reply = tokio::time::timeout(TIMEOUT, client.identify(IdentifyRequest {})).await.ok()?.ok()?;
    Some(reply.into_inner().cluster_id).filter(|cluster| !cluster.is_empty())
}

/// What the node at an address says of itself; none if it does not within the time, connecting included.
pub(crate) async fn status_at(
    platform: &dyn Platform,
    address: &str,
    within: Duration,
) -> Option<StatusReply> {
    ask_status(platform, address, within, StatusRequest::default()).await
}

/// The same with the catalogue that the cluster was made with, and without the newest one.
pub(crate) async fn first_status_at(
    platform: &dyn Platform,
    address: &str,
    within: Duration,
) -> Option<StatusReply> {
    let request = StatusRequest { without_catalogue: true, first_catalogue: true };
    ask_status(platform, address, within, request).await
}

async fn ask_status(
    platform: &dyn Platform,
    address: &str,
    within: Duration,
    request: StatusRequest,
) -> Option<StatusReply> {
    let answer = async {
        let mut client = AdminClient::new(dial::connect(platform, address).await.ok()?)
            .max_decoding_message_size(MESSAGE_BYTES_MAX);
        Some(client.status(request).await.ok()?.into_inner())
    };
    tokio::time::timeout(within, answer).await.ok()?
}

async fn catalogue_at(platform: &dyn Platform, address: &str) -> Option<Catalogue> {
    // Once for the connection and once for the answer.
    let status = status_at(platform, address, TIMEOUT * 2).await?;
    Catalogue::from_json(&status.catalogue_json).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_compared_as_far_as_it_can_be_known() {
        let listen: SocketAddr = "127.0.0.1:7101".parse().unwrap();
        for (address, expected) in [
            ("127.0.0.1:7101", true),
            ("127.0.0.2:7101", false),
            ("127.0.0.1:7102", false),
            ("localhost:7101", true),
            ("localhost:17101", false),
            ("[::1]:7101", false),
        ] {
            assert_eq!(may_lead_to(address, listen), expected, "{address}");
        }
    }

    #[test]
    fn what_is_here_is_opened_waits_makes_room_or_is_refused() {
        let placed = ReplicaRecord { set: 3, replica_id: 7, incarnation: 2 };
        let with = |replica_id, incarnation| Some(ReplicaRecord { replica_id, incarnation, ..placed });
        for (held, expected) in [
            (None, Place::Open),
            (with(7, 2), Place::Open),
            (with(7, 3), Place::Wait),
            (with(8, 1), Place::Wait),
            (with(6, 9), Place::Anew(with(6, 9).unwrap())),
        ] {
            assert_eq!(place(held, placed).unwrap(), expected, "{held:?}");
        }
        let stray = place(with(7, 1), placed).unwrap_err().to_string();
        assert!(stray.contains("set 3: this node holds replica 7 of incarnation 1"), "{stray}");
    }
}

//! The end of a run, continued: every replica of every set is read for itself, past the routers. What it holds is recorded;
//! whom it should equal is for [`crate::check`].

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::future::join_all;
use tonic::transport::Channel;
use twinset_control::Catalogue;
use twinset_control::catalogue::Set;

use crate::api::replica::Replica;
use crate::history::{Ask, Event, Recorder, is_readable, set_of};

/// The nodes that hold a replica of each set.
pub fn placed(catalogue: &Catalogue) -> BTreeMap<u32, Vec<String>> {
    let nodes = |set: &Set| set.replicas.iter().map(|replica| replica.node.clone()).collect();
    catalogue.sets.values().map(|set| (set.id, nodes(set))).collect()
}

/// Of each replica so many request ids are looked up.
const REQUESTS: usize = 1_000;

/// Reads them all, each over the way that `channel` gives to its node, with some of what the look-ups among `asks` were about. One
/// that cannot be read is noted, and missing.
pub async fn read(
    recorder: &Arc<Recorder>,
    catalogue: &Catalogue,
    asks: &[Ask],
    channel: impl AsyncFn(&str) -> anyhow::Result<Channel>,
) {
    let accounts: Vec<(u32, String)> =
        (0..).zip(recorder.accounts_from(0)).map(|(number, id)| (number, id.to_string())).collect();
    let slots = catalogue.slot_table();
    let set_of = |account: &str| set_of(&slots, account).unwrap_or_default();
    let of_set = |set: u32| {
        let owned = accounts.iter().filter(|(_, id)| set_of(id) == set && is_readable(id));
        let requests = asks.iter().filter_map(|ask| match ask {
            Ask::ReadRequest { scope, id, .. } => Some((*scope, id.clone())),
            _ => None,
        });
        let requests = requests.filter(|(scope, _)| set_of(&accounts[*scope as usize].1) == set);
        (owned.cloned().collect::<Vec<_>>(), requests.take(REQUESTS).collect::<Vec<_>>())
    };
    let placed = placed(catalogue);
    let sets: Vec<_> = placed.iter().map(|(set, nodes)| (*set, nodes, of_set(*set))).collect();
    let all = sets.iter().flat_map(|(set, nodes, what)| nodes.iter().map(move |node| (*set, node, what)));
    let reads = all.map(async |(set, node, (accounts, requests))| {
        let read = async {
            let mut replica = Replica::new(channel(node).await?, catalogue, set, node);
            replica.holdings(recorder, accounts, requests).await
        };
        match read.await {
            Ok(holdings) => recorder.add(Event::Holdings(holdings)),
            Err(error) => {
                recorder.note(format!("{node} does not show what it holds of set {set}: {error:#}"))
            }
        }
    });
    join_all(reads).await;
}

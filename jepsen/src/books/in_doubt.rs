//! Before the end of a run: what sets have open with each other is waited for, because only then is everything booked that was
//! decided. The leaders say what they have open; what is left after a while is recorded, for [`crate::check`] to judge.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tonic::transport::Channel;
use twinset_control::Catalogue;
use twinset_proto::cluster::v1::ListAttemptsRequest;
use twinset_proto::cluster::v1::admin_client::AdminClient;

use crate::history::{Event, InDoubt, Name, Recorder};

const PAUSE: Duration = Duration::from_millis(100);

/// Waits until nothing is open between the sets of a catalogue, each asked over the way that `channel` gives to its nodes, or
/// `patience` is over; a set that has its part set aside asks every two seconds what became of it. Records what is open then,
/// and says whether nothing is.
pub async fn wait(
    recorder: &Arc<Recorder>,
    catalogue: &Catalogue,
    patience: Duration,
    channel: impl AsyncFn(&str) -> anyhow::Result<Channel>,
) -> bool {
    let until = Instant::now() + patience;
    loop {
        let open = open(catalogue, &channel).await;
        let silent: Vec<u32> = catalogue.sets.keys().copied().filter(|set| !open.contains_key(set)).collect();
        let is_late = Instant::now() >= until;
        if is_late && !silent.is_empty() {
            recorder.note(format!("no leader says what sets {silent:?} have open with others"));
        }
        let nothing = silent.is_empty() && open.values().all(Vec::is_empty);
        if nothing || is_late {
            recorder.add(Event::InDoubt { open: open.into_values().flatten().collect() });
            return nothing;
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// What each set has open, as far as a leader says so.
async fn open(
    catalogue: &Catalogue,
    channel: &impl AsyncFn(&str) -> anyhow::Result<Channel>,
) -> BTreeMap<u32, Vec<InDoubt>> {
    let replicas = catalogue.sets.values().flat_map(|set| &set.replicas);
    let nodes: BTreeSet<&str> = replicas.map(|replica| replica.node.as_str()).collect();
    let mut found = BTreeMap::new();
    for node in nodes {
        let Ok(channel) = channel(node).await else { continue };
        let Ok(reply) = AdminClient::new(channel).list_attempts(ListAttemptsRequest {}).await else {
            continue;
        };
        for of_set in reply.into_inner().sets {
            let set = of_set.set;
            let one = |attempt: &twinset_proto::cluster::v1::OpenAttempt| {
                let name = attempt.attempt.parse().ok().map(Name)?;
                Some(InDoubt { set, attempt: name, phase: attempt.phase.clone() })
            };
            let attempts = of_set.attempts.iter().filter_map(one).collect();
            // The control set has none.
            if catalogue.sets.contains_key(&set) {
                found.insert(set, attempts);
            }
        }
    }
    found
}

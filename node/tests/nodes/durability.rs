//! The durability state in force and the one on record.

use bytes::Bytes;
use twinset_control::Durability;
use twinset_ledger::codec::{EntryBuilder, encode_command};
use twinset_ledger::{Command, RULES_VERSION};

use crate::whole::{Cluster, DEADLINE, Running, alone, led, until};

const SET: u32 = 1;

/// A record of SYNC can overtake a DEGRADED that is in force only through replaced leaders and lost replies; the mark alone
/// leaves the same behind.
#[test]
fn a_degraded_that_is_in_force_comes_on_record() {
    let _alone = alone();
    let mut cluster = Cluster::start(&["a1", "a2", "b1", "b2"]);
    let (at, replica) = led(&cluster.nodes, SET);
    // A site that follows would bring the set back to SYNC at once.
    cluster.nodes.drain(2..).for_each(Running::die);
    let mut command = Vec::new();
    encode_command(
        &Command::MarkDurability { durability: twinset_ledger::Durability::Degraded },
        &mut command,
    );
    let mut entry = EntryBuilder::new(RULES_VERSION, replica.fence.incarnation, 1_700_000_000_000_000_000);
    entry.push_command_bytes(&command);
    let entry = Bytes::from(entry.finish());
    let marked = async { replica.group.propose(entry).await.unwrap().result().await.unwrap() };
    cluster.nodes[at].runtime.block_on(async { tokio::time::timeout(DEADLINE, marked).await }).unwrap();
    for running in &cluster.nodes {
        until("it is on record", || {
            let set = running.node.cell.get().unwrap().sets[&SET].clone();
            let recorded = (set.durability, set.durability_epoch) == (Durability::Degraded, 2);
            if recorded { Ok(()) } else { Err(format!("{:?}", set.durability)) }
        });
    }
    drop(replica);
    cluster.stop();
}

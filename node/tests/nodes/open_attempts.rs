//! What operators are told of transactions over several sets that are under way.

use std::thread;

use twinset_ledger::account::Side;
use twinset_ledger::command::{Command, Leg, Transaction};
use twinset_ledger::{Outcome, Rejection};
use twinset_node::dial;
use twinset_node::platform::System;
use twinset_proto::cluster::v1 as wire;
use wire::admin_client::AdminClient;

use crate::asked::{Leader, accounts_of, open};
use crate::whole::{Cluster, Running, alone, leader, until};

const OWN: u32 = 1;
const OTHER: u32 = 2;
/// Before it is given up, after three seconds.
const OLD_MS: u64 = 1_000;

/// What the leader of a set says that it has open.
fn open_attempts(nodes: &[Running], set: u32) -> Result<Vec<wire::OpenAttempt>, String> {
    let running = &nodes[leader(nodes, set)];
    running.runtime.block_on(async {
        let channel = dial::connect(&System, &running.ports[0].to_string()).await;
        let mut admin = AdminClient::new(channel.map_err(|error| error.to_string())?);
        let reply = admin.list_attempts(wire::ListAttemptsRequest::default()).await;
        let sets = reply.map_err(|status| status.to_string())?.into_inner().sets;
        Ok(sets.into_iter().filter(|one| one.set == set).flat_map(|one| one.attempts).collect())
    })
}

#[test]
fn what_waits_for_a_set_without_quorum_is_told_with_its_age() {
    let _alone = alone();
    let mut cluster = Cluster::start(&["a1", "a2", "b1", "b2"]);
    let ([payer], [payee]) = (accounts_of(&cluster, OWN), accounts_of(&cluster, OTHER));
    Leader::of_set(&cluster.nodes, OWN).book(&open(&payer));
    Leader::of_set(&cluster.nodes, OTHER).book(&open(&payee));
    assert_eq!(open_attempts(&cluster.nodes, OWN), Ok(Vec::new()));

    // Two of the other set's three voters; the own one keeps two.
    for name in ["b2", "a1"] {
        let at = cluster.nodes.iter().position(|one| one.node.config.node.name == name).unwrap();
        cluster.nodes.remove(at).die();
    }
    let legs = vec![Leg::new(&payer, Side::Debit, 1.into()), Leg::new(&payee, Side::Credit, 1.into())];
    let payment = Transaction { request_id: "pay".to_owned(), legs, ..Transaction::default() };
    let nodes = &cluster.nodes[..];
    thread::scope(|scope| {
        let paying = scope.spawn(|| Leader::of_set(nodes, OWN).submit(&[Command::Transaction(payment)]));
        let found = until("it is told that one asks for a while", || {
            let open = open_attempts(nodes, OWN)?;
            open.into_iter().find(|one| one.age_ms >= OLD_MS).ok_or("none is that old".to_owned())
        });
        assert_eq!((found.phase.as_str(), found.sets), ("asks", vec![OTHER]));
        assert!(found.attempt.starts_with("1-1-"), "{}", found.attempt);
        assert!(found.opened_unix_ns > 0);
        let outcomes = paying.join().unwrap();
        assert!(
            matches!(outcomes[..], [Outcome { result: Err(Rejection::SetUnavailable { set: OTHER }), .. }]),
            "{outcomes:?}"
        );
    });
    cluster.stop();
}

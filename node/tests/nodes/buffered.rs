//! Buffered credits: while the payee's set has no quorum its payers go on, and when it is back everything is booked, once and in
//! order.

use twinset_ledger::account::Side;
use twinset_ledger::buffer::{Announced, PostingMode};
use twinset_ledger::command::{Command, Leg, Transaction};
use twinset_ledger::{Effect, Outcome, slot_of};
use twinset_store::{StatementFilter, StatementQuery};

use crate::asked::{Leader, open};
use crate::whole::{Cluster, Running, alone, leader, until};

const PAYERS: u32 = 1;
const PAYEES: u32 = 2;
/// More than one load takes.
const PAYMENTS: i64 = 1_200;
/// In one call.
const TOGETHER: usize = 100;

fn account_of(cluster: &Cluster, set: u32) -> String {
    let slots = cluster.catalogue.slot_table();
    let mut ids = (0..).map(|n| format!("account-{n}"));
    ids.find(|id| slots[usize::from(slot_of(id))] == set).unwrap()
}

fn mode(id: &str, account: &str, mode: PostingMode) -> Command {
    Command::SetPostingMode { request_id: id.to_owned(), account: account.to_owned(), mode }
}

fn pay(from: &str, to: &str, amount: i64) -> Command {
    let legs = vec![Leg::new(from, Side::Debit, amount.into()), Leg::new(to, Side::Credit, amount.into())];
    Command::Transaction(Transaction { request_id: format!("pay-{amount}"), legs, ..Transaction::default() })
}

/// Amounts that were booked on an account, in order, each with the transaction that it is a part of. None of them while the
/// leader has not applied again what opened the account.
fn booked(nodes: &[Running], account: &str) -> Vec<(i128, String)> {
    let led = nodes[leader(nodes, PAYEES)].leads(PAYEES);
    let Some(replica) = led else { return Vec::new() };
    let query = StatementQuery {
        times: (None, None),
        filter: StatementFilter::default(),
        newest_first: false,
        at: None,
        limit: 10_000,
    };
    let Some(statement) = replica.ledger().unwrap().state.statement(account, &query).unwrap().value else {
        return Vec::new();
    };
    let line = |line: twinset_store::StatementLine| {
        (line.amount, line.part_of.map_or_else(String::new, |of| of.to_string()))
    };
    statement.lines.into_iter().map(line).collect()
}

#[test]
fn payers_go_on_while_the_payees_set_has_no_quorum() {
    let _alone = alone();
    let names = ["a1", "a2", "b1", "b2"];
    let mut cluster = Cluster::start(&names);
    let (payer, shop) = (account_of(&cluster, PAYERS), account_of(&cluster, PAYEES));
    Leader::of_set(&cluster.nodes, PAYERS).book(&open(&payer));
    let payees = Leader::of_set(&cluster.nodes, PAYEES);
    payees.book(&open(&shop));
    payees.book(&mode("mode", &shop, PostingMode::Buffered));
    let announced = |nodes: &[Running]| -> Result<(), String> {
        let led = nodes[leader(nodes, PAYERS)].leads(PAYERS).ok_or("nobody leads")?;
        let known = led.ledger().unwrap().state.in_transit(&shop).value;
        known.map(|_| ()).ok_or("it is not announced".to_owned())
    };
    until("the payers' set need not ask", || announced(&cluster.nodes));

    // Two of its three voters: the payers' set keeps two of its own, and a node in each site.
    let mut stopped = Vec::new();
    for name in ["b2", "a1"] {
        let at = cluster.nodes.iter().position(|one| one.node.config.node.name == name).unwrap();
        let place = names.iter().position(|known| *known == name).unwrap();
        let running = cluster.nodes.remove(at);
        stopped.push((name, running.ports, place));
        running.die();
    }
    let mut paid = Vec::new();
    let payers = Leader::of_set(&cluster.nodes, PAYERS);
    let amounts: Vec<i64> = (1..=PAYMENTS).collect();
    for amounts in amounts.chunks(TOGETHER) {
        let payments: Vec<Command> = amounts.iter().map(|amount| pay(&payer, &shop, *amount)).collect();
        for (amount, outcome) in amounts.iter().zip(payers.submit(&payments)) {
            let Outcome { incarnation, position, result, .. } = outcome;
            assert!(matches!(result, Ok(Effect::Buffered { .. })), "{result:?}");
            let id = twinset_ledger::TransactionId { set: PAYERS, incarnation, position };
            paid.push((i128::from(*amount) * 100, id.to_string()));
        }
    }
    let led = cluster.nodes[leader(&cluster.nodes, PAYERS)].leads(PAYERS).expect("nothing moves it");
    let Announced { account, transit, .. } = led.ledger().unwrap().state.in_transit(&shop).value.unwrap();
    let sum: i128 = paid.iter().map(|(amount, _)| amount).sum();
    assert_eq!((transit.parcels, transit.amount, account.scale), (PAYMENTS as u64, sum, 2));
    drop(led);

    for (name, ports, place) in stopped {
        cluster.nodes.push(Running::start(name, ports, cluster.dirs[place].path()));
    }
    let found = until("everything is booked", || {
        let found = booked(&cluster.nodes, &shop);
        if found.len() >= paid.len() { Ok(found) } else { Err(format!("{} of {PAYMENTS}", found.len())) }
    });
    assert_eq!(found, paid, "each once, in order");
    until("all of it is acknowledged", || {
        let led = cluster.nodes[leader(&cluster.nodes, PAYERS)].leads(PAYERS).ok_or("nobody leads")?;
        let waiting: Vec<_> = led.ledger().unwrap().state.streams();
        let all = waiting.iter().all(|one| one.acknowledged == one.last);
        if all { Ok(()) } else { Err(format!("{waiting:?}")) }
    });

    // And it leaves the mode.
    Leader::of_set(&cluster.nodes, PAYEES).book(&mode("strict", &shop, PostingMode::Strict));
    until("it is strict again", || {
        let led = cluster.nodes[leader(&cluster.nodes, PAYEES)].leads(PAYEES).ok_or("nobody leads")?;
        let own = led.ledger().unwrap().state.account_and_mode(&shop).value;
        let (_, mode) = own.ok_or("the leader has not applied its opening yet")?;
        mode.map_or(Ok(()), |mode| Err(format!("{mode:?}")))
    });
    cluster.nodes.into_iter().for_each(Running::die);
}

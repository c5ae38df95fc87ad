//! A reference of the client's own as nodes find it: each payment once and as a whole, at the set that its payer is of, however
//! it was booked; at the next leader as at the first one.

use std::collections::BTreeMap;

use twinset_ledger::account::Side;
use twinset_ledger::buffer::PostingMode;
use twinset_ledger::command::{Command, Leg, Metadata, REFERENCE, Reversal, Transaction};
use twinset_ledger::{Effect, TransactionId};
use twinset_proto::cluster::v1 as wire;
use twinset_proto::ledger::v1 as api;
use wire::read_reply::Result as ReadResult;
use wire::read_request::Query;

use crate::asked::{Leader, accounts_of, open};
use crate::whole::{Cluster, Running, alone, leader, until};

const PAYERS: u32 = 1;
const PAYEES: u32 = 2;
const ORDER: &str = "ORDER-1234";

fn referring(reference: &str) -> Metadata {
    Metadata::from([(REFERENCE.to_owned(), reference.to_owned())])
}

fn pay(id: &str, debit: &str, credit: &str, reference: &str) -> Command {
    Command::Transaction(Transaction {
        request_id: id.to_owned(),
        scope_account: Some(debit.to_owned()),
        legs: vec![Leg::new(debit, Side::Debit, 7.into()), Leg::new(credit, Side::Credit, 7.into())],
        metadata: referring(reference),
        ..Transaction::default()
    })
}

impl Leader<'_> {
    /// What is found, page by page.
    fn found(&self, reference: &str, page_size: u32) -> Vec<api::Transaction> {
        let (mut found, mut after) = (Vec::new(), String::new());
        loop {
            let asked = wire::FindTransactions { reference: reference.to_owned(), after, page_size };
            let ReadResult::List(page) = self.read(Query::Find(asked)) else { panic!("another answer") };
            assert!(page.transactions.len() <= page_size as usize && page.as_of.is_some());
            found.extend(page.transactions);
            after = page.next;
            if after.is_empty() {
                return found;
            }
        }
    }

    fn whole(&self, id: &TransactionId) -> api::Transaction {
        match self.read(Query::Transaction(id.to_string())) {
            ReadResult::Transaction(found) => found.transaction.unwrap(),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_payment_is_found_by_its_reference_once_and_as_a_whole() {
    let _alone = alone();
    let mut cluster = Cluster::start(&["a1", "a2", "b1", "b2"]);
    let [payer, neighbour] = accounts_of(&cluster, PAYERS);
    let [strict, buffered] = accounts_of(&cluster, PAYEES);
    let payers = Leader::of_set(&cluster.nodes, PAYERS);
    let payees = Leader::of_set(&cluster.nodes, PAYEES);
    [&payer, &neighbour].into_iter().for_each(|account| drop(payers.book(&open(account))));
    [&strict, &buffered].into_iter().for_each(|account| drop(payees.book(&open(account))));
    let (request_id, mode) = ("mode".to_owned(), PostingMode::Buffered);
    payees.book(&Command::SetPostingMode { request_id, account: buffered.clone(), mode });
    until("the payers' set need not ask", || {
        let led = cluster.nodes[leader(&cluster.nodes, PAYERS)].leads(PAYERS).ok_or("nobody leads")?;
        let known = led.ledger().unwrap().state.in_transit(&buffered).value;
        known.map(|_| ()).ok_or("it is not announced".to_owned())
    });
    let book = |command: &Command| {
        let outcome = payers.book(command);
        let (incarnation, position) = (outcome.incarnation, outcome.position);
        (TransactionId { set: PAYERS, incarnation, position }, outcome.result.unwrap())
    };

    let (own, effect) = book(&pay("p-1", &payer, &neighbour, ORDER));
    assert!(matches!(effect, Effect::Posted(_)), "{effect:?}");
    let (asked, effect) = book(&pay("p-2", &payer, &strict, ORDER));
    assert!(matches!(effect, Effect::Settled(_)), "{effect:?}");
    book(&pay("p-3", &payer, &strict, "another"));
    let (unasked, effect) = book(&pay("p-4", &payer, &buffered, ORDER));
    assert!(matches!(effect, Effect::Buffered { .. }), "{effect:?}");
    let reversal = Reversal {
        request_id: "back".to_owned(),
        transaction: asked,
        amount: Some(2.into()),
        legs: None,
        reason: 0,
        metadata: referring(ORDER),
    };
    let (back, _) = book(&Command::Reversal(reversal));
    // Refused where it is to be paid: nothing of it is booked.
    let refused = payers.submit(&[pay("p-5", &payer, "account-nobody-has", "refused")]).remove(0);
    assert!(refused.result.is_err(), "{refused:?}");
    until("the credit has arrived", || {
        match payers.whole(&unasked).legs.iter().filter(|leg| leg.in_transit).count() {
            0 => Ok(()),
            legs => Err(format!("{legs} legs are under way")),
        }
    });

    let wholes: Vec<api::Transaction> =
        [own, asked, unasked, back].iter().map(|id| payers.whole(id)).collect();
    assert_eq!(wholes[1].reversed_by, [back.to_string()]);
    for page_size in [1, 3, 100] {
        assert_eq!(payers.found(ORDER, page_size), wholes, "pages of {page_size}");
    }
    assert_eq!(payees.found(ORDER, 100), [], "of what is coordinated elsewhere there are parts here");
    assert_eq!(payers.found("refused", 100), []);

    let led = leader(&cluster.nodes, PAYERS);
    cluster.nodes.remove(led).die();
    cluster.dirs.remove(led);
    let payers = Leader::of_set(&cluster.nodes, PAYERS);
    let again = payers.book(&pay("p-6", &payer, &neighbour, ORDER));
    let found = payers.found(ORDER, 100);
    let ids: BTreeMap<&str, &api::Transaction> =
        found.iter().map(|found| (found.transaction.as_str(), found)).collect();
    assert_eq!((found.len(), ids.len()), (5, 5), "each once: {found:?}");
    assert_eq!(found[..4], wholes);
    assert!(found[4].position.is_some_and(|position| position.index == again.position.index()));
    let led = &cluster.nodes[leader(&cluster.nodes, PAYERS)];
    assert_eq!(led.metric(&format!("twinset_set_references_unread{{set=\"{PAYERS}\"}}")), 0);
    cluster.nodes.into_iter().for_each(Running::die);
}

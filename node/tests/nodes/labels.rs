//! What a client says of a payment is found in the payee's set, whichever way the money came there.

use std::collections::HashMap;

use twinset_ledger::account::Side;
use twinset_ledger::buffer::PostingMode;
use twinset_ledger::command::{Command, Leg, Metadata, Reversal, Transaction};
use twinset_ledger::{Effect, TransactionId};
use twinset_proto::cluster::v1 as wire;
use twinset_proto::ledger::v1 as api;
use wire::read_reply::Result as ReadResult;
use wire::read_request::Query;

use crate::asked::{Leader, accounts_of, open};
use crate::whole::{Cluster, Running, alone, leader, until};

const PAYERS: u32 = 1;
const PAYEES: u32 = 2;

fn order(no: u32) -> Metadata {
    Metadata::from([("order".to_owned(), no.to_string())])
}

/// All of a label.
type Said = (u32, u32, HashMap<String, String>);

fn said(kind: u32, reason: u32, no: u32) -> Said {
    (kind, reason, order(no).into_iter().collect())
}

fn pay(from: &str, to: &str, no: u32) -> Command {
    let legs = vec![Leg::new(from, Side::Debit, no.into()), Leg::new(to, Side::Credit, no.into())];
    Command::Transaction(Transaction {
        request_id: format!("pay-{no}"),
        legs,
        kind: 7,
        reason: 3,
        metadata: order(no),
        ..Transaction::default()
    })
}

impl Leader<'_> {
    /// The amounts and wholes of an account's lines that are asked for.
    fn labelled_lines(&self, asked: api::GetStatementRequest) -> Vec<(String, String, Said)> {
        match self.read(Query::Statement(asked)) {
            ReadResult::Statement(page) => {
                let line = |line: api::StatementLine| {
                    assert_eq!(line.request_id, "", "the payers' set keeps it");
                    (line.amount, line.part_of, (line.kind, line.reason, line.metadata))
                };
                page.lines.into_iter().map(line).collect()
            }
            other => panic!("{other:?}"),
        }
    }

    /// What is said of each whole whose part the set lists.
    fn listed(&self) -> HashMap<String, Said> {
        let asked = wire::ListTransactions { page_size: 100, ..Default::default() };
        match self.read(Query::List(asked)) {
            ReadResult::List(page) => page.transactions.into_iter().map(of_part).collect(),
            other => panic!("{other:?}"),
        }
    }

    /// The same of its events.
    fn told(&self) -> HashMap<String, Said> {
        let asked = wire::ReadEvents { page_size: 100, ..Default::default() };
        let events = match self.read(Query::Events(asked)) {
            ReadResult::Events(page) => page.events,
            other => panic!("{other:?}"),
        };
        let booked = events.into_iter().filter_map(|event| match event.what {
            Some(api::event::What::Booked(booked)) => booked.transaction,
            _ => None,
        });
        booked.map(of_part).collect()
    }
}

fn of_part(one: api::Transaction) -> (String, Said) {
    (one.part_of, (one.kind, one.reason, one.metadata))
}

#[test]
fn what_is_said_of_a_payment_is_found_at_the_payee() {
    let _alone = alone();
    let cluster = Cluster::start(&["a1", "a2", "b1", "b2"]);
    let [payer] = accounts_of(&cluster, PAYERS);
    let [strict, buffered] = accounts_of(&cluster, PAYEES);
    let payers = Leader::of_set(&cluster.nodes, PAYERS);
    let payees = Leader::of_set(&cluster.nodes, PAYEES);
    payers.book(&open(&payer));
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

    // Asked, taken back in part, and paid without asking; each beside another one.
    let (asked, effect) = book(&pay(&payer, &strict, 4711));
    assert!(matches!(effect, Effect::Settled(_)), "{effect:?}");
    let (other, _) = book(&pay(&payer, &strict, 1));
    let reversal = Reversal {
        request_id: "back".to_owned(),
        transaction: asked,
        amount: Some(11.into()),
        legs: None,
        reason: 9,
        metadata: order(4712),
    };
    let (back, effect) = book(&Command::Reversal(reversal));
    assert!(matches!(effect, Effect::Settled(_)), "{effect:?}");
    let (unasked, effect) = book(&pay(&payer, &buffered, 4713));
    assert!(matches!(effect, Effect::Buffered { .. }), "{effect:?}");
    let (another, _) = book(&pay(&payer, &buffered, 2));

    let whole =
        |account: &str| api::GetStatementRequest { account: account.to_owned(), ..Default::default() };
    until("the credits are there", || match payees.labelled_lines(whole(&buffered)).len() {
        2 => Ok(()),
        lines => Err(format!("{lines} lines")),
    });
    let by_order = |account: &str, no: u32| api::GetStatementRequest {
        metadata_key: "order".to_owned(),
        metadata_value: Some(no.to_string()),
        ..whole(account)
    };
    let line = |amount: &str, of: TransactionId, said| (amount.to_owned(), of.to_string(), said);
    let found = [
        payees.labelled_lines(by_order(&strict, 4711)),
        payees.labelled_lines(by_order(&strict, 4712)),
        payees.labelled_lines(by_order(&buffered, 4713)),
        payees.labelled_lines(by_order(&buffered, 4711)),
        payees.labelled_lines(api::GetStatementRequest { reason: Some(9), ..whole(&strict) }),
        payees.labelled_lines(api::GetStatementRequest { kind: Some(7), ..whole(&buffered) }),
    ];
    let reversed = line("11.00", back, said(0, 9, 4712));
    let credited = line("4713.00", unasked, said(7, 3, 4713));
    let expected = [
        vec![line("4711.00", asked, said(7, 3, 4711))],
        vec![reversed.clone()],
        vec![credited.clone()],
        Vec::new(),
        vec![reversed],
        vec![credited, line("2.00", another, said(7, 3, 2))],
    ];
    assert_eq!(found, expected);

    // Lists and events of either set say the same of all.
    let all = [
        (asked, said(7, 3, 4711)),
        (other, said(7, 3, 1)),
        (back, said(0, 9, 4712)),
        (unasked, said(7, 3, 4713)),
        (another, said(7, 3, 2)),
    ];
    let all: HashMap<String, Said> = all.into_iter().map(|(id, said)| (id.to_string(), said)).collect();
    for leader in [&payers, &payees] {
        assert_eq!(leader.listed(), all);
        assert_eq!(leader.told(), all);
    }
    cluster.nodes.into_iter().for_each(Running::die);
}

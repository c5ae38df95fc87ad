//! The past of an account as a node tells it: a statement whose cursor goes on at another leader while postings come in, and
//! the balance at every posting's time and position, before and after a restart from disk.

use twinset_ledger::account::Side;
use twinset_ledger::command::{Command, Leg, Metadata, Transaction};
use twinset_proto::cluster::v1::read_reply::Result as ReadResult;
use twinset_proto::cluster::v1::read_request::Query;
use twinset_proto::ledger::v1 as api;
use twinset_proto::ledger::v1::get_balance_request::At;

use crate::asked::{Leader, SET, open, own_accounts};
use crate::whole::{Cluster, Running, alone, leader};

const PAYMENTS: u32 = 60;

/// The `n`th payment is of `n` cents.
pub fn pay(n: u32, debit: &str, credit: &str) -> Command {
    let leg = |account, side| Leg::new(account, side, format!("0.{n:02}").parse().unwrap());
    Command::Transaction(Transaction {
        request_id: format!("pay-{n}"),
        legs: vec![leg(debit, Side::Debit), leg(credit, Side::Credit)],
        kind: (n % 2) as u16,
        accounting_date: Some(20_000 + (n % 3) as i32),
        metadata: Metadata::from([("order".to_owned(), format!("o-{}", n % 7))]),
        ..Transaction::default()
    })
}

impl Leader<'_> {
    fn page(&self, asked: api::GetStatementRequest) -> api::GetStatementReply {
        match self.read(Query::Statement(asked)) {
            ReadResult::Statement(page) => page,
            other => panic!("{other:?}"),
        }
    }

    /// All lines from a cursor on.
    fn lines(&self, mut asked: api::GetStatementRequest) -> Vec<api::StatementLine> {
        let mut lines = Vec::new();
        loop {
            let page = self.page(asked.clone());
            lines.extend(page.lines);
            if page.next.is_empty() {
                return lines;
            }
            asked.cursor = page.next;
        }
    }

    fn balance(&self, account: &str, at: Option<At>) -> ReadResult {
        let account = account.to_owned();
        self.read(Query::Balance(api::GetBalanceRequest { account, at, consistency: 0 }))
    }

    /// The balance at the time and at the index of each of these lines, before the first one, and now.
    fn balances(&self, account: &str, lines: &[api::StatementLine]) {
        let ask = |at| match self.balance(account, at) {
            ReadResult::Balance(balance) => balance,
            other => panic!("{other:?}"),
        };
        for line in lines {
            let position = line.position.unwrap();
            let then = ask(Some(At::TimeUnixNs(position.time_unix_ns)));
            assert_eq!((&then.posted, then.position), (&line.posted, Some(position)));
            let then = ask(Some(At::Index(position.index)));
            assert_eq!(then.posted, line.posted, "it was alone in its entry");
        }
        let before = ask(Some(At::TimeUnixNs(0)));
        assert_eq!((before.posted.as_str(), before.position), ("0.00", None));
        let now = ask(None);
        assert_eq!(now.posted, lines.last().unwrap().posted);
        let ahead = Some(At::Index(now.as_of.unwrap().index + 1_000));
        assert!(matches!(self.balance(account, ahead), ReadResult::NotFound(_)));
    }
}

#[test]
fn a_statement_goes_on_at_another_leader_and_after_a_restart() {
    let _alone = alone();
    let mut cluster = Cluster::start(&["a1", "a2", "b1", "b2"]);
    let [payer, payee] = own_accounts(&cluster);
    let whole = api::GetStatementRequest { account: payee.clone(), ..Default::default() };

    let ask = Leader::of(&cluster.nodes);
    let none = ask.read(Query::Statement(whole.clone()));
    assert!(matches!(none, ReadResult::NotFound(_)), "{none:?}");
    for account in [&payer, &payee] {
        ask.book(&open(account));
    }
    let empty = ask.page(whole.clone());
    assert_eq!((empty.lines.len(), empty.opening.as_deref()), (0, Some("0.00")));
    for n in 1..=PAYMENTS {
        ask.book(&pay(n, &payer, &payee));
    }
    let filtered = api::GetStatementRequest {
        kind: Some(1),
        from_date: "2024-10-05".to_owned(),
        min_amount: "0.1".to_owned(),
        metadata_key: "order".to_owned(),
        metadata_value: Some("o-2".to_owned()),
        ..whole.clone()
    };
    let found: Vec<String> = ask.lines(filtered).into_iter().map(|line| line.request_id).collect();
    let expected = (10..=PAYMENTS).filter(|n| n % 2 == 1 && n % 3 > 0 && n % 7 == 2);
    assert_eq!(found, expected.map(|n| format!("pay-{n}")).collect::<Vec<_>>());
    let malformed = api::GetStatementRequest { cursor: "2.1.0.0".to_owned(), ..whole.clone() };
    let refused = ask.read(Query::Statement(malformed));
    assert!(matches!(refused, ReadResult::Refused(_)), "{refused:?}");
    let first = ask.page(api::GetStatementRequest { page_size: Some(25), ..whole.clone() });
    assert_eq!(first.lines.len(), 25);

    // The leader dies; the next one is asked to go on, and more is booked meanwhile.
    let led = leader(&cluster.nodes, SET);
    cluster.nodes.remove(led).die();
    cluster.dirs.remove(led);
    let ask = Leader::of(&cluster.nodes);
    ask.book(&pay(PAYMENTS + 1, &payer, &payee));
    let rest = ask.lines(api::GetStatementRequest { cursor: first.next, ..whole.clone() });
    let all: Vec<api::StatementLine> = first.lines.into_iter().chain(rest).collect();
    assert_eq!(all.len(), PAYMENTS as usize + 1);
    let mut cents = 0;
    for (n, line) in (1..).zip(&all) {
        cents += n;
        assert_eq!((&line.request_id, &line.amount), (&format!("pay-{n}"), &format!("0.{n:02}")));
        assert_eq!(line.posted, format!("{}.{:02}", cents / 100, cents % 100));
    }
    ask.balances(&payee, &all);
    let backwards = api::GetStatementRequest {
        newest_first: true,
        page_size: Some(7),
        from_unix_ns: Some(all[10].position.unwrap().time_unix_ns),
        until_unix_ns: Some(all[50].position.unwrap().time_unix_ns),
        ..whole.clone()
    };
    let page = ask.page(backwards.clone());
    assert_eq!(page.opening.as_deref(), Some(all[9].posted.as_str()));
    assert_eq!(page.closing.as_deref(), Some(all[49].posted.as_str()));
    let mut found = ask.lines(backwards);
    found.reverse();
    assert_eq!(found, all[10..50]);

    // From disk, by whoever leads then.
    let name = |running: &Running| running.node.config.node.name.clone();
    let places: Vec<_> = cluster.nodes.iter().map(|running| (name(running), running.ports)).collect();
    cluster.nodes.iter().for_each(Running::ask_to_stop);
    cluster.nodes.drain(..).for_each(|running| running.ended().unwrap());
    let started = places.iter().zip(&cluster.dirs);
    cluster.nodes = started.map(|((name, ports), dir)| Running::start(name, *ports, dir.path())).collect();
    let ask = Leader::of(&cluster.nodes);
    assert_eq!(ask.lines(whole), all);
    ask.balances(&payee, &all);
    cluster.nodes.into_iter().for_each(Running::die);
}

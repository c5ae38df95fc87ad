//! Holds as nodes carry them: captured, read, put away by whoever leads when their time is over. And atomic batches and dry
//! runs.

use std::time::Duration;

use twinset_ledger::account::Side;
use twinset_ledger::check_back::OnExpiry;
use twinset_ledger::codec::decode_outcome;
use twinset_ledger::command::{Command, Leg, Metadata, Transaction};
use twinset_ledger::date::{parse_timestamp, timestamp};
use twinset_ledger::hold::{Capture, PlaceHold};
use twinset_ledger::{Effect, Rejection, TransactionId};
use twinset_proto::cluster::v1 as wire;
use twinset_proto::ledger::v1 as api;
use wire::read_reply::Result as ReadResult;
use wire::read_request::Query;

use crate::asked::{Leader, SET, encoded, open, own_accounts};
use crate::whole::clock::Clock;
use crate::whole::{Cluster, Running, alone, leader, until};

const HOUR: Duration = Duration::from_secs(3_600);

fn pay(id: &str, debit: &str, credit: &str, amount: i64, hold: Option<TransactionId>) -> Command {
    Command::Transaction(Transaction {
        request_id: id.to_owned(),
        scope_account: Some(debit.to_owned()),
        legs: vec![
            Leg::new(debit, Side::Debit, amount.into()),
            Leg::new(credit, Side::Credit, amount.into()),
        ],
        capture: hold.map(|hold| Capture { hold, is_final: false }),
        ..Transaction::default()
    })
}

fn hold(id: &str, account: &str, amount: i64, expires_ns: Option<u64>) -> Command {
    Command::PlaceHold(PlaceHold {
        request_id: id.to_owned(),
        account: account.to_owned(),
        amount: amount.into(),
        currency: None,
        expires_ns,
        on_expiry: OnExpiry::Release,
        reason: 0,
        metadata: Metadata::new(),
    })
}

impl Leader<'_> {
    pub fn place(&self, command: &Command) -> TransactionId {
        match self.book(command).result {
            Ok(Effect::Held(held)) => held.hold,
            other => panic!("{other:?}"),
        }
    }

    pub fn hold(&self, account: &str, hold: TransactionId) -> api::Hold {
        let key = wire::HoldKey { account: account.to_owned(), hold: hold.to_string() };
        match self.read(Query::Hold(key)) {
            ReadResult::Hold(found) => found.hold.unwrap(),
            other => panic!("{other:?}"),
        }
    }

    pub fn holds(&self, account: &str, state: api::HoldState) -> Vec<String> {
        let account = account.to_owned();
        let asked = wire::ListHolds { account, state: state.into(), after: String::new(), page_size: 100 };
        match self.read(Query::Holds(asked)) {
            ReadResult::Holds(page) => page.holds.into_iter().map(|hold| hold.hold).collect(),
            other => panic!("{other:?}"),
        }
    }

    /// Of all accounts, page by page.
    pub fn all_overdue(&self) -> Vec<String> {
        let (mut found, mut asked) = (Vec::new(), wire::ListOverdue { page_size: 1, ..Default::default() });
        loop {
            let ReadResult::Holds(page) = self.read(Query::Overdue(asked)) else { panic!("another answer") };
            assert!(page.holds.iter().all(|hold| hold.state() == api::HoldState::HoldOverdue), "{page:?}");
            found.extend(page.holds.iter().map(|hold| hold.hold.clone()));
            let Some(last) = page.holds.last().filter(|_| !page.next.is_empty()) else { return found };
            let (end, id) = (parse_timestamp(&last.expires_at), last.hold.parse::<TransactionId>());
            asked =
                wire::ListOverdue { from_end_ns: end.unwrap(), from: id.unwrap().position.0 + 1, ..asked };
        }
    }

    pub fn held(&self, account: &str) -> String {
        match self.read(Query::Account(account.to_owned())) {
            ReadResult::Account(found) => found.account.unwrap().held,
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_hold_outlives_its_leader_and_is_put_away_by_the_next_one() {
    let _alone = alone();
    let clock = Clock::new();
    let mut cluster = Cluster::on(&["a1", "a2", "b1", "b2"], clock.clone(), |_| {});
    let [alice, shop] = own_accounts(&cluster);
    let ask = Leader::of(&cluster.nodes);
    ask.book(&open(&alice));
    ask.book(&open(&shop));
    let lasting = ask.place(&hold("lasting", &alice, 40, None));
    let ending = clock.after(HOUR);
    let short = ask.place(&hold("short", &alice, 30, Some(ending)));
    ask.book(&pay("first", &alice, &shop, 10, Some(short)));
    assert_eq!(ask.held(&alice), "60.00");

    let led = leader(&cluster.nodes, SET);
    cluster.nodes.remove(led).die();
    cluster.dirs.remove(led);
    let ask = Leader::of(&cluster.nodes);
    ask.book(&pay("second", &alice, &shop, 5, Some(lasting)));
    clock.forward(HOUR);
    let found = until("its time is over and it was put away", || {
        let found = ask.hold(&alice, short);
        if found.journal.len() == 2 { Ok(found) } else { Err(format!("{found:?}")) }
    });
    assert_eq!(found.state(), api::HoldState::HoldExpired);
    assert_eq!(
        (found.captured.as_str(), found.released.as_str(), found.left.as_str()),
        ("10.00", "20.00", "0.00")
    );
    assert_eq!(found.expires_at, timestamp(ending));
    assert!(found.journal[1].position.unwrap().time_unix_ns >= ending, "not before its time: {found:?}");
    assert_eq!(ask.held(&alice), "35.00");
    assert_eq!(ask.holds(&alice, api::HoldState::HoldOpen), [lasting.to_string()]);
    assert_eq!(ask.holds(&alice, api::HoldState::HoldExpired), [short.to_string()]);
    let late = ask.submit(&[pay("third", &alice, &shop, 5, Some(short))]).remove(0);
    assert_eq!(late.result, Err(Rejection::HoldEnded { hold: short }));
    let key = wire::RequestKey { scope_account: alice, request_id: "short".to_owned() };
    let by_request = ask.read(Query::Request(key));
    assert!(
        matches!(&by_request, ReadResult::Hold(hold) if hold.hold.as_ref() == Some(&found)),
        "{by_request:?}"
    );
    cluster.nodes.into_iter().for_each(Running::die);
}

#[test]
fn an_atomic_batch_stands_or_falls_and_a_dry_run_leaves_nothing() {
    let _alone = alone();
    let cluster = Cluster::start(&["a1", "a2", "b1", "b2"]);
    let [alice, shop] = own_accounts(&cluster);
    let slots = cluster.catalogue.slot_table();
    let is_elsewhere = |id: &String| slots[usize::from(twinset_ledger::slot_of(id))] != SET;
    let far = (0..).map(|n| format!("far-{n}")).find(is_elsewhere).unwrap();
    let ask = Leader::of(&cluster.nodes);
    ask.book(&open(&alice));
    ask.book(&open(&shop));
    ask.book(&Command::SetLimit {
        request_id: "limit".into(),
        account: alice.clone(),
        limit: Some((-9).into()),
    });

    let commands = [
        pay("dry", &alice, &shop, 5, None),
        pay("more", &alice, &shop, 5, None),
        pay("across", &alice, &far, 4, None),
        pay("from-far", &far, &shop, 4, None),
    ];
    let ReadResult::DryRun(dry) =
        ask.read(Query::DryRun(wire::DryRun { commands: commands.iter().map(encoded).collect() }))
    else {
        panic!("another answer")
    };
    let outcomes: Vec<_> =
        dry.outcomes.iter().map(|dry| decode_outcome(&dry.outcome).unwrap().result).collect();
    assert!(matches!(outcomes[0], Ok(Effect::Posted(_))), "{outcomes:?}");
    assert!(matches!(outcomes[1], Err(Rejection::LimitExceeded { .. })), "{outcomes:?}");
    assert_eq!(outcomes[2], Ok(Effect::Begun));
    assert!(matches!(&outcomes[3], Ok(Effect::Prepared(sums)) if sums[0].credits == 400), "{outcomes:?}");
    let vote = decode_outcome(&dry.outcomes[2].vote).unwrap().result;
    assert!(matches!(&vote, Ok(Effect::Prepared(sums)) if sums[0].debits == 400), "{vote:?}");
    assert!(dry.outcomes[0].vote.is_empty());

    let there_and_back = |n: u16| {
        let (from, to) = if n.is_multiple_of(2) { (&alice, &shop) } else { (&shop, &alice) };
        encoded(&pay(&format!("many-{n}"), from, to, 1, None))
    };
    let mut many = vec![encoded(&Command::Together { count: 8_000 })];
    many.extend((0..8_000).map(there_and_back));
    let ReadResult::DryRun(dry) = ask.read(Query::DryRun(wire::DryRun { commands: many.clone() })) else {
        panic!("another answer")
    };
    let booked = |dry: &wire::DryOutcome| {
        matches!(decode_outcome(&dry.outcome).unwrap().result, Ok(Effect::Posted(_)))
    };
    assert!(dry.outcomes.len() == 8_001 && dry.outcomes[1..].iter().all(booked));
    many.push(there_and_back(8_000));
    let refused = ask.read(Query::DryRun(wire::DryRun { commands: many }));
    assert!(matches!(&refused, ReadResult::Refused(why) if why.detail.contains("8001")), "{refused:?}");

    let together = Command::Together { count: 2 };
    let refused = [together.clone(), pay("one", &alice, &shop, 5, None), pay("two", &alice, &shop, 5, None)];
    let outcomes: Vec<_> = ask.submit(&refused).into_iter().map(|outcome| outcome.result).collect();
    assert_eq!(outcomes[1], Err(Rejection::BatchRefused { item: 1 }));
    assert!(matches!(outcomes[2], Err(Rejection::LimitExceeded { .. })), "{outcomes:?}");
    let booked = [together, pay("three", &alice, &shop, 5, None), pay("four", &alice, &shop, 4, None)];
    let outcomes = ask.submit(&booked);
    assert!(outcomes.iter().all(|outcome| outcome.result.is_ok()), "{outcomes:?}");
    assert_eq!(ask.held(&alice), "0.00");
    cluster.nodes.into_iter().for_each(Running::die);
}

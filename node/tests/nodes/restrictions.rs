//! Restricted funds as nodes carry them: made under one leader, released on time by the next one.

use std::time::Duration;

use twinset_ledger::account::Side;
use twinset_ledger::command::{Command, Leg, LegKind, Transaction};
use twinset_ledger::date::timestamp;
use twinset_ledger::{Effect, Rejection, TransactionId};
use twinset_proto::cluster::v1 as wire;
use twinset_proto::ledger::v1 as api;
use wire::read_reply::Result as ReadResult;
use wire::read_request::Query;

use crate::asked::{Leader, SET, open, own_accounts};
use crate::whole::clock::Clock;
use crate::whole::{Cluster, Running, alone, leader, until};

const HOUR: Duration = Duration::from_secs(3_600);

fn pay(id: &str, debit: (&str, LegKind), credit: (&str, LegKind), amount: i64) -> Command {
    let leg = |(account, kind), side| Leg { kind, ..Leg::new(account, side, amount.into()) };
    Command::Transaction(Transaction {
        request_id: id.to_owned(),
        scope_account: Some(debit.0.to_owned()),
        legs: vec![leg(debit, Side::Debit), leg(credit, Side::Credit)],
        ..Transaction::default()
    })
}

impl Leader<'_> {
    /// The name of what a transaction has booked.
    fn restrict(&self, command: &Command) -> TransactionId {
        let outcome = self.book(command);
        TransactionId { set: SET, incarnation: outcome.incarnation, position: outcome.position }
    }

    fn restriction(&self, account: &str, name: TransactionId) -> api::Restriction {
        let key = wire::RestrictionKey { account: account.to_owned(), restriction: name.to_string() };
        match self.read(Query::Restriction(key)) {
            ReadResult::Restriction(found) => found.restriction.unwrap(),
            other => panic!("{other:?}"),
        }
    }

    fn restrictions(&self, account: &str, state: api::RestrictionState) -> Vec<String> {
        let asked = wire::ListRestrictions {
            account: account.to_owned(),
            state: state.into(),
            after: String::new(),
            page_size: 100,
        };
        match self.read(Query::Restrictions(asked)) {
            ReadResult::Restrictions(page) => {
                page.restrictions.into_iter().map(|one| one.restriction).collect()
            }
            other => panic!("{other:?}"),
        }
    }

    /// Restricted and withdrawable.
    fn funds(&self, account: &str) -> [String; 2] {
        match self.read(Query::Account(account.to_owned())) {
            ReadResult::Account(found) => {
                let account = found.account.unwrap();
                [account.restricted, account.withdrawable]
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_restriction_outlives_its_leader_and_is_released_on_time_by_the_next_one() {
    let _alone = alone();
    let clock = Clock::new();
    let mut cluster = Cluster::on(&["a1", "a2", "b1", "b2"], clock.clone(), |_| {});
    let [bank, alice] = own_accounts(&cluster);
    let ask = Leader::of(&cluster.nodes);
    ask.book(&open(&bank));
    ask.book(&open(&alice));
    let floor =
        Command::SetLimit { request_id: "floor".into(), account: alice.clone(), limit: Some(0.into()) };
    ask.book(&floor);
    let restricted = |until_ns| LegKind::Restricted { until_ns };
    let gets = |id: &str, kind, amount| pay(id, (&bank, LegKind::Ordinary), (&alice, kind), amount);
    ask.book(&gets("own", LegKind::Ordinary, 10));
    let lasting = ask.restrict(&gets("lasting", restricted(None), 40));
    let ending = clock.after(HOUR);
    let short = ask.restrict(&gets("short", restricted(Some(ending)), 30));
    assert_eq!(ask.funds(&alice), ["70.00", "10.00"]);

    let led = leader(&cluster.nodes, SET);
    cluster.nodes.remove(led).die();
    cluster.dirs.remove(led);
    let ask = Leader::of(&cluster.nodes);
    let release = Command::ReleaseRestriction {
        request_id: "release".into(),
        account: alice.clone(),
        restriction: lasting,
        amount: Some(5.into()),
    };
    assert!(matches!(ask.book(&release).result, Ok(Effect::Restricted(now)) if now.left == 3500));
    clock.forward(HOUR);
    let found = until("its time has come and it was put away", || {
        let found = ask.restriction(&alice, short);
        if found.ended.is_some() { Ok(found) } else { Err(format!("{found:?}")) }
    });
    assert_eq!(found.state(), api::RestrictionState::RestrictionExpired);
    assert_eq!((found.amount.as_str(), found.left.as_str()), ("30.00", "0.00"));
    assert_eq!(found.until, timestamp(ending));
    assert!(found.ended.unwrap().time_unix_ns >= ending, "not before its time: {found:?}");
    assert_eq!(ask.funds(&alice), ["35.00", "45.00"]);
    assert_eq!(ask.restrictions(&alice, api::RestrictionState::RestrictionOpen), [lasting.to_string()]);
    assert_eq!(ask.restrictions(&alice, api::RestrictionState::RestrictionExpired), [short.to_string()]);
    let withdraw =
        |id: &str, amount| pay(id, (&alice, LegKind::Withdrawal), (&bank, LegKind::Ordinary), amount);
    let much = ask.submit(&[withdraw("much", 46)]).remove(0);
    assert!(
        matches!(much.result, Err(Rejection::WithdrawableExceeded { withdrawable: 4500, .. })),
        "{much:?}"
    );
    ask.book(&withdraw("enough", 45));
    let key = wire::RequestKey { scope_account: alice, request_id: "release".to_owned() };
    let by_request = ask.read(Query::Request(key));
    assert!(matches!(by_request, ReadResult::Restriction(_)), "{by_request:?}");
    cluster.nodes.into_iter().for_each(Running::die);
}

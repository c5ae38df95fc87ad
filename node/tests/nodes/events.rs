//! Events as nodes tell them: who follows a set hears what is booked while it waits, goes on at the next leader and after a
//! restart without a gap, and hears nothing that both sites do not have yet.

use std::time::{Duration, Instant};

use api::hold_event::Change;
use bytes::Bytes;
use tonic::transport::Channel;
use twinset_ledger::account::Side;
use twinset_ledger::check_back::OnExpiry;
use twinset_ledger::codec::EntryBuilder;
use twinset_ledger::command::{Command, Leg, Metadata, Transaction};
use twinset_ledger::hold::{Capture, PlaceHold};
use twinset_ledger::{Effect, RULES_VERSION};
use twinset_node::dial;
use twinset_node::platform::System;
use twinset_proto::cluster::v1 as wire;
use twinset_proto::ledger::v1 as api;
use wire::read_reply::Result as ReadResult;
use wire::read_request::Query;
use wire::sets_client::SetsClient;

use crate::asked::{Leader, SET, encoded, open, own_accounts};
use crate::statement::pay;
use crate::whole::{CLUSTER, Cluster, Running, alone, leader, led, until};

const WAIT_MS: u32 = 8_000;

/// Follows a set page by page, from one leader to the next.
#[derive(Default)]
struct Follower {
    after: String,
    told: Vec<api::Event>,
}

impl Follower {
    fn page(&self, nodes: &[Running], wait_ms: u32) -> api::ListEventsReply {
        let asked = wire::ReadEvents { after: self.after.clone(), page_size: 7, wait_ms };
        match Leader::of(nodes).read(Query::Events(asked)) {
            ReadResult::Events(page) => page,
            other => panic!("{other:?}"),
        }
    }

    /// Until so many events are told.
    fn follow(&mut self, nodes: &[Running], count: usize) {
        while self.told.len() < count {
            let page = self.page(nodes, WAIT_MS);
            self.after = page.next;
            self.told.extend(page.events);
        }
    }

    /// Nothing is missing, nothing is told twice, and all payments are there in their order.
    fn check(&self, payments: u32) {
        let mut previous = String::new();
        let mut paid = Vec::new();
        for event in &self.told {
            assert_eq!(event.previous, previous, "{event:?}");
            previous.clone_from(&event.event);
            if let Some(api::event::What::Booked(booked)) = &event.what {
                let transaction = booked.transaction.as_ref().unwrap();
                assert!(transaction.legs.iter().all(|leg| leg.currency == "EUR"));
                assert_eq!(booked.postings.len(), 2);
                paid.push(transaction.request_id.clone());
            }
        }
        assert_eq!(paid, (1..=payments).map(|n| format!("pay-{n}")).collect::<Vec<_>>());
        let balance = |event: &api::Event| match &event.what {
            Some(api::event::What::Booked(booked)) => booked.postings[1].posted.clone(),
            other => panic!("{other:?}"),
        };
        let cents: u32 = (1..=payments).sum();
        assert_eq!(balance(self.told.last().unwrap()), format!("{}.{:02}", cents / 100, cents % 100));
    }
}

#[test]
fn a_follower_hears_everything_once_whoever_leads() {
    let _alone = alone();
    let mut cluster = Cluster::start(&["a1", "a2", "b1", "b2"]);
    let [payer, payee] = own_accounts(&cluster);
    let mut follower = Follower::default();

    // It waits while things happen.
    std::thread::scope(|scope| {
        let nodes = &cluster.nodes;
        scope.spawn(|| {
            for account in [&payer, &payee] {
                Leader::of(nodes).book(&open(account));
            }
            (1..=20).for_each(|n| drop(Leader::of(nodes).book(&pay(n, &payer, &payee))));
        });
        follower.follow(nodes, 22);
    });
    assert!(matches!(follower.told[0].what, Some(api::event::What::AccountOpened(_))));
    follower.check(20);
    let nothing = follower.page(&cluster.nodes, 50);
    assert!(nothing.events.is_empty() && !nothing.more, "{nothing:?}");
    let asked = wire::ReadEvents { after: format!("{SET}-7-1-0"), page_size: 1, wait_ms: 0 };
    let none = Leader::of(&cluster.nodes).read(Query::Events(asked));
    assert!(matches!(none, ReadResult::NotFound(_)), "{none:?}");

    // The leader dies; the next one goes on where it was.
    let led = leader(&cluster.nodes, SET);
    cluster.nodes.remove(led).die();
    cluster.dirs.remove(led);
    std::thread::scope(|scope| {
        let nodes = &cluster.nodes;
        scope.spawn(|| (21..=40).for_each(|n| drop(Leader::of(nodes).book(&pay(n, &payer, &payee)))));
        follower.follow(nodes, 42);
    });
    follower.check(40);

    // From disk, by whoever leads then: the same from the first one on.
    let name = |running: &Running| running.node.config.node.name.clone();
    let places: Vec<_> = cluster.nodes.iter().map(|running| (name(running), running.ports)).collect();
    cluster.nodes.iter().for_each(Running::ask_to_stop);
    cluster.nodes.drain(..).for_each(|running| running.ended().unwrap());
    let started = places.iter().zip(&cluster.dirs);
    cluster.nodes = started.map(|((name, ports), dir)| Running::start(name, *ports, dir.path())).collect();
    let mut again = Follower::default();
    again.follow(&cluster.nodes, 42);
    assert_eq!(again.told, follower.told);
    Leader::of(&cluster.nodes).book(&pay(41, &payer, &payee));
    follower.follow(&cluster.nodes, 43);
    follower.check(41);
    cluster.nodes.into_iter().for_each(Running::die);
}

/// Reads at that node, unconfirmed.
fn stale(running: &Running, after: &str, wait_ms: u32) -> ReadResult {
    let asked = wire::ReadEvents { after: after.to_owned(), page_size: 100, wait_ms };
    let request = wire::ReadRequest {
        cluster_id: CLUSTER.to_owned(),
        set: SET,
        incarnation: 1,
        deadline_ms: 10_000,
        consistency: api::Consistency::Stale.into(),
        query: Some(Query::Events(asked)),
    };
    running.runtime.block_on(async {
        let channel: Channel = dial::connect(&System, &running.ports[0].to_string()).await.unwrap();
        SetsClient::new(channel).read(request).await.unwrap().into_inner().result.unwrap()
    })
}

/// Sets five aside and books two of them, which gives the rest back.
fn hold_and_capture(nodes: &[Running], payer: &str, payee: &str) {
    let five = Command::PlaceHold(PlaceHold {
        request_id: "hold".to_owned(),
        account: payer.to_owned(),
        amount: "5".parse().unwrap(),
        currency: None,
        expires_ns: None,
        on_expiry: OnExpiry::Release,
        reason: 7,
        metadata: Metadata::new(),
    });
    let Ok(Effect::Held(held)) = Leader::of(nodes).book(&five).result else { panic!("it is held") };
    let leg = |account, side| Leg::new(account, side, "2".parse().unwrap());
    Leader::of(nodes).book(&Command::Transaction(Transaction {
        request_id: "capture".to_owned(),
        legs: vec![leg(payer, Side::Debit), leg(payee, Side::Credit)],
        scope_account: Some(payer.to_owned()),
        capture: Some(Capture { hold: held.hold, is_final: true }),
        ..Transaction::default()
    }));
}

fn check_hold_and_capture(placed: &api::Event, captured: &api::Event) {
    let Some(api::event::What::HoldPlaced(what)) = &placed.what else { panic!("{placed:?}") };
    let hold = what.hold.as_ref().unwrap();
    assert_eq!((hold.hold.as_str(), hold.left.as_str(), hold.reason), (placed.event.as_str(), "5.00", 7));
    assert_eq!((hold.currency.as_str(), what.available.as_str()), ("EUR", "-5.00"));
    assert_eq!((what.request_id.as_str(), what.changes.len()), ("hold", 0));
    let Some(api::event::What::Booked(what)) = &captured.what else { panic!("{captured:?}") };
    let transaction = what.transaction.as_ref().unwrap();
    let capture = transaction.capture.as_ref().unwrap();
    assert_eq!((&capture.hold, capture.r#final), (&hold.hold, true));
    let changes: Vec<_> = what.hold_changes.iter().filter_map(|change| change.change.clone()).collect();
    let by = captured.event.clone();
    assert_eq!(
        changes,
        [
            Change::Captured(api::HoldCaptured { amount: "2.00".to_owned(), transaction: by }),
            Change::Released("3.00".to_owned())
        ]
    );
    let after: Vec<_> = what.postings.iter().map(|posting| posting.available.as_str()).collect();
    assert_eq!(after, ["-2.00", "2.00"]);
}

#[test]
fn what_one_site_alone_has_is_not_told() {
    let _alone = alone();
    let mut cluster = Cluster::start(&["a1", "a2", "b1", "b2"]);
    let [payer, payee] = own_accounts(&cluster);
    for account in [&payer, &payee] {
        Leader::of(&cluster.nodes).book(&open(account));
    }
    let mut follower = Follower::default();
    hold_and_capture(&cluster.nodes, &payer, &payee);
    follower.follow(&cluster.nodes, 4);
    check_hold_and_capture(&follower.told[2], &follower.told[3]);
    for _ in 0..2 {
        let away = cluster.nodes.iter().position(|running| running.node.config.node.site == "B").unwrap();
        cluster.nodes.remove(away).die();
    }
    let (at, replica) = led(&cluster.nodes, SET);
    let led = &cluster.nodes[at];
    let mut entry = EntryBuilder::new(RULES_VERSION, replica.fence.incarnation, 1_700_000_000_000_000_000);
    entry.push_command_bytes(&encoded(&pay(1, &payer, &payee)));
    let entry = Bytes::from(entry.finish());
    let applied = || replica.ledger().unwrap().state.applied().log_id.map_or(0, |last| last.index);
    let before = applied();
    let _booked = led.runtime.block_on(async { replica.group.propose(entry).await.unwrap() });
    until("the leader has booked it", || match applied() > before {
        true => Ok(()),
        false => Err(format!("{before} is applied")),
    });
    let began = Instant::now();
    match stale(led, &follower.after, 300) {
        ReadResult::Events(page) => {
            assert!(page.events.is_empty() && !page.more, "{page:?}");
            assert!(page.as_of[0].index <= before, "{page:?}");
        }
        other => panic!("{other:?}"),
    }
    assert!(began.elapsed() >= Duration::from_millis(300), "it has waited for more");
    let state = replica.ledger().unwrap().state.clone();
    let all = state.events(Default::default(), 10, u64::MAX).unwrap().value.unwrap().events;
    assert!(matches!(&all[4].command, Command::Transaction(booked) if booked.request_id == "pay-1"));
    drop(replica);
    cluster.nodes.into_iter().for_each(Running::die);
}

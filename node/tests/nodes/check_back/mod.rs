//! Overdue holds that are checked back, by whole nodes and against a real HTTP server: what is made of each answer, and that
//! tries and confirmations count once, whoever leads.

mod initiator;

use std::collections::BTreeSet;
use std::sync::mpsc;
use std::time::{Duration, SystemTime};

use initiator::{Call, Initiator, Reaction, answer, confirm, say};
use serde_json::json;
use twinset_ledger::check_back::{CheckBack, OnExpiry};
use twinset_ledger::command::{Command, Metadata};
use twinset_ledger::date::parse_timestamp;
use twinset_ledger::hold::PlaceHold;
use twinset_ledger::{Effect, Rejection, TransactionId};
use twinset_node::check_back::LastResort;
use twinset_node::config::Config;
use twinset_proto::cluster::v1::read_reply::Result as ReadResult;
use twinset_proto::ledger::v1 as api;

use crate::asked::{Leader, SET, open, own_accounts};
use crate::whole::{Cluster, DEADLINE, Running, alone, counted, leader, led, until};

const NODES: [&str; 4] = ["a1", "a2", "b1", "b2"];

fn cluster(initiators: &[&Initiator], change: impl Fn(&mut Config)) -> Cluster {
    Cluster::configured(&NODES, |config| {
        let dir = config.node.data_dir.clone();
        config.initiators = initiators.iter().map(|one| one.config(&dir)).collect();
        change(config);
    })
}

/// A hold whose time is over so soon.
fn ending(soon: Duration, id: &str, account: &str, amount: i64, (initiator, to): (&str, &str)) -> Command {
    let soon = SystemTime::now() + soon;
    let soon = soon.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_nanos() as u64;
    Command::PlaceHold(PlaceHold {
        request_id: id.to_owned(),
        account: account.to_owned(),
        amount: amount.into(),
        currency: None,
        expires_ns: Some(soon),
        on_expiry: OnExpiry::CheckBack(CheckBack { initiator: initiator.to_owned(), to: to.to_owned() }),
        reason: 0,
        metadata: Metadata::new(),
    })
}

impl Leader<'_> {
    /// Places a hold whose time is over soon after: again with more time, if it was over before.
    fn overdue(&self, id: &str, account: &str, amount: i64, asked: (&str, &str)) -> TransactionId {
        let mut soon = Duration::from_secs(3);
        for no in 0.. {
            let hold = ending(soon, &format!("{id}-{no}"), account, amount, asked);
            match self.submit(&[hold]).remove(0).result {
                Ok(Effect::Held(held)) => return held.hold,
                Err(Rejection::ExpiryTooEarly { .. }) if soon < DEADLINE => soon *= 2,
                other => panic!("{other:?}"),
            }
        }
        unreachable!("it is placed in time")
    }

    fn until(&self, account: &str, hold: TransactionId, state: api::HoldState) -> api::Hold {
        until(&format!("the hold is {state:?}"), || {
            let found = self.hold(account, hold);
            if found.state() == state { Ok(found) } else { Err(format!("{found:?}")) }
        })
    }

    fn posted(&self, account: &str) -> String {
        use twinset_proto::cluster::v1::{read_reply, read_request};
        match self.read(read_request::Query::Account(account.to_owned())) {
            read_reply::Result::Account(found) => found.account.unwrap().posted,
            other => panic!("{other:?}"),
        }
    }
}

/// The tries of a hold as its journal has them: what came of each, and why.
fn tries(hold: &api::Hold) -> Vec<String> {
    let tried = hold.journal.iter().filter_map(|event| match event.change.as_ref()? {
        api::hold_event::Change::CheckedBack(tried) => Some(tried),
        _ => None,
    });
    let mut found = Vec::new();
    for (no, tried) in (1..).zip(tried) {
        assert_eq!(tried.number, no, "{hold:?}");
        found.push(if tried.why.is_empty() { tried.result.clone() } else { tried.why.clone() });
    }
    found
}

#[test]
fn what_an_initiator_says_is_done() {
    let _alone = alone();
    let shop =
        Initiator::start("shop", |_, call| match (call.body["amount"].as_str(), call.body["try"].as_u64()) {
            (Some("7.00"), _) => say(call, "cancel"),
            (_, Some(1 | 2)) => say(call, "pending"),
            _ => confirm(call, "19.50"),
        });
    let cluster = cluster(&[&shop], |_| {});
    let [alice, bob] = own_accounts(&cluster);
    let ask = Leader::of(&cluster.nodes);
    ask.book(&open(&alice));
    ask.book(&open(&bob));
    let hold = ask.overdue("paid", &alice, 30, ("shop", &bob));
    let found = ask.until(&alice, hold, api::HoldState::HoldCaptured);
    assert_eq!(tries(&found), ["pending", "pending", "confirmed"]);
    assert_eq!((found.captured.as_str(), found.released.as_str()), ("19.50", "10.50"));
    assert_eq!((ask.posted(&bob).as_str(), ask.held(&alice).as_str()), ("19.50", "0.00"));
    assert_eq!(found.check_back.unwrap().tries, 3);
    let paid = ask.by_request(&alice, &format!("~confirm-{hold}-3"));
    let ReadResult::Transaction(paid) = &paid else { panic!("{paid:?}") };
    assert_eq!(paid.transaction.as_ref().unwrap().legs[0].amount, "19.50");

    let calls = shop.calls();
    let keys: Vec<&str> = calls.iter().map(|call| call.header("idempotency-key")).collect();
    let key = |no| format!("{hold}-{no}");
    assert_eq!(keys, [key(1), key(2), key(3)]);
    let expected = json!({
        "hold": hold.to_string(), "account": alice, "to": bob, "amount": "30.00", "left": "30.00",
        "currency": "EUR", "expires_at": found.expires_at, "try": 2, "set": SET,
    });
    assert_eq!(calls[1].body, expected);

    let hold = ask.overdue("cancelled", &alice, 7, ("shop", &bob));
    let found = ask.until(&alice, hold, api::HoldState::HoldReleased);
    assert_eq!((tries(&found), found.released.as_str()), (vec!["cancelled".to_owned()], "7.00"));
    let calls = |result| {
        let line = "twinset_node_check_back_calls_total{initiator=\"shop\",result=";
        counted(&cluster.nodes, &format!("{line}\"{result}\"}}"))
    };
    assert_eq!(["pending", "confirm", "cancel", "timed_out"].map(calls), [2, 1, 1, 0]);

    // Nobody but who is configured, and nothing that nodes alone may say.
    let refused = |command: &Command| ask.refused(command);
    assert!(refused(&ending(DEADLINE, "other", &alice, 1, ("nobody", &bob))).contains("no initiator nobody"));
    let kept = Command::CheckedBack(twinset_ledger::CheckedBack {
        hold,
        no: 1,
        came: twinset_ledger::check_back::Came::Kept,
    });
    assert!(refused(&kept).contains("only nodes"));
    cluster.nodes.into_iter().for_each(Running::die);
}

#[test]
fn lies_silence_and_death_are_failed_tries_and_delay_nobody_else() {
    let _alone = alone();
    let elsewhere = Initiator::start("elsewhere", |_, _| panic!("nobody calls it"));
    let to = elsewhere.address;
    let lies = move |before: usize, call: &Call| match before {
        0 => confirm(call, "30.01"),
        1 => confirm(call, "-1.00"),
        2 => Reaction::Say(json!({ "hold": "1-1-1-0", "answer": "cancel" })),
        3 => Reaction::Send(answer("500 Oops", "")),
        4 => Reaction::Send(
            format!("HTTP/1.1 302 Found\r\nlocation: http://{to}/holds?of=test\r\ncontent-length: 0\r\n\r\n")
                .into_bytes(),
        ),
        5 => Reaction::Send(answer("200 OK", &"x".repeat(100_000))),
        6 => Reaction::Send(answer("200 OK", "cancel")),
        7 => Reaction::Hang,
        8 => Reaction::Drip,
        9 => Reaction::Close,
        _ => confirm(call, "30.00"),
    };
    let liar = Initiator::start("liar", lies);
    let silent = Initiator::start("silent", |_, _| Reaction::Hang);
    let cluster = cluster(&[&liar, &silent], |config| config.initiators[1].timeout_ms = 60_000);
    let [alice, bob] = own_accounts(&cluster);
    let ask = Leader::of(&cluster.nodes);
    ask.book(&open(&alice));
    ask.book(&open(&bob));
    let silently: Vec<_> =
        (0..3).map(|no| ask.overdue(&format!("silent-{no}"), &alice, 1, ("silent", &bob))).collect();
    until("as many calls hang as may", || {
        (silent.calls().len() == 2).then_some(()).ok_or("not yet".to_owned())
    });
    let hold = ask.overdue("lies", &alice, 30, ("liar", &bob));
    let found = ask.until(&alice, hold, api::HoldState::HoldCaptured);
    let lie = "bad_answer";
    let expected = [
        lie,
        lie,
        lie,
        "bad_status",
        "bad_status",
        lie,
        lie,
        "timed_out",
        "timed_out",
        "unreachable",
        "confirmed",
    ];
    assert_eq!(tries(&found), expected);
    assert_eq!(ask.posted(&bob), "30.00");
    assert_eq!(silent.calls().len(), 2, "its other hold waits for its turn");
    for hold in silently {
        assert_eq!(ask.hold(&alice, hold).state(), api::HoldState::HoldOverdue);
    }
    assert!(elsewhere.calls().is_empty());

    // It dies, and comes back.
    liar.lives(false);
    let hold = ask.overdue("dead", &alice, 30, ("liar", &bob));
    until("it was called in vain", || {
        let tries = tries(&ask.hold(&alice, hold));
        if tries.len() > 2 { Ok(()) } else { Err(format!("{tries:?}")) }
    });
    liar.lives(true);
    let found = ask.until(&alice, hold, api::HoldState::HoldCaptured);
    assert!(tries(&found).iter().rev().skip(1).all(|why| why == "unreachable"), "{found:?}");
    cluster.nodes.into_iter().for_each(Running::die);
}

#[test]
fn tries_go_on_when_a_leader_dies_with_an_answer_that_is_not_in_the_log() {
    let _alone = alone();
    let (answers, answer) = mpsc::channel::<()>();
    let answer = parking_lot::Mutex::new(answer);
    let shop = Initiator::start("shop", move |before, call| match before {
        0..2 => say(call, "pending"),
        // The answer comes when the test says so.
        2 => {
            answer.lock().recv().unwrap();
            confirm(call, "12.00")
        }
        _ => confirm(call, "12.00"),
    });
    let mut cluster = cluster(&[&shop], |config| {
        config.initiators[0].timeout_ms = 20_000;
        config.initiators[0].back_off_first_ms = 300;
        config.initiators[0].back_off_max_ms = 300;
    });
    let [alice, bob] = own_accounts(&cluster);
    let ask = Leader::of(&cluster.nodes);
    ask.book(&open(&alice));
    ask.book(&open(&bob));
    let hold = ask.overdue("paid", &alice, 30, ("shop", &bob));
    until("the third call is under way", || {
        (shop.calls().len() == 3).then_some(()).ok_or("not yet".to_owned())
    });
    // Nothing gets into the log any more, and the answer comes: the leader dies with it.
    let (led, replica) = led(&cluster.nodes, SET);
    let dying = cluster.nodes.remove(led);
    let pause = dying.runtime.block_on(replica.ledger().unwrap().proposer.pause());
    answers.send(()).unwrap();
    let line = "twinset_node_check_back_calls_total{initiator=\"shop\",result=\"confirm\"}";
    until("it has heard the answer", || {
        let (_, _, text) = dying.get("/metrics");
        let heard = text.lines().any(|found| found == format!("{line} 1"));
        heard.then_some(()).ok_or("not yet".to_owned())
    });
    dying.die();
    drop((replica, pause));
    cluster.dirs.remove(led);

    let ask = Leader::of(&cluster.nodes);
    let found = ask.until(&alice, hold, api::HoldState::HoldCaptured);
    assert_eq!(tries(&found), ["pending", "pending", "confirmed"]);
    assert_eq!((ask.posted(&bob).as_str(), ask.held(&alice).as_str()), ("12.00", "0.00"));
    let calls = shop.calls();
    let keys: Vec<&str> = calls.iter().map(|call| call.header("idempotency-key")).collect();
    let key = |no| format!("{hold}-{no}");
    assert_eq!(keys[..4], [key(1), key(2), key(3), key(3)], "the next leader asks the same again");
    // So may the one after it: a busy machine changes leaders.
    assert!(keys[4..].iter().all(|again| *again == key(3)), "{keys:?}");
    cluster.nodes.into_iter().for_each(Running::die);
}

#[test]
fn after_the_last_try_comes_the_last_resort() {
    let _alone = alone();
    let names = ["keeps", "releases", "confirms"];
    let all = names.map(|name| Initiator::start(name, |_, call| say(call, "pending")));
    let resorts = [LastResort::Keep, LastResort::Release, LastResort::Confirm];
    let cluster = cluster(&all.each_ref(), |config| {
        for (one, resort) in config.initiators.iter_mut().zip(resorts) {
            (one.tries, one.last_resort) = (3, resort);
        }
    });
    let [alice, bob] = own_accounts(&cluster);
    let ask = Leader::of(&cluster.nodes);
    ask.book(&open(&alice));
    ask.book(&open(&bob));
    let [keeps, releases, confirms] = names.map(|name| ask.overdue(name, &alice, 10, (name, &bob)));
    let asked = |last: &str| ["pending", "pending", "pending", last].map(str::to_owned).to_vec();
    let found = ask.until(&alice, releases, api::HoldState::HoldReleased);
    assert_eq!(tries(&found), asked("released"));
    let found = ask.until(&alice, confirms, api::HoldState::HoldCaptured);
    assert_eq!(tries(&found), asked("confirmed"));
    let found = until("it is kept", || {
        let found = ask.hold(&alice, keeps);
        if found.check_back.as_ref().unwrap().kept { Ok(found) } else { Err(format!("{found:?}")) }
    });
    assert_eq!((tries(&found), found.state()), (asked("kept"), api::HoldState::HoldOverdue));
    assert_eq!((ask.posted(&bob).as_str(), ask.held(&alice).as_str()), ("10.00", "10.00"));
    assert_eq!(ask.holds(&alice, api::HoldState::HoldOverdue), [keeps.to_string()]);
    assert_eq!(ask.all_overdue(), [keeps.to_string()]);
    for one in &all {
        assert_eq!(one.calls().len(), 3, "{}", one.name);
        let line = format!("twinset_node_check_backs_exhausted_total{{initiator=\"{}\"}}", one.name);
        assert_eq!(counted(&cluster.nodes, &line), 1);
    }
    let kept = format!("twinset_set_holds_overdue{{set=\"{SET}\",waits=\"kept\"}}");
    assert_eq!(cluster.nodes[leader(&cluster.nodes, SET)].metric(&kept), 1);
    assert_eq!(listed_metrics(&cluster.nodes[0]), 3);
    // A person ends it.
    ask.book(&Command::ReleaseHold {
        request_id: "by-hand".to_owned(),
        account: alice.clone(),
        hold: keeps,
        amount: None,
    });
    assert_eq!(ask.held(&alice), "0.00");
    cluster.nodes.into_iter().for_each(Running::die);
}

/// A call that does not end writes nothing down, so that the ledger time of the set stands still.
#[test]
fn what_is_overdue_is_listed_while_nothing_is_written_about_it() {
    let _alone = alone();
    let silent = Initiator::start("silent", |_, _| Reaction::Hang);
    let cluster = cluster(&[&silent], |config| config.initiators[0].timeout_ms = 60_000);
    let [alice, bob] = own_accounts(&cluster);
    let ask = Leader::of(&cluster.nodes);
    ask.book(&open(&alice));
    ask.book(&open(&bob));
    let later = Duration::from_secs(3_600);
    ask.place(&ending(later, "later", &alice, 1, ("silent", &bob)));
    let held = [(&alice, &bob), (&bob, &alice)];
    let mut expected: Vec<(u64, String)> = (0..)
        .zip(held)
        .map(|(no, (account, to))| {
            let hold = ask.overdue(&format!("silent-{no}"), account, 5, ("silent", to));
            (parse_timestamp(&ask.hold(account, hold).expires_at).unwrap(), hold.to_string())
        })
        .collect();
    expected.sort();
    let expected: Vec<String> = expected.into_iter().map(|(_, hold)| hold).collect();
    until("both are listed, the longer overdue first", || {
        let found = ask.all_overdue();
        if found == expected { Ok(()) } else { Err(format!("{found:?}")) }
    });
    cluster.nodes.into_iter().for_each(Running::die);
}

/// Fewer tries are allowed than there were: the last resort is taken at once, and is no less said for that.
#[test]
fn a_last_resort_is_counted_however_many_tries_came_before_it() {
    let _alone = alone();
    let shop = Initiator::start("shop", |_, call| say(call, "pending"));
    let mut cluster = cluster(&[&shop], |config| {
        config.initiators[0].back_off_first_ms = 20;
        config.initiators[0].back_off_max_ms = 20;
    });
    let [alice, bob] = own_accounts(&cluster);
    let ask = Leader::of(&cluster.nodes);
    ask.book(&open(&alice));
    ask.book(&open(&bob));
    let hold = ask.overdue("pending", &alice, 10, ("shop", &bob));
    until("it was asked about some times", || {
        let tries = tries(&ask.hold(&alice, hold)).len();
        if tries > 3 { Ok(()) } else { Err(format!("{tries} times")) }
    });
    let configs: Vec<(Config, _)> =
        cluster.nodes.iter().map(|running| (running.node.config.clone(), running.ports)).collect();
    cluster.nodes.into_iter().for_each(Running::die);
    cluster.nodes = Vec::new();
    for (mut config, ports) in configs {
        config.initiators[0].tries = 2;
        cluster.nodes.push(Running::configured(config, ports).unwrap());
    }
    let ask = Leader::of(&cluster.nodes);
    let found = until("it is kept", || {
        let found = ask.hold(&alice, hold);
        if found.check_back.as_ref().unwrap().kept { Ok(found) } else { Err(format!("{found:?}")) }
    });
    assert_eq!(tries(&found).last().unwrap(), "kept");
    let line = "twinset_node_check_backs_exhausted_total{initiator=\"shop\"}";
    assert_eq!(counted(&cluster.nodes, line), 1);
    cluster.nodes.into_iter().for_each(Running::die);
}

/// How many metrics of calls there are; each is on the page.
fn listed_metrics(running: &Running) -> usize {
    let page = include_str!("../../../../docs/reference/metrics.md");
    let section = page.split("\n## ").find(|section| section.starts_with("Check-back")).unwrap();
    let (_, _, text) = running.get("/metrics");
    let names = text.lines().filter_map(|line| line.strip_prefix("# HELP twinset_node_check_back"));
    let names: BTreeSet<&str> = names.collect();
    for line in &names {
        let (name, meaning) = line.split_once(' ').unwrap();
        let row = |row: &&str| row.contains(&format!("check_back{name}`")) && row.contains(meaning);
        assert!(section.lines().any(|line| row(&line)), "{line}");
    }
    names.len()
}

#[test]
fn a_confirmation_pays_an_account_of_another_set() {
    let _alone = alone();
    let shop = Initiator::start("shop", |_, call| confirm(call, "4.00"));
    let cluster = cluster(&[&shop], |config| {
        (config.initiators[0].back_off_first_ms, config.initiators[0].back_off_max_ms) = (200, 200);
    });
    let [alice] = own_accounts(&cluster);
    let slots = cluster.catalogue.slot_table();
    let is_elsewhere = |id: &String| slots[usize::from(twinset_ledger::slot_of(id))] != SET;
    let far = (0..).map(|n| format!("far-{n}")).find(is_elsewhere).unwrap();
    let ask = Leader::of(&cluster.nodes);
    ask.book(&open(&alice));
    let hold = ask.overdue("first", &alice, 10, ("shop", &far));
    // There is no such account yet: what was confirmed is refused, and asked for again.
    until("it is refused", || {
        let tries = tries(&ask.hold(&alice, hold));
        if tries.iter().any(|why| why == "account_not_found") { Ok(()) } else { Err(format!("{tries:?}")) }
    });
    let other = cluster.catalogue.sets.keys().copied().find(|set| *set != SET).unwrap();
    Leader::of_set(&cluster.nodes, other).book(&open(&far));
    let found = ask.until(&alice, hold, api::HoldState::HoldCaptured);
    assert_eq!((found.captured.as_str(), found.released.as_str()), ("4.00", "6.00"));
    assert_eq!(tries(&found).last().unwrap(), "confirmed");
    // The hold says what is decided; the other set books its part after that.
    until("the other set has booked its part", || {
        let posted = Leader::of_set(&cluster.nodes, other).posted(&far);
        if posted == "4.00" { Ok(()) } else { Err(posted) }
    });
    let captures = found.journal.iter().filter_map(|event| match event.change.as_ref()? {
        api::hold_event::Change::Captured(captured) => Some(captured.transaction.clone()),
        _ => None,
    });
    assert_eq!(captures.count(), 1);
    cluster.nodes.into_iter().for_each(Running::die);
}

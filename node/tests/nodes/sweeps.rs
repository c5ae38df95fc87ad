//! Sweeps as nodes run them: by interval, threshold and day-cut, within a set and over two, and each run once, whoever leads.

use std::time::Duration;

use twinset_ledger::command::{Command, Leg, Transaction};
use twinset_ledger::{FreezeMode, Schedule, SetSweep, Side, slot_of};
use twinset_node::config::Config;
use twinset_node::platform::Platform;
use twinset_proto::cluster::v1 as wire;
use twinset_proto::ledger::v1 as api;
use wire::read_reply::Result as ReadResult;
use wire::read_request::Query;

use crate::asked::{Leader, SET, open, own_accounts};
use crate::whole::clock::Clock;
use crate::whole::{Cluster, Running, alone, counted, leader, led, until};

const NODES: [&str; 4] = ["a1", "a2", "b1", "b2"];
const FAR: u32 = 2;
const DAY: Duration = Duration::from_secs(86_400);
const HOUR: Duration = Duration::from_secs(3_600);

fn sweep(id: &str, account: &str, to: &str, keep: i64, schedule: Schedule) -> Command {
    let (request_id, account, to) = (id.to_owned(), account.to_owned(), to.to_owned());
    Command::SetSweep(SetSweep { request_id, account, to, keep: keep.into(), schedule })
}

fn pay(id: &str, from: &str, to: &str, amount: i64) -> Command {
    let legs = vec![Leg::new(from, Side::Debit, amount.into()), Leg::new(to, Side::Credit, amount.into())];
    Command::Transaction(Transaction { request_id: id.to_owned(), legs, ..Transaction::default() })
}

impl Leader<'_> {
    fn sweep(&self, account: &str) -> api::Sweep {
        match self.read(Query::Sweep(account.to_owned())) {
            ReadResult::Sweep(found) => found.sweep.unwrap(),
            other => panic!("{other:?}"),
        }
    }

    /// What became of a request id.
    pub fn by_request(&self, account: &str, id: &str) -> ReadResult {
        self.read(Query::Request(wire::RequestKey {
            scope_account: account.to_owned(),
            request_id: id.to_owned(),
        }))
    }

    fn until_posted(&self, account: &str, posted: &str) {
        until(&format!("{account} has {posted}"), || match self.read(Query::Account(account.to_owned())) {
            ReadResult::Account(found) => {
                let found = found.account.unwrap().posted;
                if found == posted { Ok(()) } else { Err(found) }
            }
            other => panic!("{other:?}"),
        });
    }

    fn events(&self) -> Vec<api::event::What> {
        let asked = wire::ReadEvents { after: String::new(), page_size: 1_000, wait_ms: 0 };
        let ReadResult::Events(page) = self.read(Query::Events(asked)) else { panic!("a page") };
        page.events.into_iter().filter_map(|event| event.what).collect()
    }

    /// The transaction of the run of that number of a sweep, as the events tell it.
    fn run(&self, sweep: &api::Sweep, run: u32) -> api::Transaction {
        let request_id = format!("~sweep-{}-{run}", sweep.sweep);
        let booked = self.events().into_iter().filter_map(|what| match what {
            api::event::What::Booked(booked) => booked.transaction,
            _ => None,
        });
        let of_run: Vec<api::Transaction> = booked.filter(|one| one.request_id == request_id).collect();
        let [one] = &of_run[..] else { panic!("once: {of_run:?}") };
        one.clone()
    }
}

#[test]
fn intervals_and_thresholds_are_swept_within_a_set_and_over_two() {
    let _alone = alone();
    let cluster = Cluster::start(&NODES);
    let [bank, till, main, shop] = own_accounts(&cluster);
    let slots = cluster.catalogue.slot_table();
    let mut ids = (0..).map(|n| format!("account-{n}"));
    let far = ids.find(|id| slots[usize::from(slot_of(id))] == FAR).unwrap();
    let ask = Leader::of(&cluster.nodes);
    [&bank, &till, &main, &shop].into_iter().for_each(|account| drop(ask.book(&open(account))));
    let far_set = Leader::of_set(&cluster.nodes, FAR);
    far_set.book(&open(&far));

    ask.book(&pay("p1", &bank, &till, 100));
    ask.book(&sweep("s1", &till, &main, 10, Schedule::Every { seconds: 1, from_ns: None }));
    ask.until_posted(&main, "90.00");
    ask.book(&pay("p2", &bank, &till, 5));
    ask.until_posted(&main, "95.00");
    let swept = ask.sweep(&till);
    let moved = ask.run(&swept, 1);
    assert_eq!(moved.metadata["twinset.sweep"], swept.sweep);
    assert_eq!(moved.legs[0].amount, "90.00");
    let found = ask.by_request(&till, &format!("~sweep-{}-1", swept.sweep));
    assert!(
        matches!(&found, ReadResult::Transaction(one) if one.transaction.as_ref() == Some(&moved)),
        "{found:?}"
    );
    let none = ask.by_request(&till, &format!("~sweep-{}-99", swept.sweep));
    assert!(matches!(none, ReadResult::NotFound(_)), "{none:?}");
    let impossible = ask.by_request(&till, "~sweep-of-nothing");
    assert!(matches!(impossible, ReadResult::Refused(_)), "{impossible:?}");
    let list = Query::Sweeps(wire::ListSweeps { after: String::new(), page_size: 10 });
    let ReadResult::Sweeps(page) = ask.read(list) else { panic!("a page") };
    let listed: Vec<&str> = page.sweeps.iter().map(|sweep| sweep.account.as_str()).collect();
    assert_eq!((listed, page.next.as_str()), (vec![till.as_str()], ""));

    ask.book(&sweep("s2", &shop, &far, 5, Schedule::Above { amount: 20.into() }));
    ask.book(&pay("p3", &bank, &shop, 20));
    ask.book(&pay("p4", &bank, &shop, 1));
    far_set.until_posted(&far, "16.00");
    until("its end is written down", || {
        let found = ask.sweep(&shop);
        if (found.runs, found.open.as_str()) == (1, "") { Ok(()) } else { Err(format!("{found:?}")) }
    });
    let counted =
        |end: &str| counted(&cluster.nodes, &format!("twinset_node_sweep_runs_total{{end=\"{end}\"}}"));
    // The leader hears of an end after the log has it.
    until("what moved is counted", || {
        let moved = counted("moved");
        if moved >= 3 { Ok(()) } else { Err(format!("{moved} so far")) }
    });
    assert_eq!(counted("refused"), 0);
    let leads = &cluster.nodes[leader(&cluster.nodes, SET)];
    assert_eq!(leads.metric(&format!("twinset_set_sweeps{{set=\"{SET}\"}}")), 2);

    let over_two = ask.sweep(&shop).sweep;
    let found = ask.by_request(&shop, &format!("~sweep-{over_two}-1"));
    let ReadResult::Transaction(found) = &found else { panic!("{found:?}") };
    let amounts = found.transaction.iter().flat_map(|one| one.legs.iter().map(|leg| leg.amount.as_str()));
    assert_eq!(amounts.collect::<Vec<_>>(), ["16.00", "16.00"]);

    // The other set refuses: nothing is moved, and that is told.
    far_set.book(&Command::Freeze { request_id: "f".to_owned(), account: far, mode: FreezeMode::Credit });
    ask.book(&pay("p5", &bank, &shop, 30));
    let refused = until("a refusal is told", || {
        let refused = ask.events().into_iter().find_map(|what| match what {
            api::event::What::SweepRefused(refused) => Some(refused),
            _ => None,
        });
        refused.ok_or_else(|| "none yet".to_owned())
    });
    assert_eq!(
        (refused.account, refused.run, refused.reason),
        (shop.clone(), 2, "account_frozen".to_owned())
    );
    until("it is counted", || if counted("refused") == 1 { Ok(()) } else { Err("not yet".to_owned()) });
    ask.until_posted(&shop, "35.00");
    let found = ask.by_request(&shop, &format!("~sweep-{over_two}-2"));
    assert!(matches!(found, ReadResult::Rejected(_)), "{found:?}");

    // Nothing that nodes alone may say.
    let sweep = ask.sweep(&till).sweep.parse().unwrap();
    let ended = Command::EndRun { account: till.clone(), sweep, run: 1 };
    assert!(ask.refused(&ended).contains("only nodes"));
    let run = Transaction {
        request_id: format!("~sweep-{sweep}-1"),
        legs: vec![Leg::new(&till, Side::Debit, 1.into()), Leg::new(&main, Side::Credit, 1.into())],
        ..Transaction::default()
    };
    assert!(ask.refused(&Command::Transaction(run)).contains("request id"));
    cluster.stop();
}

#[test]
fn a_run_that_its_leader_does_not_live_to_write_is_run_once() {
    let _alone = alone();
    let clock = Clock::new();
    let mut cluster = Cluster::on(&NODES, clock.clone(), |_: &mut Config| {});
    let [bank, till, main] = own_accounts(&cluster);
    let ask = Leader::of(&cluster.nodes);
    [&bank, &till, &main].into_iter().for_each(|account| drop(ask.book(&open(account))));
    ask.book(&pay("p1", &bank, &till, 100));
    // The only run in a year.
    let schedule = Schedule::Every { seconds: 31_622_400, from_ns: Some(clock.after(HOUR)) };
    ask.book(&sweep("s1", &till, &main, 0, schedule));

    // Nothing gets into the log any more when it is due: the leader dies with it.
    let (led, replica) = led(&cluster.nodes, SET);
    let dying = cluster.nodes.remove(led);
    let ledger = replica.ledger().unwrap();
    let pause = dying.runtime.block_on(ledger.proposer.pause());
    clock.forward(HOUR);
    until("it is due", || {
        let due = ledger.state.sweeps_to_run(clock.now_unix_ns(), u32::MAX, 1, |_| true);
        if due.is_empty() { Err("not yet".to_owned()) } else { Ok(()) }
    });
    dying.die();
    drop((pause, replica));
    cluster.dirs.remove(led);

    let ask = Leader::of(&cluster.nodes);
    ask.until_posted(&main, "100.00");
    ask.book(&pay("p2", &bank, &till, 1));
    let found = ask.sweep(&till);
    assert_eq!((found.runs, found.open.as_str()), (1, ""));
    ask.until_posted(&till, "1.00");
    ask.until_posted(&main, "100.00");
    cluster.nodes.into_iter().for_each(Running::die);
}

#[test]
fn the_day_cut_is_swept_when_the_day_has_changed() {
    let _alone = alone();
    let clock = Clock::new();
    let cluster = Cluster::on(&NODES, clock.clone(), |_: &mut Config| {});
    let [bank, till, main] = own_accounts(&cluster);
    let ask = Leader::of(&cluster.nodes);
    [&bank, &till, &main].into_iter().for_each(|account| drop(ask.book(&open(account))));
    // Far enough from both ends of a day.
    let today = Duration::from_nanos(clock.now_unix_ns() % DAY.as_nanos() as u64);
    clock.forward(DAY + DAY / 2 - today);
    ask.book(&pay("p1", &bank, &till, 100));
    ask.book(&sweep("s1", &till, &main, 30, Schedule::Daily));
    ask.book(&pay("p2", &bank, &till, 1));
    assert_eq!(ask.sweep(&till).runs, 0);
    clock.forward(DAY);
    ask.until_posted(&main, "71.00");
    let swept = ask.sweep(&till);
    assert_eq!(swept.runs, 1);
    let (day, before) = (ask.run(&swept, 1).accounting_date, swept.next_at);
    assert!(before > format!("{day}T23"), "the next one is at the end of {day}: {before}");
    cluster.stop();
}

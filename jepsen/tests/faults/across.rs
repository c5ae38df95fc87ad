//! Transactions over two to four sets whose leaders die in the middle: the coordinator's and a participant's, at every edge of
//! the protocol. No two are alike: how many sets there are, how many accounts of each, and which of them pay or are paid is drawn for each.
//! A payment is asked for until it has an answer, and asked for once more when everything is whole: it has
//! ended the same for everybody, nothing is left open or set aside, and the books are right to the cent.

use std::collections::BTreeMap;
use std::time::Duration;

use http::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::time::Instant;
use twinset_jepsen::api::Patience;
use twinset_jepsen::api::spell::{decimal, escaped};
use twinset_jepsen::logs;
use twinset_tools::cluster::admin;
use twinset_tools::cluster::process::Signal;
use twinset_tools::load::random::Random;

use crate::clients::{self, PATIENCE, POLL, answered, call};
use crate::leaders::{arm, keep_leading, lead};
use crate::support::{ARMED, Stage};

const COORDINATOR: u32 = 1;
const PARTICIPANT: u32 = 2;
const OTHER: u32 = 3;
const FOURTH: u32 = 4;
/// Shorter than any election.
const SOON: Duration = Duration::from_millis(250);

/// What is paid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pay {
    /// All sets book.
    Sound,
    /// The third set refuses: an account of it is frozen.
    Refused,
}

/// Where whose leader dies.
struct Edge {
    point: &'static str,
    pay: Pay,
    /// More of the dying leader's configuration.
    config: &'static str,
}

const fn edge(point: &'static str, pay: Pay) -> Edge {
    Edge { point, pay, config: "" }
}

const AT_THE_COORDINATOR: [Edge; 15] = [
    edge("begin_proposed", Pay::Sound),
    edge("begun", Pay::Sound),
    edge("asked", Pay::Sound),
    edge("first_vote", Pay::Sound),
    edge("voted", Pay::Sound),
    edge("decide_proposed", Pay::Sound),
    edge("decided", Pay::Sound),
    edge("refused", Pay::Refused),
    edge("telling", Pay::Sound),
    edge("undoing", Pay::Refused),
    edge("first_booked", Pay::Sound),
    edge("booked", Pay::Sound),
    edge("settle_proposed", Pay::Sound),
    edge("settled", Pay::Sound),
    // So impatient that it gives up before anybody could answer.
    Edge { point: "giving_up", pay: Pay::Sound, config: "[across]\ngive_up_ms = 1\n" },
];

const AT_A_PARTICIPANT: [Edge; 9] = [
    edge("prepare_received", Pay::Sound),
    edge("prepare_proposed", Pay::Sound),
    edge("prepared", Pay::Sound),
    edge("commit_received", Pay::Sound),
    edge("commit_proposed", Pay::Sound),
    edge("committed", Pay::Sound),
    edge("abort_received", Pay::Refused),
    edge("abort_proposed", Pay::Refused),
    edge("aborted", Pay::Refused),
];

#[tokio::test]
async fn a_coordinators_leader_that_dies_at_any_edge_leaves_nothing_in_doubt() {
    let mut stage = Stage::start_with(4).await;
    let mut books = Books::open(&stage).await;
    for edge in AT_THE_COORDINATOR {
        books.strike(&mut stage, COORDINATOR, &edge).await;
    }
    // The next leader dies as well, as soon as it has found what the first one left.
    let others: Vec<String> = ["A", "B"].iter().flat_map(|site| stage.nodes_of(site)).collect();
    for node in &others {
        stage.reconfigure(node, "[faults]\ndie_at = \"across.resumed\"\n").await;
    }
    let first = arm(&mut stage, COORDINATOR, "[faults]\ndie_at = \"across.decided\"\n").await;
    let (next, ()) = tokio::join!(
        another_ended(&stage, &others, &first),
        books.leave_behind(&stage, "resumed", async || stage.has_ended(&first).await)
    );
    println!("resumed: {first} died, and then {next}");
    for node in &others {
        stage.configure(node, "");
        if *node != first && *node != next {
            stage.cluster.stop_process(node).await.unwrap();
        }
        stage.cluster.start_process(node).unwrap();
    }
    books.settle(&stage, "resumed", Pay::Sound).await;
    books.end(stage).await;
}

#[tokio::test]
async fn a_participants_leader_that_dies_at_any_edge_leaves_nothing_in_doubt() {
    let mut stage = Stage::start_with(4).await;
    let mut books = Books::open(&stage).await;
    for edge in AT_A_PARTICIPANT {
        books.strike(&mut stage, PARTICIPANT, &edge).await;
    }
    // It waits for a coordinator that stands still, asks it, and dies over that.
    for point in ["inquiring", "inquired"] {
        let frozen = arm(&mut stage, COORDINATOR, "[faults]\nfreeze_at = \"across.voted\"\n").await;
        let impatient = format!("[across]\ninquire_ms = 1\n[faults]\ndie_at = \"across.{point}\"\n");
        let victim = arm(&mut stage, PARTICIPANT, &impatient).await;
        let deadline = Instant::now() + PATIENCE;
        while stage.leader(COORDINATOR).await != frozen || stage.leader(PARTICIPANT).await != victim {
            assert!(Instant::now() < deadline, "{frozen} and {victim} do not lead");
            lead(&mut stage, COORDINATOR, &frozen).await;
            lead(&mut stage, PARTICIPANT, &victim).await;
        }
        tokio::join!(
            books.leave_behind(&stage, point, async || stage.is_frozen(&frozen)),
            stage.ended(&victim),
            stage.frozen(&frozen)
        );
        stage.cluster.signal(&frozen, Signal::Cont).await.unwrap();
        stage.configure(&frozen, "");
        stage.configure(&victim, "");
        stage.cluster.start_process(&victim).unwrap();
        books.settle(&stage, point, Pay::Sound).await;
        stage.reconfigure(&frozen, "").await;
    }
    books.end(stage).await;
}

/// What a payment was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Told {
    /// Booked, under that name.
    Booked(String),
    /// Refused, with that code.
    Rejected(String),
}

/// The accounts, and what was answered so far.
struct Books {
    /// Where the shapes of payments come from.
    seed: u64,
    /// Of the coordinator's set; it has a leg in each payment, and its name is the scope.
    payer: String,
    /// In the set of the participant that dies: some of them are in each payment.
    near: [String; 2],
    /// In all sets; none, some or all of them are in a payment.
    others: [String; 5],
    /// In the third set; it takes no credit.
    frozen: String,
    told: BTreeMap<String, Told>,
}

impl Books {
    async fn open(stage: &Stage) -> Books {
        let wanted = [
            ("payer", COORDINATOR),
            ("near", PARTICIPANT),
            ("beside", PARTICIPANT),
            ("own", COORDINATOR),
            ("far", OTHER),
            ("further", OTHER),
            ("last", FOURTH),
            ("least", FOURTH),
            ("frozen", OTHER),
        ];
        let [payer, near, beside, own, far, further, last, least, frozen] =
            clients::in_sets(stage, wanted).await;
        let (near, others) = ([near, beside], [own, far, further, last, least]);
        let seed = Random::new().bits() >> 32;
        println!("payments of seed {seed}");
        let books = Books { seed, payer, near, others, frozen, told: BTreeMap::new() };
        for account in books.accounts() {
            clients::open(stage, account).await;
        }
        let path = format!("/v1/accounts/{}/freeze", escaped(&books.frozen));
        let body = json!({ "request_id": "freeze", "mode": "credit" });
        answered(stage, Method::POST, &path, body).await;
        books
    }

    fn accounts(&self) -> impl Iterator<Item = &String> {
        let one = |account| std::slice::from_ref(account).iter();
        one(&self.payer).chain(&self.near).chain(&self.others).chain(one(&self.frozen))
    }

    /// What a payment moves, in cents, debits above zero: the same for the same id.
    fn legs(&self, id: &str, pay: Pay) -> Vec<(&String, i64)> {
        let of_id = id.bytes().fold(self.seed, |seed, byte| seed.wrapping_mul(31).wrapping_add(byte.into()));
        let mut random = Random::seeded(of_id);
        let mut legs: Vec<(&String, i64)> = Vec::new();
        let near = random.below(3);
        let in_it = self.near.iter().enumerate().filter(|(at, _)| near == 2 || near == *at);
        let mut accounts: Vec<&String> = in_it.map(|(_, account)| account).collect();
        accounts.extend(self.others.iter().filter(|_| random.below(100) < 45));
        for account in accounts {
            let cents = 1 + random.below(300) as i64;
            legs.push((account, if random.below(3) == 0 { cents } else { -cents }));
        }
        if pay == Pay::Refused {
            legs.push((&self.frozen, -100));
        }
        let sum: i64 = legs.iter().map(|(_, cents)| cents).sum();
        // The payer squares it, and has a leg of its own in any case.
        if sum == 0 {
            legs[0].1 += legs[0].1.signum();
        }
        let sum: i64 = legs.iter().map(|(_, cents)| cents).sum();
        legs.insert(random.below(legs.len()), (&self.payer, -sum));
        legs
    }

    /// Lets the leader of `set` die at an edge, while payments are made.
    async fn strike(&mut self, stage: &mut Stage, set: u32, edge: &Edge) {
        let Edge { point, pay, config } = edge;
        let faults = format!("{config}[faults]\ndie_at = \"across.{point}\"\n");
        let victim = arm(stage, set, &faults).await;
        let began = Instant::now();
        let mut asked = Vec::new();
        while !stage.has_ended(&victim).await {
            let passed = began.elapsed();
            assert!(passed < PATIENCE, "{victim} never got to {point}: {}", stage.log(&victim, 0));
            let id = format!("{point}-{}", asked.len());
            let told = self.pay(stage, &id, *pay).await;
            asked.push(id.clone());
            self.told.insert(id, told);
            keep_leading(stage, set, &victim).await;
        }
        println!("{point}: {victim} died; {} payments in {:?}", asked.len(), began.elapsed());
        // The dead node is not needed for others.
        let id = format!("{point}-without");
        let told = self.pay(stage, &id, Pay::Sound).await;
        self.told.insert(id, told);
        stage.configure(&victim, "");
        stage.cluster.start_process(&victim).unwrap();
        for id in asked {
            self.settle(stage, &id, *pay).await;
        }
    }

    /// Asks until it has struck the leader, and is gone before an election could end: nobody asks the next leader for it.
    async fn leave_behind(&self, stage: &Stage, id: &str, has_struck: impl AsyncFn() -> bool) {
        let body = self.payment(id, Pay::Sound).to_string();
        let deadline = Instant::now() + PATIENCE;
        while !has_struck().await {
            assert!(Instant::now() < deadline, "{id} strikes nobody");
            let patience = Patience::from(SOON);
            // Whatever it hears: it is asked for again when everything is whole.
            let _ = stage.router("ra").call(Method::POST, "/v1/transactions", body.clone(), patience).await;
        }
    }

    fn payment(&self, id: &str, pay: Pay) -> Value {
        let leg = |(account, cents): &(&String, i64)| {
            let side = if *cents > 0 { "debit" } else { "credit" };
            json!({ "account": account, "side": side, "amount": decimal(cents.abs()) })
        };
        let legs: Vec<Value> = self.legs(id, pay).iter().map(leg).collect();
        json!({ "request_id": id, "scope_account": self.payer, "legs": legs })
    }

    /// Pays, and asks again until there is an answer that lasts.
    async fn pay(&self, stage: &Stage, id: &str, pay: Pay) -> Told {
        let body = self.payment(id, pay);
        let deadline = Instant::now() + PATIENCE;
        for router in ["ra", "rb"].into_iter().cycle() {
            let said = call(stage, router, Method::POST, "/v1/transactions", body.clone()).await;
            match &said {
                Ok((StatusCode::OK, booked)) => {
                    let legs = body["legs"].as_array().map(Vec::len);
                    assert_eq!(booked["postings"].as_array().map(Vec::len), legs, "{booked}");
                    return Told::Booked(booked["transaction"].as_str().unwrap().to_owned());
                }
                Ok((_, problem)) if problem["outcome"] == "rejected" => {
                    return Told::Rejected(problem["code"].as_str().unwrap().to_owned());
                }
                // Not applied, or unknown: the same request may be asked again.
                Ok(_) | Err(_) => {}
            }
            assert!(Instant::now() < deadline, "{id} has no answer: {said:?}");
        }
        unreachable!("the routers never end")
    }

    /// When everything is whole, the payment is told as before, nothing is open, and the books are right.
    async fn settle(&mut self, stage: &Stage, id: &str, pay: Pay) {
        stage.whole().await;
        let told = self.pay(stage, id, pay).await;
        match (&told, pay) {
            (Told::Booked(_), Pay::Sound) => {}
            (Told::Rejected(code), Pay::Refused) if code == "account_frozen" => {}
            (told, pay) => panic!("{id}, {pay:?}: {told:?}"),
        }
        let before = self.told.entry(id.to_owned()).or_insert_with(|| told.clone());
        assert_eq!(*before, told, "{id}");
        nothing_open(stage).await;
        let mut expected: BTreeMap<&String, i64> = self.accounts().map(|account| (account, 0)).collect();
        for booked in self.told.iter().filter(|(_, told)| matches!(told, Told::Booked(_))).map(|(id, _)| id) {
            for (account, cents) in self.legs(booked, Pay::Sound) {
                // All are liabilities: a credit raises the balance.
                *expected.get_mut(account).expect("it is one of them") -= cents;
            }
        }
        for (account, cents) in expected {
            let said = clients::account(stage, account).await;
            let figures = ["posted", "held", "incoming"].map(|name| said[name].as_str().unwrap());
            assert_eq!(figures, [&decimal(cents), "0.00", "0.00"], "{id}: {said}");
        }
    }

    async fn end(self, stage: Stage) {
        let allowed = [logs::AFTER_KILLS, &[ARMED]].concat();
        stage.end(&allowed).await;
    }
}

/// Waits until `first` has ended, and another of the nodes, which it gives.
async fn another_ended(stage: &Stage, nodes: &[String], first: &String) -> String {
    stage.ended(first).await;
    let deadline = Instant::now() + PATIENCE;
    loop {
        for node in nodes.iter().filter(|node| *node != first) {
            if stage.has_ended(node).await {
                return node.clone();
            }
        }
        assert!(Instant::now() < deadline, "nobody took up what {first} left behind");
        tokio::time::sleep(POLL).await;
    }
}

/// Waits until no set has anything open with another.
async fn nothing_open(stage: &Stage) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let mut open = Vec::new();
        for addr in stage.cluster.layout().node_addrs() {
            match admin::attempts(&addr).await {
                Ok(reply) => {
                    let left = reply.sets.iter().filter(|set| set.open > 0);
                    open.extend(left.map(|set| format!("{set:?}")));
                }
                // It may be busy.
                Err(why) => open.push(format!("{addr}: {why}")),
            }
        }
        if open.is_empty() {
            return;
        }
        assert!(Instant::now() < deadline, "open: {open:?}");
        tokio::time::sleep(POLL).await;
    }
}

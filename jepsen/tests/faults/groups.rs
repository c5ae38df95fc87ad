//! A group of accounts over two sets, credited from both through both routers while one leader after the other is killed: each
//! credit stays in its payer's set, means the same part whenever and wherever it is asked for again, and the group's balance
//! is what was answered, to the cent.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use http::Method;
use serde_json::{Map, Value, json};
use tokio::time::Instant;
use twinset_jepsen::logs;
use twinset_tools::cluster::admin::Survey;
use twinset_tools::cmd::router::{CallError, Router};
use twinset_tools::group::{self, Part, Wanted};

use crate::support::Stage;

const GROUP: &str = "shop";
const PARTS: usize = 4;
/// Answers that are waited for before the next leader is killed, and after the last one.
const ANSWERS: usize = 40;
/// By then a credit has its answer.
const PATIENCE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(20);

/// A credit that was answered: the transaction and the part.
type Booked = (String, String);

#[tokio::test]
async fn a_group_holds_every_answered_credit_though_leaders_are_killed() {
    let mut stage = Stage::start().await;
    let survey = stage.whole().await;
    let urls = stage.cluster.layout().router_urls();
    let parts = make(&survey, &urls).await;
    let payers = open_payers(&survey, &urls[0]).await;

    let (stop, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let clients: Vec<_> = (0..4)
        .map(|client: usize| {
            let (payer, urls) = (payers[client % payers.len()].clone(), urls.clone());
            tokio::spawn(credits(client, payer, urls, stop.clone(), answered.clone()))
        })
        .collect();
    for set in [1, 2] {
        more_answers(&answered).await;
        let leader = stage.leader(set).await;
        stage.cluster.kill(&leader).await.unwrap();
        more_answers(&answered).await;
        stage.cluster.start_process(&leader).unwrap();
        stage.whole().await;
    }
    more_answers(&answered).await;
    stop.store(true, Ordering::Relaxed);
    let mut told = BTreeMap::new();
    for client in clients {
        told.extend(client.await.unwrap());
    }

    let sets: BTreeMap<&str, u32> = parts.iter().map(|part| (part.account.as_str(), part.set)).collect();
    let mut routers: Vec<Router> = urls.iter().map(|url| Router::new(url).unwrap()).collect();
    let mut of_part = BTreeMap::<&str, usize>::new();
    let slots = survey.catalogue().unwrap().slot_table();
    for ((payer, id), booked) in &told {
        assert_eq!(
            sets[booked.1.as_str()],
            slots[usize::from(twinset_ledger::slot_of(payer))],
            "{id} left its set"
        );
        let again = credited(&mut routers, 1, payer, id).await;
        assert_eq!(again, *booked, "{id}, asked for again");
        *of_part.entry(booked.1.as_str()).or_default() += 1;
    }
    assert_eq!(of_part.len(), PARTS, "every part had its share: {of_part:?}");
    for url in &urls {
        let path = format!("/v1/accounts/{GROUP}");
        let read = Router::new(url).unwrap().call(Method::GET, &path, None).await.unwrap();
        assert_eq!(read["account"]["posted"], format!("{}.00", told.len()), "{read}");
        for part in read["parts"].as_array().unwrap() {
            let count = of_part[part["account"]["account"].as_str().unwrap()];
            assert_eq!(part["account"]["posted"], format!("{count}.00"), "{part}");
        }
    }
    println!("{} credits over {of_part:?}", told.len());
    stage.end(logs::AFTER_KILLS).await;
}

/// Makes the group, each step twice, by one router and the other: the second finds it done.
async fn make(survey: &Survey, urls: &[String]) -> Vec<Part> {
    let wanted = Wanted {
        id: GROUP.to_owned(),
        currency: "EUR".to_owned(),
        subject: "liability".to_owned(),
        limit: None,
        metadata: Map::new(),
        who: "test".to_owned(),
        why: "a hot merchant".to_owned(),
    };
    let parts = group::plan(survey.catalogue().unwrap(), GROUP, PARTS).unwrap();
    let in_sets: BTreeSet<u32> = parts.iter().map(|part| part.set).collect();
    assert_eq!(in_sets, BTreeSet::from([1, 2]), "{parts:?}");
    for url in urls {
        let mut router = Router::new(url).unwrap();
        group::reserve(&mut router, &wanted, PARTS).await.unwrap();
        for part in &parts {
            group::open(&mut router, &wanted, part).await.unwrap();
        }
    }
    let definition = group::definition(&mut Router::new(&urls[0]).unwrap(), &wanted, &parts).await.unwrap();
    for _ in 0..2 {
        group::define(survey, &wanted, definition.clone()).await.unwrap();
    }
    for url in urls {
        assert!(
            group::heard_of(&mut Router::new(url).unwrap(), GROUP).await,
            "{url} does not know the group"
        );
    }
    parts
}

/// An account without limit in each set.
async fn open_payers(survey: &Survey, url: &str) -> Vec<String> {
    let slots = survey.catalogue().unwrap().slot_table();
    let in_set = |set: u32| {
        let mut ids = (0..).map(|n| format!("payer{n}"));
        ids.find(|id| slots[usize::from(twinset_ledger::slot_of(id))] == set).unwrap()
    };
    let payers = vec![in_set(1), in_set(2)];
    let mut router = Router::new(url).unwrap();
    for payer in &payers {
        let body = json!({
            "request_id": "open", "account": payer, "subject": "liability", "currency": "EUR", "limit": "none",
        });
        router.call(Method::POST, "/v1/accounts", Some(&body)).await.unwrap();
    }
    payers
}

/// Credits the group again and again; each request until it has an answer.
async fn credits(
    client: usize,
    payer: String,
    urls: Vec<String>,
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
) -> BTreeMap<(String, String), Booked> {
    let mut routers: Vec<Router> = urls.iter().map(|url| Router::new(url).unwrap()).collect();
    let mut told = BTreeMap::new();
    for number in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let id = format!("c{client}-{number}");
        let booked = credited(&mut routers, client + number, &payer, &id).await;
        told.insert((payer.clone(), id), booked);
        answered.fetch_add(1, Ordering::Relaxed);
    }
    told
}

/// Asks until there is an answer, at one router and the other in turn, that of number `turn` first.
async fn credited(routers: &mut [Router], mut turn: usize, payer: &str, id: &str) -> Booked {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let router = turn % routers.len();
        match credit(&mut routers[router], payer, id).await {
            Ok(booked) => return booked,
            Err(why) => assert!(Instant::now() < deadline, "{id} has no answer: {why}"),
        }
        turn += 1;
    }
}

/// 1 EUR for the group. A rejection is none that may be.
async fn credit(router: &mut Router, payer: &str, id: &str) -> Result<Booked, String> {
    let leg = |account: &str, side: &str| json!({ "account": account, "side": side, "amount": "1.00" });
    let body = json!({ "request_id": id, "legs": [leg(payer, "debit"), leg(GROUP, "credit")] });
    match router.call(Method::POST, "/v1/transactions", Some(&body)).await {
        Ok(booked) => {
            let posting = &booked["postings"][1];
            assert_eq!(posting["group"], GROUP, "{booked}");
            let text = |value: &Value| value.as_str().unwrap().to_owned();
            Ok((text(&booked["transaction"]), text(&posting["account"])))
        }
        Err(CallError::Problem(problem)) if problem.outcome == "rejected" => panic!("{id}: {problem:?}"),
        Err(error) => Err(error.to_string()),
    }
}

/// Waits for so many answers more.
async fn more_answers(answered: &AtomicUsize) {
    let (wanted, deadline) = (answered.load(Ordering::Relaxed) + ANSWERS, Instant::now() + PATIENCE);
    while answered.load(Ordering::Relaxed) < wanted {
        assert!(Instant::now() < deadline, "the credits stand still");
        tokio::time::sleep(POLL).await;
    }
}

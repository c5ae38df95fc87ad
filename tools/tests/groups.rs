//! The making of groups: which accounts the parts are, and every step to them against a router and nodes that answer as
//! scripted.

#![allow(clippy::unwrap_used, reason = "a test may panic anywhere, in its helpers too")]

mod fakes;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fakes::node::{FakeNode, five};
use fakes::router::{self, Answer};
use serde_json::{Map, Value, json};
use twinset_control::groups::{MARK, Side, is_id};
use twinset_control::{Catalogue, Topology};
use twinset_tools::cluster::admin::{self, Survey};
use twinset_tools::cluster::bootstrap;
use twinset_tools::cmd::router::Router;
use twinset_tools::error;
use twinset_tools::group::{self, Part, Wanted};

const PATIENCE: Duration = Duration::from_secs(10);

fn catalogue(sets: u32) -> Catalogue {
    let mut text = format!("[cluster]\nname = \"t\"\nsets = {sets}\n");
    for (n, (name, site)) in [("a1", "A"), ("a2", "A"), ("b1", "B"), ("b2", "B")].into_iter().enumerate() {
        text.push_str(&format!(
            "[[node]]\nname = \"{name}\"\nsite = \"{site}\"\napi = \"h:{}\"\npeer = \"h:{}\"\nhttp = \"h:{}\"\n",
            n + 1,
            n + 11,
            n + 21
        ));
    }
    toml::from_str::<Topology>(&text).unwrap().place("c").unwrap()
}

fn wanted(id: &str) -> Wanted {
    Wanted {
        id: id.into(),
        currency: "EUR".into(),
        subject: "liability".into(),
        limit: Some("none".into()),
        metadata: Map::from_iter([("team".to_owned(), json!("shops"))]),
        who: "ops".into(),
        why: "hot".into(),
    }
}

#[test]
fn parts_are_spread_evenly_and_every_set_has_one() {
    for (sets, parts) in [(2, 1), (2, 2), (2, 5), (7, 7), (7, 20), (16, 10), (512, 512)] {
        let catalogue = catalogue(sets);
        let planned = group::plan(&catalogue, "shop", parts).unwrap();
        assert_eq!(planned, group::plan(&catalogue, "shop", parts).unwrap(), "the same every time");
        let ids: BTreeSet<&String> = planned.iter().map(|part| &part.account).collect();
        assert_eq!((planned.len(), ids.len()), (parts, parts));
        assert!(ids.iter().all(|id| is_id(id) && id.starts_with("shop.")));
        let mut counts = BTreeMap::<u32, usize>::new();
        for Part { account, set } in &planned {
            let owner = catalogue.set_of_slot(twinset_ledger::slot_of(account)).unwrap();
            assert_eq!(owner.id, *set);
            *counts.entry(*set).or_default() += 1;
        }
        let (least, most) = (parts / sets as usize, parts.div_ceil(sets as usize));
        assert!(counts.values().all(|count| (least..=most).contains(count)), "{sets} {parts}: {counts:?}");
        assert_eq!(counts.len(), parts.min(sets as usize));
    }
}

#[test]
fn what_is_no_group_is_refused_before_anything_is_done() {
    let catalogue = catalogue(2);
    for (id, parts, hint) in [
        ("{shop}:x", 2, "without braces"),
        ("a b", 2, "1-64 of"),
        ("", 2, "1-64 of"),
        (&"x".repeat(63), 2, "shorten it"),
        ("shop", 0, "usual number"),
        ("shop", 513, "usual number"),
    ] {
        let text = error::text(&group::plan(&catalogue, id, parts).unwrap_err());
        assert!(text.contains(hint), "{id} {parts}: {text}");
    }
}

/// A router with a ledger of openings: by account, the body, and whether it is closed.
type Opened = Arc<Mutex<BTreeMap<String, (Value, bool)>>>;

/// Serves the calls that a group is made by. The first `broken` openings are answered, but the answer gets lost.
async fn ledger(opened: Opened, nodes: Vec<FakeNode>, broken: u32) -> String {
    let broken = Mutex::new(broken);
    router::start(move |method, path, body| answer(&opened, &nodes, &broken, method, path, body)).await
}

fn answer(
    opened: &Opened,
    nodes: &[FakeNode],
    broken: &Mutex<u32>,
    method: &str,
    path: &str,
    body: &[u8],
) -> Answer {
    let mut opened = opened.lock().unwrap();
    let done = Some((200, r#"{"position":{"set":1,"index":1},"replayed":false}"#.to_owned()));
    if method == "GET" {
        let id = path.strip_prefix("/v1/accounts/").unwrap();
        let known = nodes.iter().any(|node| {
            node.with(|script| script.catalogue.as_ref().is_some_and(|known| known.groups.contains_key(id)))
        });
        let parts = if known { json!([{}]) } else { Value::Null };
        return Some((200, json!({"account": {"normal_side": "credit"}, "parts": parts}).to_string()));
    }
    let body: Value = serde_json::from_slice(body).unwrap();
    if let Some(id) = path.strip_prefix("/v1/accounts/").and_then(|path| path.strip_suffix("/close")) {
        opened.get_mut(id).unwrap().1 = true;
        return done;
    }
    let id = body["account"].as_str().unwrap().to_owned();
    match opened.get(&id) {
        Some((before, _)) if before["request_id"] != body["request_id"] => {
            return Some((
                409,
                r#"{"code":"account_exists","outcome":"rejected","detail":"it exists"}"#.into(),
            ));
        }
        Some((before, _)) if *before != body => {
            return Some((
                409,
                r#"{"code":"request_mismatch","outcome":"rejected","detail":"metadata"}"#.into(),
            ));
        }
        _ => opened.insert(id, (body, false)),
    };
    let mut broken = broken.lock().unwrap();
    if *broken > 0 {
        *broken -= 1;
        return None;
    }
    done
}

/// One run of `twinset group create`, as the command makes it.
async fn run(seeds: &[String], url: &str, wanted: &Wanted, parts: usize) -> anyhow::Result<bool> {
    let survey: Survey = admin::survey(seeds).await;
    let catalogue = survey.catalogue()?;
    let planned = group::plan(catalogue, &wanted.id, parts)?;
    if group::defined(catalogue, wanted, &planned)?.is_some() {
        return Ok(false);
    }
    let mut router = Router::new(url)?;
    group::reserve(&mut router, wanted, parts).await?;
    for part in &planned {
        group::open(&mut router, wanted, part).await?;
    }
    let definition = group::definition(&mut router, wanted, &planned).await?;
    group::define(&survey, wanted, definition).await?;
    assert!(group::heard_of(&mut router, &wanted.id).await);
    Ok(true)
}

async fn cluster() -> (Vec<FakeNode>, Vec<String>) {
    let (nodes, topology) = five().await;
    bootstrap::bootstrap(&topology, PATIENCE).await.unwrap();
    let seeds = nodes.iter().map(|node| node.addr.clone()).collect();
    (nodes, seeds)
}

#[tokio::test]
async fn a_broken_run_goes_on_where_it_stopped_and_a_finished_one_does_nothing() {
    let (nodes, seeds) = cluster().await;
    let opened = Opened::default();
    let url = ledger(opened.clone(), nodes.clone(), 3).await;
    // The id's own account, its first part and its second: each run ends at the next lost answer.
    for _ in 0..3 {
        let text = error::text(&run(&seeds, &url, &wanted("shop"), 4).await.unwrap_err());
        assert!(text.contains("run the same command again"), "{text}");
    }
    nodes[0].with(|script| script.mute = 2);
    assert!(run(&seeds, &url, &wanted("shop"), 4).await.unwrap());
    let group = nodes[0].with(|script| script.catalogue.as_ref().unwrap().groups["shop"].clone());
    assert_eq!((group.currency.as_str(), group.normal_side, group.parts.len()), ("EUR", Side::Credit, 4));
    {
        let opened = opened.lock().unwrap();
        assert_eq!(opened.len(), 5);
        let (kept, closed) = &opened["shop"];
        assert!(*closed && kept["metadata"][MARK] == "shop", "{kept}");
        let is_part = |id: &String| {
            !opened[id].1 && opened[id].0["metadata"]["team"] == "shops" && opened[id].0["limit"] == "none"
        };
        assert!(group.parts.iter().all(is_part), "{opened:?}");
    }
    let audit = nodes[0].with(|script| script.catalogue.as_ref().unwrap().audit.clone());
    let record = audit.tail.last().unwrap();
    assert_eq!((record.who.as_str(), record.why.as_str()), ("ops", "hot"));

    assert!(!run(&seeds, &url, &wanted("shop"), 4).await.unwrap(), "it is there");
    let text = error::text(&run(&seeds, &url, &wanted("shop"), 5).await.unwrap_err());
    assert!(text.contains("4 parts in EUR, and never changes"), "{text}");
    let text = error::text(&run(&seeds, &url, &wanted(&group.parts[0]), 2).await.unwrap_err());
    assert!(text.contains("belongs to the group shop"), "{text}");
}

#[tokio::test]
async fn an_id_or_a_part_that_is_an_account_makes_no_group() {
    let (nodes, seeds) = cluster().await;
    let opened = Opened::default();
    let url = ledger(opened.clone(), nodes.clone(), 0).await;
    let by_somebody = |id: &str| {
        let body = json!({"request_id": "mine", "account": id, "subject": "asset", "currency": "EUR"});
        opened.lock().unwrap().insert(id.to_owned(), (body, false));
    };
    by_somebody("taken");
    let survey = admin::survey(&seeds).await;
    let part = group::plan(survey.catalogue().unwrap(), "shop", 2).unwrap()[1].account.clone();
    by_somebody(&part);
    for (id, account) in [("taken", "taken"), ("shop", part.as_str())] {
        let text = error::text(&run(&seeds, &url, &wanted(id), 2).await.unwrap_err());
        assert!(text.contains(&format!("{account} is an account already")), "{text}");
    }
    // Begun with two parts, it is not gone on with three.
    let text = error::text(&run(&seeds, &url, &wanted("shop"), 3).await.unwrap_err());
    assert!(text.contains("as it was first given"), "{text}");
    assert!(nodes[0].with(|script| script.catalogue.as_ref().unwrap().groups.is_empty()));
}

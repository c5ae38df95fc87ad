//! Events: pages and streams, over HTTP and gRPC; how they resume, what is refused, and what becomes of a stream when leaders,
//! clients or the router itself go away.

use std::collections::BTreeMap;

use serde_json::json;
use twinset_proto::ledger::v1 as wire;
use twinset_proto::ledger::v1::ledger_client::LedgerClient;

use crate::support::events::{Block, Feed, all, feed};
use crate::support::node::Mode;
use crate::support::{Cluster, Router, eventually};

/// Two accounts in each set, and five payments in one.
async fn ready() -> (Cluster, Router) {
    let cluster = Cluster::start().await;
    let router = cluster.router().await;
    router.open_accounts().await;
    router.open(&cluster.account_in(other(&cluster), "x")).await;
    for n in 0..5 {
        assert_eq!(router.pay(&format!("p-{n}"), 10_000).await.status, 200);
    }
    (cluster, router)
}

/// The set of the accounts that pay each other.
fn own(cluster: &Cluster) -> u32 {
    cluster.shared.catalogue.slot_table()[usize::from(twinset_ledger::slot_of("{t}:a"))]
}

fn other(cluster: &Cluster) -> u32 {
    3 - own(cluster)
}

/// The names of all events of a set.
fn names(cluster: &Cluster, set: u32) -> Vec<String> {
    let truth = cluster.shared.truth.lock().expect("no test panicked with it");
    all(&truth[&set].0).into_iter().map(|event| event.event).collect()
}

fn ids(blocks: &[Block]) -> Vec<&str> {
    blocks.iter().map(|block| block.data["event"].as_str().expect("a name")).collect()
}

async fn open(router: &Router, path: &str) -> Feed {
    feed(router, path, None).await.expect("a stream")
}

async fn grpc(router: &Router) -> LedgerClient<tonic::transport::Channel> {
    LedgerClient::connect(format!("http://{}", router.handle.grpc)).await.expect("connects")
}

#[tokio::test]
async fn events_come_in_pages() {
    let (cluster, router) = ready().await;
    let (set, names) = (own(&cluster), names(&cluster, own(&cluster)));
    let path = format!("/v1/sets/{set}/events");
    let first = router.get(&format!("{path}?page_size=2")).await;
    assert_eq!(
        (first.status, &first.headers["content-type"]),
        (200, &"application/json".parse().expect("text"))
    );
    let first = first.json();
    assert_eq!((&first["more"], &first["age_ms"]), (&json!(true), &json!(0)));
    assert_eq!(first["as_of"][0]["set"], set);
    assert_eq!(first["events"][0]["kind"], "account_opened");
    assert_eq!(first["events"][0]["previous"], "");
    assert_eq!(first["events"][0]["change"]["account"], "{t}:a");
    assert_eq!(first["events"][1]["previous"], names[0]);
    let (mut found, mut after) = (Vec::new(), String::new());
    loop {
        let page = router.get(&format!("{path}?after={after}")).await.json();
        let events = page["events"].as_array().expect("events");
        found.extend(events.iter().map(|event| event["event"].as_str().expect("a name").to_owned()));
        after = page["next"].as_str().expect("a place").to_owned();
        if page["more"] == false {
            break;
        }
    }
    assert_eq!(found, names);
    // At the end there is a place as well, and from there on what comes later.
    assert_eq!(router.pay("later", 10_000).await.status, 200);
    let page = router.get(&format!("{path}?after={after}")).await.json();
    assert_eq!(page["events"][0]["transaction"]["request_id"], "later");
    assert_eq!(page["events"][0]["postings"].as_array().map(Vec::len), Some(2));
    let asked = wire::ListEventsRequest { set: Some(set), page_size: Some(2), ..Default::default() };
    let page = grpc(&router).await.list_events(asked).await.expect("read").into_inner();
    assert_eq!((page.events.len(), page.next.as_str(), page.more), (2, names[1].as_str(), true));
}

#[tokio::test]
async fn a_page_of_all_sets_has_a_place_in_each() {
    let (cluster, router) = ready().await;
    let whole = router.get("/v1/events?page_size=2").await.json();
    assert_eq!(whole["as_of"].as_array().map(Vec::len), Some(2));
    let (one, two) = (names(&cluster, 1), names(&cluster, 2));
    let last = |names: &[String]| names[names.len().min(2) - 1].clone();
    assert_eq!(whole["next"], format!("{},{}", last(&one), last(&two)));
    let next = whole["next"].as_str().expect("a place");
    let rest = router.get(&format!("/v1/events?page_size=2&after={next}")).await.json();
    let rest: Vec<&str> = rest["events"]
        .as_array()
        .expect("events")
        .iter()
        .filter_map(|event| event["event"].as_str())
        .collect();
    let expected = one.iter().skip(2).take(2).chain(two.iter().skip(2).take(2));
    assert_eq!(rest, expected.collect::<Vec<_>>());
}

#[tokio::test]
async fn a_stream_tells_what_was_and_then_what_happens() {
    let (cluster, router) = ready().await;
    let (set, before) = (own(&cluster), names(&cluster, own(&cluster)));
    let path = format!("/v1/sets/{set}/events");
    let mut stream = open(&router, &path).await;
    assert_eq!(stream.headers["content-type"], "text/event-stream");
    assert_eq!(stream.headers["cache-control"], "no-store");
    assert_eq!(stream.block().await.as_deref(), Some("retry: 1000"));
    let told = stream.take(before.len()).await;
    assert_eq!(ids(&told), before);
    for pair in told.windows(2) {
        assert_eq!(pair[1].data["previous"], pair[0].id, "nothing is missing in between");
        assert_eq!(pair[1].data["resume"], pair[1].id);
    }
    assert_eq!(router.pay("live", 10_000).await.status, 200);
    let live = stream.next().await.expect("it has no end");
    assert_eq!(live.data["transaction"]["request_id"], "live");
    // As a browser resumes it, and as anybody can; what was seen last counts.
    let mut resumed =
        feed(&router, &format!("{path}?after={}", before[0]), Some(&before[4])).await.expect("good");
    assert_eq!(ids(&resumed.take(2).await), before[5..7]);
    let mut asked = open(&router, &format!("{path}?after={}", before[1])).await;
    assert_eq!(ids(&asked.take(2).await), before[2..4]);
    let metrics = String::from_utf8(router.get("/metrics").await.body.to_vec()).expect("text");
    assert!(metrics.contains("twinset_router_event_streams{protocol=\"http\"} 3"), "{metrics}");
    drop((stream, resumed, asked));
    eventually("their places are free again", async || {
        let metrics = String::from_utf8(router.get("/metrics").await.body.to_vec()).expect("text");
        metrics.contains("twinset_router_event_streams{protocol=\"http\"} 0")
    })
    .await;
}

#[tokio::test]
async fn a_stream_of_all_sets_keeps_each_sets_order_and_resumes_in_each() {
    let (cluster, router) = ready().await;
    let expected = BTreeMap::from([1, 2].map(|set| (set, names(&cluster, set))));
    let count = expected.values().map(Vec::len).sum::<usize>();
    let by_set = |blocks: &[Block]| {
        let mut by_set: BTreeMap<u32, Vec<String>> = BTreeMap::new();
        for (block, name) in blocks.iter().zip(ids(blocks)) {
            let set = block.data["position"]["set"].as_u64().expect("a set") as u32;
            by_set.entry(set).or_default().push(name.to_owned());
        }
        by_set
    };
    let told = open(&router, "/v1/events").await.take(count).await;
    assert_eq!(by_set(&told), expected);
    for cut in 1..count {
        let resumed = feed(&router, "/v1/events", Some(&told[cut - 1].id)).await.expect("a stream");
        let rest = { resumed }.take(count - cut).await;
        let mut whole = told[..cut].to_vec();
        whole.extend(rest);
        assert_eq!(by_set(&whole), expected, "cut after {cut}");
    }
}

#[tokio::test]
async fn the_same_over_grpc() {
    let (cluster, router) = ready().await;
    let (set, before) = (own(&cluster), names(&cluster, own(&cluster)));
    let mut client = grpc(&router).await;
    let asked = |after: &str| wire::StreamEventsRequest { set: Some(set), after: after.into() };
    let mut stream = client.stream_events(asked("")).await.expect("a stream").into_inner();
    for name in &before {
        let event = stream.message().await.expect("no error").expect("no end");
        assert_eq!((&event.event, &event.resume), (name, name));
    }
    let mut all =
        client.stream_events(wire::StreamEventsRequest::default()).await.expect("a stream").into_inner();
    let first = all.message().await.expect("no error").expect("no end");
    assert!(names(&cluster, 1).contains(&first.event) || names(&cluster, 2).contains(&first.event));
    assert_eq!(router.pay("live", 10_000).await.status, 200);
    let live = stream.message().await.expect("no error").expect("no end");
    assert_eq!(live.previous, before[before.len() - 1]);
    let mut resumed = client.stream_events(asked(&before[3])).await.expect("a stream").into_inner();
    assert_eq!(resumed.message().await.expect("no error").expect("no end").event, before[4]);
    for (after, code) in [
        ("x", tonic::Code::InvalidArgument),
        ("9-1-1-0", tonic::Code::InvalidArgument),
        (&format!("{set}-7-1-0"), tonic::Code::NotFound),
    ] {
        let status = client.stream_events(asked(after)).await.expect_err(after);
        assert_eq!(status.code(), code, "{after}: {status}");
    }
    let nowhere = wire::StreamEventsRequest { set: Some(9), after: String::new() };
    assert_eq!(client.stream_events(nowhere).await.expect_err("no set").code(), tonic::Code::NotFound);
}

#[tokio::test]
async fn what_cannot_be_followed_is_refused_before_anything_is_told() {
    let (cluster, router) = ready().await;
    let (own, other) = (own(&cluster), other(&cluster));
    let first = names(&cluster, own)[0].clone();
    let table = [
        (format!("/v1/sets/{own}/events?after=x"), 400, "malformed"),
        (format!("/v1/sets/{other}/events?after={first}"), 400, "malformed"),
        (format!("/v1/events?after={first},{first}"), 400, "malformed"),
        (format!("/v1/sets/{own}/events?after={own}-9-1-0"), 404, "not_found"),
        (format!("/v1/events?after={own}-1-99-0"), 404, "not_found"),
        ("/v1/sets/9/events".into(), 404, "not_found"),
        ("/v1/sets/one/events".into(), 400, "malformed"),
        (format!("/v1/sets/{own}/events?until=1"), 400, "malformed"),
    ];
    for (path, status, code) in table {
        let page = router.get(&path).await.problem();
        assert_eq!((page.0, page.1.as_str()), (status, code), "a page of {path}");
        let stream = feed(&router, &path, None).await.err().expect("no stream");
        assert_eq!(stream, (status, code.into()), "a stream of {path}");
    }
    let sized = feed(&router, &format!("/v1/sets/{own}/events?page_size=3"), None).await.err();
    assert_eq!(sized, Some((400, "malformed".into())));
    for size in [0, 1001] {
        let answer = router.get(&format!("/v1/events?page_size={size}")).await;
        assert_eq!(answer.problem().1, "malformed");
    }
}

#[tokio::test]
async fn streams_are_bounded() {
    let cluster = Cluster::start().await;
    let mut config = cluster.config();
    config.limits.event_streams_max = 1;
    let router = cluster.router_with(config).await;
    let first = open(&router, "/v1/events").await;
    let second = feed(&router, "/v1/events", None).await.err();
    assert_eq!(second, Some((429, "overloaded".into())));
    drop(first);
    eventually("its place is free", async || feed(&router, "/v1/events", None).await.is_ok()).await;
}

#[tokio::test]
async fn a_stream_goes_on_at_the_next_leader() {
    let (cluster, router) = ready().await;
    let set = own(&cluster);
    let mut stream = open(&router, &format!("/v1/sets/{set}/events")).await;
    let mut told = stream.take(3).await;
    // The leader dies without a word, while the stream waits for more or is in the middle of a page.
    cluster.node("a1").die();
    cluster.lead("a2", 2);
    assert_eq!(router.pay("after", 20_000).await.status, 200);
    told.extend(stream.take(names(&cluster, set).len() - 3).await);
    assert_eq!(ids(&told), names(&cluster, set), "no gap, nothing twice");
    // A leader that has stepped down without a successor, for a while.
    cluster.node("a2").set_mode(Mode::NotLeader(String::new()));
    let paying = router.spawn_pay("later", 20_000);
    cluster.lead("b1", 3);
    assert_eq!(paying.await.expect("no panic").status, 200);
    assert_eq!(stream.next().await.expect("no end").data["transaction"]["request_id"], "later");
}

#[tokio::test]
async fn who_reads_slowly_holds_up_nobody() {
    let (cluster, router) = ready().await;
    let set = own(&cluster);
    let mut slow = open(&router, "/v1/events").await;
    let mut fast = open(&router, &format!("/v1/sets/{set}/events")).await;
    let value = "x".repeat(500);
    let metadata: Vec<String> = (0..30).map(|n| format!("\"k{n}\":\"{value}\"")).collect();
    for n in 0..200 {
        let body = format!(
            r#"{{"request_id":"large-{n}","metadata":{{{}}},"legs":[{{"account":"{{t}}:a","side":"debit","amount":"1"}},{{"account":"{{t}}:b","side":"credit","amount":"1"}}]}}"#,
            metadata.join(",")
        );
        assert_eq!(router.post("/v1/transactions", &body).await.status, 200);
    }
    let expected = names(&cluster, set);
    let told = fast.take(expected.len()).await;
    assert_eq!(ids(&told), expected);
    // It has missed nothing either.
    let others = names(&cluster, other(&cluster)).len();
    let told = slow.take(expected.len() + others).await;
    let of_set: Vec<&str> =
        ids(&told).into_iter().filter(|name| name.starts_with(&format!("{set}-"))).collect();
    assert_eq!(of_set, expected);
}

#[tokio::test]
async fn streams_end_with_the_router() {
    let (_cluster, router) = ready().await;
    let mut stream = open(&router, "/v1/events").await;
    let mut grpc = grpc(&router).await;
    let asked = wire::StreamEventsRequest::default();
    let mut other = grpc.stream_events(asked).await.expect("a stream").into_inner();
    stream.next().await.expect("an event");
    other.message().await.expect("no error").expect("an event");
    let stopped = tokio::spawn(router.handle.stop());
    while stream.next().await.is_some() {}
    while other.message().await.expect("a clean end").is_some() {}
    drop((stream, other, grpc));
    assert!(stopped.await.expect("no panic"), "nothing was waited for in vain");
}

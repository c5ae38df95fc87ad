//! Hold and retry against nodes that misbehave on purpose: what the client hears is the truth, in time, and nothing is
//! booked twice.

use futures::future::join_all;
use serde_json::json;
use twinset_proto::cluster::v1::{RefusalReason, SetView};

use crate::support::node::Mode;
use crate::support::{Cluster, Router, eventually};

fn problem(status: u16, code: &str, outcome: &str) -> (u16, String, String) {
    (status, code.to_string(), outcome.to_string())
}

#[tokio::test]
async fn a_leader_that_moves_is_followed() {
    let cluster = Cluster::start().await;
    let router = cluster.router().await;
    router.open_accounts().await;
    assert_eq!(router.pay("p-1", 5_000).await.status, 200);
    cluster.lead("b1", 2);
    let answer = router.pay("p-2", 5_000).await;
    assert_eq!(answer.status, 200, "{:?}", answer.body);
    assert!(cluster.node("b1").items_seen() > 0);
}

#[tokio::test]
async fn a_hint_is_followed_without_news() {
    let cluster = Cluster::start().await;
    let router = cluster.router().await;
    router.open_accounts().await;
    let others = || cluster.node("a2").items_seen() + cluster.node("b2").items_seen();
    let before = others();
    cluster.node("a1").set_mode(Mode::NotLeader("b1".into()));
    cluster.node("b1").set_mode(Mode::Lead);
    assert_eq!(router.pay("p-1", 5_000).await.status, 200);
    assert_eq!(others(), before, "nobody else was asked");
}

#[tokio::test]
async fn a_leader_that_nobody_names_is_found() {
    let cluster = Cluster::start_silent(false).await;
    for name in ["a1", "b1", "b2"] {
        cluster.node(name).set_mode(Mode::NotLeader(String::new()));
    }
    cluster.node("a2").set_mode(Mode::Lead);
    let router = cluster.router().await;
    router.open_accounts().await;
    assert_eq!(router.pay("p-1", 5_000).await.status, 200);
}

#[tokio::test]
async fn what_waits_for_a_leader_goes_out_in_order_and_together() {
    let cluster = Cluster::start().await;
    let router = cluster.router().await;
    router.open_accounts().await;
    cluster.lead("nobody", 2);
    cluster.announce("", 3);
    let before = cluster.booked();
    let waiting: Vec<_> = (0..100).map(|n| router.spawn_pay(&format!("p-{n}"), 20_000)).collect();
    eventually("all wait", async || metric(&router, "twinset_router_calls_in_flight").await == 100).await;
    cluster.lead("b1", 4);
    for answer in join_all(waiting).await {
        let answer = answer.expect("no panic");
        assert_eq!(answer.status, 200, "{:?}", answer.body);
    }
    assert_eq!(cluster.booked() - before, 100, "each was booked once");
}

async fn metric(router: &Router, name: &str) -> u64 {
    let body = router.get("/metrics").await.body;
    let text = String::from_utf8_lossy(&body).into_owned();
    let line = text.lines().find(|line| line.starts_with(name)).expect("the metric is there");
    line.rsplit(' ').next().and_then(|value| value.parse().ok()).expect("a number")
}

#[tokio::test]
async fn a_stream_that_breaks_after_booking_books_once() {
    let cluster = Cluster::start().await;
    let router = cluster.router().await;
    router.open_accounts().await;
    let before = cluster.booked();
    cluster.node("a1").set_mode(Mode::BookAndBreak);
    let paying = router.spawn_pay("p-1", 20_000);
    eventually("it is booked", async || cluster.booked() > before).await;
    cluster.lead("b1", 2);
    let answer = paying.await.expect("no panic");
    assert_eq!((answer.status, &answer.json()["replayed"]), (200, &true.into()), "{:?}", answer.body);
    assert_eq!(cluster.booked(), before + 1);
}

#[tokio::test]
async fn at_the_deadline_the_client_hears_the_truth() {
    let not_applied = |code| problem(503, code, "not_applied");
    let unknown = problem(504, "unknown", "unknown");
    let table = [
        (Mode::NotLeader(String::new()), not_applied("no_leader")),
        (Mode::NotLeader("b1".into()), not_applied("no_leader")),
        (Mode::Refuse(RefusalReason::Draining), not_applied("no_leader")),
        (Mode::Refuse(RefusalReason::Overloaded), not_applied("deadline_exceeded")),
        (Mode::Refuse(RefusalReason::Deadline), not_applied("deadline_exceeded")),
        (Mode::Refuse(RefusalReason::WrongSet), not_applied("wrong_set")),
        (Mode::Refuse(RefusalReason::Malformed), problem(400, "malformed", "not_applied")),
        (Mode::Silent, unknown.clone()),
        (Mode::Unknown, unknown.clone()),
        (Mode::Break, unknown.clone()),
        (Mode::BookAndBreak, unknown),
    ];
    let cluster = Cluster::start().await;
    let router = cluster.router().await;
    router.open_accounts().await;
    for (n, (mode, expected)) in table.into_iter().enumerate() {
        cluster.lead("a1", 2 * n as u64 + 2);
        let id = format!("p-{n}");
        // The router has found its way back to the leader before the leader starts to misbehave.
        eventually("a1 answers", async || router.pay(&format!("warm-{n}"), 5_000).await.status == 200).await;
        cluster.node("a1").set_mode(mode.clone());
        let answer = router.pay(&id, 1_000).await;
        assert_eq!(answer.problem(), expected, "{mode:?}: {:?}", answer.body);
        let retry_after = answer.headers.contains_key("retry-after");
        assert_eq!(retry_after, answer.status == 503, "{mode:?}");
        // Whatever was said, the same id leads to one booking and the first result.
        cluster.lead("a1", 2 * n as u64 + 3);
        let again = router.pay(&id, 20_000).await;
        assert_eq!(again.status, 200, "{mode:?}: {:?}", again.body);
        assert_eq!(again.json()["replayed"], mode == Mode::BookAndBreak, "{mode:?}");
    }
}

#[tokio::test]
async fn a_silent_leader_is_given_up_once_another_leads() {
    let cluster = Cluster::start().await;
    let router = cluster.router().await;
    router.open_accounts().await;
    let seen = cluster.node("a1").items_seen();
    cluster.node("a1").set_mode(Mode::Silent);
    let paying = router.spawn_pay("p-1", 20_000);
    eventually("a1 has it", async || cluster.node("a1").items_seen() > seen).await;
    cluster.node("b2").set_mode(Mode::Lead);
    cluster.announce("b2", 2);
    let answer = paying.await.expect("no panic");
    assert_eq!(answer.status, 200, "{:?}", answer.body);
}

#[tokio::test]
async fn a_full_queue_answers_at_once() {
    let cluster = Cluster::start().await;
    let mut config = cluster.config();
    config.limits.queue_per_set_requests = 3;
    let router = cluster.router_with(config).await;
    router.open_accounts().await;
    cluster.node("a1").set_mode(Mode::Silent);
    let seen = cluster.node("a1").items_seen();
    let waiting: Vec<_> = (0..3).map(|n| router.spawn_pay(&format!("p-{n}"), 5_000)).collect();
    eventually("three wait", async || cluster.node("a1").items_seen() == seen + 3).await;
    let answer = router.pay("p-3", 60_000).await;
    assert_eq!(answer.problem(), problem(503, "set_queue_full", "not_applied"));
    assert_eq!(answer.headers["retry-after"], "1");
    for answer in join_all(waiting).await {
        assert_eq!(answer.expect("no panic").problem(), problem(504, "unknown", "unknown"));
    }
    cluster.lead("a1", 2);
    assert_eq!(router.pay("p-4", 20_000).await.status, 200, "the places were given back");
}

#[tokio::test]
async fn a_set_that_waits_leaves_room_for_those_that_serve() {
    let cluster = Cluster::start().await;
    let mut config = cluster.config();
    // Crowded from half of that on.
    config.limits.in_flight_max = 80;
    let router = cluster.router_with(config).await;
    router.open_accounts().await;
    let slots = cluster.shared.catalogue.slot_table();
    let waits = slots[usize::from(twinset_ledger::slot_of("{t}:a"))];
    let serves = 3 - waits;
    let other = ["y", "z"].map(|tag| cluster.account_in(serves, tag));
    for account in &other {
        router.open(account).await;
    }
    cluster.node("a1").set_mode(Mode::Silent);
    cluster.node("b1").set_mode(Mode::Lead);
    let views =
        [(waits, "a1"), (serves, "b1")].map(|(set, leader)| SetView { set, leader: leader.into(), term: 2 });
    cluster.shared.leaders.send_replace(views.to_vec());
    let seen = cluster.node("a1").items_seen();
    let waiting: Vec<_> = (0..40).map(|n| router.spawn_pay(&format!("p-{n}"), 20_000)).collect();
    eventually("forty wait", async || cluster.node("a1").items_seen() == seen + 40).await;
    let answer = router.pay("p-40", 20_000).await;
    assert_eq!(answer.problem(), problem(503, "set_queue_full", "not_applied"));
    let leg = |account: &str, side: &str| json!({"account": account, "side": side, "amount": "1"});
    let legs = [leg(&other[0], "debit"), leg(&other[1], "credit")];
    let answer = router.post("/v1/transactions", &json!({"request_id": "q", "legs": legs}).to_string()).await;
    assert_eq!(answer.status, 200, "{:?}", answer.body);
    cluster.lead("b1", 3);
    for answer in join_all(waiting).await {
        assert_eq!(answer.expect("no panic").status, 200);
    }
}

#[tokio::test]
async fn too_many_calls_are_refused_at_once() {
    let cluster = Cluster::start().await;
    let mut config = cluster.config();
    config.limits.in_flight_max = 2;
    let router = cluster.router_with(config).await;
    router.open_accounts().await;
    cluster.node("a1").set_mode(Mode::Silent);
    let seen = cluster.node("a1").items_seen();
    let waiting: Vec<_> = (0..2).map(|n| router.spawn_pay(&format!("p-{n}"), 20_000)).collect();
    eventually("two wait", async || cluster.node("a1").items_seen() == seen + 2).await;
    assert_eq!(router.pay("p-2", 1_000).await.problem(), problem(429, "overloaded", "not_applied"));
    cluster.lead("b1", 2);
    for answer in join_all(waiting).await {
        assert_eq!(answer.expect("no panic").status, 200);
    }
}

#[tokio::test]
async fn a_client_that_goes_away_cancels_nothing_and_leaves_nothing() {
    let cluster = Cluster::start().await;
    let router = cluster.router().await;
    router.open_accounts().await;
    let seen = cluster.node("a1").items_seen();
    cluster.node("a1").set_mode(Mode::Silent);
    // Its place is kept until its own deadline.
    let paying = router.spawn_pay("p-1", 3_000);
    eventually("a1 has it", async || cluster.node("a1").items_seen() > seen).await;
    paying.abort();
    eventually("its place is free", async || queued(&router).await == 0).await;
    cluster.lead("a1", 2);
    assert_eq!(router.pay("p-1", 20_000).await.status, 200);
}

async fn queued(router: &Router) -> u64 {
    let (one, two) =
        ("twinset_router_set_queue_requests{set=\"1\"}", "twinset_router_set_queue_requests{set=\"2\"}");
    metric(router, one).await + metric(router, two).await
}

#[tokio::test]
async fn reads_find_the_leader_and_stale_reads_stay_near() {
    let cluster = Cluster::start().await;
    let router = cluster.router().await;
    router.open_accounts().await;
    assert_eq!(router.pay("p-1", 5_000).await.status, 200);
    cluster.node("a1").set_mode(Mode::NotLeader("b1".into()));
    cluster.node("b1").set_mode(Mode::Lead);
    let read = router.get("/v1/accounts/%7Bt%7D:a").await;
    assert_eq!((read.status, &read.json()["account"]["posted"]), (200, &"1.00".into()), "{:?}", read.body);
    assert_eq!(read.json()["account"]["subject"], "b1", "the fake node signs with its name");
    for _ in 0..8 {
        let read = router.get("/v1/accounts/%7Bt%7D:a?consistency=stale").await;
        assert_eq!((read.status, &read.json()["age_ms"]), (200, &2.into()));
        let by = read.json()["account"]["subject"].as_str().unwrap_or_default().to_string();
        assert!(by.starts_with('b'), "{by} is not in this router's site");
    }
    let missing = router.get("/v1/accounts/%7Bt%7D:nobody").await;
    assert_eq!(missing.problem(), problem(404, "not_found", "not_applied"));
    assert!(missing.json()["position"]["index"].is_u64());
}

#[tokio::test]
async fn a_read_without_a_leader_ends_at_its_deadline() {
    let cluster = Cluster::start().await;
    let router = cluster.router().await;
    cluster.lead("nobody", 2);
    let read = router.call("GET", "/v1/accounts/x", "", Some(1_000)).await;
    assert_eq!(read.problem(), problem(503, "no_leader", "not_applied"));
}

#[tokio::test]
async fn stopping_lets_calls_in_progress_end() {
    let cluster = Cluster::start().await;
    let router = cluster.router().await;
    router.open_accounts().await;
    let seen = cluster.node("a1").items_seen();
    cluster.node("a1").set_mode(Mode::Break);
    let paying = router.spawn_pay("p-1", 20_000);
    eventually("a1 had it", async || cluster.node("a1").items_seen() > seen).await;
    let stopping = tokio::spawn(router.handle.stop());
    cluster.lead("b1", 2);
    assert_eq!(paying.await.expect("no panic").status, 200);
    assert!(stopping.await.expect("no panic"), "all ended in time");
}

//! What routers do: they go away, break streams, refuse, tell things again. Nothing of that reaches a receiver; a gap stops the set.

use crate::support::router::Trick;
use crate::support::{Relay, Stage, until};

const STOPPED: &str = "twinset_relay_stopped{set=\"1\",sink=\"hook\"}";

#[tokio::test]
async fn streams_that_break_are_resumed_without_a_gap() {
    let stage = Stage::new(1).await;
    stage.ledger.book(1, "{a}:cash", 100);
    stage.ledger.trick(
        1,
        &[
            Trick::Cut(0),
            Trick::Cut(17),
            Trick::Refuse(429, "overloaded"),
            Trick::Problem(9, "no_leader"),
            Trick::Early(5),
        ],
    );
    let relay = stage.relay("").await;
    stage.all_taken(1).await;
    let keys = stage.ledger.keys(1);
    let after = |n: usize| Some(keys[n - 1].clone());
    assert_eq!(stage.ledger.asked(1), [None, None, after(17), after(17), after(26)]);
    assert_eq!(stage.book.taken(1).len(), 100, "what was told again is not delivered again");
    assert_eq!(relay.metric("twinset_relay_events_repeated_total").await, 5.0);
    assert_eq!(relay.metric("twinset_relay_stream_breaks_total").await, 4.0);
    relay.stop().await;
}

#[tokio::test]
async fn when_a_router_dies_the_next_one_is_asked() {
    let mut stage = Stage::new(2).await;
    let relay = stage.relay("").await;
    stage.ledger.book(1, "{a}:cash", 30);
    stage.all_taken(1).await;
    drop(stage.routers.remove(0));
    stage.ledger.book(1, "{a}:cash", 90);
    stage.ledger.book(2, "{b}:cash", 90);
    stage.all_taken(1).await;
    stage.all_taken(2).await;
    assert!(relay.metric("twinset_relay_stream_breaks_total").await >= 2.0);
    assert_eq!(stage.book.taken(1).len(), 120);
    relay.stop().await;
}

#[tokio::test]
async fn a_gap_stops_its_set_and_no_other() {
    let stage = Stage::new(2).await;
    stage.ledger.book(1, "{a}:cash", 20);
    stage.ledger.book(2, "{b}:cash", 20);
    let keys = stage.ledger.keys(1);
    stage.ledger.hide(&keys[8]);
    let relay = stage.relay("").await;
    relay.metric_is(STOPPED, 1.0).await;
    stage.ledger.book(1, "{a}:cash", 5);
    stage.ledger.book(2, "{b}:cash", 5);
    stage.all_taken(2).await;
    assert_eq!(stage.book.taken(1), keys[..8], "everything before the gap, nothing behind it");
    assert_eq!(relay.metric("twinset_relay_stopped{set=\"2\",sink=\"hook\"}").await, 0.0);
    assert_eq!(stage.ledger.asked(1).len(), 1, "it does not ask until it finds one that hides it better");
    relay.stop().await;
    assert_eq!(stage.book.taken(1), keys[..8]);
}

#[tokio::test]
async fn a_first_event_that_is_not_the_first_is_a_gap() {
    let stage = Stage::new(1).await;
    stage.ledger.book(1, "{a}:cash", 3);
    stage.ledger.hide(&stage.ledger.keys(1)[0]);
    let relay = stage.relay("").await;
    relay.metric_is(STOPPED, 1.0).await;
    assert_eq!(stage.book.asked().len(), 0);
    relay.stop().await;
}

#[tokio::test]
async fn a_place_that_is_gone_stops_the_set() {
    let stage = Stage::new(1).await;
    stage.ledger.book(1, "{a}:cash", 10);
    stage.ledger.trick(1, &[Trick::Problem(4, "not_found")]);
    let relay = stage.relay("").await;
    relay.metric_is(STOPPED, 1.0).await;
    assert_eq!(stage.book.taken(1), stage.ledger.keys(1)[..4]);
    relay.stop().await;
}

#[tokio::test]
async fn a_relay_that_starts_before_its_routers_waits_for_them() {
    let mut stage = Stage::new(1).await;
    let mut config = stage.config("");
    config.routers = vec!["http://127.0.0.1:1".into(), stage.routers.remove(0).url.clone()];
    let relay = Relay::start(config).await;
    let said = relay.get("/readyz").await;
    assert!(said.contains("503"), "{said}");
    assert_eq!(relay.get("/healthz").await, "ok\n");
    relay.stop().await;

    let mut config = stage.config("");
    config.routers.insert(0, "http://127.0.0.1:1".into());
    stage.ledger.book(1, "{a}:cash", 3);
    let relay = Relay::start(config).await;
    until("it is ready", async || (relay.get("/readyz").await == "1 sets\n").then_some(())).await;
    stage.all_taken(1).await;
    relay.stop().await;
}

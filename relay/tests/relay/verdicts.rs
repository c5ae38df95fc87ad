//! What becomes of events that a receiver does not take: dead letters, and what people do with them.

use crate::support::{QUICK, Relay, Stage, until};

const DEAD: &str = "twinset_relay_dead_letters{set=\"1\",sink=\"hook\"}";
const HALTED: &str = "twinset_relay_halted{set=\"1\",sink=\"hook\"}";

fn skip(max: usize) -> String {
    format!("batch_max = 8\n{QUICK}\n[webhook.dead_letters]\non_dead = \"skip\"\nmax = {max}")
}

fn without(keys: &[String], left_out: &[usize]) -> Vec<String> {
    keys.iter().enumerate().filter(|(n, _)| !left_out.contains(n)).map(|(_, key)| key.clone()).collect()
}

#[tokio::test]
async fn a_refused_event_is_found_in_its_batch_and_set_aside() {
    let stage = Stage::new(1).await;
    stage.ledger.book(1, "{a}:cash", 30);
    let keys = stage.ledger.keys(1);
    stage.book.refuse(&keys[5], Some(422));
    stage.book.refuse(&keys[20], Some(400));
    let relay = Relay::start(stage.config(&skip(10))).await;
    let others = without(&keys, &[5, 20]);
    until("the others", async || (stage.book.taken(1).len() >= others.len()).then_some(())).await;
    assert_eq!(stage.book.taken(1), others, "in their order, once");
    relay.metric_is(DEAD, 2.0).await;
    assert_eq!(relay.metric(HALTED).await, 0.0);
    relay.metric_is("twinset_relay_events_total{end=\"dead\",sink=\"hook\"}", 2.0).await;

    let list = relay.command(&["dead-letters", "list"]).expect("listed");
    let line = format!("hook\t{}\twaits\t1\t", keys[5]);
    assert!(
        list.starts_with(&line) && list.contains("422 Unprocessable Entity: what the receiver says"),
        "{list}"
    );
    let shown = relay.command(&["dead-letters", "show", "--sink", "hook", &keys[20]]).expect("shown");
    assert!(
        shown.contains(&format!("\"event\":\"{}\"", keys[20])) && shown.contains("\"amount\":\"1.10\""),
        "{shown}"
    );

    // Asked for again too early, it stays; then it is delivered; the other one is dropped.
    relay.command(&["dead-letters", "redeliver", "--sink", "hook", &keys[5]]).expect("there");
    until("it was tried", async || {
        let list = relay.command(&["dead-letters", "list", "--sink", "hook"]).expect("listed");
        list.contains(&format!("hook\t{}\twaits\t2\t", keys[5])).then_some(())
    })
    .await;
    stage.book.refuse(&keys[5], None);
    relay.command(&["dead-letters", "redeliver", "--sink", "hook", &keys[5]]).expect("there");
    relay.metric_is(DEAD, 1.0).await;
    assert_eq!(stage.book.taken(1).last(), Some(&keys[5]));
    let drop = ["dead-letters", "drop", "--sink", "hook", &keys[20]];
    assert!(relay.command(&drop).is_err(), "not without --yes");
    relay.command(&[&drop[..], &["--yes"]].concat()).expect("there");
    relay.metric_is(DEAD, 0.0).await;
    assert!(relay.command(&drop).expect_err("gone").to_string().contains("is no dead letter of hook"));
    assert!(relay.command(&["dead-letters", "list", "--sink", "hock"]).is_err());
    relay.stop().await;
    assert_eq!(stage.book.taken(1).len(), keys.len() - 1);
}

#[tokio::test]
async fn a_halted_set_waits_for_a_decision_even_over_a_restart_and_others_go_on() {
    let stage = Stage::new(2).await;
    stage.ledger.book(1, "{a}:cash", 20);
    stage.ledger.book(2, "{b}:cash", 20);
    let keys = stage.ledger.keys(1);
    stage.book.refuse(&keys[7], Some(422));
    stage.book.refuse(&keys[12], Some(422));
    let relay = stage.relay("batch_max = 8").await;
    relay.metric_is(HALTED, 1.0).await;
    stage.all_taken(2).await;
    assert_eq!(stage.book.taken(1), keys[..7]);
    relay.stop().await;

    let relay = stage.relay("batch_max = 8").await;
    relay.metric_is(HALTED, 1.0).await;
    relay.metric_is(DEAD, 1.0).await;
    assert_eq!(stage.book.taken(1), keys[..7], "nothing overtakes it");
    stage.book.refuse(&keys[7], None);
    relay.command(&["dead-letters", "redeliver", "--sink", "hook", "--all"]).expect("there");
    until("up to the next", async || (stage.book.taken(1).len() == 12).then_some(())).await;
    relay.metric_is(HALTED, 1.0).await;
    relay.command(&["dead-letters", "drop", "--sink", "hook", &keys[12], "--yes"]).expect("there");
    until("the rest", async || (stage.book.taken(1).len() == 19).then_some(())).await;
    assert_eq!(stage.book.taken(1), without(&keys, &[12]), "in order");
    relay.metric_is(HALTED, 0.0).await;
    relay.stop().await;
}

#[tokio::test]
async fn what_fails_too_often_is_a_dead_letter() {
    let stage = Stage::new(1).await;
    stage.ledger.book(1, "{a}:cash", 4);
    let keys = stage.ledger.keys(1);
    stage.book.refuse(&keys[1], Some(503));
    let retry =
        "[webhook.retry]\nmin_ms = 1\nmax_ms = 5\ntries_max = 3\n[webhook.dead_letters]\non_dead = \"skip\"";
    let relay = Relay::start(stage.config(&format!("batch_max = 1\n{retry}"))).await;
    until("the others", async || (stage.book.taken(1).len() == 3).then_some(())).await;
    assert_eq!(stage.book.taken(1), without(&keys, &[1]));
    let tried = stage.book.asked().iter().filter(|request| request.events == keys[1..2]).count();
    assert_eq!(tried, 3);
    relay.stop().await;
}

#[tokio::test]
async fn what_fails_for_too_long_is_a_dead_letter() {
    let stage = Stage::new(1).await;
    stage.ledger.book(1, "{a}:cash", 2);
    let keys = stage.ledger.keys(1);
    stage.book.refuse(&keys[0], Some(503));
    let retry =
        "[webhook.retry]\nmin_ms = 1\nmax_ms = 50\nage_max_s = 1\n[webhook.dead_letters]\non_dead = \"skip\"";
    let relay = Relay::start(stage.config(retry)).await;
    until("the other", async || (stage.book.taken(1).len() == 1).then_some(())).await;
    assert_eq!(stage.book.taken(1), keys[1..]);
    assert!(stage.book.asked().len() > 3);
    relay.stop().await;
}

#[tokio::test]
async fn a_full_list_halts_and_drops_nothing() {
    let stage = Stage::new(1).await;
    stage.ledger.book(1, "{a}:cash", 6);
    let keys = stage.ledger.keys(1);
    for n in [1, 3] {
        stage.book.refuse(&keys[n], Some(422));
    }
    let relay = Relay::start(stage.config(&skip(1))).await;
    relay.metric_is(HALTED, 1.0).await;
    relay.metric_is(DEAD, 1.0).await;
    assert_eq!(stage.book.taken(1), without(&keys[..3], &[1]));
    relay.command(&["dead-letters", "drop", "--sink", "hook", &keys[1], "--yes"]).expect("there");
    until("the rest", async || (stage.book.taken(1).len() == 4).then_some(())).await;
    assert_eq!(stage.book.taken(1), without(&keys, &[1, 3]));
    relay.metric_is(HALTED, 0.0).await;
    relay.metric_is(DEAD, 1.0).await;
    relay.stop().await;
}

#[tokio::test]
async fn a_batch_that_is_too_large_goes_in_pieces() {
    let stage = Stage::new(1).await;
    stage.book.take_at_most(3);
    stage.ledger.book(1, "{a}:cash", 50);
    let relay = stage.relay("batch_bytes_max = 2048").await;
    stage.all_taken(1).await;
    let sizes: Vec<usize> = stage.book.asked().iter().map(|request| request.events.len()).collect();
    assert!(sizes.iter().all(|size| (1..=6).contains(size)), "{sizes:?}");
    let refused = sizes.iter().position(|size| *size > 3).expect("more are tried");
    assert_eq!(sizes[refused + 1], 1, "alone after a refusal: {sizes:?}");
    assert_eq!(relay.metric(DEAD).await, 0.0);
    relay.stop().await;
}

//! What reaches a receiver: everything, in order, signed, whatever goes wrong on the way.

use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

use crate::support::receiver::{Answer, Book, Receiver};
use crate::support::{OTHER_SECRET, QUICK, Relay, SECRET, Stage, secret, until};

#[tokio::test]
async fn events_come_in_the_order_of_their_sets_signed_and_in_batches() {
    let stage = Stage::new(2).await;
    stage.ledger.book(1, "{a}:cash", 250);
    let relay = stage.relay("batch_max = 40").await;
    stage.all_taken(1).await;
    stage.ledger.book(2, "{b}:cash", 3);
    stage.ledger.book(1, "{a}:cash", 1);
    stage.all_taken(1).await;
    stage.all_taken(2).await;
    let asked = stage.book.asked();
    assert!(asked.iter().all(|request| request.events.len() <= 40));
    assert!(asked.iter().any(|request| request.events.len() == 40), "there are whole batches");
    assert_eq!(asked.iter().map(|request| request.events.len()).sum::<usize>(), 254, "nothing came twice");
    assert!(asked.iter().all(|request| request.headers["content-type"] == "application/json"));
    assert_eq!(relay.get("/readyz").await, "2 sets\n");
    relay.metric_is("twinset_relay_events_total{end=\"delivered\",sink=\"hook\"}", 254.0).await;
    relay.metric_is("twinset_relay_streams", 2.0).await;
    relay.metric_is("twinset_relay_head_seconds{set=\"1\",sink=\"hook\"}", 0.0).await;
    relay.stop().await;
}

#[tokio::test]
async fn a_relay_goes_on_where_it_was_and_a_cursor_can_be_set() {
    let stage = Stage::new(1).await;
    stage.ledger.book(1, "{a}:cash", 10);
    let relay = stage.relay("").await;
    stage.all_taken(1).await;
    assert!(
        relay.command(&["cursors", "set", "--sink", "hook", "--set", "1", "--first"]).is_err(),
        "it runs"
    );
    relay.stop().await;
    stage.ledger.book(1, "{a}:cash", 5);
    let relay = stage.relay("").await;
    stage.all_taken(1).await;
    assert_eq!(stage.book.taken(1).len(), 15, "nothing came twice");
    let keys = stage.ledger.keys(1);
    assert_eq!(stage.ledger.asked(1), [None, Some(keys[9].clone())]);
    let config = relay.config.clone();
    relay.stop().await;

    let idle = Relay::start(stage.config("[webhook.filter]\nsets = [9]")).await;
    assert_eq!(idle.command(&["cursors", "list"]).expect("listed"), format!("hook\t1\t{}\n", keys[14]));
    let commands = idle.config.clone();
    idle.stop().await;
    set_cursor(&commands, &["--after", &keys[11]]).expect("nothing runs");
    assert!(set_cursor(&commands, &["--after", "2-1-1-0"]).is_err(), "of another set");
    let relay = Relay::start(config).await;
    until("three came again", async || (stage.book.taken(1).len() == 18).then_some(())).await;
    assert_eq!(stage.book.taken(1)[15..], keys[12..]);
    relay.stop().await;
}

fn set_cursor(config: &twinset_relay::config::Config, place: &[&str]) -> anyhow::Result<()> {
    let arguments = [&["cursors", "set", "--sink", "hook", "--set", "1"], place].concat();
    crate::support::command(config, &arguments).map(drop)
}

#[tokio::test]
async fn whatever_a_receiver_does_nothing_is_left_out_and_the_order_is_kept() {
    let stage = Stage::new(2).await;
    let elsewhere = Book::new(&[("k1", SECRET)]);
    let other = Receiver::start(&elsewhere).await;
    let redirect = Answer::Redirect(format!("http://{}/", other.address));
    stage.book.answers([
        Answer::Status(500),
        Answer::Break,
        redirect.clone(),
        Answer::Lost,
        Answer::Status(404),
        Answer::Hang,
        Answer::Late(Duration::from_millis(20)),
        Answer::Busy(0),
        Answer::Status(401),
        Answer::Lost,
        redirect,
        Answer::Status(503),
    ]);
    stage.ledger.book(1, "{a}:cash", 60);
    stage.ledger.book(2, "{b}:cash", 60);
    let relay = stage.relay("batch_max = 7\ntimeout_ms = 300").await;
    stage.all_taken(1).await;
    stage.all_taken(2).await;
    assert_eq!(stage.book.answers_left(), 0, "every trick was played");
    assert_eq!(elsewhere.asked().len(), 0, "a redirect is never followed");
    assert_eq!(relay.metric("twinset_relay_events_total{end=\"dead\",sink=\"hook\"}").await, 0.0);
    assert!(relay.metric("twinset_relay_attempts_total{end=\"failed\",sink=\"hook\"}").await >= 11.0);
    relay.stop().await;
}

#[tokio::test]
async fn a_receiver_that_dies_and_comes_back_misses_nothing() {
    let mut stage = Stage::new(1).await;
    let relay = stage.relay("batch_max = 5").await;
    for _ in 0..3 {
        stage.ledger.book(1, "{a}:cash", 20);
        let address = stage.receiver.address;
        stage.all_taken(1).await;
        // The old one is gone before the new one listens.
        let elsewhere = Receiver::start(&stage.book).await;
        drop(std::mem::replace(&mut stage.receiver, elsewhere));
        stage.ledger.book(1, "{a}:cash", 20);
        let failed = "twinset_relay_attempts_total{end=\"failed\",sink=\"hook\"}";
        let before = relay.metric(failed).await;
        until("it is missed", async || (relay.metric(failed).await > before).then_some(())).await;
        stage.receiver = Receiver::start_at(address, &stage.book, None).await;
    }
    stage.all_taken(1).await;
    relay.stop().await;
}

#[tokio::test]
async fn a_busy_receiver_is_given_the_time_it_asks_for() {
    let stage = Stage::new(1).await;
    stage.book.answers([Answer::Busy(1)]);
    stage.ledger.book(1, "{a}:cash", 1);
    let began = std::time::Instant::now();
    let relay = Relay::start(stage.config("[webhook.retry]\nmin_ms = 1\nmax_ms = 2000")).await;
    stage.all_taken(1).await;
    assert!(began.elapsed() >= Duration::from_secs(1));
    relay.stop().await;
}

#[tokio::test]
async fn a_set_whose_deliveries_hang_holds_up_no_other() {
    let stage = Stage::new(2).await;
    stage.book.hang(1);
    stage.ledger.book(1, "{a}:cash", 5);
    stage.ledger.book(2, "{b}:cash", 50);
    let relay = stage.relay("timeout_ms = 60000").await;
    stage.all_taken(2).await;
    until("the other is tried", async || {
        stage.book.asked().iter().any(|request| request.set == 1).then_some(())
    })
    .await;
    let tried = stage.book.asked().iter().filter(|request| request.set == 1).count();
    assert_eq!(tried, 1, "of one set there is one request at a time");
    until("it shows", async || {
        (relay.metric("twinset_relay_head_seconds{set=\"1\",sink=\"hook\"}").await > 0.0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn sinks_do_not_wait_for_each_other_and_have_what_they_want() {
    let stage = Stage::new(1).await;
    let other_book = Book::new(&[("k1", SECRET), ("k2", OTHER_SECRET)]);
    let other = Receiver::start(&other_book).await;
    let dir = stage.dir.path().display();
    secret(stage.dir.path(), "second", OTHER_SECRET);
    let second = format!(
        "[[webhook]]\nname = \"other\"\nurl = \"http://{}/\"\nsecrets = [{{ id = \"k1\", file = \"{dir}/secret\" }}, \
         {{ id = \"k2\", file = \"{dir}/second\" }}]\n[webhook.filter]\nkinds = [\"booked\"]\naccounts = [\"{{a}}:\"]\n",
        other.address
    );
    stage.book.hang(1);
    stage.ledger.add(1, "currency_defined", r#""change":{"code":"PTS","scale":0}"#);
    stage.ledger.book(1, "{a}:cash", 3);
    stage.ledger.book(1, "{b}:cash", 2);
    let relay = Relay::start(stage.config(&format!("{QUICK}\n{second}"))).await;
    let keys = stage.ledger.keys(1);
    until("what it wants", async || (other_book.taken(1).len() == 3).then_some(())).await;
    assert_eq!(other_book.taken(1), keys[1..4]);
    other_book.nothing_is_wrong();
    relay.metric_is("twinset_relay_events_total{end=\"filtered\",sink=\"other\"}", 3.0).await;
    // What it does not want is passed, too.
    let last = format!("other\t1\t{}\n", keys[5]);
    until("the cursor is behind it", async || {
        relay.command(&["cursors", "list"]).expect("listed").ends_with(&last).then_some(())
    })
    .await;
}

#[tokio::test]
async fn over_tls_only_whom_it_trusts_is_told() {
    let stage = Stage::new(1).await;
    stage.ledger.book(1, "{a}:cash", 5);
    let files = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/relay/tls");
    let chain = CertificateDer::pem_file_iter(format!("{files}/receiver.pem")).expect("there");
    let chain = chain.collect::<Result<Vec<_>, _>>().expect("certificates");
    let key = PrivateKeyDer::from_pem_file(format!("{files}/receiver.key")).expect("a key");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let tls = tls.expect("versions").with_no_client_auth().with_single_cert(chain, key).expect("a pair");
    let receiver = Receiver::start_tls(&stage.book, TlsAcceptor::from(Arc::new(tls))).await;
    let mut config = stage.config(&format!("ca_file = \"{files}/ca.pem\"\n{QUICK}"));
    config.webhook[0].url = format!("https://localhost:{}/", receiver.address.port());
    let mut trusting = config.webhook[0].clone();
    // An authority of the same name with another key.
    config.webhook[0].ca_file = Some(format!("{files}/other.pem").into());
    trusting.name = "trusting".into();
    let distrusting = Relay::start(config.clone()).await;
    let failed = "twinset_relay_attempts_total{end=\"failed\",sink=\"hook\"}";
    until("it is not trusted", async || (distrusting.metric(failed).await >= 2.0).then_some(())).await;
    assert_eq!(stage.book.asked().len(), 0);
    distrusting.stop().await;
    config.webhook[0] = trusting;
    let relay = Relay::start(config).await;
    stage.all_taken(1).await;
    relay.stop().await;
}

//! Journals through the whole way and back: text, plan, ledger (the real rules, in memory), export, text. What comes
//! out must balance, hold the same balances, and not change when it goes round again.

#![allow(clippy::unwrap_used, reason = "a test may panic anywhere, in its helpers too")]

mod journal_fake;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use journal_fake::{FakeRouter, Trouble};
use rust_decimal::Decimal;
use twinset_ledger::{Command, date};
use twinset_tools::journal::book::{Booked, book};
use twinset_tools::journal::fetch::{self, fetch};
use twinset_tools::journal::send::{self, Pace, Sent, send};
use twinset_tools::journal::{Format, Kind, Load, Plan, Roots, Source, prepare, read};

type Balances = BTreeMap<(String, String), Decimal>;

fn data(name: &str) -> PathBuf {
    Path::new("tests/data").join(name)
}

fn from_disk(path: &Path) -> std::io::Result<String> {
    std::fs::read_to_string(path)
}

/// Reads with `load`, without kinds for unusual roots.
fn source<'a>(format: Format, path: &'a Path, load: Load<'a>, roots: &'a Roots) -> Source<'a> {
    Source { format, path, load, roots }
}

fn booked(format: Format, path: &Path) -> Vec<Booked> {
    let journal =
        read(source(format, path, &from_disk, &Roots::new())).unwrap_or_else(|problems| panic!("{problems}"));
    book(&journal).unwrap_or_else(|problems| panic!("{problems}"))
}

fn booked_text(text: &str) -> Vec<Booked> {
    let load = |_: &Path| Ok(text.to_owned());
    let journal = read(source(Format::Beancount, Path::new("export"), &load, &Roots::new()))
        .unwrap_or_else(|problems| panic!("{problems}\n{text}"));
    book(&journal).unwrap_or_else(|problems| panic!("{problems}\n{text}"))
}

fn balances(booked: &[Booked]) -> Balances {
    let mut balances = Balances::new();
    for posting in booked.iter().flat_map(|transaction| &transaction.postings) {
        *balances.entry((posting.account.clone(), posting.commodity.clone())).or_default() += posting.number;
    }
    balances.retain(|_, number| !number.is_zero());
    balances
}

fn plan(format: Format, path: &Path, tag: &str) -> Plan {
    prepare(source(format, path, &from_disk, &Roots::new()), tag)
        .unwrap_or_else(|problems| panic!("{problems}"))
}

fn plan_text(text: &str, tag: &str) -> Plan {
    let load = |_: &Path| Ok(text.to_owned());
    prepare(source(Format::Beancount, Path::new("j"), &load, &Roots::new()), tag)
        .unwrap_or_else(|problems| panic!("{problems}"))
}

fn pace() -> Pace {
    Pace { batch: 5, openings: 4, patience: Duration::from_secs(30), ..Pace::default() }
}

async fn import(router: &FakeRouter, plan: &Plan) -> Sent {
    send(router, plan, pace(), &|_| {}).await.unwrap_or_else(|error| panic!("{error}"))
}

async fn export(router: &FakeRouter, tag: &str) -> String {
    fetch(router, tag, pace(), &|_| {}).await.unwrap_or_else(|error| panic!("{error}")).text
}

async fn goes_round(format: Format, file: &str) -> String {
    let before = balances(&booked(format, &data(file)));
    let router = FakeRouter::new();
    let plan = plan(format, &data(file), "one");
    let sent = import(&router, &plan).await;
    assert_eq!(sent.transactions, plan.transactions.len());
    assert_eq!(router.booked(), plan.transactions.len());
    assert!(router.sums().iter().all(|sum| *sum == 0), "{:?}", router.sums());
    let text = export(&router, "one").await;
    let again = booked_text(&text);
    assert_eq!(balances(&again), before, "{text}");
    assert!(!text.contains("Trading"), "trading legs are folded back:\n{text}");
    // A second time round nothing changes any more.
    import(&router, &plan_text(&text, "two")).await;
    let text_again = export(&router, "two").await;
    assert_eq!(text_again.replace("`two`", "`one`").replace("\"two\"", "\"one\""), text);
    text
}

#[tokio::test]
async fn a_beancount_journal_comes_back_with_the_same_balances() {
    let text = goes_round(Format::Beancount, "sample.beancount").await;
    for kept in [
        "option \"title\" \"A household of \\\"examples\\\"\"",
        "2020-01-01 open Assets:Bank:Giro EUR\n  iban: \"DE00 0000 0000\"\n",
        "2020-01-01 open Assets:Depot HOOL,NT.TO \"FIFO\"",
        "2020-01-02 * \"Kiosk \\\\ Ecke\" \"Zeitung und \\\"Kaffee\\\"\" #klein ^beleg-1\n",
        "    terminal: \"A 7\"\n  ! Expenses:Essen ",
        "-4 HOOL {} @ 120.00 EUR",
        "7 FUND {{700.10 EUR}}",
        "110.00 USD @ 0.91 EUR",
        "0.12345678 BTC",
        " 0.00 EUR\n",
        "2020-12-31 close Assets:Urlaub",
        "#boerse",
    ] {
        assert!(text.contains(kept), "{kept} in\n{text}");
    }
}

#[tokio::test]
async fn a_ledger_journal_comes_back_with_the_same_balances() {
    let text = goes_round(Format::Ledger, "sample.ledger").await;
    for kept in [
        "2021-01-01 * \"Opening\" \"brought forward\" #start #new",
        "code: \"42\"",
        "10.00 AAPL @ 50.00 USD",
        "2.50 MY-FUND @@ 25 USD",
        "Assets:My-Wallet",
        "lot: \"{$50.00} [2021/01/10] @ $55.00\"",
        "90.00 EUR @@ 100.00 USD",
        "cashier: \"Jane \\\"JJ\\\" Doe\"",
    ] {
        assert!(text.contains(kept), "{kept} in\n{text}");
    }
}

#[tokio::test]
async fn a_second_import_replays_everything_and_books_nothing() {
    let router = FakeRouter::new();
    let plan = plan(Format::Beancount, &data("sample.beancount"), "one");
    let first = import(&router, &plan).await;
    assert_eq!((first.accounts_replayed, first.transactions_replayed), (0, 0));
    let before = router.list();
    let second = import(&router, &plan).await;
    assert_eq!(second.transactions_replayed, plan.transactions.len());
    assert_eq!(second.accounts_replayed, plan.accounts.len());
    assert_eq!(router.list(), before);
}

#[tokio::test]
async fn troubles_on_the_way_book_nothing_twice_and_lose_nothing() {
    let router = FakeRouter::troubled(|call| match call % 3 {
        1 => Some(Trouble::Unknown),
        2 => Some(Trouble::NoLeader),
        _ => None,
    });
    let plan = plan(Format::Beancount, &data("sample.beancount"), "one");
    let pace = Pace { batch: 20, ..pace() };
    let sent = send(&router, &plan, pace, &|_| {}).await.unwrap();
    assert_eq!(sent.transactions, plan.transactions.len());
    assert_eq!(router.booked(), plan.transactions.len());
    let text = fetch(&router, "one", pace, &|_| {}).await.unwrap().text;
    let quiet = FakeRouter::new();
    import(&quiet, &plan).await;
    assert_eq!(text, export(&quiet, "one").await);
}

#[tokio::test]
async fn trouble_that_does_not_pass_ends_the_import() {
    let router = FakeRouter::troubled(|call| (call > 30).then_some(Trouble::NoLeader));
    let plan = plan(Format::Beancount, &data("sample.beancount"), "one");
    let pace = Pace { patience: Duration::from_millis(50), ..pace() };
    let error = send(&router, &plan, pace, &|_| {}).await.unwrap_err();
    assert!(error.to_string().contains("no_leader"), "{error}");
    assert!(router.booked() < plan.transactions.len());
}

#[tokio::test]
async fn roots_of_a_given_kind_keep_their_accounts_apart() {
    let text = "2020/01/02 Dues\n  Funds:Cash  10.00 EUR\n  Assets:Cash  5.00 EUR\n  Dues:2020\n";
    let roots = Roots::from([("Funds".to_owned(), Kind::Asset), ("Dues".to_owned(), Kind::Income)]);
    let load = |_: &Path| Ok(text.to_owned());
    let plan = prepare(source(Format::Ledger, Path::new("j"), &load, &roots), "one")
        .unwrap_or_else(|problems| panic!("{problems}"));
    let router = FakeRouter::new();
    import(&router, &plan).await;
    assert_eq!(router.balance("{one}:Assets:Funds:Cash:EUR"), Decimal::TEN);
    let exported = export(&router, "one").await;
    let balances = balances(&booked_text(&exported));
    assert_eq!(balances[&("Income:Dues:2020".into(), "EUR".into())], Decimal::from(-15), "{exported}");
}

#[tokio::test]
async fn no_call_is_larger_than_a_router_takes() {
    let plan = plan(Format::Beancount, &data("sample.beancount"), "one");
    for call_bytes in [1, 2_000] {
        let router = FakeRouter::new();
        let pace = Pace { batch: 500, call_bytes, ..pace() };
        let sent = send(&router, &plan, pace, &|_| {}).await.unwrap();
        assert_eq!(sent.transactions, plan.transactions.len());
        let largest = router.largest_batch();
        // A single transaction goes whatever its size.
        assert!(largest.1 <= call_bytes.max(1) || largest.0 == 1, "{largest:?}");
    }
}

const SMALL: &str = "2020-01-01 open Assets:A\n2020-01-01 open Income:B\n\
    2020-01-02 * \"x\"\n  Assets:A  1.00 USD\n  Income:B\n";

#[tokio::test]
async fn another_journal_under_the_same_tag_is_refused_before_anything_is_booked() {
    let router = FakeRouter::new();
    import(&router, &plan_text(SMALL, "one")).await;
    let changed = plan_text(&SMALL.replace("1.00", "2.00"), "one");
    let error = send(&router, &changed, pace(), &|_| {}).await.unwrap_err();
    assert_eq!(error, send::Error::OtherJournal { tag: "one".into() });
    assert_eq!(router.booked(), 1);
    import(&router, &plan_text(&SMALL.replace("1.00", "2.00"), "two")).await;
    assert_eq!(router.booked(), 2);
    assert_eq!(router.balance("{two}:Assets:A:USD"), Decimal::TWO);
}

#[tokio::test]
async fn an_unknown_tag_has_no_export() {
    let error = fetch(&FakeRouter::new(), "none", pace(), &|_| {}).await.unwrap_err();
    assert_eq!(error, fetch::Error::NoJournal { tag: "none".into() });
}

#[tokio::test]
async fn what_others_booked_under_the_tag_is_exported_too() {
    let router = FakeRouter::new();
    import(&router, &plan_text(SMALL, "one")).await;
    let mut by_hand = plan_text(SMALL, "one");
    let Command::Transaction(transaction) = &mut by_hand.transactions[0].command else {
        panic!("a transaction is planned")
    };
    transaction.request_id = "by-hand".into();
    transaction.accounting_date = date::parse("2019-05-05");
    transaction.metadata = [("order".to_owned(), "7".to_owned())].into();
    import(&router, &by_hand).await;
    let text = export(&router, "one").await;
    assert!(text.contains("2019-05-05 * \"Transaction 3-1-"), "{text}");
    assert!(text.contains("2019-05-05 open Assets:A"), "{text}");
    assert_eq!(balances(&booked_text(&text))[&("Assets:A".into(), "USD".into())], Decimal::TWO);
}

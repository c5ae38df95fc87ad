//! The laws of transactions over several sets, under a network that does all that networks do, and leaders that die: money is
//! conserved in each set and over all of them, limits hold, a request has its effect once, in all its sets or in none, there is
//! one answer to it, and each log alone gives its set. Every entry of every set is held against the model; most of the laws are
//! checked at every step as well, in `support/world/`. A failing case is written to `tests/across.regressions`; then
//! `cargo test -p twinset-ledger --test across` tries it first.

mod model;
mod support;
#[path = "support/twin.rs"]
mod twin;
#[path = "support/world/mod.rs"]
mod world;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::test_runner::FileFailurePersistence;
use rust_decimal::Decimal;
use twinset_ledger::codec::encode_outcome;
use twinset_ledger::memory::MemoryState;
use twinset_ledger::{Command, FreezeMode, Side, Transaction};
use world::{ACCOUNTS, Action, Ask, Fate, SETS, World};

/// A few thousand histories: some of what must be met is rare.
const HISTORIES: u32 = 3_000;

fn config() -> ProptestConfig {
    let regressions = FileFailurePersistence::Direct("tests/across.regressions");
    let ProptestConfig { cases, .. } = ProptestConfig::default();
    ProptestConfig {
        cases: cases.max(HISTORIES),
        failure_persistence: Some(Box::new(regressions)),
        ..ProptestConfig::default()
    }
}

fn history() -> impl Strategy<Value = (Vec<(Command, u32)>, Vec<Action>)> {
    (openings(), vec(action(), 20..160))
}

fn openings() -> impl Strategy<Value = Vec<(Command, u32)>> {
    let limit =
        prop_oneof![6 => Just(None), 3 => Just(Some(Decimal::ZERO)), 1 => Just(Some(Decimal::new(-2, 0)))];
    let subject = select(vec!["asset", "liability"]);
    let currency = prop_oneof![9 => Just("EUR"), 1 => Just("JPY")];
    vec((subject, currency, limit), ACCOUNTS.len() - 1).prop_map(|drawn| {
        let open = |((subject, currency, limit), (account, set, fixed)): (_, (&str, u32, Option<&str>))| {
            let (subject, currency): (&str, &str) = (subject, fixed.unwrap_or(currency));
            let command = Command::OpenAccount {
                request_id: "open".to_owned(),
                account: account.to_owned(),
                subject: subject.to_owned(),
                currency: currency.to_owned(),
                normal_side: None,
                limit,
                metadata: <_>::default(),
            };
            (command, set)
        };
        drawn.into_iter().zip(ACCOUNTS).map(open).collect()
    })
}

fn action() -> impl Strategy<Value = Action> {
    let fate = prop_oneof![6 => Just(Fate::Once), 2 => Just(Fate::Twice), 1 => Just(Fate::Lost)];
    let id_of = option::weighted(0.08, any::<Index>());
    prop_oneof![
        12 => (ask(), id_of).prop_map(|(ask, id_of)| Action::Ask(ask, id_of)),
        4 => any::<Index>().prop_map(Action::AskAgain),
        48 => (any::<Index>(), fate).prop_map(|(at, fate)| Action::Deliver(at, fate)),
        4 => set().prop_map(Action::Resend),
        2 => any::<Index>().prop_map(Action::GiveUp),
        3 => set().prop_map(Action::Crash),
        36 => (set(), 0u64..300, prop::bool::weighted(0.06))
            .prop_map(|(set, time, last)| Action::Entry(set, time, last)),
        1 => set().prop_map(Action::Recover),
    ]
}

fn set() -> impl Strategy<Value = u32> {
    select(SETS.as_slice())
}

fn ask() -> impl Strategy<Value = Ask> {
    let reversal = (request_id(), any::<Index>(), prop::bool::weighted(0.7), option::weighted(0.7, amount()));
    prop_oneof![
        9 => transaction(),
        6 => reversal.prop_map(|(request_id, original, across, amount)| {
            Ask::Reversal { request_id, original, across, amount }
        }),
        3 => on_account().prop_map(Ask::OnAccount),
    ]
}

/// One to three pairs of legs that balance, if the currencies are the same; now and then one leg more.
fn transaction() -> impl Strategy<Value = Ask> {
    let odd = option::weighted(0.05, (place(), amount()));
    let scope = option::weighted(0.3, any::<Index>());
    let date = option::weighted(0.1, -1i32..2);
    let pairs = prop_oneof![3 => vec(pair(), 1), 2 => vec(pair(), 2..4)];
    (request_id(), pairs, odd, scope, date).prop_map(|(request_id, pairs, odd, scope, accounting_date)| {
        let mut legs: Vec<(usize, Side, Decimal)> = pairs
            .into_iter()
            .flat_map(|(from, to, amount)| [(from, Side::Debit, amount), (to, Side::Credit, amount)])
            .collect();
        if let Some((at, amount)) = odd.filter(|_| legs.len() < 6) {
            legs.push((at, Side::Credit, amount));
        }
        let base = Transaction { request_id, accounting_date, ..Transaction::default() };
        Ask::Transaction { base, legs, scope }
    })
}

/// Whose money goes to whom, and how much.
fn pair() -> impl Strategy<Value = (usize, usize, Decimal)> {
    let amount = prop_oneof![60 => amount().boxed(), 1 => fortune().boxed()];
    (places(), amount).prop_map(|((from, to), amount)| (from, to, amount))
}

/// Mostly of two accounts that may have the same currency.
fn places() -> impl Strategy<Value = (usize, usize)> {
    let of_currency = |currency: &'static str| {
        let all = ACCOUNTS.iter().enumerate().filter(move |(_, account)| account.2 == Some(currency));
        let all: Vec<usize> = all.map(|(at, _)| at).collect();
        (select(all.clone()), select(all))
    };
    prop_oneof![
        20 => (place(), place()),
        1 => of_currency("JPY"),
        2 => of_currency("KWD"),
        2 => of_currency("TKN"),
    ]
}

/// Of an account: mostly of one that is open.
fn place() -> impl Strategy<Value = usize> {
    let drawn = ACCOUNTS.iter().filter(|(.., currency)| currency.is_none()).count() - 1;
    prop_oneof![60 => 0..drawn, 1 => drawn..ACCOUNTS.len()]
}

fn on_account() -> impl Strategy<Value = Command> {
    let account = place().prop_map(|at| ACCOUNTS[at].0.to_owned());
    let mode = select(vec![FreezeMode::Debit, FreezeMode::Credit, FreezeMode::Both]);
    let limit = option::of((-3i64..3).prop_map(|limit| Decimal::new(limit, 0)));
    (request_id(), account, mode, limit, 0..5).prop_map(|(request_id, account, mode, limit, kind)| match kind
    {
        0 => Command::Freeze { request_id, account, mode },
        1 | 2 => Command::Unfreeze { request_id, account, mode },
        3 => Command::SetLimit { request_id, account, limit },
        _ => Command::CloseAccount { request_id, account },
    })
}

/// Few enough that clients use one another's, and what attempts are remembered by.
fn request_id() -> impl Strategy<Value = String> {
    prop_oneof![
        1 => select(vec!["decision", "vote", "end", "result", "open"]).prop_map(str::to_owned),
        6 => (0u32..200).prop_map(|no| format!("r{no}")),
    ]
}

fn amount() -> impl Strategy<Value = Decimal> {
    prop_oneof![
        16 => (1i64..4).prop_map(|n| Decimal::new(n, 0)),
        4 => (1i64..400).prop_map(|n| Decimal::new(n, 2)),
        1 => (1i64..4).prop_map(|n| Decimal::new(n, 3)),
    ]
}

/// Two of them are more than an account can keep.
fn fortune() -> impl Strategy<Value = Decimal> {
    Just(Decimal::from_i128_with_scale(15_000_000_000_000_000_000_000_000_000, 2))
}

fn run((openings, actions): &(Vec<(Command, u32)>, Vec<Action>)) -> World {
    let mut world = World::new(openings);
    actions.iter().for_each(|action| world.act(action));
    world.finish();
    world
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn all_sets_or_none_once(history in history()) {
        let world = run(&history);
        for (set, twin) in &world.sets {
            let books = &twin.books;
            let mut again = MemoryState::new(*set);
            let mut bytes = (Vec::new(), Vec::new());
            for (index, entry) in (1..).zip(&books.entries) {
                let outcomes = again.apply(index, entry).expect("it applied before");
                outcomes.iter().for_each(|outcome| encode_outcome(outcome, &mut bytes.1));
            }
            world.outcomes[set].iter().for_each(|outcome| encode_outcome(outcome, &mut bytes.0));
            prop_assert!(bytes.0 == bytes.1);
            prop_assert!(again == books.short);
        }
    }
}

#[test]
fn the_generator_reaches_all_of_it() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;

    let mut runner = TestRunner::deterministic();
    let mut seen = world::Seen::new();
    for _ in 0..300 {
        let history = history().new_tree(&mut runner).expect("a value").current();
        for (what, times) in run(&history).seen {
            *seen.entry(what).or_default() += times;
        }
    }
    for (what, at_least) in [
        ("settled", 500),
        ("settled reversal", 40),
        ("reversal beside another", 3),
        ("reversal stopped by another", 1),
        ("given up", 50),
        ("second attempt", 50),
        ("late prepare", 20),
        ("prepare again", 50),
        ("decide again", 50),
        ("commit again", 50),
        ("abort again", 50),
        ("settle again", 50),
        ("crash before begin", 10),
        ("crash before prepare", 10),
        ("crash before decide", 10),
        ("crash before commit", 3),
        ("crash before abort", 10),
        ("crash before settle", 1),
        ("crash after begin", 10),
        ("crash after prepare", 10),
        ("crash after decide", 3),
        ("crash after commit", 3),
        ("crash after abort", 3),
        ("crash after settle", 1),
        ("crash while asking", 20),
        ("crash while decided", 20),
        ("crash while prepared", 20),
        ("incarnation", 50),
        ("in flight EUR", 300),
        ("in flight JPY", 20),
        ("in flight KWD", 20),
        ("in flight TKN", 10),
        ("limit while set aside", 3),
        ("freeze while set aside", 3),
        ("close while set aside", 1),
        ("prepare account_closed", 2),
        ("prepare account_frozen", 2),
        ("prepare account_not_found", 1),
        ("prepare amount_overflow", 1),
        ("prepare excess_scale", 5),
        ("prepare limit_exceeded", 50),
        ("decide limit_exceeded", 50),
        ("decide currency_conflict", 10),
        ("decide unbalanced", 30),
        ("request_mismatch", 50),
        ("mismatch with an attempt", 3),
        ("limit_exceeded", 50),
        ("account_frozen", 2),
        ("reversal_exceeds", 5),
        ("not_reversible", 1),
        ("partial_reversal_of_many_legs", 1),
        ("account_not_empty", 1),
    ] {
        let times = seen.get(what).copied().unwrap_or_default();
        assert!(times >= at_least, "{what}: {times}, of {seen:?}");
    }
}

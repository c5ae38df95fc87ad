//! The laws of transactions over several sets, under a network that does all that networks do: money is conserved in each
//! set and over all of them, limits hold, a request has its effect once, in all its sets or in none, there is one answer to
//! it, and each log alone gives its set. Most of it is checked at every step, in `support`. A failing case is written to
//! `tests/across.regressions`; then `cargo test -p twinset-ledger --test across` tries it first.

mod support;
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

fn config() -> ProptestConfig {
    let regressions = FileFailurePersistence::Direct("tests/across.regressions");
    ProptestConfig { failure_persistence: Some(Box::new(regressions)), ..ProptestConfig::default() }
}

fn history() -> impl Strategy<Value = (Vec<(Command, u32)>, Vec<Action>)> {
    (openings(), vec(action(), 20..160))
}

fn openings() -> impl Strategy<Value = Vec<(Command, u32)>> {
    let limit =
        prop_oneof![6 => Just(None), 3 => Just(Some(Decimal::ZERO)), 1 => Just(Some(Decimal::new(-2, 0)))];
    let subject = select(vec!["asset", "liability"]);
    let currency = select(vec!["EUR", "EUR", "EUR", "EUR", "EUR", "EUR", "EUR", "EUR", "EUR", "JPY"]);
    vec((subject, currency, limit), ACCOUNTS.len() - 1).prop_map(|drawn| {
        let open = |((subject, currency, limit), (account, set)): ((&str, &str, _), (&str, u32))| {
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
    prop_oneof![
        6 => ask().prop_map(Action::Ask),
        2 => any::<Index>().prop_map(Action::AskAgain),
        24 => (any::<Index>(), fate).prop_map(|(at, fate)| Action::Deliver(at, fate)),
        2 => set().prop_map(Action::Resend),
        1 => any::<Index>().prop_map(Action::GiveUp),
        1 => set().prop_map(Action::Forget),
        18 => (set(), 0u64..300).prop_map(|(set, time)| Action::Entry(set, time)),
    ]
}

fn set() -> impl Strategy<Value = u32> {
    select(SETS.as_slice())
}

fn ask() -> impl Strategy<Value = Ask> {
    prop_oneof![
        9 => transaction(),
        4 => (request_id(), any::<Index>(), option::of(amount()))
            .prop_map(|(request_id, original, amount)| Ask::Reversal { request_id, original, amount }),
        1 => on_account().prop_map(Ask::OnAccount),
    ]
}

/// One to three pairs of legs that balance, if the currencies are the same; now and then one leg more.
fn transaction() -> impl Strategy<Value = Ask> {
    let pair = (place(), place(), amount());
    let odd = option::weighted(0.05, (place(), amount()));
    let scope = option::weighted(0.3, any::<Index>());
    let date = option::weighted(0.1, -1i32..2);
    (request_id(), vec(pair, 1..4), odd, scope, date).prop_map(
        |(request_id, pairs, odd, scope, accounting_date)| {
            let mut legs: Vec<(usize, Side, Decimal)> = pairs
                .into_iter()
                .flat_map(|(from, to, amount)| [(from, Side::Debit, amount), (to, Side::Credit, amount)])
                .collect();
            if let Some((at, amount)) = odd.filter(|_| legs.len() < 6) {
                legs.push((at, Side::Credit, amount));
            }
            let base = Transaction { request_id, accounting_date, ..Transaction::default() };
            Ask::Transaction { base, legs, scope }
        },
    )
}

/// Of an account: mostly of one that is open.
fn place() -> impl Strategy<Value = usize> {
    let last = ACCOUNTS.len() - 1;
    prop_oneof![60 => 0..last, 1 => Just(last)]
}

fn on_account() -> impl Strategy<Value = Command> {
    let account = select(ACCOUNTS.as_slice()).prop_map(|(account, _)| account.to_owned());
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
        for (set, books) in &world.sets {
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
    for _ in 0..150 {
        let history = history().new_tree(&mut runner).expect("a value").current();
        for (what, times) in run(&history).seen {
            *seen.entry(what).or_default() += times;
        }
    }
    for (what, at_least) in [
        ("settled", 300),
        ("settled reversal", 20),
        ("refused across", 100),
        ("given up", 50),
        ("second attempt", 30),
        ("late prepare", 20),
        ("in flight", 300),
        ("limit_exceeded", 50),
        ("unbalanced", 20),
        ("account_not_found", 20),
        ("account_frozen", 2),
        ("excess_scale", 5),
        ("reversal_exceeds", 5),
        ("not_reversible", 1),
        ("account_not_empty", 1),
    ] {
        let times = seen.get(what).copied().unwrap_or_default();
        assert!(times >= at_least, "{what}: {times}, of {seen:?}");
    }
}

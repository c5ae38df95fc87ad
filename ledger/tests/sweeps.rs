//! The laws of sweeps, over random histories of three sets: their leaders run what is due, and what is not, again, late, with other
//! amounts, and die between any two steps, while clients pay, hold, restrict, freeze and change the sweeps. Every entry is held against
//! the model, and the laws of transactions over several sets hold of runs as of all others (`support/world/`). A failing case is
//! written to `tests/sweeps.regressions`; then `cargo test -p twinset-ledger --test sweeps` tries it first.

mod model;
#[path = "support/parts.rs"]
mod parts;
mod support;
#[path = "support/tally.rs"]
mod tally;
#[path = "support/twin.rs"]
mod twin;
#[allow(dead_code, reason = "clients ask for more in `across.rs`")]
#[path = "support/world/mod.rs"]
mod world;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::test_runner::FileFailurePersistence;
use rust_decimal::Decimal;
use support::SET;
use twin::Twin;
use twinset_ledger::check_back::OnExpiry;
use twinset_ledger::hold::PlaceHold;
use twinset_ledger::sweep::SWEEPS_MAX;
use twinset_ledger::{
    Command, FreezeMode, Leg, LegKind, PostingMode, Rejection, Schedule, SetSweep, Side, State, Transaction,
};
use world::{ACCOUNTS, Action, Ask, Fate, SETS, World};

/// Accounts of euros, in all sets.
const EUROS: usize = 10;
const HISTORIES: u32 = 300;
/// The accounts that pay for what the others of their sets have at first.
const PAYERS: [&str; 3] = ["f", "b", "c"];
const SECOND_NS: u64 = 1_000_000_000;

fn config() -> ProptestConfig {
    let regressions = FileFailurePersistence::Direct("tests/sweeps.regressions");
    let ProptestConfig { cases, .. } = ProptestConfig::default();
    ProptestConfig {
        cases: cases.max(HISTORIES),
        failure_persistence: Some(Box::new(regressions)),
        ..ProptestConfig::default()
    }
}

fn open(account: &str, currency: &str, limit: Option<Decimal>) -> Command {
    Command::OpenAccount {
        request_id: "open".to_owned(),
        account: account.to_owned(),
        subject: "liability".to_owned(),
        currency: currency.to_owned(),
        normal_side: None,
        limit,
        metadata: <_>::default(),
    }
}

/// Half of the accounts of euros have a floor, most of them some money; few are buffered.
fn openings() -> impl Strategy<Value = Vec<(Command, u32)>> {
    let drawn = vec((option::weighted(0.5, -2i64..3), prop::bool::weighted(0.25)), ACCOUNTS.len() - 1);
    drawn.prop_map(|drawn| {
        let opened = drawn.iter().zip(ACCOUNTS).map(|((limit, _), (account, set, currency))| {
            let limited = currency.is_none() && !PAYERS.contains(&account);
            let limit = limit.filter(|_| limited).map(|limit| Decimal::new(limit, 0));
            (open(account, currency.unwrap_or("EUR"), limit), set)
        });
        let buffered = drawn.iter().zip(ACCOUNTS).filter(|((_, buffered), _)| *buffered);
        let modes = buffered.map(|(_, (account, set, _))| {
            let (request_id, account) = ("mode".to_owned(), account.to_owned());
            (Command::SetPostingMode { request_id, account, mode: PostingMode::Buffered }, set)
        });
        let payers = PAYERS.iter().filter_map(|payer| ACCOUNTS.iter().find(|(id, ..)| id == payer));
        let funded = payers.flat_map(|(payer, set, _)| {
            let others = ACCOUNTS[..EUROS].iter().filter(move |(id, of, _)| of == set && id != payer);
            others.map(|(account, set, _)| {
                let legs = [(*payer, Side::Debit), (*account, Side::Credit)];
                let legs = legs.map(|(id, side)| Leg::new(id, side, Decimal::new(20, 0)));
                let (request_id, legs) = (format!("fund-{account}"), legs.to_vec());
                (Command::Transaction(Transaction { request_id, legs, ..Transaction::default() }), *set)
            })
        });
        opened.chain(modes).chain(funded).collect()
    })
}

fn place() -> impl Strategy<Value = String> {
    prop_oneof![40 => 0..EUROS, 1 => EUROS..ACCOUNTS.len()].prop_map(|at| ACCOUNTS[at].0.to_owned())
}

fn request_id() -> impl Strategy<Value = String> {
    (0u32..300).prop_map(|no| format!("r{no}"))
}

fn amount() -> impl Strategy<Value = Decimal> {
    prop_oneof![6 => (1i64..9).prop_map(|n| Decimal::new(n, 0)), 1 => (1i64..900).prop_map(|n| Decimal::new(n, 2))]
}

fn on_account() -> impl Strategy<Value = Command> {
    let keep = prop_oneof![
        6 => (0i64..4).prop_map(|keep| Decimal::new(keep, 0)),
        1 => Just(Decimal::new(1, 3)),
    ];
    let schedule = prop_oneof![
        3 => (select(vec![1u32, 2, 60]), option::of(0..90 * SECOND_NS))
            .prop_map(|(seconds, from_ns)| Schedule::Every { seconds, from_ns }),
        3 => (0i64..8).prop_map(|amount| Schedule::Above { amount: Decimal::new(amount, 0) }),
        1 => Just(Schedule::Daily),
    ];
    let sweep = (request_id(), place(), place(), keep, schedule).prop_map(
        |(request_id, account, to, keep, schedule)| {
            Command::SetSweep(SetSweep { request_id, account, to, keep, schedule })
        },
    );
    let remove = (request_id(), place())
        .prop_map(|(request_id, account)| Command::RemoveSweep { request_id, account });
    let close = (request_id(), place())
        .prop_map(|(request_id, account)| Command::CloseAccount { request_id, account });
    let mode = select(vec![FreezeMode::Debit, FreezeMode::Credit, FreezeMode::Both]);
    let freeze = (request_id(), place(), mode, prop::bool::weighted(0.4)).prop_map(
        |(request_id, account, mode, on)| match on {
            true => Command::Freeze { request_id, account, mode },
            false => Command::Unfreeze { request_id, account, mode },
        },
    );
    let limit = (request_id(), place(), option::of(-3i64..6)).prop_map(|(request_id, account, limit)| {
        Command::SetLimit { request_id, account, limit: limit.map(|limit| Decimal::new(limit, 0)) }
    });
    let hold = (request_id(), place(), amount()).prop_map(|(request_id, account, amount)| {
        Command::PlaceHold(PlaceHold {
            request_id,
            account,
            amount,
            currency: None,
            expires_ns: Some(SECOND_NS),
            on_expiry: OnExpiry::Release,
            reason: 0,
            metadata: <_>::default(),
        })
    });
    prop_oneof![9 => sweep, 1 => remove, 1 => close, 3 => freeze, 1 => limit, 1 => hold]
}

fn payment() -> impl Strategy<Value = Ask> {
    let at = || 0..EUROS;
    let restricted = option::weighted(0.1, any::<Index>());
    (request_id(), at(), at(), amount(), restricted).prop_map(|(request_id, from, to, amount, restricted)| {
        let kinds = restricted.map(|at| (at, LegKind::Restricted { until_ns: None }));
        Ask::Transaction {
            base: Transaction { request_id, ..Transaction::default() },
            legs: vec![(from, Side::Debit, amount), (to, Side::Credit, amount)],
            scope: None,
            expects: None,
            capture: None,
            kinds: kinds.into_iter().collect(),
        }
    })
}

/// What happens; entries are so much later than the last.
fn action() -> impl Strategy<Value = Action> {
    let fate = prop_oneof![6 => Just(Fate::Once), 2 => Just(Fate::Twice), 1 => Just(Fate::Lost)];
    let set = || select(SETS.as_slice());
    let later = prop_oneof![
        3 => 0u64..300,
        5 => (0u64..4).prop_map(|seconds| seconds * SECOND_NS),
        1 => Just(61 * SECOND_NS),
        1 => Just(86_400 * SECOND_NS),
    ];
    prop_oneof![
        10 => payment().prop_map(|ask| Action::Ask(Box::new(ask), None)),
        9 => on_account().prop_map(|command| Action::Ask(Box::new(Ask::OnAccount(command)), None)),
        4 => any::<Index>().prop_map(Action::AskAgain),
        40 => (any::<Index>(), fate).prop_map(|(at, fate)| Action::Deliver(at, fate)),
        4 => set().prop_map(Action::Resend),
        2 => any::<Index>().prop_map(Action::GiveUp),
        3 => set().prop_map(Action::Crash),
        36 => (set(), later, prop::bool::weighted(0.06))
            .prop_map(|(set, later, last)| Action::Entry(set, later, last)),
        1 => set().prop_map(Action::Recover),
        1 => set().prop_map(Action::Expire),
        30 => (set(), 0u8..12).prop_map(|(set, how)| Action::Sweep(set, how)),
    ]
}

type History = (Vec<(Command, u32)>, Vec<Action>);

fn history() -> impl Strategy<Value = History> {
    (openings(), vec(action(), 40..200))
}

fn run((openings, actions): &History) -> World {
    let mut world = World::new(openings);
    for action in actions {
        match action {
            Action::Entry(set, later, last) => {
                let now = world.sets[set].books.short.last_time();
                world.act(&Action::Entry(*set, now + later, *last));
            }
            action => world.act(action),
        }
    }
    world.sweep_up();
    world.finish();
    world
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn the_model_says_the_same_and_money_is_where_the_answers_say(history in history()) {
        run(&history).check_again();
    }
}

#[test]
fn the_generator_reaches_all_of_it() {
    tally::assert_seen(
        300,
        history(),
        |history| run(history).seen,
        &[
            ("sweep set", 300),
            ("sweep removed", 10),
            ("sweep_not_found", 10),
            ("run booked", 50),
            ("run begun", 50),
            ("run paid without asking", 20),
            ("run booked elsewhere", 20),
            ("run refused", 20),
            ("run given up", 5),
            ("run of nothing", 50),
            ("run of another amount", 3),
            ("run out of place", 100),
            ("run again", 20),
            ("end out of place", 50),
            ("crash after begin", 3),
            ("crash before begin", 3),
            ("incarnation", 20),
        ],
    );
}

#[test]
fn a_set_has_so_many_sweeps_and_no_more() {
    let account = |no: usize| format!("a{no}");
    let sweep = |request_id: &str, no: usize| {
        Command::SetSweep(SetSweep {
            request_id: request_id.to_owned(),
            account: account(no),
            to: "far".to_owned(),
            keep: Decimal::ZERO,
            schedule: Schedule::Daily,
        })
    };
    let mut twin = Twin::of(SET);
    let opened: Vec<Command> = (0..=SWEEPS_MAX).map(|no| open(&account(no), "EUR", None)).collect();
    twin.apply(1, &opened);
    let set: Vec<Command> = (0..SWEEPS_MAX).map(|no| sweep("s", no)).collect();
    assert!(twin.apply(2, &set).iter().all(|outcome| outcome.result.is_ok()));
    let most = u32::try_from(SWEEPS_MAX).expect("it fits");
    let full = Err(Rejection::TooManySweeps { most });
    let remove = |no| Command::RemoveSweep { request_id: "r".to_owned(), account: account(no) };
    // One takes another's place, and one that is removed makes room.
    let asked = [sweep("s", SWEEPS_MAX), sweep("t", 7), remove(3), sweep("t", SWEEPS_MAX), sweep("u", 3)];
    let outcomes = twin.apply(3, &asked);
    assert_eq!(outcomes[0].result, full);
    assert!(outcomes[1..4].iter().all(|outcome| outcome.result.is_ok()), "{outcomes:?}");
    assert_eq!(outcomes[4].result, full);
}

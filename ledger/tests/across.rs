//! The laws of transactions over several sets, under a network that does all that networks do, and leaders that die: money is
//! conserved in each set and over all of them, limits hold, a request has its effect once, in all its sets or in none, there is
//! one answer to it, and each log alone gives its set. Every entry of every set is held against the model; most of the laws are
//! checked at every step as well, in `support/world/`. A failing case is written to `tests/across.regressions`; then
//! `cargo test -p twinset-ledger --test across` tries it first.

mod model;
#[path = "support/parts.rs"]
mod parts;
#[path = "support/recovered.rs"]
mod recovered;
mod support;
#[path = "support/tally.rs"]
mod tally;
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
use twinset_ledger::check_back::{CheckBack, OnExpiry};
use twinset_ledger::command::{Expected, Precondition};
use twinset_ledger::hold::PlaceHold;
use twinset_ledger::{Command, FreezeMode, Leg, LegKind, PostingMode, Schedule, SetSweep, Side, Transaction};
use world::{ACCOUNTS, Action, Ask, Fate, OnHold, SETS, World};

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

/// What a history is made of: what is there first, what happens, and what clients ask when all of it has come to rest.
type History = (Vec<(Command, u32)>, Vec<Action>, Vec<Ask>);

fn history() -> impl Strategy<Value = History> {
    // Each kind of thing that a leg may be gets room of its own, and so does what keeps a parcel from being booked.
    let of = |bent: Bent| (openings(bent), vec(action(bent), 20..160), vec(afterwards(), 3..12));
    prop_oneof![
        10 => of(Bent { kinds: 0.7, ..BENT }),
        8 => of(Bent { buffered: 0.7, ..BENT }),
        8 => of(Bent { buffered: 0.9, frozen: 0.3, troubles: 2, ..BENT }),
        5 => of(Bent { buffered: 0.3, frozen: 0.05, kinds: 0.3, sweeps: 20, troubles: 2, ..BENT }),
        8 => of(Bent { buffered: 0.25, tries: 24, troubles: 2, latest: 30, ..BENT }),
        8 => of(Bent { buffered: 0.9, sweeps: 10, tries: 4, troubles: 4, ..BENT }),
    ]
}

/// What there is much of in a history, in parts of one or as weights.
#[derive(Clone, Copy)]
struct Bent {
    /// Accounts that are buffered from the beginning.
    buffered: f64,
    /// Accounts that are frozen then, for what they are paid.
    frozen: f64,
    /// Transactions with legs of restricted funds.
    kinds: f64,
    /// How much leaders and clients do about sweeps, beside all else.
    sweeps: u32,
    /// How much leaders and clients do about holds that are checked back.
    tries: u32,
    /// How often leaders die, and wait no longer.
    troubles: u32,
    /// The latest of the times that entries mostly have, which ledger time soon is near.
    latest: u64,
}

/// Little of everything.
const BENT: Bent =
    Bent { buffered: 0.05, frozen: 0.0, kinds: 0.1, sweeps: 1, tries: 1, troubles: 1, latest: 300 };

/// Each account, and then what is done to some.
fn openings(bent: Bent) -> impl Strategy<Value = Vec<(Command, u32)>> {
    let limit =
        prop_oneof![6 => Just(None), 3 => Just(Some(Decimal::ZERO)), 1 => Just(Some(Decimal::new(-2, 0)))];
    let subject = select(vec![("asset", FreezeMode::Debit), ("liability", FreezeMode::Credit)]);
    let currency = prop_oneof![9 => Just("EUR"), 1 => Just("JPY")];
    let how = (prop::bool::weighted(bent.buffered), prop::bool::weighted(bent.frozen));
    let accounts = vec((subject, currency, limit, how), ACCOUNTS.len() - 1);
    let count = if bent.tries > 4 { 6 } else { 0 };
    let holds = vec((checked_back(), bent.latest / 2..bent.latest * 2), count);
    (accounts, holds).prop_map(move |(drawn, holds)| {
        let (mut all, mut then) = (Vec::new(), Vec::new());
        for (drawn, (id, set, fixed)) in drawn.into_iter().zip(ACCOUNTS) {
            let ((subject, inflow), currency, limit, (is_buffered, is_frozen)) = drawn;
            let open = Command::OpenAccount {
                request_id: "open".to_owned(),
                account: id.to_owned(),
                subject: subject.to_owned(),
                currency: fixed.unwrap_or(currency).to_owned(),
                normal_side: None,
                limit,
                metadata: <_>::default(),
            };
            all.push((open, set));
            let named = |request_id: &str| (request_id.to_owned(), id.to_owned());
            if is_buffered {
                let ((request_id, account), mode) = (named("mode"), PostingMode::Buffered);
                then.push((Command::SetPostingMode { request_id, account, mode }, set));
            }
            if is_frozen {
                let (request_id, account) = named("freeze");
                then.push((Command::Freeze { request_id, account, mode: inflow }, set));
            }
        }
        if bent.sweeps > 1 || bent.tries > 1 {
            then.extend(funding(&all));
        }
        then.extend(holds.into_iter().filter_map(|((hold, set), end)| {
            let placed = Command::PlaceHold(PlaceHold { expires_ns: Some(end), ..hold });
            placed.validate().is_ok().then_some((placed, set))
        }));
        all.append(&mut then);
        all
    })
}

/// Pays the first of each two accounts of a set, so that there is something to sweep: mostly its second one has more by that, too.
fn funding(opened: &[(Command, u32)]) -> Vec<(Command, u32)> {
    let mut all = Vec::new();
    for set in SETS {
        let own = opened.iter().filter(|(_, of)| *of == set).filter_map(|(open, _)| match open {
            Command::OpenAccount { account, subject, .. } => Some((account, subject == "asset")),
            _ => None,
        });
        let own: Vec<_> = own.collect();
        for two in own.windows(2) {
            let (one, other) =
                if two[0].1 { (Side::Debit, Side::Credit) } else { (Side::Credit, Side::Debit) };
            let leg = |account: &str, side| Leg::new(account, side, Decimal::new(20, 0));
            let legs = vec![leg(two[0].0, one), leg(two[1].0, other)];
            let request_id = format!("fund-{}", two[0].0);
            all.push((Command::Transaction(Transaction { request_id, legs, ..Transaction::default() }), set));
        }
    }
    all
}

fn action(bent: Bent) -> impl Strategy<Value = Action> {
    let fate = prop_oneof![6 => Just(Fate::Once), 2 => Just(Fate::Twice), 1 => Just(Fate::Lost)];
    let id_of = option::weighted(0.08, any::<Index>());
    prop_oneof![
        16 => (ask(bent), id_of).prop_map(|(ask, id_of)| Action::Ask(Box::new(ask), id_of)),
        4 => any::<Index>().prop_map(Action::AskAgain),
        48 => (any::<Index>(), fate).prop_map(|(at, fate)| Action::Deliver(at, fate)),
        4 => set().prop_map(Action::Resend),
        2 * bent.troubles => any::<Index>().prop_map(Action::GiveUp),
        3 * bent.troubles => set().prop_map(Action::Crash),
        36 => (set(), time(bent.latest), prop::bool::weighted(0.06 * f64::from(bent.troubles)))
            .prop_map(|(set, time, last)| Action::Entry(set, time, last)),
        2 * bent.sweeps => (set(), 0u8..12).prop_map(|(set, how)| Action::Sweep(set, how)),
        bent.tries => (any::<Index>(), 0u8..18).prop_map(|(at, how)| Action::CheckBack(at, how)),
        2 => (set(), vec(member(), 2..5)).prop_map(|(set, asks)| Action::Together(set, asks)),
        1 => set().prop_map(Action::Recover),
        6 => set().prop_map(Action::Expire),
    ]
}

fn set() -> impl Strategy<Value = u32> {
    select(SETS.as_slice())
}

/// Mostly near the beginning, where holds and restrictions have their ends; now and then so late that it is a sweep's turn again.
fn time(latest: u64) -> impl Strategy<Value = u64> {
    const SECOND_NS: u64 = 1_000_000_000;
    prop_oneof![
        400 => 0..latest,
        1 => select(vec![1, 2, 65, 130, 86_400]).prop_map(|seconds| seconds * SECOND_NS),
    ]
}

fn ask(Bent { kinds, sweeps, tries, .. }: Bent) -> impl Strategy<Value = Ask> {
    // Small enough that there is room for others beside it.
    let part = prop_oneof![amount(), (1i64..60).prop_map(|n| Decimal::new(n, 2))];
    let reversal = (request_id(), any::<Index>(), prop::bool::weighted(0.7), option::weighted(0.7, part));
    prop_oneof![
        10 => transaction(kinds),
        12 => reversal.prop_map(|(request_id, original, across, amount)| {
            Ask::Reversal { request_id, original, across, amount }
        }),
        3 => on_account().prop_map(Ask::OnAccount),
        4 => place_hold().prop_map(Ask::OnAccount),
        // Over soon: every command takes a moment.
        tries => (checked_back(), 1u64..20).prop_map(|((hold, _), soon)| Ask::PlaceForSoon { hold, soon }),
        2 + tries / 8 => on_hold(),
        3 => mode().prop_map(Ask::OnAccount),
        sweeps => sweep(),
        1 => afterwards(),
        1 => (request_id(), any::<Index>()).prop_map(|(request_id, payee)| Ask::Obstruct { request_id, payee }),
        4 => (request_id(), any::<Index>(), option::weighted(0.6, amount())).prop_map(
            |(request_id, restriction, amount)| Ask::Unrestrict { request_id, restriction, amount },
        ),
    ]
}

/// About what stands restricted or suspended, of which there is most at the end.
fn afterwards() -> impl Strategy<Value = Ask> {
    prop_oneof![
        (request_id(), any::<Index>(), place()).prop_map(|(request_id, item, to)| Ask::Resolve {
            request_id,
            item,
            to
        }),
        (request_id(), any::<Index>(), place(), any::<bool>()).prop_map(
            |(request_id, from, to, asks_payee)| Ask::Withdraw { request_id, from, to, asks_payee }
        ),
    ]
}

/// Mostly that an account may be paid without being asked.
fn mode() -> impl Strategy<Value = Command> {
    let mode = prop_oneof![5 => Just(PostingMode::Buffered), 2 => Just(PostingMode::Strict)];
    (request_id(), place(), mode).prop_map(|(request_id, at, mode)| Command::SetPostingMode {
        request_id,
        account: ACCOUNTS[at].0.to_owned(),
        mode,
    })
}

/// Standing orders, of which some are due at once and others at times that entries have; and their ends.
fn sweep() -> impl Strategy<Value = Ask> {
    let schedule = prop_oneof![
        3 => (1u32..3, option::weighted(0.8, 0u64..300))
            .prop_map(|(seconds, from_ns)| Schedule::Every { seconds, from_ns }),
        4 => (0i64..3).prop_map(|amount| Schedule::Above { amount: Decimal::new(amount, 0) }),
        1 => Just(Schedule::Daily),
    ];
    let keep = prop_oneof![4 => Just(Decimal::ZERO), 2 => amount(), 1 => Just(Decimal::new(1, 3))];
    let order = (request_id(), places(), keep, schedule, any::<Index>()).prop_map(
        |(request_id, (at, to), keep, schedule, rich)| {
            let [account, to] = [at, to].map(|at| ACCOUNTS[at].0.to_owned());
            Ask::Order(SetSweep { request_id, account, to, keep, schedule }, rich)
        },
    );
    let removal = (request_id(), any::<Index>()).prop_map(|(id, at)| Ask::RemoveOrder(id, at));
    let vain = (request_id(), place()).prop_map(|(request_id, at)| {
        Ask::OnAccount(Command::RemoveSweep { request_id, account: ACCOUNTS[at].0.to_owned() })
    });
    prop_oneof![16 => order, 2 => removal, 1 => vain]
}

/// What legs are beside debits and credits.
fn kinds() -> impl Strategy<Value = Vec<(Index, LegKind)>> {
    let kind = prop_oneof![
        3 => Just(LegKind::Withdrawal),
        4 => expiry().prop_map(|until_ns| LegKind::Restricted { until_ns }),
    ];
    vec((any::<Index>(), kind), 1..3)
}

/// One to three pairs of legs that balance, if the currencies are the same; now and then one leg more.
fn transaction(kinds_of: f64) -> impl Strategy<Value = Ask> {
    let odd = option::weighted(0.05, (place(), amount()));
    let scope = option::weighted(0.3, any::<Index>());
    let date = option::weighted(0.1, -1i32..2);
    let expects = option::weighted(0.1, (any::<Index>(), precondition()));
    let capture = option::weighted(0.5, (any::<Index>(), prop::bool::weighted(0.2)));
    let pairs = prop_oneof![3 => vec(pair(), 1), 2 => vec(pair(), 2..4)];
    let how = (scope, date, expects, capture, option::weighted(kinds_of, kinds()));
    (request_id(), pairs, odd, how).prop_map(|(request_id, pairs, odd, how)| {
        let (scope, accounting_date, expects, capture, kinds) = how;
        let mut legs: Vec<(usize, Side, Decimal)> = pairs
            .into_iter()
            .flat_map(|(from, to, amount)| [(from, Side::Debit, amount), (to, Side::Credit, amount)])
            .collect();
        if let Some((at, amount)) = odd.filter(|_| legs.len() < 6) {
            legs.push((at, Side::Credit, amount));
        }
        let base = Transaction { request_id, accounting_date, ..Transaction::default() };
        Ask::Transaction { base, legs, scope, expects, capture, kinds: kinds.unwrap_or_default() }
    })
}

/// One of a batch, mostly one that is booked if the others are.
fn member() -> impl Strategy<Value = Ask> {
    let capture = option::weighted(0.1, (any::<Index>(), prop::bool::weighted(0.2)));
    let plain =
        (0u32..5_000, place(), place(), 1i64..4, capture).prop_map(|(no, from, to, amount, capture)| {
            let amount = Decimal::new(amount, 0);
            Ask::Transaction {
                base: Transaction { request_id: format!("b{no}"), ..Transaction::default() },
                legs: vec![(from, Side::Debit, amount), (to, Side::Credit, amount)],
                scope: None,
                expects: None,
                capture,
                kinds: Vec::new(),
            }
        });
    prop_oneof![12 => plain, 1 => transaction(0.5)]
}

/// Mostly one that is true for a while.
fn precondition() -> impl Strategy<Value = Precondition> {
    let figure = (select(Expected::ALL.as_slice()), -6i64..6).prop_map(|(expected, value)| {
        let value = if expected == Expected::Version { value.max(0) } else { value };
        Precondition { expected, value: Decimal::new(value, 0) }
    });
    prop_oneof![
        3 => figure,
        1 => Just(Precondition { expected: Expected::AvailableMin, value: Decimal::new(1, 3) }),
    ]
}

fn place_hold() -> impl Strategy<Value = Command> {
    (place(), hold_of(), expiry()).prop_map(|(at, hold, expires_ns)| {
        let account = ACCOUNTS[at].0.to_owned();
        Command::PlaceHold(PlaceHold { account, expires_ns, ..hold })
    })
}

/// Of an account, without an end.
fn hold_of() -> impl Strategy<Value = PlaceHold> {
    (request_id(), amount()).prop_map(|(request_id, amount)| PlaceHold {
        request_id,
        account: String::new(),
        amount: amount * Decimal::new(3, 0),
        currency: None,
        expires_ns: None,
        on_expiry: OnExpiry::Release,
        reason: 0,
        metadata: <_>::default(),
    })
}

/// One that is checked back, mostly for a payee that may have the same currency, and the set where its account lives.
fn checked_back() -> impl Strategy<Value = (PlaceHold, u32)> {
    (hold_of(), places()).prop_map(|(hold, (at, to))| {
        let terms = CheckBack { initiator: "shop".to_owned(), to: ACCOUNTS[to].0.to_owned() };
        let (account, set, _) = ACCOUNTS[at];
        (PlaceHold { account: account.to_owned(), on_expiry: OnExpiry::CheckBack(terms), ..hold }, set)
    })
}

fn on_hold() -> impl Strategy<Value = Ask> {
    let what = prop_oneof![
        2 => option::weighted(0.6, amount()).prop_map(OnHold::Release),
        1 => expiry().prop_map(OnHold::Extend),
    ];
    (request_id(), any::<Index>(), what).prop_map(|(request_id, hold, what)| Ask::OnHold {
        request_id,
        hold,
        what,
    })
}

/// Ledger time soon is near the latest of the times that entries have, and goes on by one with every command.
fn expiry() -> impl Strategy<Value = Option<u64>> {
    option::weighted(0.6, prop_oneof![150u64..300, 260u64..360])
}

/// Whose money goes to whom, and how much.
fn pair() -> impl Strategy<Value = (usize, usize, Decimal)> {
    let amount = prop_oneof![25 => amount().boxed(), 1 => fortune().boxed()];
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
    prop_oneof![30 => 0..drawn, 1 => drawn..ACCOUNTS.len()]
}

fn on_account() -> impl Strategy<Value = Command> {
    let account = place().prop_map(|at| ACCOUNTS[at].0.to_owned());
    let mode = select(vec![FreezeMode::Debit, FreezeMode::Credit, FreezeMode::Both]);
    let limit = option::of((-3i64..3).prop_map(|limit| Decimal::new(limit, 0)));
    (request_id(), account, mode, limit, 0..6).prop_map(|(request_id, account, mode, limit, kind)| match kind
    {
        0 => Command::Freeze { request_id, account, mode },
        1 | 2 => Command::Unfreeze { request_id, account, mode },
        3 | 4 => Command::SetLimit { request_id, account, limit },
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

fn run((openings, actions, asks): &History) -> World {
    let mut world = World::new(openings);
    actions.iter().for_each(|action| world.act(action));
    world.come_to_rest(asks);
    world.sweep_up();
    world.finish();
    world
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn all_sets_or_none_once(history in history()) {
        run(&history).check_again();
    }
}

#[test]
fn the_generator_reaches_all_of_it() {
    tally::assert_seen(
        1_200,
        history(),
        |history| run(history).seen,
        &[
            ("paid without asking", 150),
            ("credited", 70),
            ("credit again", 70),
            ("credit too early", 1),
            ("suspended account_frozen", 8),
            ("suspense_resolved", 4),
            ("drained", 20),
            ("drained too early", 1),
            ("account_buffered", 1),
            ("set_unavailable", 3),
            ("crash after paying", 3),
            ("crash before credit", 2),
            ("crash after credit", 5),
            ("crash before acknowledge", 2),
            ("settled", 500),
            ("settled reversal", 40),
            ("reversal beside another", 3),
            ("reversal stopped by another", 1),
            ("legs reversed over sets", 3),
            ("legs reversed in others alone", 1),
            ("legs reversed here", 3),
            ("leg_not_found", 1),
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
            ("crash before settle", 5),
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
            ("held", 100),
            ("released", 20),
            ("extended", 5),
            ("expired", 2),
            ("captured", 2),
            ("capture begun", 50),
            ("hold_ended", 20),
            ("hold_exceeded", 10),
            ("expiry_too_early", 5),
            ("precondition_failed", 5),
            ("prepare precondition_failed", 5),
            ("decide precondition_failed", 5),
            ("restriction made", 50),
            ("restriction released", 3),
            ("restriction expired", 1),
            ("restriction reversed", 1),
            ("restricted_outflow", 3),
            ("restriction_exceeded", 1),
            ("withdrawable_exceeded", 20),
            ("prepare withdrawable_exceeded", 5),
            ("sweep set", 200),
            ("sweep removed", 3),
            ("sweep_not_found", 3),
            ("run booked", 20),
            ("run begun", 20),
            ("run paid without asking", 20),
            ("run booked elsewhere", 10),
            ("run refused", 10),
            ("run given up", 5),
            ("run of nothing", 20),
            ("run of another amount", 1),
            ("run out of place", 20),
            ("run again", 10),
            ("end out of place", 10),
            ("part with a label", 100),
            ("part without a label", 50),
            ("part of a reversal with a label", 20),
            ("credit with a label", 30),
            ("credit without a label", 10),
            ("try pending", 20),
            ("try failed", 10),
            ("try refused", 5),
            ("try cancelled", 10),
            ("try released", 10),
            ("try kept", 10),
            ("try out of place", 20),
            ("tries counted anew", 5),
            ("confirmed", 20),
            ("confirmation begun", 20),
            ("confirmed over several sets", 20),
            ("confirmed without asking the payee", 5),
            ("confirmation given up", 5),
            ("confirmation refused elsewhere", 5),
            ("confirmation refused", 5),
            ("confirmation of another amount", 5),
            ("confirmation again", 20),
            ("confirmation out of place", 10),
            ("crash before a try", 5),
            ("crash after a try", 5),
            ("crash before confirmation", 5),
            ("crash after confirmation", 5),
            ("crash while confirming", 10),
            ("batch booked", 20),
            ("batch refused", 20),
            ("batch again", 20),
            ("crash before a batch", 10),
            ("crash after a batch", 10),
        ],
    );
}

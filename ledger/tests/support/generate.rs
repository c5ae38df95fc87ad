//! Random commands from a small world, so that ids, accounts and amounts meet often.

use std::collections::BTreeSet;

use proptest::collection::{btree_set, vec};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use rust_decimal::Decimal;
use twinset_ledger::attempt::{Ballot, Part, Sum, Vote};
use twinset_ledger::check_back::{Came, CheckBack, CheckedBack, Failure, OnExpiry};
use twinset_ledger::command::{Expected, Metadata, Precondition};
use twinset_ledger::hold::{Capture, PlaceHold};
use twinset_ledger::sweep::run_id;
use twinset_ledger::{
    Begin, Command, Durability, FreezeMode, Label, Leg, LegKind, LegPart, Position, Posted, Rejection,
    Reversal, Schedule, SetSweep, Side, Step, Transaction, TransactionId,
};

/// Account ids; not all of them get opened.
pub const ACCOUNTS: [&str; 6] = ["a", "b", "c", "d", "e", "{x}:f"];
const REQUEST_IDS: [&str; 14] = [
    "1",
    "2",
    "3",
    "4",
    "5",
    "6",
    "7",
    "8",
    "9",
    "sixteen-letters-",
    "seventeen-letters",
    "01890a5d-ac96-774b-bcce-b302099a8057",
    "01890A5D-AC96-774B-BCCE-B302099A8057",
    "01ARZ3NDEKTSV4RRFFQ69G5FAV",
];
const CURRENCIES: [&str; 8] = ["EUR", "EUR", "EUR", "EUR", "EUR", "JPY", "NEW", "XXX"];

/// One valid command.
pub fn command() -> impl Strategy<Value = Command> {
    let limit = (request_id(), account(), option::of(limit()))
        .prop_map(|(request_id, account, limit)| Command::SetLimit { request_id, account, limit });
    let freeze =
        (request_id(), account(), mode(), any::<bool>()).prop_map(|(request_id, account, mode, on)| {
            if on {
                Command::Freeze { request_id, account, mode }
            } else {
                Command::Unfreeze { request_id, account, mode }
            }
        });
    let close = (request_id(), account())
        .prop_map(|(request_id, account)| Command::CloseAccount { request_id, account });
    let define = (currency(), 0u8..4).prop_map(|(code, scale)| Command::DefineCurrency { code, scale });
    let group = select(vec!["a", "group", "group", "group"])
        .prop_map(|group| Command::DefineGroup { group: group.into() });
    let mark = select(vec![Durability::Sync, Durability::Degraded])
        .prop_map(|durability| Command::MarkDurability { durability });
    prop_oneof![
        3 => open(),
        1 => limit,
        2 => freeze,
        1 => close,
        1 => define,
        1 => mark,
        1 => group,
        32 => two_legs().boxed(),
        4 => many_legs().boxed(),
        6 => reversal(),
        4 => place().boxed(),
        6 => on_hold().boxed(),
        5 => capture(two_legs()).boxed(),
        4 => on_restriction().boxed(),
        2 => on_sweep().boxed(),
        2 => (1u16..4).prop_map(|count| Command::Together { count }).boxed(),
    ]
    .prop_filter("valid", |command| command.validate().is_ok())
}

fn place() -> impl Strategy<Value = Command> {
    let named = option::weighted(0.1, currency());
    let terms = (account(), account()).prop_map(|(initiator, to)| CheckBack { initiator, to });
    let on_expiry =
        option::weighted(0.3, terms).prop_map(|terms| terms.map_or(OnExpiry::Release, OnExpiry::CheckBack));
    (request_id(), account(), amount(), named, (expiry(), on_expiry), 0u16..2, metadata()).prop_map(
        |(request_id, account, amount, currency, (expires_ns, on_expiry), reason, metadata)| {
            Command::PlaceHold(PlaceHold {
                request_id,
                account,
                amount,
                currency,
                expires_ns,
                on_expiry,
                reason,
                metadata,
            })
        },
    )
}

fn on_hold() -> impl Strategy<Value = Command> {
    let release = (request_id(), account(), earlier(), option::of(amount())).prop_map(
        |(request_id, account, hold, amount)| Command::ReleaseHold { request_id, account, hold, amount },
    );
    let extend =
        (request_id(), account(), earlier(), expiry()).prop_map(|(request_id, account, hold, expires_ns)| {
            Command::ExtendHold { request_id, account, hold, expires_ns }
        });
    let expire = earlier().prop_map(|hold| Command::ExpireHold { hold });
    let came = prop_oneof![
        (0u64..150).prop_map(|next_ns| Came::Pending { next_ns }),
        (0u64..150).prop_map(|next_ns| Came::Failed { why: Failure::Refused { number: 12 }, next_ns }),
        select(vec![Came::Cancelled, Came::Released, Came::Kept]),
    ];
    let tried = (earlier(), 1u32..4, came)
        .prop_map(|(hold, no, came)| Command::CheckedBack(CheckedBack { hold, no, came }));
    prop_oneof![2 => release, 1 => extend, 2 => expire, 2 => tried]
}

fn on_restriction() -> impl Strategy<Value = Command> {
    let release = (request_id(), account(), earlier(), option::of(amount())).prop_map(
        |(request_id, account, restriction, amount)| Command::ReleaseRestriction {
            request_id,
            account,
            restriction,
            amount,
        },
    );
    let expire = (account(), earlier())
        .prop_map(|(account, restriction)| Command::ExpireRestriction { account, restriction });
    prop_oneof![1 => release, 2 => expire]
}

/// A valid command on sweeps.
#[allow(dead_code, reason = "not every test has so many")]
pub fn sweeping() -> impl Strategy<Value = Command> {
    on_sweep().prop_filter("valid", |command| command.validate().is_ok())
}

/// Standing orders, their ends, and what leaders say of their runs, which mostly are those of an order that is there when
/// [`crate::entries`] has fitted them.
fn on_sweep() -> impl Strategy<Value = Command> {
    let schedule = prop_oneof![
        2 => (1u32..3, expiry()).prop_map(|(seconds, from_ns)| Schedule::Every { seconds, from_ns }),
        4 => (0i64..300).prop_map(|n| Schedule::Above { amount: Decimal::new(n, 2) }),
        1 => Just(Schedule::Daily),
    ];
    let payee = prop_oneof![8 => account(), 1 => Just(ELSEWHERE[0].0.to_owned())];
    let keep = prop_oneof![3 => Just(Decimal::ZERO), 1 => amount()];
    let order = (request_id(), account(), payee, keep, schedule).prop_map(
        |(request_id, account, to, keep, schedule)| {
            Command::SetSweep(SetSweep { request_id, account, to, keep, schedule })
        },
    );
    let remove = (request_id(), account())
        .prop_map(|(request_id, account)| Command::RemoveSweep { request_id, account });
    let end = (account(), earlier(), 1u32..4).prop_map(|(account, sweep, run)| Command::EndRun {
        account,
        sweep,
        run,
    });
    let run = (two_legs(), earlier(), 1u32..4).prop_map(|(mut command, sweep, run)| {
        if let Command::Transaction(transaction) = &mut command {
            transaction.request_id = run_id(sweep, run);
        }
        command
    });
    prop_oneof![6 => order, 1 => remove, 2 => end, 6 => run]
}

fn kind() -> impl Strategy<Value = LegKind> {
    prop_oneof![
        16 => Just(LegKind::Ordinary),
        3 => Just(LegKind::Withdrawal),
        2 => expiry().prop_map(|until_ns| LegKind::Restricted { until_ns }),
    ]
}

/// Makes a capture of a transaction that has a scope account.
fn capture(transactions: impl Strategy<Value = Command>) -> impl Strategy<Value = Command> {
    (transactions, earlier(), any::<bool>()).prop_map(|(mut command, hold, is_final)| {
        let capture = Some(Capture { hold, is_final });
        match &mut command {
            Command::Transaction(transaction) => {
                let scope = transaction.scope_account.take();
                transaction.scope_account = scope.or_else(|| Some(transaction.legs[0].account.clone()));
                transaction.capture = capture;
            }
            Command::Begin(Begin { transaction, .. }) if transaction.scope_account.is_some() => {
                transaction.capture = capture;
            }
            _ => {}
        }
        command
    })
}

/// Around the times of entries, which are small.
fn expiry() -> impl Strategy<Value = Option<u64>> {
    option::weighted(0.6, 0u64..150)
}

/// A valid command of a transaction over several sets, of which this one is set 1 and may coordinate it or not.
#[allow(dead_code, reason = "not every test has several sets")]
pub fn across() -> impl Strategy<Value = Command> {
    prop_oneof![
        3 => begin().boxed(),
        1 => capture(begin()).boxed(),
        1 => place().boxed(),
        1 => on_hold().boxed(),
        1 => on_restriction().boxed(),
        6 => (attempt(), step()).prop_map(|(attempt, step)| Command::Step { attempt, step }).boxed(),
        1 => reversal(),
    ]
    .prop_filter("valid", |command| command.validate().is_ok())
}

/// What lives in another set, and in which.
pub const ELSEWHERE: [(&str, u32); 3] = [("x", 2), ("y", 2), ("z", 3)];

fn begin() -> impl Strategy<Value = Command> {
    let pair = (two_legs(), 0usize..2, select(ELSEWHERE.as_slice()), prop::bool::weighted(0.7)).prop_map(
        |(command, at, (other, set), named)| {
            let Command::Transaction(mut transaction) = command else { unreachable!("it was made as one") };
            transaction.legs[at].account = other.to_owned();
            transaction.scope_account = named.then(|| transaction.legs[1 - at].account.clone());
            let sets = (0..2).map(|leg| if leg == at { set } else { 1 }).collect();
            Command::Begin(Begin { transaction, sets })
        },
    );
    let many = many_legs().prop_map(|command| {
        let Command::Transaction(mut transaction) = command else { unreachable!("it was made as one") };
        let mut sets = Vec::new();
        for leg in &mut transaction.legs {
            let moved = ACCOUNTS[3..].iter().position(|account| *account == leg.account);
            let (account, set) = moved.map_or((leg.account.as_str(), 1), |at| ELSEWHERE[at]);
            leg.account = account.to_owned();
            sets.push(set);
        }
        transaction.scope_account = transaction.scope_account.map(|_| transaction.legs[0].account.clone());
        Command::Begin(Begin { transaction, sets })
    });
    prop_oneof![3 => pair, 2 => many]
}

fn attempt() -> impl Strategy<Value = TransactionId> {
    let incarnation = 1;
    let own = (1u64..26, 0u16..6).prop_map(move |(index, offset)| TransactionId {
        set: 1,
        incarnation,
        position: Position::new(index, offset),
    });
    let others = (2u32..4, 1u64..9).prop_map(move |(set, index)| TransactionId {
        set,
        incarnation,
        position: Position::new(index, 0),
    });
    prop_oneof![1 => own, 2 => others]
}

fn step() -> impl Strategy<Value = Step> {
    let leg = leg();
    let alike = option::weighted(0.2, prop_oneof![amount(), Just(fortune())]);
    let legs = (vec(leg, 1..3), alike).prop_map(|(mut legs, alike)| {
        if let Some(amount) = alike {
            let side = legs[0].side;
            legs.iter_mut().for_each(|leg| (leg.side, leg.amount) = (side, amount));
        }
        legs
    });
    let reverses = option::weighted(0.2, prop_oneof![attempt(), earlier()]);
    let prepare = (legs, -1i32..2, reverses).prop_map(|(legs, accounting_date, reverses)| {
        let kind = u16::from(legs[0].side == Side::Debit);
        let label = Label { kind, ..Label::default() };
        Step::Prepare { legs, accounting_date, reverses, label }
    });
    let amounts = prop_oneof![(1i128..400, Just(0)), (Just(0), 1i128..400)];
    let sum =
        amounts.prop_map(|(debits, credits)| Sum { currency: "EUR".to_owned(), scale: 2, debits, credits });
    let refusal = account().prop_map(|account| Rejection::AccountClosed { account });
    let said = prop_oneof![3 => vec(sum, 1).prop_map(Ok), 1 => refusal.prop_map(Err)];
    let vote = (2u32..4, said).prop_map(|(set, said)| Vote { set, said });
    let leg = (select(ELSEWHERE.as_slice()), side(), 1i128..400).prop_map(|((account, _), side, amount)| {
        Posted { account: account.to_owned(), side, amount, scale: 2, posted: amount, available: amount }
    });
    let part = (2u32..4, 1u64..9, vec(leg, 1..3)).prop_map(|(set, index, legs)| Part {
        set,
        position: Position::new(index, 0),
        legs,
    });
    prop_oneof![
        4 => prepare,
        4 => vec(vote, 1..3).prop_map(|votes| Step::Decide(Ballot::Votes(votes))),
        1 => (2u32..4).prop_map(|set| Step::Decide(Ballot::GivenUp { set })),
        3 => Just(Step::Commit),
        1 => Just(Step::Abort),
        3 => vec(part, 1..3).prop_map(|parts| Step::Settle { parts }),
    ]
}

/// The opening of an account, sometimes one that cannot succeed.
pub fn open() -> impl Strategy<Value = Command> {
    let side = option::weighted(0.1, side());
    let subject = select(vec!["asset", "liability", "equity", "nosuch", "asset", "liability"]);
    let limit = prop_oneof![2 => Just(None), 2 => Just(Some(Decimal::ZERO)), 1 => limit().prop_map(Some)];
    (request_id(), account(), subject, currency(), side, limit, metadata()).prop_map(
        |(request_id, account, subject, currency, normal_side, limit, metadata)| Command::OpenAccount {
            request_id,
            account,
            subject: subject.to_owned(),
            currency,
            normal_side,
            limit,
            metadata,
        },
    )
}

fn two_legs() -> impl Strategy<Value = Command> {
    let named = option::weighted(0.1, currency());
    // Only those that are all ordinary have a short form.
    let kinds = prop_oneof![3 => Just((LegKind::Ordinary, LegKind::Ordinary)), 2 => (kind(), kind())];
    (transaction(), account(), account(), amount(), side(), named, kinds).prop_map(
        |(transaction, a, b, amount, side, named, kinds)| {
            let other = opposite(side);
            let legs = vec![
                Leg { currency: named, kind: kinds.0, ..Leg::new(&a, side, amount) },
                Leg { kind: kinds.1, ..Leg::new(&b, other, amount.normalize()) },
            ];
            finish(transaction, legs)
        },
    )
}

fn leg() -> impl Strategy<Value = Leg> {
    let currency = option::weighted(0.1, currency());
    let preconditions = prop_oneof![9 => Just(Vec::new()), 1 => preconditions()];
    (account(), side(), amount(), currency, preconditions, kind()).prop_map(
        |(account, side, amount, currency, preconditions, kind)| Leg {
            account,
            side,
            amount,
            currency,
            preconditions,
            kind,
        },
    )
}

fn preconditions() -> impl Strategy<Value = Vec<Precondition>> {
    let value = prop_oneof![4 => limit(), 1 => amount()];
    vec((select(Expected::ALL.as_slice()), value, 0i64..4), 1..3).prop_map(|all| {
        let one = |(expected, value, version)| match expected {
            Expected::Version => Precondition { expected, value: Decimal::new(version, 0) },
            _ => Precondition { expected, value },
        };
        let mut all: Vec<Precondition> = all.into_iter().map(one).collect();
        all.sort_by_key(|one| one.expected);
        all.dedup_by_key(|one| one.expected);
        all
    })
}

fn many_legs() -> impl Strategy<Value = Command> {
    (transaction(), vec(leg(), 2..5), any::<bool>()).prop_map(|(transaction, mut legs, mirrored)| {
        if mirrored {
            // The same legs turned round, shifted by one account: balanced if the currencies are.
            let mut back: Vec<Leg> =
                legs.iter().map(|leg| Leg { side: opposite(leg.side), ..leg.clone() }).collect();
            let accounts: Vec<String> = legs.iter().map(|leg| leg.account.clone()).collect();
            for (leg, account) in back.iter_mut().zip(accounts.iter().cycle().skip(1)) {
                leg.account.clone_from(account);
            }
            legs.append(&mut back);
        }
        finish(transaction, legs)
    })
}

/// A transaction without legs; the scope is the place of the leg that is named.
fn transaction() -> impl Strategy<Value = (Transaction, Option<usize>)> {
    let scope = option::weighted(0.3, 0usize..2);
    let date = option::weighted(0.1, -1i32..2);
    (request_id(), scope, 0u16..2, 0u16..2, date, metadata()).prop_map(
        |(request_id, scope, kind, reason, accounting_date, metadata)| {
            let transaction =
                Transaction { request_id, kind, reason, accounting_date, metadata, ..Transaction::default() };
            (transaction, scope)
        },
    )
}

fn finish((transaction, scope): (Transaction, Option<usize>), legs: Vec<Leg>) -> Command {
    let scope_account = scope.map(|at| legs[at].account.clone());
    Command::Transaction(Transaction { legs, scope_account, ..transaction })
}

fn reversal() -> impl Strategy<Value = Command> {
    (request_id(), earlier(), part(), 0u16..2, metadata()).prop_map(
        |(request_id, transaction, (amount, legs), reason, metadata)| {
            Command::Reversal(Reversal { request_id, transaction, amount, legs, reason, metadata })
        },
    )
}

/// All that is left, an amount, or parts of the first legs: mostly as much of each.
fn part() -> impl Strategy<Value = (Option<Decimal>, Option<Vec<LegPart>>)> {
    let legs = |amount: &dyn Fn(usize) -> Decimal, places: BTreeSet<u16>| {
        places.into_iter().enumerate().map(|(at, leg)| LegPart { leg, amount: amount(at) }).collect()
    };
    let places = || btree_set(0u16..4, 1..4);
    prop_oneof![
        4 => Just((None, None)),
        3 => amount().prop_map(|amount| (Some(amount), None)),
        3 => (places(), amount()).prop_map(move |(places, amount)| (None, Some(legs(&|_| amount, places)))),
        1 => (places(), vec(amount(), 4))
            .prop_map(move |(places, amounts)| (None, Some(legs(&|at| amounts[at], places)))),
    ]
}

/// Where something may have been booked or placed.
fn earlier() -> impl Strategy<Value = TransactionId> {
    (1u32..40, 1u64..26, 0u16..6).prop_map(|(odd, index, offset)| TransactionId {
        set: if odd == 39 { 2 } else { 1 },
        incarnation: if odd == 38 { 2 } else { 1 },
        position: Position::new(index, offset),
    })
}

fn opposite(side: Side) -> Side {
    if side == Side::Debit { Side::Credit } else { Side::Debit }
}

fn account() -> impl Strategy<Value = String> {
    prop_oneof![40 => select(ACCOUNTS.as_slice()), 1 => Just("group")].prop_map(str::to_owned)
}

fn request_id() -> impl Strategy<Value = String> {
    prop_oneof![
        1 => select(REQUEST_IDS.as_slice()).prop_map(str::to_owned),
        2 => (0u32..1000).prop_map(|no| format!("r{no}")),
    ]
}

fn currency() -> impl Strategy<Value = String> {
    select(CURRENCIES.as_slice()).prop_map(str::to_owned)
}

fn side() -> impl Strategy<Value = Side> {
    select(vec![Side::Debit, Side::Credit])
}

fn mode() -> impl Strategy<Value = FreezeMode> {
    select(vec![FreezeMode::Debit, FreezeMode::Credit, FreezeMode::Both])
}

fn metadata() -> impl Strategy<Value = Metadata> {
    prop_oneof![
        9 => Just(Metadata::new()),
        1 => Just(Metadata::from([("note".to_owned(), "ü".to_owned())])),
    ]
}

/// Mostly whole or with cents, now and then too fine, now and then with zeros at the end.
fn amount() -> impl Strategy<Value = Decimal> {
    prop_oneof![
        6 => (1i64..4).prop_map(|n| Decimal::new(n, 0)),
        4 => (1i64..400).prop_map(|n| Decimal::new(n, 2)),
        1 => (1i64..4).prop_map(|n| Decimal::new(n * 1000, 3)),
        1 => (1i64..4).prop_map(|n| Decimal::new(n, 3)),
        1 => Just(fortune()),
    ]
}

/// Two of them are more than an account can keep.
fn fortune() -> Decimal {
    Decimal::from_i128_with_scale(15_000_000_000_000_000_000_000_000_000, 2)
}

fn limit() -> impl Strategy<Value = Decimal> {
    (-300i64..100).prop_map(|n| Decimal::new(n, 2))
}

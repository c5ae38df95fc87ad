//! Random commands from a small world, so that ids, accounts and amounts meet often.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use rust_decimal::Decimal;
use twinset_ledger::command::Metadata;
use twinset_ledger::{
    Command, Durability, FreezeMode, Leg, Position, Reversal, Side, Transaction, TransactionId,
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
    let mark = select(vec![Durability::Sync, Durability::Degraded])
        .prop_map(|durability| Command::MarkDurability { durability });
    prop_oneof![
        3 => open(),
        1 => limit,
        2 => freeze,
        1 => close,
        1 => define,
        1 => mark,
        24 => two_legs(),
        4 => many_legs(),
        6 => reversal(),
    ]
    .prop_filter("valid", |command| command.validate().is_ok())
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
    (transaction(), account(), account(), amount(), side(), named).prop_map(
        |(transaction, a, b, amount, side, named)| {
            let other = opposite(side);
            let legs = vec![
                Leg { account: a, side, amount, currency: named },
                Leg { account: b, side: other, amount: amount.normalize(), currency: None },
            ];
            finish(transaction, legs)
        },
    )
}

fn many_legs() -> impl Strategy<Value = Command> {
    let leg = (account(), side(), amount(), option::weighted(0.1, currency()))
        .prop_map(|(account, side, amount, currency)| Leg { account, side, amount, currency });
    (transaction(), vec(leg, 2..5), any::<bool>()).prop_map(|(transaction, mut legs, mirrored)| {
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
    let id = (1u32..40, 1u64..26, 0u16..6).prop_map(|(odd, index, offset)| TransactionId {
        set: if odd == 39 { 2 } else { 1 },
        incarnation: if odd == 38 { 2 } else { 1 },
        position: Position::new(index, offset),
    });
    (request_id(), id, option::of(amount()), 0u16..2, metadata()).prop_map(
        |(request_id, transaction, amount, reason, metadata)| {
            Command::Reversal(Reversal { request_id, transaction, amount, reason, metadata })
        },
    )
}

fn opposite(side: Side) -> Side {
    if side == Side::Debit { Side::Credit } else { Side::Debit }
}

fn account() -> impl Strategy<Value = String> {
    select(ACCOUNTS.as_slice()).prop_map(str::to_owned)
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
        1 => Just(Decimal::from_i128_with_scale(15_000_000_000_000_000_000_000_000_000, 2)),
    ]
}

fn limit() -> impl Strategy<Value = Decimal> {
    (-300i64..100).prop_map(|n| Decimal::new(n, 2))
}

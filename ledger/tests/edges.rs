//! The edges: entries that stop a replica, commands that `validate` refuses, and where the short form ends.

mod support;

use rust_decimal::Decimal;
use support::{Books, INCARNATION, SET};
use twinset_ledger::apply::ApplyError;
use twinset_ledger::attempt::{Ballot, Coordination, Part, Role, Sum, Vote};
use twinset_ledger::buffer::Credit;
use twinset_ledger::codec::{DecodeError, EntryBuilder, encode_command, expand, shorten};
use twinset_ledger::command::{Expected, Metadata, Precondition};
use twinset_ledger::hold::Capture;
use twinset_ledger::memory::{Error, MemoryState};
use twinset_ledger::{
    Begin, BufferStep, Command, Effect, LEGS_MAX, Label, Leg, LegKind, Malformed, Position, Posted,
    RULES_VERSION, Rejection, Reversal, Side, State, Step, Transaction, TransactionId,
};

fn apply(build: impl FnOnce(&mut EntryBuilder), rules: u16, time: u64) -> Error {
    let mut builder = EntryBuilder::new(rules, INCARNATION, time);
    build(&mut builder);
    MemoryState::new(SET).apply(1, &builder.finish()).expect_err("refused")
}

fn currency(builder: &mut EntryBuilder, scale: u8) {
    let mut bytes = Vec::new();
    encode_command(&Command::DefineCurrency { code: "NEW".to_owned(), scale }, &mut bytes);
    builder.push_command_bytes(&bytes);
}

#[test]
fn unknown_rules_stop_the_replica() {
    for found in [0, RULES_VERSION + 1] {
        let error = apply(|builder| currency(builder, 2), found, 1);
        assert_eq!(error, Error::Apply(ApplyError::UnknownRules { found }));
    }
}

#[test]
fn what_should_not_be_in_a_log_stops_the_replica() {
    let undecodable = |builder: &mut EntryBuilder| {
        currency(builder, 2);
        builder.push_command_bytes(&[0x0a]);
    };
    assert_eq!(
        apply(undecodable, RULES_VERSION, 1),
        Error::Apply(ApplyError::Undecodable { offset: 1, error: DecodeError::Truncated })
    );
    assert_eq!(
        apply(|builder| currency(builder, 13), RULES_VERSION, 1),
        Error::Apply(ApplyError::Malformed { offset: 0, error: Malformed::Scale })
    );
}

/// A build that does not know attempts takes no entry of version 2: so there must be none of them in one of version 1.
#[test]
fn the_first_rules_know_no_attempts() {
    let abort = |builder: &mut EntryBuilder| {
        let attempt = TransactionId { set: SET + 1, incarnation: INCARNATION, position: Position::new(1, 0) };
        let mut bytes = Vec::new();
        encode_command(&Command::Step { attempt, step: Step::Abort }, &mut bytes);
        builder.push_command_bytes(&bytes);
    };
    assert_eq!(apply(abort, 1, 1), Error::Apply(ApplyError::Malformed { offset: 0, error: Malformed::Step }));
    let together = |builder: &mut EntryBuilder| {
        let mut bytes = Vec::new();
        encode_command(&Command::Together { count: 1 }, &mut bytes);
        builder.push_command_bytes(&bytes);
    };
    assert_eq!(
        apply(together, 1, 1),
        Error::Apply(ApplyError::Malformed { offset: 0, error: Malformed::Step })
    );
    let mut builder = EntryBuilder::new(2, INCARNATION, 1);
    abort(&mut builder);
    together(&mut builder);
    assert!(MemoryState::new(SET).apply(1, &builder.finish()).is_ok());
}

#[test]
fn a_time_that_leaves_no_room_stops_the_replica() {
    let two = |builder: &mut EntryBuilder| {
        currency(builder, 2);
        currency(builder, 2);
    };
    assert_eq!(
        apply(two, RULES_VERSION, u64::MAX),
        Error::Apply(ApplyError::Time { time_unix_ns: u64::MAX })
    );
}

fn leg(account: &str, side: Side, amount: Decimal) -> Leg {
    Leg::new(account, side, amount)
}

fn two_legs() -> Transaction {
    Transaction {
        request_id: "id".to_owned(),
        legs: vec![leg("a", Side::Debit, Decimal::ONE), leg("b", Side::Credit, Decimal::ONE)],
        ..Transaction::default()
    }
}

#[test]
fn malformed_transactions_are_named() {
    let code = |change: &dyn Fn(&mut Transaction)| {
        let mut transaction = two_legs();
        change(&mut transaction);
        Command::Transaction(transaction).validate().err().map(Malformed::code)
    };
    let pair = |key: &str, len| Metadata::from([(key.to_owned(), "v".repeat(len))]);
    let pairs = |count: u32| (0..count).map(|no| (no.to_string(), String::new())).collect::<Metadata>();
    assert_eq!(code(&|_| {}), None);
    assert_eq!(code(&|t| t.request_id = "x".repeat(65)), Some("malformed_request_id"));
    assert_eq!(code(&|t| t.legs[0].account.clear()), Some("malformed_account_id"));
    assert_eq!(code(&|t| t.legs[0].currency = Some(String::new())), Some("malformed_currency"));
    assert_eq!(code(&|t| t.legs.truncate(1)), Some("too_few_legs"));
    assert_eq!(code(&|t| t.legs = vec![t.legs[0].clone(); LEGS_MAX]), None);
    assert_eq!(code(&|t| t.legs = vec![t.legs[0].clone(); LEGS_MAX + 1]), Some("too_many_legs"));
    assert_eq!(code(&|t| t.legs[1].account = "a".to_owned()), Some("same_account"));
    assert_eq!(code(&|t| t.scope_account = Some("c".to_owned())), Some("scope_account_without_leg"));
    assert_eq!(code(&|t| t.legs[1].amount = Decimal::ZERO), Some("amount_not_positive"));
    assert_eq!(code(&|t| t.accounting_date = Some(i32::MAX)), Some("date_out_of_range"));
    assert_eq!(code(&|t| t.metadata = pair("k", 512)), None);
    assert_eq!(code(&|t| t.metadata = pair("k", 513)), Some("metadata_too_large"));
    assert_eq!(code(&|t| t.metadata = pair("", 1)), Some("metadata_too_large"));
    assert_eq!(code(&|t| t.metadata = pair(&"k".repeat(65), 1)), Some("metadata_too_large"));
    assert_eq!(code(&|t| t.metadata = pairs(32)), None);
    assert_eq!(code(&|t| t.metadata = pairs(33)), Some("metadata_too_large"));
}

/// What a node books of itself is named as no client may name its own.
#[test]
fn the_names_of_nodes_are_malformed_as_clients_request_ids() {
    let hold = TransactionId { set: 1, incarnation: 1, position: Position::new(5, 0) };
    let capture = Some(Capture { hold, is_final: true });
    let confirmation = Transaction {
        request_id: "~confirm-1-1-5-0-1".to_owned(),
        scope_account: Some("a".to_owned()),
        capture,
        ..two_legs()
    };
    let run = Transaction { request_id: "~sweep-1-1-5-0-1".to_owned(), ..two_legs() };
    for transaction in [confirmation, run] {
        let command = Command::Transaction(transaction);
        assert_eq!(command.validate(), Ok(()));
        assert_eq!(command.validate_of_client(), Err(Malformed::RequestId), "{command:?}");
    }
    assert_eq!(Command::Transaction(two_legs()).validate_of_client(), Ok(()));
}

#[test]
fn malformed_attempts_are_named() {
    let begin = |legs: Vec<Leg>, sets: Vec<u32>| {
        let transaction = Transaction { legs, ..two_legs() };
        Command::Begin(Begin { transaction, sets }).validate()
    };
    let one = Decimal::ONE;
    let many = |count: usize| -> Vec<Leg> {
        (0..count).map(|no| leg(&format!("x{no}"), Side::Debit, one)).collect()
    };
    let sets = |count: u32| -> Vec<u32> { (0..count).collect() };
    let pair = two_legs().legs;
    assert_eq!(begin(pair.clone(), vec![1, 2]), Ok(()));
    assert_eq!(begin(many(16), sets(16)), Ok(()));
    assert_eq!(begin(many(17), sets(17)), Err(Malformed::TooManySets));
    assert_eq!(begin(many(65), sets(65)), Err(Malformed::TooManyLegsAcross));
    assert_eq!(begin(pair.clone(), vec![1, 1]), Err(Malformed::Step));
    assert_eq!(begin(pair.clone(), vec![1, 2, 3]), Err(Malformed::Step));
    assert_eq!(begin(pair[..1].to_vec(), vec![1]), Err(Malformed::TooFewLegs));
    let torn = vec![leg("a", Side::Debit, one), leg("b", Side::Credit, one), leg("a", Side::Debit, one)];
    assert_eq!(begin(torn, vec![1, 2, 3]), Err(Malformed::Step));

    let attempt = TransactionId { set: 1, incarnation: 1, position: Position::new(4, 0) };
    let step = |step| Command::Step { attempt, step }.validate();
    let labelled =
        |legs, accounting_date, label| step(Step::Prepare { legs, accounting_date, reverses: None, label });
    let prepare = |legs, accounting_date| labelled(legs, accounting_date, Label::default());
    assert_eq!(prepare(many(63), 0), Ok(()));
    assert_eq!(prepare(many(64), 0), Err(Malformed::Step));
    let large = Label { metadata: [("k".to_owned(), "v".repeat(513))].into(), ..Label::default() };
    assert_eq!(labelled(many(1), 0, large), Err(Malformed::Metadata));
    assert_eq!(prepare(Vec::new(), 0), Err(Malformed::Step));
    assert_eq!(prepare(many(1), 2_932_897), Err(Malformed::Date));
    assert_eq!(prepare(vec![leg("a", Side::Debit, Decimal::ZERO)], 0), Err(Malformed::Amount));
    let vote = |said| step(Step::Decide(Ballot::Votes(vec![Vote { set: 2, said }])));
    assert_eq!(vote(Ok(Vec::new())), Ok(()));
    assert_eq!(vote(Err(Rejection::AccountClosed { account: "a".to_owned() })), Ok(()));
    // What is not the last word of a set decides nothing.
    for refusal in [
        Rejection::StepOutOfPlace { attempt },
        Rejection::SetUnavailable { set: 2 },
        Rejection::RequestMismatch { field: "legs".to_owned(), original: attempt.position },
    ] {
        assert_eq!(vote(Err(refusal)), Err(Malformed::Step));
    }
    for step_of_none in [Step::Commit, Step::Abort, Step::Decide(Ballot::GivenUp { set: 2 })] {
        assert_eq!(step(step_of_none), Ok(()));
    }
}

/// Whoever has room for what begins a transaction has room for each copy of what is said of it.
#[test]
fn what_sets_are_told_is_smaller_than_what_began_it() {
    let wide = |n: usize| format!("{n:064}");
    let expects = |expected| Precondition { expected, value: Decimal::ONE };
    let leg = |n| Leg {
        currency: Some(wide(0)),
        preconditions: Expected::ALL.map(expects).into(),
        kind: LegKind::Restricted { until_ns: Some(u64::MAX) },
        ..leg(&wide(n), Side::Credit, Decimal::ONE)
    };
    let transaction = Transaction {
        request_id: wide(0),
        scope_account: Some(wide(0)),
        legs: (0..64).map(leg).collect(),
        kind: 1,
        reason: 1,
        accounting_date: Some(0),
        capture: None,
        metadata: (0..32).map(|n| (wide(n), "v".repeat(512))).collect(),
    };
    let attempt = TransactionId { set: 1, incarnation: 1, position: Position::new(4, 0) };
    let label = Label::from(&transaction);
    let credit = Credit {
        number: u64::MAX,
        leg: 63,
        account: wide(63),
        side: Side::Credit,
        amount: i128::MAX,
        currency: wide(0),
        scale: 12,
        accounting_date: 0,
        label: label.clone(),
    };
    let (legs, reverses) = (transaction.legs[1..].to_vec(), Some(attempt));
    let size = |command: Command| {
        assert_eq!(command.validate(), Ok(()));
        let mut bytes = Vec::new();
        encode_command(&command, &mut bytes);
        bytes.len()
    };
    let told = [
        size(Command::Step { attempt, step: Step::Prepare { legs, accounting_date: 0, reverses, label } }),
        size(Command::BufferStep { by: attempt, step: BufferStep::Credit(credit) }),
    ];
    let begun = size(Command::Begin(Begin { transaction, sets: (0..64).map(|n| n % 16).collect() }));
    assert!(told.iter().all(|size| *size < begun) && begun < 40 << 10, "{told:?} of {begun}");
}

fn books() -> Books {
    let mut books = Books::new();
    for (account, currency) in [("a", "EUR"), ("b", "EUR"), ("y", "JPY"), ("z", "JPY")] {
        let open = Command::OpenAccount {
            request_id: "open".to_owned(),
            account: account.to_owned(),
            subject: "asset".to_owned(),
            currency: currency.to_owned(),
            normal_side: None,
            limit: None,
            metadata: Metadata::new(),
        };
        books.apply(1, &[open]);
    }
    books
}

/// No set should tell what it has booked in another unit than it has voted in. If one does, the amount is still the same.
#[test]
fn a_part_is_taken_back_in_the_unit_of_the_first_leg() {
    let mut books = books();
    let position = Position::new(books.next_index(), 0);
    let attempt = TransactionId { set: SET, incarnation: INCARNATION, position };
    let legs = vec![leg("a", Side::Debit, Decimal::ONE), leg("x", Side::Credit, Decimal::ONE)];
    let transaction = Transaction { legs, ..two_legs() };
    let sum = Sum { currency: "EUR".to_owned(), scale: 2, debits: 0, credits: 100 };
    let (account, side) = ("x".to_owned(), Side::Credit);
    let posted = Posted { account, side, amount: 1000, scale: 3, posted: 1000, available: 1000 };
    let part = Part { set: 2, position, legs: vec![posted] };
    let step = |step| Command::Step { attempt, step };
    let reversal = Reversal {
        request_id: "back".to_owned(),
        transaction: attempt,
        amount: Some(Decimal::new(40, 2)),
        legs: None,
        reason: 0,
        metadata: Metadata::new(),
    };
    for command in [
        Command::Begin(Begin { transaction, sets: vec![SET, 2] }),
        step(Step::Decide(Ballot::Votes(vec![Vote { set: 2, said: Ok(vec![sum]) }]))),
        step(Step::Settle { parts: vec![part] }),
    ] {
        assert!(books.apply(1, &[command])[0].result.is_ok());
    }
    assert_eq!(books.apply(1, &[Command::Reversal(reversal)])[0].result, Ok(Effect::Begun));
    let (_, open) = books.short.attempts().iter().next().expect("the reversal is open");
    let Role::Coordinator(Coordination { legs, .. }) = &open.role else { panic!("it is begun here") };
    assert!(legs.iter().all(|leg| leg.amount == Decimal::new(40, 2)), "{legs:?}");
}

#[test]
fn the_short_form_expands_to_what_it_was() {
    let books = books();
    let turned = |mut transaction: Transaction| {
        transaction.legs.reverse();
        transaction
    };
    let dated = Transaction { accounting_date: Some(0), kind: 1, reason: 2, ..two_legs() };
    let scoped = Transaction { scope_account: Some("b".to_owned()), ..two_legs() };
    let large = leg("a", Side::Debit, Decimal::from_i128_with_scale(i128::from(u64::MAX), 2));
    let largest = Transaction {
        legs: vec![leg("b", Side::Credit, large.amount), large],
        request_id: "01ARZ3NDEKTSV4RRFFQ69G5FAV".to_owned(),
        ..two_legs()
    };
    for transaction in [two_legs(), turned(two_legs()), dated, turned(scoped.clone()), scoped, largest] {
        let mut bytes = Vec::new();
        encode_command(&Command::Transaction(transaction.clone()), &mut bytes);
        let short = shorten(&bytes, &books.short).expect("it has a short form");
        assert_eq!(expand(&short, &books.short), transaction);
        for len in 0..bytes.len() {
            assert_eq!(shorten(&bytes[..len], &books.short), None, "cut at {len}");
        }
        bytes.push(0);
        assert_eq!(shorten(&bytes, &books.short), None, "with a byte more");
    }
}

#[test]
fn what_the_short_form_cannot_say_stays_general() {
    let books = books();
    let has_short = |change: &dyn Fn(&mut Transaction)| {
        let mut transaction = two_legs();
        change(&mut transaction);
        let mut bytes = Vec::new();
        encode_command(&Command::Transaction(transaction), &mut bytes);
        shorten(&bytes, &books.short).is_some()
    };
    let amounts = |amount| move |t: &mut Transaction| t.legs.iter_mut().for_each(|leg| leg.amount = amount);
    let currencies = |currency: &str| {
        let currency = Some(currency.to_owned());
        move |t: &mut Transaction| t.legs[0].currency.clone_from(&currency)
    };
    assert!(has_short(&|_| {}));
    assert!(has_short(&currencies("EUR")), "the account's own currency says nothing");
    assert!(has_short(&|t| t.legs[0].amount = Decimal::new(100, 2)), "1.00 is 1");
    assert!(!has_short(&currencies("USD")));
    assert!(!has_short(&amounts(Decimal::new(1, 3))), "excess scale");
    assert!(!has_short(&amounts(Decimal::from_i128_with_scale(1 << 64, 2))), "too large");
    assert!(!has_short(&amounts(Decimal::ZERO)));
    assert!(!has_short(&amounts(-Decimal::ONE)));
    assert!(!has_short(&|t| t.legs[0].amount = Decimal::TWO), "unbalanced");
    assert!(!has_short(&|t| t.legs[0].side = Side::Credit));
    assert!(!has_short(&|t| t.legs[0].account = "nobody".to_owned()));
    assert!(!has_short(&|t| t.legs[0].account = "b".to_owned()));
    assert!(!has_short(&|t| t.legs[0].account = "y".to_owned()), "two currencies");
    assert!(!has_short(&|t| t.request_id = "seventeen-letters".to_owned()));
    assert!(!has_short(&|t| t.scope_account = Some("y".to_owned())));
    assert!(!has_short(&|t| t.accounting_date = Some(i32::MIN)));
    assert!(!has_short(&|t| t.metadata = Metadata::from([("k".to_owned(), "v".to_owned())])));
    assert!(!has_short(&|t| t.legs.push(leg("y", Side::Debit, Decimal::ONE))));
}

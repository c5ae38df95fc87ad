//! What the fake nodes answer to reads of holds, and of transactions that capture them, from the ledger in memory.

use twinset_ledger::amount::to_decimal_string;
use twinset_ledger::hold::{Ended, Hold, HoldChange};
use twinset_ledger::memory::MemoryState;
use twinset_ledger::{Account, Begin, Command, Position, State, Transaction, TransactionId, date};
use twinset_proto::cluster::v1::{ListHolds, ListOverdue, NotFound, read_reply};
use twinset_proto::ledger::v1 as wire;

/// As of when an answer is.
pub type AsOf = Option<wire::Position>;

fn nothing(as_of: AsOf) -> read_reply::Result {
    read_reply::Result::NotFound(NotFound { as_of, ..NotFound::default() })
}

fn found(state: &MemoryState, hold: &Hold, as_of: AsOf, age_ms: u64) -> read_reply::Result {
    let hold = Some(told(state, hold));
    read_reply::Result::Hold(wire::GetHoldReply { hold, as_of, age_ms })
}

/// The hold of that name on that account.
pub fn one(state: &MemoryState, account: &str, hold: &str, as_of: AsOf, age_ms: u64) -> read_reply::Result {
    let id: TransactionId = hold.parse().expect("a router asks for holds");
    let held = state.holds().get(id.position).filter(|held| held.id == id);
    match held.filter(|held| state.account(held.account).id == account) {
        Some(held) => found(state, held, as_of, age_ms),
        None => nothing(as_of),
    }
}

/// The hold that a remembered command was about.
pub fn of_command(state: &MemoryState, hold: TransactionId, as_of: AsOf) -> read_reply::Result {
    let held = state.holds().get(hold.position).expect("what is remembered is kept");
    found(state, held, as_of, 0)
}

/// Some holds of an account.
pub fn page(state: &MemoryState, asked: &ListHolds, as_of: AsOf, age_ms: u64) -> read_reply::Result {
    let Some(account) = state.account_no(&asked.account) else { return nothing(as_of) };
    let after = asked.after.parse().ok().map(|after: TransactionId| after.position.0 + 1);
    let held = state.holds().of_account(account, Position(after.unwrap_or_default()));
    let wanted = asked.state();
    let mut holds: Vec<wire::Hold> = held
        .map(|hold| told(state, hold))
        .filter(|hold| wanted == wire::HoldState::Unspecified || hold.state() == wanted)
        .collect();
    let more = holds.len() > asked.page_size as usize;
    holds.truncate(asked.page_size as usize);
    let next = holds.last().filter(|_| more).map(|last| last.hold.clone()).unwrap_or_default();
    read_reply::Result::Holds(wire::ListHoldsReply { holds, next, as_of, age_ms })
}

/// Overdue holds of a set.
pub fn overdue(state: &MemoryState, asked: &ListOverdue, as_of: AsOf, age_ms: u64) -> read_reply::Result {
    let from = (asked.from_end_ns, Position(asked.from));
    let mut overdue = state.holds().overdue_from(from, state.last_time()).map(|hold| told(state, hold));
    let holds: Vec<wire::Hold> = overdue.by_ref().take(asked.page_size as usize).collect();
    let more = overdue.next().is_some();
    let next = holds.last().filter(|_| more).map(|last| last.hold.clone()).unwrap_or_default();
    read_reply::Result::Holds(wire::ListHoldsReply { holds, next, as_of, age_ms })
}

fn told(state: &MemoryState, hold: &Hold) -> wire::Hold {
    let Account { id: account, currency, scale, .. } = state.account(hold.account).clone();
    let money = |minor| to_decimal_string(minor, scale);
    let Ok(original) = state.original(hold.id.position);
    let (Command::PlaceHold(placed), outcome) = original.expect("what is remembered is kept") else {
        panic!("{} is no hold", hold.id)
    };
    let position =
        |at: Position, time_unix_ns| wire::Position { set: state.set(), index: at.index(), time_unix_ns };
    let event = |event: &twinset_ledger::hold::HoldEvent| {
        use wire::hold_event::Change;
        let change = match event.change {
            HoldChange::Captured { amount, by } => {
                Change::Captured(wire::HoldCaptured { amount: money(amount), transaction: by.to_string() })
            }
            HoldChange::Released { amount } => Change::Released(money(amount)),
            HoldChange::Expired { amount } => Change::Expired(money(amount)),
            HoldChange::Extended { expires_ns } => {
                Change::Extended(expires_ns.map(date::timestamp).unwrap_or_default())
            }
            HoldChange::CheckedBack { no, came } => Change::CheckedBack(wire::CheckBackTry {
                number: no,
                result: came.name().to_owned(),
                ..wire::CheckBackTry::default()
            }),
        };
        let position = Some(position(event.at, event.time_unix_ns));
        wire::HoldEvent { position, change: Some(change) }
    };
    let stands = match hold.ended {
        None if hold.is_overdue(state.last_time()) => wire::HoldState::HoldOverdue,
        None if hold.is_open(state.last_time()) => wire::HoldState::HoldOpen,
        Some(Ended::Captured) => wire::HoldState::HoldCaptured,
        Some(Ended::Released) => wire::HoldState::HoldReleased,
        None | Some(Ended::Expired) => wire::HoldState::HoldExpired,
    };
    wire::Hold {
        hold: hold.id.to_string(),
        account,
        currency,
        state: stands.into(),
        amount: money(hold.amount),
        captured: money(hold.captured),
        capturing: money(hold.capturing),
        released: money(hold.released),
        left: money(hold.left()),
        expires_at: hold.expires_ns.map(date::timestamp).unwrap_or_default(),
        placed: Some(position(hold.id.position, outcome.time_unix_ns)),
        request_id: placed.request_id,
        reason: placed.reason.into(),
        metadata: placed.metadata.into_iter().collect(),
        journal: hold.journal.iter().map(event).collect(),
        check_back: hold.check_back.as_ref().map(|asking| wire::CheckBackState {
            initiator: asking.terms.initiator.clone(),
            to: asking.terms.to.clone(),
            tries: asking.tries,
            ..wire::CheckBackState::default()
        }),
    }
}

/// A transaction, as far as tests look at it.
pub fn transaction(state: &MemoryState, id: &str, as_of: AsOf, age_ms: u64) -> read_reply::Result {
    let named: TransactionId = id.parse().expect("a router asks for transactions");
    let Ok(original) = state.original(named.position);
    let asked = match original {
        Some((Command::Transaction(asked) | Command::Begin(Begin { transaction: asked, .. }), _)) => asked,
        _ => return nothing(as_of),
    };
    let Transaction { request_id, scope_account, capture, .. } = asked;
    let capture =
        capture.map(|capture| wire::Capture { hold: capture.hold.to_string(), r#final: capture.is_final });
    let transaction = Some(wire::Transaction {
        transaction: id.into(),
        request_id,
        scope_account: scope_account.unwrap_or_default(),
        capture,
        ..wire::Transaction::default()
    });
    read_reply::Result::Transaction(wire::GetTransactionReply { transaction, as_of, age_ms })
}

//! What a command asks for: its key, its id, and the command that the ledger and its model take.

use std::collections::BTreeMap;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};

use rust_decimal::Decimal;
use twinset_ledger::buffer::PostingMode;
use twinset_ledger::command::{Expected, Precondition};
use twinset_ledger::hold::{self, PlaceHold};
use twinset_ledger::sweep::{SWEEP_KEY, Schedule, SetSweep};
use twinset_ledger::{
    Begin, Command, FreezeMode, Leg, LegKind, LegPart, OnExpiry, Reversal, Side, Transaction, TransactionId,
};

use super::Body;
use crate::history::event::EURO;
use crate::history::holds::Capture;
use crate::history::label::{Written, written};
use crate::history::marks::{Figure, Mark, Marks};
use crate::history::sweeps::When;
use crate::history::{Ask, History, Mode, run_of};

impl<'h> Body<'h> {
    /// Equal for equal requests with equal content.
    pub fn key(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.hash(&mut hasher);
        hasher.finish()
    }

    /// What else is written on it.
    pub fn label(&self) -> Option<u16> {
        match self {
            Body::Transfer(transfer) => transfer.label,
            Body::Other(_) => None,
        }
    }

    /// What it captures.
    pub fn capture(&self) -> Option<Capture> {
        match self {
            Body::Transfer(transfer) => transfer.capture,
            Body::Other(_) => None,
        }
    }

    /// What else is said of its legs.
    pub fn marks(&self) -> Marks {
        match self {
            Body::Transfer(transfer) => transfer.shown_marks(),
            Body::Other(_) => Marks::new(),
        }
    }

    /// The request id.
    pub fn id(&self) -> &'h str {
        match *self {
            Body::Transfer(transfer) => &transfer.id,
            Body::Other(
                Ask::Open { id, .. }
                | Ask::SetLimit { id, .. }
                | Ask::Freeze { id, .. }
                | Ask::Close { id, .. }
                | Ask::Reverse { id, .. }
                | Ask::PlaceHold { id, .. }
                | Ask::ReleaseHold { id, .. }
                | Ask::ExtendHold { id, .. }
                | Ask::ReleaseRestriction { id, .. }
                | Ask::SetMode { id, .. }
                | Ask::SetSweep { id, .. }
                | Ask::RemoveSweep { id, .. }
                | Ask::ResolveSuspense { id, .. },
            ) => id,
            Body::Other(_) => "",
        }
    }

    /// As the ledger and its model take it.
    pub fn command(&self, history: &History) -> Command {
        let name = |account: u32| history.accounts[account as usize].clone();
        let money = |cents: i64| Decimal::new(cents, 2);
        match self {
            Body::Transfer(transfer) => {
                let leg = |(number, (account, cents)): (u8, &(u32, i64))| {
                    let side = if *cents > 0 { Side::Debit } else { Side::Credit };
                    let kind = kind(&transfer.marks, number);
                    let preconditions = preconditions(&transfer.marks, number);
                    Leg { kind, preconditions, ..Leg::new(&name(*account), side, money(cents.abs())) }
                };
                let Written { kind, reason, accounting_date, metadata } = written(transfer.label);
                let mut transaction = Transaction {
                    request_id: transfer.id.clone(),
                    scope_account: match transfer.groups().next() {
                        Some(_) => transfer.payer(&history.accounts).map(name),
                        None => transfer.scope.map(name),
                    },
                    legs: (0..).zip(&transfer.legs).map(leg).collect(),
                    kind,
                    reason,
                    accounting_date,
                    capture: transfer
                        .capture
                        .map(|Capture { hold, is_final }| hold::Capture { hold: hold.0, is_final }),
                    metadata,
                };
                if let Some((sweep, _)) = run_of(&transfer.id) {
                    run(&mut transaction, sweep);
                }
                match history.sets_across(transfer) {
                    Some(sets) => Command::Begin(Begin { transaction, sets }),
                    None => Command::Transaction(transaction),
                }
            }
            Body::Other(ask) => match (*ask).clone() {
                Ask::Open { id, account, subject, currency, limit } => Command::OpenAccount {
                    request_id: id,
                    account: name(account),
                    subject,
                    currency,
                    normal_side: None,
                    limit: limit.map(money),
                    metadata: BTreeMap::new(),
                },
                Ask::SetLimit { id, account, limit } => {
                    Command::SetLimit { request_id: id, account: name(account), limit: limit.map(money) }
                }
                Ask::Freeze { id, account, mode, on } => {
                    let (request_id, account) = (id, name(account));
                    let mode = match mode {
                        Mode::Debit => FreezeMode::Debit,
                        Mode::Credit => FreezeMode::Credit,
                        Mode::Both => FreezeMode::Both,
                    };
                    match on {
                        true => Command::Freeze { request_id, account, mode },
                        false => Command::Unfreeze { request_id, account, mode },
                    }
                }
                Ask::Close { id, account } => {
                    Command::CloseAccount { request_id: id, account: name(account) }
                }
                Ask::Reverse { id, transaction, cents, parts } => Command::Reversal(Reversal {
                    request_id: id,
                    transaction: transaction.0,
                    amount: cents.map(money),
                    legs: (!parts.is_empty()).then(|| {
                        parts.iter().map(|&(leg, cents)| LegPart { leg, amount: money(cents) }).collect()
                    }),
                    reason: 0,
                    metadata: BTreeMap::new(),
                }),
                Ask::PlaceHold { id, account, cents, expires_ns } => Command::PlaceHold(PlaceHold {
                    request_id: id,
                    account: name(account),
                    amount: money(cents),
                    currency: None,
                    expires_ns,
                    on_expiry: OnExpiry::Release,
                    reason: 0,
                    metadata: BTreeMap::new(),
                }),
                Ask::ReleaseHold { id, account, hold, cents } => Command::ReleaseHold {
                    request_id: id,
                    account: name(account),
                    hold: hold.0,
                    amount: cents.map(money),
                },
                Ask::ExtendHold { id, account, hold, expires_ns } => {
                    Command::ExtendHold { request_id: id, account: name(account), hold: hold.0, expires_ns }
                }
                Ask::ReleaseRestriction { id, account, restriction, cents } => Command::ReleaseRestriction {
                    request_id: id,
                    account: name(account),
                    restriction: restriction.0,
                    amount: cents.map(money),
                },
                Ask::SetMode { id, account, buffered } => Command::SetPostingMode {
                    request_id: id,
                    account: name(account),
                    mode: if buffered { PostingMode::Buffered } else { PostingMode::Strict },
                },
                Ask::SetSweep { id, account, terms } => Command::SetSweep(SetSweep {
                    request_id: id,
                    account: name(account),
                    to: name(terms.to),
                    keep: money(terms.keep),
                    schedule: schedule(terms.when),
                }),
                Ask::RemoveSweep { id, account } => {
                    Command::RemoveSweep { request_id: id, account: name(account) }
                }
                Ask::ResolveSuspense { id, item, account } => {
                    Command::ResolveSuspense { request_id: id, item: item.0, account: name(account) }
                }
                other => unreachable!("{other:?} is no command"),
            },
        }
    }
}

/// What the set writes on a run beside legs and id. The swept account, whose leg is the first, is in euros.
fn run(transaction: &mut Transaction, sweep: TransactionId) {
    transaction.legs.iter_mut().for_each(|leg| leg.currency = Some(EURO.to_owned()));
    transaction.metadata = BTreeMap::from([(SWEEP_KEY.to_owned(), sweep.to_string())]);
}

/// When a sweep runs, as the ledger takes it.
pub fn schedule(when: When) -> Schedule {
    match when {
        When::Every(seconds) => Schedule::Every { seconds, from_ns: None },
        When::Above(cents) => Schedule::Above { amount: Decimal::new(cents, 2) },
        When::Daily => Schedule::Daily,
    }
}

/// What a leg means for restricted funds.
pub fn kind(marks: &[(u8, Mark)], number: u8) -> LegKind {
    let mut of_leg = marks.iter().filter(|(at, _)| *at == number);
    match of_leg.find(|(_, mark)| !matches!(mark, Mark::Expects { .. })) {
        Some((_, Mark::Withdrawal)) => LegKind::Withdrawal,
        Some((_, Mark::Restricted { until_ns })) => LegKind::Restricted { until_ns: *until_ns },
        Some((_, Mark::Group { .. } | Mark::Expects { .. })) | None => LegKind::Ordinary,
    }
}

/// What is to be true before of a leg's account.
fn preconditions(marks: &[(u8, Mark)], number: u8) -> Vec<Precondition> {
    let of_leg = marks.iter().filter(|(at, _)| *at == number);
    let wanted = of_leg.filter_map(|(_, mark)| match mark {
        Mark::Expects { figure, value } => {
            let (expected, places) = match figure {
                Figure::AvailableMin => (Expected::AvailableMin, 2),
                Figure::AvailableMax => (Expected::AvailableMax, 2),
                Figure::PostedMin => (Expected::PostedMin, 2),
                Figure::PostedMax => (Expected::PostedMax, 2),
                Figure::Version => (Expected::Version, 0),
            };
            Some(Precondition { expected, value: Decimal::new(*value, places) })
        }
        _ => None,
    });
    wanted.collect()
}

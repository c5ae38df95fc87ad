//! The ledger's records as the public API shows them: money as decimal strings, days as dates.

use twinset_ledger::amount::to_decimal_string;
use twinset_ledger::buffer::Buffered;
use twinset_ledger::hold::Capture;
use twinset_ledger::{
    Account, BufferStep, Command, Durability, Label, Leg, LegKind, Posted, Side, Transaction, date,
};
use twinset_proto::ledger::v1 as api;
use twinset_store::{Listed, Said};

/// A side on the wire.
pub fn side(side: Side) -> i32 {
    match side {
        Side::Debit => api::Side::Debit.into(),
        Side::Credit => api::Side::Credit.into(),
    }
}

/// A position on the wire.
pub fn position(set: u32, index: u64, time_unix_ns: u64) -> api::Position {
    api::Position { set, index, time_unix_ns }
}

/// "SYNC" or "DEGRADED".
pub fn durability(durability: Durability) -> &'static str {
    match durability {
        Durability::Sync => "SYNC",
        Durability::Degraded => "DEGRADED",
    }
}

/// An account, and how it may be paid from other sets.
pub fn account(account: &Account, mode: Option<Buffered>) -> api::Account {
    let money = |minor: i128| to_decimal_string(minor, account.scale);
    let posting_mode = match mode {
        None => api::PostingMode::PostingStrict,
        Some(Buffered { draining: true, .. }) => api::PostingMode::PostingDraining,
        Some(_) => api::PostingMode::PostingBuffered,
    };
    api::Account {
        account: account.id.clone(),
        subject: account.subject.clone(),
        currency: account.currency.clone(),
        normal_side: side(account.normal_side),
        limit: account.limit.map_or_else(|| "none".to_owned(), money),
        frozen_debit: account.frozen_debit,
        frozen_credit: account.frozen_credit,
        closed: account.closed,
        posted: money(account.posted()),
        held: money(account.held),
        incoming: money(account.incoming),
        restricted: money(account.restricted),
        available: money(account.available()),
        withdrawable: money(account.withdrawable()),
        debits: money(account.debits),
        credits: money(account.credits),
        version: account.version,
        metadata: account.metadata.clone().into_iter().collect(),
        posting_mode: posting_mode.into(),
        group: String::new(),
    }
}

fn leg(leg: &Leg) -> api::Leg {
    api::Leg {
        account: leg.account.clone(),
        side: side(leg.side),
        amount: leg.amount.to_string(),
        currency: leg.currency.clone().unwrap_or_default(),
        withdrawal: leg.kind == LegKind::Withdrawal,
        restricted: restricted(leg.kind),
        ..api::Leg::default()
    }
}

/// If a leg of that kind is restricted.
pub fn restricted(kind: LegKind) -> Option<api::Restricted> {
    match kind {
        LegKind::Restricted { until_ns } => {
            Some(api::Restricted { until: until_ns.map(date::timestamp).unwrap_or_default() })
        }
        LegKind::Ordinary | LegKind::Withdrawal => None,
    }
}

/// A booked transaction or reversal, or what one set has booked of one over several sets; None if it is a command of another
/// kind.
pub fn transaction(booked: &Listed) -> Option<api::Transaction> {
    let mut out = api::Transaction {
        transaction: booked.id.to_string(),
        position: Some(position(booked.id.set, booked.id.position.index(), booked.time_unix_ns)),
        scope_account: booked.scope_account.clone().unwrap_or_default(),
        reversed_by: booked.reversed.by.iter().map(ToString::to_string).collect(),
        ..Default::default()
    };
    let own_day = i32::try_from(booked.time_unix_ns / NS_PER_DAY).expect("days of 64-bit nanoseconds fit");
    match &booked.command {
        Command::Transaction(transaction) => describe(&mut out, transaction, own_day),
        Command::Reversal(r) => {
            out.request_id.clone_from(&r.request_id);
            out.reverses = r.transaction.to_string();
            out.reason = r.reason.into();
            out.accounting_date = date::format(own_day);
            out.metadata = r.metadata.clone().into_iter().collect();
            out.legs = booked.legs.iter().map(posted).collect();
        }
        Command::Begin(begin) => {
            describe(&mut out, &begin.transaction, own_day);
            for leg in &booked.in_transit {
                out.legs[usize::from(*leg)].in_transit = true;
            }
        }
        Command::ResolveSuspense { request_id, .. } => {
            out.request_id.clone_from(request_id);
            out.accounting_date = date::format(own_day);
            out.legs = booked.legs.iter().map(posted).collect();
        }
        // Of parcels that were lost nobody knows whose they were.
        Command::BufferStep { step: BufferStep::Lost { .. }, .. } => {
            out.accounting_date = date::format(own_day);
            out.legs = booked.legs.iter().map(posted).collect();
        }
        Command::Step { attempt, .. } | Command::BufferStep { by: attempt, step: BufferStep::Credit(_) } => {
            out.part_of = attempt.to_string();
            out.scope_account.clear();
            out.accounting_date = date::format(own_day);
            if let Some(Said { day, label: Label { kind, reason, metadata } }) = booked.said_of_step.clone() {
                out.accounting_date = date::format(day);
                (out.kind, out.reason) = (kind.into(), reason.into());
                out.metadata = metadata.into_iter().collect();
            }
            out.legs = booked.legs.iter().map(posted).collect();
        }
        _ => return None,
    }
    for (leg, (taken, scale)) in out.legs.iter_mut().zip(&booked.taken_back) {
        if *taken != 0 {
            leg.reversed = to_decimal_string(*taken, *scale);
        }
    }
    Some(out)
}

/// What one set has booked: as [`transaction`], but of what was paid without asking other sets this set's part alone.
pub fn part(booked: &Listed) -> Option<api::Transaction> {
    let mut out = transaction(booked)?;
    if matches!(booked.command, Command::Begin(_)) {
        out.part_of.clone_from(&out.transaction);
        out.legs = booked.legs.iter().map(posted).collect();
    }
    Some(out)
}

/// What the client has said of a transaction.
fn describe(out: &mut api::Transaction, transaction: &Transaction, own_day: i32) {
    out.request_id.clone_from(&transaction.request_id);
    out.legs = transaction.legs.iter().map(leg).collect();
    out.kind = transaction.kind.into();
    out.reason = transaction.reason.into();
    out.accounting_date = date::format(transaction.accounting_date.unwrap_or(own_day));
    out.metadata = transaction.metadata.clone().into_iter().collect();
    let capture = transaction.capture;
    out.capture =
        capture.map(|Capture { hold, is_final }| api::Capture { hold: hold.to_string(), r#final: is_final });
}

/// A leg as it was booked, where no client has named it.
fn posted(posted: &Posted) -> api::Leg {
    api::Leg {
        account: posted.account.clone(),
        side: side(posted.side),
        amount: to_decimal_string(posted.amount, posted.scale),
        ..api::Leg::default()
    }
}

const NS_PER_DAY: u64 = 86_400_000_000_000;

#[cfg(test)]
mod tests {
    use twinset_ledger::amount::parse;
    use twinset_ledger::{Position, TransactionId};

    use super::*;

    #[test]
    fn a_leg_shows_what_has_been_taken_back_of_it() {
        let leg = |account: &str, side, amount| Leg::new(account, side, parse(amount).unwrap());
        let legs = vec![leg("a", Side::Debit, "9"), leg("b", Side::Credit, "5"), leg("c", Side::Credit, "4")];
        let command = Command::Transaction(Transaction { legs, ..Transaction::default() });
        let listed = Listed {
            id: TransactionId { set: 1, incarnation: 1, position: Position::new(7, 0) },
            time_unix_ns: 1,
            command,
            legs: Vec::new(),
            scope_account: None,
            reversed: Default::default(),
            said_of_step: None,
            in_transit: Vec::new(),
            taken_back: Vec::new(),
        };
        let shown = |listed: &Listed| -> Vec<String> {
            transaction(listed).unwrap().legs.into_iter().map(|leg| leg.reversed).collect()
        };
        assert_eq!(shown(&listed), ["", "", ""]);
        let taken_back = vec![(350, 2), (350, 2), (0, 2)];
        assert_eq!(shown(&Listed { taken_back, ..listed }), ["3.50", "3.50", ""]);
    }
}

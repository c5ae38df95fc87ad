//! The ledger's records as the public API shows them: money as decimal strings, days as dates.

use twinset_ledger::amount::to_decimal_string;
use twinset_ledger::{Account, Command, Durability, Effect, Leg, Position, Side};
use twinset_proto::ledger::v1 as api;
use twinset_store::Booked;

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

/// An account.
pub fn account(account: &Account) -> api::Account {
    let money = |minor: i128| to_decimal_string(minor, account.scale);
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
    }
}

fn leg(leg: &Leg) -> api::Leg {
    api::Leg {
        account: leg.account.clone(),
        side: side(leg.side),
        amount: leg.amount.to_string(),
        currency: leg.currency.clone().unwrap_or_default(),
    }
}

/// A booked transaction or reversal; None if it was rejected, or is a command of another kind.
pub fn transaction(booked: &Booked) -> Option<api::Transaction> {
    let Ok(Effect::Posted(postings)) = &booked.outcome.result else { return None };
    let text = |position: Position| twinset_ledger::TransactionId { position, ..booked.id }.to_string();
    let mut out = api::Transaction {
        transaction: booked.id.to_string(),
        position: Some(position(booked.id.set, booked.id.position.index(), booked.time_unix_ns)),
        scope_account: booked.scope_account.clone().unwrap_or_default(),
        reversed_by: booked.reversed.by.iter().copied().map(text).collect(),
        ..Default::default()
    };
    let own_day = i32::try_from(booked.time_unix_ns / NS_PER_DAY).expect("days of 64-bit nanoseconds fit");
    match &booked.command {
        Command::Transaction(t) => {
            out.request_id.clone_from(&t.request_id);
            out.legs = t.legs.iter().map(leg).collect();
            out.kind = t.kind.into();
            out.reason = t.reason.into();
            out.accounting_date = date(t.accounting_date.unwrap_or(own_day));
            out.metadata = t.metadata.clone().into_iter().collect();
        }
        Command::Reversal(r) => {
            out.request_id.clone_from(&r.request_id);
            out.reverses = r.transaction.to_string();
            out.reason = r.reason.into();
            out.accounting_date = date(own_day);
            out.metadata = r.metadata.clone().into_iter().collect();
            out.legs = postings
                .iter()
                .map(|p| api::Leg {
                    account: p.account.clone(),
                    side: side(p.side),
                    amount: to_decimal_string(p.amount, p.scale),
                    currency: String::new(),
                })
                .collect();
        }
        _ => return None,
    }
    Some(out)
}

const NS_PER_DAY: u64 = 86_400_000_000_000;

/// Days since 1970-01-01 as `YYYY-MM-DD` in the proleptic Gregorian calendar (H. Hinnant, "chrono-compatible low-level
/// date algorithms", civil_from_days).
fn date(days: i32) -> String {
    let z = i64::from(days) + 719_468;
    let era = z.div_euclid(146_097);
    let day_of_era = z.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

#[cfg(test)]
mod tests {
    use super::date;

    #[test]
    fn days_are_dates() {
        for (days, expected) in [
            (0, "1970-01-01"),
            (-1, "1969-12-31"),
            (19_782, "2024-02-29"),
            (20_778, "2026-11-21"),
            (11_016, "2000-02-29"),
        ] {
            assert_eq!(date(days), expected);
        }
    }
}

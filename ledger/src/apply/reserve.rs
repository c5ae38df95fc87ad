//! The two halves of booking an attempt in one set: first everything is checked and set aside, later it is booked, or given
//! back, and neither can be refused any more. What a set's own legs leave open stands on its clearing accounts, so that
//! its books balance at every index; over all sets these show what is in flight.

use super::booking::{
    ASKED_MAX, Effect, SUM_MAX, Terms, assert_balanced, check, check_room, effects, overflow_beyond, raise,
};
use super::transaction::sums;
use crate::account::{Account, AccountNo, Side};
use crate::attempt::{Planned, Sum};
use crate::canary::{self, Canary};
use crate::command::LegKind;
use crate::id::Position;
use crate::outcome::Posted;
use crate::rejection::Rejection;
use crate::state::State;

/// The subject of clearing accounts. Outside the alphabet of codes: nobody else can be under it.
pub const CLEARING_SUBJECT: &str = "@clearing";

/// The id of a set's clearing account in a currency. Outside the alphabet of ids: no command can name it.
pub fn clearing_account(set: u32, currency: &str) -> String {
    format!("{CLEARING_SUBJECT}-{set}:{currency}")
}

/// Checks one set's legs of an attempt and sets aside what they need. Gives the legs with the clearing legs behind them, and
/// the sums of the legs without.
pub(super) fn set_aside<S: State>(
    state: &mut S,
    position: Position,
    legs: &[Planned],
    terms: Terms<'_>,
) -> Result<(Vec<Planned>, Vec<Sum>), Rejection> {
    let sums = sums(state, legs)?;
    check(state, position, legs, &effects(legs), terms)?;
    let most = if terms.is_booked_there { SUM_MAX } else { ASKED_MAX };
    let all = square(state, position, legs, &sums, most)?;
    shift(state, &effects(&all), 1);
    Ok((all, sums))
}

/// The legs, whose sums these are, and behind them those that square them on the set's clearing accounts, which may keep so much.
pub(super) fn square<S: State>(
    state: &mut S,
    position: Position,
    legs: &[Planned],
    sums: &[Sum],
    most: i128,
) -> Result<Vec<Planned>, Rejection> {
    let left_out = canary::on(Canary::ClearingLegLeftOut);
    let open = || sums.iter().filter(|sum| sum.debits != sum.credits && !left_out);
    // None is opened before all have room.
    let found = open().map(|sum| find_clearing(state, sum, most)).collect::<Result<Vec<_>, _>>()?;
    let mut all = Vec::with_capacity(legs.len() + found.len());
    all.extend_from_slice(legs);
    for (sum, (id, no)) in open().zip(found) {
        let no = no.unwrap_or_else(|| open_clearing(state, position, &id, sum));
        all.push(clearing_leg(no, sum));
    }
    Ok(all)
}

/// Whether the clearing account has room for what the sum leaves open, if another set has booked its side already.
pub(super) fn check_clearing<S: State>(state: &S, sum: &Sum) -> Result<(), Rejection> {
    find_clearing(state, sum, SUM_MAX).map(|_| ())
}

/// The id of the clearing account for what the sum leaves open, for which it has room, and its number, if it is open.
fn find_clearing<S: State>(
    state: &S,
    sum: &Sum,
    most: i128,
) -> Result<(String, Option<AccountNo>), Rejection> {
    let id = clearing_account_for(state, sum);
    let no = state.account_no(&id);
    match no {
        Some(no) => check_room(state.account(no), &Effect::of(&clearing_leg(no, sum)), most)?,
        None => overflow_beyond(&id, (sum.debits - sum.credits).abs(), most)?,
    }
    Ok((id, no))
}

fn clearing_account_for<S: State>(state: &S, sum: &Sum) -> String {
    account_in_scale(state, clearing_account(state.set(), &sum.currency), sum.scale)
}

/// The id of a set's own account, in minor units of that scale. Another set may have given a currency another scale than
/// this one: what came from there stands apart.
pub(super) fn account_in_scale<S: State>(state: &S, id: String, scale: u8) -> String {
    match state.account_no(&id) {
        Some(no) if state.account(no).scale != scale => format!("{id}@{scale}"),
        _ => id,
    }
}

/// Gives back what was set aside.
pub(super) fn give_back<S: State>(state: &mut S, legs: &[Planned]) {
    shift(state, &effects(legs), -1);
}

/// Adds to what is set aside on the accounts of the legs (1), or takes it away again (-1).
fn shift<S: State>(state: &mut S, effects: &[Effect], sign: i128) {
    if canary::on(Canary::NothingSetAside) {
        return;
    }
    for effect in effects {
        let account = state.account_mut(effect.no);
        let net = effect.net(account);
        *(if net < 0 { &mut account.held } else { &mut account.incoming }) += sign * net.abs();
        account.prepared += sign * (effect.debits + effect.credits);
    }
}

/// Books what was set aside.
pub(super) fn book_set_aside<S: State>(state: &mut S, position: Position, legs: &[Planned]) -> Vec<Posted> {
    assert_balanced(state, position, legs);
    let effects = effects(legs);
    shift(state, &effects, -1);
    if canary::on(Canary::PartBookedTwice) && position.index().is_multiple_of(20) {
        raise(state, position, legs, &effects, true);
    }
    raise(state, position, legs, &effects, true)
}

/// The leg that squares one currency of a set's legs.
fn clearing_leg(no: AccountNo, sum: &Sum) -> Planned {
    let open = sum.debits - sum.credits;
    let side = if open > 0 { Side::Credit } else { Side::Debit };
    Planned { no, side, amount: open.abs(), kind: LegKind::Ordinary }
}

fn open_clearing<S: State>(state: &mut S, position: Position, id: &str, sum: &Sum) -> AccountNo {
    let currency = (sum.currency.as_str(), sum.scale);
    state.open(Account::new(id, CLEARING_SUBJECT, currency, Side::Debit, position))
}

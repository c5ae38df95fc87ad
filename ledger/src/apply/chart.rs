//! Definitions of currencies, subjects and ids of groups. They carry no request id: the same definition again changes nothing.

use super::Decision;
use crate::account::{Account, Side};
use crate::chart::{built_in_subject, currency_scale};
use crate::command::Transaction;
use crate::outcome::Effect;
use crate::rejection::Rejection;
use crate::state::State;
use crate::sweep::run_of;

pub(super) fn define_currency<S: State>(state: &mut S, code: &str, scale: u8) -> Decision {
    match currency_scale(state, code) {
        None => {
            state.define_currency(code, scale);
            Ok(Effect::Defined { changed: true })
        }
        Some(known) if known == scale => Ok(Effect::Defined { changed: false }),
        Some(_) => Err(Rejection::CurrencyConflict { currency: code.to_owned() }),
    }
}

pub(super) fn define_subject<S: State>(state: &mut S, code: &str, name: &str, side: Side) -> Decision {
    let same = match built_in_subject(code) {
        Some(known) => (known.name, known.normal_side) == (name, side),
        None => match state.subject(code) {
            Some((known_name, known_side)) => (known_name.as_str(), known_side) == (name, side),
            None => {
                state.define_subject(code, name, side);
                return Ok(Effect::Defined { changed: true });
            }
        },
    };
    if same {
        Ok(Effect::Defined { changed: false })
    } else {
        Err(Rejection::SubjectConflict { subject: code.to_owned() })
    }
}

/// In the set where the id would be an account's, it is one that was closed before anything was booked on it: nothing that names
/// it was ever booked, or ever will be.
pub(super) fn define_group<S: State>(state: &mut S, group: &str) -> Decision {
    let in_use = |account: &Account| !account.closed || account.version > 0;
    if state.account_no(group).is_some_and(|no| in_use(state.account(no))) {
        return Err(Rejection::AccountExists { account: group.to_owned() });
    }
    let changed = !state.is_group(group);
    if changed {
        state.define_group(group);
    }
    Ok(Effect::Defined { changed })
}

/// Refuses a transaction that was not put on the parts of a group, unless this very transaction was decided before: who sends
/// it so does not know the group, and what was booked under its request id by who does has other legs.
pub(super) fn check_no_group<S: State>(state: &S, transaction: &Transaction) -> Result<(), Rejection> {
    // A sweep's run is made by the set itself, and is to be refused as any that meets a closed account: it is counted, and rests.
    if !state.has_groups() || run_of(&transaction.request_id).is_some() {
        return Ok(());
    }
    match transaction.legs.iter().find(|leg| state.is_group(&leg.account)) {
        Some(leg) => Err(Rejection::LegOnGroup { group: leg.account.clone() }),
        None => Ok(()),
    }
}

//! The same request again, in other words or for something else.

use rust_decimal::Decimal;
use twinset_ledger::check_back::OnExpiry;
use twinset_ledger::command::{Expected, Metadata, Precondition};
use twinset_ledger::{Command, Transaction};

/// Asks for something else under the same id, or for the same in other words.
pub fn change(command: &mut Command, twist: u8) {
    let later = |ns: &mut Option<u64>| *ns = Some(ns.unwrap_or(1_000_000) ^ 1);
    let metadata = Metadata::from([("k".to_owned(), "v".to_owned())]);
    match (twist, command) {
        (0, Command::PlaceHold(place)) => place.amount += Decimal::ONE,
        (1, Command::PlaceHold(place)) => place.amount.rescale(place.amount.scale() + 1),
        (2, Command::PlaceHold(place)) => place.currency = Some("EUR".to_owned()),
        (3, Command::PlaceHold(place)) => place.currency = Some("JPY".to_owned()),
        (4, Command::PlaceHold(place)) => later(&mut place.expires_ns),
        (5, Command::PlaceHold(place)) => place.reason += 1,
        (6, Command::PlaceHold(place)) => place.metadata = metadata,
        (7, Command::PlaceHold(place)) => (place.reason, place.metadata) = (place.reason + 1, metadata),
        (8, Command::PlaceHold(place)) => {
            later(&mut place.expires_ns);
            place.currency = Some("JPY".to_owned());
        }
        (9, Command::PlaceHold(place)) => place.on_expiry = OnExpiry::Release,
        (0, Command::ReleaseHold { amount, .. }) => *amount = Some(amount.unwrap_or_default() + Decimal::ONE),
        (1, Command::ReleaseHold { hold, .. }) => hold.incarnation += 1,
        (2, Command::ReleaseHold { hold, amount, .. }) => {
            hold.incarnation += 1;
            *amount = Some(Decimal::new(77, 0));
        }
        (0, Command::ExtendHold { expires_ns, .. }) => later(expires_ns),
        (1, Command::ExtendHold { hold, expires_ns, .. }) => {
            hold.incarnation += 1;
            later(expires_ns);
        }
        (_, Command::Transaction(transaction)) => change_transaction(transaction, twist),
        (_, Command::Begin(begin)) => change_transaction(&mut begin.transaction, twist),
        _ => {}
    }
}

fn change_transaction(transaction: &mut Transaction, twist: u8) {
    let one = Precondition { expected: Expected::PostedMin, value: Decimal::new(-100, 0) };
    let last = transaction.legs.len() - 1;
    match twist {
        0 => transaction.capture.iter_mut().for_each(|capture| capture.is_final = !capture.is_final),
        1 => transaction.capture = None,
        2 => transaction.capture.iter_mut().for_each(|capture| capture.hold.incarnation += 1),
        3 => transaction.legs[last].preconditions = vec![one],
        4 => transaction.legs[0].preconditions.clear(),
        5 => transaction.legs[last].currency = Some("EUR".to_owned()),
        6 => transaction.accounting_date = Some(7),
        7 => {
            transaction.capture = None;
            transaction.metadata = Metadata::from([("k".to_owned(), "v".to_owned())]);
        }
        8 => transaction.legs[0].preconditions.iter_mut().for_each(|one| {
            if one.expected != Expected::Version {
                one.value.rescale(one.value.scale() + 1);
            }
        }),
        _ => {}
    }
}

//! Lots held at cost: what an account holds of a commodity, lot by lot, and which lots a reduction takes. Pure state of
//! one journal being booked; knows nothing of transactions or tolerances.

use std::collections::BTreeMap;

use rust_decimal::Decimal;

use super::date::Date;
use super::model::{Booking, Cost};
use super::problem::Reason;

/// Units of a commodity acquired together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lot {
    /// Units; below zero for what is owed.
    pub number: Decimal,
    /// Cost of one unit.
    pub cost: Decimal,
    /// The commodity of the cost.
    pub commodity: String,
    /// The day it was acquired.
    pub date: Date,
    /// Its label.
    pub label: Option<String>,
}

/// The lots of all accounts.
#[derive(Clone, Debug, Default)]
pub struct Lots {
    by_holder: BTreeMap<(String, String), Vec<Lot>>,
}

/// A reduction: of which account and commodity, how many units (with sign), and what is said of the lots.
#[derive(Clone, Copy, Debug)]
pub struct Taking<'a> {
    /// The account.
    pub account: &'a str,
    /// The commodity of the units.
    pub commodity: &'a str,
    /// Units, with the posting's sign.
    pub number: Decimal,
    /// What the posting says of the lots.
    pub cost: &'a Cost,
    /// How to choose.
    pub booking: Booking,
}

impl Lots {
    /// Whether `number` units would reduce what the account holds.
    pub fn reduces(&self, account: &str, commodity: &str, number: Decimal) -> bool {
        let opposite = |lot: &Lot| lot.number.is_sign_negative() != number.is_sign_negative();
        !number.is_zero() && self.of(account, commodity).iter().any(opposite)
    }

    /// Whether the account holds any lot of the commodity.
    pub fn holds(&self, account: &str, commodity: &str) -> bool {
        !self.of(account, commodity).is_empty()
    }

    /// The commodity of the costs of what the account holds, if it is one.
    pub fn cost_commodity(&self, account: &str, commodity: &str) -> Option<String> {
        let lots = self.of(account, commodity);
        let first = lots.first()?;
        lots.iter().all(|lot| lot.commodity == first.commodity).then(|| first.commodity.clone())
    }

    fn of(&self, account: &str, commodity: &str) -> &[Lot] {
        let key = (account.to_owned(), commodity.to_owned());
        self.by_holder.get(&key).map_or(&[], Vec::as_slice)
    }

    /// Adds a lot; the same lot again grows.
    pub fn add(&mut self, account: &str, commodity: &str, lot: Lot) -> Result<(), Reason> {
        let lots = self.by_holder.entry((account.to_owned(), commodity.to_owned())).or_default();
        let same = |known: &&mut Lot| {
            let terms = |lot: &Lot| (lot.cost, lot.commodity.clone(), lot.date, lot.label.clone());
            terms(known) == terms(&lot)
        };
        match lots.iter_mut().find(same) {
            Some(known) => known.number = known.number.checked_add(lot.number).ok_or(Reason::Overflow)?,
            None => lots.push(lot),
        }
        lots.retain(|lot| !lot.number.is_zero());
        Ok(())
    }

    /// Chooses the lots of a reduction and takes them: units (with the reduction's sign) and unit cost of each.
    pub fn take(&mut self, taking: &Taking<'_>) -> Result<Vec<(Decimal, Decimal)>, Reason> {
        let names = (taking.account.to_owned(), taking.commodity.to_owned());
        let no_lot = || Reason::NoLot { account: names.0.clone(), commodity: names.1.clone() };
        let lots = self.by_holder.get_mut(&names).ok_or_else(no_lot)?;
        let mut matching: Vec<usize> = (0..lots.len()).filter(|&nth| fits(&lots[nth], taking)).collect();
        if matching.is_empty() {
            return Err(no_lot());
        }
        choose(lots, &mut matching, taking)?;
        let mut left = taking.number.abs();
        let mut taken = Vec::new();
        for nth in matching {
            let lot = &mut lots[nth];
            let units = left.min(lot.number.abs()) * sign(taking.number);
            if units.is_zero() {
                continue;
            }
            lot.number += units;
            left -= units.abs();
            taken.push((units, lot.cost));
        }
        lots.retain(|lot| !lot.number.is_zero());
        match left.is_zero() {
            true => Ok(taken),
            false => Err(Reason::LotTooSmall { account: names.0, commodity: names.1, missing: left }),
        }
    }
}

fn sign(number: Decimal) -> Decimal {
    if number.is_sign_negative() { Decimal::NEGATIVE_ONE } else { Decimal::ONE }
}

fn fits(lot: &Lot, taking: &Taking<'_>) -> bool {
    let cost = taking.cost;
    let per_unit = match (cost.per_unit, cost.total) {
        (per_unit, None) => per_unit,
        (per_unit, Some(total)) => total
            .checked_div(taking.number.abs())
            .map(|each| per_unit.unwrap_or_default().saturating_add(each)),
    };
    lot.number.is_sign_negative() != taking.number.is_sign_negative()
        && per_unit.is_none_or(|wanted| wanted == lot.cost)
        && cost.commodity.as_ref().is_none_or(|wanted| *wanted == lot.commodity)
        && cost.date.is_none_or(|wanted| wanted == lot.date)
        && (cost.label.is_none() || cost.label == lot.label)
}

/// Brings the matching lots into the order in which they are taken, or says that the choice is not clear.
fn choose(lots: &[Lot], matching: &mut Vec<usize>, taking: &Taking<'_>) -> Result<(), Reason> {
    match taking.booking {
        Booking::Fifo => matching.sort_by_key(|&nth| lots[nth].date),
        Booking::Lifo => matching.sort_by_key(|&nth| std::cmp::Reverse(lots[nth].date)),
        Booking::Hifo => matching.sort_by_key(|&nth| std::cmp::Reverse(lots[nth].cost)),
        Booking::Strict | Booking::StrictWithSize | Booking::None => {
            let numbers = matching.iter().map(|&nth| lots[nth].number);
            let all = numbers.fold(Decimal::ZERO, Decimal::saturating_add);
            if matching.len() == 1 || all == -taking.number {
                return Ok(());
            }
            let same_size = |&&nth: &&usize| lots[nth].number == -taking.number;
            let oldest = matching.iter().filter(same_size).min_by_key(|&&nth| lots[nth].date).copied();
            match oldest.filter(|_| taking.booking == Booking::StrictWithSize) {
                Some(nth) => *matching = vec![nth],
                None => {
                    return Err(Reason::AmbiguousLot {
                        account: taking.account.to_owned(),
                        commodity: taking.commodity.to_owned(),
                    });
                }
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lots() -> Lots {
        let mut lots = Lots::default();
        for (number, cost, date) in [(10, 50, "2020-01-01"), (5, 70, "2020-02-01"), (8, 60, "2020-03-01")] {
            let lot = Lot {
                number: number.into(),
                cost: cost.into(),
                commodity: "USD".into(),
                date: Date::parse(date).unwrap(),
                label: None,
            };
            lots.add("Assets:A", "HOOL", lot).unwrap();
        }
        lots
    }

    fn take(number: i32, cost: &Cost, booking: Booking) -> Result<Vec<(i32, i32)>, Reason> {
        let taking = Taking { account: "Assets:A", commodity: "HOOL", number: number.into(), cost, booking };
        let whole = |value: Decimal| i32::try_from(value).unwrap();
        let taken = lots().take(&taking)?;
        Ok(taken.into_iter().map(|(units, cost)| (whole(units), whole(cost))).collect())
    }

    #[test]
    fn each_method_takes_its_lots() {
        let any = Cost::default();
        assert_eq!(take(-12, &any, Booking::Fifo).unwrap(), [(-10, 50), (-2, 70)]);
        assert_eq!(take(-12, &any, Booking::Lifo).unwrap(), [(-8, 60), (-4, 70)]);
        assert_eq!(take(-7, &any, Booking::Hifo).unwrap(), [(-5, 70), (-2, 60)]);
        assert_eq!(take(-23, &any, Booking::Strict).unwrap(), [(-10, 50), (-5, 70), (-8, 60)]);
        assert_eq!(take(-8, &any, Booking::StrictWithSize).unwrap(), [(-8, 60)]);
        let named = Cost { per_unit: Some(70.into()), ..Cost::default() };
        assert_eq!(take(-3, &named, Booking::Strict).unwrap(), [(-3, 70)]);
    }

    #[test]
    fn what_does_not_match_is_said() {
        let any = Cost::default();
        assert!(matches!(take(-8, &any, Booking::Strict), Err(Reason::AmbiguousLot { .. })));
        assert!(matches!(take(-24, &any, Booking::Fifo), Err(Reason::LotTooSmall { .. })));
        let named = Cost { per_unit: Some(71.into()), ..Cost::default() };
        assert!(matches!(take(-1, &named, Booking::Strict), Err(Reason::NoLot { .. })));
        assert!(matches!(take(1, &any, Booking::Strict), Err(Reason::NoLot { .. })));
    }
}

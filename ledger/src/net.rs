//! What legs come to: debits less credits, currency by currency, in minor units.

use std::collections::BTreeMap;

use crate::account::Side;
use crate::attempt::Sum;

/// Debits less credits, by currency and scale.
#[derive(Clone, Debug, Default)]
pub struct Net(BTreeMap<(String, u8), i128>);

impl Net {
    /// Adds a leg of that currency and scale. None: it is more than can be counted, and nothing was added.
    pub fn add(&mut self, side: Side, amount: i128, (currency, scale): (&str, u8)) -> Option<()> {
        let signed = if side == Side::Debit { amount } else { amount.checked_neg()? };
        self.shift(currency, scale, signed)
    }

    /// Adds sums. None: it is more than can be counted, and some of them may have been added.
    pub fn add_sums<'a>(&mut self, sums: impl IntoIterator<Item = &'a Sum>) -> Option<()> {
        sums.into_iter()
            .try_for_each(|sum| self.shift(&sum.currency, sum.scale, sum.debits.checked_sub(sum.credits)?))
    }

    /// Takes sums away. None as with what is added.
    pub fn subtract_sums<'a>(&mut self, sums: impl IntoIterator<Item = &'a Sum>) -> Option<()> {
        sums.into_iter()
            .try_for_each(|sum| self.shift(&sum.currency, sum.scale, sum.credits.checked_sub(sum.debits)?))
    }

    /// Adds another one. None as with sums.
    pub fn add_all(&mut self, other: &Net) -> Option<()> {
        other.0.iter().try_for_each(|((currency, scale), net)| self.shift(currency, *scale, *net))
    }

    /// The same on the other side: what balances it.
    #[must_use]
    pub fn turned(mut self) -> Net {
        self.0.values_mut().for_each(|net| *net = -*net);
        self
    }

    /// What has not come to nothing, each on its side, in the order of currencies and scales.
    pub fn sums(&self) -> Vec<Sum> {
        let open = self.0.iter().filter(|(_, net)| **net != 0);
        let sum = |((currency, scale), net): (&(String, u8), &i128)| Sum {
            currency: currency.clone(),
            scale: *scale,
            debits: (*net).max(0),
            credits: (-*net).max(0),
        };
        open.map(sum).collect()
    }

    fn shift(&mut self, currency: &str, scale: u8, signed: i128) -> Option<()> {
        let net = self.0.entry((currency.to_owned(), scale)).or_default();
        // The least number has no counterpart on the other side.
        *net = net.checked_add(signed).filter(|net| *net > i128::MIN)?;
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(currency: &str, debits: i128, credits: i128) -> Sum {
        Sum { currency: currency.to_owned(), scale: 2, debits, credits }
    }

    #[test]
    fn what_is_added_and_turned_and_added_again_comes_to_nothing() {
        let mut net = Net::default();
        net.add_sums(&[sum("EUR", 5, 2), sum("USD", 1, 4)]).unwrap();
        net.add(Side::Credit, 3, ("JPY", 0)).unwrap();
        net.add(Side::Debit, 3, ("JPY", 0)).unwrap();
        assert_eq!(net.sums(), [sum("EUR", 3, 0), sum("USD", 0, 3)]);
        assert_eq!(net.clone().turned().sums(), [sum("EUR", 0, 3), sum("USD", 3, 0)]);
        let mut less = net.clone();
        less.subtract_sums(&[sum("EUR", 1, 0), sum("USD", 0, 3)]).unwrap();
        assert_eq!(less.sums(), [sum("EUR", 2, 0)]);
        let mut twice = net.clone().turned();
        twice.add_all(&net).unwrap();
        assert_eq!(twice.sums(), []);
    }

    #[test]
    fn what_cannot_be_counted_is_refused() {
        let mut net = Net::default();
        net.add(Side::Debit, i128::MAX, ("EUR", 2)).unwrap();
        assert_eq!(net.add(Side::Debit, 1, ("EUR", 2)), None);
        assert_eq!(net.add_sums(&[sum("USD", i128::MIN, 0)]), None);
        assert_eq!(net.add(Side::Credit, i128::MIN, ("USD", 2)), None);
    }
}

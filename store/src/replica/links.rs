//! Stored links from a transaction to a reversal of it: the original's position and the one where the reversal was booked are
//! the key, this is the rest. Written once.

use twinset_ledger::id::{Position, TransactionId};
use twinset_ledger::state::Taken;

use crate::wire::{BadRecord, Fields};

/// A reversal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Link {
    /// Its name.
    pub(crate) by: TransactionId,
    /// Where it was booked. One over several sets is named by where it began.
    pub(crate) at: Position,
    /// What it took back.
    pub(crate) taken: Taken,
}

impl Link {
    /// Stores the incarnation it was named in and the amount; behind them its name's position, if that is not where it was
    /// booked. Where legs were named, which every amount is above zero of, it stores none as the amount, the position in any
    /// case, and then each leg with its own.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = self.by.incarnation.to_le_bytes().to_vec();
        match &self.taken {
            Taken::Evenly(amount) => {
                out.extend_from_slice(&amount.to_le_bytes());
                if self.by.position != self.at {
                    out.extend_from_slice(&self.by.position.0.to_le_bytes());
                }
            }
            Taken::Legs(legs) => {
                assert!(!legs.is_empty(), "a reversal takes something back");
                out.extend_from_slice(&0i128.to_le_bytes());
                out.extend_from_slice(&self.by.position.0.to_le_bytes());
                for (leg, amount) in legs {
                    out.extend_from_slice(&leg.to_le_bytes());
                    out.extend_from_slice(&amount.to_le_bytes());
                }
            }
        }
        out
    }

    /// Reads a reversal that was booked at `at` in `set`.
    pub(crate) fn decode(bytes: &[u8], set: u32, at: Position) -> Result<Link, BadRecord> {
        let mut fields = Fields::new(bytes);
        let (incarnation, amount) = (fields.u32()?, fields.i128()?);
        let position = if fields.rest().is_empty() { at } else { Position(fields.u64()?) };
        let by = TransactionId { set, incarnation, position };
        if fields.rest().is_empty() {
            return Ok(Link { by, at, taken: Taken::Evenly(amount) });
        }
        if amount != 0 {
            return Err(BadRecord::Value { field: "amount beside legs", value: 1 });
        }
        let mut legs: Vec<(u16, i128)> = Vec::new();
        while !fields.rest().is_empty() {
            let (leg, amount) = (fields.u16()?, fields.i128()?);
            if amount <= 0 || legs.last().is_some_and(|(last, _)| *last >= leg) {
                return Err(BadRecord::Value { field: "leg", value: leg.into() });
            }
            legs.push((leg, amount));
        }
        Ok(Link { by, at, taken: Taken::Legs(legs) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_come_back_and_bad_lengths_are_refused() {
        let at = Position::new(9, 1);
        let by = TransactionId { set: 3, incarnation: 7, position: at };
        let here = Link { by, at, taken: Taken::Evenly(-2) };
        let begun = Link { by: TransactionId { position: Position::new(8, 0), ..by }, ..here.clone() };
        let of_legs = Link { taken: Taken::Legs(vec![(0, 3), (258, 4)]), ..begun };
        assert_eq!(here.encode()[..6], [7, 0, 0, 0, 254, 255]);
        assert_eq!(begun.encode()[20..], [0, 0, 8, 0, 0, 0, 0, 0]);
        let legs = [0, 0, 3].into_iter().chain([0; 15]).chain([2, 1, 4]).chain([0; 15]);
        let golden = [7, 0, 0, 0].into_iter().chain([0; 18]).chain([8, 0, 0, 0, 0, 0]).chain(legs);
        assert_eq!(of_legs.encode(), golden.collect::<Vec<u8>>());
        // Whole records themselves: without the position, without legs, without the last leg.
        for (link, whole, shorter) in
            [(here, 20, &[][..]), (begun, 28, &[20]), (of_legs.clone(), 64, &[20, 28, 46])]
        {
            let bytes = link.encode();
            assert_eq!(bytes.len(), whole);
            assert_eq!(Link::decode(&bytes, 3, at), Ok(link));
            for cut in (0..whole).filter(|cut| !shorter.contains(cut)) {
                assert!(Link::decode(&bytes[..cut], 3, at).is_err(), "cut at {cut}");
            }
            assert!(Link::decode(&[&bytes[..], &[0]].concat(), 3, at).is_err());
        }
        for legs in [vec![(0, 3), (0, 4)], vec![(1, 3), (0, 4)], vec![(0, 0)], vec![(0, -1)]] {
            let bad = Link { taken: Taken::Legs(legs), ..of_legs }.encode();
            assert!(Link::decode(&bad, 3, at).is_err());
        }
        let mut beside = of_legs.encode();
        beside[4] = 1;
        assert!(Link::decode(&beside, 3, at).is_err());
    }
}

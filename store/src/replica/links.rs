//! Stored links from a transaction to a reversal of it: the original's position and the one where the reversal was booked are
//! the key, this is the rest. Written once.

use twinset_ledger::id::{Position, TransactionId};

use crate::wire::{BadRecord, Fields};

/// A reversal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Link {
    /// Its name.
    pub(crate) by: TransactionId,
    /// Where it was booked. One over several sets is named by where it began.
    pub(crate) at: Position,
    /// What it took back, in minor units of the original's first leg.
    pub(crate) amount: i128,
}

impl Link {
    /// Stores the incarnation it was named in and the amount; behind them its name's position, if that is not where it was
    /// booked.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = self.by.incarnation.to_le_bytes().to_vec();
        out.extend_from_slice(&self.amount.to_le_bytes());
        if self.by.position != self.at {
            out.extend_from_slice(&self.by.position.0.to_le_bytes());
        }
        out
    }

    /// Reads a reversal that was booked at `at` in `set`.
    pub(crate) fn decode(bytes: &[u8], set: u32, at: Position) -> Result<Link, BadRecord> {
        let mut fields = Fields::new(bytes);
        let (incarnation, amount) = (fields.u32()?, fields.i128()?);
        let position = if fields.rest().is_empty() { at } else { Position(fields.u64()?) };
        fields.end()?;
        Ok(Link { by: TransactionId { set, incarnation, position }, at, amount })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_come_back_and_bad_lengths_are_refused() {
        let at = Position::new(9, 1);
        let by = TransactionId { set: 3, incarnation: 7, position: at };
        let here = Link { by, at, amount: -2 };
        let begun = Link { by: TransactionId { position: Position::new(8, 0), ..by }, ..here };
        assert_eq!(here.encode()[..6], [7, 0, 0, 0, 254, 255]);
        assert_eq!(begun.encode()[20..], [0, 0, 8, 0, 0, 0, 0, 0]);
        for (link, whole) in [(here, 20), (begun, 28)] {
            let bytes = link.encode();
            assert_eq!(bytes.len(), whole);
            assert_eq!(Link::decode(&bytes, 3, at), Ok(link));
            for cut in (0..whole).filter(|cut| *cut != 20) {
                assert!(Link::decode(&bytes[..cut], 3, at).is_err(), "cut at {cut}");
            }
            assert!(Link::decode(&[&bytes[..], &[0]].concat(), 3, at).is_err());
        }
    }
}

//! The outcomes of one entry in the ledger's form, one behind the other: encoded once, then hashed, stored in part and
//! sent.

use std::ops::Range;

use bytes::Bytes;
use twinset_ledger::codec::encode_outcome;
use twinset_ledger::outcome::Outcome;

/// Of a transaction of two legs.
const TYPICAL_BYTES: usize = 48;

/// One encoded outcome for each command of an entry, in the order of the commands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EncodedOutcomes {
    bytes: Bytes,
    /// Where each one ends.
    ends: Vec<usize>,
}

impl EncodedOutcomes {
    pub(crate) fn of(outcomes: &[Outcome]) -> EncodedOutcomes {
        let mut bytes = Vec::with_capacity(outcomes.len() * TYPICAL_BYTES);
        let mut ends = Vec::with_capacity(outcomes.len());
        for outcome in outcomes {
            encode_outcome(outcome, &mut bytes);
            ends.push(bytes.len());
        }
        EncodedOutcomes { bytes: bytes.into(), ends }
    }

    /// All of them, as they are hashed.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is none: the entry carried no commands.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// One after the other, without copying: each keeps the bytes of all alive.
    pub fn iter(&self) -> impl Iterator<Item = Bytes> + '_ {
        self.ranges().map(|range| self.bytes.slice(range))
    }

    /// One after the other, borrowed.
    pub(crate) fn slices(&self) -> impl Iterator<Item = &[u8]> {
        self.ranges().map(|range| &self.bytes[range])
    }

    fn ranges(&self) -> impl Iterator<Item = Range<usize>> + '_ {
        let mut start = 0;
        self.ends.iter().map(move |&end| std::mem::replace(&mut start, end)..end)
    }
}

#[cfg(test)]
mod tests {
    use twinset_ledger::codec::decode_outcome;
    use twinset_ledger::id::Position;
    use twinset_ledger::outcome::Effect;
    use twinset_ledger::rejection::Rejection;

    use super::*;

    #[test]
    fn each_outcome_comes_out_alone() {
        let results = [
            Ok(Effect::Account),
            Err(Rejection::AccountNotFound { account: "x".to_owned() }),
            Ok(Effect::Marked),
        ];
        let outcomes: Vec<Outcome> = (0u16..)
            .zip(results)
            .map(|(offset, result)| Outcome {
                position: Position::new(9, offset),
                incarnation: 1,
                time_unix_ns: 100 + u64::from(offset),
                replayed: false,
                result,
            })
            .collect();
        let encoded = EncodedOutcomes::of(&outcomes);
        assert_eq!((encoded.len(), encoded.is_empty()), (3, false));
        let decoded: Vec<Outcome> = encoded.iter().map(|bytes| decode_outcome(&bytes).unwrap()).collect();
        assert_eq!(decoded, outcomes);
        assert_eq!(encoded.iter().collect::<Vec<_>>().concat(), encoded.bytes());
        assert!(EncodedOutcomes::of(&[]).is_empty());
    }
}

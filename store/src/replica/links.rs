//! Stored links from a transaction to a reversal of it: the positions are the key, this is the rest. Written once.

use crate::wire::{BadRecord, Fields};

const RECORD_BYTES: usize = 4 + 16;

/// Stores what a reversal took back, in minor units of the first leg, and the incarnation it was booked in.
pub(crate) fn encode(incarnation: u32, amount: i128) -> [u8; RECORD_BYTES] {
    let mut out = [0; RECORD_BYTES];
    out[..4].copy_from_slice(&incarnation.to_le_bytes());
    out[4..].copy_from_slice(&amount.to_le_bytes());
    out
}

/// Reads the incarnation and the amount of a reversal.
pub(crate) fn decode(bytes: &[u8]) -> Result<(u32, i128), BadRecord> {
    let mut fields = Fields::new(bytes);
    let link = (fields.u32()?, fields.i128()?);
    fields.end()?;
    Ok(link)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_come_back_and_bad_lengths_are_refused() {
        let bytes = encode(7, -2);
        assert_eq!(bytes[..6], [7, 0, 0, 0, 254, 255]);
        assert_eq!(decode(&bytes), Ok((7, -2)));
        for cut in 0..bytes.len() {
            assert!(decode(&bytes[..cut]).is_err(), "cut at {cut}");
        }
        assert_eq!(decode(&[&bytes[..], &[0]].concat()), Err(BadRecord::Trailing { count: 1 }));
    }
}

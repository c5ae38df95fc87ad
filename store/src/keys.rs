//! Keys. Numbers are big-endian, so that the order of keys is the order of numbers. Every key of a replica's state and
//! log begins with its generation: a number that is unique on this node and changes when a snapshot is installed, so
//! that old and new never mix. What belongs to an account (its records, its postings, its holds, its restrictions, its request ids) goes on with the
//! account's slot, so that a slot is one range in each of these tables and can move one day. What belongs to a log index
//! (records, outcomes, links, references) does not: it stays with the log.

use twinset_ledger::id::TransactionId;

use crate::wire::{BadRecord, Fields};

/// Names one life of a replica's state and log on this node.
pub(crate) type Generation = u32;

/// Name of a set's vote, in the table `raft`.
pub(crate) const VOTE: &str = "vote";
/// Name of the purge pointer of a generation's log, in the table `raft`.
pub(crate) const PURGED: &str = "purged";
/// Name of the commit pointer of a generation's log, in the table `raft`.
pub(crate) const COMMITTED: &str = "committed";
/// Name of the state record of a generation, in the table `meta`.
pub(crate) const STATE: &str = "state";
/// Name of the document of a generation, in the table `meta`.
pub(crate) const DOCUMENT: &str = "document";
/// Name of the record of how much of a generation's log the index of references covers, in the table `meta`.
pub(crate) const REFERENCES: &str = "references";

/// Part `part` of the log record at `index`.
pub(crate) fn log(generation: Generation, index: u64, part: u16) -> [u8; 14] {
    let mut key = [0; 14];
    key[..4].copy_from_slice(&generation.to_be_bytes());
    key[4..12].copy_from_slice(&index.to_be_bytes());
    key[12..].copy_from_slice(&part.to_be_bytes());
    key
}

/// Index and part of a log key.
pub(crate) fn parse_log(key: &[u8]) -> Result<(u64, u16), BadRecord> {
    let mut fields = Fields::new(key);
    fields.take(4)?;
    let index = u64::from_be_bytes(fields.array()?);
    let part = u16::from_be_bytes(fields.array()?);
    fields.end()?;
    Ok((index, part))
}

/// The first key of a generation, in every table of a replica.
pub(crate) fn generation(generation: Generation) -> [u8; 4] {
    generation.to_be_bytes()
}

/// The first key after a generation.
pub(crate) fn generation_end(generation: Generation) -> [u8; 4] {
    (generation + 1).to_be_bytes()
}

/// An account's record: `part` 0 says who it is, 1 how it stands.
pub(crate) fn account(generation: Generation, slot: u16, no: u32, part: u8) -> [u8; 11] {
    let mut key = [0; 11];
    key[..4].copy_from_slice(&generation.to_be_bytes());
    key[4..6].copy_from_slice(&slot.to_be_bytes());
    key[6..10].copy_from_slice(&no.to_be_bytes());
    key[10] = part;
    key
}

/// Slot, number and part of an account key.
pub(crate) fn parse_account(key: &[u8]) -> Result<(u16, u32, u8), BadRecord> {
    let mut fields = Fields::new(key);
    fields.take(4)?;
    let slot = u16::from_be_bytes(fields.array()?);
    let no = u32::from_be_bytes(fields.array()?);
    let part = fields.u8()?;
    fields.end()?;
    Ok((slot, no, part))
}

/// A request id: the slot of its scope account and the hash of both, in one number.
pub(crate) fn request(generation: Generation, key: u128) -> [u8; 20] {
    let mut out = [0; 20];
    out[..4].copy_from_slice(&generation.to_be_bytes());
    out[4..].copy_from_slice(&key.to_be_bytes());
    out
}

/// The number in a request key.
pub(crate) fn parse_request(key: &[u8]) -> Result<u128, BadRecord> {
    let mut fields = Fields::new(key);
    fields.take(4)?;
    let key = u128::from_be_bytes(fields.array()?);
    fields.end()?;
    Ok(key)
}

/// The chunk of an account's postings that begins at `first`.
pub(crate) fn posting(generation: Generation, slot: u16, account: u32, first: u64) -> [u8; 18] {
    let mut key = [0; 18];
    key[..4].copy_from_slice(&generation.to_be_bytes());
    key[4..6].copy_from_slice(&slot.to_be_bytes());
    key[6..10].copy_from_slice(&account.to_be_bytes());
    key[10..].copy_from_slice(&first.to_be_bytes());
    key
}

/// Where the chunk of a posting key begins.
pub(crate) fn parse_posting(key: &[u8]) -> Result<u64, BadRecord> {
    let mut fields = Fields::new(key);
    fields.take(10)?;
    let first = u64::from_be_bytes(fields.array()?);
    fields.end()?;
    Ok(first)
}

/// The hold on an account that was placed at `at`.
pub(crate) fn hold(generation: Generation, slot: u16, account: u32, at: u64) -> [u8; 18] {
    posting(generation, slot, account, at)
}

/// Where the hold of a hold key was placed.
pub(crate) fn parse_hold(key: &[u8]) -> Result<u64, BadRecord> {
    parse_posting(key)
}

/// What a transaction restricts on an account.
pub(crate) fn restriction(
    generation: Generation,
    slot: u16,
    account: u32,
    transaction: TransactionId,
) -> [u8; 26] {
    let mut key = [0; 26];
    key[..10].copy_from_slice(&of_account(generation, slot, account));
    key[10..14].copy_from_slice(&transaction.set.to_be_bytes());
    key[14..18].copy_from_slice(&transaction.incarnation.to_be_bytes());
    key[18..].copy_from_slice(&transaction.position.0.to_be_bytes());
    key
}

/// The first key after the restrictions of an account.
pub(crate) fn restriction_end(generation: Generation, slot: u16, account: u32) -> [u8; 10] {
    of_account(generation, slot, account + 1)
}

/// What the keys of an account begin with.
fn of_account(generation: Generation, slot: u16, account: u32) -> [u8; 10] {
    let mut key = [0; 10];
    key[..4].copy_from_slice(&generation.to_be_bytes());
    key[4..6].copy_from_slice(&slot.to_be_bytes());
    key[6..].copy_from_slice(&account.to_be_bytes());
    key
}

/// The outcomes of the entry at `index`.
pub(crate) fn outcome(generation: Generation, index: u64) -> [u8; 12] {
    let mut key = [0; 12];
    key[..4].copy_from_slice(&generation.to_be_bytes());
    key[4..].copy_from_slice(&index.to_be_bytes());
    key
}

/// The index in an outcome key.
pub(crate) fn parse_outcome(key: &[u8]) -> Result<u64, BadRecord> {
    let mut fields = Fields::new(key);
    fields.take(4)?;
    let index = u64::from_be_bytes(fields.array()?);
    fields.end()?;
    Ok(index)
}

/// Record `number` of a document's journal.
pub(crate) fn journal(generation: Generation, number: u64) -> [u8; 12] {
    outcome(generation, number)
}

/// The number in a journal key.
pub(crate) fn parse_journal(key: &[u8]) -> Result<u64, BadRecord> {
    parse_outcome(key)
}

/// The link from an original to a reversal of it, both by position.
pub(crate) fn link(generation: Generation, original: u64, by: u64) -> [u8; 20] {
    let mut key = [0; 20];
    key[..4].copy_from_slice(&generation.to_be_bytes());
    key[4..12].copy_from_slice(&original.to_be_bytes());
    key[12..].copy_from_slice(&by.to_be_bytes());
    key
}

/// The original and the reversal in a link key.
pub(crate) fn parse_link(key: &[u8]) -> Result<(u64, u64), BadRecord> {
    let mut fields = Fields::new(key);
    fields.take(4)?;
    let original = u64::from_be_bytes(fields.array()?);
    let by = u64::from_be_bytes(fields.array()?);
    fields.end()?;
    Ok((original, by))
}

/// A transaction at a position whose reference has this hash.
pub(crate) fn reference(generation: Generation, hash: u64, position: u64) -> [u8; 20] {
    link(generation, hash, position)
}

/// The hash and the position in the key of a reference.
pub(crate) fn parse_reference(key: &[u8]) -> Result<(u64, u64), BadRecord> {
    parse_link(key)
}

/// A key of the tables `raft` and `meta`: a name, a slash, a number.
pub(crate) fn named(name: &str, number: u32) -> Vec<u8> {
    let mut key = name.as_bytes().to_vec();
    key.push(b'/');
    key.extend_from_slice(&number.to_be_bytes());
    key
}

/// The number at the end of a named key.
pub(crate) fn parse_named(name: &str, key: &[u8]) -> Option<u32> {
    let rest = key.strip_prefix(name.as_bytes())?.strip_prefix(b"/")?;
    Some(u32::from_be_bytes(rest.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use twinset_ledger::id::Position;

    use super::*;

    #[test]
    fn keys_sort_as_their_numbers_and_parse_back() {
        assert!(log(1, 255, 9) < log(1, 256, 0));
        assert!(log(1, u64::MAX, u16::MAX)[..] < generation_end(1)[..]);
        assert_eq!(parse_log(&log(3, 77, 5)), Ok((77, 5)));
        assert_eq!(parse_account(&account(3, 4095, 77, 1)), Ok((4095, 77, 1)));
        assert_eq!(parse_posting(&posting(3, 9, 77, 1 << 40)), Ok(1 << 40));
        assert_eq!(parse_request(&request(3, 1 << 100)), Ok(1 << 100));
        assert_eq!(parse_outcome(&outcome(3, 1 << 40)), Ok(1 << 40));
        assert_eq!(parse_link(&link(3, 8, 9)), Ok((8, 9)));
        assert_eq!(parse_reference(&reference(3, u64::MAX, 9)), Ok((u64::MAX, 9)));
        assert!(reference(3, 8, u64::MAX) < reference(3, 9, 0));
        assert!(posting(1, 0, 2, u64::MAX) < posting(1, 0, 3, 0));
        let id = |set, index| TransactionId { set, incarnation: 1, position: Position::new(index, 0) };
        assert!(restriction(1, 0, 2, id(1, 255)) < restriction(1, 0, 2, id(1, 256)));
        assert!(restriction(1, 0, 2, id(1, 256)) < restriction(1, 0, 2, id(2, 0)));
        assert!(restriction(1, 0, 2, id(u32::MAX, 0))[..] < restriction_end(1, 0, 2)[..]);
        assert!(restriction_end(1, 0, 2)[..] < restriction(1, 0, 3, id(0, 0))[..]);
        assert!(outcome(1, 2) < outcome(1, 3));
        assert_eq!(parse_named("vote", &named("vote", 7)), Some(7));
        assert_eq!(parse_named("vote", &named("votes", 7)), None);
    }

    #[test]
    fn a_slot_is_one_range_in_every_table_of_accounts() {
        let slot = |slot: u16| [&generation(3)[..], &slot.to_be_bytes()].concat();
        let (begin, end) = (slot(7), slot(8));
        let request = |slot| request(3, u128::from(slot) << 112 | 5);
        for (below, inside, above) in [
            (&account(3, 6, 900, 1)[..], &account(3, 7, 0, 0)[..], &account(3, 8, 0, 0)[..]),
            (&posting(3, 6, 900, 1), &posting(3, 7, u32::MAX, u64::MAX), &posting(3, 8, 0, 0)),
            (&request(6u16), &request(7), &request(8)),
        ] {
            assert!(below < &begin[..] && inside >= &begin[..] && inside < &end[..] && above >= &end[..]);
        }
    }

    #[test]
    fn bad_lengths_are_refused() {
        for cut in 0..14 {
            assert!(parse_log(&log(3, 77, 5)[..cut]).is_err());
        }
        assert!(parse_account(&[0; 10]).is_err());
        assert!(parse_posting(&[0; 17]).is_err());
        assert!(parse_request(&[0; 19]).is_err());
        assert!(parse_outcome(&[0; 13]).is_err());
        assert!(parse_link(&[0; 21]).is_err());
        assert_eq!(parse_named("vote", b"vote/abc"), None);
    }
}

//! Identifiers: positions, transaction ids, the alphabet of ids, and the slot that an account id hashes to.

use std::fmt::{self, Write};
use std::str::FromStr;

use crate::SLOTS;
use crate::canary::{self, Canary};
use crate::check_back::confirmation_of;
use crate::sweep::run_of;

/// Bytes of an account id, request id, currency or subject code at most.
pub const ID_BYTES_MAX: usize = 64;

/// Where a command stands in its set's log: log index in the upper 48 bits, offset in the entry in the lower 16.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position(pub u64);

impl Position {
    /// Panics if the index does not fit: at a million entries a second that is nine years away.
    pub fn new(index: u64, offset: u16) -> Self {
        assert!(index < 1 << 48, "log index fits 48 bits");
        Position(index << 16 | u64::from(offset))
    }

    /// The log index.
    pub fn index(self) -> u64 {
        self.0 >> 16
    }

    /// The place in the entry.
    pub fn offset(self) -> u16 {
        (self.0 & 0xffff) as u16
    }
}

/// Names a transaction for ever: `set-incarnation-index-offset` in decimal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TransactionId {
    /// The set that booked it.
    pub set: u32,
    /// The incarnation it was booked in: a forced recovery may give an index a second life. It stays the same for ever,
    /// whatever the set's incarnation becomes.
    pub incarnation: u32,
    /// Where in the set's log.
    pub position: Position,
}

impl fmt::Display for TransactionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{}-{}", self.set, self.incarnation, self.position.index(), self.position.offset())
    }
}

impl TransactionId {
    /// The scope under which a reversal of it is remembered that was refused because there is no such transaction, or none
    /// that can be reversed. No account id is spelled like that.
    pub fn scope(self) -> String {
        format!("{SCOPE_MARK}{self}")
    }

    /// The scope under which the steps of an attempt of that name are remembered, and the attempts that follow one that
    /// was given up.
    pub fn attempt_scope(self) -> String {
        self.attempt_scope_in_place().to_string()
    }

    /// The same without the heap: every step of an attempt looks there.
    pub(crate) fn attempt_scope_in_place(self) -> InlineId {
        let mut scope = InlineId::new("");
        write!(scope, "{ATTEMPT_MARK}{self}").expect("an id in place takes all, or panics");
        scope
    }

    /// The transaction whose [`TransactionId::scope`], or [`TransactionId::attempt_scope`], the text is; no other spelling of
    /// it is a scope.
    pub fn of_scope(text: &str) -> Option<Self> {
        let id: TransactionId = text.strip_prefix([SCOPE_MARK, ATTEMPT_MARK])?.parse().ok()?;
        (id.scope() == text || id.attempt_scope() == text).then_some(id)
    }
}

/// Outside the alphabet of ids, and can stand in the path of a URL as it is.
const SCOPE_MARK: char = '@';
/// As [`SCOPE_MARK`], for what is remembered of an attempt.
const ATTEMPT_MARK: char = '~';

/// The text is no transaction id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a transaction id is set-incarnation-index-offset, four decimal numbers")]
pub struct ParseTransactionIdError;

impl FromStr for TransactionId {
    type Err = ParseTransactionIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut parts = text.split('-');
        let mut next = || parts.next().filter(|p| p.bytes().all(|b| b.is_ascii_digit()));
        let (Some(set), Some(incarnation), Some(index), Some(offset)) = (next(), next(), next(), next())
        else {
            return Err(ParseTransactionIdError);
        };
        let set = set.parse().map_err(|_| ParseTransactionIdError)?;
        let incarnation = incarnation.parse().map_err(|_| ParseTransactionIdError)?;
        let index: u64 = index.parse().map_err(|_| ParseTransactionIdError)?;
        let offset = offset.parse().map_err(|_| ParseTransactionIdError)?;
        if parts.next().is_some() || index >= 1 << 48 {
            return Err(ParseTransactionIdError);
        }
        Ok(TransactionId { set, incarnation, position: Position::new(index, offset) })
    }
}

/// Whether `text` is 1-64 of `A-Za-z0-9._:-{}`: the alphabet of account ids, request ids, currencies and subjects.
pub fn is_valid(text: &str) -> bool {
    (1..=ID_BYTES_MAX).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._:-{}".contains(&b))
}

/// Whether a transaction may be remembered under `text`: an id in its alphabet, which clients give, or the name that nodes give to the
/// confirmation of a hold or to a sweep's run.
pub fn is_request_id(text: &str) -> bool {
    is_valid(text) || confirmation_of(text).is_some() || run_of(text).is_some()
}

/// The slot of an account: CRC-16/XMODEM (as in Redis Cluster) of the id, or of the part in the first pair of braces
/// if that is not empty, modulo [`SLOTS`].
pub fn slot_of(account: &str) -> u16 {
    let tag = account.find('{').and_then(|open| {
        let rest = &account[open + 1..];
        rest.find('}').filter(|&close| close > 0).map(|close| &rest[..close])
    });
    let slot = crc16(tag.unwrap_or(account).as_bytes()) % SLOTS;
    if canary::on(Canary::SlotsBackwards) { SLOTS - 1 - slot } else { slot }
}

fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0u16, |crc, &byte| {
        (0..8).fold(crc ^ (u16::from(byte) << 8), |crc, _| {
            if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 }
        })
    })
}

/// An id kept in place, so that the hot path needs no heap for it.
#[derive(Clone, Copy)]
pub(crate) struct InlineId {
    bytes: [u8; ID_BYTES_MAX],
    len: u8,
}

impl InlineId {
    /// Panics on more than [`ID_BYTES_MAX`] bytes.
    pub(crate) fn new(text: &str) -> Self {
        let mut bytes = [0; ID_BYTES_MAX];
        bytes[..text.len()].copy_from_slice(text.as_bytes());
        InlineId { bytes, len: text.len() as u8 }
    }
}

/// Panics beyond [`ID_BYTES_MAX`] bytes.
impl Write for InlineId {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let end = usize::from(self.len) + text.len();
        self.bytes[usize::from(self.len)..end].copy_from_slice(text.as_bytes());
        self.len = end as u8;
        Ok(())
    }
}

impl std::ops::Deref for InlineId {
    type Target = str;

    fn deref(&self) -> &str {
        std::str::from_utf8(&self.bytes[..usize::from(self.len)]).expect("made from a str")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_follow_the_braces() {
        // 0x31c3 is the check value of CRC-16/XMODEM.
        assert_eq!(slot_of("123456789"), 0x31c3 % SLOTS);
        assert_eq!(slot_of("{m42}:fees"), slot_of("m42"));
        assert_eq!(slot_of("{m42}:fees"), slot_of("x{m42}y{z}"));
        assert_eq!(slot_of("{}x"), crc16(b"{}x") % SLOTS);
        assert_eq!(slot_of("a{b"), crc16(b"a{b") % SLOTS);
    }

    #[test]
    fn transaction_ids_round_trip() {
        let id = TransactionId { set: 3, incarnation: 1, position: Position::new(77, 12) };
        assert_eq!(id.to_string(), "3-1-77-12");
        assert_eq!("3-1-77-12".parse(), Ok(id));
        assert_eq!(id.scope(), "@3-1-77-12");
        assert_eq!(id.attempt_scope(), "~3-1-77-12");
        assert_eq!(TransactionId::of_scope("@3-1-77-12"), Some(id));
        assert_eq!(TransactionId::of_scope("~3-1-77-12"), Some(id));
        for other in ["3-1-77-12", "@", "@3-1-77", "alice", "@03-1-77-12", "@3-1-0000000077-12"] {
            assert_eq!(TransactionId::of_scope(other), None, "{other}");
        }
        let position = Position::new((1 << 48) - 1, u16::MAX);
        let longest = TransactionId { set: u32::MAX, incarnation: u32::MAX, position };
        for longest in [longest.scope(), longest.attempt_scope()] {
            assert!(longest.len() <= ID_BYTES_MAX && !is_valid(&longest));
        }
        for bad in ["", "1-2-3", "1-2-3-4-5", "1-2-3-+4", "1--3-4", "1-2-281474976710656-0", "1-2-3-65536"] {
            assert_eq!(bad.parse::<TransactionId>(), Err(ParseTransactionIdError), "{bad}");
        }
    }

    #[test]
    fn ids_have_an_alphabet() {
        assert!(is_valid("A-z0.9_:{}"));
        assert!(is_valid(&"x".repeat(64)));
        for bad in ["", "a b", "é", "a/b", &"x".repeat(65)] {
            assert!(!is_valid(bad), "{bad}");
        }
        for named_by_nodes in ["~sweep-3-1-77-12-4", "~confirm-3-1-77-12-4"] {
            assert!(is_request_id(named_by_nodes) && !is_valid(named_by_nodes), "{named_by_nodes}");
        }
        assert!(is_request_id("r-1"));
        for bad in ["", "~", "~end", "~sweep-3-1-77-12", "~sweep-3-1-77-12-04", "~3-1-77-12", "@3-1-77-12"] {
            assert!(!is_request_id(bad), "{bad}");
        }
    }
}

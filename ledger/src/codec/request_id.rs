//! Request ids in 17 bytes: raw up to 16 characters, or a canonical lower-case hyphenated UUID, or an upper-case
//! Crockford ULID. Each id has at most one packed form, and unpacking gives back exactly the text that was packed.

use super::DecodeError;
use crate::id::{InlineId, is_valid};

/// The first byte of a packed UUID; of raw ids it is the length, 1-16.
const UUID: u8 = 0x20;
/// The first byte of a packed ULID.
const ULID: u8 = 0x21;
/// Where a UUID's hyphens stand.
const HYPHENS: [usize; 4] = [8, 13, 18, 23];
const HEX: &[u8; 16] = b"0123456789abcdef";
const CROCKFORD: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
/// What [`HEX`] and [`CROCKFORD`] characters stand for; [`NO_DIGIT`] for all others.
const HEX_VALUES: [u8; 256] = values(HEX);
const CROCKFORD_VALUES: [u8; 256] = values(CROCKFORD);
const NO_DIGIT: u8 = 0xff;

/// A request id in packed form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PackedId([u8; 17]);

impl PackedId {
    /// None if the text is no valid id or has no packed form.
    pub fn pack(text: &str) -> Option<Self> {
        let bytes = text.as_bytes();
        let mut packed = [0; 17];
        match bytes.len() {
            1..=16 if is_valid(text) => {
                packed[0] = bytes.len() as u8;
                packed[1..=bytes.len()].copy_from_slice(bytes);
            }
            36 => {
                packed[0] = UUID;
                packed[1..].copy_from_slice(&uuid_value(bytes)?.to_be_bytes());
            }
            26 => {
                packed[0] = ULID;
                packed[1..].copy_from_slice(&ulid_value(bytes)?.to_be_bytes());
            }
            _ => return None,
        }
        Some(PackedId(packed))
    }

    /// The text that was packed.
    pub(crate) fn unpack(&self) -> InlineId {
        let [tag, value @ ..] = self.0;
        let value = u128::from_be_bytes(value);
        let mut text = [0; 36];
        let len = match tag {
            UUID => {
                write_uuid(value, &mut text);
                36
            }
            ULID => {
                for (at, character) in text.iter_mut().take(26).enumerate() {
                    *character = CROCKFORD[(value >> (5 * (25 - at)) & 31) as usize];
                }
                26
            }
            len => {
                let len = usize::from(len);
                text[..len].copy_from_slice(&self.0[1..=len]);
                len
            }
        };
        InlineId::new(std::str::from_utf8(&text[..len]).expect("ids are ASCII"))
    }

    /// The packed bytes.
    pub fn as_bytes(&self) -> &[u8; 17] {
        &self.0
    }

    /// Takes bytes that are not trusted: only what `pack` writes is accepted.
    pub(super) fn from_bytes(packed: [u8; 17]) -> Result<Self, DecodeError> {
        let [tag, value @ ..] = &packed;
        let good = match *tag {
            UUID | ULID => true,
            len @ 1..=16 => {
                let (text, rest) = value.split_at(usize::from(len));
                rest.iter().all(|&b| b == 0) && std::str::from_utf8(text).is_ok_and(is_valid)
            }
            _ => false,
        };
        if good { Ok(PackedId(packed)) } else { Err(DecodeError::OutOfRange { field: "packed request id" }) }
    }
}

impl std::fmt::Display for PackedId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.unpack())
    }
}

const fn values(digits: &[u8]) -> [u8; 256] {
    let mut values = [NO_DIGIT; 256];
    let mut value = 0;
    while value < digits.len() {
        values[digits[value] as usize] = value as u8;
        value += 1;
    }
    values
}

fn uuid_value(text: &[u8]) -> Option<u128> {
    text.iter().enumerate().try_fold(0u128, |value, (at, &byte)| {
        if HYPHENS.contains(&at) {
            return (byte == b'-').then_some(value);
        }
        let digit = HEX_VALUES[usize::from(byte)];
        (digit != NO_DIGIT).then_some(value << 4 | u128::from(digit))
    })
}

fn write_uuid(value: u128, text: &mut [u8; 36]) {
    let mut shift = 128;
    for (at, character) in text.iter_mut().enumerate() {
        if HYPHENS.contains(&at) {
            *character = b'-';
        } else {
            shift -= 4;
            *character = HEX[(value >> shift & 15) as usize];
        }
    }
}

/// 26 characters of 5 bits are 130: the first may only carry three of them.
fn ulid_value(text: &[u8]) -> Option<u128> {
    if text[0] > b'7' {
        return None;
    }
    text.iter().try_fold(0u128, |value, &byte| {
        let digit = CROCKFORD_VALUES[usize::from(byte)];
        (digit != NO_DIGIT).then_some(value << 5 | u128::from(digit))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pack_is_exactly_reversible() {
        for text in [
            "a",
            "order-17:x{1}._Z",
            "01890a5d-ac96-774b-bcce-b302099a8057",
            "00000000-0000-0000-0000-000000000000",
            "ffffffff-ffff-ffff-ffff-ffffffffffff",
            "01ARZ3NDEKTSV4RRFFQ69G5FAV",
            "7ZZZZZZZZZZZZZZZZZZZZZZZZZ",
        ] {
            let packed = PackedId::pack(text).expect(text);
            assert_eq!(&*packed.unpack(), text);
            assert_eq!(PackedId::from_bytes(*packed.as_bytes()), Ok(packed));
        }
    }

    #[test]
    fn what_is_not_canonical_is_not_packed() {
        for text in [
            "",
            "a b",
            "seventeen-letters",
            "01890A5D-AC96-774B-BCCE-B302099A8057",
            "01890a5dac96-774b-bcce-b302-099a8057",
            "01890a5d-ac96-774b-bcce-b302099a805g",
            "8ZZZZZZZZZZZZZZZZZZZZZZZZZ",
            "01ARZ3NDEKTSV4RRFFQ69G5FAI",
            "01arz3ndektsv4rrffq69g5fav",
        ] {
            assert_eq!(PackedId::pack(text), None, "{text}");
        }
    }

    #[test]
    fn foreign_bytes_are_refused() {
        let mut bytes = *PackedId::pack("abc").expect("short").as_bytes();
        bytes[9] = b'x';
        assert!(PackedId::from_bytes(bytes).is_err());
        assert!(PackedId::from_bytes([0; 17]).is_err());
        assert!(PackedId::from_bytes([0x22; 17]).is_err());
        assert!(PackedId::from_bytes([3; 17]).is_err());
    }
}

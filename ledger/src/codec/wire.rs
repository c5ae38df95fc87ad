//! Reading and writing the parts that all forms are made of. Reading never panics and takes nothing on trust.

use rust_decimal::Decimal;

use super::DecodeError;
use crate::account::Side;
use crate::id::is_valid;

/// The sign in the first byte of an amount; the places are in the other bits.
const NEGATIVE: u8 = 0x80;
/// Set in a byte of a varint that another one follows.
const MORE: u8 = 0x80;
/// Decimal keeps 96 bits of digits and 28 places.
const PLACES_MAX: u8 = 28;

/// A cursor over bytes that are not trusted.
#[derive(Clone, Copy)]
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Reader { bytes }
    }

    pub(super) fn take(&mut self, len: usize) -> Result<&'a [u8], DecodeError> {
        let (head, tail) = self.bytes.split_at_checked(len).ok_or(DecodeError::Truncated)?;
        self.bytes = tail;
        Ok(head)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let (head, tail) = self.bytes.split_first_chunk::<N>().ok_or(DecodeError::Truncated)?;
        self.bytes = tail;
        Ok(*head)
    }

    pub(super) fn u8(&mut self) -> Result<u8, DecodeError> {
        Ok(self.array::<1>()?[0])
    }

    pub(super) fn u16(&mut self) -> Result<u16, DecodeError> {
        self.array().map(u16::from_le_bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32, DecodeError> {
        self.array().map(u32::from_le_bytes)
    }

    pub(super) fn i32(&mut self) -> Result<i32, DecodeError> {
        self.array().map(i32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64, DecodeError> {
        self.array().map(u64::from_le_bytes)
    }

    pub(super) fn i128(&mut self) -> Result<i128, DecodeError> {
        self.array().map(i128::from_le_bytes)
    }

    /// 0 or 1.
    pub(super) fn bool(&mut self, field: &'static str) -> Result<bool, DecodeError> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(DecodeError::OutOfRange { field }),
        }
    }

    pub(super) fn side(&mut self) -> Result<Side, DecodeError> {
        side_of(self.u8()?)
    }

    /// A text of at most 255 bytes.
    pub(super) fn text(&mut self) -> Result<&'a str, DecodeError> {
        let len = usize::from(self.u8()?);
        std::str::from_utf8(self.take(len)?).map_err(|_| DecodeError::Utf8)
    }

    /// A text of at most 65,535 bytes.
    pub(super) fn long_text(&mut self) -> Result<&'a str, DecodeError> {
        let len = usize::from(self.u16()?);
        std::str::from_utf8(self.take(len)?).map_err(|_| DecodeError::Utf8)
    }

    /// A text where an id should be.
    pub(super) fn id_text(&mut self) -> Result<&'a str, DecodeError> {
        self.text().map_err(|error| match error {
            DecodeError::Utf8 => DecodeError::BadId,
            other => other,
        })
    }

    /// An id in its alphabet.
    pub(super) fn id(&mut self) -> Result<&'a str, DecodeError> {
        let text = self.id_text()?;
        if is_valid(text) { Ok(text) } else { Err(DecodeError::BadId) }
    }

    /// An amount as mantissa and decimal places.
    pub(super) fn amount_parts(&mut self) -> Result<(i128, u8), DecodeError> {
        let first = self.u8()?;
        let places = first & !NEGATIVE;
        let mut wide = [0; 16];
        wide[..12].copy_from_slice(self.take(12)?);
        let magnitude = i128::from_le_bytes(wide);
        let negative = first & NEGATIVE != 0;
        if places > PLACES_MAX || (negative && magnitude == 0) {
            return Err(DecodeError::OutOfRange { field: "amount" });
        }
        Ok((if negative { -magnitude } else { magnitude }, places))
    }

    pub(super) fn amount(&mut self) -> Result<Decimal, DecodeError> {
        let (mantissa, places) = self.amount_parts()?;
        Ok(Decimal::from_i128_with_scale(mantissa, u32::from(places)))
    }

    /// A whole number in groups of seven bits, the lowest first; as few bytes as it needs.
    pub(super) fn varint(&mut self) -> Result<u128, DecodeError> {
        if let [byte @ ..MORE, rest @ ..] = self.bytes {
            self.bytes = rest;
            return Ok((*byte).into());
        }
        let mut value = 0u128;
        for shift in (0..128).step_by(7) {
            let byte = self.u8()?;
            let group = u128::from(byte & !MORE);
            if (group << shift) >> shift != group || byte == 0 && shift > 0 {
                return Err(DecodeError::OutOfRange { field: "varint" });
            }
            value |= group << shift;
            if byte & MORE == 0 {
                return Ok(value);
            }
        }
        Err(DecodeError::OutOfRange { field: "varint" })
    }

    /// A whole number of either sign: small ones, whatever their sign, have few bytes.
    pub(super) fn signed(&mut self) -> Result<i128, DecodeError> {
        let folded = self.varint()?;
        Ok((folded >> 1) as i128 ^ -((folded & 1) as i128))
    }

    /// A whole number that is not below zero.
    pub(super) fn unsigned(&mut self, field: &'static str) -> Result<i128, DecodeError> {
        i128::try_from(self.varint()?).map_err(|_| DecodeError::OutOfRange { field })
    }

    /// The same of 64 bits.
    pub(super) fn varint_u64(&mut self) -> Result<u64, DecodeError> {
        u64::try_from(self.varint()?).map_err(|_| DecodeError::OutOfRange { field: "varint" })
    }

    pub(super) fn left(&self) -> usize {
        self.bytes.len()
    }

    /// Everything must have been read.
    pub(super) fn end(self) -> Result<(), DecodeError> {
        match self.bytes.len() {
            0 => Ok(()),
            left => Err(DecodeError::Trailing { left }),
        }
    }
}

pub(super) fn side_of(byte: u8) -> Result<Side, DecodeError> {
    match byte {
        1 => Ok(Side::Debit),
        2 => Ok(Side::Credit),
        _ => Err(DecodeError::OutOfRange { field: "side" }),
    }
}

/// Writes a text behind a length byte. Panics past 255 bytes: `Command::validate` has a lower limit for each.
pub(super) fn put_text(out: &mut Vec<u8>, text: &str) {
    out.push(u8::try_from(text.len()).expect("validated texts are short"));
    out.extend_from_slice(text.as_bytes());
}

/// Writes a text behind a two-byte length. Panics past 65,535 bytes.
pub(super) fn put_long_text(out: &mut Vec<u8>, text: &str) {
    let len = u16::try_from(text.len()).expect("validated texts are short");
    out.extend_from_slice(&len.to_le_bytes());
    out.extend_from_slice(text.as_bytes());
}

/// Writes a whole number as [`Reader::varint`] reads it.
pub(super) fn put_varint(out: &mut Vec<u8>, mut value: u128) {
    // Nearly all fit: half the work of wide ones.
    if let Ok(mut value) = u64::try_from(value) {
        while value >= u64::from(MORE) {
            out.push(value as u8 | MORE);
            value >>= 7;
        }
        return out.push(value as u8);
    }
    while value >= u128::from(MORE) {
        out.push(value as u8 | MORE);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Writes a whole number as [`Reader::signed`] reads it.
pub(super) fn put_signed(out: &mut Vec<u8>, value: i128) {
    put_varint(out, (value << 1 ^ value >> 127) as u128);
}

/// Writes a whole number as [`Reader::unsigned`] reads it. Panics below zero.
pub(super) fn put_unsigned(out: &mut Vec<u8>, value: i128) {
    put_varint(out, u128::try_from(value).expect("sums and amounts are not below zero"));
}

/// Writes an amount: one byte of places and sign, 12 bytes of digits.
pub(super) fn put_amount(out: &mut Vec<u8>, amount: Decimal) {
    let mantissa = amount.mantissa();
    let sign = if mantissa < 0 { NEGATIVE } else { 0 };
    out.push(amount.scale() as u8 | sign);
    out.extend_from_slice(&mantissa.unsigned_abs().to_le_bytes()[..12]);
}

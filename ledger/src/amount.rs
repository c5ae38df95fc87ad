//! Money in its two spellings: decimal text or [`Decimal`] outside, whole minor units (`i128`) inside. Nothing is
//! ever rounded: what does not fit is an error. Knows no accounts and no currencies; the caller brings the scale.

use rust_decimal::Decimal;

/// Digits of an amount at most, leading zeros not counted; also the decimal places at most.
pub const DIGITS_MAX: usize = 28;

/// An amount has no exact form in minor units.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AmountError {
    /// It has more decimal places than the currency.
    #[error("the amount has more than {scale} decimal places")]
    ExcessScale {
        /// What the currency allows.
        scale: u8,
    },
    /// It is too large.
    #[error("the amount is too large")]
    Overflow,
}

/// A text is no amount.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// Something else than digits, one leading minus and one dot between digits.
    #[error("an amount is decimal digits with at most one leading '-' and one '.' between digits")]
    NotDecimal,
    /// More digits than can be kept exactly.
    #[error("an amount has at most {DIGITS_MAX} digits")]
    TooManyDigits,
}

/// The amount in minor units of a currency with `scale` decimal places. Zeros at the end do not count: 1.50 is 1.5.
pub fn to_minor(amount: Decimal, scale: u8) -> Result<i128, AmountError> {
    // A Decimal has at most 28 places, so its scale fits a byte.
    minor_from_parts(amount.mantissa(), amount.scale() as u8, scale)
}

/// As [`to_minor`], for an amount given as `mantissa` / 10^`places`.
pub(crate) fn minor_from_parts(mantissa: i128, places: u8, scale: u8) -> Result<i128, AmountError> {
    if places <= scale {
        let factor = 10i128.checked_pow(u32::from(scale - places)).ok_or(AmountError::Overflow)?;
        return mantissa.checked_mul(factor).ok_or(AmountError::Overflow);
    }
    let divisor = 10i128.checked_pow(u32::from(places - scale)).ok_or(AmountError::ExcessScale { scale })?;
    if mantissa % divisor != 0 {
        return Err(AmountError::ExcessScale { scale });
    }
    Ok(mantissa / divisor)
}

/// Minor units as decimal text with exactly `scale` places. Works for every `i128`.
pub fn to_decimal_string(minor: i128, scale: u8) -> String {
    let digits = minor.unsigned_abs().to_string();
    let places = usize::from(scale);
    let padded = format!("{digits:0>width$}", width = places + 1);
    let (whole, fraction) = padded.split_at(padded.len() - places);
    let sign = if minor < 0 { "-" } else { "" };
    if places == 0 { format!("{sign}{whole}") } else { format!("{sign}{whole}.{fraction}") }
}

/// Reads plain decimal text, exactly or not at all: no exponent, no plus, no separators, no bare dot.
pub fn parse(text: &str) -> Result<Decimal, ParseError> {
    let (negative, unsigned) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (whole, fraction) = match unsigned.split_once('.') {
        Some((_, "")) => return Err(ParseError::NotDecimal),
        Some(parts) => parts,
        None => (unsigned, ""),
    };
    if whole.is_empty() || !whole.bytes().chain(fraction.bytes()).all(|b| b.is_ascii_digit()) {
        return Err(ParseError::NotDecimal);
    }
    let significant = || whole.bytes().chain(fraction.bytes()).skip_while(|&b| b == b'0');
    if fraction.len() > DIGITS_MAX || significant().count() > DIGITS_MAX {
        return Err(ParseError::TooManyDigits);
    }
    let magnitude = significant().fold(0i128, |sum, digit| sum * 10 + i128::from(digit - b'0'));
    let mantissa = if negative { -magnitude } else { magnitude };
    Ok(Decimal::from_i128_with_scale(mantissa, fraction.len() as u32))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parse_is_strict() {
        for good in ["0", "1", "-1", "1.5", "-0.01", "007.50", "9999999999999999999999999999"] {
            assert!(parse(good).is_ok(), "{good}");
        }
        for bad in
            ["", "-", ".", ".5", "5.", "+1", "1e3", "1_000", "1,0", " 1", "1 ", "--1", "1.2.3", "1.-2", "٣"]
        {
            assert_eq!(parse(bad), Err(ParseError::NotDecimal), "{bad:?}");
        }
        for long in ["99999999999999999999999999999", "0.00000000000000000000000000001"] {
            assert_eq!(parse(long), Err(ParseError::TooManyDigits), "{long}");
        }
        assert_eq!(parse("1.50").expect("an amount"), parse("1.5").expect("an amount"));
    }

    #[test]
    fn to_minor_is_exact_or_refused() {
        let minor = |text, scale| to_minor(parse(text).expect("an amount"), scale);
        assert_eq!(minor("10.50", 2), Ok(1050));
        assert_eq!(minor("10.5000", 2), Ok(1050));
        assert_eq!(minor("-3", 2), Ok(-300));
        assert_eq!(minor("7", 0), Ok(7));
        assert_eq!(minor("10.505", 2), Err(AmountError::ExcessScale { scale: 2 }));
        assert_eq!(minor("0.1", 0), Err(AmountError::ExcessScale { scale: 0 }));
        assert_eq!(minor("9999999999999999999999999999", 12), Err(AmountError::Overflow));
    }

    #[test]
    fn text_of_every_magnitude() {
        assert_eq!(to_decimal_string(0, 2), "0.00");
        assert_eq!(to_decimal_string(-5, 2), "-0.05");
        assert_eq!(to_decimal_string(123, 0), "123");
        assert_eq!(to_decimal_string(123_456, 3), "123.456");
        assert_eq!(to_decimal_string(i128::MIN, 12), "-170141183460469231731687303.715884105728");
        assert_eq!(to_decimal_string(i128::MAX, 0), i128::MAX.to_string());
    }
}

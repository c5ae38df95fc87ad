//! How times are spelled in JSON: UTC, proleptic Gregorian, no locale. Pure. Days are spelled by [`date`].

use twinset_ledger::date;

/// Nanoseconds since the Unix epoch as RFC 3339 in UTC, with as many decimals as it takes (0, 3, 6 or 9).
pub fn time(unix_ns: u64) -> String {
    let (seconds, ns) = (unix_ns / 1_000_000_000, unix_ns % 1_000_000_000);
    let day = i32::try_from(seconds / 86_400).expect("days of 64-bit nanoseconds fit");
    let (day, rest) = (date::format(day), seconds % 86_400);
    let clock = format!("{day}T{:02}:{:02}:{:02}", rest / 3600, rest / 60 % 60, rest % 60);
    match ns {
        0 => format!("{clock}Z"),
        ns if ns % 1_000_000 == 0 => format!("{clock}.{:03}Z", ns / 1_000_000),
        ns if ns % 1_000 == 0 => format!("{clock}.{:06}Z", ns / 1_000),
        ns => format!("{clock}.{ns:09}Z"),
    }
}

/// RFC 3339 as nanoseconds since the Unix epoch: with Z or an offset, and up to 9 decimals. None if it is spelled otherwise, or
/// lies outside of what 64 bits can count.
pub fn parse_time(text: &str) -> Option<u64> {
    let day = i64::from(date::parse(text.get(..10)?)?);
    let rest = text.get(10..)?.strip_prefix(['T', 't'])?;
    let number = |text: &str, max: i64| {
        let digits = text.len() == 2 && text.bytes().all(|b| b.is_ascii_digit());
        text.parse().ok().filter(|n: &i64| digits && *n <= max)
    };
    let clock = |text: &str| match text.as_bytes() {
        [_, _, b':', _, _] => Some(number(text.get(..2)?, 23)? * 60 + number(text.get(3..)?, 59)?),
        _ => None,
    };
    let minutes = clock(rest.get(..5)?)?;
    let seconds = number(rest.get(5..8)?.strip_prefix(':')?, 59)?;
    let rest = rest.get(8..)?;
    let end = rest.find(['Z', 'z', '+', '-'])?;
    let (decimals, zone) = rest.split_at(end);
    let ns: u64 = match decimals.strip_prefix('.') {
        None if decimals.is_empty() => 0,
        Some(digits) if (1..=9).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit()) => {
            format!("{digits:0<9}").parse().ok()?
        }
        _ => return None,
    };
    let offset = match zone {
        "Z" | "z" => 0,
        _ if zone.starts_with('-') => -clock(&zone[1..])?,
        _ => clock(&zone[1..])?,
    };
    let seconds = u64::try_from((day * 1_440 + minutes - offset) * 60 + seconds).ok()?;
    seconds.checked_mul(1_000_000_000)?.checked_add(ns)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        assert_eq!(time(0), "1970-01-01T00:00:00Z");
        assert_eq!(time(951_782_400_000_000_000), "2000-02-29T00:00:00Z");
        assert_eq!(time(1_795_000_000_123_000_000), "2026-11-18T11:06:40.123Z");
        assert_eq!(time(1_795_000_000_123_456_789), "2026-11-18T11:06:40.123456789Z");
        assert_eq!(time(1_795_000_000_123_456_000), "2026-11-18T11:06:40.123456Z");
    }
    #[test]
    fn times_are_read_as_they_are_spelled() {
        let noon = 951_825_600_000_000_000;
        for (text, ns) in [
            ("2000-02-29T12:00:00Z", noon),
            ("2000-02-29t12:00:00.000000001z", noon + 1),
            ("2000-02-29T12:00:00.5+00:00", noon + 500_000_000),
            ("2000-02-29T14:30:00+02:30", noon),
            ("2000-02-28T23:00:00-13:00", noon),
            ("1970-01-01T00:00:00Z", 0),
            ("1970-01-01T01:00:00+01:00", 0),
            ("2554-07-21T23:34:33.709551615Z", u64::MAX),
        ] {
            assert_eq!(parse_time(text), Some(ns), "{text}");
        }
        for bad in [
            "",
            "2000-02-29",
            "2000-02-30T12:00:00Z",
            "2000-02-29 12:00:00Z",
            "2000-02-29T12:00:00",
            "2000-02-29T12:00Z",
            "2000-02-29T24:00:00Z",
            "2000-02-29T12:60:00Z",
            "2000-02-29T12:00:60Z",
            "2000-02-29T12:00:00.Z",
            "2000-02-29T12:00:00.1234567890Z",
            "2000-02-29T12:00:00.1é",
            "2000-02-29T12:00:00+2:00",
            "2000-02-29T12:00:00+0200",
            "2000-02-29T12:00:00Zulu",
            "2000-02-29T+2:00:00Z",
            "1969-12-31T23:59:59Z",
            "1970-01-01T00:00:00+00:01",
            "2554-07-21T23:34:33.709551616Z",
            "9999-12-31T23:59:59Z",
        ] {
            assert_eq!(parse_time(bad), None, "{bad}");
        }
    }

    proptest::proptest! {
        #[test]
        fn every_time_comes_back(ns: u64) {
            proptest::prop_assert_eq!(parse_time(&time(ns)), Some(ns));
        }

        #[test]
        fn no_text_breaks_it(text in ".{0,40}", tail in "[0-9:.+Z-]{0,12}") {
            parse_time(&text);
            parse_time(&format!("2000-02-29T{tail}"));
        }
    }
}

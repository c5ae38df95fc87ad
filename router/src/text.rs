//! How times and dates are spelled in JSON and gRPC: UTC, proleptic Gregorian, no library and no locale. Pure.

/// Nanoseconds since the Unix epoch as RFC 3339 in UTC, with as many decimals as it takes (0, 3, 6 or 9).
pub fn time(unix_ns: u64) -> String {
    let (seconds, ns) = (unix_ns / 1_000_000_000, unix_ns % 1_000_000_000);
    let (days, rest) = ((seconds / 86_400) as i64, seconds % 86_400);
    let (year, month, day) = civil(days);
    let clock =
        format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}", rest / 3600, rest / 60 % 60, rest % 60);
    match ns {
        0 => format!("{clock}Z"),
        ns if ns % 1_000_000 == 0 => format!("{clock}.{:03}Z", ns / 1_000_000),
        ns if ns % 1_000 == 0 => format!("{clock}.{:06}Z", ns / 1_000),
        ns => format!("{clock}.{ns:09}Z"),
    }
}

/// "YYYY-MM-DD" as days since 1970-01-01; None if it is no such date.
pub fn parse_date(text: &str) -> Option<i32> {
    let bytes = text.as_bytes();
    if bytes.len() != 10 || bytes[4] != b'-' || bytes[7] != b'-' {
        return None;
    }
    let number = |range: std::ops::Range<usize>| {
        let digits = &text[range];
        digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse::<i64>().ok()).flatten()
    };
    if !text.is_ascii() {
        return None;
    }
    let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
    let days = days_from_civil(year, month, day);
    // A day that does not exist (31 April) comes back as another one.
    (year >= 1 && (1..=12).contains(&month) && civil(days) == (year, month, day)).then_some(days as i32)
}

/// Days since 1970-01-01 of a date, by the 400-year cycle that starts on 1 March of year 0.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

fn civil(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day_of_year - (153 * shifted_month + 2) / 5 + 1)
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
    fn dates() {
        let table = [
            ("1970-01-01", Some(0)),
            ("2000-02-29", Some(11_016)),
            ("1969-12-31", Some(-1)),
            ("0001-01-01", Some(-719_162)),
            ("9999-12-31", Some(2_932_896)),
            ("2023-02-29", None),
            ("2023-04-31", None),
            ("2023-13-01", None),
            ("2023-00-01", None),
            ("2023-1-01", None),
            ("+023-01-01", None),
            ("0000-01-01", None),
            ("2023-01-01T", None),
            ("", None),
        ];
        for (text, expected) in table {
            assert_eq!(parse_date(text), expected, "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn every_day_comes_back(days in -719_162i64..=2_932_896) {
            let (year, month, day) = civil(days);
            assert_eq!(parse_date(&format!("{year:04}-{month:02}-{day:02}")), Some(days as i32));
        }

        #[test]
        fn no_text_breaks_it(text in ".{0,12}") {
            parse_date(&text);
        }
    }
}

//! Days of the proleptic Gregorian calendar, as accounting dates are stored (days since 1970-01-01) and spelled
//! (`YYYY-MM-DD`). No clock and no time zone. The algorithm is H. Hinnant's ("chrono-compatible low-level date
//! algorithms"): it counts in 400-year cycles that start on 1 March of year 0.

const DAYS_PER_ERA: i64 = 146_097;
/// From 1 March of year 0 to 1970-01-01.
const EPOCH: i64 = 719_468;

/// Year, month (1 to 12) and day of the month (from 1) of a day since 1970-01-01.
pub fn civil(day: i32) -> (i64, u32, u32) {
    let shifted = i64::from(day) + EPOCH;
    let era = shifted.div_euclid(DAYS_PER_ERA);
    let day_of_era = shifted.rem_euclid(DAYS_PER_ERA);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month as u32, (day_of_year - (153 * from_march + 2) / 5 + 1) as u32)
}

/// A day as `YYYY-MM-DD`.
pub fn format(day: i32) -> String {
    let (year, month, day) = civil(day);
    format!("{year:04}-{month:02}-{day:02}")
}

/// Nanoseconds since the Unix epoch as RFC 3339 in UTC, with as many decimal places as are needed.
pub fn timestamp(unix_ns: u64) -> String {
    let (seconds, ns) = (unix_ns / 1_000_000_000, unix_ns % 1_000_000_000);
    let (day, of_day) = (seconds / 86_400, seconds % 86_400);
    let day = format(i32::try_from(day).expect("u64 nanoseconds are 213,503 days"));
    let fraction = format!(".{ns:09}");
    let fraction = fraction.trim_end_matches('0').trim_end_matches('.');
    format!("{day}T{:02}:{:02}:{:02}{fraction}Z", of_day / 3_600, of_day / 60 % 60, of_day % 60)
}

/// RFC 3339 in UTC as nanoseconds since the Unix epoch: `YYYY-MM-DDThh:mm:ssZ`, seconds with a fraction of up to 9 digits or
/// none. None if it is spelled otherwise, if there is no such time (leap seconds are none), if it is before 1970, or if 64 bits
/// do not hold it.
pub fn parse_timestamp(text: &str) -> Option<u64> {
    let (day, clock) = text.strip_suffix('Z')?.split_once('T')?;
    let day = u64::try_from(parse(day)?).ok()?;
    let (clock, fraction) = match clock.split_once('.') {
        Some((clock, fraction)) => (clock, Some(fraction)),
        None => (clock, None),
    };
    let number = |digits: &[u8]| {
        digits.iter().try_fold(0, |n, b| b.is_ascii_digit().then(|| n * 10 + u64::from(b - b'0')))
    };
    let ns = match fraction.map(str::as_bytes) {
        None => 0,
        Some(digits) if (1..=9).contains(&digits.len()) => {
            number(digits)? * 10_u64.pow(9 - digits.len() as u32)
        }
        Some(_) => return None,
    };
    let bytes: &[u8; 8] = clock.as_bytes().try_into().ok()?;
    let (hours, minutes, seconds) = (number(&bytes[..2])?, number(&bytes[3..5])?, number(&bytes[6..])?);
    if bytes[2] != b':' || bytes[5] != b':' || hours > 23 || minutes > 59 || seconds > 59 {
        return None;
    }
    let seconds = day * 86_400 + hours * 3_600 + minutes * 60 + seconds;
    seconds.checked_mul(1_000_000_000)?.checked_add(ns)
}

/// `YYYY-MM-DD`, years 1 to 9999, as days since 1970-01-01; None if there is no such day, or it is spelled otherwise.
pub fn parse(text: &str) -> Option<i32> {
    let bytes: &[u8; 10] = text.as_bytes().try_into().ok()?;
    let number = |digits: &[u8]| {
        digits.iter().try_fold(0, |n, b| b.is_ascii_digit().then(|| n * 10 + i64::from(b - b'0')))
    };
    let (year, month, day) = (number(&bytes[..4])?, number(&bytes[5..7])?, number(&bytes[8..])?);
    if bytes[4] != b'-' || bytes[7] != b'-' || year < 1 || !(1..=12).contains(&month) {
        return None;
    }
    let from_march = (month + 9) % 12;
    let year_from_march = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (year_from_march.div_euclid(400), year_from_march.rem_euclid(400));
    let day_of_year = (153 * from_march + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    let days = i32::try_from(era * DAYS_PER_ERA + day_of_era - EPOCH).expect("four digits of years fit");
    // A day that does not exist (31 April) comes back as another one.
    (format(days) == text).then_some(days)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_spelled_and_read() {
        for (text, day) in [
            ("1970-01-01", 0),
            ("1969-12-31", -1),
            ("2000-02-29", 11_016),
            ("2024-02-29", 19_782),
            ("0001-01-01", -719_162),
            ("9999-12-31", 2_932_896),
        ] {
            assert_eq!(parse(text), Some(day), "{text}");
            assert_eq!(format(day), text);
        }
    }

    #[test]
    fn times_are_spelled_as_far_as_they_go() {
        for (unix_ns, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_827_696_100_000_000, "2000-02-29T12:34:56.1Z"),
            (86_399_000_000_001, "1970-01-01T23:59:59.000000001Z"),
            (u64::MAX, "2554-07-21T23:34:33.709551615Z"),
        ] {
            assert_eq!(timestamp(unix_ns), text);
        }
    }

    #[test]
    fn times_are_read_as_they_are_spelled_and_with_zeros_behind() {
        for (text, unix_ns) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2026-12-24T18:00:00Z", 1_798_135_200_000_000_000),
            ("2000-02-29T12:34:56.1Z", 951_827_696_100_000_000),
            ("2000-02-29T12:34:56.100000000Z", 951_827_696_100_000_000),
            ("1970-01-01T23:59:59.000000001Z", 86_399_000_000_001),
            ("2554-07-21T23:34:33.709551615Z", u64::MAX),
        ] {
            assert_eq!(parse_timestamp(text), Some(unix_ns), "{text}");
        }
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in [
            "",
            "Z",
            "TZ",
            "2026-12-24",
            "2026-12-24T18:00:00",
            "2026-12-24T18:00Z",
            "2026-12-24 18:00:00Z",
            "2026-12-24t18:00:00Z",
            "2026-12-24T18:00:00z",
            "2026-12-24T18:00:00+00:00",
            "2026-12-24T18:00:00.Z",
            "2026-12-24T18:00:00,5Z",
            "2026-12-24T18:00:00.0000000000Z",
            "2026-12-24T18:00:00.1.1Z",
            "2026-12-24T18:00:00.+1Z",
            "2026-12-24T18:00:0éZ",
            "2026-12-24T8:00:00Z",
            "2026-12-24T24:00:00Z",
            "2026-12-24T18:60:00Z",
            "2026-12-31T23:59:60Z",
            "2026-02-29T18:00:00Z",
            " 2026-12-24T18:00:00Z",
            "2026-12-24T18:00:00ZZ",
            "1969-12-31T23:59:59Z",
            "2554-07-21T23:34:33.709551616Z",
            "9999-12-31T23:59:59Z",
        ] {
            assert_eq!(parse_timestamp(text), None, "{text}");
        }
    }

    #[test]
    fn what_is_no_day_is_refused() {
        for text in [
            "2023-02-29",
            "1900-02-29",
            "2023-04-31",
            "2023-13-01",
            "2023-00-01",
            "2023-01-00",
            "2023-1-01",
            "+023-01-01",
            "0000-01-01",
            "2023-01-01T",
            "2023/01/01",
            "2023-01-0é",
            "",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn every_day_comes_back(day in -719_162..=2_932_896) {
            assert_eq!(parse(&format(day)), Some(day));
        }

        #[test]
        fn every_time_comes_back(unix_ns: u64) {
            assert_eq!(parse_timestamp(&timestamp(unix_ns)), Some(unix_ns));
        }

        #[test]
        fn no_text_breaks_it(text in ".{0,12}", clock in "[0-9:.T]{0,20}") {
            parse(&text);
            parse_timestamp(&text);
            parse_timestamp(&format!("2026-12-24T{clock}Z"));
        }
    }
}

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
        fn no_text_breaks_it(text in ".{0,12}") {
            parse(&text);
        }
    }
}

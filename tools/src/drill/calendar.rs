//! When drills may be held: windows in the week, and dates on which none is. All times are UTC, so that a window is the same
//! for everybody and does not move twice a year. Pure: whoever asks says what time it is.

use std::fmt;
use std::ops::Range;
use std::path::Path;

use serde::Deserialize;

use crate::error;
use crate::journal::date::Date;

/// Minutes of a day.
const DAY: u64 = 24 * 60;
/// How far ahead a window is looked for, in days.
const AHEAD: u64 = 400;

/// A moment, to the second, UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time {
    unix_s: u64,
}

impl Time {
    /// Of milliseconds since 1970.
    pub fn from_unix_ms(unix_ms: u64) -> Time {
        Time { unix_s: unix_ms / 1_000 }
    }

    /// Minutes since 1970.
    fn minutes(self) -> u64 {
        self.unix_s / 60
    }

    /// For names of files: in order of time, without colons.
    pub fn compact(self) -> String {
        self.to_string().replace([':', '-'], "").replace(' ', "-")
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (day, second) = (self.unix_s / 86_400, self.unix_s % 86_400);
        let date = date(day);
        write!(f, "{date} {:02}:{:02}:{:02}", second / 3_600, second / 60 % 60, second % 60)
    }
}

/// The day so many days after 1970-01-01, by counting years from a March on (Howard Hinnant, "chrono-compatible low-level date
/// algorithms").
fn date(day: u64) -> Date {
    let shifted = day + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    let year = u16::try_from(era * 400 + year + next).unwrap_or(9_999);
    Date::new(year, month as u8, day as u8).expect("the algorithm gives days that exist")
}

/// A day of the week.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "they say it")]
pub enum Weekday {
    Mon,
    Tue,
    Wed,
    Thu,
    Fri,
    Sat,
    Sun,
}

/// 1970-01-01 was a Thursday.
const WEEK: [Weekday; 7] =
    [Weekday::Thu, Weekday::Fri, Weekday::Sat, Weekday::Sun, Weekday::Mon, Weekday::Tue, Weekday::Wed];

/// When drills may be held, and which.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Schedule {
    /// The days of the week.
    pub days: Vec<Weekday>,
    /// The minute of the day from which on.
    #[serde(deserialize_with = "minute")]
    pub from: u64,
    /// The minute of the day at which none begins any more.
    #[serde(deserialize_with = "minute")]
    pub to: u64,
    /// The scenarios that may be played.
    pub scenarios: Vec<String>,
    /// Days, or first and last days, on which none is held.
    #[serde(default, deserialize_with = "blocked")]
    pub blocked: Vec<(Date, Date)>,
}

fn minute<'de, D: serde::Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
    let text = String::deserialize(from)?;
    let read = || {
        let (hour, minute) = text.split_once(':')?;
        let (hour, minute): (u64, u64) = (hour.parse().ok()?, minute.parse().ok()?);
        let total = hour.checked_mul(60)?.checked_add(minute)?;
        (minute < 60 && total <= DAY).then_some(total)
    };
    read().ok_or_else(|| serde::de::Error::custom(format!("{text:?} is no time of day such as 14:30")))
}

fn blocked<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Vec<(Date, Date)>, D::Error> {
    let all = Vec::<String>::deserialize(from)?;
    let one = |text: String| {
        let (first, last) = text.split_once("..").unwrap_or((&text, &text));
        let range = Date::parse(first).zip(Date::parse(last)).filter(|(first, last)| first <= last);
        range.ok_or_else(|| {
            serde::de::Error::custom(format!("{text:?} is no day, nor two as 2026-12-20..2027-01-06"))
        })
    };
    all.into_iter().map(one).collect()
}

impl Schedule {
    /// Reads a schedule.
    pub fn parse(text: &str) -> Result<Schedule, String> {
        let schedule: Schedule = toml::from_str(text).map_err(|error| error.to_string())?;
        if schedule.from >= schedule.to {
            return Err("its window has no length: from is not before to".to_owned());
        }
        if schedule.days.is_empty() || schedule.scenarios.is_empty() {
            return Err("it names no day of the week, or no scenario".to_owned());
        }
        Ok(schedule)
    }

    /// Reads the schedule of a file.
    pub fn load(path: &Path) -> anyhow::Result<Schedule> {
        let named = |why: String| {
            error::usage(format!("{}: {why}", path.display()), "docs/reference/drills.md shows a schedule")
        };
        let text = std::fs::read_to_string(path).map_err(|cause| named(cause.to_string()))?;
        Schedule::parse(&text).map_err(named)
    }

    /// The window that is open at a time, or else the next one, in seconds since 1970. None: every day is blocked.
    pub fn window(&self, now: Time) -> Option<Range<u64>> {
        let today = now.minutes() / DAY;
        let open = (today..today + AHEAD).filter(|day| self.is_held_on(*day));
        let windows = open.map(|day| (day * DAY + self.from) * 60..(day * DAY + self.to) * 60);
        let mut left = windows.filter(|window| window.end > now.unix_s);
        left.next().map(|window| window.start.max(now.unix_s)..window.end)
    }

    fn is_held_on(&self, day: u64) -> bool {
        let (weekday, date) = (WEEK[(day % 7) as usize], date(day));
        self.days.contains(&weekday)
            && !self.blocked.iter().any(|(first, last)| (*first..=*last).contains(&date))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(unix_s: u64) -> Time {
        Time { unix_s }
    }

    #[test]
    fn times_are_written_as_people_read_them() {
        // By `date -u -d @N`.
        for (unix_s, text) in [
            (0, "1970-01-01 00:00:00"),
            (951_782_399, "2000-02-28 23:59:59"),
            (951_782_400, "2000-02-29 00:00:00"),
            (1_796_083_200, "2026-12-01 00:00:00"),
            (4_107_542_399, "2100-02-28 23:59:59"),
            (4_107_542_400, "2100-03-01 00:00:00"),
        ] {
            assert_eq!(at(unix_s).to_string(), text);
        }
        assert_eq!(at(1_796_083_200).compact(), "20261201-000000");
    }

    const WEEKLY: &str = r#"
        days = ["tue", "thu"]
        from = "10:00"
        to = "16:30"
        scenarios = ["leader-killed"]
        blocked = ["2026-12-03", "2026-12-20..2027-01-06"]
    "#;

    /// Tuesday 2026-12-01, midnight.
    const TUESDAY: u64 = 1_796_083_200;
    const HOUR: u64 = 3_600;

    #[test]
    fn the_next_window_is_found_past_blocked_days() {
        let schedule = Schedule::parse(WEEKLY).unwrap();
        let opens = |now| schedule.window(at(now)).unwrap();
        assert_eq!(opens(TUESDAY), TUESDAY + 10 * HOUR..TUESDAY + 16 * HOUR + 1_800);
        // In the middle of it: what is left.
        assert_eq!(opens(TUESDAY + 12 * HOUR), TUESDAY + 12 * HOUR..TUESDAY + 16 * HOUR + 1_800);
        // Thursday is blocked: the Tuesday after.
        let next = TUESDAY + 7 * 24 * HOUR;
        assert_eq!(opens(TUESDAY + 17 * HOUR).start, next + 10 * HOUR);
        // From Thursday 2026-12-17 on all is blocked until 2027-01-07, a Thursday.
        let thursday = TUESDAY + 16 * 24 * HOUR;
        assert_eq!(at(opens(thursday + 17 * HOUR).start).to_string(), "2027-01-07 10:00:00");
    }

    #[test]
    fn a_schedule_that_makes_no_sense_is_refused() {
        for (from, to, why) in [
            ("\"10:00\"", "\"25:00\"", "no time of day"),
            ("\"16:30\"", "\"10:00\"", "no length"),
            ("2026-12-20..2027-01-06", "2027-01-06..2026-12-20", "nor two as"),
            ("\"tue\", \"thu\"", "", "names no day"),
            ("\"tue\"", "\"tuesday\"", "unknown variant"),
        ] {
            let error = Schedule::parse(&WEEKLY.replacen(from, to, 1)).unwrap_err();
            assert!(error.contains(why), "{to}: {error}");
        }
        let never = WEEKLY.replace("2026-12-03", "2026-01-01..2029-01-01");
        assert_eq!(Schedule::parse(&never).unwrap().window(at(TUESDAY)), None);
    }
}

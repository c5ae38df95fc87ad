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
}

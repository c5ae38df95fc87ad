//! How long to wait before the next try: twice as long each time, up to a bound, and by chance a little less, so that what failed
//! together does not come back together.

use std::time::Duration;

/// The pauses between tries.
#[derive(Clone, Debug)]
pub struct Backoff {
    min: Duration,
    max: Duration,
    failures: u32,
}

impl Backoff {
    /// Pauses between those two.
    pub fn new((min, max): (Duration, Duration)) -> Backoff {
        Backoff { min, max, failures: 0 }
    }

    /// The pause after one more failure: between half of what is due and all of it.
    pub fn pause(&mut self) -> Duration {
        let due = self.min.saturating_mul(1 << self.failures.min(30)).min(self.max);
        self.failures = self.failures.saturating_add(1);
        // Chance, not money.
        let micros = u64::try_from(due.as_micros()).unwrap_or(u64::MAX);
        Duration::from_micros(fastrand::u64(micros / 2..=micros))
    }

    /// Something went well.
    pub fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_bound_and_begin_anew() {
        let (min, max) = (Duration::from_millis(100), Duration::from_millis(1_000));
        let mut backoff = Backoff::new((min, max));
        for due in [100, 200, 400, 800, 1_000, 1_000].map(Duration::from_millis) {
            let pause = backoff.pause();
            assert!(pause >= due / 2 && pause <= due, "{pause:?} of {due:?}");
        }
        backoff.reset();
        assert!(backoff.pause() <= min);
        for _ in 0..100 {
            assert!(backoff.pause() <= max);
        }
    }
}

//! Since when something has been so, without a break.

use std::time::Duration;

use tokio::time::Instant;

/// Asked again and again whether it is so.
#[derive(Default)]
pub struct Since(Option<Instant>);

impl Since {
    /// Whether it holds, and has held for at least `for_`.
    pub fn lasts(&mut self, holds: bool, for_: Duration) -> bool {
        self.observe(holds).is_some_and(|lasted| lasted >= for_)
    }

    /// How long it has held; None: it does not hold.
    pub fn observe(&mut self, holds: bool) -> Option<Duration> {
        if !holds {
            self.0 = None;
            return None;
        }
        Some(self.0.get_or_insert_with(Instant::now).elapsed())
    }
}

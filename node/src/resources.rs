//! What this process uses of its machine, for whoever asks how much more it could bear: the share of the processors
//! over the last seconds, and the room on its disk.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;
use twinset_proto::cluster::v1 as wire;

use crate::platform::{Platform, Usage};

/// Between two samples.
const SAMPLE_EVERY: Duration = Duration::from_secs(1);
/// Samples that the share is taken over.
const SAMPLES: usize = 6;

/// Measures while [`Resources::sample`] runs.
pub struct Resources {
    platform: Arc<dyn Platform>,
    data_dir: PathBuf,
    samples: Mutex<VecDeque<(Instant, u64)>>,
}

impl Resources {
    /// Of the process that keeps its data there.
    pub fn new(platform: Arc<dyn Platform>, data_dir: PathBuf) -> Arc<Self> {
        Arc::new(Resources { platform, data_dir, samples: Mutex::default() })
    }

    /// Runs until it is dropped; ends on a machine that tells nothing.
    pub async fn sample(self: Arc<Self>) {
        let mut tick = tokio::time::interval(SAMPLE_EVERY);
        loop {
            tick.tick().await;
            if !self.take() {
                return;
            }
        }
    }

    /// Takes one sample; false on a machine that tells nothing.
    fn take(&self) -> bool {
        let Some(usage) = self.platform.usage(&self.data_dir) else { return false };
        let mut samples = self.samples.lock();
        samples.push_back((Instant::now(), usage.cpu_ns));
        if samples.len() > SAMPLES {
            samples.pop_front();
        }
        true
    }

    /// What is used; None on a machine that tells nothing, and before there are two samples.
    pub fn used(&self) -> Option<wire::Resources> {
        let Usage { processors, disk_free_bytes, disk_bytes, .. } = self.platform.usage(&self.data_dir)?;
        let cpu_permille = {
            let samples = self.samples.lock();
            let ((from, used_before), (to, used)) = (*samples.front()?, *samples.back()?);
            permille(to.duration_since(from), used.saturating_sub(used_before), processors)?
        };
        Some(wire::Resources { cpu_permille, disk_free_bytes, disk_bytes })
    }
}

fn permille(over: Duration, used_ns: u64, processors: u32) -> Option<u32> {
    let all_ns = over.as_nanos() * u128::from(processors);
    let share = (u128::from(used_ns) * 1000).checked_div(all_ns)?;
    Some(u32::try_from(share).unwrap_or(u32::MAX).min(1000))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::platform;

    #[test]
    fn a_share_is_of_all_processors() {
        let second = Duration::from_secs(1);
        assert_eq!(permille(second, 1_000_000_000, 2), Some(500));
        assert_eq!(permille(second, 3_000_000_000, 2), Some(1000), "clocks differ a little");
        assert_eq!(permille(Duration::ZERO, 5, 2), None);
    }

    #[test]
    fn the_machine_tells_what_this_process_uses() {
        let resources = Resources::new(platform::system(), std::env::temp_dir());
        assert_eq!(resources.used(), None, "nothing was measured yet");
        let used = loop {
            assert!(resources.take());
            if let Some(used) = resources.used() {
                break used;
            }
        };
        assert!(used.disk_bytes > 0 && used.disk_free_bytes <= used.disk_bytes, "{used:?}");
    }
}

//! The end of a process that cannot go on rightly: it says why, and stops. Nothing is answered after that.

use tracing::error;

use crate::platform::Platform;

/// Exit code of a node that stopped itself because of a fault.
pub const EXIT_FAULT: i32 = 70;

/// Logs the reason and ends the process.
pub fn stop(platform: &dyn Platform, reason: &str) -> ! {
    error!(reason, "stopping: this node cannot go on without risking a wrong answer");
    platform.end(reason)
}

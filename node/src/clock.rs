//! The only reader of the machine's wall clock, for [`crate::platform`]. The leader stamps commands with it; nothing else
//! may decide by it.

use std::time::{SystemTime, UNIX_EPOCH};

/// Now, in nanoseconds since the Unix epoch.
pub(crate) fn now_unix_ns() -> u64 {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is past 1970");
    u64::try_from(elapsed.as_nanos()).expect("the clock is before 2554")
}

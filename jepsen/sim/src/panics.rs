//! Panics of tasks: tokio keeps them to itself, in a simulation each is a finding.

use std::panic;

use parking_lot::Mutex;

static SEEN: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// From now on every panic of this process is kept.
pub fn keep() {
    panic::set_hook(Box::new(|panic| SEEN.lock().push(format!("panic: {panic}"))));
}

/// Those since the last call.
pub fn seen() -> Vec<String> {
    std::mem::take(&mut *SEEN.lock())
}

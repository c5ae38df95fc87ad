//! How often random histories show what they must show. What is there to see, each test says itself.

use std::collections::BTreeMap;

use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;

/// What was seen, and how often.
pub type Seen = BTreeMap<String, usize>;

/// Runs so many histories, always the same ones, and holds what they show together against what is to be seen at least.
pub fn assert_seen<S: Strategy>(
    count: usize,
    histories: S,
    mut run: impl FnMut(&S::Value) -> Seen,
    at_least: &[(&str, usize)],
) {
    let mut runner = TestRunner::deterministic();
    let mut seen = Seen::new();
    for _ in 0..count {
        let history = histories.new_tree(&mut runner).expect("a value").current();
        for (what, times) in run(&history) {
            *seen.entry(what).or_default() += times;
        }
    }
    for (what, at_least) in at_least {
        let times = seen.get(*what).copied().unwrap_or_default();
        assert!(times >= *at_least, "{what}: {times}, of {seen:?}");
    }
}

//! What a surprise drill does, drawn by lot: scenario, set, and when within the window. The seed says all of it, and is only shown
//! afterwards. Pure.

use std::ops::Range;

use crate::load::random::Random;

/// What was drawn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drawn {
    /// The scenario's name.
    pub scenario: String,
    /// The set.
    pub set: u32,
    /// When, in seconds since 1970.
    pub at_unix_s: u64,
}

/// Draws; None if there is nothing to draw from.
pub fn draw(seed: u64, scenarios: &[String], sets: &[u32], window: Range<u64>) -> Option<Drawn> {
    if scenarios.is_empty() || sets.is_empty() || window.is_empty() {
        return None;
    }
    let mut random = Random::seeded(seed);
    let length = usize::try_from(window.end - window.start).ok()?;
    Some(Drawn {
        scenario: scenarios[random.below(scenarios.len())].clone(),
        set: sets[random.below(sets.len())],
        at_unix_s: window.start + random.below(length) as u64,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_draws_the_same_and_all_is_drawn_sometimes() {
        let scenarios = ["a".to_owned(), "b".to_owned()];
        let drawn = |seed| draw(seed, &scenarios, &[1, 2, 3], 100..200).unwrap();
        assert_eq!(drawn(7), drawn(7));
        let all: Vec<Drawn> = (0..500).map(drawn).collect();
        for scenario in &scenarios {
            for set in [1, 2, 3] {
                assert!(all.iter().any(|one| one.scenario == *scenario && one.set == set));
            }
        }
        assert!(all.iter().all(|one| (100..200).contains(&one.at_unix_s)));
        assert!(all.iter().any(|one| one.at_unix_s < 110) && all.iter().any(|one| one.at_unix_s >= 190));
        assert_eq!(draw(1, &[], &[1], 0..1), None);
        assert_eq!(draw(1, &scenarios, &[1], 5..5), None);
    }
}

//! What a leader is to do about the durability of its set, by what it knows. Pure: times come in as durations.

use std::collections::VecDeque;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use twinset_control::Policy;
use twinset_ledger::Durability;

/// When the durability of a set changes by itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DurabilityConfig {
    /// A set becomes DEGRADED when its oldest committed entry has not been safe for so long, or its away site silent, in
    /// milliseconds. A write waits so long, and for the record, before it is answered with one site alone.
    pub degrade_after_ms: u64,
    /// It returns to SYNC when the away site has followed for so long without a break.
    pub return_after_ms: u64,
    /// Between two returns to SYNC, at least: a link that comes and goes must not take the set with it.
    pub between_returns_ms: u64,
    /// An away site that is back and comes no nearer for so long is worth an alarm.
    pub stalled_after_ms: u64,
}

impl Default for DurabilityConfig {
    fn default() -> Self {
        DurabilityConfig {
            degrade_after_ms: 1_500,
            return_after_ms: 1_000,
            between_returns_ms: 60_000,
            stalled_after_ms: 30_000,
        }
    }
}

/// A majority that has not answered for longer than this could not put a mark into the log.
const MAJORITY_SILENCE_MAX: Duration = Duration::from_millis(500);

/// What a leader knows of its set.
#[derive(Clone, Debug)]
pub struct Facts {
    /// The state that the log has marked.
    pub in_force: Durability,
    /// The state on record in the control set.
    pub recorded: Durability,
    /// Whether the set may go on with one site alone.
    pub policy: Policy,
    /// The control set was recovered, and does not know whether this set was SYNC to the last: it gives it no lease, and records
    /// nothing but SYNC.
    pub unproven: bool,
    /// DEGRADED until an operator says otherwise.
    pub pinned: bool,
    /// For how long the oldest committed entry that is not safe has waited.
    pub waited: Option<Duration>,
    /// For how long the away site has been silent, as long as this replica leads.
    pub away_silent: Duration,
    /// For how long a majority has been silent; None: it has never answered this leader.
    pub majority_silent: Option<Duration>,
    /// For how long the away site has followed closely, without a break.
    pub followed: Option<Duration>,
    /// Since the set last returned to SYNC, by the wall clock.
    pub since_return: Duration,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing.
    Keep,
    /// To record DEGRADED, and to mark it.
    Degrade(Cause),
    /// To mark SYNC, and to record it.
    Return,
}

/// Why a set becomes DEGRADED.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The away site does not answer.
    Silent(Duration),
    /// It answers, and does not have what is committed on its disks.
    Behind(Duration),
    /// The control set has it as DEGRADED, and its log does not say so yet.
    Recorded,
}

impl std::fmt::Display for Cause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Cause::Silent(since) => write!(f, "the away site is silent for {} ms", since.as_millis()),
            Cause::Behind(since) => {
                write!(f, "the away site lacks what was committed {} ms ago", since.as_millis())
            }
            Cause::Recorded => f.write_str("it is on record and was not in force"),
        }
    }
}

/// What a leader is to do.
pub fn judge(facts: &Facts, config: &DurabilityConfig) -> Verdict {
    let limit = Duration::from_millis(config.degrade_after_ms);
    let may_mark = facts.majority_silent.is_some_and(|silent| silent <= MAJORITY_SILENCE_MAX);
    let followed =
        facts.followed.is_some_and(|followed| followed >= Duration::from_millis(config.return_after_ms));
    match (facts.in_force, facts.recorded) {
        _ if !may_mark => Verdict::Keep,
        _ if facts.unproven => {
            if followed {
                Verdict::Return
            } else {
                Verdict::Keep
            }
        }
        (Durability::Sync, Durability::Degraded)
            if facts.policy != Policy::MaxProtection && (facts.pinned || facts.followed.is_none()) =>
        {
            Verdict::Degrade(Cause::Recorded)
        }
        // The mark of SYNC is in force and was not recorded.
        (Durability::Sync, Durability::Degraded) if followed => Verdict::Return,
        (Durability::Sync, _) if facts.policy == Policy::MaxProtection => Verdict::Keep,
        (Durability::Sync, _) if facts.away_silent >= limit => {
            Verdict::Degrade(Cause::Silent(facts.away_silent))
        }
        (Durability::Sync, _) => match facts.waited.filter(|&waited| waited >= limit) {
            Some(waited) => Verdict::Degrade(Cause::Behind(waited)),
            None => Verdict::Keep,
        },
        (Durability::Degraded, _) if facts.pinned || !followed => Verdict::Keep,
        (Durability::Degraded, _) => {
            let rested = facts.since_return >= Duration::from_millis(config.between_returns_ms);
            if rested { Verdict::Return } else { Verdict::Keep }
        }
    }
}

/// Looks, to know how long the oldest entry that is applied and not safe has waited: exact to the time between two.
const LOOKS_MAX: usize = 1_024;

/// How long the oldest entry that is applied and not safe has waited.
#[derive(Default)]
pub struct Backlog {
    /// When which index was first seen applied, oldest first.
    seen: VecDeque<(Instant, u64)>,
}

impl Backlog {
    /// How long the oldest entry that is not safe has waited; None: all are safe.
    pub fn observe(&mut self, now: Instant, applied: u64, safe: u64) -> Option<Duration> {
        while self.seen.front().is_some_and(|&(_, index)| index <= safe) {
            self.seen.pop_front();
        }
        let newest = self.seen.back().map_or(safe, |&(_, index)| index);
        if applied > newest && self.seen.len() < LOOKS_MAX {
            self.seen.push_back((now, applied));
        }
        self.seen.front().map(|&(at, _)| now.saturating_duration_since(at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn well() -> Facts {
        Facts {
            unproven: false,
            in_force: Durability::Sync,
            recorded: Durability::Sync,
            policy: Policy::MaxAvailability,
            pinned: false,
            waited: None,
            away_silent: Duration::from_millis(50),
            majority_silent: Some(Duration::from_millis(50)),
            followed: Some(Duration::from_secs(600)),
            since_return: Duration::from_secs(600),
        }
    }

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn judged(change: impl FnOnce(&mut Facts)) -> Verdict {
        let mut facts = well();
        change(&mut facts);
        judge(&facts, &DurabilityConfig::default())
    }

    #[test]
    fn a_set_goes_on_alone_when_the_away_site_is_silent_or_behind_for_long_enough() {
        assert_eq!(judged(|_| ()), Verdict::Keep);
        assert_eq!(judged(|facts| facts.away_silent = ms(1_499)), Verdict::Keep);
        assert_eq!(judged(|facts| facts.away_silent = ms(1_500)), Verdict::Degrade(Cause::Silent(ms(1_500))));
        assert_eq!(judged(|facts| facts.waited = Some(ms(1_499))), Verdict::Keep);
        assert_eq!(
            judged(|facts| facts.waited = Some(ms(1_500))),
            Verdict::Degrade(Cause::Behind(ms(1_500))),
            "lively heartbeats prove no disk"
        );
    }

    #[test]
    fn a_set_that_is_to_be_protected_never_does() {
        let alone = |facts: &mut Facts| {
            facts.policy = Policy::MaxProtection;
            facts.away_silent = ms(60_000);
            facts.waited = Some(ms(60_000));
            facts.followed = None;
        };
        assert_eq!(judged(alone), Verdict::Keep);
    }

    #[test]
    fn a_leader_that_could_not_mark_it_records_nothing() {
        for majority_silent in [None, Some(ms(501))] {
            let alone = |facts: &mut Facts| {
                facts.away_silent = ms(60_000);
                facts.majority_silent = majority_silent;
            };
            assert_eq!(judged(alone), Verdict::Keep, "{majority_silent:?}");
        }
    }

    #[test]
    fn what_is_on_record_comes_into_force_at_once_while_nobody_follows() {
        let recorded = |facts: &mut Facts| {
            facts.recorded = Durability::Degraded;
            facts.followed = None;
        };
        assert_eq!(judged(recorded), Verdict::Degrade(Cause::Recorded));
        let protected = |facts: &mut Facts| {
            recorded(facts);
            facts.policy = Policy::MaxProtection;
        };
        assert_eq!(
            judged(protected),
            Verdict::Keep,
            "it was recovered in one site, and waits for the other one"
        );
        assert_eq!(
            judged(|facts| facts.recorded = Durability::Degraded),
            Verdict::Return,
            "SYNC is in force"
        );
    }

    #[test]
    fn a_set_returns_when_the_away_site_has_followed_for_a_while_and_it_has_not_just_returned() {
        let degraded = |facts: &mut Facts| {
            (facts.in_force, facts.recorded) = (Durability::Degraded, Durability::Degraded);
            facts.followed = Some(ms(1_000));
            facts.since_return = ms(60_000);
        };
        assert_eq!(judged(degraded), Verdict::Return);
        type Case = (&'static str, fn(&mut Facts));
        let cases: [Case; 4] = [
            ("it follows too briefly", |facts| facts.followed = Some(ms(999))),
            ("it does not follow", |facts| facts.followed = None),
            ("an operator wants it so", |facts| facts.pinned = true),
            ("it has just returned", |facts| facts.since_return = ms(59_999)),
        ];
        for (why, change) in cases {
            let verdict = judged(|facts| {
                degraded(facts);
                change(facts);
            });
            assert_eq!(verdict, Verdict::Keep, "{why}");
        }
    }

    #[test]
    fn the_oldest_entry_that_is_not_safe_is_the_one_that_counts() {
        let start = Instant::now();
        let mut backlog = Backlog::default();
        // (ms, applied, safe, expected)
        for (at, applied, safe, expected) in [
            (0, 0, 0, None),
            (10, 5, 5, None),
            (20, 9, 5, Some(0)),
            (50, 12, 5, Some(30)),
            (60, 12, 9, Some(10)),
            (90, 12, 11, Some(40)),
            (100, 12, 12, None),
            (110, 13, 12, Some(0)),
        ] {
            assert_eq!(
                backlog.observe(start + ms(at), applied, safe),
                expected.map(ms),
                "at {at}: {applied} applied, {safe} safe"
            );
        }
        for look in 0..2 * LOOKS_MAX as u64 {
            backlog.observe(start + ms(200 + look), 100 + look, 12);
        }
        assert_eq!(backlog.seen.len(), LOOKS_MAX);
        let last = backlog.observe(start + ms(9_000), 9_000, 12);
        assert_eq!(last, Some(ms(8_890)), "the oldest is never forgotten");
    }
}

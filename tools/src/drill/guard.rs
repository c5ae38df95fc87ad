//! Guardrails: what stops a drill. Looks at one moment after the other and says what is broken. Pure.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde::{Deserialize, Serialize};

use super::moment::{Moment, Payments};
use super::scenario::{Guardrails, SUSTAINED_S};

/// Fewer payments within the time that counts say nothing of a rate.
const PAYMENTS_MIN: u64 = 20;

/// Why a drill is stopped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Breach {
    /// Which guardrail, as the scenario names it.
    pub guardrail: String,
    /// What was seen.
    pub detail: String,
}

/// What the guardrails have seen so far.
#[derive(Debug)]
pub struct Guard {
    rails: Guardrails,
    baseline_p99_ms: Option<f64>,
    payments: VecDeque<Payments>,
    /// Since when, by what it is.
    since_ms: BTreeMap<(&'static str, String), u64>,
}

impl Guard {
    /// Compares latencies with what was seen before anything was done.
    pub fn new(rails: &Guardrails, baseline: &[Moment]) -> Guard {
        let mut p99: Vec<f64> =
            baseline.iter().filter(|m| m.payments.ended > 0).map(|m| m.payments.p99_ms).collect();
        p99.sort_unstable_by(f64::total_cmp);
        // The median second: one slow second does not raise the rail for the whole drill.
        let baseline_p99_ms = p99.get(p99.len() / 2).copied();
        Guard { rails: rails.clone(), baseline_p99_ms, payments: VecDeque::new(), since_ms: BTreeMap::new() }
    }

    /// What is broken, if anything is. `touched` are the processes that this drill has harmed.
    pub fn look(&mut self, moment: &Moment, touched: &BTreeSet<String>) -> Option<Breach> {
        self.payments.push_back(moment.payments);
        if self.payments.len() > SUSTAINED_S {
            self.payments.pop_front();
        }
        let leaderless = moment.sets.iter().filter(|(_, set)| set.leader.is_none());
        let leaderless = leaderless.map(|(set, _)| format!("set {set}")).collect();
        let unsafe_ones = moment.sets.iter().filter(|(_, set)| set.is_unsafe());
        let unsafe_ones = unsafe_ones.map(|(set, _)| format!("set {set}")).collect();
        let silent = moment.silent.iter().filter(|name| !touched.contains(*name)).cloned().collect();
        let rails = self.rails.clone();
        self.failing()
            .or_else(|| self.slow())
            .or(self.lasting(
                "leaderless_s_max",
                leaderless,
                rails.leaderless_s_max,
                moment.at_ms,
                "has no leader",
            ))
            .or(self.lasting("unsafe_s_max", unsafe_ones, rails.unsafe_s_max, moment.at_ms, "is not SYNC"))
            .or(self.lasting(
                "silent_s_max",
                silent,
                rails.silent_s_max,
                moment.at_ms,
                "does not answer, and this drill has not touched it: a real failure",
            ))
    }

    fn failing(&self) -> Option<Breach> {
        let (ended, failed) =
            self.payments.iter().fold((0, 0), |(ended, failed), p| (ended + p.ended, failed + p.failed));
        let percent = failed as f64 * 100.0 / ended.max(1) as f64;
        let broken = ended >= PAYMENTS_MIN && percent > self.rails.failed_percent_max;
        broken.then(|| Breach {
            guardrail: "failed_percent_max".to_owned(),
            detail: format!("{failed} of {ended} payments of the last seconds have failed"),
        })
    }

    fn slow(&self) -> Option<Breach> {
        let most = self.baseline_p99_ms? * self.rails.p99_factor_max;
        let all_slow = self.payments.iter().all(|p| p.ended >= PAYMENTS_MIN && p.p99_ms > most);
        let broken = self.payments.len() == SUSTAINED_S && all_slow;
        let last = self.payments.back()?;
        broken.then(|| Breach {
            guardrail: "p99_factor_max".to_owned(),
            detail: format!("p99 is {:.0} ms for {SUSTAINED_S} s, more than {most:.0} ms", last.p99_ms),
        })
    }

    /// Of things that may be so for a while.
    fn lasting(
        &mut self,
        guardrail: &'static str,
        now: BTreeSet<String>,
        most_s: u64,
        at_ms: u64,
        what: &str,
    ) -> Option<Breach> {
        self.since_ms.retain(|(rail, name), _| *rail != guardrail || now.contains(name));
        let mut worst: Option<(u64, String)> = None;
        for name in now {
            let since = *self.since_ms.entry((guardrail, name.clone())).or_insert(at_ms);
            worst = worst.max(Some((at_ms - since, name)));
        }
        let (for_ms, name) = worst.filter(|(for_ms, _)| *for_ms > most_s * 1_000)?;
        let for_s = for_ms as f64 / 1e3;
        Some(Breach { guardrail: guardrail.to_owned(), detail: format!("{name} {what}, for {for_s:.0} s") })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drill::moment::SetMoment;

    fn moment(at_s: u64, leader: Option<&str>, phase: &str) -> Moment {
        let set = SetMoment {
            leader: leader.map(str::to_owned),
            home: "A".into(),
            phase: phase.into(),
            incarnation: 1,
        };
        Moment { at_ms: at_s * 1_000, sets: [(1, set)].into(), ..Moment::default() }
    }

    fn paid(at_s: u64, ended: u64, failed: u64, p99_ms: f64) -> Moment {
        let payments = Payments { ended, failed, p99_ms, ..Payments::default() };
        Moment { payments, ..moment(at_s, Some("a1"), "SYNC") }
    }

    fn first_breach(rails: &Guardrails, baseline: &[Moment], moments: &[Moment]) -> Option<(u64, Breach)> {
        let mut guard = Guard::new(rails, baseline);
        let touched = BTreeSet::from(["a1".to_owned()]);
        moments.iter().find_map(|m| guard.look(m, &touched).map(|breach| (m.at_ms / 1_000, breach)))
    }

    fn rails() -> Guardrails {
        Guardrails {
            failed_percent_max: 5.0,
            p99_factor_max: 10.0,
            leaderless_s_max: 3,
            unsafe_s_max: 5,
            silent_s_max: 2,
        }
    }

    #[test]
    fn nothing_is_broken_while_all_is_well() {
        let moments: Vec<Moment> = (0..60).map(|s| paid(s, 100, 5, 9.9)).collect();
        assert_eq!(first_breach(&rails(), &[paid(0, 100, 0, 1.0)], &moments), None);
    }

    #[test]
    fn a_set_may_be_without_a_leader_or_unsafe_for_so_long_in_one_piece() {
        let gap = |at| if at % 4 == 0 { moment(at, Some("a1"), "SYNC") } else { moment(at, None, "SYNC") };
        let gaps: Vec<Moment> = (0..40).map(gap).collect();
        assert_eq!(first_breach(&rails(), &[], &gaps), None);
        let lost: Vec<Moment> = (0..40).map(|at| moment(at, None, "SYNC")).collect();
        let (at, breach) = first_breach(&rails(), &[], &lost).unwrap();
        assert_eq!((at, breach.guardrail.as_str()), (4, "leaderless_s_max"));
        assert_eq!(breach.detail, "set 1 has no leader, for 4 s");
        let degraded: Vec<Moment> = (0..40).map(|at| moment(at, Some("a1"), "DEGRADED")).collect();
        assert_eq!(first_breach(&rails(), &[], &degraded).unwrap().0, 6);
    }

    #[test]
    fn a_process_that_nobody_has_touched_must_answer() {
        let silent = |name: &str| {
            let silent = vec![name.to_owned()];
            (0..9)
                .map(|at| Moment { silent: silent.clone(), ..moment(at, Some("a2"), "SYNC") })
                .collect::<Vec<_>>()
        };
        assert_eq!(first_breach(&rails(), &[], &silent("a1")), None);
        let (at, breach) = first_breach(&rails(), &[], &silent("b1")).unwrap();
        assert_eq!(at, 3);
        assert!(breach.detail.contains("a real failure"), "{}", breach.detail);
    }

    #[test]
    fn payments_must_fail_or_be_slow_for_a_while() {
        let burst = [paid(0, 100, 0, 1.0), paid(1, 100, 12, 1.0), paid(2, 100, 3, 1.0), paid(3, 100, 2, 1.0)];
        assert_eq!(first_breach(&rails(), &[], &burst[..1]), None);
        assert_eq!(first_breach(&rails(), &[], &burst).unwrap().1.guardrail, "failed_percent_max");
        let few: Vec<Moment> = (0..9).map(|at| paid(at, 1, 1, 1.0)).collect();
        assert_eq!(first_breach(&rails(), &[], &few), None, "one payment per second is no rate");
        let baseline = [paid(0, 50, 0, 2.0), paid(0, 50, 0, 900.0), paid(0, 50, 0, 2.0)];
        let slow: Vec<Moment> = (0..9).map(|at| paid(at, 50, 0, 21.0)).collect();
        assert_eq!(first_breach(&rails(), &baseline, &slow).unwrap().0, 2);
        assert_eq!(
            first_breach(&rails(), &[], &slow),
            None,
            "without a baseline there is nothing to compare"
        );
    }
}

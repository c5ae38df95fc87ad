//! The verdict on a drill, from what was seen of it. Pure.

use std::collections::BTreeMap;

use super::moment::{EVERY, Moment, Payments};
use super::record::{Judgement, Second, SetRecord, Span, Stopped, Verdict};
use super::scenario::Criteria;
use super::traffic::{ACROSS, Proof};
use crate::load::record::{Class, Sample};
use crate::verify;

/// What was seen of a drill.
pub struct Seen<'a> {
    /// What it must show.
    pub criteria: &'a Criteria,
    /// Factor on every limit of time.
    pub patience: f64,
    /// Its parts.
    pub spans: &'a [Span],
    /// When the first stage began and when all were home.
    pub acted_ms: (u64, u64),
    /// When traffic stopped.
    pub ended_ms: u64,
    /// Why it was stopped, if it was.
    pub stopped: Option<&'a Stopped>,
    /// A look every second.
    pub moments: &'a [Moment],
    /// Every payment, in the order of their ends; none if there were no payments of its own.
    pub payments: Option<&'a [Sample]>,
    /// What the test accounts hold.
    pub proof: Option<&'a Proof>,
    /// The books, or why they could not be compared.
    pub books: &'a Result<verify::Report, String>,
}

impl Seen<'_> {
    /// All criteria.
    pub fn criteria(&self, sets: &[SetRecord]) -> Vec<Judgement> {
        let mut all = vec![self.ended()];
        if let Some(payments) = self.payments {
            all.push(self.failed(payments));
            all.push(self.pause(sets));
            all.extend(self.p99(payments));
        }
        all.extend(self.exposed(sets));
        all.push(self.home());
        all.extend(self.proof.map(proof));
        all.push(self.books());
        all
    }

    fn ended(&self) -> Judgement {
        let found = self.stopped.map_or("it ran to its end".to_owned(), ToString::to_string);
        judgement("stages", "each in time, no guardrail broken", found, self.stopped.is_none())
    }

    fn failed(&self, payments: &[Sample]) -> Judgement {
        let failed = payments.iter().filter(|sample| sample.class != Class::Done).count() as u64;
        let most = self.criteria.failed_max;
        let found = format!("{failed} of {}", payments.len());
        judgement(
            "payments that failed",
            format!("at most {most}"),
            found,
            failed <= most && !payments.is_empty(),
        )
    }

    fn pause(&self, sets: &[SetRecord]) -> Judgement {
        let most = self.limit_ms(self.criteria.pause_ms_max);
        let worst = sets.iter().filter_map(|set| Some((set.pause_ms?, set.set)));
        let worst = worst.max_by(|one, other| one.0.total_cmp(&other.0));
        let found = worst.map_or("nothing was paid".to_owned(), |(ms, set)| format!("{ms:.0} ms, set {set}"));
        let held = worst.is_some_and(|(ms, _)| ms <= most);
        judgement("longest pause of a set", format!("at most {most:.0} ms"), found, held)
    }

    fn p99(&self, payments: &[Sample]) -> Option<Judgement> {
        let most = self.limit_ms(self.criteria.p99_ms_max?);
        let found = Payments::of(self.acted(payments)).p99_ms;
        let (wanted, shown) = (format!("at most {most:.0} ms"), format!("{found:.0} ms"));
        Some(judgement("p99 while it went on", wanted, shown, found <= most))
    }

    fn exposed(&self, sets: &[SetRecord]) -> Option<Judgement> {
        let most = self.criteria.unsafe_s_max? as f64 * self.patience;
        let worst = sets.iter().max_by(|one, other| one.unsafe_s.total_cmp(&other.unsafe_s))?;
        let found = format!("{:.0} s, set {}", worst.unsafe_s, worst.set);
        Some(judgement("time not SYNC", format!("at most {most:.0} s"), found, worst.unsafe_s <= most))
    }

    fn home(&self) -> Judgement {
        let failed = self.spans.iter().find(|span| span.name == HOME).map(|span| span.failed.clone());
        let (found, held) = match failed {
            Some(None) => ("they are".to_owned(), true),
            Some(Some(reason)) => (reason, false),
            None => ("nobody brought them home".to_owned(), false),
        };
        judgement("in the end", "every set at home, SYNC, with a leader", found, held)
    }

    fn books(&self) -> Judgement {
        let (found, held) = match self.books {
            Ok(report) if report.clean => {
                let (accounts, transactions) = (report.accounts, report.transactions);
                (format!("they balance: {accounts} accounts, {transactions} transactions"), true)
            }
            Ok(report) => {
                let wrong = report.lines.iter().filter(|line| !line.clean);
                let wrong: Vec<String> =
                    wrong.map(|line| format!("{}: {}", line.subject, line.detail)).collect();
                (wrong.join("; "), false)
            }
            Err(reason) => (reason.clone(), false),
        };
        judgement("books of every replica", "alike, and debits equal credits", found, held)
    }

    fn limit_ms(&self, ms: u64) -> f64 {
        ms as f64 * self.patience
    }

    fn acted<'s>(&self, payments: &'s [Sample]) -> impl Iterator<Item = &'s Sample> {
        let (from, to) = (self.acted_ms.0 * 1_000, self.acted_ms.1 * 1_000);
        payments.iter().filter(move |sample| (from..to).contains(&sample.end_us))
    }

    /// The payments before the first stage, from there until all were home, and after that.
    pub fn thirds(&self) -> [Payments; 3] {
        let Some(payments) = self.payments else { return [Payments::default(); 3] };
        let (from, to) = (self.acted_ms.0 * 1_000, self.acted_ms.1 * 1_000);
        let before = payments.iter().filter(|sample| sample.end_us < from);
        let after = payments.iter().filter(|sample| sample.end_us >= to);
        [Payments::of(before), Payments::of(self.acted(payments)), Payments::of(after)]
    }

    /// The payments of every second.
    pub fn seconds(&self) -> Vec<Second> {
        let Some(payments) = self.payments else { return Vec::new() };
        let mut by_second: BTreeMap<u64, Vec<&Sample>> = BTreeMap::new();
        let last = payments.last().map_or(0, |sample| sample.end_us / 1_000_000);
        let first = payments.first().map_or(0, |sample| sample.end_us / 1_000_000);
        for second in first..=last {
            by_second.entry(second).or_default();
        }
        for sample in payments {
            by_second.entry(sample.end_us / 1_000_000).or_default().push(sample);
        }
        let one = |(second, all): (u64, Vec<&Sample>)| Second {
            at_ms: second * 1_000,
            payments: Payments::of(all),
        };
        by_second.into_iter().map(one).collect()
    }

    /// What became of each set.
    pub fn sets(&self) -> Vec<SetRecord> {
        let numbers: std::collections::BTreeSet<u32> =
            self.moments.iter().flat_map(|moment| moment.sets.keys().copied()).collect();
        numbers.into_iter().map(|set| self.set(set)).collect()
    }

    fn set(&self, set: u32) -> SetRecord {
        let seen: Vec<_> = self.moments.iter().filter_map(|m| Some((m.at_ms, m.sets.get(&set)?))).collect();
        // What was seen holds until the next look.
        let lasted = |index: usize| match seen.get(index + 1) {
            Some((next, _)) => next - seen[index].0,
            None => EVERY.as_millis() as u64,
        };
        let (mut unsafe_ms, mut leaderless_ms) = (0, 0);
        let mut course: Vec<(u64, String)> = Vec::new();
        for (index, (at_ms, moment)) in seen.iter().enumerate() {
            unsafe_ms += if moment.is_unsafe() { lasted(index) } else { 0 };
            leaderless_ms += if moment.leader.is_none() { lasted(index) } else { 0 };
            let leader = moment.leader.as_deref().unwrap_or("no leader");
            let text = format!("{leader}, home {}, {}", moment.home, moment.phase);
            if course.last().is_none_or(|(_, last)| *last != text) {
                course.push((*at_ms, text));
            }
        }
        let pause = self.payments.and_then(|payments| self.longest_pause(payments, set));
        SetRecord {
            set,
            pause_ms: pause.map(|(_, us)| us as f64 / 1e3),
            paused_at_ms: pause.map(|(at_us, _)| at_us / 1_000),
            unsafe_s: unsafe_ms as f64 / 1e3,
            leaderless_s: leaderless_ms as f64 / 1e3,
            course,
        }
    }

    /// The longest time from the first stage on in which no payment of the set succeeded: when it began, and how long it was.
    fn longest_pause(&self, payments: &[Sample], set: u32) -> Option<(u64, u64)> {
        longest_gap(payments, set, self.acted_ms.0 * 1_000..self.ended_ms * 1_000)
    }

    /// The parts, each with the longest pause of any set within it.
    pub fn spans(&self) -> Vec<Span> {
        let payments = self.payments.unwrap_or_default();
        let sets = payments.iter().map(|payment| payment.set).filter(|set| *set != ACROSS);
        let sets: std::collections::BTreeSet<u32> = sets.collect();
        let timed = |span: &Span| {
            let within = span.from_ms * 1_000..span.to_ms * 1_000;
            let gaps = sets.iter().filter_map(|set| longest_gap(payments, *set, within.clone()));
            let longest = gaps.map(|(_, us)| us as f64 / 1e3).reduce(f64::max);
            Span { pause_ms: longest, ..span.clone() }
        };
        self.spans.iter().map(timed).collect()
    }
}

/// The longest time within some in which no payment of the set succeeded: when it began, and how long it was. The ends of the window
/// count as successes. None if the set was never paid in at all.
fn longest_gap(payments: &[Sample], set: u32, within: std::ops::Range<u64>) -> Option<(u64, u64)> {
    payments.iter().find(|payment| payment.set == set)?;
    let ends = payments.iter().filter(|payment| payment.set == set && payment.class == Class::Done);
    let ends = ends.map(|payment| payment.end_us).filter(|end| within.contains(end));
    let (mut last, mut longest) = (within.start, (within.start, 0));
    for end in ends.chain([within.end]) {
        let gap = end.saturating_sub(last);
        if gap > longest.1 {
            longest = (last, gap);
        }
        last = end;
    }
    Some(longest)
}

/// The name of the span in which everything is brought home.
pub const HOME: &str = "home again";

/// The criteria about money.
const MONEY: [&str; 2] = ["what was acknowledged", "books of every replica"];

/// One criterion and what was found of it.
pub(super) fn judgement(
    name: &str,
    wanted: impl Into<String>,
    found: impl Into<String>,
    held: bool,
) -> Judgement {
    Judgement { name: name.to_owned(), wanted: wanted.into(), found: found.into(), held }
}

fn proof(proof: &Proof) -> Judgement {
    let found = match proof.wrong.first() {
        None => format!("{} accounts hold it", proof.accounts),
        Some(first) => format!("{} of {} accounts do not: {first}", proof.wrong.len(), proof.accounts),
    };
    judgement("what was acknowledged", "is there once, to the cent", found, proof.wrong.is_empty())
}

/// What came of it.
pub fn verdict(criteria: &[Judgement], stopped: bool) -> Verdict {
    // Money that is not where it was said to be is worse than a drill that was stopped.
    let lost = |one: &Judgement| !one.held && MONEY.contains(&one.name.as_str());
    if criteria.iter().any(lost) {
        return Verdict::Failed;
    }
    match (stopped, criteria.iter().all(|one| one.held)) {
        (true, _) => Verdict::Stopped,
        (false, true) => Verdict::Passed,
        (false, false) => Verdict::Failed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drill::moment::SetMoment;

    fn paid(at_ms: u64, set: u32, class: Class) -> Sample {
        Sample { start_us: at_ms * 1_000 - 500, end_us: at_ms * 1_000, set, class }
    }

    fn moment(at_ms: u64, leader: Option<&str>, phase: &str) -> Moment {
        let leader = leader.map(str::to_owned);
        let set = SetMoment { leader, home: "A".into(), phase: phase.into(), incarnation: 1 };
        Moment { at_ms, sets: [(1, set)].into(), ..Moment::default() }
    }

    fn home(failed: Option<&str>) -> Vec<Span> {
        vec![Span {
            name: HOME.into(),
            from_ms: 0,
            to_ms: 1,
            pause_ms: None,
            failed: failed.map(str::to_owned),
        }]
    }

    fn clean() -> Result<verify::Report, String> {
        Ok(verify::Report { clean: true, accounts: 2, transactions: 3, in_transit: 0, lines: Vec::new() })
    }

    struct World {
        criteria: Criteria,
        spans: Vec<Span>,
        moments: Vec<Moment>,
        payments: Vec<Sample>,
        proof: Proof,
        books: Result<verify::Report, String>,
        stopped: Option<Stopped>,
    }

    fn good() -> World {
        let every = |n: u64| paid(1_000 + n * 100, 1 + (n % 2) as u32, Class::Done);
        World {
            criteria: Criteria {
                failed_max: 0,
                pause_ms_max: 500,
                p99_ms_max: Some(10),
                unsafe_s_max: Some(2),
            },
            spans: home(None),
            moments: (1..=9).map(|s| moment(s * 1_000, Some("a1"), "SYNC")).collect(),
            payments: (0..90).map(every).collect(),
            proof: Proof { accounts: 2, wrong: Vec::new() },
            books: clean(),
            stopped: None,
        }
    }

    fn seen(world: &World) -> Seen<'_> {
        Seen {
            criteria: &world.criteria,
            patience: 1.0,
            spans: &world.spans,
            acted_ms: (2_000, 8_000),
            ended_ms: 9_900,
            stopped: world.stopped.as_ref(),
            moments: &world.moments,
            payments: Some(&world.payments),
            proof: Some(&world.proof),
            books: &world.books,
        }
    }

    fn failing(world: &World) -> Vec<String> {
        let seen = seen(world);
        let all = seen.criteria(&seen.sets());
        all.into_iter().filter(|one| !one.held).map(|one| one.name).collect()
    }

    #[test]
    fn a_good_drill_holds_in_everything() {
        let world = good();
        assert_eq!(failing(&world), Vec::<String>::new());
        let seen = seen(&world);
        assert_eq!(verdict(&seen.criteria(&seen.sets()), false), Verdict::Passed);
        let [before, acted, after] = seen.thirds();
        assert_eq!((before.ended, acted.ended, after.ended), (10, 60, 20));
        assert_eq!(seen.seconds().iter().map(|second| second.payments.ended).sum::<u64>(), 90);
    }

    /// Each thing that may go wrong turns exactly its own criterion.
    #[test]
    fn each_wrong_turns_its_own_criterion() {
        type Spoil = fn(&mut World);
        let cases: [(&str, Spoil); 8] = [
            ("payments that failed", |w| w.payments[40].class = Class::Unknown),
            ("longest pause of a set", |w| {
                w.payments.retain(|p| p.set == 2 || !(40..46).contains(&(p.end_us / 100_000)))
            }),
            ("p99 while it went on", |w| w.payments[40].start_us -= 20_000),
            ("time not SYNC", |w| {
                w.moments[3..6].iter_mut().for_each(|m| *m = moment(m.at_ms, Some("a1"), "DEGRADED"))
            }),
            ("in the end", |w| w.spans = home(Some("set 1 has no leader"))),
            ("what was acknowledged", |w| w.proof.wrong.push("x".into())),
            ("books of every replica", |w| w.books = Err("nobody answers".into())),
            ("stages", |w| w.stopped = Some(Stopped::Operator { how: "Ctrl-C".into() })),
        ];
        for (name, spoil) in cases {
            let mut world = good();
            spoil(&mut world);
            assert_eq!(failing(&world), [name]);
        }
    }

    #[test]
    fn a_set_that_never_pays_again_pauses_until_the_end() {
        let mut world = good();
        world.payments.retain(|payment| payment.set == 2 || payment.end_us < 3_000_000);
        let sets = seen(&world).sets();
        assert!(sets[0].pause_ms.unwrap() > 6_000.0, "{:?}", sets[0]);
        assert_eq!(failing(&world), ["longest pause of a set"]);
    }

    #[test]
    fn times_without_a_leader_and_the_course_of_a_set_are_told() {
        let mut world = good();
        world.moments[2] = moment(3_000, None, "SYNC");
        let set = &seen(&world).sets()[0];
        assert_eq!((set.leaderless_s, set.unsafe_s, set.course.len()), (1.0, 0.0, 3));
        assert_eq!(set.course[1], (3_000, "no leader, home A, SYNC".to_owned()));
    }

    #[test]
    fn patience_stretches_limits_of_time_and_nothing_else() {
        let mut world = good();
        world.payments[40].class = Class::NotApplied;
        world.criteria.pause_ms_max = 20;
        let seen = Seen { patience: 20.0, ..seen(&world) };
        let all = seen.criteria(&seen.sets());
        let failing: Vec<&str> = all.iter().filter(|one| !one.held).map(|one| one.name.as_str()).collect();
        assert_eq!(failing, ["payments that failed"]);
    }

    #[test]
    fn lost_money_is_a_failure_even_of_a_drill_that_was_stopped() {
        let mut world = good();
        world.stopped = Some(Stopped::Operator { how: "Ctrl-C".into() });
        let stopped = |world: &World| verdict(&seen(world).criteria(&seen(world).sets()), true);
        assert_eq!(stopped(&world), Verdict::Stopped);
        world.proof.wrong.push("x".into());
        assert_eq!(stopped(&world), Verdict::Failed);
    }

    #[test]
    fn a_payment_over_two_sets_is_no_sets_pause_but_may_fail() {
        let mut world = good();
        for number in [40, 41, 42, 43, 44, 45] {
            world.payments[number].set = ACROSS;
        }
        world.payments[43].class = Class::NotApplied;
        assert_eq!(failing(&world), ["payments that failed", "longest pause of a set"]);
        world.payments.extend((40..46).map(|n| paid(1_050 + n * 100, 1, Class::Done)));
        world.payments.sort_by_key(|payment| payment.end_us);
        assert_eq!(failing(&world), ["payments that failed"]);
    }

    #[test]
    fn each_part_has_its_own_pause() {
        let mut world = good();
        world.payments.retain(|p| !(40..46).contains(&(p.end_us / 100_000)));
        let part = |from_ms, to_ms| Span { from_ms, to_ms, ..home(None)[0].clone() };
        world.spans = vec![part(2_000, 3_000), part(3_000, 6_000)];
        let pauses: Vec<f64> = seen(&world).spans().iter().map(|span| span.pause_ms.unwrap()).collect();
        assert_eq!(pauses, [200.0, 800.0]);
        world.payments.clear();
        assert!(seen(&world).spans().iter().all(|span| span.pause_ms.is_none()));
    }

    #[test]
    fn no_payment_at_all_proves_nothing() {
        let mut world = good();
        world.payments.clear();
        assert_eq!(failing(&world), ["payments that failed", "longest pause of a set"]);
    }
}

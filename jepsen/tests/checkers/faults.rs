//! The checkers that know of faults: what a fault excuses, and what it forbids.

use twinset_jepsen::check::Verdict;
use twinset_jepsen::history::{Answer, Ask, FaultSpan, History, Level, Op, Phase};
use twinset_jepsen::nemesis::{Evidence, Fault, Link};

use crate::{booked, caught, find};

fn span(begin_ns: u64, end_ns: u64, acted: bool) -> FaultSpan {
    let evidence = Evidence { acted, detail: "seen".into() };
    let fault = Fault::Pause { victims: vec!["a1".into(), "a2".into()], for_ms: 1 };
    FaultSpan {
        fault,
        begin_ns,
        acts_ns: None,
        undone_ns: None,
        end_ns: Some(end_ns),
        evidence: Some(evidence),
    }
}

#[test]
fn a_fault_that_was_not_seen_to_act_makes_a_run_invalid() {
    caught("faults_act", Verdict::Invalid, |history| history.faults.push(span(1, 2, false)));
    caught("faults_act", Verdict::Valid, |history| history.faults.push(span(1, 2, true)));
    caught("faults_act", Verdict::Invalid, |history| {
        history.faults.push(FaultSpan { end_ns: None, evidence: None, ..span(1, 2, true) });
    });
    caught("faults_act", Verdict::Unknown, |history| history.meta.nemeses.push("pause".into()));
}

#[test]
fn a_long_run_that_did_not_meet_one_of_its_nemeses_is_unknown() {
    let run = |seconds: u64| {
        move |history: &mut History| {
            history.meta.nemeses = vec!["pause".into(), "kill".into()];
            history.faults.push(span(1, 2, true));
            let end = history.phase(Phase::Traffic).unwrap() + seconds * 1_000_000_000;
            history
                .phases
                .iter_mut()
                .filter(|(phase, _)| *phase == Phase::Resolve)
                .for_each(|(_, at)| *at = end);
        }
    };
    caught("faults_act", Verdict::Valid, run(60));
    caught("faults_act", Verdict::Unknown, run(300));
}

/// The made-up history has no faults of its own: one that comes after its traffic parts the sites from the first answer on.
fn sites_apart(history: &mut History, fault: Fault) {
    let from = history.ops[find(history, booked)].begin_ns - 1;
    let acts = FaultSpan { acts_ns: Some(from), ..span(from - 1, from + 10_000_000_000, true) };
    history.faults.push(FaultSpan { fault, ..acts });
}

fn cut(from: [&str; 2], to: [&str; 2], for_ms: u64) -> Fault {
    let pairs = from.iter().flat_map(|from| to.iter().map(|to| (*from, *to)));
    let link = |(from, to): (&str, &str)| Link { from: from.into(), to: to.into() };
    Fault::Partition { shape: "any".into(), cut: pairs.map(link).collect(), for_ms }
}

#[test]
fn an_answer_while_the_sites_are_apart_is_caught() {
    let one_way = || cut(["b1", "b2"], ["a1", "a2"], 1_000);
    caught("both_sites", Verdict::Invalid, |history| sites_apart(history, one_way()));
    let dark = || Fault::PowerLoss { victims: vec!["b2".into(), "b1".into()], down_ms: 1_000, seed: 1 };
    caught("both_sites", Verdict::Invalid, |history| sites_apart(history, dark()));
    // A read alone is enough.
    caught("both_sites", Verdict::Invalid, |history| {
        sites_apart(history, one_way());
        let from = history.faults[0].begin_ns;
        let writes = history.ops.iter_mut().filter(|op| op.ask.is_write() && op.begin_ns >= from);
        writes.for_each(|op| op.answer = Answer::NotApplied { code: "no_leader".into() });
    });
    // What is answered after they have met, or while one link is left, is no harm.
    caught("both_sites", Verdict::Valid, |history| {
        sites_apart(history, one_way());
        let to = history.faults[0].acts_ns.unwrap() + 1_000_000_000;
        history.ops.iter_mut().for_each(|op| op.end_ns = op.end_ns.map(|end| end.max(to)));
    });
    caught("both_sites", Verdict::Idle, |history| {
        let mut fault = one_way();
        if let Fault::Partition { cut, .. } = &mut fault {
            cut.pop();
        }
        sites_apart(history, fault);
    });
    // Everybody is silent, but for a stale read of what was asked while they were apart.
    let silent = |history: &mut History, stale: Option<u8>| {
        let at = find(history, |op| op.ask.read_level() == Some(Level::Stale) && op.answer.as_of().is_some());
        let mut read = history.ops[at].clone();
        sites_apart(history, one_way());
        let from = history.faults[0].acts_ns.unwrap();
        let to = from + 1_000_000_000;
        for op in history.ops.iter_mut().filter(|op| op.begin_ns > from && op.begin_ns < to) {
            op.end_ns = Some(to);
        }
        if let Some(router) = stale {
            (read.begin_ns, read.end_ns, read.router) = (to - 2, Some(to - 1), router);
            match &mut read.answer {
                Answer::Account { as_of, .. }
                | Answer::Page { as_of, .. }
                | Answer::Absent { as_of }
                | Answer::Transaction { as_of, .. } => as_of.place.index = u64::MAX >> 20,
                other => panic!("{other:?}"),
            }
            history.ops.push(read);
        }
    };
    caught("both_sites", Verdict::Valid, |history| silent(history, None));
    caught("both_sites", Verdict::Invalid, |history| silent(history, Some(0)));
    // The site that is heard no more hears what the other one has.
    caught("both_sites", Verdict::Valid, |history| silent(history, Some(1)));
    caught("both_sites", Verdict::Unknown, |history| {
        sites_apart(history, cut(["a1", "a2"], ["b1", "b2"], 1_000));
        history.faults[0].acts_ns = None;
    });
}

#[test]
fn a_rejection_that_is_found_while_the_sites_are_apart_is_caught() {
    for level in [Level::Linearizable, Level::Stale] {
        let silent_but_for_it = |shown: bool| {
            move |history: &mut History| {
                let rejected =
                    |op: &Op| matches!((&op.ask, &op.answer), (Ask::Transfer(_), Answer::Rejected { .. }));
                sites_apart(history, cut(["b1", "b2"], ["a1", "a2"], 1_000));
                let from = history.faults[0].acts_ns.unwrap();
                let to = from + 1_000_000_000;
                let mut look = history.ops[find(history, rejected)].clone();
                let Ask::Transfer(transfer) = &look.ask else { unreachable!() };
                look.ask = Ask::ReadRequest { scope: transfer.legs[0].0, id: transfer.id.clone(), level };
                let inside = history.ops.iter_mut().filter(|op| op.begin_ns > from && op.begin_ns < to);
                inside.for_each(|op| op.end_ns = Some(to));
                (look.begin_ns, look.end_ns, look.router) = (to - 2, Some(to - u64::from(shown)), 0);
                history.ops.push(look);
            }
        };
        caught("both_sites", Verdict::Invalid, silent_but_for_it(true));
        caught("both_sites", Verdict::Valid, silent_but_for_it(false));
    }
}

const MINUTE: u64 = 60_000_000_000;

/// Half of the history happens a minute later; from when on.
fn late(history: &mut History) -> u64 {
    let at = history.ops.len() / 2;
    let from = history.ops[at].begin_ns;
    let later = |time: &mut u64| *time += if *time >= from { MINUTE } else { 0 };
    for op in &mut history.ops[at..] {
        op.begin_ns += MINUTE;
        op.end_ns = op.end_ns.map(|end| end + MINUTE);
    }
    history.phases.iter_mut().for_each(|(_, time)| later(time));
    from
}

#[test]
fn a_set_that_only_reads_or_only_writes_does_not_serve() {
    let linearizable =
        |op: &Op| op.ask.read_level() == Some(Level::Linearizable) && op.answer.as_of().is_some();
    let go_on = |goes_on: Vec<fn(&Op) -> bool>| {
        move |history: &mut History| {
            let from = late(history);
            for set in [1, 2] {
                for goes_on in &goes_on {
                    let of_set = |op: &&Op| {
                        let place = op.answer.as_of().map(|as_of| as_of.place);
                        let place = place.or(op.answer.decided().map(|(place, _)| place));
                        goes_on(op) && place.is_some_and(|place| place.set == set)
                    };
                    let like = history.ops.iter().find(of_set).unwrap().clone();
                    for second in 1..60 {
                        let begin_ns = from + second * 1_000_000_000;
                        history.ops.push(Op { begin_ns, end_ns: Some(begin_ns + 1), ..like.clone() });
                    }
                }
            }
        }
    };
    caught("liveness", Verdict::Invalid, go_on(vec![linearizable]));
    // Not one read of a set was ever answered.
    caught("liveness", Verdict::Invalid, |history| {
        go_on(vec![linearizable, booked])(history);
        let reads = history.ops.iter_mut().filter(|op| {
            op.ask.read_level() == Some(Level::Linearizable)
                && op.answer.as_of().is_some_and(|as_of| as_of.place.set == 1)
        });
        reads.for_each(|op| op.answer = Answer::Unknown { why: "silent".into() });
    });
    caught("liveness", Verdict::Invalid, go_on(vec![booked]));
    caught("liveness", Verdict::Valid, go_on(vec![linearizable, booked]));
}

#[test]
fn slow_answers_and_open_ends_after_the_last_fault_are_caught() {
    const SECOND: u64 = 1_000_000_000;
    // Of every `one_of` calls one is spoiled.
    let healed = |one_of: usize, spoil: fn(&mut Op)| {
        move |history: &mut History| {
            // The clock of the made-up history begins too shortly before its traffic.
            for op in &mut history.ops {
                op.begin_ns += SECOND;
                op.end_ns = op.end_ns.map(|end| end + SECOND);
            }
            history.phases.iter_mut().for_each(|(_, at)| *at += SECOND);
            let from = history.phase(Phase::Traffic).unwrap();
            history.phases.push((Phase::Healed, from - SECOND));
            let calls = history.ops.iter_mut().filter(|op| op.begin_ns >= from);
            calls.step_by(one_of).for_each(spoil);
        }
    };
    let slow = |op: &mut Op| op.end_ns = Some(op.begin_ns + 3 * SECOND);
    caught("liveness", Verdict::Invalid, healed(50, slow));
    caught("liveness", Verdict::Valid, healed(200, slow));
    let open = |op: &mut Op| op.answer = Answer::Unknown { why: "silent".into() };
    caught("liveness", Verdict::Invalid, healed(7, open));
    caught("liveness", Verdict::Valid, healed(9, open));
}

#[test]
fn a_gap_is_caught_unless_a_fault_excuses_it() {
    caught("liveness", Verdict::Invalid, |history| {
        late(history);
    });
    caught("liveness", Verdict::Valid, |history| {
        let from = late(history);
        history.faults.push(span(from, from + MINUTE - 5_000_000_000, true));
    });
    // One process that stands still is no excuse: others take over.
    caught("liveness", Verdict::Invalid, |history| {
        let from = late(history);
        for fault in [Fault::RollingRestart, Fault::Pause { victims: vec!["a1".into()], for_ms: 1 }] {
            history.faults.push(FaultSpan { fault, ..span(from, from + MINUTE - 5_000_000_000, true) });
        }
    });
    // Silent through many faults: each is an excuse for itself, not for the calm after it.
    caught("liveness", Verdict::Invalid, |history| {
        let from = late(history);
        let every = MINUTE / 10;
        history
            .faults
            .extend((0..10).map(|n| span(from + n * every, from + n * every + every * 3 / 4, true)));
    });
    // Nobody was served after the last fault.
    caught("liveness", Verdict::Invalid, |history| {
        let last = history.phase(Phase::Resolve).unwrap();
        for (phase, time) in &mut history.phases {
            *time += if *time >= last { MINUTE } else { 0 };
            assert!(*phase != Phase::Healed);
        }
        history.ops.retain(|op| op.begin_ns < last);
        history.phases.push((Phase::Healed, last + 10_000_000));
        history.faults.push(span(1, last + MINUTE, true));
    });
    caught("liveness", Verdict::Unknown, |history| history.meta.nemeses.push("pause".into()));
}

/// Asked so long after the traffic began, by a clock that says so, and as of its beginning.
fn old_stale_read(history: &mut History, after_ns: u64) {
    let at = find(history, |op| {
        op.ask.read_level() == Some(Level::Stale) && matches!(op.answer, Answer::Account { .. })
    });
    let begin_ns = history.phase(Phase::Traffic).unwrap() + after_ns;
    (history.ops[at].begin_ns, history.ops[at].end_ns) = (begin_ns, Some(begin_ns + 1));
    let Answer::Account { as_of, .. } = &mut history.ops[at].answer else { unreachable!() };
    as_of.age_ms = 0;
}

#[test]
fn a_wrong_clock_excuses_an_old_stale_read_of_a_young_process() {
    const SECOND: u64 = 1_000_000_000;
    let after = |fault: Fault| {
        move |history: &mut History| {
            let step = Fault::ClockStep { victim: "a1".into(), by_ms: 3_600_000, for_ms: 1 };
            history.faults.push(FaultSpan { fault: step, ..span(1, 2, true) });
            let at = history.phase(Phase::Traffic).unwrap() + 100 * SECOND;
            history.faults.push(FaultSpan { fault, ..span(at, at + SECOND, true) });
            old_stale_read(history, 100 * SECOND);
        }
    };
    let victims = || vec!["a1".to_owned()];
    caught("stale_reads", Verdict::Invalid, after(Fault::Pause { victims: victims(), for_ms: 1 }));
    caught(
        "stale_reads",
        Verdict::Valid,
        after(Fault::Kill { victims: victims(), down_ms: 1, again_ms: None }),
    );
}

#[test]
fn a_wrong_clock_hides_the_way_of_a_word_while_it_is_wrong_and_no_more_than_that() {
    const SECOND: u64 = 1_000_000_000;
    // (the clock is wrong by so much; from and until; the read is so old; is it excused)
    for (by_ms, from, to, old, verdict) in [
        (0, 0, 0, 3 * SECOND, Verdict::Invalid),
        (4_000, 3 * SECOND, 4 * SECOND, 3 * SECOND, Verdict::Valid),
        (-4_000, 3 * SECOND, 4 * SECOND, 3 * SECOND, Verdict::Valid),
        (1_000, 3 * SECOND, 4 * SECOND, 3 * SECOND, Verdict::Invalid),
        (3_600_000, 30 * SECOND, 31 * SECOND, 30 * SECOND, Verdict::Invalid),
        (4_000, 1, SECOND, 3 * SECOND, Verdict::Invalid),
    ] {
        caught("stale_reads", verdict, |history| {
            old_stale_read(history, old);
            let start = history.phase(Phase::Traffic).unwrap();
            let fault = Fault::ClockStep { victim: "a1".into(), by_ms, for_ms: 1 };
            history.faults.push(FaultSpan { fault, ..span(start + from, start + to, true) });
        });
    }
}

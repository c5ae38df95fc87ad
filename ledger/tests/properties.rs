//! The laws of the ledger, over random entries: money is conserved (checked at every step by the support books), limits
//! hold, the log alone gives the state, a retry changes nothing, short and general forms agree (also the books'), and
//! an independent model says the same. A failing case is written to `tests/properties.regressions`; then
//! `cargo test -p twinset-ledger --test properties` tries it first.

#[path = "support/entries.rs"]
mod entries;
#[path = "support/generate.rs"]
mod generate;
mod model;
mod support;
#[path = "support/tally.rs"]
mod tally;
#[path = "support/twin.rs"]
mod twin;

use model::{Answer, Model, Verdict};
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;
use support::{Books, SET};
use tally::{Seen, assert_seen};
use twin::Twin;
use twinset_ledger::apply::dry_run;
use twinset_ledger::codec::encode_outcome;
use twinset_ledger::memory::MemoryState;
use twinset_ledger::outcome::Held;
use twinset_ledger::restriction::{RestrictionEnd, RestrictionEnded};
use twinset_ledger::sweep::{RunEnd, run_of};
use twinset_ledger::{Command, Effect, LegKind, Outcome, Position, Rejection, Step};

/// Some of what must be met is rare.
const HISTORIES: u32 = 1_000;

fn config() -> ProptestConfig {
    let regressions = FileFailurePersistence::Direct("tests/properties.regressions");
    let ProptestConfig { cases, .. } = ProptestConfig::default();
    ProptestConfig {
        cases: cases.max(HISTORIES),
        failure_persistence: Some(Box::new(regressions)),
        ..ProptestConfig::default()
    }
}

/// One entry of random commands.
type Entries = Vec<(u64, Vec<Command>)>;

/// Applies everything; gives each command with its outcome.
fn run(books: &mut Books, entries: &Entries) -> Vec<(Command, Outcome)> {
    let mut all = Vec::new();
    for (time, commands) in entries {
        all.extend(commands.iter().cloned().zip(books.apply(*time, commands)));
    }
    all
}

/// In one set, over several, or mostly about sweeps.
fn either() -> impl Strategy<Value = Entries> {
    prop_oneof![2 => entries::entries(), 2 => entries::entries_across(), 1 => entries::entries_sweeping()]
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn the_model_says_the_same(entries in either()) {
        let mut twin = Twin::of(SET);
        for (time, commands) in &entries {
            twin.apply(*time, commands);
        }
        twin.compare_readings();
    }

    /// The consistency suite knows positions, and no times.
    #[test]
    fn the_model_needs_no_times(mut entries in either()) {
        entries::timeless(&mut entries);
        let mut books = Books::new();
        let mut model = Model::new(SET);
        for (time, commands) in &entries {
            let index = books.next_index();
            let outcomes = books.apply(*time, commands);
            for ((command, outcome), offset) in commands.iter().zip(&outcomes).zip(0u16..) {
                let position = Position::new(index, offset);
                let expected = model.apply(position, command);
                if let (Some(id), Answer::Booked(_), false) =
                    (command.request_id(), &expected.answer, matches!(command, Command::Step { .. }))
                {
                    let scope = model.scope(position, command);
                    prop_assert_eq!(model.first(&scope, id), Some(expected.position), "{:?}", command);
                }
                prop_assert_eq!(Verdict::of(outcome, command), expected, "{:?}", command);
            }
        }
    }

    /// And leaves nothing behind.
    #[test]
    fn a_dry_run_says_what_comes(entries in either()) {
        let mut books = Books::new();
        for (time, commands) in &entries {
            for command in commands {
                let one = std::slice::from_ref(command);
                let before = books.short.clone();
                let said = dry_run(&books.short, books.incarnation, *time, one).expect("no fault").remove(0);
                prop_assert!(books.short == before);
                let came = books.apply(*time, one).remove(0);
                prop_assert_eq!((said.time_unix_ns, said.replayed), (came.time_unix_ns, came.replayed));
                // What names itself cannot know where it will stand.
                match (&said.result, &came.result) {
                    (Ok(Effect::Held(said)), Ok(Effect::Held(came))) => {
                        prop_assert_eq!(&Held { hold: came.hold, ..said.clone() }, came);
                    }
                    (Err(Rejection::StepOutOfPlace { .. }), Err(Rejection::StepOutOfPlace { .. })) => {}
                    (said, came) => prop_assert_eq!(said, came),
                }
            }
        }
    }

    #[test]
    fn limits_are_never_crossed(entries in either()) {
        let mut books = Books::new();
        for (time, commands) in &entries {
            for command in commands {
                let before: Vec<_> = books.short.accounts().cloned().collect();
                books.apply(*time, std::slice::from_ref(command));
                for (before, after) in before.iter().zip(books.short.accounts()) {
                    let fell = after.available() < before.available();
                    let crossed = after.limit.is_some_and(|limit| after.available() < limit);
                    prop_assert!(!(fell && crossed), "{:?}: {:?}", command, after);
                    let moved = after.version != before.version;
                    prop_assert!(!(moved && before.closed), "{:?}: {:?}", command, after);
                }
            }
        }
    }

    /// A withdrawal leaves the floor of what is withdrawable, and nothing is released before its time without a command.
    #[test]
    fn what_is_restricted_is_not_withdrawn(entries in either()) {
        let mut books = Books::new();
        for (time, commands) in &entries {
            for command in commands {
                let before: Vec<_> = books.short.accounts().cloned().collect();
                let outcome = books.apply(*time, std::slice::from_ref(command)).remove(0);
                let Command::Transaction(transaction) = command else { continue };
                if outcome.result.is_err() || outcome.replayed {
                    continue;
                }
                for leg in transaction.legs.iter().filter(|leg| leg.kind == LegKind::Withdrawal) {
                    let before = before.iter().find(|before| before.id == leg.account).expect("it was booked");
                    let after = books.short.account_by_id(&leg.account).expect("it was booked");
                    let left = after.limit.is_none_or(|limit| after.withdrawable() >= limit);
                    prop_assert!(after.posted() >= before.posted() || left, "{:?}: {:?}", command, after);
                }
            }
        }
        for one in books.short.restrictions().iter() {
            if let Some(RestrictionEnded { how: RestrictionEnd::Expired, time_unix_ns, .. }) = one.ended {
                prop_assert!(one.until_ns.is_some_and(|until| until <= time_unix_ns), "{:?}", one);
            }
        }
    }

    #[test]
    fn the_log_alone_gives_the_state_and_the_bytes(entries in either()) {
        let mut books = Books::new();
        let first: Vec<Outcome> = run(&mut books, &entries).into_iter().map(|(_, outcome)| outcome).collect();
        let mut again = MemoryState::new(SET);
        let mut bytes = (Vec::new(), Vec::new());
        for (index, entry) in (1..).zip(&books.entries) {
            let outcomes = again.apply(index, entry).expect("it applied before");
            outcomes.iter().for_each(|outcome| encode_outcome(outcome, &mut bytes.1));
        }
        first.iter().for_each(|outcome| encode_outcome(outcome, &mut bytes.0));
        prop_assert!(bytes.0 == bytes.1);
        prop_assert!(again == books.short);
    }

    #[test]
    fn time_and_positions_rise(entries in either()) {
        let mut books = Books::new();
        let decided = run(&mut books, &entries);
        let first: Vec<_> = decided.iter().map(|(_, outcome)| outcome).filter(|o| !o.replayed).collect();
        prop_assert!(first.is_sorted_by(|a, b| a.time_unix_ns < b.time_unix_ns && a.position < b.position));
    }

    #[test]
    fn a_retry_changes_nothing(entries in either()) {
        let mut books = Books::new();
        let decided = run(&mut books, &entries);
        let accounts: Vec<_> = books.short.accounts().cloned().collect();
        for (command, first) in decided.iter().filter(|(command, _)| command.request_id().is_some()) {
            match (command, &first.result) {
                // What has come of it by now; or what was not remembered is decided anew.
                (_, Ok(Effect::Begun) | Err(Rejection::SetUnavailable { .. } | Rejection::StepOutOfPlace { .. } | Rejection::LegOnGroup { .. }))
                | (Command::Step { step: Step::Prepare { .. }, .. }, _) => continue,
                _ => {}
            }
            let again = books.apply(0, std::slice::from_ref(command)).remove(0);
            match &first.result {
                Err(Rejection::RequestMismatch { .. }) => {
                    prop_assert!(again.result.is_err(), "a refused id succeeds: {:?}", command);
                }
                _ => prop_assert_eq!(again, Outcome { replayed: true, ..first.clone() }, "{:?}", command),
            }
        }
        prop_assert!(books.short.accounts().eq(&accounts));
    }
}

/// How often each thing is seen that `what` tells of the commands and outcomes of a history.
fn counted(decided: &[(Command, Outcome)], what: impl Fn(&Command, &Outcome) -> Option<String>) -> Seen {
    let mut seen = Seen::new();
    for what in decided.iter().filter_map(|(command, outcome)| what(command, outcome)) {
        *seen.entry(what).or_default() += 1;
    }
    seen
}

#[test]
fn the_generator_takes_attempts_from_their_beginning_to_their_end() {
    let what = |command: &Command, outcome: &Outcome| {
        Some(match (command, &outcome.result) {
            (Command::Step { step, .. }, _) if outcome.replayed => format!("{} again", step.key()),
            (Command::Step { step, .. }, Err(rejection)) => {
                format!("{} {}", step.key(), rejection.code())
            }
            (Command::Step { step, .. }, Ok(Effect::Posted(_))) => format!("{} booked", step.key()),
            (Command::Step { .. }, Ok(Effect::Prepared(_))) => "prepared".to_owned(),
            (Command::Step { .. }, Ok(Effect::Aborted)) => "aborted".to_owned(),
            (Command::Step { .. }, Ok(Effect::Settled(_))) => "settled".to_owned(),
            (Command::Reversal(_), Ok(Effect::Begun)) if !outcome.replayed => "reversal begun".to_owned(),
            (Command::Begin(_), Err(rejection)) => format!("begin {}", rejection.code()),
            (Command::Begin(_), Ok(effect)) => {
                let again = if outcome.replayed { " again" } else { "" };
                let settled = if *effect == Effect::Begun { "begun" } else { "begin settled" };
                format!("{settled}{again}")
            }
            _ => return None,
        })
    };
    let names = [
        "begun",
        "begun again",
        "begin settled again",
        "begin limit_exceeded",
        "begin request_mismatch",
        "begin step_out_of_place",
        "reversal begun",
        "prepared",
        "~vote limit_exceeded",
        "~vote step_out_of_place",
        "~vote again",
        "~decision booked",
        "~decision account_closed",
        "~decision amount_overflow",
        "~decision currency_conflict",
        "~decision unbalanced",
        "~decision set_unavailable",
        "~decision step_out_of_place",
        "~decision again",
        "aborted",
        "~end booked",
        "~end step_out_of_place",
        "~end again",
        "settled",
        "~result step_out_of_place",
        "~result again",
    ];
    let count = |entries: &Entries| counted(&run(&mut Books::new(), entries), what);
    assert_seen(600, entries::entries_across(), count, &names.map(|what| (what, 3)));
}

#[test]
fn the_generator_takes_sweeps_from_their_orders_to_the_ends_of_their_runs() {
    let what = |command: &Command, outcome: &Outcome| {
        let is_run = command.request_id().is_some_and(|id| run_of(id).is_some());
        let what = match (command, &outcome.result) {
            (Command::SetSweep(_), Ok(_)) => "order",
            (Command::RemoveSweep { .. }, Ok(_)) => "end of an order",
            (Command::EndRun { .. }, Ok(Effect::Ran(RunEnd::Nothing))) => "nothing to move",
            (Command::EndRun { .. }, Ok(Effect::Ran(RunEnd::Refused(_)))) => "refusal written down",
            (Command::EndRun { .. }, Ok(Effect::Ran(RunEnd::Booked))) => "booking written down",
            (Command::EndRun { .. }, Err(_)) => "end out of place",
            _ if !is_run => return None,
            _ if outcome.replayed => "run again",
            (_, Ok(Effect::Begun)) => "run begun",
            (_, Ok(_)) => "run booked",
            (_, Err(Rejection::StepOutOfPlace { .. })) => "run out of place",
            (_, Err(_)) => "run refused",
        };
        Some(what.to_owned())
    };
    assert_seen(
        1_000,
        entries::entries_sweeping(),
        |entries| counted(&run(&mut Books::new(), entries), what),
        &[
            ("order", 300),
            ("end of an order", 20),
            ("run booked", 50),
            ("run begun", 5),
            ("run refused", 5),
            ("run again", 5),
            ("run out of place", 50),
            ("nothing to move", 10),
            ("refusal written down", 1),
            ("booking written down", 1),
            ("end out of place", 20),
        ],
    );
}

#[test]
fn the_generator_reaches_the_short_form_and_most_answers() {
    let code = |_: &Command, outcome: &Outcome| {
        let code = match &outcome.result {
            Err(rejection) => rejection.code(),
            Ok(_) if outcome.replayed => "replayed",
            Ok(_) => "done",
        };
        Some(code.to_owned())
    };
    let codes = [
        "done",
        "replayed",
        "request_mismatch",
        "account_not_found",
        "account_exists",
        "subject_unknown",
        "currency_unknown",
        "currency_conflict",
        "currency_mismatch",
        "excess_scale",
        "amount_overflow",
        "unbalanced",
        "account_closed",
        "account_frozen",
        "limit_exceeded",
        "account_not_empty",
        "transaction_not_found",
        "not_reversible",
        "reversal_exceeds",
        "partial_reversal_of_many_legs",
        "step_out_of_place",
        "hold_not_found",
        "hold_ended",
        "hold_exceeded",
        "capture_without_outflow",
        "expiry_too_early",
        "precondition_failed",
        "batch_refused",
        "restricted_outflow",
        "withdrawable_exceeded",
        "restriction_exceeded",
        "sweep_not_found",
    ];
    let mut short_records = 0;
    let count = |entries: &Entries| {
        let mut books = Books::new();
        let seen = counted(&run(&mut books, entries), code);
        short_records += books.short_records();
        seen
    };
    assert_seen(800, entries::entries(), count, &codes.map(|code| (code, 1)));
    assert!(short_records > 1000, "{short_records}");
}

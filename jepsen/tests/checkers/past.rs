//! Holds, atomic batches, statements and events: a perfect history broken in one place each.

use twinset_jepsen::check::{Case, Verdict, all};
use twinset_jepsen::history::holds::{FoundHold, Held, HoldChange, HoldState};
use twinset_jepsen::history::{Answer, Ask, History, Op, Phase};

use super::{caught, find, good};

/// Of every list of an account in the end the holds for which `wanted` gives true.
fn final_holds(history: &mut History, wanted: impl Fn(&FoundHold) -> bool) -> Vec<&mut FoundHold> {
    let from = history.phase(Phase::Final).unwrap();
    let lists = history.ops.iter_mut().filter(|op| op.begin_ns >= from);
    let holds = lists.filter_map(|op| match &mut op.answer {
        Answer::Holds { found, .. } => Some(found),
        _ => None,
    });
    let found: Vec<&mut FoundHold> = holds.flatten().filter(|hold| wanted(hold)).collect();
    assert!(!found.is_empty(), "the made-up history has no such hold");
    found
}

fn held(history: &mut History, wanted: impl Fn(&Ask, &Held) -> bool) -> (usize, &mut Held) {
    let at = find(
        history,
        |op| matches!(&op.answer, Answer::Held { held, replayed: false, .. } if wanted(&op.ask, held)),
    );
    match &mut history.ops[at].answer {
        Answer::Held { held, .. } => (at, held),
        _ => unreachable!(),
    }
}

#[test]
fn the_made_up_history_has_holds_in_every_state() {
    let mut history = good();
    for state in [HoldState::Captured, HoldState::Released, HoldState::Expired] {
        final_holds(&mut history, |hold| hold.held.state == state);
    }
    let is = |change: &str| {
        let mut history = good();
        let word = |hold: &FoundHold| format!("{:?}", hold.journal).contains(change);
        final_holds(&mut history, word).len()
    };
    assert!(is("Captured") > 5 && is("Expired") > 5 && is("Extended") > 0 && is("Released") > 0);
    let refused = |code: &str| {
        let told = |op: &&Op| matches!(&op.answer, Answer::Rejected { code: told, .. } if told == code);
        good().ops.iter().filter(told).count()
    };
    for code in ["hold_ended", "hold_exceeded", "expiry_too_early"] {
        assert!(refused(code) > 0, "nobody was told {code}");
    }
    let torn = |answers: &[Answer]| {
        answers
            .iter()
            .any(|answer| matches!(answer, Answer::Rejected { code, .. } if code == "batch_refused"))
    };
    assert!(good().ops.iter().any(|op| matches!(&op.answer, Answer::Batch(answers) if torn(answers))));
}

#[test]
fn wrong_figures_of_a_hold_are_caught() {
    // They add up, and are not what the model has.
    caught("answers", Verdict::Invalid, |history| {
        let (_, held) =
            held(history, |ask, held| matches!(ask, Ask::ReleaseHold { .. }) && held.released > 0);
        held.released -= 1;
        held.left += 1;
    });
    caught("holds", Verdict::Invalid, |history| held(history, |_, held| held.left > 0).1.left += 1);
    caught("linearizable_reads", Verdict::Invalid, |history| {
        let at = find(history, |op| {
            matches!(&op.answer, Answer::Hold { found, .. } if found.held.left > 0)
                && matches!(&op.ask, Ask::ReadHold { level, .. } if *level == twinset_jepsen::history::Level::Linearizable)
        });
        let Answer::Hold { found, .. } = &mut history.ops[at].answer else { unreachable!() };
        found.held.expires_ns = Some(u64::MAX / 2);
    });
}

#[test]
fn a_hold_that_is_lost_or_made_up_is_caught() {
    caught("holds", Verdict::Invalid, |history| {
        let from = history.phase(Phase::Final).unwrap();
        let lists = history.ops.iter_mut().filter(|op| op.begin_ns >= from);
        let mut lists = lists.filter_map(|op| match &mut op.answer {
            Answer::Holds { found, .. } if !found.is_empty() => Some(found),
            _ => None,
        });
        lists.next().unwrap().remove(0);
    });
    caught("holds", Verdict::Invalid, |history| {
        let hold = final_holds(history, |_| true).remove(0);
        hold.held.hold.0.incarnation = 7;
    });
    caught("holds", Verdict::Invalid, |history| {
        let captured = |hold: &FoundHold| {
            hold.journal.iter().any(|line| matches!(line.change, HoldChange::Captured { .. }))
        };
        final_holds(history, captured).remove(0).journal.clear();
    });
}

#[test]
fn a_hold_that_was_not_put_away_is_caught() {
    caught("put_away", Verdict::Invalid, |history| {
        let hold = final_holds(history, |hold| hold.held.state == HoldState::Expired).remove(0);
        hold.held.left += 1;
        hold.held.amount += 1;
    });
    // Nobody can have expired before its time.
    caught("answers", Verdict::Invalid, |history| {
        let hold = final_holds(history, |hold| hold.held.state == HoldState::Expired).remove(0);
        let line = hold.journal.iter_mut().find(|line| matches!(line.change, HoldChange::Expired { .. }));
        let line = line.unwrap();
        line.place.index = hold.placed.index + 1;
        line.place.time_ns = hold.placed.time_ns + 1;
    });
}

#[test]
fn a_capture_after_the_end_is_caught_without_the_model() {
    caught("holds", Verdict::Invalid, |history| {
        // Its answer is moved behind the end.
        let end =
            final_holds(history, |hold| hold.held.state == HoldState::Expired && hold.journal.len() > 1);
        let end = end.into_iter().next().unwrap();
        end.held.expires_ns = Some(end.placed.time_ns);
        let hold = end.held.hold;
        for op in &mut history.ops {
            if let (Ask::PlaceHold { expires_ns, .. }, Answer::Held { held, .. }) = (&mut op.ask, &op.answer)
                && held.hold == hold
            {
                *expires_ns = Some(held.expires_ns.unwrap_or(0).min(1));
            }
        }
    });
}

#[test]
fn half_an_atomic_batch_is_caught() {
    let is_own = |history: &History, ask: &Ask| {
        let Ask::Batch { items, .. } = ask else { return false };
        let has = |other: &Ask, id: &str| match other {
            Ask::Batch { items, .. } => items.iter().any(|item| item.id == id),
            Ask::Transfer(transfer) => transfer.id == id,
            _ => false,
        };
        let elsewhere = |id: &str| history.ops.iter().any(|op| op.ask != *ask && has(&op.ask, id));
        let mut ids: Vec<&str> = items.iter().map(|item| item.id.as_str()).collect();
        ids.dedup();
        ids.len() == items.len() && !ids.into_iter().any(elsewhere)
    };
    let atomic = |history: &History| {
        find(history, |op| {
            let Answer::Batch(answers) = &op.answer else { return false };
            let is_new = |answer: &Answer| matches!(answer, Answer::Booked { replayed: false, .. });
            matches!(op.ask, Ask::Batch { atomic: true, .. })
                && answers.iter().all(is_new)
                && is_own(history, &op.ask)
        })
    };
    // Told.
    caught("together", Verdict::Invalid, |history| {
        let at = atomic(history);
        let Answer::Batch(answers) = &mut history.ops[at].answer else { unreachable!() };
        let (place, _) = answers[1].decided().unwrap();
        answers[1] = Answer::Rejected { code: "limit_exceeded".into(), place, replayed: false };
    });
    // In two entries.
    caught("together", Verdict::Invalid, |history| {
        let at = atomic(history);
        let Answer::Batch(answers) = &mut history.ops[at].answer else { unreachable!() };
        if let Answer::Booked { place, .. } = &mut answers[1] {
            place.index += 1;
        }
    });
    // Booked, and nobody was told.
    caught("together", Verdict::Invalid, |history| {
        let at = atomic(history);
        let Ask::Batch { items, .. } = &history.ops[at].ask else { unreachable!() };
        let id = items[0].id.clone();
        let from = history.phase(Phase::Final).unwrap();
        for op in history.ops.iter_mut().filter(|op| op.begin_ns >= from) {
            if let Answer::Page { found, .. } = &mut op.answer {
                found.retain(|one| one.id != id);
            }
        }
    });
    // A refusal without a reason.
    caught("limits", Verdict::Invalid, |history| {
        let at = find(history, |op| {
            let Answer::Batch(answers) = &op.answer else { return false };
            let is = |answer: &Answer, word: &str| matches!(answer, Answer::Rejected { code, replayed: false, .. } if code == word);
            ["limit_exceeded", "batch_refused"]
                .iter()
                .all(|word| answers.iter().any(|answer| is(answer, word)))
        });
        let Answer::Batch(answers) = &mut history.ops[at].answer else { unreachable!() };
        for answer in answers {
            if let Answer::Rejected { code, .. } = answer {
                *code = "batch_refused".into();
            }
        }
    });
}

#[test]
fn a_statement_that_skips_repeats_or_adds_up_wrongly_is_caught() {
    let page = |history: &History| {
        find(history, |op| {
            matches!((&op.ask, &op.answer), (Ask::Statement { cursor, .. }, Answer::Statement { lines, next, .. })
                if !cursor.is_empty() && lines.len() > 3 && !next.is_empty())
        })
    };
    type Spoil = fn(&mut Vec<twinset_jepsen::history::holds::Line>);
    let spoils: [Spoil; 5] = [
        |lines| lines.truncate(lines.len() - 1),
        |lines| *lines = lines[1..].to_vec(),
        |lines| *lines = [&lines[..1], &lines[2..]].concat(),
        |lines| lines.insert(1, lines[0]),
        |lines| lines[2].posted += 1,
    ];
    for spoil in spoils {
        caught("statements", Verdict::Invalid, |history| {
            let at = page(history);
            let Answer::Statement { lines, .. } = &mut history.ops[at].answer else { unreachable!() };
            spoil(lines);
        });
    }
    caught("statements", Verdict::Invalid, |history| {
        let at =
            find(history, |op| matches!(op.answer, Answer::Statement { ref next, .. } if next.is_empty()));
        let Answer::Statement { ends, .. } = &mut history.ops[at].answer else { unreachable!() };
        ends.1 += 1;
    });
    caught("statements", Verdict::Invalid, |history| {
        let at = find(history, |op| matches!(op.answer, Answer::Balance { .. }));
        let Answer::Balance { posted, .. } = &mut history.ops[at].answer else { unreachable!() };
        *posted += 1;
    });
}

#[test]
fn an_event_that_is_lost_repeated_or_made_up_is_caught() {
    let page = |history: &History| {
        find(history, |op| {
            matches!((&op.ask, &op.answer), (Ask::Events { set, after, .. }, Answer::Events { events, .. })
                if set.is_some()
                    && !after.is_empty()
                    && events.len() > 3
                    && events.iter().any(|told| told.kind == "booked"))
        })
    };
    type Spoil = fn(&mut Vec<twinset_jepsen::history::holds::Told>);
    let spoils: [Spoil; 7] = [
        // Lost where the stream was resumed, and in the middle; the one behind it does not know of it either.
        |events| *events = events[1..].to_vec(),
        |events| {
            let lost = events.remove(1);
            events[1].previous = lost.previous;
        },
        |events| events.insert(1, events[0].clone()),
        |events| events[1].previous = None,
        |events| events[1].place.time_ns += 1,
        |events| events[1].event.0.incarnation += 1,
        |events| events[1].kind = "account_closed".into(),
    ];
    for spoil in spoils {
        caught("events", Verdict::Invalid, |history| {
            let at = page(history);
            let Answer::Events { events, .. } = &mut history.ops[at].answer else { unreachable!() };
            spoil(events);
        });
    }
    // The last of those that there are.
    caught("events", Verdict::Invalid, |history| {
        let last =
            |op: &Op| matches!(&op.answer, Answer::Events { events, more: false, .. } if events.len() > 1);
        let at = history.ops.iter().rposition(last).unwrap();
        let Answer::Events { events, .. } = &mut history.ops[at].answer else { unreachable!() };
        events.pop();
    });
    // What was told, and is not there in the end.
    caught("events", Verdict::Invalid, |history| {
        let at = page(history);
        let Answer::Events { events, .. } = &history.ops[at].answer else { unreachable!() };
        let name = events.iter().find(|told| told.kind == "booked").unwrap().event;
        let from = history.phase(Phase::Final).unwrap();
        for op in &mut history.ops {
            match &mut op.answer {
                Answer::Booked { transaction, .. } if *transaction == name => {
                    op.answer = Answer::Unknown { why: "silent".into() };
                }
                Answer::Page { found, .. } if op.begin_ns >= from => {
                    found.retain(|one| one.transaction != name)
                }
                _ => {}
            }
        }
    });
}

#[test]
fn a_history_without_any_of_it_shows_nothing() {
    let kinds = twinset_jepsen::workload::named(&["transfers".to_owned()]).unwrap();
    let history = twinset_jepsen::synthetic::of(&kinds, 300, 5);
    for finding in all(&Case::of(&history)) {
        if ["holds", "put_away", "together", "statements", "events"].contains(&finding.checker) {
            assert_eq!(finding.verdict, Verdict::Idle, "{finding:?}");
        }
    }
}

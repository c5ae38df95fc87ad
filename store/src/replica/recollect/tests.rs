//! What is told of a lost end, and what readers see of what was booked for it.

use twinset_ledger::account::Side;
use twinset_ledger::buffer::Credit;
use twinset_ledger::label::Label;

use super::super::events::EventPlace;
use super::super::reads::Verdict;
use super::super::sample::{Fed, announce, decide_and_settle, open, pay, pay_far};
use super::super::statement::{StatementFilter, StatementQuery};
use super::*;

const OWN: u32 = 1;
const OTHER: u32 = 2;
/// The part that the other set says it has booked of what is settled here.
const THERE: u64 = 9;

fn of_the_other(index: u64) -> TransactionId {
    TransactionId { set: OTHER, incarnation: 1, position: Position::new(index, 0) }
}

fn of_own(index: u64, offset: u16) -> TransactionId {
    TransactionId { set: OWN, incarnation: 1, position: Position::new(index, offset) }
}

fn step(attempt: TransactionId, step: Step) -> Command {
    Command::Step { attempt, step }
}

fn prepare(attempt: TransactionId, cents: i64) -> Command {
    let legs = vec![Leg::new("a", Side::Credit, Decimal::new(cents, 2))];
    let label = Label::default();
    step(attempt, Step::Prepare { legs, accounting_date: 20_000, reverses: None, label })
}

fn euros(debits: i128, credits: i128) -> Sum {
    Sum { currency: "EUR".to_owned(), scale: 2, debits, credits }
}

/// All statements, asked for from one place after the other.
fn told(fed: &Fed, question: &Question) -> Vec<Command> {
    let (mut all, mut from) = (Vec::new(), Some(Position(0)));
    while let Some(at) = from {
        let part = fed.replica.recollect(question, at).unwrap().value;
        all.extend(part.statements);
        from = part.next;
    }
    all
}

fn asks(ends: &[u64]) -> Question {
    Question { of: OTHER, ends: ends.to_vec(), ..Question::default() }
}

#[test]
fn of_attempts_that_the_other_set_has_lost_it_is_told_what_became_of_them() {
    let fed = Fed::new();
    fed.feed(&[open("a")]);
    let (kept, asked, booked) = (of_the_other(3), of_the_other(20), of_the_other(21));
    fed.feed(&[prepare(kept, 1), prepare(asked, 2), prepare(booked, 3)]);
    fed.feed(&[step(kept, Step::Commit), step(booked, Step::Commit)]);
    let vote = Vote { set: OWN, said: Ok(vec![euros(0, 3)]) };
    let of_booked = [
        step(booked, Step::Lost { votes: Some(vec![vote.clone()]) }),
        step(booked, Step::Decide(Ballot::Booked { set: OWN, votes: vec![vote] })),
    ];
    let prepared = Vote { set: OWN, said: Ok(vec![euros(0, 2)]) };
    let mut expected = vec![
        step(asked, Step::Lost { votes: None }),
        step(asked, Step::Decide(Ballot::Votes(vec![prepared]))),
    ];
    expected.extend(of_booked.clone());
    assert_eq!(told(&fed, &asks(&[10])), expected);
    // Nothing is lost: it is told of what it asks about.
    assert_eq!(told(&fed, &asks(&[])), []);
    let asking = Question { asking: [booked].into(), ..asks(&[]) };
    assert_eq!(told(&fed, &asking), of_booked);
    assert_eq!(fed.replica.stands(asked).unwrap(), (None, true), "it is prepared");
    assert_eq!(fed.replica.stands(booked).unwrap(), (None, true));
    assert_eq!(fed.replica.stands(of_the_other(99)).unwrap(), (None, false));
}

#[test]
fn its_part_of_what_is_decided_here_is_told_unless_it_surely_has_it() {
    let fed = Fed::new();
    fed.feed(&[open("a")]);
    let (open, settled) = (fed.feed(&[pay_far("one", "a", 2)]), fed.feed(&[pay_far("two", "a", 3)]));
    fed.feed(&[pay_far("asked", "a", 4)]);
    fed.feed(&decide_and_settle(open, Side::Credit, 2)[..1]);
    fed.feed(&decide_and_settle(settled, Side::Credit, 3));
    let part = |index: u64, cents: i64| {
        let Command::Begin(begin) = pay_far("any", "a", cents) else { unreachable!() };
        let legs = begin.legs_of(OTHER).cloned().collect();
        let (accounting_date, label) = (19_675, Label::default());
        let sums = Some(vec![euros(0, cents.into())]);
        let restore = Restore { legs, sums, accounting_date, reverses: None, label };
        step(of_own(index, 0), Step::Restore(restore))
    };
    assert_eq!(told(&fed, &asks(&[THERE - 1])), [part(open, 2), part(settled, 3)]);
    assert_eq!(told(&fed, &asks(&[THERE])), [part(open, 2)], "what is settled stands before its end");
    assert_eq!(fed.replica.stands(of_own(open, 0)).unwrap(), (Some(true), true));
    assert_eq!(fed.replica.stands(of_own(settled, 0)).unwrap(), (Some(true), false));
    let question = fed.replica.question_to(OTHER, vec![4]);
    let asking: Vec<TransactionId> = question.asking.into_iter().collect();
    assert_eq!(asking, [of_own(settled + 1, 0)], "what is decided is not asked about");
}

#[test]
fn of_streams_it_is_told_how_far_they_reach_and_what_was_booked() {
    let fed = Fed::new();
    fed.feed(&[open("a"), announce("far")]);
    let sent = fed.feed(&[pay_far("p-1", "a", 3), pay_far("p-2", "a", 4), pay_far("p-3", "a", 5)]);
    let acknowledge = BufferStep::Acknowledge { to: OTHER, through: 2 };
    fed.feed(&[Command::BufferStep { by: of_own(sent, 1), step: acknowledge }]);
    let credit = |number, amount| {
        let credit = Credit {
            number,
            leg: 1,
            account: "a".to_owned(),
            side: Side::Credit,
            amount,
            currency: "EUR".to_owned(),
            scale: 2,
            accounting_date: 20_000,
            label: Label::default(),
        };
        Command::BufferStep { by: of_the_other(30 + number), step: BufferStep::Credit(credit) }
    };
    // The second comes twice, and counts once.
    fed.feed(&[credit(1, 8), credit(2, 9), credit(2, 9)]);
    let stream = |by: TransactionId, to, through, sums| Command::BufferStep {
        by,
        step: BufferStep::Lost { to, through, sums },
    };
    let name = |set, position| TransactionId { set, incarnation: 1, position };
    let parcel = |offset| ParcelName { position: Position::new(sent, offset), leg: 1 };
    let again = |parcels: &[ParcelName]| Command::BufferStep {
        by: name(OWN, ACKNOWLEDGED),
        step: BufferStep::SendAgain { to: OTHER, parcels: parcels.to_vec() },
    };
    let reaches = [
        stream(name(OTHER, ACKNOWLEDGED), OWN, 2, vec![euros(0, 17)]),
        stream(name(OWN, ACKNOWLEDGED), OTHER, 2, vec![euros(0, 7)]),
        stream(name(OWN, GIVEN), OTHER, 3, vec![euros(0, 12)]),
    ];
    for (taken, lost) in [(0, vec![parcel(0), parcel(1)]), (1, vec![parcel(1)]), (2, vec![])] {
        let question = Question { taken: BTreeMap::from([(1, taken)]), ..asks(&[]) };
        let mut expected = reaches.to_vec();
        expected.extend((!lost.is_empty()).then(|| again(&lost)));
        assert_eq!(told(&fed, &question), expected, "it has taken in {taken}");
    }
    assert_eq!(fed.replica.question_to(OTHER, Vec::new()).taken, BTreeMap::from([(1, 2)]));
    assert_eq!(
        told(&fed, &Question { of: 7, ..Question::default() }),
        [],
        "it has nothing to do with others"
    );
}

#[test]
fn what_is_booked_for_a_lost_attempt_has_an_event_and_a_line_and_says_nothing_of_others() {
    let fed = Fed::new();
    fed.feed(&[open("a"), open("b")]);
    let vote = |credits| vec![Vote { set: OTHER, said: Ok(vec![euros(0, credits)]) }];
    let lost = |index, votes| step(of_own(index, 0), Step::Lost { votes: Some(votes) });
    // The one would stand beyond the log, and something else stands where the other one did.
    let beyond = fed.feed_in(2, &[lost(1_000, vote(7))]);
    let other = fed.feed_in(2, &[pay("of-another", "a", "b", 1)]);
    let replaced = fed.feed_in(2, &[lost(other, vote(5))]);
    for index in [beyond, replaced] {
        let page = fed.replica.events(EventPlace::default(), 100, u64::MAX).unwrap().value.unwrap();
        let event = page.events.iter().find(|event| event.id.position.index() == index).unwrap();
        assert_eq!((&event.begun, &event.hold_changes[..]), (&None, &[][..]));
    }
    let read = |id: TransactionId| fed.replica.verdict(id).unwrap().value;
    assert_eq!(read(of_own(1_000, 0)), Some(Verdict::Booked));
    assert_eq!(read(of_own(other, 0)), Some(Verdict::Booked));
    assert_eq!(read(of_own(2_000, 0)), None);
    let (filter, at) = (StatementFilter::default(), None);
    let query = StatementQuery { times: (None, None), filter, newest_first: false, at, limit: 10 };
    let lines = fed.replica.statement("@recovery-1:EUR", &query).unwrap();
    let lines = lines.value.unwrap().lines;
    let said: Vec<(Option<TransactionId>, &str)> =
        lines.iter().map(|line| (line.part_of, line.request_id.as_str())).collect();
    assert_eq!(said, [(Some(of_own(1_000, 0)), ""), (Some(of_own(other, 0)), "")]);
}

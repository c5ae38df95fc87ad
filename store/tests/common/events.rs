//! Events against the model: all of a history, in pages of any size, up to the end and up to any index before it.

use twinset_ledger::apply::scope_account;
use twinset_ledger::attempt::{Begin, Step, VOTE, scope_across};
use twinset_ledger::buffer::BufferStep;
use twinset_ledger::command::{Command, LegKind};
use twinset_ledger::hold::HoldEvent;
use twinset_ledger::id::{Position, TransactionId};
use twinset_ledger::memory::MemoryState;
use twinset_ledger::outcome::Effect;
use twinset_ledger::state::State;
use twinset_ledger::sweep::RunEnd;
use twinset_store::{About, Event, EventPlace, LedgerReplica, Said};

use super::Dice;
use super::statements::said_of;

/// Compares all events with those of the model's history.
pub(super) fn compare(replica: &LedgerReplica, model: &MemoryState, dice: &mut Dice) {
    let expected = events(model);
    let end = replica.events(EventPlace::default(), 1, u64::MAX).unwrap().index;
    let upto = if dice.roll(3) == 0 { dice.roll(end + 1) } else { u64::MAX };
    let (mut found, mut after) = (Vec::new(), EventPlace::default());
    loop {
        let limit = 1 + dice.roll(400) as usize;
        let read = replica.events(after, limit, upto).unwrap();
        assert_eq!(read.index, end.min(upto));
        let page = read.value.unwrap();
        assert!(page.events.len() <= limit);
        found.extend(page.events);
        // Who has seen an event can go on behind it, wherever the page has ended.
        after = page.next;
        if dice.roll(2) == 0 {
            after.looked = None;
        }
        if !page.more {
            break;
        }
        assert_ne!(page.next, EventPlace::default(), "a page gets on");
    }
    let asked = expected.iter().take_while(|event| event.id.position.index() <= upto);
    let asked: Vec<&Event> = asked.collect();
    for (found, expected) in found.iter().zip(&asked) {
        assert_eq!(&found, expected);
    }
    assert_eq!(found.len(), asked.len(), "events up to {upto}");
    mistakes(replica, &expected, end, dice);
}

/// What is no event is not taken for one, and what the log has not come to yet is not missed.
fn mistakes(replica: &LedgerReplica, expected: &[Event], end: u64, dice: &mut Dice) {
    let Some(event) = expected.get(dice.roll(expected.len().max(1) as u64) as usize) else { return };
    let after = |last| EventPlace { last: Some(last), looked: None };
    let page = |place| replica.events(place, 1, u64::MAX).unwrap().value;
    let other = TransactionId { incarnation: event.id.incarnation + 1, ..event.id };
    assert_eq!(page(after(other)), None, "another life of the same position");
    assert_eq!(page(after(TransactionId { set: event.id.set + 1, ..event.id })), None);
    let position = Position(dice.roll((end + 1) << 16));
    let known = expected.iter().any(|event| event.id.position == position);
    let incarnation = super::incarnation(position.index());
    assert_eq!(page(after(TransactionId { position, incarnation, ..event.id })).is_some(), known);
    let ahead = after(TransactionId { position: Position::new(end + 1, 0), ..event.id });
    let page = page(ahead).unwrap();
    assert_eq!((page.events.len(), page.next, page.more), (0, ahead, false));
}

/// All events of a history.
fn events(model: &MemoryState) -> Vec<Event> {
    let mut events: Vec<Event> = Vec::new();
    for (position, command, outcome) in model.history() {
        let Ok(effect) = &outcome.result else { continue };
        let counts = matches!(
            effect,
            Effect::Posted(_)
                | Effect::Buffered { .. }
                | Effect::Suspended { .. }
                | Effect::Account
                | Effect::Held(_)
                | Effect::Restricted(_)
                | Effect::Marked
                | Effect::Ran(RunEnd::Refused(_))
                | Effect::Defined { changed: true }
        );
        if outcome.replayed || !counts {
            continue;
        }
        let begun = match command {
            Command::Step { step: Step::Lost { .. }, .. } => None,
            Command::Step { attempt, .. } if attempt.set == model.set() => {
                Some(model.original(attempt.position).unwrap().unwrap().0)
            }
            _ => None,
        };
        events.push(Event {
            id: TransactionId { set: model.set(), incarnation: outcome.incarnation, position },
            previous: events.last().map(|event| event.id),
            time_unix_ns: outcome.time_unix_ns,
            scope_account: scope(model, command),
            said_of_step: said_of_step(model, command),
            currencies: currencies(model, command, effect),
            kinds: kinds(model, command, begun.as_ref()),
            about: about(model, command, effect),
            hold_changes: hold_changes(model, begun.as_ref().unwrap_or(command), effect, position),
            begun,
            command: command.clone(),
            effect: effect.clone(),
        });
    }
    events
}

fn scope(model: &MemoryState, command: &Command) -> Option<String> {
    match command {
        Command::Transaction(transaction) => scope_account(model, transaction).map(str::to_owned),
        Command::Begin(begin) => Some(scope_across(&begin.transaction).to_owned()),
        Command::Step { attempt, .. } => Some(attempt.attempt_scope()),
        Command::ResolveSuspense { item, .. } => Some(item.attempt_scope()),
        Command::Reversal(reversal) => {
            scope(model, &model.original(reversal.transaction.position).unwrap().unwrap().0)
        }
        other => other.accounts().next().map(str::to_owned),
    }
}

fn said_of_step(model: &MemoryState, command: &Command) -> Option<Said> {
    let (attempt, step) = match command {
        Command::Step { attempt, step } => (attempt, step),
        Command::BufferStep { step: BufferStep::Credit(credit), .. } => {
            return Some(Said { day: credit.accounting_date, label: credit.label.clone() });
        }
        _ => return None,
    };
    let (day, label) = said_of(model, *attempt, step);
    Some(Said { day, label })
}

fn currencies(model: &MemoryState, command: &Command, effect: &Effect) -> Vec<String> {
    let (Effect::Posted(legs)
    | Effect::Buffered { booked: legs, .. }
    | Effect::Suspended { booked: legs, .. }) = effect
    else {
        return Vec::new();
    };
    let accounts: Vec<&str> = match command {
        Command::Transaction(transaction) => transaction.legs.iter().map(|leg| &*leg.account).collect(),
        _ => legs.iter().map(|leg| &*leg.account).collect(),
    };
    accounts.into_iter().map(|id| model.account_by_id(id).unwrap().currency.clone()).collect()
}

fn kinds(model: &MemoryState, command: &Command, begun: Option<&Command>) -> Vec<LegKind> {
    let legs = match (command, begun) {
        (_, Some(Command::Begin(begin))) => begin.legs_of(model.set()).cloned().collect(),
        (Command::Step { attempt, step: Step::Commit }, _) => {
            let vote = model.request(&attempt.attempt_scope(), VOTE, Position(u64::MAX)).unwrap().unwrap();
            match model.original(vote).unwrap().unwrap().0 {
                Command::Step { step: Step::Prepare { legs, .. }, .. } => legs,
                other => panic!("{other:?} is no preparation"),
            }
        }
        _ => Vec::new(),
    };
    legs.iter().map(|leg| leg.kind).collect()
}

fn about(model: &MemoryState, command: &Command, effect: &Effect) -> Option<About> {
    let id = match (effect, command) {
        (Effect::Held(held), _) => {
            let no = model.holds().get(held.hold.position).unwrap().account;
            model.account(no).id.clone()
        }
        (_, Command::ExpireRestriction { account, .. } | Command::EndRun { account, .. }) => account.clone(),
        (Effect::Account, Command::BufferStep { step: BufferStep::Drained { account, .. }, .. }) => {
            account.clone()
        }
        (Effect::Account | Effect::Restricted(_), command) => command.accounts().next().unwrap().to_owned(),
        _ => return None,
    };
    let account = model.account_by_id(&id).unwrap();
    let (currency, normal_side) = (account.currency.clone(), account.normal_side);
    Some(About { account: id, currency, normal_side })
}

fn hold_changes(
    model: &MemoryState,
    command: &Command,
    effect: &Effect,
    position: Position,
) -> Vec<HoldEvent> {
    let hold = match (effect, command) {
        (Effect::Held(held), _) => held.hold,
        (_, Command::Transaction(transaction) | Command::Begin(Begin { transaction, .. })) => {
            let Some(capture) = transaction.capture else { return Vec::new() };
            capture.hold
        }
        _ => return Vec::new(),
    };
    let journal = &model.holds().get(hold.position).unwrap().journal;
    journal.iter().filter(|event| event.at == position).copied().collect()
}

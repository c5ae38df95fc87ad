//! What is counted of a history, to see that the generator reaches it.

use twinset_ledger::check_back::confirmation_of;
use twinset_ledger::hold::{Hold, HoldChange};
use twinset_ledger::{Begin, Command, Effect, Outcome, Rejection, Step, Transaction};

/// A command and what came of it, in few words.
pub fn outcome(command: &Command, outcome: &Outcome) -> String {
    match &outcome.result {
        Err(Rejection::RequestMismatch { field, .. }) => format!("mismatch {field}"),
        Err(rejection) => format!("{} {}", kind(command), rejection.code()),
        Ok(_) if outcome.replayed => format!("{} again", kind(command)),
        Ok(Effect::Begun) => format!("{} begun", kind(command)),
        Ok(_) => format!("{} done", kind(command)),
    }
}

/// What has happened to a hold in an entry that is not seen by the answers.
pub fn turns(old: Option<&Hold>, new: &Hold) -> Vec<String> {
    let mut turns = Vec::new();
    let had_ended = old.is_some_and(|old| old.ended.is_some());
    if let Some(how) = new.ended.filter(|_| !had_ended) {
        let in_hand = if new.capturing > 0 { " with parts in hand" } else { "" };
        turns.push(format!("ended {how:?}{in_hand}"));
    }
    if old.is_some_and(|old| old.capturing > new.capturing) && new.ended.is_none() {
        turns.push("not in hand any more".to_owned());
    }
    for line in &new.journal[old.map_or(0, |old| old.journal.len())..] {
        match line.change {
            HoldChange::Captured { .. } if had_ended => turns.push("captured after the end".to_owned()),
            HoldChange::Released { .. } if had_ended => turns.push("let go after the end".to_owned()),
            HoldChange::Captured { .. } if new.expires_ns.is_some_and(|end| end <= line.time_unix_ns) => {
                turns.push("captured past the expiry".to_owned());
            }
            HoldChange::CheckedBack { came, .. } => turns.push(format!("tried: {}", came.name())),
            _ => {}
        }
    }
    turns
}

fn is_confirmation(transaction: &Transaction) -> bool {
    confirmation_of(&transaction.request_id).is_some()
}

fn kind(command: &Command) -> &'static str {
    match command {
        Command::PlaceHold(_) => "place",
        Command::ReleaseHold { .. } => "release",
        Command::ExtendHold { .. } => "extend",
        Command::ExpireHold { .. } => "expire",
        Command::CheckedBack(_) => "try",
        Command::Transaction(transaction) if is_confirmation(transaction) => "confirm",
        Command::Begin(Begin { transaction, .. }) if is_confirmation(transaction) => "begin confirm",
        Command::Transaction(Transaction { capture: Some(_), .. }) => "capture",
        Command::Transaction(_) => "transaction",
        Command::Begin(Begin { transaction: Transaction { capture: Some(_), .. }, .. }) => "begin capture",
        Command::Begin(_) => "begin",
        Command::Reversal(_) => "reversal",
        Command::Step { step, .. } => match step {
            Step::Prepare { .. } => "prepare",
            Step::Decide(_) => "decide",
            Step::Lost { .. } => "lost",
            Step::Restore(_) => "restore",
            Step::Commit => "commit",
            Step::Abort => "abort",
            Step::Settle { .. } => "settle",
        },
        _ => "other",
    }
}

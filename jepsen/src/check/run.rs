//! Whether a run means anything: its faults acted, its replicas agree, its history is whole, its processes said nothing that
//! nobody expects. Pure.

use std::collections::BTreeSet;

use super::witness::asked;
use super::{Case, Found};
use crate::history::holdings::{ABSENT, ACCOUNT, HOLD, REJECTED, RESTRICTION, Taken};
use crate::history::{Answer, Ask, History, Phase};
use crate::play::nemeses;

/// What `verify` said of the replicas in the end, and whether each of them holds what clients read.
pub fn replicas(case: &Case<'_>) -> Found {
    let Case { history, witness, .. } = case;
    let mut found = Found { checked: history.verify.len() as u64, ..Found::default() };
    if history.verify.is_empty() {
        found.missing(|| "the replicas were not compared".into());
    }
    for line in history.verify.iter().filter(|line| !line.clean) {
        found.wrong(|| format!("{}: {}", line.subject, line.detail));
    }
    let last = case.last_accounts();
    for set in &history.meta.sets {
        let nodes = history.meta.replicas.get(set).map(Vec::as_slice).unwrap_or_default();
        if nodes.is_empty() {
            found.missing(|| format!("nobody noted who holds set {set}"));
        }
        let Some(listed) = witness.listed.get(set) else {
            found.missing(|| format!("there is no final list of set {set} to compare its replicas with"));
            continue;
        };
        let accounts = last.iter().filter(|(account, _)| history.set_of(**account) == Some(*set));
        let unread: Vec<u32> =
            accounts.clone().filter(|(_, answer)| answer.is_none()).map(|(account, _)| *account).collect();
        for account in &unread {
            found.missing(|| format!("{} was not read in the end", history.accounts[*account as usize]));
        }
        let mut read = Taken::of(*set, "clients");
        listed.iter().for_each(|one| read.transaction(one));
        for (account, answer) in accounts {
            if let Some(Answer::Account { figures, .. }) = answer {
                read.account(*account, figures);
            }
        }
        read_requests(history, *set, &mut read);
        let read = read.whole();
        let held: Vec<_> = history.holdings.iter().filter(|held| held.set == *set).collect();
        for node in nodes {
            found.checked += 1;
            let own = held.iter().find(|held| held.node == *node);
            match own.map(|own| own.difference(&read)) {
                None => found.missing(|| format!("{node} was not read for what it holds of set {set}")),
                Some(Some(place)) if unread.is_empty() => {
                    found.wrong(|| format!("{node} and what clients read of set {set} differ: {place}"));
                }
                // What was not read may be the difference.
                Some(_) => {}
            }
        }
        for pair in held.windows(2).filter(|pair| pair[0].rest != pair[1].rest) {
            let (a, b) = (&pair[0].node, &pair[1].node);
            found.wrong(|| format!("{a} and {b} differ in subjects, currencies or the like of set {set}"));
        }
    }
    found
}

/// What the final look-ups say became of request ids of a set.
fn read_requests(history: &History, set: u32, read: &mut Taken) {
    let from = history.phase(Phase::Final).unwrap_or(u64::MAX);
    for op in history.ops.iter().filter(|op| op.begin_ns >= from) {
        let Ask::ReadRequest { scope, id, .. } = &op.ask else { continue };
        if history.set_of(*scope) != Some(set) {
            continue;
        }
        match &op.answer {
            Answer::Transaction { found, .. } => {
                read.request(*scope, id, &found.transaction.0.to_string());
            }
            Answer::Account { .. } => read.request(*scope, id, ACCOUNT),
            Answer::Hold { .. } => read.request(*scope, id, HOLD),
            Answer::Restriction { .. } => read.request(*scope, id, RESTRICTION),
            Answer::Rejected { .. } => read.request(*scope, id, REJECTED),
            Answer::Absent { .. } => read.request(*scope, id, ABSENT),
            _ => {}
        }
    }
}

/// A run that is longer than this has time for each of its nemeses.
const TIME_FOR_ALL_NS: u64 = 300_000_000_000;

/// Each fault was seen to act, and was undone; a long run has met each of its nemeses.
pub fn faults(case: &Case<'_>) -> Found {
    let mut found = Found { checked: case.history.faults.len() as u64, ..Found::default() };
    if case.history.faults.is_empty() && !case.history.meta.nemeses.is_empty() {
        found.missing(|| "no fault was done".into());
    }
    let traffic = case.history.phase(Phase::Traffic).zip(case.history.phase(Phase::Resolve));
    if traffic.is_some_and(|(from, to)| to.saturating_sub(from) >= TIME_FOR_ALL_NS) {
        let met: BTreeSet<&str> = case.history.faults.iter().map(|span| span.fault.nemesis()).collect();
        // A script of faults is named by its file.
        let known = |name: &&String| nemeses::ALL.iter().any(|nemesis| nemesis.name == **name);
        for name in case.history.meta.nemeses.iter().filter(known).filter(|name| !met.contains(name.as_str()))
        {
            found.missing(|| format!("{name} was asked for, and no such fault was done"));
        }
    }
    for span in &case.history.faults {
        match &span.evidence {
            Some(evidence) if evidence.acted && span.end_ns.is_some() => {}
            Some(evidence) => {
                found.wrong(|| format!("{:?} was not seen to act: {}", span.fault, evidence.detail))
            }
            None => found.wrong(|| format!("{:?} was never undone", span.fault)),
        }
    }
    found
}

/// Three of ten writes are sent again; of fewer than this it may be others.
const WRITES_LEAST: usize = 1_000;

/// The history is whole, processes keep to their rules, nothing unexpected was logged, and something was booked.
pub fn harness(case: &Case<'_>) -> Found {
    let history = case.history;
    let mut found = Found { checked: history.ops.len() as u64, ..Found::default() };
    history.malformed().into_iter().for_each(|words| found.wrong(|| words));
    history.notes.iter().for_each(|note| found.wrong(|| note.clone()));
    for (number, op) in history.ops.iter().enumerate() {
        if matches!(op.answer, Answer::NotApplied { .. }) && !op.answer.will_pass() {
            found.wrong(|| format!("operation {number} asked for nonsense: {:?}: {:?}", op.ask, op.answer));
        }
    }
    if history.cut {
        found.missing(|| "the history ends in the middle of a line".into());
    }
    if history.phase(Phase::Done).is_none() {
        found.missing(|| "the run did not come to its end".into());
    }
    let traffic =
        history.phase(Phase::Traffic).unwrap_or(0)..history.phase(Phase::Resolve).unwrap_or(u64::MAX);
    let written = || history.ops.iter().filter(|op| op.ask.is_write() && traffic.contains(&op.begin_ns));
    let (writes, again) = (written().count(), written().filter(|op| op.retry.is_some()).count());
    if writes >= WRITES_LEAST && again * 10 < writes * 3 {
        found.missing(|| {
            format!("only {again} of {writes} writes were sent again: \"exactly once\" was hardly tried")
        });
    }
    if !asked(history).any(|call| matches!(call.answer, Answer::Booked { .. })) {
        found.missing(|| "nothing was booked: the traffic proves nothing".into());
    }
    found
}

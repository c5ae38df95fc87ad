//! Answers fit their questions: of the kind that was asked for, about what was asked, and from the set that owns the
//! accounts. The other checkers judge an answer within the set that it names; this one judges the name. Pure.

use super::across::coordinator;
use super::witness::{Body, Call, calls};
use super::{Case, Found};
use crate::api::UNREADABLE;
use crate::history::{Answer, Ask, History, Op, run_of};

/// Every write and every read that has a definite answer.
pub fn check(case: &Case<'_>) -> Found {
    let history = case.history;
    let mut found = Found::default();
    for call in calls(history).filter(|call| call.answer.decided().is_some()) {
        found.checked += 1;
        if let Err(words) = of_write(history, &call) {
            found.wrong(|| format!("operation {}: {words}: {:?}: {:?}", call.at.op, call.body, call.answer));
        }
    }
    for (number, op) in history.ops.iter().enumerate() {
        if let Answer::Unknown { why } = &op.answer
            && why.starts_with(UNREADABLE)
        {
            found.wrong(|| format!("operation {number}: {why}: {:?}", op.ask));
        }
        if op.ask.is_write() || op.answer.is_open() || matches!(op.answer, Answer::NotApplied { .. }) {
            continue;
        }
        found.checked += 1;
        if let Err(words) = of_read(history, op) {
            found.wrong(|| format!("operation {number}: {words}: {op:?}"));
        }
    }
    found
}

fn of_write(history: &History, call: &Call<'_>) -> Result<(), String> {
    let owners: Vec<Option<u32>> = match call.body {
        Body::Transfer(transfer) => {
            transfer.legs.iter().map(|(account, _)| history.set_of(*account)).collect()
        }
        Body::Other(
            Ask::Open { account, .. }
            | Ask::SetLimit { account, .. }
            | Ask::Freeze { account, .. }
            | Ask::Close { account, .. }
            | Ask::PlaceHold { account, .. }
            | Ask::ReleaseHold { account, .. }
            | Ask::ExtendHold { account, .. }
            | Ask::ReleaseRestriction { account, .. }
            | Ask::SetMode { account, .. }
            | Ask::SetSweep { account, .. }
            | Ask::RemoveSweep { account, .. },
        ) => vec![history.set_of(*account)],
        Body::Other(Ask::ResolveSuspense { item, .. }) => vec![Some(item.0.set)],
        Body::Other(Ask::Reverse { transaction, .. }) => vec![Some(transaction.0.set)],
        Body::Other(_) => Vec::new(),
    };
    let (place, _) = call.answer.decided().ok_or("it was not decided")?;
    let coordinator = match call.body {
        Body::Transfer(transfer) => coordinator(history, transfer),
        Body::Other(_) => None,
    };
    let alone = |owner: &Option<u32>| *owner == Some(place.set);
    if !coordinator.map_or_else(|| owners.iter().all(alone), |set| set == place.set) {
        return Err(format!("set {} answered for accounts of {owners:?}", place.set));
    }
    let books = matches!(
        call.body,
        Body::Transfer(_) | Body::Other(Ask::Reverse { .. } | Ask::ResolveSuspense { .. })
    );
    let changes_hold = matches!(
        call.body,
        Body::Other(Ask::PlaceHold { .. } | Ask::ReleaseHold { .. } | Ask::ExtendHold { .. })
    );
    let releases = matches!(call.body, Body::Other(Ask::ReleaseRestriction { .. }));
    let brief =
        matches!(call.op.ask, Ask::Batch { with_postings: false, .. }) || run_of(call.body.id()).is_some();
    match call.answer {
        Answer::Booked { balances, .. } if books && balances.is_empty() == brief => Ok(()),
        Answer::Booked { .. } if books => {
            Err("the balances are missing, or nobody asked for them".to_owned())
        }
        Answer::Released { .. } if releases => Ok(()),
        Answer::Done { .. } if !books && !changes_hold && !releases => Ok(()),
        Answer::Held { .. } if changes_hold => Ok(()),
        Answer::Rejected { .. } => Ok(()),
        _ => Err("that is no answer to it".to_owned()),
    }
}

/// The set that has to answer a read.
pub(super) fn owner_of_read(history: &History, ask: &Ask) -> Option<u32> {
    match ask {
        Ask::ReadAccount { account, .. }
        | Ask::ReadRequest { scope: account, .. }
        | Ask::ReadHold { account, .. }
        | Ask::ListHolds { account, .. }
        | Ask::ReadRestriction { account, .. }
        | Ask::ListRestrictions { account, .. }
        | Ask::Statement { account, .. }
        | Ask::ReadSweep { account, .. }
        | Ask::Balance { account, .. } => history.set_of(*account),
        Ask::ReadTransaction { transaction, .. } => Some(transaction.0.set),
        Ask::DryRun(transfer) => history.set_of(transfer.legs.first()?.0),
        Ask::List { set, .. } => Some(*set),
        Ask::ListSuspense { set, .. } | Ask::ListSweeps { set, .. } => Some(*set),
        Ask::Events { set, .. } => *set,
        _ => None,
    }
}

fn of_read(history: &History, op: &Op) -> Result<(), String> {
    let owner = owner_of_read(history, &op.ask);
    let fits = matches!(
        (&op.ask, &op.answer),
        (Ask::ReadAccount { .. }, Answer::Account { .. } | Answer::Absent { .. })
            | (Ask::ReadTransaction { .. }, Answer::Transaction { .. } | Answer::Absent { .. })
            | (
                Ask::ReadRequest { .. },
                Answer::Account { .. }
                    | Answer::Transaction { .. }
                    | Answer::Hold { .. }
                    | Answer::Restriction { .. }
                    | Answer::Absent { .. }
                    | Answer::Rejected { .. }
                    | Answer::GivenUp { .. }
            )
            | (Ask::DryRun(_), Answer::ForeseenRefusal { .. } | Answer::Rejected { .. })
            | (Ask::ReadGroup { .. }, Answer::Group(_))
            | (Ask::List { .. }, Answer::Page { .. })
            | (Ask::ReadHold { .. }, Answer::Hold { .. } | Answer::Absent { .. })
            | (Ask::ListHolds { .. }, Answer::Holds { .. } | Answer::Absent { .. })
            | (Ask::ReadRestriction { .. }, Answer::Restriction { .. } | Answer::Absent { .. })
            | (Ask::ListRestrictions { .. }, Answer::Restrictions { .. } | Answer::Absent { .. })
            | (Ask::Statement { .. }, Answer::Statement { .. } | Answer::Absent { .. })
            | (Ask::Balance { .. }, Answer::Balance { .. } | Answer::Absent { .. })
            | (Ask::Events { .. }, Answer::Events { .. })
            | (Ask::ReadTransit { .. }, Answer::Transit { .. })
            | (Ask::ListSuspense { .. }, Answer::Suspense { .. })
            | (Ask::ReadSweep { .. }, Answer::Swept { .. } | Answer::Absent { .. })
            | (Ask::ListSweeps { .. }, Answer::Swept { .. })
    );
    let fits = fits
        || matches!((&op.ask, &op.answer), (Ask::DryRun(transfer), Answer::Foreseen { balances, .. })
            if balances.len() == transfer.legs.len());
    let place = op.answer.as_of().map(|as_of| as_of.place);
    let place = place.or_else(|| op.answer.decided().map(|(place, _)| place)).or(op.answer.given_up());
    match place {
        _ if !fits => Err("that is no answer to it".to_owned()),
        // Of the events of all sets none is the owner, and of what is in transit each of the others.
        Some(_) if matches!(op.ask, Ask::Events { set: None, .. } | Ask::ReadTransit { .. }) => Ok(()),
        Some(place) if Some(place.set) != owner => {
            Err(format!("set {} answered for what set {owner:?} has", place.set))
        }
        _ => Ok(()),
    }
}

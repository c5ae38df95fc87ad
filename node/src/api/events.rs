//! Events of a set: pages of them, for whoever follows it. A read that may wait is answered as soon as there is something to
//! tell. What is told is applied here and may leave: the page ends where the gate does.

use std::time::Duration;

use prost::Message;
use tokio::sync::watch;
use tokio::time::Instant;
use twinset_ledger::amount::to_decimal_string;
use twinset_ledger::attempt::scope_across;
use twinset_ledger::date::timestamp;
use twinset_ledger::hold::{Capture, Ended};
use twinset_ledger::outcome::{Held, Restricted};
use twinset_ledger::{
    BufferStep, Command, Effect, FreezeMode, LegKind, Posted, PostingMode, RunEnd, Transaction, TransactionId,
};
use twinset_proto::cluster::v1 as wire;
use twinset_proto::ledger::v1 as api;
use twinset_store::{Event, EventPage, EventPlace, Listed, Read};
use wire::RefusalReason as Reason;
use wire::read_reply::Result as ReadResult;

use super::sets::{as_of, named, not_found, refused};
use super::{convert, holds, restrictions, sweeps};
use crate::freshness::Basis;
use crate::set::{Ledger, Replica};

const PAGE_MAX: u32 = 1000;
/// Bytes of a page after which it takes no more events.
const PAGE_BYTES: usize = 1 << 20;
const NO_LEADER: (Reason, &str) = (Reason::NotLeader, "this replica does not lead the set");
const WAIT_MAX: Duration = Duration::from_secs(30);

/// A page of events. The error says why nothing can be read.
pub async fn page(
    replica: &Replica,
    ledger: &Ledger,
    asked: wire::ReadEvents,
    basis: Basis,
    draining: watch::Receiver<bool>,
) -> Result<ReadResult, String> {
    let (set, incarnation) = (replica.fence.set, replica.fence.incarnation);
    let place = place(&asked.after, set, incarnation)?;
    let size = asked.page_size.clamp(1, PAGE_MAX) as usize;
    let read = if asked.wait_ms == 0 {
        ledger.reader.read_at_disk(move |state| state.events(place, size, u64::MAX)).await
    } else {
        let wait = Duration::from_millis(asked.wait_ms.into()).min(WAIT_MAX);
        match waited(replica, ledger, place, size, Instant::now() + wait, draining).await {
            Ok(read) => read,
            Err((reason, detail)) => return Ok(refused(reason, String::new(), detail)),
        }
    };
    let (as_of, age_ms) = as_of(ledger, &read, set, basis);
    let Some(page) = &read.value else { return Ok(not_found(as_of, age_ms)) };
    let as_of = as_of.into_iter().collect();
    Ok(ReadResult::Events(api::ListEventsReply { as_of, age_ms, ..reply(page, set, incarnation) }))
}

/// Reads as soon as there is an event behind the place, or once at the deadline.
async fn waited(
    replica: &Replica,
    ledger: &Ledger,
    mut place: EventPlace,
    size: usize,
    deadline: Instant,
    mut draining: watch::Receiver<bool>,
) -> Result<Read<Option<EventPage>>, (Reason, &'static str)> {
    let _turn = ledger.reader.follow().ok_or((Reason::Overloaded, "too many follow this set"))?;
    let (mut settled, mut view) = (ledger.reader.settled(), replica.group.view());
    loop {
        if *draining.borrow() {
            return Err((Reason::Draining, "the node is shutting down"));
        }
        let upto = *settled.borrow_and_update();
        let read = ledger.reader.read_at_disk(move |state| state.events(place, size, upto)).await;
        let Some(page) = &read.value else { return Ok(read) };
        if !page.events.is_empty() || Instant::now() >= deadline {
            return Ok(read);
        }
        place = page.next;
        if page.more {
            continue;
        }
        view.mark_unchanged();
        if !replica.group.is_leader() {
            // The next one tells what happens from here on; this one would hear of it later.
            return Err(NO_LEADER);
        }
        tokio::select! {
            _ = settled.changed() => {}
            // Once its sender is gone the replica is as well.
            changed = view.changed() => changed.map_err(|_| NO_LEADER)?,
            _ = draining.changed() => {}
            () = tokio::time::sleep_until(deadline) => {}
        }
    }
}

/// Between two events, as a page names it: the one before, if there is one; and, if more was looked at, `+` and how far that was.
fn place_text(place: EventPlace, set: u32, incarnation: u32) -> String {
    let last = place.last.map_or_else(String::new, |last| last.to_string());
    match place.looked {
        Some(position) if place.last.is_none_or(|last| last.position < position) => {
            format!("{last}+{}", TransactionId { set, incarnation, position })
        }
        _ => last,
    }
}

fn place(text: &str, set: u32, incarnation: u32) -> Result<EventPlace, String> {
    let one = |text: &str| match text {
        "" => Ok(None),
        text => {
            let id = named(text)?;
            if id.set == set { Ok(Some(id)) } else { Err(format!("event {id} is not of set {set}")) }
        }
    };
    let (last, looked) = text.split_once('+').unwrap_or((text, ""));
    // Where a recovery has given positions another life, what was seen of the one before says nothing.
    let looked = one(looked)?.filter(|looked| looked.incarnation == incarnation);
    Ok(EventPlace { last: one(last)?, looked: looked.map(|looked| looked.position) })
}

fn reply(page: &EventPage, set: u32, incarnation: u32) -> api::ListEventsReply {
    let (mut events, mut next, mut more) = (Vec::new(), page.next, page.more);
    let mut bytes = 0;
    for event in &page.events {
        if bytes >= PAGE_BYTES {
            let last = page.events[events.len() - 1].id;
            (next, more) = (EventPlace { last: Some(last), looked: None }, true);
            break;
        }
        let event = shown(event);
        bytes += event.encoded_len();
        events.push(event);
    }
    let next = place_text(next, set, incarnation);
    api::ListEventsReply { events, next, more, ..api::ListEventsReply::default() }
}

fn shown(event: &Event) -> api::Event {
    let id = event.id;
    api::Event {
        event: id.to_string(),
        previous: event.previous.map_or_else(String::new, |previous| previous.to_string()),
        resume: id.to_string(),
        position: Some(convert::position(id.set, id.position.index(), event.time_unix_ns)),
        offset: id.position.offset().into(),
        what: what(event),
    }
}

fn what(event: &Event) -> Option<api::event::What> {
    use api::event::What;
    let normal_side = event.about.as_ref().map(|about| convert::side(about.normal_side));
    let freeze = |request_id: &String, account: &String, mode: FreezeMode| api::FreezeRequest {
        request_id: request_id.clone(),
        account: account.clone(),
        mode: match mode {
            FreezeMode::Debit => api::FreezeMode::FreezeDebit,
            FreezeMode::Credit => api::FreezeMode::FreezeCredit,
            FreezeMode::Both => api::FreezeMode::FreezeBoth,
        }
        .into(),
    };
    Some(match (&event.command, &event.effect) {
        (
            _,
            Effect::Posted(legs)
            | Effect::Buffered { booked: legs, .. }
            | Effect::Suspended { booked: legs, .. },
        ) => What::Booked(booked(event, legs)?),
        (Command::PlaceHold(_), Effect::Held(held)) => What::HoldPlaced(hold(event, held)),
        (Command::ReleaseHold { .. }, Effect::Held(held)) => What::HoldReleased(hold(event, held)),
        (Command::ExtendHold { .. }, Effect::Held(held)) => What::HoldExtended(hold(event, held)),
        (Command::CheckedBack(_), Effect::Held(held)) => What::HoldCheckedBack(hold(event, held)),
        (Command::ExpireHold { .. }, Effect::Held(held)) => What::HoldExpired(hold(event, held)),
        (Command::SetSweep(set), _) => What::SweepSet(sweeps::asked(set)),
        (Command::RemoveSweep { request_id, account }, _) => What::SweepRemoved(api::RemoveSweepRequest {
            request_id: request_id.clone(),
            account: account.clone(),
        }),
        (Command::EndRun { account, sweep, run }, Effect::Ran(RunEnd::Refused(why))) => {
            What::SweepRefused(api::SweepRefusedEvent {
                sweep: sweep.to_string(),
                account: account.clone(),
                run: *run,
                reason: why.code().to_owned(),
                detail: why.to_string(),
            })
        }
        (Command::ReleaseRestriction { .. }, Effect::Restricted(now)) => {
            What::RestrictionReleased(restriction(event, now))
        }
        (Command::ExpireRestriction { .. }, Effect::Restricted(now)) => {
            What::RestrictionExpired(restriction(event, now))
        }
        (Command::OpenAccount { request_id, account, subject, currency, limit, metadata, .. }, _) => {
            What::AccountOpened(api::OpenAccountRequest {
                request_id: request_id.clone(),
                account: account.clone(),
                subject: subject.clone(),
                currency: currency.clone(),
                normal_side: normal_side.unwrap_or_default(),
                limit: Some(limit_text(*limit)),
                metadata: metadata.clone().into_iter().collect(),
            })
        }
        (Command::SetLimit { request_id, account, limit }, _) => What::LimitChanged(api::SetLimitRequest {
            request_id: request_id.clone(),
            account: account.clone(),
            limit: limit_text(*limit),
        }),
        (Command::Freeze { request_id, account, mode }, _) => {
            What::AccountFrozen(freeze(request_id, account, *mode))
        }
        (Command::Unfreeze { request_id, account, mode }, _) => {
            What::AccountUnfrozen(freeze(request_id, account, *mode))
        }
        (Command::CloseAccount { request_id, account }, _) => What::AccountClosed(api::CloseAccountRequest {
            request_id: request_id.clone(),
            account: account.clone(),
        }),
        (Command::SetPostingMode { request_id, account, mode }, _) => {
            let mode = match mode {
                PostingMode::Strict => api::PostingMode::PostingStrict,
                PostingMode::Buffered => api::PostingMode::PostingBuffered,
            };
            What::PostingModeChanged(mode_changed(request_id, account, mode))
        }
        (Command::BufferStep { step: BufferStep::Drained { account, .. }, .. }, _) => {
            What::PostingModeChanged(mode_changed("", account, api::PostingMode::PostingStrict))
        }
        (Command::DefineCurrency { code, scale }, _) => {
            What::CurrencyDefined(api::DefineCurrencyRequest { code: code.clone(), scale: (*scale).into() })
        }
        (Command::DefineSubject { code, name, normal_side }, _) => {
            What::SubjectDefined(api::DefineSubjectRequest {
                code: code.clone(),
                name: name.clone(),
                normal_side: convert::side(*normal_side),
            })
        }
        (Command::DefineGroup { group }, _) => What::GroupDefined(group.clone()),
        (Command::MarkDurability { durability }, _) => {
            What::DurabilityMarked(convert::durability(*durability).to_owned())
        }
        _ => return None,
    })
}

fn mode_changed(request_id: &str, account: &str, mode: api::PostingMode) -> api::SetPostingModeRequest {
    let mode = mode.into();
    api::SetPostingModeRequest { request_id: request_id.to_owned(), account: account.to_owned(), mode }
}

fn limit_text<T: ToString>(limit: Option<T>) -> String {
    limit.map_or_else(|| "none".to_owned(), |limit| limit.to_string())
}

fn booked(event: &Event, legs: &[Posted]) -> Option<api::BookedEvent> {
    let named: Vec<&str> = match &event.command {
        Command::Transaction(transaction) => transaction.legs.iter().map(|leg| &*leg.account).collect(),
        _ => legs.iter().map(|leg| &*leg.account).collect(),
    };
    let listed = Listed {
        id: event.id,
        time_unix_ns: event.time_unix_ns,
        command: event.command.clone(),
        legs: if matches!(event.command, Command::Transaction(_)) { Vec::new() } else { legs.to_vec() },
        scope_account: event.scope_account.clone(),
        reversed: Default::default(),
        said_of_step: event.said_of_step.clone(),
        in_transit: Vec::new(),
        taken_back: Vec::new(),
    };
    let mut transaction = convert::part(&listed)?;
    for (leg, currency) in transaction.legs.iter_mut().zip(&event.currencies) {
        leg.currency.clone_from(currency);
    }
    for (leg, kind) in transaction.legs.iter_mut().zip(&event.kinds) {
        leg.withdrawal = *kind == LegKind::Withdrawal;
        leg.restricted = convert::restricted(*kind);
    }
    if let Some(begun) = &event.begun {
        describe(&mut transaction, begun);
    }
    let posting = |(leg, account): (&Posted, &str)| api::Posting {
        account: account.to_owned(),
        side: convert::side(leg.side),
        amount: to_decimal_string(leg.amount, leg.scale),
        posted: to_decimal_string(leg.posted, leg.scale),
        available: to_decimal_string(leg.available, leg.scale),
        in_transit: false,
        group: String::new(),
    };
    let suspended = match &event.effect {
        Effect::Suspended { reason, .. } => reason.code(),
        _ => "",
    };
    let scale = scale_of_hold(event, &named, legs);
    Some(api::BookedEvent {
        transaction: Some(transaction),
        postings: legs.iter().zip(named).map(posting).collect(),
        hold_changes: changes(event, scale),
        suspended: suspended.to_owned(),
    })
}

/// A hold's account is its capture's scope account, which has a leg.
fn scale_of_hold(event: &Event, named: &[&str], legs: &[Posted]) -> u8 {
    let scope = match event.begun.as_ref().unwrap_or(&event.command) {
        Command::Transaction(transaction) => transaction.scope_account.as_deref(),
        Command::Begin(begin) => begin.transaction.scope_account.as_deref(),
        _ => None,
    };
    let held = named.iter().zip(legs).find(|(account, _)| Some(**account) == scope);
    held.map_or(0, |(_, leg)| leg.scale)
}

fn changes(event: &Event, scale: u8) -> Vec<api::HoldEvent> {
    event.hold_changes.iter().map(|change| holds::line(change, event.id.set, scale)).collect()
}

/// What the client has said where the attempt began.
fn describe(out: &mut api::Transaction, begun: &Command) {
    match begun {
        Command::Begin(begin) => {
            let Transaction { request_id, kind, reason, metadata, capture, .. } = &begin.transaction;
            out.request_id.clone_from(request_id);
            scope_across(&begin.transaction).clone_into(&mut out.scope_account);
            (out.kind, out.reason) = ((*kind).into(), (*reason).into());
            out.metadata = metadata.clone().into_iter().collect();
            out.capture = capture
                .map(|Capture { hold, is_final }| api::Capture { hold: hold.to_string(), r#final: is_final });
        }
        Command::Reversal(reversal) => {
            out.request_id.clone_from(&reversal.request_id);
            out.reason = reversal.reason.into();
            out.metadata = reversal.metadata.clone().into_iter().collect();
            out.reverses = reversal.transaction.to_string();
        }
        _ => {}
    }
}

fn hold(event: &Event, held: &Held) -> api::HoldChangedEvent {
    let money = |minor| to_decimal_string(minor, held.scale);
    let state = match held.ended {
        // At its end, any other would have ended.
        None if held.expires_ns.is_some_and(|end| end <= event.time_unix_ns) => api::HoldState::HoldOverdue,
        None => api::HoldState::HoldOpen,
        Some(Ended::Captured) => api::HoldState::HoldCaptured,
        Some(Ended::Released) => api::HoldState::HoldReleased,
        Some(Ended::Expired) => api::HoldState::HoldExpired,
    };
    let (account, currency) = match &event.about {
        Some(about) => (about.account.clone(), about.currency.clone()),
        None => Default::default(),
    };
    let mut hold = api::Hold {
        hold: held.hold.to_string(),
        account,
        currency,
        state: state.into(),
        amount: money(held.amount),
        captured: money(held.captured),
        capturing: money(held.capturing),
        released: money(held.released),
        left: money(held.amount - held.captured - held.capturing - held.released),
        expires_at: held.expires_ns.map(timestamp).unwrap_or_default(),
        ..api::Hold::default()
    };
    if let Command::PlaceHold(placed) = &event.command {
        hold.placed = Some(convert::position(event.id.set, event.id.position.index(), event.time_unix_ns));
        hold.request_id.clone_from(&placed.request_id);
        hold.reason = placed.reason.into();
        hold.metadata = placed.metadata.clone().into_iter().collect();
    }
    api::HoldChangedEvent {
        hold: Some(hold),
        available: money(held.available),
        changes: changes(event, held.scale),
        request_id: event.command.request_id().unwrap_or_default().to_owned(),
    }
}

fn restriction(event: &Event, now: &Restricted) -> api::RestrictionChangedEvent {
    let money = |minor| to_decimal_string(minor, now.scale);
    let about = event.about.as_ref();
    api::RestrictionChangedEvent {
        restriction: Some(api::Restriction {
            restriction: now.restriction.to_string(),
            account: about.map(|about| about.account.clone()).unwrap_or_default(),
            currency: about.map(|about| about.currency.clone()).unwrap_or_default(),
            state: restrictions::state_of(now.ended).into(),
            amount: money(now.amount),
            left: money(now.left),
            until: now.until_ns.map(timestamp).unwrap_or_default(),
            ..api::Restriction::default()
        }),
        released: money(now.released),
        withdrawable: money(now.withdrawable),
        request_id: event.command.request_id().unwrap_or_default().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use twinset_ledger::Position;

    use super::*;

    #[test]
    fn a_place_comes_back_as_it_was_named() {
        let id =
            |index, offset| TransactionId { set: 3, incarnation: 1, position: Position::new(index, offset) };
        let looked = |index| Some(Position::new(index, u16::MAX));
        for (last, looked, text) in [
            (None, None, ""),
            (None, looked(9), "+3-2-9-65535"),
            (Some(id(9, 1)), None, "3-1-9-1"),
            (Some(id(9, 1)), looked(12), "3-1-9-1+3-2-12-65535"),
        ] {
            let named = EventPlace { last, looked };
            assert_eq!(place_text(named, 3, 2), text);
            assert_eq!(place(text, 3, 2), Ok(named));
            let forgotten = EventPlace { last, looked: None };
            assert_eq!(place(text, 3, 4), Ok(forgotten), "another life of the set");
        }
        let at = EventPlace { last: Some(id(9, 1)), looked: Some(Position::new(9, 1)) };
        assert_eq!(place_text(at, 3, 2), "3-1-9-1");
        for bad in ["x", "3-1-9", "4-1-9-1", "3-1-9-1+4-1-9-1", "3-1-9-1+3-1-9-2+3-1-9-3"] {
            assert!(place(bad, 3, 2).is_err(), "{bad}");
        }
    }
}

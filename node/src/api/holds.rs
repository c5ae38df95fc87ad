//! Reads of holds.

use twinset_ledger::amount::to_decimal_string;
use twinset_ledger::check_back::{Asking, Failure};
use twinset_ledger::date::timestamp;
use twinset_ledger::hold::{Ended, Hold, HoldChange, HoldEvent};
use twinset_ledger::{Position, TransactionId};
use twinset_proto::cluster::v1 as wire;
use twinset_proto::ledger::v1 as api;
use twinset_store::{HoldRecord, OverduePage};
use wire::read_reply::Result as ReadResult;

use super::convert;
use super::sets::{after, as_of, not_found};
use crate::freshness::Basis;
use crate::set::{Fence, Ledger};

/// Holds in one page at most.
const PAGE_MAX: u32 = 100;

/// The hold of that name, as it is now.
pub async fn one(ledger: &Ledger, set: u32, account: String, id: TransactionId, basis: Basis) -> ReadResult {
    let asked = account.clone();
    let read = ledger.reader.read_at_disk(move |state| state.hold(&asked, id)).await;
    let (as_of, age_ms) = as_of(ledger, &read, set, basis);
    let Some(record) = &read.value else { return not_found(as_of, age_ms) };
    let hold = Some(shown(record, &account, read.time_unix_ns));
    ReadResult::Hold(api::GetHoldReply { hold, as_of, age_ms })
}

/// A page of an account's holds.
pub async fn list(
    ledger: &Ledger,
    set: u32,
    incarnation: u32,
    asked: wire::ListHolds,
    basis: Basis,
) -> Result<ReadResult, String> {
    let after = after(&asked.after)?;
    let state = api::HoldState::try_from(asked.state).map_err(|error| error.to_string())?;
    let size = asked.page_size.clamp(1, PAGE_MAX) as usize;
    let account = asked.account.clone();
    let read = ledger
        .reader
        .read_at_disk(move |replica| {
            let wanted =
                |hold: &Hold, now| state == api::HoldState::Unspecified || state_of(hold, now) == state;
            replica.holds(&account, after.map(|after| after.position), size, wanted)
        })
        .await;
    let (as_of, age_ms) = as_of(ledger, &read, set, basis);
    let Some(page) = &read.value else { return Ok(not_found(as_of, age_ms)) };
    // It names a place in the log, whatever incarnation that is of.
    let next = page.next.map(|position| TransactionId { set, incarnation, position }.to_string());
    Ok(ReadResult::Holds(api::ListHoldsReply {
        holds: page.holds.iter().map(|record| shown(record, &asked.account, read.time_unix_ns)).collect(),
        next: next.unwrap_or_default(),
        as_of,
        age_ms,
    }))
}

/// A page of the set's overdue holds. Overdue is what is so for the next command: by this node's clock, which says so also while
/// nothing happens in the set and its ledger time stands still, and as the gauges of overdue holds count.
pub async fn overdue(ledger: &Ledger, fence: &Fence, asked: wire::ListOverdue, basis: Basis) -> ReadResult {
    let size = asked.page_size.clamp(1, PAGE_MAX) as usize;
    let from = (asked.from_end_ns, Position(asked.from));
    let clock = fence.platform.now_unix_ns();
    let read = ledger.reader.read_at_disk(move |replica| replica.overdue_page(from, clock, size)).await;
    let (as_of, age_ms) = as_of(ledger, &read, fence.set, basis);
    let now = clock.max(read.time_unix_ns);
    let OverduePage { holds, more } = &read.value;
    let last = holds.last().filter(|_| *more);
    ReadResult::Holds(api::ListHoldsReply {
        holds: holds.iter().map(|record| shown(record, &record.placed.account, now)).collect(),
        next: last.map(|last| last.hold.id.to_string()).unwrap_or_default(),
        as_of,
        age_ms,
    })
}

/// As it stands at that ledger time.
fn state_of(hold: &Hold, time_unix_ns: u64) -> api::HoldState {
    match hold.ended {
        Some(Ended::Captured) => api::HoldState::HoldCaptured,
        Some(Ended::Released) => api::HoldState::HoldReleased,
        Some(Ended::Expired) => api::HoldState::HoldExpired,
        None if hold.is_overdue(time_unix_ns) => api::HoldState::HoldOverdue,
        None if hold.is_open(time_unix_ns) => api::HoldState::HoldOpen,
        None => api::HoldState::HoldExpired,
    }
}

fn shown(record: &HoldRecord, account: &str, time_unix_ns: u64) -> api::Hold {
    let HoldRecord { hold, placed, placed_ns, currency, scale } = record;
    let money = |minor| to_decimal_string(minor, *scale);
    let set = hold.id.set;
    api::Hold {
        hold: hold.id.to_string(),
        account: account.to_owned(),
        currency: currency.clone(),
        state: state_of(hold, time_unix_ns).into(),
        amount: money(hold.amount),
        captured: money(hold.captured),
        capturing: money(hold.capturing),
        released: money(hold.released),
        left: money(hold.left()),
        expires_at: hold.expires_ns.map(timestamp).unwrap_or_default(),
        placed: Some(convert::position(set, hold.id.position.index(), *placed_ns)),
        request_id: placed.request_id.clone(),
        reason: placed.reason.into(),
        metadata: placed.metadata.clone().into_iter().collect(),
        journal: hold.journal.iter().map(|event| line(event, set, *scale)).collect(),
        check_back: hold.check_back.as_ref().map(asking),
    }
}

fn asking(asking: &Asking) -> api::CheckBackState {
    let Asking { terms, tries, next_ns, confirming, kept, .. } = asking;
    api::CheckBackState {
        initiator: terms.initiator.clone(),
        to: terms.to.clone(),
        tries: *tries,
        next_at: if *next_ns == 0 { String::new() } else { timestamp(*next_ns) },
        confirming: *confirming,
        kept: *kept,
    }
}

pub(super) fn line(event: &HoldEvent, set: u32, scale: u8) -> api::HoldEvent {
    use api::hold_event::Change;
    let money = |minor| to_decimal_string(minor, scale);
    let change = match event.change {
        HoldChange::Captured { amount, by } => {
            Change::Captured(api::HoldCaptured { amount: money(amount), transaction: by.to_string() })
        }
        HoldChange::Released { amount } => Change::Released(money(amount)),
        HoldChange::Expired { amount } => Change::Expired(money(amount)),
        HoldChange::Extended { expires_ns } => {
            Change::Extended(expires_ns.map(timestamp).unwrap_or_default())
        }
        HoldChange::CheckedBack { no, came } => Change::CheckedBack(api::CheckBackTry {
            number: no,
            result: came.name().to_owned(),
            why: came.why().map_or("", Failure::name).to_owned(),
            next_at: came.next_ns().map(timestamp).unwrap_or_default(),
        }),
    };
    let position = convert::position(set, event.at.index(), event.time_unix_ns);
    api::HoldEvent { position: Some(position), change: Some(change) }
}

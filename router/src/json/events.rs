//! Events in JSON: as they stand in pages and in streams.

use std::collections::BTreeMap;

use serde::Serialize;
use twinset_proto::ledger::v1 as wire;
use utoipa::ToSchema;

use super::buffered::mode_text;
use super::holds::{HoldEvent, HoldFigures, figures};
use super::reply::{Position, Posting, Transaction, side};
use super::request::SideText;
use super::restrictions::RestrictionFigures;
use super::sweeps::{SweepRefused, SweepTerms};

/// What was decided in a set and changed it. Which of the fields after `kind` there are follows from that.
#[derive(Debug, Serialize, ToSchema)]
pub struct Event {
    /// Set, incarnation, index and offset of the command. No other event has it: a consumer that meets it again has seen this
    /// event.
    #[schema(example = "1-1-1842-17")]
    pub event: String,
    /// The event of the same set before it; empty: it is the set's first.
    #[schema(example = "1-1-1842-16")]
    pub previous: String,
    /// Goes on behind this event, as `after` or `Last-Event-ID`.
    pub resume: String,
    /// Where and when.
    pub position: Option<Position>,
    /// Place in the entry.
    pub offset: u32,
    /// "booked", "hold_placed", "hold_released", "hold_extended", "hold_expired", "restriction_released",
    /// "restriction_expired", "account_opened", "limit_changed", "account_frozen", "account_unfrozen", "account_closed",
    /// "posting_mode_changed", "sweep_set", "sweep_removed", "sweep_refused", "currency_defined", "subject_defined", "group_defined"
    /// or "durability_marked".
    pub kind: &'static str,
    /// What was booked: a transaction, a reversal, or with `part_of` this set's part of one over several sets.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transaction: Option<Transaction>,
    /// What was booked, with the balances after the transaction.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub postings: Vec<Posting>,
    /// A hold as it stood then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hold: Option<HoldFigures>,
    /// The held account's available balance after it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub available: String,
    /// What happened to the hold, or to the one that was captured.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hold_changes: Vec<HoldEvent>,
    /// A restriction as it stood then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restriction: Option<RestrictionFigures>,
    /// What was released of it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub released: String,
    /// What of its account may be withdrawn after it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub withdrawable: String,
    /// What was asked of an account, or defined.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub change: Option<Change>,
    /// "SYNC" or "DEGRADED".
    #[serde(skip_serializing_if = "String::is_empty")]
    pub durability: String,
    /// Why a credit from another set stands on the suspense account instead of where it should: a code of docs/reference/errors.md.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub suspended: String,
    /// A run of a sweep that was refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sweep_refused: Option<SweepRefused>,
}

/// What a command has changed, as it was asked for; what does not belong to its kind is absent.
#[derive(Debug, Default, Serialize, ToSchema)]
pub struct Change {
    /// Of the command.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub request_id: String,
    /// The account.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub account: String,
    /// A new account's subject.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub subject: String,
    /// A new account's currency.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub currency: String,
    /// Of a new account or subject.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub normal_side: Option<SideText>,
    /// Floor of the available balance, or "none".
    #[serde(skip_serializing_if = "String::is_empty")]
    pub limit: String,
    /// What is frozen or not any more: "debit", "credit" or "both"; or the posting mode: "buffered" or "strict".
    #[serde(skip_serializing_if = "str::is_empty")]
    pub mode: &'static str,
    /// Of a currency or subject.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub code: String,
    /// Decimal places of a currency.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scale: Option<u32>,
    /// Of a subject.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// A new account's, or those of a hold's placing.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
    /// Of a hold's placing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<u32>,
    /// Of a sweep that was set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sweep: Option<SweepTerms>,
}

/// Some events, in the order of their sets and positions.
#[derive(Debug, Serialize, ToSchema)]
pub struct EventPage {
    /// The page.
    pub events: Vec<Event>,
    /// Where the next page begins (`after`), also at the end: more may happen.
    pub next: String,
    /// Whether more is there already. A page may be short, or empty, before the end.
    pub more: bool,
    /// As of when: one for each set.
    pub as_of: Vec<Position>,
    /// How old the answer may be; 0 for a linearizable read.
    pub age_ms: u64,
}

impl From<wire::ListEventsReply> for EventPage {
    fn from(reply: wire::ListEventsReply) -> EventPage {
        EventPage {
            events: reply.events.into_iter().map(Event::from).collect(),
            next: reply.next,
            more: reply.more,
            as_of: reply.as_of.into_iter().map(Position::from).collect(),
            age_ms: reply.age_ms,
        }
    }
}

impl From<wire::Event> for Event {
    fn from(event: wire::Event) -> Event {
        use wire::event::What;
        let mut out = Event {
            event: event.event,
            previous: event.previous,
            resume: event.resume,
            position: event.position.map(Position::from),
            offset: event.offset,
            kind: "",
            transaction: None,
            postings: Vec::new(),
            hold: None,
            available: String::new(),
            hold_changes: Vec::new(),
            restriction: None,
            released: String::new(),
            withdrawable: String::new(),
            change: None,
            durability: String::new(),
            suspended: String::new(),
            sweep_refused: None,
        };
        let mut change = |of: Change| out.change = Some(of);
        out.kind = match event.what {
            Some(What::AccountOpened(opened)) => {
                change(account_opened(opened));
                "account_opened"
            }
            Some(What::LimitChanged(wire::SetLimitRequest { request_id, account, limit })) => {
                change(Change { request_id, account, limit, ..Change::default() });
                "limit_changed"
            }
            Some(What::AccountFrozen(freeze)) => {
                change(frozen(freeze));
                "account_frozen"
            }
            Some(What::AccountUnfrozen(freeze)) => {
                change(frozen(freeze));
                "account_unfrozen"
            }
            Some(What::AccountClosed(wire::CloseAccountRequest { request_id, account })) => {
                change(Change { request_id, account, ..Change::default() });
                "account_closed"
            }
            Some(What::PostingModeChanged(wire::SetPostingModeRequest { request_id, account, mode })) => {
                change(Change { request_id, account, mode: mode_text(mode), ..Change::default() });
                "posting_mode_changed"
            }
            Some(What::SweepSet(mut set)) => {
                let (request_id, account) =
                    (std::mem::take(&mut set.request_id), std::mem::take(&mut set.account));
                change(Change { request_id, account, sweep: Some(set.into()), ..Change::default() });
                "sweep_set"
            }
            Some(What::SweepRemoved(wire::RemoveSweepRequest { request_id, account })) => {
                change(Change { request_id, account, ..Change::default() });
                "sweep_removed"
            }
            Some(What::SweepRefused(refused)) => {
                out.sweep_refused = Some(refused.into());
                "sweep_refused"
            }
            Some(What::CurrencyDefined(wire::DefineCurrencyRequest { code, scale })) => {
                change(Change { code, scale: Some(scale), ..Change::default() });
                "currency_defined"
            }
            Some(What::SubjectDefined(wire::DefineSubjectRequest { code, name, normal_side })) => {
                change(Change { code, name, normal_side: side(normal_side), ..Change::default() });
                "subject_defined"
            }
            Some(What::GroupDefined(account)) => {
                change(Change { account, ..Change::default() });
                "group_defined"
            }
            Some(What::Booked(booked)) => {
                out.transaction = booked.transaction.map(Transaction::from);
                out.postings = booked.postings.into_iter().filter_map(posting).collect();
                out.hold_changes = booked.hold_changes.into_iter().map(HoldEvent::from).collect();
                out.suspended = booked.suspended;
                "booked"
            }
            Some(What::HoldPlaced(changed)) => out.hold("hold_placed", changed),
            Some(What::HoldReleased(changed)) => out.hold("hold_released", changed),
            Some(What::HoldExtended(changed)) => out.hold("hold_extended", changed),
            Some(What::HoldCheckedBack(changed)) => out.hold("hold_checked_back", changed),
            Some(What::HoldExpired(changed)) => out.hold("hold_expired", changed),
            Some(What::RestrictionReleased(changed)) => out.restriction("restriction_released", changed),
            Some(What::RestrictionExpired(changed)) => out.restriction("restriction_expired", changed),
            Some(What::DurabilityMarked(durability)) => {
                out.durability = durability;
                "durability_marked"
            }
            // Of a newer node: it counts for the order, and nothing can be said of it.
            None => "unknown",
        };
        out
    }
}

impl Event {
    fn hold(&mut self, kind: &'static str, changed: wire::HoldChangedEvent) -> &'static str {
        let (figures, rest) = figures(changed.hold.unwrap_or_default());
        self.hold = Some(figures);
        self.available = changed.available;
        self.hold_changes = changed.changes.into_iter().map(HoldEvent::from).collect();
        if !changed.request_id.is_empty() {
            self.change = Some(Change {
                request_id: changed.request_id,
                metadata: rest.metadata.into_iter().collect(),
                reason: rest.placed.is_some().then_some(rest.reason),
                ..Change::default()
            });
        }
        kind
    }

    fn restriction(&mut self, kind: &'static str, changed: wire::RestrictionChangedEvent) -> &'static str {
        let wire::RestrictionChangedEvent { restriction, released, withdrawable, request_id } = changed;
        self.restriction = Some(restriction.unwrap_or_default().into());
        (self.released, self.withdrawable) = (released, withdrawable);
        self.change = (!request_id.is_empty()).then(|| Change { request_id, ..Change::default() });
        kind
    }
}

fn account_opened(opened: wire::OpenAccountRequest) -> Change {
    let wire::OpenAccountRequest { request_id, account, subject, currency, normal_side, limit, metadata } =
        opened;
    Change {
        request_id,
        account,
        subject,
        currency,
        normal_side: side(normal_side),
        limit: limit.unwrap_or_default(),
        metadata: metadata.into_iter().collect(),
        ..Change::default()
    }
}

fn frozen(freeze: wire::FreezeRequest) -> Change {
    let mode = match freeze.mode() {
        wire::FreezeMode::FreezeDebit => "debit",
        wire::FreezeMode::FreezeCredit => "credit",
        wire::FreezeMode::FreezeBoth => "both",
        wire::FreezeMode::FreezeUnspecified => "",
    };
    Change { request_id: freeze.request_id, account: freeze.account, mode, ..Change::default() }
}

fn posting(posting: wire::Posting) -> Option<Posting> {
    let wire::Posting { account, side: of, amount, posted, available, in_transit, .. } = posting;
    let (posted, available) = (!in_transit).then_some((posted, available)).unzip();
    Some(Posting { account, group: None, side: side(of)?, amount, posted, available, in_transit })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use wire::event::What;

    use super::*;

    fn told(what: What) -> Value {
        let event = wire::Event { event: "1-1-5-0".into(), what: Some(what), ..wire::Event::default() };
        let mut told = serde_json::to_value(Event::from(event)).expect("plain JSON");
        for always in ["event", "previous", "resume", "position", "offset"] {
            assert!(told.as_object_mut().expect("an object").remove(always).is_some(), "{always}");
        }
        told
    }

    #[test]
    fn each_kind_says_what_belongs_to_it_and_no_more() {
        let freeze = wire::FreezeRequest {
            request_id: "f".into(),
            account: "a".into(),
            mode: wire::FreezeMode::FreezeDebit.into(),
        };
        let hold = wire::Hold {
            hold: "1-1-4-0".into(),
            state: wire::HoldState::HoldExpired.into(),
            ..Default::default()
        };
        let expired = wire::HoldEvent {
            change: Some(wire::hold_event::Change::Expired("2.00".into())),
            ..wire::HoldEvent::default()
        };
        let changed = wire::HoldChangedEvent {
            hold: Some(hold),
            available: "7.00".into(),
            changes: vec![expired],
            request_id: String::new(),
        };
        let frozen = json!({"request_id": "f", "account": "a", "mode": "debit"});
        let subject = wire::DefineSubjectRequest {
            code: "fees".into(),
            name: "Fees".into(),
            normal_side: wire::Side::Credit.into(),
        };
        let defined = json!({"code": "fees", "name": "Fees", "normal_side": "credit"});
        for (what, expected) in [
            (What::AccountFrozen(freeze.clone()), json!({"kind": "account_frozen", "change": frozen})),
            (What::AccountUnfrozen(freeze), json!({"kind": "account_unfrozen", "change": frozen})),
            (
                What::CurrencyDefined(wire::DefineCurrencyRequest { code: "PTS".into(), scale: 0 }),
                json!({"kind": "currency_defined", "change": {"code": "PTS", "scale": 0}}),
            ),
            (What::SubjectDefined(subject), json!({"kind": "subject_defined", "change": defined})),
            (
                What::GroupDefined("shop".into()),
                json!({"kind": "group_defined", "change": {"account": "shop"}}),
            ),
            (
                What::SweepSet(wire::SetSweepRequest {
                    request_id: "s".into(),
                    account: "a".into(),
                    to: "b".into(),
                    keep: "1".into(),
                    schedule: Some(wire::set_sweep_request::Schedule::Daily(wire::SweepDaily {})),
                }),
                json!({"kind": "sweep_set", "change": {"request_id": "s", "account": "a",
                    "sweep": {"to": "b", "keep": "1", "daily": true}}}),
            ),
            (
                What::SweepRemoved(wire::RemoveSweepRequest { request_id: "s".into(), account: "a".into() }),
                json!({"kind": "sweep_removed", "change": {"request_id": "s", "account": "a"}}),
            ),
            (
                What::SweepRefused(wire::SweepRefusedEvent {
                    sweep: "1-1-4-0".into(),
                    account: "a".into(),
                    run: 3,
                    reason: "account_closed".into(),
                    detail: "the account b is closed".into(),
                }),
                json!({"kind": "sweep_refused", "sweep_refused": {"sweep": "1-1-4-0", "account": "a", "run": 3,
                    "reason": "account_closed", "detail": "the account b is closed"}}),
            ),
            (
                What::DurabilityMarked("DEGRADED".into()),
                json!({"kind": "durability_marked", "durability": "DEGRADED"}),
            ),
        ] {
            assert_eq!(told(what), expected);
        }
        let told = told(What::HoldExpired(changed));
        assert_eq!((&told["kind"], &told["available"]), (&json!("hold_expired"), &json!("7.00")));
        assert_eq!((&told["hold"]["state"], told.get("change")), (&json!("expired"), None));
        assert_eq!(told["hold_changes"][0]["amount"], "2.00");
    }
}

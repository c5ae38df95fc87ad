//! Sweeps in JSON: what requests may say of them, and how replies and events look. As strict as [`super::request`].

use serde::Serialize;
use twinset_proto::ledger::v1 as wire;
use utoipa::ToSchema;
use wire::set_sweep_request::Schedule as Wanted;
use wire::sweep::Schedule;

use super::holds::Time;
use super::reply::Position;
use super::request::Amount;

/// POST /v1/accounts/{account}/sweep: with one of `every`, `above` and `daily`.
#[derive(Debug, serde::Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SetSweep {
    /// The idempotency key, within the account.
    pub request_id: String,
    /// The account that gets what is swept, of any set, in the same currency.
    pub to: String,
    /// What stays; absent: nothing.
    #[schema(value_type = Option<String>, example = "100.00")]
    pub keep: Option<Amount>,
    /// By an interval.
    pub every: Option<Every>,
    /// Whenever more than this may be withdrawn.
    #[schema(value_type = Option<String>, example = "5000.00")]
    pub above: Option<Amount>,
    /// When the day changes that entries without an accounting date are booked on.
    #[serde(default)]
    pub daily: bool,
}

/// An interval.
#[derive(Debug, serde::Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Every {
    /// 1 to 31622400.
    pub seconds: u32,
    /// The ledger time that intervals are counted from; absent: when the sweep is set.
    #[schema(value_type = Option<String>, example = "2026-12-24T18:00:00Z")]
    pub from: Option<Time>,
}

/// POST /v1/accounts/{account}/sweep/remove
#[derive(Debug, serde::Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RemoveSweep {
    /// The idempotency key, within the account.
    pub request_id: String,
}

/// Where money goes, what stays, and when; of the three schedules the one that there is.
#[derive(Debug, Default, Serialize, ToSchema)]
pub struct SweepTerms {
    /// The account that gets it.
    pub to: String,
    /// What stays.
    pub keep: String,
    /// By an interval.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub every: Option<EveryFound>,
    /// Whenever more than this may be withdrawn.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub above: Option<String>,
    /// When the day changes.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub daily: bool,
}

/// An interval.
#[derive(Debug, Serialize, ToSchema)]
pub struct EveryFound {
    /// Its seconds.
    pub seconds: u32,
    /// Intervals are counted from this ledger time; in an event empty, if the client has left it out.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub from: String,
}

/// A sweep as it stands.
#[derive(Debug, Serialize, ToSchema)]
pub struct Sweep {
    /// Its name: where it was set. Its runs carry it as metadata, under "twinset.sweep".
    #[schema(example = "1-1-1842-17")]
    pub sweep: String,
    /// The account that money is taken from.
    pub account: String,
    /// Its currency.
    pub currency: String,
    /// What was asked for.
    #[serde(flatten)]
    pub terms: SweepTerms,
    /// The number of the last run; 0: none.
    pub runs: u32,
    /// It does not run before this ledger time.
    #[schema(example = "2026-12-24T18:00:00Z")]
    pub next_at: String,
    /// The last run's transaction, while it is under way or its refusal is not written down.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub open: String,
}

/// A sweep, as of a position.
#[derive(Debug, Serialize, ToSchema)]
pub struct SweepFound {
    /// The sweep.
    pub sweep: Sweep,
    /// As of when.
    pub as_of: Option<Position>,
    /// How old the answer may be; 0 for a linearizable read.
    pub age_ms: u64,
}

/// A page of a set's sweeps, in the order in which their accounts were opened.
#[derive(Debug, Serialize, ToSchema)]
pub struct SweepPage {
    /// The page.
    pub sweeps: Vec<Sweep>,
    /// Where the next page starts (`after`); empty at the end.
    pub next: String,
    /// As of when.
    pub as_of: Option<Position>,
    /// How old the answer may be; 0 for a linearizable read.
    pub age_ms: u64,
}

/// A run that was refused.
#[derive(Debug, Serialize, ToSchema)]
pub struct SweepRefused {
    /// The sweep.
    pub sweep: String,
    /// The account that is swept.
    pub account: String,
    /// The number of the run.
    pub run: u32,
    /// Why: a code of docs/reference/errors.md.
    pub reason: String,
    /// The same in words.
    pub detail: String,
}

impl From<wire::SweepRefusedEvent> for SweepRefused {
    fn from(refused: wire::SweepRefusedEvent) -> SweepRefused {
        let wire::SweepRefusedEvent { sweep, account, run, reason, detail } = refused;
        SweepRefused { sweep, account, run, reason, detail }
    }
}

/// What was asked for, without the request id and the account.
impl From<wire::SetSweepRequest> for SweepTerms {
    fn from(set: wire::SetSweepRequest) -> SweepTerms {
        let terms = SweepTerms { to: set.to, keep: set.keep, ..SweepTerms::default() };
        match set.schedule {
            Some(Wanted::Every(every)) => SweepTerms { every: Some(every.into()), ..terms },
            Some(Wanted::Above(above)) => SweepTerms { above: Some(above), ..terms },
            Some(Wanted::Daily(_)) => SweepTerms { daily: true, ..terms },
            None => terms,
        }
    }
}

impl From<wire::SweepInterval> for EveryFound {
    fn from(wire::SweepInterval { seconds, from }: wire::SweepInterval) -> EveryFound {
        EveryFound { seconds, from }
    }
}

impl From<wire::Sweep> for Sweep {
    fn from(sweep: wire::Sweep) -> Sweep {
        let terms = SweepTerms { to: sweep.to, keep: sweep.keep, ..SweepTerms::default() };
        let terms = match sweep.schedule {
            Some(Schedule::Every(every)) => SweepTerms { every: Some(every.into()), ..terms },
            Some(Schedule::Above(above)) => SweepTerms { above: Some(above), ..terms },
            Some(Schedule::Daily(_)) => SweepTerms { daily: true, ..terms },
            None => terms,
        };
        Sweep {
            sweep: sweep.sweep,
            account: sweep.account,
            currency: sweep.currency,
            terms,
            runs: sweep.runs,
            next_at: sweep.next_at,
            open: sweep.open,
        }
    }
}

impl From<wire::GetSweepReply> for SweepFound {
    fn from(reply: wire::GetSweepReply) -> SweepFound {
        let sweep = reply.sweep.unwrap_or_default().into();
        SweepFound { sweep, as_of: reply.as_of.map(Position::from), age_ms: reply.age_ms }
    }
}

impl From<wire::ListSweepsReply> for SweepPage {
    fn from(reply: wire::ListSweepsReply) -> SweepPage {
        SweepPage {
            sweeps: reply.sweeps.into_iter().map(Sweep::from).collect(),
            next: reply.next,
            as_of: reply.as_of.map(Position::from),
            age_ms: reply.age_ms,
        }
    }
}

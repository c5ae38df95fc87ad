//! gRPC messages about sweeps to commands: as [`crate::convert`].

use rust_decimal::Decimal;
use twinset_ledger::{Command, Schedule, SetSweep};
use twinset_proto::ledger::v1 as wire;
use wire::set_sweep_request::Schedule as Wanted;

use super::schedule_of;
use crate::convert::some;
use crate::error::Error;
use crate::holds::grpc::{decimal, time};

/// A sweep.
pub fn set(request: wire::SetSweepRequest) -> Result<SetSweep, Error> {
    let schedule = match request.schedule {
        None => None,
        Some(Wanted::Every(wire::SweepInterval { seconds, from })) => {
            Some(Schedule::Every { seconds, from_ns: time(&from, "from")? })
        }
        Some(Wanted::Above(amount)) => Some(Schedule::Above { amount: decimal(&amount, "above")? }),
        Some(Wanted::Daily(wire::SweepDaily {})) => Some(Schedule::Daily),
    };
    let keep = some(request.keep).map(|text| decimal(&text, "keep")).transpose()?;
    Ok(SetSweep {
        request_id: request.request_id,
        account: request.account,
        to: request.to,
        keep: keep.unwrap_or(Decimal::ZERO),
        schedule: schedule_of([schedule, None, None])?,
    })
}

/// The end of a sweep.
pub fn remove(request: wire::RemoveSweepRequest) -> Result<Command, Error> {
    let wire::RemoveSweepRequest { request_id, account } = request;
    Ok(Command::RemoveSweep { request_id, account })
}

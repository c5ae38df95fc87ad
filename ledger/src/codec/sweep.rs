//! The forms of sweeps: of their commands, of what came of a run, and of all that a set has, as it is stored. That has no version of its own:
//! whoever stores it has one.

use super::DecodeError;
use super::command::{
    optional_id, optional_time, put_optional_id, put_optional_time, put_transaction_id, transaction_id,
};
use super::rejection::{put_rejection, rejection};
use super::wire::{Reader, put_amount, put_text};
use crate::sweep::{RunEnd, SWEEPS_MAX, Schedule, SetSweep, Sweep, Sweeps, Timing};

/// The leading byte of a schedule. Numbers never change and are never reused.
mod schedule {
    pub const EVERY: u8 = 1;
    pub const ABOVE: u8 = 2;
    pub const DAILY: u8 = 3;
}

/// The leading byte of how a run has ended. Numbers never change and are never reused.
mod end {
    pub const NOTHING: u8 = 1;
    pub const BOOKED: u8 = 2;
    pub const REFUSED: u8 = 3;
}

/// Behind the kind byte.
pub(super) fn put_set_sweep(out: &mut Vec<u8>, set: &SetSweep) {
    for text in [&set.request_id, &set.account, &set.to] {
        put_text(out, text);
    }
    put_amount(out, set.keep);
    match &set.schedule {
        Schedule::Every { seconds, from_ns } => {
            out.push(schedule::EVERY);
            out.extend_from_slice(&seconds.to_le_bytes());
            put_optional_time(out, *from_ns);
        }
        Schedule::Above { amount } => {
            out.push(schedule::ABOVE);
            put_amount(out, *amount);
        }
        Schedule::Daily => out.push(schedule::DAILY),
    }
}

pub(super) fn set_sweep(r: &mut Reader<'_>) -> Result<SetSweep, DecodeError> {
    let (request_id, account, to) = (r.id()?.to_owned(), r.id()?.to_owned(), r.id()?.to_owned());
    let keep = r.amount()?;
    let schedule = match r.u8()? {
        schedule::EVERY => Schedule::Every { seconds: r.u32()?, from_ns: optional_time(r)? },
        schedule::ABOVE => Schedule::Above { amount: r.amount()? },
        schedule::DAILY => Schedule::Daily,
        _ => return Err(DecodeError::OutOfRange { field: "schedule" }),
    };
    Ok(SetSweep { request_id, account, to, keep, schedule })
}

pub(super) fn put_run_end(out: &mut Vec<u8>, ended: &RunEnd) {
    match ended {
        RunEnd::Nothing => out.push(end::NOTHING),
        RunEnd::Booked => out.push(end::BOOKED),
        RunEnd::Refused(why) => {
            out.push(end::REFUSED);
            put_rejection(out, why);
        }
    }
}

pub(super) fn run_end(r: &mut Reader<'_>) -> Result<RunEnd, DecodeError> {
    Ok(match r.u8()? {
        end::NOTHING => RunEnd::Nothing,
        end::BOOKED => RunEnd::Booked,
        end::REFUSED => RunEnd::Refused(rejection(r)?),
        _ => return Err(DecodeError::OutOfRange { field: "how a run has ended" }),
    })
}

/// Appends the form of all sweeps of a set.
pub fn encode_sweeps(sweeps: &Sweeps, out: &mut Vec<u8>) {
    let count = u32::try_from(sweeps.len()).expect("bounded by SWEEPS_MAX");
    out.extend_from_slice(&count.to_le_bytes());
    sweeps.iter().for_each(|sweep| put_sweep(out, sweep));
}

/// Reads the form of all sweeps of a set, all of `bytes`. Never panics; what it accepts encodes to the same bytes again.
pub fn decode_sweeps(bytes: &[u8]) -> Result<Sweeps, DecodeError> {
    let mut r = Reader::new(bytes);
    let count = r.u32()?;
    if count as usize > SWEEPS_MAX {
        return Err(DecodeError::OutOfRange { field: "sweeps" });
    }
    let mut sweeps = Sweeps::default();
    let mut last = None;
    for _ in 0..count {
        let sweep = sweep(&mut r)?;
        if last.is_some_and(|last| last >= sweep.account) {
            return Err(DecodeError::OutOfRange { field: "order of sweeps" });
        }
        last = Some(sweep.account);
        sweeps.put(sweep);
    }
    r.end()?;
    Ok(sweeps)
}

fn put_sweep(out: &mut Vec<u8>, sweep: &Sweep) {
    out.extend_from_slice(&sweep.account.to_le_bytes());
    put_transaction_id(out, sweep.id);
    put_text(out, &sweep.to);
    out.extend_from_slice(&sweep.keep.to_le_bytes());
    match sweep.timing {
        Timing::Every { seconds, from_ns } => {
            out.push(schedule::EVERY);
            out.extend_from_slice(&seconds.to_le_bytes());
            out.extend_from_slice(&from_ns.to_le_bytes());
        }
        Timing::Above { minor } => {
            out.push(schedule::ABOVE);
            out.extend_from_slice(&minor.to_le_bytes());
        }
        Timing::Daily => out.push(schedule::DAILY),
    }
    out.extend_from_slice(&sweep.runs.to_le_bytes());
    out.extend_from_slice(&sweep.next_ns.to_le_bytes());
    put_optional_id(out, sweep.open);
}

fn sweep(r: &mut Reader<'_>) -> Result<Sweep, DecodeError> {
    let account = r.u32()?;
    let id = transaction_id(r)?;
    let to = r.id()?.to_owned();
    let keep = r.i128()?;
    let timing = match r.u8()? {
        schedule::EVERY => Timing::Every { seconds: r.u32()?, from_ns: r.u64()? },
        schedule::ABOVE => Timing::Above { minor: r.i128()? },
        schedule::DAILY => Timing::Daily,
        _ => return Err(DecodeError::OutOfRange { field: "schedule" }),
    };
    if matches!(timing, Timing::Every { seconds: 0, .. }) {
        return Err(DecodeError::OutOfRange { field: "interval" });
    }
    let (runs, next_ns, open) = (r.u32()?, r.u64()?, optional_id(r)?);
    Ok(Sweep { id, account, to, keep, timing, runs, next_ns, open })
}

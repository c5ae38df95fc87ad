//! What the scripts say about sweeps: `sweep ID ACCOUNT TO keep=K every=S [from=T] | above=A | daily=yes` and `unsweep ID ACCOUNT` are
//! what clients ask, `ended ACCOUNT SWEEP RUN` is what a node says of a run. `run ACCOUNT [AMOUNT] [set=N]` is the transaction of the next run
//! as a leader proposes it, of all that may be moved if no amount is said, with a payee of another set if one is named; `sweep=`, `no=`,
//! `to=` and `plain=` make it another. `sweeps` shows all of a set.

use goldenscript::ArgumentConsumer;
use twinset_ledger::amount::{parse, to_minor};
use twinset_ledger::memory::MemoryState;
use twinset_ledger::sweep::{SWEEP_KEY, run_id, transaction};
use twinset_ledger::{Begin, Command, Schedule, SetSweep, State};

use super::Fallible;

pub fn read(name: &str, args: &mut ArgumentConsumer<'_>) -> Fallible<Option<Command>> {
    let mut next = || args.next_pos().map(str::to_owned).ok_or("too few arguments");
    Ok(Some(match name {
        "sweep" => {
            let (request_id, account, to) = (next()?, next()?, next()?);
            let keep = parse(args.take_key("keep").unwrap_or("0"))?;
            let schedule = if let Some(seconds) = args.take_key("every") {
                let from_ns = args.take_key("from").map(str::parse).transpose()?;
                Schedule::Every { seconds: seconds.parse()?, from_ns }
            } else if let Some(amount) = args.take_key("above") {
                Schedule::Above { amount: parse(amount)? }
            } else {
                args.take_key("daily").ok_or("when?")?;
                Schedule::Daily
            };
            Command::SetSweep(SetSweep { request_id, account, to, keep, schedule })
        }
        "unsweep" => Command::RemoveSweep { request_id: next()?, account: next()? },
        "ended" => Command::EndRun { account: next()?, sweep: next()?.parse()?, run: next()?.parse()? },
        _ => return Ok(None),
    }))
}

/// The next run of an account's sweep.
pub fn run(state: &MemoryState, args: &mut ArgumentConsumer<'_>) -> Fallible<Option<Command>> {
    let account = args.next_pos().ok_or("account?")?;
    let no = state.account_no(account).ok_or("no such account")?;
    let sweep = state.sweeps().get(no).ok_or("it has no sweep")?;
    let account = state.account(no);
    let minor = match args.next_pos() {
        Some(amount) => to_minor(parse(amount)?, account.scale)?,
        None => sweep.movable(account),
    };
    let mut transaction = transaction(sweep, account, minor);
    let id = args.take_key("sweep").map(str::parse).transpose()?.unwrap_or(sweep.id);
    let run = args.take_key("no").map(str::parse).transpose()?.unwrap_or(sweep.runs + 1);
    transaction.request_id = run_id(id, run);
    if let Some(to) = args.take_key("to") {
        to.clone_into(&mut transaction.legs[1].account);
    }
    if args.take_key("plain").is_some() {
        transaction.metadata.remove(SWEEP_KEY);
    }
    Ok(Some(match args.take_key("set") {
        Some(set) => Command::Begin(Begin { transaction, sets: vec![state.set(), set.parse()?] }),
        None => Command::Transaction(transaction),
    }))
}

//! Of the language of golden scripts what is about buffered accounts, and how it is shown.
//!
//! `mode ID ACCOUNT strict|buffered`, `resolve ID ITEM ACCOUNT`; the steps of nodes: `announce|withdraw VERSION ACCOUNT CURRENCY
//! SCALE SIDE`, `drained VERSION ACCOUNT [SET/INCARNATION/NUMBER ...]`, `credit TRANSACTION NUMBER ACCOUNT/SIDE/MINOR/CURRENCY/SCALE
//! [leg= date= kind= reason=]`, `acknowledge TRANSACTION SET THROUGH`. `buffer` looks.

use std::error::Error;
use std::fmt::Write as _;

use goldenscript::ArgumentConsumer;
use twinset_ledger::amount::to_decimal_string;
use twinset_ledger::buffer::{Announcement, Credit, InboxEnd, Sent, StreamEnd};
use twinset_ledger::memory::MemoryState;
use twinset_ledger::{BufferStep, Command, PostingMode, Side, State};

type Fallible<T> = Result<T, Box<dyn Error>>;

/// A command about buffered accounts; None if the name is of another one.
pub fn read(name: &str, args: &mut ArgumentConsumer<'_>) -> Fallible<Option<Command>> {
    if !["mode", "resolve", "announce", "withdraw", "drained", "credit", "acknowledge"].contains(&name) {
        return Ok(None);
    }
    let mut next = || args.next_pos().map(str::to_owned).ok_or("too few arguments");
    let first = next()?;
    let step = match name {
        "mode" => {
            let (account, mode) = (next()?, next()?);
            let mode = if mode == "strict" { PostingMode::Strict } else { PostingMode::Buffered };
            return Ok(Some(Command::SetPostingMode { request_id: first, account, mode }));
        }
        "resolve" => {
            let (item, account) = (next()?.parse()?, next()?);
            return Ok(Some(Command::ResolveSuspense { request_id: first, item, account }));
        }
        "announce" => BufferStep::Announce(announcement(&mut next)?),
        "withdraw" => BufferStep::Withdraw(announcement(&mut next)?),
        "drained" => {
            let account = next()?;
            let ends = std::iter::from_fn(|| args.next_pos()).map(inbox_end).collect::<Fallible<_>>()?;
            BufferStep::Drained { account, ends }
        }
        "credit" => {
            let (number, leg) = (next()?.parse()?, next()?);
            let parts: Vec<&str> = leg.split('/').collect();
            let [account, side, amount, currency, scale] = parts[..] else {
                return Err("a leg is ACCOUNT/SIDE/MINOR/CURRENCY/SCALE".into());
            };
            BufferStep::Credit(Credit {
                number,
                leg: args.take_key("leg").map_or(Ok(1), str::parse)?,
                account: account.to_owned(),
                side: self::side(side)?,
                amount: amount.parse()?,
                currency: currency.to_owned(),
                scale: scale.parse()?,
                accounting_date: args.take_key("date").map_or(Ok(0), str::parse)?,
                label: super::words::label(args)?,
            })
        }
        _ => BufferStep::Acknowledge { to: next()?.parse()?, through: next()?.parse()? },
    };
    Ok(Some(Command::BufferStep { by: first.parse()?, step }))
}

fn announcement(next: &mut impl FnMut() -> Result<String, &'static str>) -> Fallible<Announcement> {
    let (account, currency, scale) = (next()?, next()?, next()?.parse()?);
    Ok(Announcement { account, currency, scale, normal_side: side(&next()?)? })
}

fn inbox_end(text: &str) -> Fallible<InboxEnd> {
    let parts: Vec<&str> = text.split('/').collect();
    let [set, incarnation, number] = parts[..] else { return Err("an end is SET/INCARNATION/NUMBER".into()) };
    let end = StreamEnd { incarnation: incarnation.parse()?, number: number.parse()? };
    Ok(InboxEnd { set: set.parse()?, end })
}

fn side(text: &str) -> Fallible<Side> {
    match text {
        "debit" => Ok(Side::Debit),
        "credit" => Ok(Side::Credit),
        _ => Err(format!("no side {text}").into()),
    }
}

/// What was sent.
pub fn show_sent(sent: &[Sent]) -> String {
    let one = |s: &Sent| {
        let amount = to_decimal_string(s.amount, s.scale);
        format!("leg {} {amount} {} to {} as {}", s.leg, s.currency, s.to, s.number)
    };
    sent.iter().map(one).collect::<Vec<_>>().join(", ")
}

/// The ends of streams.
pub fn show_ends(ends: &[StreamEnd]) -> String {
    let all: Vec<String> = ends.iter().map(|end| format!("{}/{}", end.incarnation, end.number)).collect();
    format!("{all:?}")
}

/// What a set keeps about buffered accounts.
pub fn look(state: &MemoryState) -> Fallible<String> {
    let (buffer, mut out) = (state.buffer(), String::new());
    for (no, own) in buffer.all_own() {
        let leaving = if own.draining { "draining" } else { "buffered" };
        writeln!(out, "{} is {leaving} since {}", state.account(no).id, own.since)?;
    }
    for known in buffer.all_announced() {
        let open = if known.is_open { "announced" } else { "withdrawn" };
        let transit = to_decimal_string(known.transit.amount, known.account.scale);
        write!(out, "{} is {open} by {}", known.account.account, known.version)?;
        writeln!(out, ", in transit {} of {transit}", known.transit.parcels)?;
    }
    for (name, stream) in buffer.streams() {
        write!(
            out,
            "to {} of {}: {} of {}",
            name.to,
            name.incarnation,
            stream.acknowledged(),
            stream.last()
        )?;
        for (number, parcel) in stream.after(0) {
            let (index, offset) = (parcel.position.index(), parcel.position.offset());
            write!(out, ", {number} is {index}-{offset} leg {}", parcel.leg)?;
        }
        writeln!(out)?;
    }
    for ((set, incarnation), taken) in buffer.inboxes() {
        writeln!(out, "from {set} of {incarnation}: {taken}")?;
    }
    for position in buffer.suspended() {
        writeln!(out, "suspended at {}-{}", position.index(), position.offset())?;
    }
    Ok(out)
}

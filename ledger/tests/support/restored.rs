//! Of the language of golden scripts what a recovered set and others say of what is lost.
//!
//! A SUM is `CURRENCY/SCALE/DEBITS/CREDITS`, in minor units. `lost ATTEMPT` gives up what was begun and lost, `lost ATTEMPT SET/SUM ...`
//! books it by what those sets have said; `booked ATTEMPT SET [SET/SUM ...]` decides as that set has booked; `restore ATTEMPT
//! LEG ... [sum=SUM also=SUM date= reverses= kind= reason=]` books a lost part. `lost_parcels TRANSACTION SET THROUGH [SUM ...]` books
//! parcels, `again TRANSACTION SET INDEX-OFFSET/LEG ...` sends them again.

use std::error::Error;

use goldenscript::ArgumentConsumer;
use twinset_ledger::attempt::{Ballot, Restore, Sum, Vote};
use twinset_ledger::buffer::ParcelName;
use twinset_ledger::{BufferStep, Command, Position, Step};

use super::words::{label, leg, legs};

type Fallible<T> = Result<T, Box<dyn Error>>;

/// A command about what is lost; None if the name is of another one.
pub fn read(name: &str, args: &mut ArgumentConsumer<'_>) -> Fallible<Option<Command>> {
    if !["lost", "booked", "restore", "lost_parcels", "again"].contains(&name) {
        return Ok(None);
    }
    let first = args.next_pos().ok_or("of what?")?.parse()?;
    let mut number = || -> Fallible<u64> { Ok(args.next_pos().ok_or("a number?")?.parse()?) };
    let step = match name {
        "lost" => {
            let votes = votes(args)?;
            Step::Lost { votes: (!votes.is_empty()).then_some(votes) }
        }
        "booked" => {
            let set = u32::try_from(number()?)?;
            Step::Decide(Ballot::Booked { set, votes: votes(args)? })
        }
        "restore" => {
            let sums = [args.take_key("sum"), args.take_key("also")];
            let sums = sums.into_iter().flatten().map(sum).collect::<Fallible<Vec<Sum>>>()?;
            Step::Restore(Restore {
                legs: legs(args, leg)?,
                sums: (!sums.is_empty()).then_some(sums),
                accounting_date: args.take_key("date").map(str::parse).transpose()?.unwrap_or_default(),
                reverses: args.take_key("reverses").map(str::parse).transpose()?,
                label: label(args)?,
            })
        }
        "lost_parcels" => {
            let (to, through) = (u32::try_from(number()?)?, number()?);
            let sums = std::iter::from_fn(|| args.next_pos()).map(sum).collect::<Fallible<_>>()?;
            return Ok(Some(Command::BufferStep { by: first, step: BufferStep::Lost { to, through, sums } }));
        }
        _ => {
            let to = u32::try_from(number()?)?;
            let parcels = std::iter::from_fn(|| args.next_pos()).map(parcel).collect::<Fallible<_>>()?;
            return Ok(Some(Command::BufferStep { by: first, step: BufferStep::SendAgain { to, parcels } }));
        }
    };
    Ok(Some(Command::Step { attempt: first, step }))
}

fn votes(args: &mut ArgumentConsumer<'_>) -> Fallible<Vec<Vote>> {
    let vote = |text: &str| {
        let (set, said) = text.split_once('/').ok_or("a vote is SET/SUM")?;
        Ok(Vote { set: set.parse()?, said: Ok(vec![sum(said)?]) })
    };
    std::iter::from_fn(|| args.next_pos()).map(vote).collect()
}

fn sum(text: &str) -> Fallible<Sum> {
    let parts: Vec<&str> = text.split('/').collect();
    let [currency, scale, debits, credits] = parts[..] else {
        return Err("a sum is CURRENCY/SCALE/DEBITS/CREDITS".into());
    };
    let currency = currency.to_owned();
    Ok(Sum { currency, scale: scale.parse()?, debits: debits.parse()?, credits: credits.parse()? })
}

fn parcel(text: &str) -> Fallible<ParcelName> {
    let (position, leg) = text.split_once('/').ok_or("a parcel is INDEX-OFFSET/LEG")?;
    let (index, offset) = position.split_once('-').ok_or("a position is INDEX-OFFSET")?;
    Ok(ParcelName { position: Position::new(index.parse()?, offset.parse()?), leg: leg.parse()? })
}

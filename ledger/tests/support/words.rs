//! What the scripts may say, read: commands, legs, amounts.

use goldenscript::{Argument, ArgumentConsumer};
use twinset_ledger::amount::parse;
use twinset_ledger::check_back::{Came, CheckBack, CheckedBack, Failure, OnExpiry};
use twinset_ledger::command::{Expected, Precondition};
use twinset_ledger::hold::{Capture, PlaceHold};
use twinset_ledger::rejection::CODES;
use twinset_ledger::{
    Begin, Command, Durability, FreezeMode, Label, Leg, LegKind, LegPart, Reversal, Side, Transaction,
};

use super::Fallible;
use super::{buffered, restored, sweeps};

pub fn read(name: &str, args: &mut ArgumentConsumer<'_>) -> Fallible<Command> {
    if let Some(command) = buffered::read(name, args)? {
        return Ok(command);
    }
    if let Some(command) = restored::read(name, args)? {
        return Ok(command);
    }
    if let Some(command) = sweeps::read(name, args)? {
        return Ok(command);
    }
    let mut next = || args.next_pos().map(str::to_owned).ok_or("too few arguments");
    Ok(match name {
        "currency" => Command::DefineCurrency { code: next()?, scale: next()?.parse()? },
        "subject" => Command::DefineSubject { code: next()?, name: next()?, normal_side: side(&next()?)? },
        "open" => Command::OpenAccount {
            request_id: next()?,
            account: next()?,
            subject: next()?,
            currency: next()?,
            normal_side: args.take_key("side").map(side).transpose()?,
            limit: limit(args.take_key("limit").unwrap_or("0"))?,
            metadata: metadata(args),
        },
        "limit" => Command::SetLimit { request_id: next()?, account: next()?, limit: limit(&next()?)? },
        "freeze" => Command::Freeze { request_id: next()?, account: next()?, mode: mode(&next()?)? },
        "unfreeze" => Command::Unfreeze { request_id: next()?, account: next()?, mode: mode(&next()?)? },
        "close" => Command::CloseAccount { request_id: next()?, account: next()? },
        "tx" => {
            let request_id = next()?;
            let legs = legs(args, leg)?;
            Command::Transaction(transaction(request_id, legs, args)?)
        }
        "across" => {
            let request_id = next()?;
            let (legs, sets) = legs(args, leg_of_set)?.into_iter().unzip();
            let transaction = transaction(request_id, legs, args)?;
            Command::Begin(Begin { transaction, sets })
        }
        "reverse" => Command::Reversal(Reversal {
            request_id: next()?,
            transaction: next()?.parse()?,
            amount: args.take_key("amount").map(parse).transpose()?,
            legs: leg_parts(args)?,
            reason: number(args, "reason")?,
            metadata: metadata(args),
        }),
        "hold" => Command::PlaceHold(PlaceHold {
            request_id: next()?,
            account: next()?,
            amount: parse(&next()?)?,
            currency: args.take_key("currency").map(str::to_owned),
            expires_ns: args.take_key("expires").map(str::parse).transpose()?,
            on_expiry: match args.take_key("back") {
                None => OnExpiry::Release,
                Some(to) => OnExpiry::CheckBack(CheckBack {
                    initiator: args.take_key("initiator").unwrap_or("shop").to_owned(),
                    to: to.to_owned(),
                }),
            },
            reason: number(args, "reason")?,
            metadata: metadata(args),
        }),
        "release" => Command::ReleaseHold {
            request_id: next()?,
            account: next()?,
            hold: next()?.parse()?,
            amount: args.take_key("amount").map(parse).transpose()?,
        },
        "extend" => Command::ExtendHold {
            request_id: next()?,
            account: next()?,
            hold: next()?.parse()?,
            expires_ns: args.take_key("expires").map(str::parse).transpose()?,
        },
        "came" => Command::CheckedBack(CheckedBack {
            hold: next()?.parse()?,
            no: next()?.parse()?,
            came: came(&next()?, args.take_key("next").map(str::parse).transpose()?.unwrap_or_default())?,
        }),
        "expire" => Command::ExpireHold { hold: next()?.parse()? },
        "unrestrict" => Command::ReleaseRestriction {
            request_id: next()?,
            account: next()?,
            restriction: next()?.parse()?,
            amount: args.take_key("amount").map(parse).transpose()?,
        },
        "lapse" => Command::ExpireRestriction { account: next()?, restriction: next()?.parse()? },
        "together" => Command::Together { count: next()?.parse()? },
        "group" => Command::DefineGroup { group: next()? },
        "mark" => Command::MarkDurability {
            durability: match next()?.as_str() {
                "sync" => Durability::Sync,
                "degraded" => Durability::Degraded,
                other => return Err(format!("no durability {other}").into()),
            },
        },
        _ => return Err(format!("no command {name}").into()),
    })
}

/// What is left of the words, each `LEG/AMOUNT`. `legs=none`: legs are named, and none of them.
fn leg_parts(args: &mut ArgumentConsumer<'_>) -> Fallible<Option<Vec<LegPart>>> {
    let part = |part: &str| -> Fallible<LegPart> {
        let (leg, amount) = part.split_once('/').ok_or("a part of a leg is LEG/AMOUNT")?;
        Ok(LegPart { leg: leg.parse()?, amount: parse(amount)? })
    };
    let parts: Vec<LegPart> = std::iter::from_fn(|| args.next_pos()).map(part).collect::<Fallible<_>>()?;
    let are_named = args.take_key("legs").is_some() || !parts.is_empty();
    Ok(are_named.then_some(parts))
}

pub fn came(text: &str, next_ns: u64) -> Fallible<Came> {
    let failed = |why| Came::Failed { why, next_ns };
    Ok(match text {
        "pending" => Came::Pending { next_ns },
        "unreachable" => failed(Failure::Unreachable),
        "timed_out" => failed(Failure::TimedOut),
        "bad_answer" => failed(Failure::Answer),
        "cancelled" => Came::Cancelled,
        "released" => Came::Released,
        "kept" => Came::Kept,
        "confirmed" => Came::Confirmed,
        code => {
            let at = CODES.iter().position(|known| *known == code).ok_or("nothing that comes of a try")?;
            failed(Failure::Refused { number: u16::try_from(at + 1)? })
        }
    })
}

pub fn transaction(
    request_id: String,
    legs: Vec<Leg>,
    args: &mut ArgumentConsumer<'_>,
) -> Fallible<Transaction> {
    Ok(Transaction {
        request_id,
        legs,
        scope_account: args.take_key("scope").map(str::to_owned),
        kind: number(args, "kind")?,
        reason: number(args, "reason")?,
        accounting_date: args.take_key("date").map(str::parse).transpose()?,
        capture: capture(args)?,
        metadata: metadata(args),
    })
}

pub fn capture(args: &mut ArgumentConsumer<'_>) -> Fallible<Option<Capture>> {
    let part = args.take_key("capture").map(|hold| (hold, false));
    let asked = part.or_else(|| args.take_key("final").map(|hold| (hold, true)));
    asked.map(|(hold, is_final)| Ok(Capture { hold: hold.parse()?, is_final })).transpose()
}

/// All legs of a command, those that stand for many one by one.
pub fn legs<L>(args: &mut ArgumentConsumer<'_>, leg: impl Fn(&str) -> Fallible<L>) -> Fallible<Vec<L>> {
    let mut legs = Vec::new();
    while let Some(text) = args.next_pos() {
        match text.split_once('*') {
            None => legs.push(leg(text)?),
            Some((text, count)) => {
                for no in 1..=count.parse()? {
                    legs.push(leg(&with_number(text, no))?);
                }
            }
        }
    }
    Ok(legs)
}

/// One word of one command of many.
pub fn numbered(word: &Argument, no: usize) -> Argument {
    match word.clone() {
        Argument::Positional(text) => Argument::Positional(with_number(&text, no)),
        Argument::KeyValue(key, text) => Argument::KeyValue(key, with_number(&text, no)),
        other => other,
    }
}

fn with_number(text: &str, no: usize) -> String {
    text.replace('#', &no.to_string())
}

pub fn leg_of_set(text: &str) -> Fallible<(Leg, u32)> {
    let (account, rest) = text.split_once('@').ok_or("a leg is ACCOUNT@SET/SIDE/AMOUNT[/CURRENCY]")?;
    let (set, rest) = rest.split_once('/').ok_or("a leg is ACCOUNT@SET/SIDE/AMOUNT[/CURRENCY]")?;
    Ok((leg(&format!("{account}/{rest}"))?, set.parse()?))
}

pub fn leg(text: &str) -> Fallible<Leg> {
    // The first letter of a name is not meant: clearing accounts begin with it.
    let at = text.char_indices().skip(1).find(|(_, letter)| *letter == '@').map_or(text.len(), |(at, _)| at);
    let (text, expects) = text.split_at(at);
    let mut parts = text.split('/');
    let mut next = || parts.next().ok_or("a leg is ACCOUNT/SIDE/AMOUNT[/CURRENCY][@PRECONDITION]");
    let (account, side, amount) = (next()?.to_owned(), side(next()?)?, parse(next()?)?);
    let currency = parts.next().map(str::to_owned);
    let (mut preconditions, mut kind) = (Vec::new(), LegKind::Ordinary);
    for text in expects.split('@').filter(|text| !text.is_empty()) {
        match text.split_once('/') {
            None if text == "withdrawal" => kind = LegKind::Withdrawal,
            None if text == "restricted" => kind = LegKind::Restricted { until_ns: None },
            Some(("restricted", until)) => kind = LegKind::Restricted { until_ns: Some(until.parse()?) },
            _ => preconditions.push(precondition(text)?),
        }
    }
    Ok(Leg { account, side, amount, currency, preconditions, kind })
}

pub fn precondition(text: &str) -> Fallible<Precondition> {
    let (name, value) = text.split_once('/').ok_or("a precondition is NAME/VALUE")?;
    let expected = Expected::ALL.into_iter().find(|expected| expected.name() == name);
    Ok(Precondition { expected: expected.ok_or("no such precondition")?, value: parse(value)? })
}

pub fn side(text: &str) -> Fallible<Side> {
    match text {
        "debit" => Ok(Side::Debit),
        "credit" => Ok(Side::Credit),
        _ => Err(format!("no side {text}").into()),
    }
}

pub fn mode(text: &str) -> Fallible<FreezeMode> {
    match text {
        "debit" => Ok(FreezeMode::Debit),
        "credit" => Ok(FreezeMode::Credit),
        "both" => Ok(FreezeMode::Both),
        _ => Err(format!("no mode {text}").into()),
    }
}

pub fn limit(text: &str) -> Fallible<Option<rust_decimal::Decimal>> {
    if text == "none" { Ok(None) } else { Ok(Some(parse(text)?)) }
}

pub fn number(args: &mut ArgumentConsumer<'_>, key: &str) -> Fallible<u16> {
    Ok(args.take_key(key).map(str::parse).transpose()?.unwrap_or_default())
}

/// What a client says of a transaction: what is left of the words.
pub fn label(args: &mut ArgumentConsumer<'_>) -> Fallible<Label> {
    Ok(Label { kind: number(args, "kind")?, reason: number(args, "reason")?, metadata: metadata(args) })
}

pub fn metadata(args: &mut ArgumentConsumer<'_>) -> twinset_ledger::command::Metadata {
    std::iter::from_fn(|| args.next_key()).map(|(k, v)| (k.to_owned(), v.to_owned())).collect()
}

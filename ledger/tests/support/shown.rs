//! What the scripts show: outcomes, holds, legs.

use std::fmt::Write as _;

use twinset_ledger::amount::to_decimal_string;
use twinset_ledger::attempt::Sum;
use twinset_ledger::check_back::Asking;
use twinset_ledger::hold::{Ended, Hold};
use twinset_ledger::outcome::Held;
use twinset_ledger::sweep::{Sweep, Timing};
use twinset_ledger::{Command, Effect, Label, Outcome, Position, Posted, RunEnd};

use super::buffered;
use super::support::INCARNATION;

pub fn show_asking(asking: &Asking) -> String {
    let Asking { terms, tries, tries_before, next_ns, confirming, kept } = asking;
    let mut out = format!("asks {} to={} tries={tries}", terms.initiator, terms.to);
    for (name, shown) in [("before", u64::from(*tries_before)), ("next", *next_ns)] {
        if shown > 0 {
            write!(out, " {name}={shown}").expect("texts take all");
        }
    }
    for (name, _) in [("confirming", confirming), ("kept", kept)].iter().filter(|(_, is)| **is) {
        write!(out, " {name}").expect("texts take all");
    }
    out
}

pub fn place(position: Position) -> String {
    format!("{}-{}", position.index(), position.offset())
}

pub fn show(outcome: &Outcome, command: &Command) -> String {
    let replayed = if outcome.replayed { " replayed" } else { "" };
    let result = match &outcome.result {
        Err(rejection) => format!("rejected {}: {rejection}", rejection.code()),
        Ok(Effect::Defined { changed: true }) => "defined".to_owned(),
        Ok(Effect::Defined { changed: false }) => "defined before".to_owned(),
        Ok(Effect::Account) => "done".to_owned(),
        Ok(Effect::Ran(RunEnd::Refused(why))) => format!("ran: refused {}: {why}", why.code()),
        Ok(Effect::Ran(end)) => format!("ran: {end:?}"),
        Ok(Effect::Marked) => "marked".to_owned(),
        Ok(Effect::Grouped) => "together".to_owned(),
        Ok(Effect::Posted(legs)) => format!("posted {}", show_legs(legs, command)),
        Ok(Effect::Settled(legs)) => format!("settled {}", show_legs(legs, command)),
        Ok(Effect::Buffered { booked, sent }) => {
            format!("booked {}, sent {}", show_named(booked), buffered::show_sent(sent))
        }
        Ok(Effect::Suspended { reason, booked }) => {
            format!("suspended {}: {}", reason.code(), show_named(booked))
        }
        Ok(Effect::Taken) => "taken before".to_owned(),
        Ok(Effect::Announced) => "announced".to_owned(),
        Ok(Effect::Withdrawn(ends)) => format!("withdrawn, sent until {}", buffered::show_ends(ends)),
        Ok(Effect::Acknowledged) => "acknowledged".to_owned(),
        Ok(Effect::Begun) => "begun".to_owned(),
        Ok(Effect::Aborted) => "aborted".to_owned(),
        Ok(Effect::Held(held)) => {
            let available = to_decimal_string(held.available, held.scale);
            format!("hold {} {} ({available})", held.hold, show_hold(held.into(), held.scale))
        }
        Ok(Effect::Restricted(now)) => {
            let money = |minor| to_decimal_string(minor, now.scale);
            let ended = now.ended.map_or("open".to_owned(), |how| format!("{how:?}"));
            let (released, left, withdrawable) =
                (money(now.released), money(now.left), money(now.withdrawable));
            format!(
                "restriction {} of {} released={released} left={left} {ended} ({withdrawable})",
                now.restriction,
                money(now.amount)
            )
        }
        Ok(Effect::Prepared(sums)) => {
            let sums: Vec<String> = sums.iter().map(show_sum).collect();
            format!("prepared {}", sums.join(", "))
        }
    };
    let incarnation = match outcome.incarnation {
        INCARNATION => String::new(),
        later => format!(" of {later}"),
    };
    format!("{}{incarnation} t={}{replayed} {result}\n", place(outcome.position), outcome.time_unix_ns)
}

/// Outcomes of many commands: of those of one kind in a row, which differ in what follows the first word or the code of a
/// refusal, the last.
pub fn show_runs(shown: &[String]) -> String {
    let kind = |line: &String| {
        let (_, said) = line.split_once(" t=").expect("an outcome has a time");
        let mut words = said.split(' ').skip(1);
        let word = words.next().map(str::to_owned);
        let code = words.next().filter(|_| word.as_deref() == Some("rejected"));
        (word, code.map(str::to_owned))
    };
    let runs = shown.chunk_by(|one, next| kind(one) == kind(next));
    let show = |run: &[String]| match run {
        [one] => one.clone(),
        [.., last] => format!("{} times, at last {last}", run.len()),
        [] => unreachable!("there is one in each"),
    };
    runs.map(show).collect()
}

/// What a hold's record and the answer to a command on it have in common.
pub struct Figures {
    amounts: [i128; 4],
    expires_ns: Option<u64>,
    ended: Option<Ended>,
}

impl From<&Hold> for Figures {
    fn from(hold: &Hold) -> Self {
        let amounts = [hold.amount, hold.captured, hold.capturing, hold.released];
        Figures { amounts, expires_ns: hold.expires_ns, ended: hold.ended }
    }
}

impl From<&Held> for Figures {
    fn from(held: &Held) -> Self {
        let amounts = [held.amount, held.captured, held.capturing, held.released];
        Figures { amounts, expires_ns: held.expires_ns, ended: held.ended }
    }
}

pub fn show_hold(figures: Figures, scale: u8) -> String {
    let mut out = to_decimal_string(figures.amounts[0], scale);
    for (amount, name) in figures.amounts.iter().zip(["", "captured", "capturing", "released"]).skip(1) {
        if *amount != 0 {
            write!(out, " {name}={}", to_decimal_string(*amount, scale)).expect("texts take all");
        }
    }
    if let Some(end) = figures.expires_ns {
        write!(out, " expires={end}").expect("texts take all");
    }
    match figures.ended {
        None => out + " open",
        Some(ended) => format!("{out} {ended:?}"),
    }
}

pub fn show_sweep(sweep: &Sweep, scale: u8) -> String {
    let money = |minor| to_decimal_string(minor, scale);
    let when = match sweep.timing {
        Timing::Every { seconds, from_ns } => format!("every {seconds}s from {from_ns}"),
        Timing::Above { minor } => format!("above {}", money(minor)),
        Timing::Daily => "daily".to_owned(),
    };
    let open = sweep.open.map(|at| format!(" open {at}")).unwrap_or_default();
    let Sweep { id, to, keep, runs, next_ns, .. } = sweep;
    format!("{id} to={to} keep={} {when} runs={runs} next={next_ns}{open}", money(*keep))
}

/// Nothing, if it says nothing.
pub fn show_label(label: &Label) -> String {
    let Label { kind, reason, metadata } = label;
    match label.is_empty() {
        true => String::new(),
        false => format!(" kind={kind} reason={reason} metadata={metadata:?}"),
    }
}

pub fn show_sum(sum: &Sum) -> String {
    let money = |minor| to_decimal_string(minor, sum.scale);
    format!("{} debits={} credits={}", sum.currency, money(sum.debits), money(sum.credits))
}

pub fn show_legs(legs: &[Posted], command: &Command) -> String {
    let accounts = command.accounts().map(Some).chain(std::iter::repeat(None));
    let legs: Vec<String> = legs.iter().zip(accounts).map(|(leg, name)| show_leg(leg, name)).collect();
    legs.join(", ")
}

/// Legs that name their accounts themselves.
pub fn show_named(legs: &[Posted]) -> String {
    legs.iter().map(|leg| show_leg(leg, None)).collect::<Vec<_>>().join(", ")
}

pub fn show_leg(leg: &Posted, asked: Option<&str>) -> String {
    let money = |minor| to_decimal_string(minor, leg.scale);
    let account = asked.unwrap_or(&leg.account);
    format!(
        "{account} {:?} {} -> {} ({})",
        leg.side,
        money(leg.amount),
        money(leg.posted),
        money(leg.available)
    )
}

//! Runs the golden scripts, in the ledger and in its model at once: one scenario per file, named as the scenario. After a
//! change that is meant to change them, `UPDATE_GOLDENFILES=1 cargo test -p twinset-ledger --test scripts` rewrites the
//! outputs, to be read before commit.
//!
//! The language: `currency CODE SCALE`, `subject CODE NAME SIDE`, `open ID ACCOUNT SUBJECT CURRENCY [limit= side=]`,
//! `limit ID ACCOUNT AMOUNT|none`, `freeze|unfreeze ID ACCOUNT MODE`, `close ID ACCOUNT`,
//! `tx ID ACCOUNT/SIDE/AMOUNT[/CURRENCY] ... [scope= kind= reason= date=]`, `reverse ID TRANSACTION [amount= reason=]`,
//! `mark sync|degraded`; other keys are metadata. Each command is an entry of its own, unless between `begin` and
//! `apply`. `clock TIME` sets the leader's clock, `incarnation N` the incarnation of the entries to come. `account ID`,
//! `postings ID`, `totals`, `reversed POSITION`, `attempts` and `durability` look.
//!
//! Over several sets: `set N` goes to another set (all is set 1's before). `across ID ACCOUNT@SET/SIDE/AMOUNT ...` begins,
//! with the keys of `tx`; `prepare ATTEMPT ACCOUNT/SIDE/AMOUNT ... [date=]`, `decide ATTEMPT SET ...` (with what these sets
//! said last to its preparation), `giveup ATTEMPT SET`, `commit ATTEMPT`, `abort ATTEMPT`, `settle ATTEMPT SET ...` (with what
//! these sets booked) are the steps.
//!
//! In outputs, `5-0 t=7` is the position (index,
//! offset) and the ledger time; after the first incarnation, `5-0 of 2` says of which it is.

mod model;
mod support;
#[path = "support/twin.rs"]
mod twin;

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt::Write as _;

use goldenscript::{ArgumentConsumer, Context, Runner};
use support::{INCARNATION, SET};
use twin::Twin;
use twinset_ledger::amount::{parse, to_decimal_string};
use twinset_ledger::attempt::{Ballot, Coordination, Part, Role, Sum, Vote};
use twinset_ledger::{
    Begin, Command, Durability, Effect, FreezeMode, Leg, Outcome, Position, Posted, Reversal, Side, State,
    Step, Transaction, TransactionId,
};

type Fallible<T> = Result<T, Box<dyn Error>>;

/// One test per script.
macro_rules! scenarios {
    ($($name:ident)*) => {
        const SCENARIOS: &[&str] = &[$(stringify!($name)),*];
        $(#[test]
        fn $name() {
            let path = concat!("tests/scripts/", stringify!($name));
            goldenscript::run(&mut Script::new(), path).expect("the script runs");
        })*
    };
}

scenarios! {
    across_sets
    across_sets_given_up
    across_sets_overflow
    across_sets_participant
    across_sets_refused
    across_sets_reversal
    chart
    clearing
    close
    freeze
    idempotency
    idempotency_of_accounts
    idempotency_with_unknown_accounts
    incarnation
    limits
    many_legs
    multi_currency
    one_entry
    open_account
    overflow
    precedence
    reversal
    reversal_of_many_legs
    scope
    time
    unbalanced
}

#[test]
fn every_script_runs() {
    let files = std::fs::read_dir("tests/scripts")
        .expect("the directory")
        .map(|file| file.expect("a file").file_name());
    let mut files: Vec<String> = files.map(|name| name.into_string().expect("ASCII")).collect();
    files.sort();
    assert_eq!(files, SCENARIOS);
}

struct Script {
    sets: BTreeMap<u32, Twin>,
    /// Where commands go.
    set: u32,
    clock: u64,
    waiting: Option<Vec<Command>>,
    /// What each set said last to the preparation of an attempt.
    votes: BTreeMap<(TransactionId, u32), Vote>,
    /// What each set has booked of an attempt.
    parts: BTreeMap<(TransactionId, u32), Part>,
}

impl Script {
    fn new() -> Self {
        Script {
            sets: BTreeMap::from([(SET, Twin::of(SET))]),
            set: SET,
            clock: 0,
            waiting: None,
            votes: BTreeMap::new(),
            parts: BTreeMap::new(),
        }
    }

    fn set(&mut self) -> &mut Twin {
        self.sets.get_mut(&self.set).expect("it was made when it was gone to")
    }

    /// Applies the commands in one entry at the clock's time.
    fn apply(&mut self, commands: &[Command]) -> String {
        let (clock, set) = (self.clock, self.set);
        let outcomes = self.set().apply(clock, commands);
        self.set().compare_readings();
        for (command, outcome) in commands.iter().zip(&outcomes) {
            let Command::Step { attempt, .. } = command else { continue };
            let key = (*attempt, set);
            match (&outcome.result, command) {
                (Ok(Effect::Prepared(sums)), _) => {
                    self.votes.insert(key, Vote { set, said: Ok(sums.clone()) });
                }
                (Err(refusal), Command::Step { step: Step::Prepare { .. }, .. }) => {
                    self.votes.insert(key, Vote { set, said: Err(refusal.clone()) });
                }
                (Ok(Effect::Posted(legs)), _) => {
                    self.parts.insert(key, Part { set, position: outcome.position, legs: legs.clone() });
                }
                _ => {}
            }
        }
        outcomes.iter().zip(commands).map(|(outcome, command)| show(outcome, command)).collect()
    }

    fn look(&self, name: &str, args: &mut ArgumentConsumer<'_>) -> Fallible<Option<String>> {
        let state = &self.sets[&self.set].books.short;
        let mut out = String::new();
        match name {
            "account" => {
                let a = state.account_by_id(args.next_pos().ok_or("account?")?).ok_or("no such account")?;
                let money = |minor| to_decimal_string(minor, a.scale);
                let limit = a.limit.map_or("none".to_owned(), money);
                let (posted, available) = (money(a.posted()), money(a.available()));
                write!(out, "{} {} {} {:?}", a.id, a.subject, a.currency, a.normal_side)?;
                write!(out, " limit={limit} posted={posted} available={available}")?;
                write!(
                    out,
                    " debits={} credits={} version={}",
                    money(a.debits),
                    money(a.credits),
                    a.version
                )?;
                for (figure, name) in [(a.held, "held"), (a.incoming, "incoming"), (a.prepared, "prepared")] {
                    if figure != 0 {
                        write!(out, " {name}={}", money(figure))?;
                    }
                }
                for (flag, name) in [
                    (a.frozen_debit, "frozen_debit"),
                    (a.frozen_credit, "frozen_credit"),
                    (a.closed, "closed"),
                ] {
                    if flag {
                        write!(out, " {name}")?;
                    }
                }
                writeln!(out, " opened_at={} metadata={:?}", place(a.opened_at), a.metadata)?;
            }
            "postings" => {
                let no = state.account_no(args.next_pos().ok_or("account?")?).ok_or("no such account")?;
                for posting in state.postings(no) {
                    let delta = to_decimal_string(posting.delta, state.account(no).scale);
                    writeln!(out, "{} {delta}", place(posting.position))?;
                }
            }
            "totals" => {
                for (currency, (debits, credits)) in state.totals() {
                    writeln!(out, "{currency} debits={debits} credits={credits}")?;
                }
            }
            "reversed" => {
                let (index, offset) =
                    args.next_pos().and_then(|text| text.split_once('-')).ok_or("position?")?;
                let reversed = state.reversed(Position::new(index.parse()?, offset.parse()?))?;
                let by: Vec<String> = reversed.by.iter().map(ToString::to_string).collect();
                writeln!(out, "{} by {by:?}", reversed.amount)?;
            }
            "attempts" => {
                for (id, attempt) in state.attempts().iter() {
                    write!(out, "{id} since t={} day={}", attempt.opened_ns, attempt.accounting_date)?;
                    match &attempt.role {
                        Role::Participant => write!(out, " takes part")?,
                        Role::Coordinator(Coordination { decided: None, .. }) => write!(out, " asks")?,
                        Role::Coordinator(Coordination { decided: Some(at), .. }) => {
                            write!(out, " decided {}", place(*at))?;
                        }
                    }
                    for leg in &attempt.reserved {
                        let account = state.account(leg.no);
                        let amount = to_decimal_string(leg.amount, account.scale);
                        write!(out, ", {} {:?} {amount}", account.id, leg.side)?;
                    }
                    writeln!(out)?;
                }
            }
            "durability" => writeln!(out, "{:?}", state.durability())?,
            _ => return Ok(None),
        }
        Ok(Some(out))
    }
}

impl Runner for Script {
    type Command = goldenscript::Command;

    fn run(&mut self, command: &goldenscript::Command, _: &Context) -> Fallible<String> {
        let mut args = command.consume_args();
        if let Some(output) = self.look(&command.name, &mut args)? {
            args.reject_next()?;
            return Ok(output);
        }
        match command.name.as_str() {
            "set" => {
                self.set = args.next_pos().ok_or("number?")?.parse()?;
                self.sets.entry(self.set).or_insert_with(|| Twin::of(self.set));
            }
            "incarnation" => self.set().books.incarnation = args.next_pos().ok_or("number?")?.parse()?,
            "clock" => self.clock = args.next_pos().ok_or("time?")?.parse()?,
            "begin" => self.waiting = Some(Vec::new()),
            "apply" => {
                let commands = self.waiting.take().ok_or("nothing was begun")?;
                return Ok(self.apply(&commands));
            }
            _ => {
                let command = match self.step(&command.name, &mut args)? {
                    Some(command) => command,
                    None => read(&command.name, &mut args)?,
                };
                if let Err(malformed) = command.validate() {
                    return Ok(format!("malformed {}: {malformed}\n", malformed.code()));
                }
                match &mut self.waiting {
                    Some(waiting) => waiting.push(command),
                    None => return Ok(self.apply(&[command])),
                }
            }
        }
        args.reject_next()?;
        Ok(String::new())
    }
}

impl Script {
    /// A step of an attempt; None if the name is of another command.
    fn step(&self, name: &str, args: &mut ArgumentConsumer<'_>) -> Fallible<Option<Command>> {
        if !["prepare", "decide", "giveup", "commit", "abort", "settle"].contains(&name) {
            return Ok(None);
        }
        let attempt: TransactionId = args.next_pos().ok_or("attempt?")?.parse()?;
        let sets = |args: &mut ArgumentConsumer<'_>| -> Fallible<Vec<u32>> {
            std::iter::from_fn(|| args.next_pos()).map(|set| Ok(set.parse()?)).collect()
        };
        let step = match name {
            "prepare" => Step::Prepare {
                legs: std::iter::from_fn(|| args.next_pos()).map(leg).collect::<Fallible<_>>()?,
                accounting_date: args.take_key("date").map(str::parse).transpose()?.unwrap_or_default(),
            },
            "decide" => {
                let said = |set| self.votes.get(&(attempt, set)).cloned().ok_or("it has not voted");
                Step::Decide(Ballot::Votes(sets(args)?.into_iter().map(said).collect::<Result<_, _>>()?))
            }
            "giveup" => Step::Decide(Ballot::GivenUp { set: args.next_pos().ok_or("set?")?.parse()? }),
            "commit" => Step::Commit,
            "abort" => Step::Abort,
            _ => {
                let booked = |set| self.parts.get(&(attempt, set)).cloned().ok_or("it has not booked");
                Step::Settle { parts: sets(args)?.into_iter().map(booked).collect::<Result<_, _>>()? }
            }
        };
        Ok(Some(Command::Step { attempt, step }))
    }
}

fn read(name: &str, args: &mut ArgumentConsumer<'_>) -> Fallible<Command> {
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
            let legs = std::iter::from_fn(|| args.next_pos()).map(leg).collect::<Fallible<_>>()?;
            Command::Transaction(transaction(request_id, legs, args)?)
        }
        "across" => {
            let request_id = next()?;
            let legs: Vec<(Leg, u32)> =
                std::iter::from_fn(|| args.next_pos()).map(leg_of_set).collect::<Fallible<_>>()?;
            let (legs, sets) = legs.into_iter().unzip();
            let transaction = transaction(request_id, legs, args)?;
            Command::Begin(Begin { transaction, sets })
        }
        "reverse" => Command::Reversal(Reversal {
            request_id: next()?,
            transaction: next()?.parse()?,
            amount: args.take_key("amount").map(parse).transpose()?,
            reason: number(args, "reason")?,
            metadata: metadata(args),
        }),
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

fn transaction(request_id: String, legs: Vec<Leg>, args: &mut ArgumentConsumer<'_>) -> Fallible<Transaction> {
    Ok(Transaction {
        request_id,
        legs,
        scope_account: args.take_key("scope").map(str::to_owned),
        kind: number(args, "kind")?,
        reason: number(args, "reason")?,
        accounting_date: args.take_key("date").map(str::parse).transpose()?,
        metadata: metadata(args),
    })
}

fn leg_of_set(text: &str) -> Fallible<(Leg, u32)> {
    let (account, rest) = text.split_once('@').ok_or("a leg is ACCOUNT@SET/SIDE/AMOUNT[/CURRENCY]")?;
    let (set, rest) = rest.split_once('/').ok_or("a leg is ACCOUNT@SET/SIDE/AMOUNT[/CURRENCY]")?;
    Ok((leg(&format!("{account}/{rest}"))?, set.parse()?))
}

fn leg(text: &str) -> Fallible<Leg> {
    let mut parts = text.split('/');
    let mut next = || parts.next().ok_or("a leg is ACCOUNT/SIDE/AMOUNT[/CURRENCY]");
    let (account, side, amount) = (next()?.to_owned(), side(next()?)?, parse(next()?)?);
    Ok(Leg { account, side, amount, currency: parts.next().map(str::to_owned) })
}

fn side(text: &str) -> Fallible<Side> {
    match text {
        "debit" => Ok(Side::Debit),
        "credit" => Ok(Side::Credit),
        _ => Err(format!("no side {text}").into()),
    }
}

fn mode(text: &str) -> Fallible<FreezeMode> {
    match text {
        "debit" => Ok(FreezeMode::Debit),
        "credit" => Ok(FreezeMode::Credit),
        "both" => Ok(FreezeMode::Both),
        _ => Err(format!("no mode {text}").into()),
    }
}

fn limit(text: &str) -> Fallible<Option<rust_decimal::Decimal>> {
    if text == "none" { Ok(None) } else { Ok(Some(parse(text)?)) }
}

fn number(args: &mut ArgumentConsumer<'_>, key: &str) -> Fallible<u16> {
    Ok(args.take_key(key).map(str::parse).transpose()?.unwrap_or_default())
}

fn metadata(args: &mut ArgumentConsumer<'_>) -> twinset_ledger::command::Metadata {
    std::iter::from_fn(|| args.next_key()).map(|(k, v)| (k.to_owned(), v.to_owned())).collect()
}

fn place(position: Position) -> String {
    format!("{}-{}", position.index(), position.offset())
}

fn show(outcome: &Outcome, command: &Command) -> String {
    let replayed = if outcome.replayed { " replayed" } else { "" };
    let result = match &outcome.result {
        Err(rejection) => format!("rejected {}: {rejection}", rejection.code()),
        Ok(Effect::Defined { changed: true }) => "defined".to_owned(),
        Ok(Effect::Defined { changed: false }) => "defined before".to_owned(),
        Ok(Effect::Account) => "done".to_owned(),
        Ok(Effect::Marked) => "marked".to_owned(),
        Ok(Effect::Posted(legs)) => format!("posted {}", show_legs(legs, command)),
        Ok(Effect::Settled(legs)) => format!("settled {}", show_legs(legs, command)),
        Ok(Effect::Begun) => "begun".to_owned(),
        Ok(Effect::Aborted) => "aborted".to_owned(),
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

fn show_sum(sum: &Sum) -> String {
    let money = |minor| to_decimal_string(minor, sum.scale);
    format!("{} debits={} credits={}", sum.currency, money(sum.debits), money(sum.credits))
}

fn show_legs(legs: &[Posted], command: &Command) -> String {
    let accounts = command.accounts().map(Some).chain(std::iter::repeat(None));
    let legs: Vec<String> = legs.iter().zip(accounts).map(|(leg, name)| show_leg(leg, name)).collect();
    legs.join(", ")
}

fn show_leg(leg: &Posted, asked: Option<&str>) -> String {
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

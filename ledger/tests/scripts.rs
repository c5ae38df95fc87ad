//! Runs the golden scripts, in the ledger and in its model at once: one scenario per file, named as the scenario. After a
//! change that is meant to change them, `UPDATE_GOLDENFILES=1 cargo test -p twinset-ledger --test scripts` rewrites the
//! outputs, to be read before commit.
//!
//! The language: `currency CODE SCALE`, `subject CODE NAME SIDE`, `open ID ACCOUNT SUBJECT CURRENCY [limit= side=]`,
//! `group ID`, `limit ID ACCOUNT AMOUNT|none`, `freeze|unfreeze ID ACCOUNT MODE`, `close ID ACCOUNT`,
//! `tx ID ACCOUNT/SIDE/AMOUNT[/CURRENCY] ... [scope= kind= reason= date=]`, `reverse ID TRANSACTION [amount= reason=]`,
//! `hold ID ACCOUNT AMOUNT [expires= back=PAYEE initiator= currency= reason=]`, `release ID ACCOUNT HOLD [amount=]`, `extend ID ACCOUNT HOLD
//! [expires=]`, `expire HOLD`, `came HOLD NUMBER WHAT [next=]`, and of a `tx` or `across` `capture=HOLD` or `final=HOLD`; of a leg
//! `ACCOUNT/SIDE/AMOUNT@available_min/AMOUNT@version/N`, `...@withdrawal`, `...@restricted` or `...@restricted/UNTIL`;
//! `unrestrict ID ACCOUNT TRANSACTION [amount=]`, `lapse ACCOUNT TRANSACTION`; `together COUNT`; `mark sync|degraded`; other keys are metadata. Each command is an entry of its own, unless between `begin` and
//! `apply`, or `try`, which only tells what would come of it. `repeat N COMMAND ...` is N of a kind in one entry, `#` in their words the number
//! of each from 1; of outcomes of one kind in a row only the last is shown. A leg `...*N` is N legs, numbered likewise. `clock TIME` sets the leader's clock, `incarnation N` the incarnation of the entries to come. `account ID`,
//! `holds`, `restrictions`, `postings ID`, `totals`, `reversed POSITION`, `attempts` and `durability` look.
//!
//! Over several sets: `set N` goes to another set (all is set 1's before). `across ID ACCOUNT@SET/SIDE/AMOUNT ...` begins,
//! with the keys of `tx`; `prepare ATTEMPT ACCOUNT/SIDE/AMOUNT ... [date= reverses= kind= reason=]`, `decide ATTEMPT SET ...` (with what these sets
//! said last to its preparation), `giveup ATTEMPT SET`, `commit ATTEMPT`, `abort ATTEMPT`, `settle ATTEMPT SET ...` (with what
//! these sets booked) are the steps. What is about buffered accounts stands in `support/buffered.rs`,
//! what is about losses in `support/restored.rs`.
//!
//! In outputs, `5-0 t=7` is the position (index,
//! offset) and the ledger time; after the first incarnation, `5-0 of 2` says of which it is.

#[path = "support/buffered.rs"]
mod buffered;
mod model;
#[path = "support/restored.rs"]
mod restored;
#[path = "support/shown.rs"]
mod shown;
mod support;
#[path = "support/sweeps.rs"]
mod sweeps;
#[path = "support/twin.rs"]
mod twin;
#[path = "support/words.rs"]
mod words;

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt::Write as _;

use goldenscript::{ArgumentConsumer, Context, Runner};
use shown::*;
use support::SET;
use twin::Twin;
use twinset_ledger::amount::to_decimal_string;
use twinset_ledger::apply;
use twinset_ledger::attempt::{Ballot, Coordination, Part, Role, Vote};
use twinset_ledger::hold::HoldChange;
use twinset_ledger::rejection::CODES;
use twinset_ledger::restriction::Restriction;
use twinset_ledger::{Command, Effect, LegKind, Malformed, Position, State, Step, TransactionId};

use words::*;

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
    across_sets_reversal_of_legs
    buffered
    buffered_mode
    buffered_parcels
    buffered_refused
    buffered_reversal
    buffered_suspense
    chart
    clearing
    close
    dry_run
    freeze
    groups
    hold_check_back
    hold_check_back_across_sets
    hold_check_back_last_resort
    hold_check_back_refused
    hold_journal
    holds
    holds_across_sets
    holds_end
    holds_refused
    idempotency
    idempotency_of_accounts
    idempotency_with_unknown_accounts
    incarnation
    labels
    limits
    malformed
    many_legs
    multi_currency
    one_entry
    open_account
    overflow
    precedence
    preconditions
    restored_coordinator
    restored_parcels
    restored_participant
    restricted
    restricted_across_sets
    restricted_refused
    reversal
    reversal_of_legs
    reversal_of_many_legs
    scope
    sweeps
    sweeps_across_sets
    sweeps_full
    sweeps_refused
    sweeps_runs
    time
    together
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

#[test]
fn every_refusal_has_a_script() {
    let read = |name: &&str| std::fs::read_to_string(format!("tests/scripts/{name}")).expect("the script");
    let scripts: Vec<String> = SCENARIOS.iter().map(read).collect();
    let is_shown = |refusal: &str| scripts.iter().any(|script| shows(script, refusal));
    let rejected = CODES.iter().map(|code| format!("rejected {code}: "));
    let malformed = Malformed::ALL.iter().map(|malformed| format!("malformed {}: ", malformed.code()));
    let missing: Vec<String> = rejected.chain(malformed).filter(|refusal| !is_shown(refusal)).collect();
    assert!(missing.is_empty(), "no script shows {missing:?}");
}

/// Whether a script is answered so: after the line of its block that divides what is asked from what comes of it.
fn shows(script: &str, refusal: &str) -> bool {
    let answers = script.split("\n\n").filter_map(|block| block.split_once("---\n"));
    answers.flat_map(|(_, answers)| answers.lines()).any(|line| line.contains(refusal))
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
        self.shown(commands).concat()
    }

    /// The same, one by one.
    fn shown(&mut self, commands: &[Command]) -> Vec<String> {
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
                for (figure, name) in [
                    (a.held, "held"),
                    (a.incoming, "incoming"),
                    (a.prepared, "prepared"),
                    (a.restricted, "restricted"),
                ] {
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
                write!(out, "{}", reversed.taken.evenly)?;
                for (leg, amount) in &reversed.taken.legs {
                    write!(out, " leg {leg}: {amount}")?;
                }
                writeln!(out, " by {by:?}")?;
            }
            "attempts" => {
                for (id, attempt) in state.attempts().iter() {
                    write!(out, "{id} since t={} day={}", attempt.opened_ns, attempt.accounting_date)?;
                    match &attempt.role {
                        Role::Participant { reverses: None } => write!(out, " takes part")?,
                        Role::Participant { reverses: Some(original) } => {
                            write!(out, " takes part, reverses {original}")?;
                        }
                        Role::Coordinator(Coordination { decided: None, label, .. }) => {
                            write!(out, " asks{}", show_label(label))?;
                        }
                        Role::Coordinator(Coordination { decided: Some(at), .. }) => {
                            write!(out, " decided {}", place(*at))?;
                        }
                    }
                    for leg in &attempt.reserved {
                        let account = state.account(leg.no);
                        let amount = to_decimal_string(leg.amount, account.scale);
                        write!(out, ", {} {:?} {amount}", account.id, leg.side)?;
                        if leg.kind != LegKind::Ordinary {
                            write!(out, " {:?}", leg.kind)?;
                        }
                    }
                    writeln!(out)?;
                }
            }
            "holds" => {
                for hold in state.holds().iter() {
                    let account = state.account(hold.account);
                    let money = |minor| to_decimal_string(minor, account.scale);
                    write!(out, "{} {} {}", hold.id, account.id, show_hold(hold.into(), account.scale))?;
                    if let Some(asking) = &hold.check_back {
                        write!(out, " {}", show_asking(asking))?;
                    }
                    for event in &hold.journal {
                        write!(out, "; {} t={} ", place(event.at), event.time_unix_ns)?;
                        match event.change {
                            HoldChange::Captured { amount, by } => {
                                write!(out, "captured {} by {by}", money(amount))?;
                            }
                            HoldChange::Released { amount } => write!(out, "released {}", money(amount))?,
                            HoldChange::Expired { amount } => write!(out, "expired {}", money(amount))?,
                            HoldChange::Extended { expires_ns } => write!(out, "extended {expires_ns:?}")?,
                            HoldChange::CheckedBack { no, came } => write!(out, "try {no}: {came:?}")?,
                        }
                    }
                    writeln!(out)?;
                }
            }
            "sweeps" => {
                for sweep in state.sweeps().iter() {
                    let account = state.account(sweep.account);
                    writeln!(out, "{} {}", account.id, show_sweep(sweep, account.scale))?;
                }
            }
            "buffer" => out += &buffered::look(state)?,
            "restrictions" => {
                for restriction in state.restrictions().iter() {
                    let account = state.account(restriction.account);
                    let Restriction { transaction, made_at, made_ns, amount, left, until_ns, ended, .. } =
                        restriction;
                    let until = until_ns.map(|until| format!(" until={until}")).unwrap_or_default();
                    let money = |minor| to_decimal_string(minor, account.scale);
                    write!(out, "{transaction} {} {} left={}", account.id, money(*amount), money(*left))?;
                    write!(out, "{until} made {} t={made_ns}", place(*made_at))?;
                    if let Some(ended) = ended {
                        write!(out, " {:?} {} t={}", ended.how, place(ended.at), ended.time_unix_ns)?;
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
            "try" => {
                let commands = self.waiting.take().ok_or("nothing was begun")?;
                let books = &self.sets[&self.set].books;
                let outcomes = apply::dry_run(&books.short, books.incarnation, self.clock, &commands)?;
                return Ok(outcomes
                    .iter()
                    .zip(&commands)
                    .map(|(outcome, command)| show(outcome, command))
                    .collect());
            }
            "repeat" => {
                let count: usize = args.next_pos().ok_or("how often?")?.parse()?;
                let name = args.next_pos().ok_or("what?")?;
                let mut each = command.clone();
                let words: Vec<_> = args.cloned().collect();
                let one = |no| {
                    each.args = words.iter().map(|word| numbered(word, no)).collect();
                    self.command(name, &mut each.consume_args())
                };
                let commands = (1..=count).map(one).collect::<Fallible<Vec<_>>>()?;
                return Ok(show_runs(&self.shown(&commands)));
            }
            _ => {
                let command = self.command(&command.name, &mut args)?;
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
    fn command(&self, name: &str, args: &mut ArgumentConsumer<'_>) -> Fallible<Command> {
        let run = match name {
            "run" => sweeps::run(&self.sets[&self.set].books.short, args)?,
            _ => None,
        };
        match run.or(self.step(name, args)?) {
            Some(command) => Ok(command),
            None => read(name, args),
        }
    }

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
                legs: legs(args, leg)?,
                accounting_date: args.take_key("date").map(str::parse).transpose()?.unwrap_or_default(),
                reverses: args.take_key("reverses").map(str::parse).transpose()?,
                label: label(args)?,
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

//! What a person does with a relay's data: look at dead letters, have them delivered again, drop them; look at cursors and set
//! them. Data go to stdout, the rest to stderr. Dead letters can be worked on while the relay runs; a cursor cannot be set then.

use std::io::Write;

use anyhow::{Context, bail, ensure};
use clap::{Args, Subcommand};

use crate::config::Config;
use crate::cursor::{self, Cursor, Place};
use crate::dead::{DeadLetters, Entry};
use crate::durable::Lock;
use crate::event::Key;

/// What can be done.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Look at events that a sink could not deliver, and decide on them.
    #[command(subcommand)]
    DeadLetters(DeadLettersCommand),
    /// Look at how far the sinks are, or set one.
    #[command(subcommand)]
    Cursors(CursorsCommand),
}

/// What can be done with dead letters.
#[derive(Debug, Subcommand)]
pub enum DeadLettersCommand {
    /// One line for each: sink, event, state, tries, when it was given up, and why.
    List {
        /// Only of this sink.
        #[arg(long)]
        sink: Option<String>,
    },
    /// Print the event as it was to be delivered, in JSON.
    Show(One),
    /// Have it delivered again: a running relay does it within a second or two, and a halted set goes on then.
    Redeliver(Chosen),
    /// Throw it away: nobody will deliver it, and a halted set goes on.
    Drop {
        /// Which.
        #[command(flatten)]
        chosen: Chosen,
        /// Do it; without this, only say what would be done.
        #[arg(long)]
        yes: bool,
    },
}

/// One dead letter.
#[derive(Debug, Args)]
pub struct One {
    /// The sink.
    #[arg(long)]
    sink: String,
    /// The event, as `list` shows it.
    event: Key,
}

/// One dead letter or all.
#[derive(Debug, Args)]
pub struct Chosen {
    /// The sink.
    #[arg(long)]
    sink: String,
    /// The event, as `list` shows it.
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    event: Option<Key>,
    /// All of this sink, oldest first.
    #[arg(long)]
    all: bool,
}

/// What can be done with cursors.
#[derive(Debug, Subcommand)]
pub enum CursorsCommand {
    /// One line for each: sink, set, and the last event that is dealt with.
    List,
    /// Let a sink go on behind another event, or begin anew. The relay must not run.
    Set {
        /// The sink.
        #[arg(long)]
        sink: String,
        /// The set.
        #[arg(long)]
        set: u32,
        /// Behind this event.
        #[arg(long, required_unless_present = "first", conflicts_with = "first")]
        after: Option<Key>,
        /// Before the set's first event.
        #[arg(long)]
        first: bool,
    },
}

/// Does it.
pub fn run(command: Command, config: &Config, out: &mut dyn Write) -> anyhow::Result<()> {
    match command {
        Command::DeadLetters(command) => dead_letters(command, config, out),
        Command::Cursors(CursorsCommand::List) => list_cursors(config, out),
        Command::Cursors(CursorsCommand::Set { sink, set, after, first: _ }) => {
            set_cursor(config, &sink, set, after)
        }
    }
}

fn dead_letters(command: DeadLettersCommand, config: &Config, out: &mut dyn Write) -> anyhow::Result<()> {
    match command {
        DeadLettersCommand::List { sink: None } => {
            config.sinks().try_for_each(|sink| list(config, sink, out))
        }
        DeadLettersCommand::List { sink: Some(sink) } => {
            letters(config, &sink)?;
            list(config, &sink, out)
        }
        DeadLettersCommand::Show(One { sink, event }) => {
            let letters = letters(config, &sink)?;
            let letter = letters.read(&letters.find(event)?)?;
            eprintln!("given up after {} tries: {}", letter.cause.tries, letter.cause.why);
            out.write_all(&letter.event.text)?;
            Ok(writeln!(out)?)
        }
        DeadLettersCommand::Redeliver(chosen) => {
            let letters = letters(config, &chosen.sink)?;
            let entries = entries(&letters, &chosen)?;
            entries.iter().try_for_each(|entry| letters.redeliver(entry.key))?;
            eprintln!("{} will be delivered again by the relay, while it runs", entries.len());
            Ok(())
        }
        DeadLettersCommand::Drop { chosen, yes } => {
            let letters = letters(config, &chosen.sink)?;
            let entries = entries(&letters, &chosen)?;
            for entry in &entries {
                eprintln!("{} of {} will never be delivered", entry.key, chosen.sink);
            }
            ensure!(yes, "nothing was done; with --yes it is");
            Ok(entries.iter().try_for_each(|entry| letters.remove(entry))?)
        }
    }
}

fn letters(config: &Config, sink: &str) -> anyhow::Result<DeadLetters> {
    let names: Vec<&str> = config.sinks().collect();
    ensure!(names.contains(&sink), "there is no sink {sink:?}; there are: {}", names.join(", "));
    Ok(DeadLetters::of(&config.data_dir, sink))
}

fn entries(letters: &DeadLetters, chosen: &Chosen) -> anyhow::Result<Vec<Entry>> {
    Ok(match chosen.event {
        Some(event) => vec![letters.find(event)?],
        None => letters.list_all()?,
    })
}

fn list(config: &Config, sink: &str, out: &mut dyn Write) -> anyhow::Result<()> {
    let letters = DeadLetters::of(&config.data_dir, sink);
    for entry in letters.list_all()? {
        let state = if entry.again { "again" } else { "waits" };
        match letters.read(&entry) {
            Ok(letter) => {
                let cause = letter.cause;
                let tries = cause.tries;
                writeln!(out, "{sink}\t{}\t{state}\t{tries}\t{}\t{}", entry.key, cause.unix_s, cause.why)?;
            }
            // Decided on meanwhile, or damaged: the others are still worth seeing.
            Err(error) => eprintln!("{error}"),
        }
    }
    Ok(())
}

fn list_cursors(config: &Config, out: &mut dyn Write) -> anyhow::Result<()> {
    for sink in config.sinks() {
        for set in cursor::sets(&config.data_dir, sink)? {
            match Cursor::of(&config.data_dir, sink, set).load() {
                Ok(place) => {
                    let event = place.map_or_else(String::new, |place| place.event.to_string());
                    writeln!(out, "{sink}\t{set}\t{event}")?;
                }
                Err(error) => eprintln!("{error}"),
            }
        }
    }
    Ok(())
}

fn set_cursor(config: &Config, sink: &str, set: u32, after: Option<Key>) -> anyhow::Result<()> {
    letters(config, sink)?;
    let _lock = Lock::take(&config.data_dir).context("stop the relay first")?;
    let cursor = Cursor::of(&config.data_dir, sink, set);
    let Some(event) = after else { return Ok(cursor.clear()?) };
    if event.set != set {
        bail!("{event} is of set {}, not of set {set}", event.set);
    }
    // Of a stream of one set, an event's key is what resumes it.
    Ok(cursor.save(&Place { event, resume: event.to_string() })?)
}

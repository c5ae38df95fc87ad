//! Plain-text-accounting journals in and out of the ledger, as a pure library: text -> [`model::Journal`] ->
//! [`book::book`] (every amount filled in, everything checked) -> [`plan::Plan`] (commands for the ledger, rehearsed); and
//! back: transactions as the router lists them -> [`export::beancount`] -> text. Only [`send`] and [`fetch`] talk to a
//! router, through [`api::HttpApi`]. The commands `import` and `export` are thin callers.

pub mod api;
mod beancount;
mod bodies;
pub mod book;
pub mod date;
pub mod export;
pub mod fetch;
pub mod ids;
mod ledger_cli;
mod lots;
pub mod model;
mod names;
mod notes;
mod number;
mod pads;
pub mod plan;
pub mod problem;
mod rehearse;
pub mod send;
mod sources;
mod text;
mod weigh;

use std::path::Path;

pub use model::{Format, Kind, Roots};
pub use plan::Plan;
pub use problem::{Problem, Problems, Reason};

/// Reads a file for the readers: the journal itself and what it includes.
pub type Load<'a> = &'a dyn Fn(&Path) -> std::io::Result<String>;

/// What to read, and how.
#[derive(Clone, Copy)]
pub struct Source<'a> {
    /// How it is written.
    pub format: Format,
    /// The file.
    pub path: &'a Path,
    /// Reads it, and what it includes.
    pub load: Load<'a>,
    /// Kinds of accounts that their names do not tell; beancount has options for that.
    pub roots: &'a Roots,
}

/// Reads a journal; nothing is balanced yet.
pub fn read(source: Source<'_>) -> Result<model::Journal, Problems> {
    match source.format {
        Format::Beancount => beancount::read(source.path, source.load),
        Format::Ledger => ledger_cli::read(source.path, source.load, source.roots),
    }
}

/// Reads, balances and plans a journal, and books it on an empty ledger in memory: everything that can be wrong with it
/// is said here, before anything is booked for good.
pub fn prepare(source: Source<'_>, tag: &str) -> Result<Plan, Problems> {
    let journal = read(source)?;
    let booked = book::book(&journal)?;
    let plan = plan::plan(&journal, &booked, tag)?;
    rehearse::rehearse(&plan)?;
    Ok(plan)
}

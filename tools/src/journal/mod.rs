//! Plain-text-accounting journals in and out of the ledger, as a pure library: text -> [`model::Journal`] ->
//! [`book::book`] (every amount filled in, everything checked) -> [`plan::Plan`] (bodies for the router); and back:
//! transactions as the router lists them -> [`export::beancount`] -> text. Only [`send`] and [`fetch`] talk to a router,
//! through [`api::HttpApi`]. The commands `import` and `export` are thin callers.

pub mod api;
mod beancount;
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
pub mod send;
mod text;
mod weigh;

use std::path::Path;

pub use model::Format;
pub use plan::Plan;
pub use problem::{Problem, Problems, Reason};

/// Reads a file for the readers: the journal itself and what it includes.
pub type Load<'a> = &'a dyn Fn(&Path) -> std::io::Result<String>;

/// Reads a journal; nothing is balanced yet.
pub fn read(format: Format, path: &Path, load: Load<'_>) -> Result<model::Journal, Problems> {
    match format {
        Format::Beancount => beancount::read(path, load),
        Format::Ledger => ledger_cli::read(path, load),
    }
}

/// Reads, balances and plans a journal: everything that can be wrong with it is said here, before anything is booked.
pub fn prepare(format: Format, path: &Path, load: Load<'_>, tag: &str) -> Result<Plan, Problems> {
    let journal = read(format, path, load)?;
    let booked = book::book(&journal)?;
    plan::plan(&journal, &booked, tag)
}

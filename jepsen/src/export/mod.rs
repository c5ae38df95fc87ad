//! Histories for other checkers: `history.edn` (the raw operations, as Jepsen writes them) and `elle-append.edn` (list-append:
//! each account is a list of the transactions that touched it). The second is checked in every run by the `adya` crate, and
//! both are ready for the real Elle and Knossos.

pub mod adya;
pub mod append;
mod raw;

use std::io::BufWriter;
use std::path::Path;

use crate::check::Case;

/// The file of raw operations.
pub const HISTORY_EDN: &str = "history.edn";
/// The file of list-append transactions.
pub const APPEND_EDN: &str = "elle-append.edn";

/// Writes both files into `dir`.
pub fn write(case: &Case<'_>, dir: &Path) -> anyhow::Result<()> {
    raw::write(case.history, BufWriter::new(std::fs::File::create(dir.join(HISTORY_EDN))?))?;
    append::write(&append::transactions(case), BufWriter::new(std::fs::File::create(dir.join(APPEND_EDN))?))?;
    Ok(())
}

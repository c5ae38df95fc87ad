//! Histories for other checkers: `history.edn` (the raw operations, as Jepsen writes them) and `elle-append.edn` (list-append:
//! each account is a list of the transactions that touched it). The second is checked in every run by the `adya` crate, and
//! both are ready for the loaders of the real Elle and Knossos.

pub mod adya;
pub mod append;
mod edn;
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

#[cfg(test)]
mod tests {
    /// Each line is one map whose brackets match, strings aside.
    pub(super) fn is_one_map_per_line(text: &str) {
        for line in text.lines() {
            let (mut open, mut in_string, mut escaped) = (Vec::new(), false, false);
            for (at, byte) in line.bytes().enumerate() {
                match byte {
                    _ if escaped => escaped = false,
                    b'\\' if in_string => escaped = true,
                    b'"' => in_string = !in_string,
                    _ if in_string => {}
                    b'{' | b'[' => open.push(if byte == b'{' { b'}' } else { b']' }),
                    b'}' | b']' => assert_eq!(open.pop(), Some(byte), "{line}"),
                    _ => {}
                }
                assert!(!open.is_empty() || at + 1 == line.len(), "more than one map: {line}");
            }
            assert!(line.starts_with('{') && open.is_empty() && !in_string, "{line}");
        }
    }
}

//! Records as they stand on disk.

use std::sync::Arc;

use crate::engine::Engine;
use crate::fault::Fault;
use crate::keys::{self, Generation};
use crate::record::{self, Assembly, LogId, Record};
use crate::table::Table;
use crate::wire::BadRecord;

pub(super) fn bad(error: BadRecord) -> Fault {
    Fault::damaged("a log record", error.to_string())
}

pub(super) fn last_stored(engine: &Engine, generation: Generation) -> Result<Option<LogId>, Fault> {
    let mut cursor = engine.cursor(Table::Log, &keys::generation_end(generation))?;
    cursor.seek_to_last();
    let Some(key) = cursor.key().filter(|key| key.starts_with(&keys::generation(generation))) else {
        cursor.ended()?;
        return Ok(None);
    };
    let (index, _) = keys::parse_log(key).map_err(bad)?;
    let value = engine.get(Table::Log, &keys::log(generation, index, 0))?;
    let value =
        value.ok_or_else(|| Fault::damaged("a log record", format!("record {index} has no beginning")))?;
    record::id_of(index, &value).map(Some).map_err(bad)
}

/// The last record, or the purge pointer if that is beyond it.
pub(super) fn newest(last: Option<LogId>, purged: Option<LogId>) -> Option<LogId> {
    last.filter(|last| purged.is_none_or(|purged| last.index >= purged.index)).or(purged)
}

/// Reads records from disk. A hole is damage; a log may begin later than `from`, though.
pub(super) fn read_stored(
    engine: &Engine,
    generation: Generation,
    from: u64,
    to: u64,
    bytes_max: usize,
) -> Result<Vec<Arc<Record>>, Fault> {
    let mut out: Vec<Arc<Record>> = Vec::new();
    let mut bytes = 0;
    let mut cursor = engine.cursor(Table::Log, &keys::log(generation, to, 0))?;
    cursor.seek(&keys::log(generation, from, 0));
    while let Some((key, value)) = cursor.item() {
        let (index, part) = keys::parse_log(key).map_err(bad)?;
        let expected = match out.last() {
            Some(last) => last.id.index + 1,
            None if index == from || !holds_before(engine, generation, from)? => index,
            None => from,
        };
        if part != 0 || index != expected {
            let detail = format!("record {expected} is missing, found part {part} of {index}");
            return Err(Fault::damaged("the log", detail));
        }
        let mut assembly = Assembly::begin(index, value).map_err(bad)?;
        cursor.next();
        while assembly.wants_more() {
            let Some((key, value)) = cursor.item() else {
                // A read that failed is no record that is too short.
                cursor.ended()?;
                break;
            };
            let (index, part) = keys::parse_log(key).map_err(bad)?;
            assembly.add(index, part, value).map_err(bad)?;
            cursor.next();
        }
        let record = assembly.finish().map_err(bad)?;
        bytes += record.payload.len();
        if bytes > bytes_max && !out.is_empty() {
            break;
        }
        out.push(Arc::new(record));
    }
    cursor.ended()?;
    Ok(out)
}

/// Whether any record stands before `index`.
fn holds_before(engine: &Engine, generation: Generation, index: u64) -> Result<bool, Fault> {
    let mut cursor = engine.cursor(Table::Log, &keys::log(generation, index, 0))?;
    cursor.seek(&keys::generation(generation));
    let holds = cursor.valid();
    cursor.ended()?;
    Ok(holds)
}

//! Generations: which one is a set's own, which were begun and never finished, which are stale. A set's pointer is one
//! small record; flipping it is what makes a snapshot's install atomic. Whatever no pointer names is deleted at open.

use std::sync::Arc;

use parking_lot::Mutex;

use crate::engine::{Batch, Engine};
use crate::fault::Fault;
use crate::keys::{self, Generation};
use crate::table::Table;

const POINTER: &str = "generation";
const MADE: &str = "made";
const NEXT: &[u8] = b"next-generation";

/// A generation that was begun. Unless it is kept, it is deleted when this is dropped, with all that was built for it.
pub(crate) struct Begun {
    engine: Arc<Engine>,
    generation: Generation,
    kept: bool,
}

impl Begun {
    pub(crate) fn generation(&self) -> Generation {
        self.generation
    }

    /// A pointer names it now.
    pub(crate) fn keep(mut self) {
        self.kept = true;
    }
}

impl Drop for Begun {
    fn drop(&mut self) {
        if self.kept {
            return;
        }
        // A store that has stopped said so already; its next open sweeps what is left.
        if let Err(fault) = delete(&self.engine, self.generation) {
            tracing::debug!(%fault, generation = self.generation, "a generation stays until the next open");
        }
    }
}

/// Keeps two allocations apart.
#[derive(Default)]
pub(crate) struct Generations {
    lock: Mutex<()>,
}

impl Generations {
    /// The generation of a set; a new set gets its first one.
    pub(crate) fn of(&self, engine: &Engine, set: u32) -> Result<Generation, Fault> {
        let _guard = self.lock.lock();
        if let Some(generation) = pointer(engine, set)? {
            return Ok(generation);
        }
        let mut batch = engine.batch();
        let generation = make(engine, &mut batch, set)?;
        point(&mut batch, set, generation);
        engine.write(batch)?;
        Ok(generation)
    }

    /// A fresh generation that no pointer names yet. The caller syncs before it builds on it.
    pub(crate) fn begin(&self, engine: &Arc<Engine>, set: u32) -> Result<Begun, Fault> {
        let _guard = self.lock.lock();
        let mut batch = engine.batch();
        let generation = make(engine, &mut batch, set)?;
        engine.write(batch)?;
        Ok(Begun { engine: Arc::clone(engine), generation, kept: false })
    }

    /// Deletes every generation that no pointer names. Only before any set is in use.
    pub(crate) fn sweep(&self, engine: &Engine) -> Result<(), Fault> {
        let mut stale = Vec::new();
        let mut cursor = engine.cursor(Table::Meta, b"made0")?;
        cursor.seek(b"made/");
        while let Some((key, value)) = cursor.item() {
            let generation = keys::parse_named(MADE, key);
            let generation = generation.ok_or_else(|| Fault::damaged("a generation record", "bad key"))?;
            let set = number(value)?;
            if pointer(engine, set)? != Some(generation) {
                stale.push(generation);
            }
            cursor.next();
        }
        cursor.ended()?;
        for generation in stale {
            delete(engine, generation)?;
        }
        Ok(())
    }
}

/// Names `generation` as the set's own.
pub(crate) fn point(batch: &mut Batch<'_>, set: u32, generation: Generation) {
    batch.put(Table::Meta, &keys::named(POINTER, set), &generation.to_le_bytes());
}

/// Deletes all that a generation holds, wherever it is.
pub(crate) fn delete(engine: &Engine, generation: Generation) -> Result<(), Fault> {
    let mut batch = engine.batch();
    for table in Table::OF_REPLICA {
        batch.delete_range(table, &keys::generation(generation), &keys::generation_end(generation));
    }
    for name in [keys::PURGED, keys::COMMITTED] {
        batch.delete(Table::Raft, &keys::named(name, generation));
    }
    for name in [keys::STATE, keys::DOCUMENT, keys::REFERENCES, MADE] {
        batch.delete(Table::Meta, &keys::named(name, generation));
    }
    engine.write(batch)
}

fn pointer(engine: &Engine, set: u32) -> Result<Option<Generation>, Fault> {
    engine.get(Table::Meta, &keys::named(POINTER, set))?.map(|value| number(&value)).transpose()
}

fn make(engine: &Engine, batch: &mut Batch<'_>, set: u32) -> Result<Generation, Fault> {
    let generation = engine.get(Table::Meta, NEXT)?.map_or(Ok(1), |value| number(&value))?;
    batch.put(Table::Meta, NEXT, &(generation + 1).to_le_bytes());
    batch.put(Table::Meta, &keys::named(MADE, generation), &set.to_le_bytes());
    Ok(generation)
}

fn number(value: &[u8]) -> Result<u32, Fault> {
    let value: Result<[u8; 4], _> = value.try_into();
    value.map(u32::from_le_bytes).map_err(|_| Fault::damaged("a generation record", "wrong length"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::Options;

    fn made(engine: &Engine, generation: Generation) -> bool {
        engine.get(Table::Meta, &keys::named(MADE, generation)).unwrap().is_some()
    }

    #[test]
    fn a_begun_generation_is_deleted_unless_it_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let engine = Arc::new(Engine::open(dir.path(), &Options::default()).unwrap());
        let generations = Generations::default();
        let own = generations.of(&engine, 1).unwrap();
        let begun = generations.begin(&engine, 1).unwrap();
        let dropped = begun.generation();
        assert!(made(&engine, dropped));
        drop(begun);
        assert!(!made(&engine, dropped));
        let begun = generations.begin(&engine, 1).unwrap();
        let kept = begun.generation();
        assert!(kept > dropped && dropped > own, "a number is given once");
        begun.keep();
        assert!(made(&engine, kept) && made(&engine, own));
        generations.sweep(&engine).unwrap();
        assert!(!made(&engine, kept), "no pointer names it");
        assert!(made(&engine, own));
    }
}

//! What all sets of a store share: the database, the syncer, the background thread, the generations.

use std::path::Path;
use std::sync::Arc;

use twinset_ledger::canary::{self, Canary};

use crate::background::Background;
use crate::engine::Engine;
use crate::fault::OpenError;
use crate::generation::Generations;
use crate::options::Options;
use crate::syncer::Syncer;

/// Dropped when the store and every handle from it are gone; the threads end first.
pub(crate) struct Shared {
    pub(crate) background: Background,
    pub(crate) syncer: Syncer,
    pub(crate) generations: Generations,
    pub(crate) engine: Arc<Engine>,
}

impl Shared {
    pub(crate) fn open(dir: &Path, options: &Options) -> Result<Shared, OpenError> {
        let engine = Arc::new(Engine::open(dir, options)?);
        let generations = Generations::default();
        let damaged = |fault: crate::fault::Fault| OpenError::Damaged {
            dir: dir.to_owned(),
            detail: format!("what earlier snapshots left cannot be removed: {fault}"),
        };
        generations.sweep(&engine).map_err(damaged)?;
        let io = |error: std::io::Error| OpenError::Io { dir: dir.to_owned(), detail: error.to_string() };
        let below = Arc::clone(&engine);
        let syncer = Syncer::start(options.sync_queue, move || match canary::on(Canary::NoSync) {
            true => Ok(()),
            false => below.sync(),
        })
        .map_err(io)?;
        let background = Background::start().map_err(io)?;
        Ok(Shared { background, syncer, generations, engine })
    }

    /// Ends the threads; what is queued is served.
    pub(crate) fn stop(&self) {
        self.background.stop();
        self.syncer.stop();
    }
}

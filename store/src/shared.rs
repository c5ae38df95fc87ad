//! What all sets of a store share: the database, the syncer, the background thread, the generations.

use std::path::Path;
use std::sync::Arc;

use crate::background::{self, Background};
use crate::brake::Brake;
use crate::disk::SimDisk;
use crate::engine::Engine;
use crate::fault::{Fault, OpenError};
use crate::generation::Generations;
use crate::options::Options;
use crate::steps::Steps;
use crate::syncer::{self, Syncer};

/// Dropped when the store and every handle from it are gone; the threads end first.
pub(crate) struct Shared {
    pub(crate) background: Background,
    pub(crate) syncer: Syncer,
    pub(crate) generations: Generations,
    pub(crate) engine: Arc<Engine>,
    pub(crate) brake: Brake,
}

impl Shared {
    /// On the database in `dir`, with threads.
    pub(crate) fn open(dir: &Path, options: &Options) -> Result<Shared, OpenError> {
        let engine = Arc::new(Engine::open(dir, options)?);
        let generations = swept(&engine, dir)?;
        let io = |error: std::io::Error| OpenError::Io { dir: dir.to_owned(), detail: error.to_string() };
        let (brake, below) = (Brake::default(), Arc::clone(&engine));
        let braked = brake.clone();
        let sync = move || {
            braked.before_sync().map_err(|fault| below.poison(fault))?;
            below.sync()
        };
        let syncer = syncer::Thread::start(options.sync_queue, sync).map_err(io)?;
        let background = background::Thread::start().map_err(io)?;
        let (background, syncer) = (Background::Thread(background), Syncer::Thread(syncer));
        Ok(Shared { background, syncer, generations, engine, brake })
    }

    /// On a simulated disk, without any thread.
    pub(crate) fn simulated(disk: &SimDisk, options: &Options) -> Result<Shared, OpenError> {
        let engine = Arc::new(Engine::simulated(disk, options)?);
        let generations = swept(&engine, disk.name())?;
        let steps = Steps::start(disk, Arc::clone(&engine));
        let (background, syncer) = (Background::Steps(Arc::clone(&steps)), Syncer::Steps(steps));
        Ok(Shared { background, syncer, generations, engine, brake: Brake::default() })
    }

    /// Ends the threads; what is queued is served.
    pub(crate) fn stop(&self) {
        // What is queued must not wait for the end of a drill.
        self.brake.release_all();
        self.background.stop();
        self.syncer.stop();
    }
}

/// The generations, without those that earlier snapshots left.
fn swept(engine: &Engine, dir: &Path) -> Result<Generations, OpenError> {
    let generations = Generations::default();
    let damaged = |fault: Fault| OpenError::Damaged {
        dir: dir.to_owned(),
        detail: format!("what earlier snapshots left cannot be removed: {fault}"),
    };
    generations.sweep(engine).map_err(damaged)?;
    Ok(generations)
}

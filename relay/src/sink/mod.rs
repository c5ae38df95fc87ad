//! Where events go. A sink delivers events of one set in their order and says how many its receiver has taken for good; what
//! becomes of the others is [`crate::lane`]'s business.

#[cfg(feature = "nats")]
pub mod nats;
pub mod sign;
pub mod webhook;

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures::future::BoxFuture;

use crate::event::Event;

/// A receiver.
pub trait Sink: Send + Sync {
    /// What one delivery may have.
    fn batch(&self) -> Batch;

    /// Delivers events of `set`, the first ones first. Those behind one that failed are not delivered.
    fn deliver<'a>(&'a self, set: u32, events: &'a [Event]) -> BoxFuture<'a, Delivery>;
}

/// What one delivery may have.
#[derive(Clone, Copy, Debug)]
pub struct Batch {
    /// Events.
    pub events: usize,
    /// Bytes of them, if it is more than one.
    pub bytes: usize,
}

/// How a delivery has ended.
#[derive(Debug)]
pub struct Delivery {
    /// So many of the first events are taken for good.
    pub taken: usize,
    /// Why not all.
    pub failure: Option<Failure>,
}

impl Delivery {
    /// All of them are taken.
    pub fn whole(events: &[Event]) -> Delivery {
        Delivery { taken: events.len(), failure: None }
    }

    /// Only so many are.
    pub fn part(taken: usize, failure: Failure) -> Delivery {
        Delivery { taken, failure: Some(failure) }
    }
}

/// Why an event is not delivered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// For people.
    pub why: String,
    /// Whether the receiver will not take it later either.
    pub refused: bool,
    /// Not to be tried again before that.
    pub after: Option<Duration>,
}

impl Failure {
    /// It may go better later.
    pub fn passing(why: impl Into<String>) -> Failure {
        Failure { why: why.into(), refused: false, after: None }
    }

    /// The receiver does not want it.
    pub fn refused(why: impl Into<String>) -> Failure {
        Failure { why: why.into(), refused: true, after: None }
    }
}

/// A sink cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file that it needs cannot be read.
    #[error("{sink}: cannot read {}: {source}", path.display())]
    Read {
        /// The sink.
        sink: String,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// What it was given is of no use.
    #[error("{sink}: {why}")]
    Useless {
        /// The sink.
        sink: String,
        /// What, and why.
        why: String,
    },
}

/// A secret from its file, without the white space at its end. Nobody else may read it.
fn secret(sink: &str, path: &Path) -> Result<Vec<u8>, Error> {
    use std::os::unix::fs::MetadataExt;
    let failed = |source| Error::Read { sink: sink.to_owned(), path: path.to_owned(), source };
    let mode = std::fs::metadata(path).map_err(failed)?.mode();
    if mode & 0o007 != 0 {
        let why = format!("everybody may read {}: chmod o= {0}", path.display());
        return Err(Error::Useless { sink: sink.to_owned(), why });
    }
    let mut secret = std::fs::read(path).map_err(failed)?;
    secret.truncate(secret.trim_ascii_end().len());
    Ok(secret)
}

//! What can go wrong below the rules: [`OpenError`] before anything is served, [`Fault`] after that. A fault is a local
//! failure (disk, corruption, misuse): whoever meets one stops its replica and answers nothing. Nothing here decides
//! what a client sees.

use std::path::PathBuf;

/// A local failure of the store. After a failed write or sync the store is poisoned: every later call fails too,
/// because nobody can know any more what is on disk.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The disk has no space left.
    #[error("the disk is full ({operation})")]
    DiskFull {
        /// What was being done.
        operation: &'static str,
    },
    /// The disk or the database refused.
    #[error("the disk failed ({operation}): {detail}")]
    Disk {
        /// What was being done.
        operation: &'static str,
        /// The words of the layer below.
        detail: String,
    },
    /// The database refused because an earlier call had failed, without saying why.
    #[error("the database refuses ({operation}): an earlier call failed")]
    Aftermath {
        /// What was being done.
        operation: &'static str,
    },
    /// Stored bytes are not what was written.
    #[error("{what} is damaged: {detail}")]
    Damaged {
        /// Which record.
        what: &'static str,
        /// What was wrong with it.
        detail: String,
    },
    /// An earlier fault stopped the store or the replica.
    #[error("stopped by an earlier fault: {cause}")]
    Stopped {
        /// The first fault.
        cause: String,
    },
    /// The store was closed.
    #[error("the store is closed")]
    Closed,
    /// A record was handed over out of its turn.
    #[error("{what}: index {expected} was due, got {found}")]
    OutOfTurn {
        /// The log or the replica.
        what: &'static str,
        /// The index that was due.
        expected: u64,
        /// The index that came.
        found: u64,
    },
    /// An entry names rules that this build does not know.
    #[error("the entry is to be applied by rules {version}, this build knows up to {known}")]
    UnknownRules {
        /// The entry's.
        version: u16,
        /// The newest this build knows.
        known: u16,
    },
    /// A snapshot stream is not what its sender sent, or not for this replica.
    #[error("the snapshot is refused: {detail}")]
    BadSnapshot {
        /// Why.
        detail: String,
    },
    /// The store already belongs to another cluster or node.
    #[error("the data belongs to cluster {cluster_id}, node {node}")]
    OtherIdentity {
        /// Cluster on record.
        cluster_id: String,
        /// Node on record.
        node: String,
    },
}

impl Fault {
    /// An error of a plain file.
    pub(crate) fn io(operation: &'static str, error: &std::io::Error) -> Fault {
        if error.raw_os_error() == Some(libc::ENOSPC) {
            return Fault::DiskFull { operation };
        }
        Fault::Disk { operation, detail: error.to_string() }
    }

    /// Stored bytes that do not decode.
    pub(crate) fn damaged(what: &'static str, detail: impl Into<String>) -> Fault {
        Fault::Damaged { what, detail: detail.into() }
    }

    /// What later calls are told.
    pub(crate) fn as_stop(&self) -> Fault {
        match self {
            Fault::Stopped { .. } | Fault::Closed => self.clone(),
            other => Fault::Stopped { cause: other.to_string() },
        }
    }
}

/// Why a store does not open. What had been acknowledged is never dropped silently: a damaged store stays refused however
/// often it is opened. A node that comes back blank, or as an old backup has it, has forgotten votes and entries that it
/// acknowledged, so there is no repair: the directory is evidence, and the set goes on with its other replicas.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// Another process has it open.
    #[error("{} is in use by another process", dir.display())]
    Locked {
        /// The data directory.
        dir: PathBuf,
    },
    /// Written by a build with another format.
    #[error("{} has format {found:?}, this build knows format {known}", dir.display())]
    WrongFormat {
        /// The data directory.
        dir: PathBuf,
        /// What the directory says.
        found: String,
        /// The only number this build reads.
        known: u32,
    },
    /// Something that was acknowledged is not there any more.
    #[error(
        "{} is damaged: {detail}; keep the directory as it is and leave this node off: its sets go on with their other \
         replicas, which neither a backup of this one nor a blank node may join (docs/operating/lost-node.md)",
        dir.display()
    )]
    Damaged {
        /// The data directory.
        dir: PathBuf,
        /// What is missing or unreadable.
        detail: String,
    },
    /// The directory cannot be used.
    #[error("cannot open {}: {detail}", dir.display())]
    Io {
        /// The data directory.
        dir: PathBuf,
        /// The words of the layer below.
        detail: String,
    },
}

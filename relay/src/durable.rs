//! Files that a power cut leaves either as they were or as they are to be. Blocking; the callers are on threads that may wait.

use std::fs::{File, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Makes a directory and those above it, durably.
pub fn make_dir(dir: &Path) -> io::Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    let above = dir.parent().filter(|above| !above.as_os_str().is_empty());
    if let Some(above) = above {
        make_dir(above)?;
    }
    match std::fs::create_dir(dir) {
        Ok(()) => sync_dir(above.unwrap_or(Path::new("."))),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

/// Puts `content` in place of what `dir/name` holds.
pub fn write(dir: &Path, name: &str, content: &[u8]) -> io::Result<()> {
    let new = dir.join(format!(".{name}.new"));
    let mut file = File::create(&new)?;
    file.write_all(content)?;
    file.sync_all()?;
    std::fs::rename(new, dir.join(name))?;
    sync_dir(dir)
}

/// Takes `dir/name` away; nothing is wrong if it is gone already.
pub fn remove(dir: &Path, name: &str) -> io::Result<()> {
    match std::fs::remove_file(dir.join(name)) {
        Ok(()) => sync_dir(dir),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// Gives `dir/from` the name `to`.
pub fn rename(dir: &Path, from: &str, to: &str) -> io::Result<()> {
    std::fs::rename(dir.join(from), dir.join(to))?;
    sync_dir(dir)
}

fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// A data directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another process has it.
    #[error("{} is in use by another relay", dir.display())]
    InUse {
        /// The directory.
        dir: PathBuf,
    },
    /// The system refuses.
    #[error("cannot use {}", dir.display())]
    Io {
        /// The directory.
        dir: PathBuf,
        /// What it said.
        source: io::Error,
    },
}

/// The right to change what a data directory holds; ends when it is dropped, and with the process.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Lock {
    /// Makes the directory if it is not there, and takes it.
    pub fn take(dir: &Path) -> Result<Lock, Error> {
        let failed = |source| Error::Io { dir: dir.to_owned(), source };
        make_dir(dir).map_err(failed)?;
        let file = File::options().create(true).truncate(false).write(true).open(dir.join("lock"));
        let file = file.map_err(failed)?;
        match file.try_lock() {
            Ok(()) => Ok(Lock { _file: file }),
            Err(TryLockError::WouldBlock) => Err(Error::InUse { dir: dir.to_owned() }),
            Err(TryLockError::Error(source)) => Err(failed(source)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_renamed_and_removed_and_leaves_nothing_behind() {
        let base = tempfile::tempdir().expect("a directory");
        let dir = base.path().join("a/b");
        make_dir(&dir).expect("made");
        make_dir(&dir).expect("made before");
        write(&dir, "x", b"one").expect("written");
        write(&dir, "x", b"two").expect("written");
        assert_eq!(std::fs::read(dir.join("x")).expect("there"), b"two");
        rename(&dir, "x", "y").expect("renamed");
        assert_eq!(std::fs::read_dir(&dir).expect("there").count(), 1);
        remove(&dir, "y").expect("removed");
        remove(&dir, "y").expect("gone before");
        assert_eq!(std::fs::read_dir(&dir).expect("there").count(), 0);
    }

    #[test]
    fn a_directory_has_one_user() {
        let base = tempfile::tempdir().expect("a directory");
        let lock = Lock::take(base.path()).expect("free");
        assert!(matches!(Lock::take(base.path()), Err(Error::InUse { .. })));
        drop(lock);
        Lock::take(base.path()).expect("free again");
    }
}

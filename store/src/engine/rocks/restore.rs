//! Files that the database has thrown away although its list names them. When it cannot sync its list (the MANIFEST) while
//! it takes over a built file, it deletes its link of the file and reports the failure, but the line that names the file
//! may be on disk: the next open would find a file missing, at the first read of it, and a sync that failed once would have
//! cost the node its replicas. The file itself is still where it was built, under a name that says what it begins with.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use rocksdb::{DB, LiveFile};

use crate::table::Table;

/// The name of a built file: its table, a number, and a checksum of its first key.
pub(super) fn name(table: Table, number: u64, first: &[u8]) -> String {
    format!("{}-{number}-{}", table.name(), ending(first))
}

fn ending(first: &[u8]) -> String {
    format!("{:08x}.sst", crc32c::crc32c(first))
}

/// Links the files of `built` that the list of `database` names, and that are missing there, back into it. `look` opens
/// the database without changing anything; it is not called when nothing was left in `built`. Nothing happens when it
/// fails: the true open will say why.
pub(super) fn put_back<E>(
    database: &Path,
    built: &Path,
    look: impl FnOnce() -> Result<DB, E>,
) -> io::Result<()> {
    let mut candidates = Vec::new();
    for entry in fs::read_dir(built)? {
        candidates.push(entry?.path());
    }
    if candidates.is_empty() {
        return Ok(());
    }
    let Ok(listed) = look().map(|db| db.live_files().unwrap_or_default()) else { return Ok(()) };
    let mut linked = false;
    for file in listed {
        let path = place(database, &file);
        if path.try_exists()? {
            continue;
        }
        // Two in flight cannot begin with the same key of the same table: each set builds one at a time.
        if let Some(candidate) = candidates.iter().find(|candidate| is(candidate, &file)) {
            fs::hard_link(candidate, &path)?;
            linked = true;
            tracing::warn!(file = %path.display(), "a file that a failed sync had cost the database is back");
        }
    }
    // The links are durable before the files are removed from where they were built.
    if linked { File::open(database)?.sync_all() } else { Ok(()) }
}

/// A file that the list of `database` names and that is not there.
pub(super) fn missing(database: &Path, db: &DB) -> Option<PathBuf> {
    let absent = || {
        let listed = db.live_files().unwrap_or_default();
        listed.iter().map(|file| place(database, file)).find(|path| !path.exists())
    };
    // A compaction may remove a file between the list and the look: what is missing twice is missing.
    absent().and_then(|_| absent())
}

fn place(database: &Path, file: &LiveFile) -> PathBuf {
    database.join(file.name.trim_start_matches('/'))
}

fn is(candidate: &Path, file: &LiveFile) -> bool {
    let name = candidate.file_name().unwrap_or_default().to_string_lossy();
    let begins = file.start_key.as_deref().is_some_and(|first| name.ends_with(&ending(first)));
    let table = name.split('-').next().unwrap_or_default();
    let bytes = fs::metadata(candidate).map(|metadata| metadata.len()).unwrap_or_default();
    begins && table == file.column_family_name && bytes == file.size as u64
}

#[cfg(test)]
mod tests {
    use super::super::Rocks;
    use super::super::files::RocksBuilder;
    use super::*;
    use crate::fault::OpenError;
    use crate::options::Options;

    /// A built file of two records.
    fn built(rocks: &Rocks, table: Table, first: &[u8]) -> PathBuf {
        let mut builder = RocksBuilder::new(table);
        for key in [first, b"z"] {
            builder.put(rocks, key, b"value").unwrap();
        }
        builder.finish().unwrap().take().remove(0)
    }

    fn open(dir: &Path) -> Result<Rocks, OpenError> {
        Rocks::open(dir, &Options::default()).map(|(rocks, _)| rocks)
    }

    /// What a failed sync of the list leaves: the list names a file that stands only where it was built. Beside it stand
    /// others that were never taken over, and as many as `before` are in the database. Gives both places of the file.
    fn lost(dir: &Path, before: u8) -> (PathBuf, PathBuf) {
        lost_by(open(dir).unwrap(), dir, before)
    }

    fn lost_by(rocks: Rocks, dir: &Path, before: u8) -> (PathBuf, PathBuf) {
        for number in 0..before {
            let path = built(&rocks, Table::Posting, &[number]);
            rocks.ingest(Table::Posting, vec![path]).unwrap();
        }
        let known: Vec<String> = rocks.db.live_files().unwrap().into_iter().map(|file| file.name).collect();
        for (table, first) in
            [(Table::Posting, b"other"), (Table::Request, b"taken"), (Table::Hold, b"taken")]
        {
            built(&rocks, table, first);
        }
        let path = built(&rocks, Table::Posting, b"taken");
        rocks.ingest(Table::Posting, vec![path.clone()]).unwrap();
        let mut live = rocks.db.live_files().unwrap();
        drop(rocks);
        live.retain(|file| !known.contains(&file.name));
        let [live] = &live[..] else { panic!("{live:?}") };
        let place = place(&dir.join("db"), live);
        fs::rename(&place, &path).unwrap();
        (place, path)
    }

    /// An open database looks at the first sixteen of its files at once, at others when somebody reads.
    const BEFORE: [u8; 2] = [0, 40];

    #[test]
    fn the_file_that_the_list_names_comes_back_and_no_other() {
        for before in BEFORE {
            let dir = tempfile::tempdir().unwrap();
            lost(dir.path(), before);
            assert_whole(dir.path());
            // Now it is the database's own.
            assert_whole(dir.path());
        }
    }

    #[test]
    fn it_comes_back_into_a_database_that_does_not_have_all_tables_yet() {
        for before in BEFORE {
            let dir = tempfile::tempdir().unwrap();
            let mut older = open(dir.path()).unwrap();
            older.db.drop_cf(Table::Reference.name()).unwrap();
            lost_by(older, dir.path(), before);
            assert_whole(dir.path());
            let rocks = open(dir.path()).unwrap();
            assert_eq!(rocks.get(Table::Reference, b"key").unwrap().map(|value| value.to_vec()), None);
        }
    }

    fn assert_whole(dir: &Path) {
        let rocks = open(dir).unwrap();
        let get = |table, key: &[u8]| rocks.get(table, key).unwrap().map(|value| value.to_vec());
        assert_eq!(get(Table::Posting, b"taken").as_deref(), Some(&b"value"[..]));
        assert_eq!(get(Table::Posting, b"other"), None);
        assert_eq!(get(Table::Request, b"taken"), None);
        assert_eq!(fs::read_dir(dir.join("built")).unwrap().count(), 0);
    }

    #[test]
    fn a_database_that_lacks_a_file_for_good_is_refused_before_anybody_reads() {
        for before in BEFORE {
            let dir = tempfile::tempdir().unwrap();
            let (place, path) = lost(dir.path(), before);
            let elsewhere = dir.path().join("elsewhere");
            fs::rename(&path, &elsewhere).unwrap();
            let refused = open(dir.path()).err().unwrap();
            assert!(matches!(refused, OpenError::Damaged { .. }), "{refused}");
            assert!(refused.to_string().contains(place.to_str().unwrap()), "{refused}");
            fs::rename(&elsewhere, &place).unwrap();
            assert!(open(dir.path()).is_ok());
        }
    }

    #[test]
    fn a_file_of_another_size_does_not_take_its_place() {
        let dir = tempfile::tempdir().unwrap();
        let (place, path) = lost(dir.path(), 0);
        let mut bytes = fs::read(&path).unwrap();
        bytes.push(0);
        fs::write(&path, bytes).unwrap();
        assert!(matches!(open(dir.path()).err(), Some(OpenError::Damaged { .. })));
        assert!(!place.exists());
    }
}

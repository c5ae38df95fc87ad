//! The shared file of one process: which faults act, and what was seen. Read and written in place; the kernel shows both
//! sides the same bytes.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use anyhow::Context;

use super::layout::{FILE_WORDS, FILES, FILES_AT, GRAVE_DIR, MAGIC, NAMES, SHADOW_DIR, WORDS, Word};

const WORD_BYTES: u64 = 8;

/// The shared file and what stands beside it.
#[derive(Debug)]
pub struct Control {
    path: PathBuf,
    file: File,
}

/// What the library has seen so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "as the words of the layout say")]
pub struct Counts {
    pub syncs: u64,
    pub failed_syncs: u64,
    pub delayed_syncs: u64,
    pub lied_syncs: u64,
    pub refused_writes: u64,
    pub shifted_reads: u64,
    pub seeded_randoms: u64,
}

impl Control {
    /// Makes the file, with no fault on, and what stands beside it.
    pub fn create(path: &Path) -> anyhow::Result<Control> {
        let file = File::options().read(true).write(true).create(true).truncate(true).open(path)?;
        file.set_len(WORDS as u64 * WORD_BYTES)?;
        let control = Control { path: path.to_owned(), file };
        control.forget()?;
        control.set(Word::Magic, MAGIC)?;
        Ok(control)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A path beside it: the same with `end` at its end.
    pub fn beside(&self, end: &str) -> PathBuf {
        let mut path = self.path.clone().into_os_string();
        path.push(end);
        path.into()
    }

    /// Sets a word.
    pub fn set(&self, word: Word, value: u64) -> anyhow::Result<()> {
        Ok(self.file.write_all_at(&value.to_ne_bytes(), word as u64 * WORD_BYTES)?)
    }

    /// Reads a word.
    pub fn read(&self, word: Word) -> anyhow::Result<u64> {
        let mut bytes = [0; WORD_BYTES as usize];
        self.file.read_exact_at(&mut bytes, word as u64 * WORD_BYTES)?;
        Ok(u64::from_ne_bytes(bytes))
    }

    /// Lets the wall clock of the process differ from the true one.
    pub fn shift_clock(&self, by_ms: i64) -> anyhow::Result<()> {
        let ns = by_ms.checked_mul(1_000_000).context("such a step is longer than the clock")?;
        self.set(Word::ClockOffsetNs, ns.cast_unsigned())
    }

    /// Takes back all faults.
    pub fn calm(&self) -> anyhow::Result<()> {
        let faults = [
            Word::FailSyncs,
            Word::FailSyncsOf,
            Word::SyncDelayUs,
            Word::Lie,
            Word::DiskFull,
            Word::FailWrites,
            Word::ClockOffsetNs,
        ];
        faults.into_iter().try_for_each(|fault| self.set(fault, 0))
    }

    /// What was seen so far.
    pub fn counts(&self) -> anyhow::Result<Counts> {
        Ok(Counts {
            syncs: self.read(Word::Syncs)?,
            failed_syncs: self.read(Word::FailedSyncs)?,
            delayed_syncs: self.read(Word::DelayedSyncs)?,
            lied_syncs: self.read(Word::LiedSyncs)?,
            refused_writes: self.read(Word::RefusedWrites)?,
            shifted_reads: self.read(Word::ShiftedReads)?,
            seeded_randoms: self.read(Word::SeededRandoms)?,
        })
    }

    /// The files that the books know, by their keys.
    pub fn files(&self) -> anyhow::Result<BTreeMap<u64, Booked>> {
        let mut bytes = vec![0; FILES * FILE_WORDS * WORD_BYTES as usize];
        self.file.read_exact_at(&mut bytes, FILES_AT as u64 * WORD_BYTES)?;
        let (words, _) = bytes.as_chunks::<{ WORD_BYTES as usize }>();
        let files = words.chunks_exact(FILE_WORDS).map(|file| {
            let word = |at: usize| u64::from_ne_bytes(file[at]);
            (word(0), Booked { covered: word(1), in_place: word(2) != 0 })
        });
        Ok(files.filter(|(key, _)| *key != 0).collect())
    }

    /// Empties the books: all that is there now counts as durable. The process must not run.
    pub fn forget(&self) -> anyhow::Result<()> {
        std::fs::write(self.beside(NAMES), "")?;
        for dir in [GRAVE_DIR, SHADOW_DIR] {
            let dir = self.beside(dir);
            if dir.exists() {
                std::fs::remove_dir_all(&dir)?;
            }
            std::fs::create_dir(&dir)?;
        }
        // Files, and behind them graves.
        let zeros = vec![0; (WORDS - FILES_AT) * WORD_BYTES as usize];
        self.file.write_all_at(&zeros, FILES_AT as u64 * WORD_BYTES)?;
        self.set(Word::NameNumber, 0)?;
        self.set(Word::Unbooked, 0)
    }
}

/// What the books say of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Booked {
    /// Bytes that a sync has covered.
    pub covered: u64,
    /// Whether it is written in place: then its shadow says what a sync has covered.
    pub in_place: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_kept_and_faults_taken_back() {
        let dir = tempfile::tempdir().unwrap();
        let control = Control::create(&dir.path().join("c")).unwrap();
        assert_eq!(control.read(Word::Magic).unwrap(), MAGIC);
        control.set(Word::DiskFull, 1).unwrap();
        control.shift_clock(-1).unwrap();
        assert_eq!(control.read(Word::ClockOffsetNs).unwrap().cast_signed(), -1_000_000);
        control.calm().unwrap();
        assert_eq!(control.read(Word::DiskFull).unwrap(), 0);
        assert_eq!(control.read(Word::ClockOffsetNs).unwrap(), 0);
        assert_eq!(control.counts().unwrap(), Counts::default());
        assert!(control.files().unwrap().is_empty());
    }
}

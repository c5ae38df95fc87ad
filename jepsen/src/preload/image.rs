//! Makes of the directory of a killed node what a power cut would have left: the names that were durable and a seeded part
//! of the others, and of each file what a sync has covered and a seeded part of the rest. What the kernel has promised
//! stays, always. The node must not run.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use twinset_tools::load::random::Random;

use super::control::{Booked, Control};
use super::layout::{GRAVE_DIR, NAMES, SHADOW_DIR, Word, key};
use super::machines::Machine;
use super::names::{self, Bytes, Names};
use super::tear;

/// The database's words to people: it never syncs them, and nobody needs them.
const CHATTER: &str = "db/LOG";

/// The database's list of its files: with zeros in its end it is refused, so the file system has to write a file's length after
/// its bytes, as ext4 (ordered) and XFS do.
const LIST: &str = "db/MANIFEST-";

/// The database's tables, which are never written again once they are whole.
const TABLE: &str = "sst";

/// What becomes of bytes that no sync has covered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsynced {
    /// Some of them are there, others not.
    Drawn,
    /// All are lost.
    Gone,
}

/// What a power cut took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lost {
    /// Files with bytes that no sync had covered.
    pub files: usize,
    /// Of those bytes, how many are gone or changed.
    pub bytes: u64,
    /// Changes of names that are undone.
    pub names: usize,
}

impl Lost {
    /// Whether there was anything to lose.
    pub fn anything(&self) -> bool {
        self.files + self.names > 0
    }
}

/// Puts what a power cut leaves in the place of the data directory, and empties the books: that is what the disk holds.
pub fn cut_power(machine: &Machine, seed: u64, unsynced: Unsynced) -> anyhow::Result<Lost> {
    let control = &machine.control;
    let unbooked = control.read(Word::Unbooked)?;
    anyhow::ensure!(unbooked == 0, "the books have {unbooked} gaps: what a power cut leaves is not known");
    let mut random = Random::seeded(seed);
    let mut now = Names::default();
    list(&machine.data, "", &mut now)?;
    let lines = names::parse(&fs::read_to_string(control.beside(NAMES))?)?;
    let graves = fs::read_dir(control.beside(GRAVE_DIR))?
        .map(|entry| entry?.file_name().to_string_lossy().parse().context("a grave without a number"));
    let graves = graves.collect::<anyhow::Result<_>>()?;
    let (left, undone) = names::cut(now, &lines, &graves, &mut random);

    let image = control.beside(".image");
    if image.exists() {
        fs::remove_dir_all(&image)?;
    }
    fs::create_dir(&image)?;
    // Parents stand before their children in this order.
    for directory in &left.directories {
        fs::create_dir(image.join(directory))?;
    }
    let files = control.files()?;
    let mut lost = Lost { names: undone, ..Lost::default() };
    let mut given = BTreeSet::new();
    for (name, bytes) in &left.files {
        let from = match bytes {
            Bytes::Named(name) => machine.data.join(name),
            Bytes::Grave(number) => control.beside(GRAVE_DIR).join(number.to_string()),
        };
        let tear = |bytes: &Torn, random: &mut Random| match unsynced {
            Unsynced::Drawn => bytes.drawn(!name.starts_with(LIST), random),
            Unsynced::Gone => bytes.synced().to_vec(),
        };
        let (kept, taken) = survivor(control, &files, &from, |torn| tear(torn, &mut random))?;
        match kept {
            Some(kept) => fs::write(image.join(name), kept)?,
            // As it is, without writing gigabytes that no power cut writes.
            None if given.insert(from.clone()) => fs::hard_link(&from, image.join(name))?,
            None => drop(fs::copy(&from, image.join(name))?),
        }
        if let Some(bytes) = taken.filter(|_| !name.starts_with(CHATTER)) {
            lost.files += 1;
            lost.bytes += bytes;
        }
    }
    fs::remove_dir_all(&machine.data)?;
    fs::rename(&image, &machine.data)?;
    control.forget()?;
    Ok(lost)
}

/// A file with bytes that no sync has covered.
enum Torn {
    /// It only grows.
    Tail { now: Vec<u8>, covered: usize },
    /// It is written in place.
    InPlace { now: Vec<u8>, synced: Vec<u8> },
}

impl Torn {
    fn now(&self) -> &[u8] {
        let (Torn::Tail { now, .. } | Torn::InPlace { now, .. }) = self;
        now
    }

    /// What the syncs have covered.
    fn synced(&self) -> &[u8] {
        match self {
            Torn::Tail { now, covered } => &now[..*covered],
            Torn::InPlace { synced, .. } => synced,
        }
    }

    /// That, and a part of the rest.
    fn drawn(&self, zeros: bool, random: &mut Random) -> Vec<u8> {
        match self {
            Torn::Tail { now, covered } => tear::tail(now.clone(), *covered, zeros, random),
            Torn::InPlace { now, synced } => tear::in_place(now, synced, random),
        }
    }
}

/// What is left of one file, None if all of it; and if some of it was not synced, how many of those bytes are gone or changed.
fn survivor(
    control: &Control,
    files: &BTreeMap<u64, Booked>,
    from: &Path,
    tear: impl FnOnce(&Torn) -> Vec<u8>,
) -> anyhow::Result<(Option<Vec<u8>>, Option<u64>)> {
    let status = fs::metadata(from)?;
    let key = key(status.dev(), status.ino());
    // Nobody has opened it for writing since the books began.
    let Some(booked) = files.get(&key) else { return Ok((None, None)) };
    let shadow = control.beside(SHADOW_DIR).join(key.to_string());
    let has_shadow = booked.in_place && booked.covered > 0 && shadow.exists();
    if !has_shadow && booked.covered >= status.len() {
        return Ok((None, None));
    }
    let now = fs::read(from)?;
    let torn = if has_shadow {
        Torn::InPlace { now, synced: fs::read(&shadow)? }
    } else {
        let covered = usize::try_from(booked.covered)?.min(now.len());
        Torn::Tail { now, covered }
    };
    let (kept, now) = (tear(&torn), torn.now());
    let changed = kept.iter().zip(now).filter(|(kept, byte)| kept != byte).count();
    let taken = (changed + now.len().saturating_sub(kept.len())) as u64;
    Ok((Some(kept), (torn.synced() != now).then_some(taken)))
}

/// All names below a directory.
fn list(dir: &Path, prefix: &str, names: &mut Names) -> anyhow::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
        if entry.file_type()?.is_dir() {
            list(&entry.path(), &format!("{name}/"), names)?;
            names.directories.insert(name);
        } else {
            names.files.insert(name.clone(), Bytes::Named(name));
        }
    }
    Ok(())
}

/// The files of a stopped node, in a directory beside the shared file: to be put back later. Tables are shared: whoever
/// hurts one puts another file in its place.
pub fn set_aside(machine: &Machine) -> anyhow::Result<PathBuf> {
    let aside = machine.control.beside(".aside");
    if aside.exists() {
        fs::remove_dir_all(&aside)?;
    }
    copy(&machine.data, &aside)?;
    Ok(aside)
}

/// Puts back what was set aside. The node must not have taken part in anything since.
pub fn put_back(machine: &Machine) -> anyhow::Result<()> {
    fs::remove_dir_all(&machine.data)?;
    fs::rename(machine.control.beside(".aside"), &machine.data)?;
    machine.control.forget()
}

fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    fs::create_dir(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else if entry.path().extension().is_some_and(|end| end == TABLE) {
            fs::hard_link(entry.path(), target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

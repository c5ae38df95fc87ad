//! The journal of names, and which names a power cut leaves. Pure. What was done to the names of a directory is durable when
//! the directory was synced; of what came later an older part may have reached the disk, never a newer one alone.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context;
use twinset_tools::load::random::Random;

/// One line of the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Its place in the order of changes.
    pub number: u64,
    /// What happened.
    pub change: Change,
}

/// What happened to a name; paths are below the node's directory.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the words say it")]
pub enum Change {
    Create {
        name: String,
    },
    Rename {
        from: String,
        to: String,
        replaces: bool,
    },
    Unlink {
        name: String,
    },
    MakeDirectory {
        name: String,
    },
    RemoveDirectory {
        name: String,
    },
    /// All changes up to a number are durable in a directory.
    Sync {
        number: u64,
        directory: String,
    },
}

/// Where the bytes of a name are now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Bytes {
    /// Under a name that it has, or had.
    Named(String),
    /// In the grave of that number.
    Grave(u64),
}

/// What has a name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// Files.
    pub files: BTreeMap<String, Bytes>,
    /// Directories below the node's own.
    pub directories: BTreeSet<String>,
}

/// Reads a journal. A last line without an end was never finished and says nothing.
pub fn parse(journal: &str) -> anyhow::Result<Vec<Line>> {
    let finished = journal.rfind('\n').map_or("", |end| &journal[..end]);
    let lines =
        finished.lines().map(|line| parse_line(line).with_context(|| format!("the journal says {line}")));
    let mut lines: Vec<Line> = lines.collect::<anyhow::Result<_>>()?;
    lines.sort_by_key(|line| line.number);
    Ok(lines)
}

fn parse_line(line: &str) -> Option<Line> {
    let mut words = line.split(' ');
    let number = words.next()?.parse().ok()?;
    let what = words.next()?;
    let mut name = || words.next().map(str::to_owned);
    let change = match what {
        "create" => Change::Create { name: name()? },
        "rename" | "replace" => Change::Rename { from: name()?, to: name()?, replaces: what == "replace" },
        "unlink" => Change::Unlink { name: name()? },
        "mkdir" => Change::MakeDirectory { name: name()? },
        "rmdir" => Change::RemoveDirectory { name: name()? },
        "sync" => Change::Sync { number: name()?.parse().ok()?, directory: name()? },
        _ => return None,
    };
    words.next().is_none().then_some(Line { number, change })
}

impl Change {
    /// The directory whose sync makes it durable; none for a sync itself.
    fn directory(&self) -> Option<&str> {
        let name = match self {
            Change::Create { name }
            | Change::Unlink { name }
            | Change::MakeDirectory { name }
            | Change::RemoveDirectory { name }
            | Change::Rename { to: name, .. } => name,
            Change::Sync { .. } => return None,
        };
        Some(directory_of(name))
    }

    /// Whether it cannot be undone, because what lost its name is gone.
    fn is_final(&self, number: u64, graves: &BTreeSet<u64>) -> bool {
        let buries = matches!(self, Change::Unlink { .. } | Change::Rename { replaces: true, .. });
        buries && !graves.contains(&number)
    }
}

fn directory_of(name: &str) -> &str {
    name.rsplit_once('/').map_or("", |(directory, _)| directory)
}

/// What is left of `now`, and how many changes are undone.
pub fn cut(mut now: Names, lines: &[Line], graves: &BTreeSet<u64>, random: &mut Random) -> (Names, usize) {
    let mut open: BTreeMap<&str, Vec<&Line>> = BTreeMap::new();
    for line in lines {
        if let Some(directory) = line.change.directory() {
            open.entry(directory).or_default().push(line);
        }
    }
    for line in lines {
        if let Change::Sync { number, directory } = &line.change {
            open.entry(directory).or_default().retain(|line| line.number > *number);
        }
    }
    let mut undone: Vec<&Line> = Vec::new();
    for lines in open.values() {
        let stays = lines.iter().rposition(|line| line.change.is_final(line.number, graves));
        let stays = stays.map_or(0, |last| last + 1);
        let kept = stays + random.below(lines.len() - stays + 1);
        undone.extend(&lines[kept..]);
    }
    undone.sort_by_key(|line| std::cmp::Reverse(line.number));
    for line in &undone {
        undo(&mut now, line);
    }
    now.drop_orphans();
    (now, undone.len())
}

fn undo(names: &mut Names, line: &Line) {
    let grave = || Bytes::Grave(line.number);
    match &line.change {
        Change::Create { name } => drop(names.files.remove(name)),
        Change::Unlink { name } => drop(names.files.insert(name.clone(), grave())),
        Change::MakeDirectory { name } => drop(names.directories.remove(name)),
        Change::RemoveDirectory { name } => drop(names.directories.insert(name.clone())),
        Change::Rename { from, to, replaces } => {
            if let Some(bytes) = names.files.remove(to) {
                names.files.insert(from.clone(), bytes);
            }
            if *replaces {
                names.files.insert(to.clone(), grave());
            }
        }
        Change::Sync { .. } => {}
    }
}

impl Names {
    /// What stands in a directory that is not there is not there either.
    fn drop_orphans(&mut self) {
        let all = self.directories.clone();
        let stands = |name: &str, all: &BTreeSet<String>| {
            std::iter::successors(Some(directory_of(name)), |name| Some(directory_of(name)))
                .take_while(|directory| !directory.is_empty())
                .all(|directory| all.contains(directory))
        };
        self.directories.retain(|name| stands(name, &all));
        let directories = &self.directories;
        self.files.retain(|name, _| stands(name, directories));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(files: &[(&str, Bytes)], directories: &[&str]) -> Names {
        Names {
            files: files.iter().map(|(name, bytes)| ((*name).to_owned(), bytes.clone())).collect(),
            directories: directories.iter().map(|&name| name.to_owned()).collect(),
        }
    }

    fn named(name: &str) -> Bytes {
        Bytes::Named(name.to_owned())
    }

    /// All that can be left.
    fn outcomes(now: &Names, journal: &str, graves: &[u64]) -> Vec<Names> {
        let lines = parse(journal).unwrap();
        let graves = graves.iter().copied().collect();
        let mut seen = Vec::new();
        for seed in 0..100 {
            let (left, _) = cut(now.clone(), &lines, &graves, &mut Random::seeded(seed));
            if !seen.contains(&left) {
                seen.push(left);
            }
        }
        seen
    }

    #[test]
    fn a_synced_directory_keeps_its_names() {
        let now = names(&[("db/1", named("db/1"))], &["db"]);
        let journal = "1 mkdir db\n2 create db/1\n3 sync 2 db\n4 sync 3 \n";
        assert_eq!(outcomes(&now, journal, &[]), [now]);
    }

    #[test]
    fn later_names_are_lost_before_earlier_ones() {
        let now = names(&[("a", named("a")), ("b", named("b"))], &[]);
        let left = outcomes(&now, "1 create a\n2 create b\n", &[]);
        let only_a = names(&[("a", named("a"))], &[]);
        assert_eq!(left.len(), 3);
        assert!(left.contains(&now) && left.contains(&only_a) && left.contains(&Names::default()));
    }

    #[test]
    fn an_undone_rename_brings_the_old_file_back() {
        let now = names(&[("CURRENT", named("CURRENT"))], &[]);
        let journal = "1 create CURRENT\n2 create 5.tmp\n3 sync 2 \n4 replace 5.tmp CURRENT\n";
        let before = names(&[("5.tmp", named("CURRENT")), ("CURRENT", Bytes::Grave(4))], &[]);
        let left = outcomes(&now, journal, &[4]);
        assert_eq!(left.len(), 2);
        assert!(left.contains(&now) && left.contains(&before));
        // Without the old file it cannot be brought back.
        assert_eq!(outcomes(&now, journal, &[]), [now]);
    }

    #[test]
    fn what_was_removed_may_come_back_and_what_has_no_directory_goes() {
        let left = outcomes(&Names::default(), "1 unlink a\n", &[1]);
        assert!(left.len() == 2 && left.contains(&names(&[("a", Bytes::Grave(1))], &[])));
        let now = names(&[("db/1", named("db/1"))], &["db"]);
        assert!(outcomes(&now, "1 mkdir db\n2 create db/1\n3 sync 2 db\n", &[]).contains(&Names::default()));
    }

    #[test]
    fn nonsense_is_refused_and_an_unfinished_line_is_not_there() {
        assert!(parse("1 jump a\n").is_err());
        assert!(parse("1 create a b\n").is_err());
        assert_eq!(parse("2 create b\n1 create a\n3 crea").unwrap().len(), 2);
        assert_eq!(parse("").unwrap(), []);
    }
}

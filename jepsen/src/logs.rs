//! Whether the processes' logs say anything that nobody expects: a WARN or ERROR line that is on no list, or a panic.
//! Reading is separate from judging.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// A line that may appear, and why.
#[derive(Clone, Copy, Debug)]
pub struct Allowed {
    /// A part of the line.
    pub part: &'static str,
    /// Why it is right to appear.
    pub why: &'static str,
}

/// What kills and restarts may leave in the logs.
pub const AFTER_KILLS: &[Allowed] = &[
    Allowed {
        part: "cannot give definite answers",
        why: "a leader that lost its majority or its away site cannot know; the router asks the next one",
    },
    Allowed {
        part: "remotely-reset pending-accept streams reached limit",
        why: "peers gave up streams while this process stood still; the connection is made anew",
    },
];

/// What the loss of a site leaves in the logs besides, where sets go on without it.
pub const AFTER_LOST_SITES: &[Allowed] = &[
    Allowed {
        part: "durability not changed yet",
        why: "the control set was electing when a set was to go on alone",
    },
    Allowed { part: "no word of the control set", why: "it was electing when a lease was asked for" },
    Allowed { part: "twinset_node::recovery: recovery", why: "a set is recovered in the other site" },
    Allowed {
        part: "not recovered yet",
        why: "the control set was electing, or a survivor slow; it is tried again",
    },
    Allowed { part: "fenced: the set is being recovered", why: "its survivors are fenced" },
    Allowed { part: "closed: what is here is newer than the catalogue", why: "a fenced survivor waits" },
    Allowed { part: "the set was recovered without this replica", why: "the site is back" },
    Allowed { part: "this replica was left behind by a recovery", why: "what it holds is told" },
    Allowed { part: "learner not added yet", why: "a copy comes back, and the lead has just gone over" },
    Allowed {
        part: "no vote for the learner yet",
        why: "the control set was electing; the keeper tries again",
    },
    Allowed { part: "voters not changed yet", why: "a copy gets its vote, and the lead has just gone over" },
    Allowed {
        part: "not brought together with its peers yet",
        why: "a peer was electing when a recovered set asked what it has seen; it is asked again",
    },
];

/// The lines of `text` that nobody expects.
pub fn unlisted<'a>(text: &'a str, allowed: &[Allowed]) -> Vec<&'a str> {
    let loud =
        |line: &&str| line.contains(" WARN ") || line.contains(" ERROR ") || line.contains("panicked at");
    let listed = |line: &&str| allowed.iter().any(|allowed| line.contains(allowed.part));
    text.lines().filter(loud).filter(|line| !listed(line)).collect()
}

/// The unexpected lines of every `*.log` in `dir`, with the file's name before each.
pub fn read(dir: &Path, allowed: &[Allowed]) -> anyhow::Result<Vec<String>> {
    Reader::new(dir).judged(|_| allowed.to_vec())
}

/// Reads the logs of a directory bit by bit, so that a line belongs to what was done before it was read. Wall clocks would
/// not do: they are among what is put wrong.
pub struct Reader {
    dir: PathBuf,
    /// How far each file was read.
    read: BTreeMap<PathBuf, u64>,
}

impl Reader {
    /// From the begin of each `*.log` in `dir`.
    pub fn new(dir: &Path) -> Self {
        Reader { dir: dir.to_owned(), read: BTreeMap::new() }
    }

    /// The lines since the last call that nobody expects: `excused` says what each process may say besides what any may say
    /// after kills.
    pub fn since(&mut self, excused: impl Fn(&str) -> Vec<Allowed>) -> anyhow::Result<Vec<String>> {
        self.judged(|process| [AFTER_KILLS, &excused(process)].concat())
    }

    fn judged(&mut self, allowed: impl Fn(&str) -> Vec<Allowed>) -> anyhow::Result<Vec<String>> {
        let mut found = Vec::new();
        for entry in std::fs::read_dir(&self.dir)? {
            let path = entry?.path();
            if path.extension().is_none_or(|extension| extension != "log") {
                continue;
            }
            let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            let text = self.news(&path)?;
            let lines = unlisted(&text, &allowed(&name)).into_iter().map(|line| format!("{name}: {line}"));
            found.extend(lines.collect::<Vec<_>>());
        }
        found.sort();
        Ok(found)
    }

    /// What a file has by now, without a line that is still being written.
    fn news(&mut self, path: &Path) -> anyhow::Result<String> {
        let read = self.read.entry(path.to_owned()).or_default();
        let mut file = File::open(path)?;
        file.seek(SeekFrom::Start(*read))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
        bytes.truncate(whole);
        *read += whole as u64;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_listed_warnings_pass() {
        let text = "2026 INFO serving\n2026  WARN a: known thing\n2026  WARN a: new thing\n2026 ERROR b: bad\n\
                    thread 'x' panicked at src/a.rs:1:1:\n";
        let allowed = [Allowed { part: "known thing", why: "it is known" }];
        assert_eq!(unlisted(text, &allowed).len(), 3);
        assert_eq!(unlisted(text, &[]).len(), 4);
    }

    #[test]
    fn a_line_is_read_once_and_only_its_process_is_excused() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let file = std::fs::OpenOptions::new().create(true).append(true).open(dir.path().join(name));
            std::io::Write::write_all(&mut file.unwrap(), text.as_bytes()).unwrap();
        };
        let mut reader = Reader::new(dir.path());
        let excused = |process: &str| match process {
            "a1" => vec![Allowed { part: "the disk is full", why: "that is the fault" }],
            _ => Vec::new(),
        };
        let line = "2026 ERROR the disk is full\n";
        write("a1.log", line);
        write("b1.log", line);
        assert_eq!(reader.since(excused).unwrap(), ["b1: 2026 ERROR the disk is full"]);
        assert!(reader.since(excused).unwrap().is_empty(), "it was read");
        write("a1.log", "2026 ERROR the di");
        assert!(reader.since(|_| Vec::new()).unwrap().is_empty(), "it is not whole");
        write("a1.log", "sk is full\n");
        assert_eq!(reader.since(|_| Vec::new()).unwrap().len(), 1, "another fault excuses nothing");
    }
}

//! Whether the processes' logs say anything that nobody expects: a WARN or ERROR line that is on no list, or a panic.
//! Reading is separate from judging.

use std::path::Path;

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

/// The lines of `text` that nobody expects.
pub fn unlisted<'a>(text: &'a str, allowed: &[Allowed]) -> Vec<&'a str> {
    let loud =
        |line: &&str| line.contains(" WARN ") || line.contains(" ERROR ") || line.contains("panicked at");
    let listed = |line: &&str| allowed.iter().any(|allowed| line.contains(allowed.part));
    text.lines().filter(loud).filter(|line| !listed(line)).collect()
}

/// The unexpected lines of every `*.log` in `dir`, with the file's name before each.
pub fn read(dir: &Path, allowed: &[Allowed]) -> anyhow::Result<Vec<String>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "log") {
            let text = String::from_utf8_lossy(&std::fs::read(&path)?).into_owned();
            let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            found.extend(unlisted(&text, allowed).into_iter().map(|line| format!("{name}: {line}")));
        }
    }
    found.sort();
    Ok(found)
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
}

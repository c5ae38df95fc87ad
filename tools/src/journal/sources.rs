//! The files of a journal, and the one loop over their lines: the file named first, and what it includes, each read
//! through the caller's loader, each problem kept with its place. What a line means is the readers' business
//! ([`super::beancount`], [`super::ledger_cli`]).

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Load;
use super::problem::{Place, Problem, Reason};

/// The files being read, and what was found wrong so far.
pub struct Sources<'a> {
    load: Load<'a>,
    /// The innermost last.
    open: Vec<PathBuf>,
    /// In the order in which they were found.
    pub problems: Vec<Problem>,
}

impl<'a> Sources<'a> {
    /// Nothing read yet.
    pub fn new(load: Load<'a>) -> Self {
        Sources { load, open: Vec::new(), problems: Vec::new() }
    }

    /// Whether the lines at hand are of the file named first, and not of an included one.
    pub fn at_first(&self) -> bool {
        self.open.len() == 1
    }

    fn enter(&mut self, path: &Path) -> Result<String, Reason> {
        let shown = path.display().to_string();
        if self.open.iter().any(|open| open == path) {
            return Err(Reason::IncludesItself { file: shown });
        }
        let text =
            (self.load)(path).map_err(|error| Reason::Unreadable { file: shown, why: error.to_string() })?;
        self.open.push(path.to_owned());
        Ok(text)
    }
}

/// The first line of a file.
pub fn start_of(path: &Path) -> Place {
    Place { file: path.display().to_string().into(), line: 1 }
}

/// Reads one format.
pub trait Reader<'a>: Sized {
    /// What is read at a time.
    type Item;

    /// The files.
    fn sources(&mut self) -> &mut Sources<'a>;

    /// The text in items, each with its line. `Err`: the line of a string that is never closed.
    fn split(text: &str) -> Result<Vec<(u32, Self::Item)>, u32>;

    /// Reads one item.
    fn item(&mut self, place: &Place, item: Self::Item) -> Result<(), Reason>;

    /// A file has ended.
    fn end(&mut self) {}

    /// Reads the file named first.
    fn first(&mut self, path: &Path) {
        if let Err(reason) = self.file(path) {
            self.sources().problems.push(Problem { place: start_of(path), reason });
        }
    }

    /// Reads what the innermost file includes under `name`.
    fn include(&mut self, name: &str) -> Result<(), Reason> {
        if name.contains(['*', '?', '[']) {
            return Err(Reason::Unsupported { what: "an include with a pattern" });
        }
        let file = self.sources().open.last();
        let path = file.and_then(|file| file.parent()).unwrap_or(Path::new("")).join(name);
        self.file(&path)
    }

    /// The loop: every item of a file in turn; what is wrong with one does not hide the next.
    fn file(&mut self, path: &Path) -> Result<(), Reason> {
        let text = self.sources().enter(path)?;
        let Place { file, .. } = start_of(path);
        let place = |line| Place { file: Arc::clone(&file), line };
        match Self::split(&text) {
            Ok(items) => {
                for (line, item) in items {
                    let place = place(line);
                    if let Err(reason) = self.item(&place, item) {
                        self.sources().problems.push(Problem { place, reason });
                    }
                }
            }
            Err(line) => {
                let problem = Problem { place: place(line), reason: Reason::OpenString };
                self.sources().problems.push(problem);
            }
        }
        self.end();
        self.sources().open.pop();
        Ok(())
    }
}

//! The tiny program: this test binary itself, started again with the library before it and a list of acts. It prints what
//! became of each.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use tempfile::TempDir;
use twinset_jepsen::preload::machines::environment;
use twinset_jepsen::preload::{Control, Machine};
use twinset_tools::load::random::Random;

const ACTS: &str = "TWINSET_MACHINE_ACTS";
const PLACE: &str = "TWINSET_MACHINE_PLACE";
const SAID: &str = "said: ";

/// A machine with nothing but a directory.
pub struct Bench {
    /// The machine.
    pub machine: Machine,
    dir: TempDir,
}

impl Bench {
    /// An empty directory.
    pub fn new() -> Bench {
        let dir = tempfile::tempdir().unwrap();
        let control = Control::create(&dir.path().join("control")).unwrap();
        let data = dir.path().join("data");
        fs::create_dir(&data).unwrap();
        Bench { machine: Machine { control, data }, dir }
    }

    /// A directory that is not the machine's.
    pub fn elsewhere(&self) -> PathBuf {
        let path = self.dir.path().join("elsewhere");
        fs::create_dir_all(&path).unwrap();
        path
    }

    /// Runs acts in the machine's directory; gives what became of each.
    pub fn run(&self, acts: &str) -> Vec<String> {
        self.run_in(&self.machine.data, acts, &[])
    }

    /// Runs acts in any directory, with more variables.
    pub fn run_in(&self, place: &Path, acts: &str, more: &[(&str, &str)]) -> Vec<String> {
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "program::the_tiny_program", "--nocapture"])
            .envs(environment(&self.machine.control, &self.machine.data).unwrap())
            .envs(more.iter().copied())
            .env(ACTS, acts)
            .env(PLACE, place)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
        said.lines().filter_map(|line| Some(line.split_once(SAID)?.1.to_owned())).collect()
    }

    /// What the machine's directory holds.
    pub fn read(&self, name: &str) -> Option<Vec<u8>> {
        fs::read(self.machine.data.join(name)).ok()
    }
}

/// Does nothing unless [`Bench::run`] has started it.
#[test]
fn the_tiny_program() {
    let (Ok(acts), Ok(place)) = (std::env::var(ACTS), std::env::var(PLACE)) else { return };
    let mut open = BTreeMap::new();
    for act in acts.split("; ") {
        let said = match do_one(act, Path::new(&place), &mut open) {
            Ok(said) => said,
            Err(error) => format!("error {}", error.raw_os_error().unwrap_or(0)),
        };
        // A line of its own, whatever the test harness has printed before it.
        println!("\n{SAID}{said}");
    }
}

fn do_one(act: &str, place: &Path, open: &mut BTreeMap<String, File>) -> std::io::Result<String> {
    let words: Vec<&str> = act.split(' ').collect();
    let path = |at: usize| place.join(words[at]);
    let number = |at: usize| words[at].parse::<u64>().unwrap();
    let file = |at: usize| open[words[at]].try_clone().unwrap();
    match words[0] {
        "open" => {
            let file = File::options().read(true).write(true).create(true).truncate(false).open(path(1))?;
            open.insert(words[1].to_owned(), file);
        }
        "write" => file(1).write_all(words[2].as_bytes())?,
        "pwrite" => file(1).write_all_at(words[3].as_bytes(), number(2))?,
        "cut" => file(1).set_len(number(2))?,
        "sync" => file(1).sync_all()?,
        "datasync" => file(1).sync_data()?,
        "syncdir" => File::open(path(1))?.sync_all()?,
        "rename" => fs::rename(path(1), path(2))?,
        "unlink" => fs::remove_file(path(1))?,
        "mkdir" => fs::create_dir(path(1))?,
        "now" => {
            return Ok(SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs().to_string());
        }
        "random" => return Ok(Random::new().bits().to_string()),
        other => panic!("nobody knows how to {other}"),
    }
    Ok("done".to_owned())
}

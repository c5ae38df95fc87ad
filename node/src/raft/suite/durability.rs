//! What is left after the process is gone. A child process works through a history that is a pure function of the number
//! of steps taken, says which of them it was told are on disk, and is killed; whatever the directory shows then must be
//! the history up to some step, and up to the last that was told at least.

use std::env;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

use openraft::storage::{IOFlushed, RaftLogReader, RaftLogStorage};
use openraft::type_config::TypeConfigExt;
use tokio::sync::mpsc;
use twinset_store::{OpenError, Store};

use super::super::log::{LogStore, make_vote};
use super::super::types::{Entries, LogId, TypeConfig, Vote};
use super::{append, commands, copy, id, open, options};

const DIR: &str = "TWINSET_RAFT_SUITE_DIR";
/// The one thing that is random here is when a child is killed and where its log is cut.
const SEED: &str = "TWINSET_RAFT_SUITE_SEED";
const TAKEN: &str = "TWINSET_RAFT_SUITE_TAKEN";
const SETS: [u32; 2] = [3, 4];
/// Steps that may wait for their callbacks.
const WAITING: usize = 24;
/// No child gets further than this beyond what it was told is on disk.
const AHEAD: u64 = 10_000;

/// The log and the vote after some steps.
#[derive(Clone, Debug, Default, PartialEq)]
struct History {
    seed: u64,
    taken: u64,
    vote: Option<Vote>,
    purged: Option<LogId>,
    /// All of them, from index 0, those that are purged included.
    entries: Vec<Entries>,
}

#[derive(Clone, Debug)]
enum Step {
    Append(Vec<Entries>),
    Vote(Vote),
    Truncate(Option<LogId>),
    Purge(LogId),
}

fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

impl History {
    fn new(seed: u64) -> History {
        History { seed, ..History::default() }
    }

    fn after(seed: u64, taken: u64) -> History {
        let mut history = History::new(seed);
        while history.taken < taken {
            history.take(&history.next());
        }
        history
    }

    fn dice(&self, salt: u64) -> u64 {
        mix(self.seed << 40 ^ self.taken << 8 ^ salt)
    }

    fn next(&self) -> Step {
        let end = self.entries.len() as u64;
        let first = self.purged.map_or(0, |purged| purged.index + 1);
        let term = self.vote.map_or(0, |vote| vote.leader_id().term);
        match self.dice(0) % 12 {
            0 => Step::Vote(make_vote(term + 1, self.dice(1) % 5, false)),
            1 if self.vote.is_some_and(|vote| !vote.is_committed()) => {
                Step::Vote(make_vote(term, self.dice(1) % 5, true))
            }
            2 if end > first => {
                let keep = first.max(end.saturating_sub(1 + self.dice(1) % 4));
                let last = keep.checked_sub(1).map(|last| self.entries[last as usize].log_id);
                Step::Truncate(last.max(self.purged))
            }
            3 if end > first + 6 => Step::Purge(self.entries[(first + self.dice(1) % 4) as usize].log_id),
            _ => Step::Append((0..1 + self.dice(1) % 3).map(|n| self.entry(term, end + n)).collect()),
        }
    }

    /// Differs from what any other step puts there; one in eight takes more than one part of a record.
    fn entry(&self, term: u64, index: u64) -> Entries {
        let bytes = if self.dice(index + 2).is_multiple_of(8) { 9_000 } else { 100 };
        let mark = [self.seed, self.taken, index].map(u64::to_le_bytes).concat();
        commands(term, index, mark.into_iter().cycle().take(bytes).collect())
    }

    fn take(&mut self, step: &Step) {
        match step {
            Step::Append(entries) => self.entries.extend(entries.iter().cloned()),
            Step::Vote(vote) => self.vote = Some(*vote),
            Step::Truncate(last) => self.entries.truncate(last.map_or(0, |last| last.index as usize + 1)),
            Step::Purge(upto) => self.purged = Some(*upto),
        }
        self.taken += 1;
    }

    /// Whether a log shows exactly this.
    async fn is(&self, log: &mut LogStore) -> bool {
        let state = log.get_log_state().await.unwrap();
        let last = self.entries.last().map(|entry| entry.log_id).or(self.purged);
        if (state.last_log_id, state.last_purged_log_id) != (last, self.purged) {
            return false;
        }
        let first = self.purged.map_or(0, |purged| purged.index as usize + 1);
        log.read_vote().await.unwrap() == self.vote
            && log.try_get_log_entries(..).await.unwrap() == self.entries[first..]
    }

    /// The history, at `told` steps or later, that a log shows.
    async fn shown(seed: u64, told: u64, log: &mut LogStore) -> History {
        let mut history = History::after(seed, told);
        while !history.is(log).await {
            history.take(&history.next());
            assert!(
                history.taken < told + AHEAD,
                "set {seed}: {told} steps were on disk; what is there is no step of the history: vote {:?}, {:?}",
                log.read_vote().await,
                log.get_log_state().await,
            );
        }
        history
    }
}

/// Works through the history of one set until the process ends or a write fails.
async fn work(store: Store, set: u32, taken: u64) {
    let mut log = LogStore::new(store.log(set).unwrap());
    let mut history = History::after(set.into(), taken);
    let (waiting, mut callbacks) = mpsc::channel::<(u64, tokio::task::JoinHandle<bool>)>(WAITING);
    let teller = tokio::spawn(async move {
        let mut failed = false;
        while let Some((taken, on_disk)) = callbacks.recv().await {
            let on_disk = on_disk.await.unwrap();
            assert!(!(failed && on_disk), "a step came to disk after one that failed");
            failed |= !on_disk;
            if on_disk {
                // One write for each line: the reader never sees half of one.
                std::io::stdout().write_all(format!("told {set} {taken}\n").as_bytes()).unwrap();
            }
        }
        assert!(failed);
    });
    loop {
        let step = history.next();
        history.take(&step);
        let written = match step {
            Step::Append(entries) => {
                let (tell, told) = TypeConfig::oneshot();
                let written = log.append(entries, IOFlushed::signal(tell)).await;
                let on_disk = tokio::spawn(async move { matches!(told.await, Ok(Ok(()))) });
                waiting.send((history.taken, on_disk)).await.unwrap();
                written
            }
            Step::Vote(vote) => {
                let written = log.save_vote(&vote).await;
                let on_disk = written.is_ok();
                waiting.send((history.taken, tokio::spawn(async move { on_disk }))).await.unwrap();
                written
            }
            Step::Truncate(last) => log.truncate_after(last).await,
            Step::Purge(upto) => log.purge(upto).await,
        };
        if written.is_err() {
            break;
        }
    }
    drop(waiting);
    teller.await.unwrap();
    // Nothing gets better by asking again.
    assert!(log.save_vote(&make_vote(u64::MAX, 1, true)).await.is_err());
    let (tell, told) = TypeConfig::oneshot();
    let refused =
        log.append(vec![history.entry(1, history.entries.len() as u64)], IOFlushed::signal(tell)).await;
    assert!(refused.is_err() || told.await.is_ok_and(|result| result.is_err()));
}

/// Not a test of its own: what runs in another process.
#[tokio::test]
async fn child() {
    let Some(dir) = env::var_os(DIR) else { return };
    let taken = env::var(TAKEN).unwrap();
    let store = open(Path::new(&dir));
    let work: Vec<_> = SETS
        .into_iter()
        .zip(taken.split(','))
        .map(|(set, taken)| tokio::spawn(work(store.clone(), set, taken.parse().unwrap())))
        .collect();
    for work in work {
        work.await.unwrap();
    }
}

/// Runs a child until it has told something `lines` times, or to its end; what each set was told last.
fn run(mut command: Command, dir: &Path, taken: [u64; 2], lines: Option<u64>) -> ([u64; 2], ExitStatus) {
    let mut child = command
        .args(["raft::suite::durability::child", "--exact", "--nocapture"])
        .env(DIR, dir)
        .env(TAKEN, format!("{},{}", taken[0], taken[1]))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut told = taken;
    let mut left = lines;
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        let Some((set, step)) = line.strip_prefix("told ").and_then(|rest| rest.split_once(' ')) else {
            continue;
        };
        let (set, step): (u32, u64) = (set.parse().unwrap(), step.parse().unwrap());
        let last = &mut told[SETS.iter().position(|&one| one == set).unwrap()];
        assert!(step > *last, "set {set}: told {step} after {last}");
        *last = step;
        left = left.map(|left| left.saturating_sub(1));
        if left == Some(0) {
            // What it has said until it dies is still read.
            child.kill().unwrap();
        }
    }
    (told, child.wait().unwrap())
}

fn this_binary() -> Command {
    Command::new(env::current_exe().unwrap())
}

/// The newest file of the write-ahead log that holds anything.
fn newest_wal(dir: &Path) -> PathBuf {
    let files = std::fs::read_dir(dir.join("db")).unwrap().map(|entry| entry.unwrap().path());
    let logs = files.filter(|path| path.extension().is_some_and(|end| end == "log"));
    logs.filter(|path| path.metadata().unwrap().len() > 0).max().unwrap()
}

/// A machine that dies loses what was not synced: the log file ends early. Cut anywhere, a copy shows the history up to
/// `told` or later, or it is refused. `mark` puts an older mark of what was synced in place.
async fn cut(dir: &Path, told: [u64; 2], mark: Option<&[u8]>, dice: u64) -> bool {
    let dead = tempfile::tempdir().unwrap();
    copy(dir, dead.path());
    let wal = newest_wal(dead.path());
    let bytes = wal.metadata().unwrap().len();
    let most = [300, 3_000, 30_000, u64::MAX][(dice % 4) as usize].min(bytes);
    std::fs::File::options().write(true).open(wal).unwrap().set_len(bytes - (dice >> 2) % most).unwrap();
    if let Some(mark) = mark {
        std::fs::write(dead.path().join("synced"), mark).unwrap();
    }
    let store = match Store::open(dead.path(), options()) {
        Ok(store) => store,
        Err(OpenError::Damaged { .. }) => return false,
        Err(other) => panic!("{other}"),
    };
    for (set, told) in SETS.into_iter().zip(told) {
        History::shown(set.into(), told, &mut LogStore::new(store.log(set).unwrap())).await;
    }
    true
}

#[tokio::test]
async fn a_kill_at_any_moment_leaves_what_was_told_and_a_prefix_of_the_rest() {
    let dir = tempfile::tempdir().unwrap();
    let seed = env::var(SEED).map_or(u64::from(std::process::id()), |seed| seed.parse().unwrap());
    println!("again with the same dice: {SEED}={seed}");
    open(dir.path()).close();
    let mut taken = [0; 2];
    for round in 0..8 {
        let mark = std::fs::read(dir.path().join("synced")).unwrap();
        let lines = 1 + mix(seed << 8 ^ round) % 200;
        let (told, status) = run(this_binary(), dir.path(), taken, Some(lines));
        assert!(!status.success(), "it was killed");
        let mut refused = 0;
        for n in 0..6 {
            let dice = mix(seed << 16 ^ round << 4 ^ n);
            refused += u32::from(!cut(dir.path(), told, None, dice).await);
            // With the mark from before, nothing says that the log was longer: it opens, with less.
            assert!(cut(dir.path(), taken, Some(&mark), dice).await);
        }
        let store = open(dir.path());
        for (n, set) in SETS.into_iter().enumerate() {
            let mut log = LogStore::new(store.log(set).unwrap());
            taken[n] = History::shown(set.into(), told[n], &mut log).await.taken;
        }
        println!("round {round}: told {told:?}, found {taken:?}, {refused} of 6 cut copies refused");
        store.close();
    }
}

#[tokio::test]
async fn a_write_that_fails_is_never_told_as_done() {
    let dir = tempfile::tempdir().unwrap();
    open(dir.path()).close();
    let mut shell = Command::new("sh");
    // A limit on the size of files stands for a full disk; the signal that comes with it must not kill.
    shell.args(["-c", r#"trap "" XFSZ; ulimit -f 1000; exec "$0" "$@""#]).arg(env::current_exe().unwrap());
    let (told, status) = run(shell, dir.path(), [0; 2], None);
    assert!(status.success(), "{status}");
    assert!(told.iter().sum::<u64>() > 20, "it came some way: {told:?}");
    let store = open(dir.path());
    for (set, told) in SETS.into_iter().zip(told) {
        let mut log = LogStore::new(store.log(set).unwrap());
        let found = History::shown(set.into(), told, &mut log).await;
        println!("set {set}: told {told}, found {}", found.taken);
    }
}

#[tokio::test]
async fn the_disk_at_the_moment_of_the_callback_holds_entries_and_vote() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let mut logs = SETS.map(|set| LogStore::new(store.log(set).unwrap()));
    for round in 0..12 {
        // Appends of one set, appends of the other, a vote of either.
        let vote = round % 3 == 2;
        let log = &mut logs[if vote { round / 3 % 2 } else { round % 3 } as usize];
        if vote {
            log.save_vote(&make_vote(round, 9, true)).await.unwrap();
        } else {
            append(log, (0..5).map(|n| commands(round, round / 3 * 5 + n, vec![7; 3_000])).collect()).await;
        }
        let then = tempfile::tempdir().unwrap();
        copy(dir.path(), then.path());
        let copied = open(then.path());
        for (set, log) in SETS.into_iter().zip(&mut logs) {
            let mut then = LogStore::new(copied.log(set).unwrap());
            assert_eq!(then.read_vote().await.unwrap(), log.read_vote().await.unwrap());
            assert_eq!(then.get_log_state().await.unwrap(), log.get_log_state().await.unwrap());
            assert_eq!(
                then.try_get_log_entries(..).await.unwrap(),
                log.try_get_log_entries(..).await.unwrap()
            );
        }
        copied.close();
    }
    assert_eq!(logs[0].get_log_state().await.unwrap().last_log_id, Some(id(9, 19)));
}

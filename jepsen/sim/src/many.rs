//! Many seeds: one process each, some at a time. What a process draws before its first line, and counters that live as long
//! as a process, are thus the same for every run of a seed. A process that does not end is ended, and has failed.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io::{self, Read};
use std::ops::Range;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, SyncSender};
use std::time::Duration;

use anyhow::Context;
use parking_lot::Mutex;

use crate::faults::Tally;
use crate::repeat;

/// A kind of fault that has begun so often without ever being seen to act does nothing: the runs prove less than they say.
const IDLE: u64 = 8;

/// Which runs there are to be.
pub struct Many<'a> {
    /// The program.
    pub me: &'a Path,
    /// Its arguments beside the seed.
    pub arguments: &'a [String],
    /// Each for a process.
    pub seeds: Range<u64>,
    /// Processes at a time.
    pub jobs: usize,
    /// A process that takes longer hangs.
    pub within: Duration,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Well,
    Failed,
    /// Not by itself: it was killed when it had taken too long.
    Hung,
}

/// What came of a process.
struct Ran {
    end: End,
    said: String,
    complained: String,
}

impl Many<'_> {
    /// Runs all seeds; true if all went well. Each seed's line is printed when it comes, the faults of all of them at
    /// the end; what a failing one says goes to stderr, and how it is repeated is the last that is said of it.
    pub fn run(&self) -> anyhow::Result<bool> {
        let next = AtomicU64::new(self.seeds.start);
        let failed: Mutex<BTreeMap<u64, End>> = Mutex::default();
        let faults: Mutex<Tally> = Mutex::default();
        let work = || -> anyhow::Result<()> {
            loop {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                if seed >= self.seeds.end {
                    return Ok(());
                }
                let mut command = Command::new(self.me);
                command.arg("--seed").arg(seed.to_string()).args(self.arguments);
                let ran = watched(&mut command, self.within);
                let ran = ran.with_context(|| format!("cannot run {}", self.me.display()))?;
                print!("{}", ran.said);
                if let Some(tally) = ran.said.split_once(" faults: ").and_then(|(_, text)| Tally::parse(text))
                {
                    faults.lock().add(&tally);
                }
                if ran.end != End::Well {
                    eprint!("{}", ran.complained);
                    failed.lock().insert(seed, ran.end);
                }
            }
        };
        let worked = std::thread::scope(|scope| {
            let workers: Vec<_> = (0..self.jobs.max(1)).map(|_| scope.spawn(work)).collect();
            workers.into_iter().try_for_each(|worker| worker.join().expect("a worker does not panic"))
        });
        // Before the error: a seed that has failed is told whatever became of the others.
        let failed = failed.into_inner();
        told(&failed, self).iter().for_each(|line| eprintln!("{line}"));
        worked?;
        let faults = faults.into_inner();
        println!("faults that were seen to act, of all: {faults}");
        let idle = faults.idle(IDLE);
        if !idle.is_empty() {
            eprintln!("never seen to act: {idle:?}");
        }
        Ok(failed.is_empty() && idle.is_empty())
    }
}

/// What is said of the seeds that failed, a line each.
fn told(failed: &BTreeMap<u64, End>, many: &Many<'_>) -> Vec<String> {
    let mut told = Vec::new();
    for (seed, end) in failed {
        if *end == End::Hung {
            let within = many.within.as_secs();
            told.push(format!(
                "seed {seed} hung: it was not over within {within} s and was killed; \
                 if it is only slow, give it longer with --within"
            ));
        }
    }
    if !failed.is_empty() {
        told.push(format!("failed seeds: {:?}", failed.keys().collect::<Vec<_>>()));
    }
    told.extend(failed.keys().map(|seed| repeat::line(*seed, many.arguments)));
    told
}

/// Runs a process to its end, which is here at the latest when it has taken too long.
fn watched(command: &mut Command, within: Duration) -> io::Result<Ran> {
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let (out, err) = (child.stdout.take(), child.stderr.take());
    // Nobody sends anything: it closes when the process has closed both pipes, as it does when it ends.
    let (open, closed) = mpsc::sync_channel::<Infallible>(0);
    std::thread::scope(|scope| {
        let said = scope.spawn({
            let open = open.clone();
            move || read(out, open)
        });
        let complained = scope.spawn(move || read(err, open));
        let hung = closed.recv_timeout(within) == Err(RecvTimeoutError::Timeout);
        if hung {
            child.kill()?;
        }
        let status = child.wait()?;
        let [said, complained] = [said, complained].map(|text| text.join().expect("reading does not panic"));
        let end = match status.success() {
            _ if hung => End::Hung,
            true => End::Well,
            false => End::Failed,
        };
        Ok(Ran { end, said: said?, complained: complained? })
    })
}

fn read(pipe: Option<impl Read>, _open: SyncSender<Infallible>) -> io::Result<String> {
    let mut bytes = Vec::new();
    pipe.expect("it was asked for").read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(600);

    fn shell(script: &str, within: Duration) -> Ran {
        watched(Command::new("sh").args(["-c", script]), within).unwrap()
    }

    #[test]
    fn a_process_that_does_not_end_is_ended_and_the_others_say_how_they_ended() {
        // `exec`: nobody else may hold the pipes open.
        assert_eq!(shell("exec tail -f /dev/null", Duration::ZERO).end, End::Hung);
        let (well, failed) = (shell("echo fine", LONG), shell("echo so far; echo no >&2; exit 3", LONG));
        assert_eq!((well.end, well.said.as_str(), well.complained.as_str()), (End::Well, "fine\n", ""));
        assert_eq!((failed.end, failed.said.as_str()), (End::Failed, "so far\n"));
        assert_eq!(failed.complained, "no\n");
        assert_eq!(shell("kill -9 $$", LONG).end, End::Failed);
    }

    #[test]
    fn of_each_failed_seed_it_is_told_how_to_repeat_it() {
        let many = Many {
            me: "twinset-sim".as_ref(),
            arguments: &["--time".to_owned(), "5".to_owned()],
            seeds: 0..9,
            jobs: 1,
            within: LONG,
        };
        assert_eq!(told(&BTreeMap::new(), &many), Vec::<String>::new());
        let told = told(&[(3, End::Failed), (8, End::Hung)].into(), &many);
        assert!(told[0].starts_with("seed 8 hung: it was not over within 600 s"), "{told:?}");
        let rest = [
            "failed seeds: [3, 8]",
            "repeat: twinset-sim --seed 3 --time 5",
            "repeat: twinset-sim --seed 8 --time 5",
        ];
        assert_eq!(told[1..], rest);
    }
}

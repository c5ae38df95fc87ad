//! Many seeds: one process each, some at a time. What a process draws before its first line, and counters that live as long
//! as a process, are thus the same for every run of a seed.

use std::ops::Range;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Context;
use parking_lot::Mutex;

use crate::faults::Tally;

/// A kind of fault that has begun so often without ever being seen to act does nothing: the runs prove less than they say.
const IDLE: u64 = 8;

/// Runs all seeds with the program `me`, and `arguments` beside the seed; true if all went well. Each seed's line is printed
/// when it comes, the faults of all of them at the end; what a failing one says goes to stderr.
pub fn run(me: &Path, arguments: &[String], seeds: Range<u64>, jobs: usize) -> anyhow::Result<bool> {
    let next = AtomicU64::new(seeds.start);
    let failed: Mutex<Vec<u64>> = Mutex::default();
    let faults: Mutex<Tally> = Mutex::default();
    let work = || -> anyhow::Result<()> {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                return Ok(());
            }
            let mut command = Command::new(me);
            command.arg("--seed").arg(seed.to_string()).args(arguments);
            let output = command.output().with_context(|| format!("cannot run {}", me.display()))?;
            let said = String::from_utf8_lossy(&output.stdout);
            print!("{said}");
            if let Some(tally) = said.split_once(" faults: ").and_then(|(_, text)| Tally::parse(text)) {
                faults.lock().add(&tally);
            }
            if !output.status.success() {
                eprint!("{}", String::from_utf8_lossy(&output.stderr));
                failed.lock().push(seed);
            }
        }
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..jobs.max(1)).map(|_| scope.spawn(work)).collect();
        workers.into_iter().try_for_each(|worker| worker.join().expect("a worker does not panic"))
    })?;
    let failed = failed.into_inner();
    if !failed.is_empty() {
        eprintln!("failed seeds: {failed:?}");
    }
    let faults = faults.into_inner();
    println!("faults that were seen to act, of all: {faults}");
    let idle = faults.idle(IDLE);
    if !idle.is_empty() {
        eprintln!("never seen to act: {idle:?}");
    }
    Ok(failed.is_empty() && idle.is_empty())
}

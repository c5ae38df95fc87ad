//! One process of the operating system: start it with its log, know it again by its number *and* its start time (a
//! number alone may be reused), signal it, wait for its end. Knows nothing of clusters.

use std::fs::OpenOptions;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::error;

/// A running process, told apart from a later one with the same number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pid {
    /// Its number.
    pub number: i32,
    /// When it started, in the kernel's ticks since boot.
    pub started_ticks: u64,
}

/// What a signal is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// Stop cleanly: drain, flush, leave.
    Term,
    /// Die at once: what a power cut does to a process.
    Kill,
    /// Freeze: silent, but alive.
    Stop,
    /// Go on after a freeze.
    Cont,
}

impl Signal {
    fn number(self) -> i32 {
        match self {
            Signal::Term => libc::SIGTERM,
            Signal::Kill => libc::SIGKILL,
            Signal::Stop => libc::SIGSTOP,
            Signal::Cont => libc::SIGCONT,
        }
    }
}

impl std::fmt::Display for Signal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Signal::Term => "TERM",
            Signal::Kill => "KILL",
            Signal::Stop => "STOP",
            Signal::Cont => "CONT",
        })
    }
}

impl std::str::FromStr for Signal {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.to_ascii_uppercase().trim_start_matches("SIG") {
            "TERM" => Ok(Signal::Term),
            "KILL" => Ok(Signal::Kill),
            "STOP" => Ok(Signal::Stop),
            "CONT" => Ok(Signal::Cont),
            _ => Err("choose one of KILL, TERM, STOP, CONT".to_owned()),
        }
    }
}

/// Whether a child outlives the thread that starts it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tie {
    /// The kernel kills it when the starting thread ends, however it ends.
    Parent,
    /// It goes on alone.
    Detached,
}

/// A started process: its name for later, and the handle that reaps it while we live.
pub struct Started {
    /// Its name for later.
    pub pid: Pid,
    /// Reaps it. Dropping it leaves the process alone.
    pub child: std::process::Child,
}

/// What stands around a program: tests put it into a network of its own, or a library before it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Launch {
    /// A command, and its first arguments, that becomes the program in the same process (`ip netns exec NAME`). Empty: none.
    pub through: Vec<String>,
    /// Environment variables that are added.
    pub env: Vec<(String, String)>,
}

/// Starts `binary --config CONFIG`, its output appended to `log`. It gets a process group of its own, so that Ctrl-C in
/// our terminal reaches us alone and we can stop things in order.
pub fn start(binary: &Path, config: &Path, log: &Path, tie: Tie, launch: &Launch) -> anyhow::Result<Started> {
    let output = OpenOptions::new().create(true).append(true).open(log)?;
    let mut command = match launch.through.split_first() {
        None => Command::new(binary),
        Some((through, arguments)) => {
            let mut command = Command::new(through);
            command.args(arguments).arg(binary);
            command
        }
    };
    command.envs(launch.env.iter().map(|(name, value)| (name, value)));
    command.arg("--config").arg(config).stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
    command.process_group(0);
    if tie == Tie::Parent {
        die_with_parent(&mut command);
    }
    let child = command.spawn().map_err(|cause| {
        error::failure(
            format!("{} cannot be started: {cause}", binary.display()),
            "build it first (`cargo build --release`), or name its directory with --bin-dir",
        )
    })?;
    let number = i32::try_from(child.id()).expect("process numbers fit 31 bits");
    Ok(Started { pid: Pid { number, started_ticks: started_ticks(number).unwrap_or(0) }, child })
}

#[allow(unsafe_code)]
fn die_with_parent(command: &mut Command) {
    let parent = std::process::id();
    // SAFETY: between fork and exec only async-signal-safe calls are made: prctl and getppid.
    unsafe {
        command.pre_exec(move || {
            if libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) != 0 {
                return Err(std::io::Error::last_os_error());
            }
            // The parent may have ended before the line above: then no signal would ever come.
            if u32::try_from(libc::getppid()) != Ok(parent) {
                return Err(std::io::Error::from(std::io::ErrorKind::NotFound));
            }
            Ok(())
        });
    }
}

impl Pid {
    /// Whether it still runs. A zombie does not.
    pub fn alive(self) -> bool {
        started_ticks(self.number) == Some(self.started_ticks)
    }

    /// Sends a signal; `false` if it has ended already.
    #[allow(unsafe_code)]
    pub fn signal(self, signal: Signal) -> bool {
        // SAFETY: kill takes two integers and touches no memory of ours.
        self.alive() && unsafe { libc::kill(self.number, signal.number()) } == 0
    }

    /// Waits for its end; `false` if it still runs when the patience is over.
    pub async fn ended(self, patience: Duration) -> bool {
        until(|| !self.alive(), patience).await
    }

    /// Waits until a freeze has reached all its threads, or it has ended; `false` if one still runs when the patience is
    /// over. STOP is only a request: until some thread has taken it up, all go on, and on a busy machine that takes a while.
    pub async fn frozen(self, patience: Duration) -> bool {
        until(|| !self.alive() || self.threads_frozen(), patience).await
    }

    fn threads_frozen(self) -> bool {
        let Ok(threads) = std::fs::read_dir(format!("/proc/{}/task", self.number)) else { return false };
        // A thread that ends between the two reads does nothing any more.
        threads.flatten().all(|thread| match std::fs::read_to_string(thread.path().join("stat")) {
            Ok(stat) => matches!(fields(&stat).and_then(|mut fields| fields.next()), Some("T" | "Z" | "X")),
            Err(_) => true,
        })
    }
}

/// Waits for `holds`; `false` if it does not when the patience is over.
async fn until(holds: impl Fn() -> bool, patience: Duration) -> bool {
    let deadline = Instant::now() + patience;
    while !holds() {
        if Instant::now() >= deadline {
            return false;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    true
}

/// The start time of a live process: field 22 of its `stat`; nothing for a process that is gone or a zombie.
fn started_ticks(number: i32) -> Option<u64> {
    parse_stat(&std::fs::read_to_string(format!("/proc/{number}/stat")).ok()?)
}

/// The fields of a `stat` from the third on, the state.
fn fields(stat: &str) -> Option<std::str::SplitAsciiWhitespace<'_>> {
    // The second field is the name in parentheses and may hold blanks and parentheses itself.
    Some(stat[stat.rfind(')')? + 1..].split_ascii_whitespace())
}

fn parse_stat(stat: &str) -> Option<u64> {
    let mut fields = fields(stat)?;
    let state = fields.next()?;
    let threads: u32 = fields.nth(16)?.parse().ok()?;
    // The first thread may be a zombie while another one still ends and holds ports and locks.
    if matches!(state, "X" | "x") || (state == "Z" && threads <= 1) {
        return None;
    }
    fields.nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_start_time_is_found_behind_an_odd_name() {
        let stat = "12 (a) b (c) S 1 12 12 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 987654 1 2";
        assert_eq!(parse_stat(stat), Some(987_654));
        assert_eq!(parse_stat(&stat.replace(" S ", " Z ")), None);
        assert_eq!(
            parse_stat(&stat.replace(" S ", " Z ").replace(" 20 0 1 0 ", " 20 0 2 0 ")),
            Some(987_654)
        );
        assert_eq!(parse_stat("nonsense"), None);
    }

    fn plain(binary: &Path, log: &Path) -> anyhow::Result<Started> {
        start(binary, Path::new("c"), log, Tie::Parent, &Launch::default())
    }

    #[tokio::test]
    async fn a_process_is_known_signalled_and_seen_to_end() {
        let dir = tempfile::tempdir().unwrap();
        let script = dir.path().join("loop");
        std::fs::write(&script, "#!/bin/sh\nexec sleep 60\n").unwrap();
        std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let mut started = plain(&script, &dir.path().join("log")).unwrap();
        let pid = started.pid;
        assert!(pid.alive());
        assert!(!Pid { started_ticks: pid.started_ticks + 1, ..pid }.alive());
        assert!(!pid.ended(Duration::from_millis(20)).await);
        assert!(!pid.frozen(Duration::from_millis(20)).await);
        assert!(pid.signal(Signal::Stop));
        assert!(pid.frozen(Duration::from_secs(10)).await);
        assert!(pid.alive());
        assert!(pid.signal(Signal::Kill));
        assert!(pid.ended(Duration::from_secs(10)).await);
        started.child.wait().unwrap();
        assert!(!pid.signal(Signal::Kill));
    }

    #[test]
    fn a_program_is_started_through_another_one_and_with_its_environment() {
        let dir = tempfile::tempdir().unwrap();
        let (script, log) = (dir.path().join("words"), dir.path().join("log"));
        std::fs::write(&script, "#!/bin/sh\necho $A $B $$ $@\n").unwrap();
        std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let through = ["env", "B=2"].map(str::to_owned).to_vec();
        let launch = Launch { through, env: vec![("A".to_owned(), "1".to_owned())] };
        let mut started = start(&script, Path::new("c"), &log, Tie::Parent, &launch).unwrap();
        started.child.wait().unwrap();
        let said = std::fs::read_to_string(&log).unwrap();
        assert_eq!(
            said,
            format!("1 2 {} --config c\n", started.pid.number),
            "the process is the program's own"
        );
    }

    #[test]
    fn a_missing_binary_says_what_to_build() {
        let dir = tempfile::tempdir().unwrap();
        let error = plain(Path::new("/nowhere/x"), &dir.path().join("log"));
        assert!(error.err().unwrap().to_string().contains("cannot be started"));
    }
}

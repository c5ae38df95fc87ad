//! A network namespace that nobody else can reach and that no crash leaves behind: it has no name, only a descriptor of
//! ours, and is gone when we and the processes in it are. What is in it is for [`super::fabric`].
//!
//! A person looks into it through a process that runs there: `nsenter -t PID -n iptables -nvL`.

use std::fs::File;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::Context;
use nix::sched::{CloneFlags, setns, unshare};

/// One namespace, alive as long as this or a process in it.
pub struct Namespace {
    file: File,
}

impl Namespace {
    /// An empty one.
    pub fn new() -> anyhow::Result<Self> {
        let opened = on_a_thread(|| {
            unshare(CloneFlags::CLONE_NEWNET)?;
            File::open("/proc/thread-self/ns/net")
        });
        let file = opened.context("no network namespace can be made: it takes root (or a user namespace)")?;
        Ok(Namespace { file })
    }

    /// Where programs find it while we live.
    pub fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.file.as_raw_fd())
    }

    /// Does `work` on a thread that has entered it: sockets made there, and programs started there, belong to it for good.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> std::io::Result<T> {
        on_a_thread(|| {
            setns(&self.file, CloneFlags::CLONE_NEWNET)?;
            Ok(work())
        })
    }

    /// Sets a kernel variable of the network, as `net/ipv4/ip_forward`.
    pub fn set(&self, variable: &str, value: &str) -> anyhow::Result<()> {
        let path = Path::new("/proc/sys").join(variable);
        self.run(|| std::fs::write(&path, value))?.with_context(|| path.display().to_string())
    }

    /// Runs a program in it with `input`; gives what it prints, or an error with its own words.
    pub fn command(&self, program: &str, arguments: &[&str], input: &str) -> anyhow::Result<String> {
        let path = find(program);
        let done = self.run(|| {
            let mut command = Command::new(&path);
            command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
            let mut child = command.spawn()?;
            let written = child.stdin.take().map_or(Ok(()), |mut stdin| stdin.write_all(input.as_bytes()));
            let output = child.wait_with_output()?;
            // A program that fails may not have read everything: its own words matter more.
            if output.status.success() { written.map(|()| output) } else { Ok(output) }
        })?;
        let output =
            done.with_context(|| format!("{program} cannot be run: `make setup` installs what is missing"))?;
        anyhow::ensure!(
            output.status.success(),
            "{program} {}: {}: {}\n{input}",
            arguments.join(" "),
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        );
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

/// A thread of its own, because what a thread has entered stays with it.
fn on_a_thread<T: Send>(work: impl FnOnce() -> std::io::Result<T> + Send) -> std::io::Result<T> {
    std::thread::scope(|scope| match scope.spawn(work).join() {
        Ok(done) => done,
        Err(panic) => std::panic::resume_unwind(panic),
    })
}

/// Administrators' programs are not on everybody's path.
fn find(program: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let dirs = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    dirs.map(|dir| dir.join(program)).find(|path| path.exists()).unwrap_or_else(|| program.into())
}

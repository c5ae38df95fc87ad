//! How a process ended, while nobody has collected it yet: the kernel still knows. And what it said in its log meanwhile.

use std::path::Path;

use twinset_tools::cluster::LocalCluster;
use twinset_tools::cluster::process::Pid;

use crate::wait;

/// The exit code of a node that stopped itself because of a fault.
pub const FAULT: i32 = 70;
/// The exit code of a node that cannot run.
pub const CANNOT_RUN: i32 = 1;

/// Waits until a process has ended by itself and gives its exit code; None if it still runs when the patience of
/// [`wait::HEAL`] is over, or was ended by a signal.
pub async fn exit_code(pid: Pid) -> Option<i32> {
    pid.ended(wait::HEAL).await;
    code(&std::fs::read_to_string(format!("/proc/{}/stat", pid.number)).ok()?)
}

/// The exit code in a `stat` of an ended process: its last field, as `wait` gives it.
fn code(stat: &str) -> Option<i32> {
    let mut fields = stat[stat.rfind(')')? + 1..].split_ascii_whitespace();
    let status: i32 = fields.clone().last()?.parse().ok()?;
    (fields.next()? == "Z" && status & 0x7f == 0).then_some(status >> 8)
}

/// The process that runs a node now, or ran it last.
pub fn pid(cluster: &LocalCluster, name: &str) -> anyhow::Result<Pid> {
    let pid = cluster.layout().process(name)?.pid;
    pid.ok_or_else(|| anyhow::anyhow!("{name} was never started"))
}

/// How long its log is: what it says later stands behind.
pub fn log_end(cluster: &LocalCluster, name: &str) -> u64 {
    std::fs::metadata(cluster.layout().log_path(name)).map_or(0, |log| log.len())
}

/// The first line of level ERROR behind `from` in a log.
pub fn first_error(log: &Path, from: u64) -> anyhow::Result<Option<String>> {
    let bytes = std::fs::read(log)?;
    let from = usize::try_from(from)?.min(bytes.len());
    let text = String::from_utf8_lossy(&bytes[from..]);
    Ok(text.lines().find(|line| line.contains(" ERROR ")).map(str::to_owned))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_exit_code_of_an_ended_child_is_read() {
        let mut child = std::process::Command::new("sh").args(["-c", "exit 70"]).spawn().unwrap();
        let stat = std::path::PathBuf::from(format!("/proc/{}/stat", child.id()));
        let deadline = tokio::time::Instant::now() + wait::HEAL;
        while code(&std::fs::read_to_string(&stat).unwrap()).is_none() {
            assert!(tokio::time::Instant::now() < deadline, "it does not end");
            tokio::task::yield_now().await;
        }
        assert_eq!(code(&std::fs::read_to_string(&stat).unwrap()), Some(FAULT));
        child.wait().unwrap();
    }

    #[test]
    fn a_signal_is_no_exit_code() {
        assert_eq!(code("7 (a b) Z 1 17920"), Some(70));
        assert_eq!(code("7 (a b) Z 1 9"), None);
        assert_eq!(code("7 (a b) S 1 0"), None);
    }
}

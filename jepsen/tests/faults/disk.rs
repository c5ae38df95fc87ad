//! A full disk: the node stops and says why, the others go on, and it comes back when there is room.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::{Stage, no_failure};
use twinset_jepsen::logs::{self, Allowed};
use twinset_jepsen::wait;

/// Room for the node's files and some traffic, but not for the log that the database would set space aside for.
const DISK: &str = "size=24m";
const FULL: &[Allowed] = &[Allowed { part: "the disk is full", why: "that is the fault of this test" }];

#[tokio::test]
async fn a_full_disk_stops_one_node_which_comes_back_when_there_is_room() {
    const NODE: &str = "b2";
    let mut stage = Stage::start().await;
    if !small_disk(&mut stage, NODE).await {
        return;
    }
    let traffic = stage.traffic().await;
    let filler = stop_by_full_disk(&stage, NODE).await;
    std::fs::remove_file(&filler).unwrap();
    stage.cluster.start_process(NODE).unwrap();
    stage.whole().await;
    no_failure(traffic).await;
    stage.end(&[logs::AFTER_KILLS, FULL].concat()).await;
}

#[tokio::test]
async fn a_leader_whose_disk_is_full_stops_and_another_leads() {
    const SET: u32 = 1;
    let mut stage = Stage::start().await;
    // Whichever of the two will lead.
    for node in ["a1", "a2"] {
        if !small_disk(&mut stage, node).await {
            return;
        }
    }
    let traffic = stage.journal(200).await;
    let seeds = stage.cluster.layout().node_addrs();
    let at_home = wait::until(&seeds, wait::HEAL, |survey| match survey.leader(SET) {
        Some((_, reply)) if reply.site == "A" => Ok(()),
        _ => Err(format!("the leader of set {SET} is not at home")),
    });
    let leader = at_home.await.unwrap().leader(SET).unwrap().1.node.clone();
    let filler = stop_by_full_disk(&stage, &leader).await;
    let replaced = wait::until(&seeds, wait::HEAL, |survey| match survey.leader(SET) {
        Some(_) => Ok(()),
        None => Err(format!("nobody leads set {SET} after {leader}")),
    });
    assert_ne!(replaced.await.unwrap().leader(SET).unwrap().1.node, leader);
    std::fs::remove_file(&filler).unwrap();
    stage.cluster.start_process(&leader).unwrap();
    stage.whole().await;
    let stopped = traffic.stop().await.unwrap();
    stage.account_for(stopped).await;
    stage.end(&[logs::AFTER_KILLS, FULL].concat()).await;
}

/// Puts a running node's data on a small disk of its own; false, told in the output, if this process need not be able to.
async fn small_disk(stage: &mut Stage, node: &str) -> bool {
    let data = stage.cluster.layout().data_path(node);
    stage.cluster.stop_process(node).await.unwrap();
    let Some(disk) = Disk::under(&data, &stage.scratch(&format!("aside-{node}"))) else { return false };
    stage.disks.push(disk);
    stage.cluster.start_process(node).unwrap();
    stage.whole().await;
    true
}

/// Fills a node's disk and waits until the node has stopped and said why; gives the file that fills it.
async fn stop_by_full_disk(stage: &Stage, node: &str) -> PathBuf {
    let heard = stage.log(node, 0).len();
    let filler = stage.cluster.layout().data_path(node).join("filler");
    fill(&filler);
    stage.ended(node).await;
    let said = stage.log(node, heard);
    assert!(said.contains("disk is full") || said.contains("No space left"), "{said}");
    filler
}

/// Writes until there is no room left.
fn fill(path: &Path) {
    use std::io::Write;
    let mut file = std::fs::File::create(path).unwrap();
    let zeros = [0; 4096];
    while file.write_all(&zeros).is_ok() {}
}

/// Whether this process runs with the rights of root.
fn is_root() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let ids = status.lines().find_map(|line| line.strip_prefix("Uid:")).unwrap();
    // The real one comes first, the effective one second.
    ids.split_whitespace().nth(1) == Some("0")
}

/// A small disk of its own under a directory; gone when dropped.
pub struct Disk(PathBuf);

impl Disk {
    /// Moves what is in `dir` onto a small disk that is mounted there. Who is not root may be refused, and gets none; for
    /// root that is a failure: a test that nobody misses would pass for ever.
    fn under(dir: &Path, aside: &Path) -> Option<Disk> {
        std::fs::rename(dir, aside).unwrap();
        std::fs::create_dir(dir).unwrap();
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", DISK, "tmpfs"]).arg(dir).output();
        match mounted {
            Ok(output) if output.status.success() => {}
            failed => {
                assert!(!is_root(), "root cannot mount a disk of its own: {failed:?}");
                println!("skipped: only root can count on mounting a disk: {failed:?}");
                return None;
            }
        }
        let disk = Disk(dir.to_owned());
        let copied = Command::new("cp").arg("-a").arg(aside.join(".")).arg(dir).status().unwrap();
        assert!(copied.success());
        Some(disk)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazy: the node may still hold files open when a test fails.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

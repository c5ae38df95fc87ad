//! A full disk: the node stops and says why, the others go on, and it comes back when there is room.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::support::{Stage, no_failure};
use twinset_jepsen::logs::{self, Allowed};

/// The node whose disk is full.
const NODE: &str = "b2";
/// Room for the node's files and some traffic, but not for the log that the database would set space aside for.
const DISK: &str = "size=24m";

#[tokio::test]
async fn a_full_disk_stops_one_node_which_comes_back_when_there_is_room() {
    let mut stage = Stage::start().await;
    let data = stage.cluster.layout().data_path(NODE);
    stage.cluster.stop_process(NODE).await.unwrap();
    let Some(_disk) = Disk::under(&data, &stage.scratch("aside")) else { return };
    stage.cluster.start_process(NODE).unwrap();
    stage.whole().await;
    let traffic = stage.traffic().await;
    let heard = stage.log(NODE, 0).len();

    let filler = data.join("filler");
    fill(&filler);
    let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
    while stage.cluster.alive(NODE).unwrap() {
        assert!(
            tokio::time::Instant::now() < deadline,
            "it goes on with a full disk: {}",
            stage.log(NODE, heard)
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let said = stage.log(NODE, heard);
    assert!(said.contains("disk is full") || said.contains("No space left"), "{said}");

    std::fs::remove_file(&filler).unwrap();
    stage.cluster.start_process(NODE).unwrap();
    stage.whole().await;
    no_failure(traffic).await;
    let full = Allowed { part: "the disk is full", why: "that is the fault of this test" };
    stage.end(&[logs::AFTER_KILLS, &[full]].concat()).await;
}

/// Writes until there is no room left.
fn fill(path: &Path) {
    use std::io::Write;
    let mut file = std::fs::File::create(path).unwrap();
    let zeros = [0; 4096];
    while file.write_all(&zeros).is_ok() {}
}

/// A small disk of its own under a directory; gone when dropped.
struct Disk(PathBuf);

impl Disk {
    /// Moves what is in `dir` onto a small disk that is mounted there; none if this process may not mount.
    fn under(dir: &Path, aside: &Path) -> Option<Disk> {
        std::fs::rename(dir, aside).unwrap();
        std::fs::create_dir(dir).unwrap();
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", DISK, "tmpfs"]).arg(dir).output();
        match mounted {
            Ok(output) if output.status.success() => {}
            failed => {
                println!("skipped: a disk of its own cannot be mounted: {failed:?}");
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

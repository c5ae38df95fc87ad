//! The real binary: what it prints, how it refuses to start, how it stops, and what `kill -9` at any moment leaves.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStderr};

use crate::support::{QUICK, SECRET, Stage, secret, until};

const BINARY: &str = env!("CARGO_BIN_EXE_twinset-relay");

fn configured(stage: &Stage, more: &str) -> PathBuf {
    let path = stage.dir.path().join("relay.toml");
    std::fs::write(&path, stage.text(more)).expect("written");
    path
}

fn run(config: &Path, arguments: &[&str]) -> Output {
    Command::new(BINARY).arg("--config").arg(config).args(arguments).output().expect("the binary runs")
}

/// A relay's process; killed when it is dropped.
struct Process {
    child: Child,
    lines: Lines<BufReader<ChildStderr>>,
}

impl Process {
    async fn start(config: &Path) -> Process {
        let mut command = tokio::process::Command::new(BINARY);
        command.arg("--config").arg(config).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().expect("the binary runs");
        let lines = BufReader::new(child.stderr.take().expect("piped")).lines();
        let mut process = Process { child, lines };
        process.line("twinset-relay ready http=127.0.0.1:").await;
        process
    }

    /// Waits until it says that; gives all that it has said since the last time.
    async fn line(&mut self, part: &str) -> String {
        let mut said = String::new();
        while let Some(line) = self.lines.next_line().await.expect("text") {
            said.push_str(&line);
            said.push('\n');
            if line.contains(part) {
                return said;
            }
        }
        panic!("it never says {part}: {said}");
    }

    fn pid(&self) -> String {
        self.child.id().expect("it runs").to_string()
    }
}

#[tokio::test]
async fn killed_at_any_moment_it_leaves_nothing_out_and_keeps_the_order() {
    const SETS: u32 = 2;
    let stage = Stage::new(SETS).await;
    let config = configured(&stage, &format!("batch_max = 3\n{QUICK}"));
    let mut process = Process::start(&config).await;
    for kill in 0..25 {
        for set in 1..=SETS {
            stage.ledger.book(set, "{a}:cash", 60);
        }
        // In the middle of a delivery, of its cursor or between two: the receiver has no say in when.
        let before = stage.book.asked().len();
        until("it goes on", async || (stage.book.asked().len() >= before + 2 + kill % 7).then_some(())).await;
        tokio::time::sleep(Duration::from_micros(fastrand::u64(0..3_000))).await;
        process.child.kill().await.expect("killed");
        process = Process::start(&config).await;
    }
    for set in 1..=SETS {
        stage.all_taken(set).await;
        let (keys, taken) = (stage.ledger.keys(set), stage.book.taken(set));
        let place = |key: &String| keys.iter().position(|known| known == key).expect("known");
        // What comes again comes at once, and from there on in order: a batch at most for each kill.
        for two in taken.windows(2) {
            let (one, next) = (place(&two[0]), place(&two[1]));
            assert!(next == one + 1 || (next <= one && one - next < 3), "{} then {}", two[0], two[1]);
        }
        println!("set {set}: {} events, {} came again", keys.len(), taken.len() - keys.len());
    }
}

#[tokio::test]
async fn it_stops_on_sigterm_and_has_written_down_how_far_it_is() {
    let stage = Stage::new(1).await;
    stage.ledger.book(1, "{a}:cash", 50);
    let config = configured(&stage, QUICK);
    let mut process = Process::start(&config).await;
    stage.all_taken(1).await;
    let killed = Command::new("kill").args(["-TERM", &process.pid()]).status().expect("kill runs");
    assert!(killed.success());
    process.line("stopped").await;
    assert!(process.child.wait().await.expect("it ends").success());
    let listed = run(&config, &["cursors", "list"]);
    let last = stage.ledger.keys(1).pop().expect("there are some");
    assert_eq!(String::from_utf8_lossy(&listed.stdout), format!("hook\t1\t{last}\n"));
}

#[tokio::test]
async fn people_decide_on_dead_letters_of_a_running_relay() {
    let stage = Stage::new(1).await;
    stage.ledger.book(1, "{a}:cash", 5);
    let keys = stage.ledger.keys(1);
    stage.book.refuse(&keys[2], Some(422));
    let config = configured(&stage, QUICK);
    let mut process = Process::start(&config).await;
    let said = process.line(&format!("event {} is a dead letter after 1 tries", keys[2])).await;
    assert!(said.contains("ERROR") && said.contains("422"), "{said}");
    assert_eq!(stage.book.taken(1), keys[..2]);
    let second = run(&config, &[]);
    assert_eq!(second.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&second.stderr).contains("in use by another relay"));
    let dropped = run(&config, &["dead-letters", "drop", "--sink", "hook", &keys[2], "--yes"]);
    assert!(dropped.status.success());
    until("the rest", async || (stage.book.taken(1).len() == 4).then_some(())).await;
    drop(process);
}

#[tokio::test]
async fn what_it_cannot_use_it_names() {
    let stage = Stage::new(1).await;
    let config = configured(&stage, "");
    let good = run(&config, &["--check"]);
    assert!(good.status.success(), "{}", String::from_utf8_lossy(&good.stderr));
    assert!(!stage.dir.path().join("data").exists(), "a check makes nothing");
    let help = run(&config, &["--help"]);
    let help = String::from_utf8_lossy(&help.stdout).into_owned();
    assert!(help.contains("dead-letters redeliver --sink billing"), "{help}");
    let dumped = run(&config, &["--dump-config"]);
    let dumped = String::from_utf8_lossy(&dumped.stdout).into_owned();
    assert_eq!(
        toml::from_str::<twinset_relay::config::Config>(&dumped).expect("it can be read back"),
        stage.config("")
    );

    let refused = |code: i32, expected: &str| {
        for arguments in [&["--check"][..], &[]] {
            let output = run(&config, arguments);
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(code), "{said}");
            assert!(said.contains(expected), "{said}");
        }
    };
    secret(stage.dir.path(), "secret", "short");
    refused(1, "a secret at least 32: openssl rand -hex 32");
    let path = secret(stage.dir.path(), "secret", SECRET);
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o644)).expect("set");
    refused(1, "everybody may read");
    std::fs::remove_file(&path).expect("removed");
    refused(1, "cannot read");
    secret(stage.dir.path(), "secret", SECRET);
    let cursors = stage.dir.path().join("data/cursors/hook");
    std::fs::create_dir_all(&cursors).expect("made");
    std::fs::write(cursors.join("1"), "twinset-relay cursor 1\n").expect("written");
    refused(1, "is damaged");
    std::fs::write(&config, "rooters = []\n").expect("written");
    refused(64, "unknown field `rooters`");
}

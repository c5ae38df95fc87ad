//! The real binary: what it prints, how it refuses to start, how it stops.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output, Stdio};

const BINARY: &str = env!("CARGO_BIN_EXE_twinset-router");

fn config(dir: &Path, http: &str) -> std::path::PathBuf {
    let path = dir.join("router.toml");
    let text = format!(
        "seeds = [\"127.0.0.1:1\"]\n[router]\nname = \"r\"\nsite = \"A\"\n[listen]\nhttp = \"{http}\"\ngrpc = \"127.0.0.1:0\"\n"
    );
    std::fs::write(&path, text).expect("written");
    path
}

fn run(path: &Path, more: &[&str]) -> Output {
    Command::new(BINARY).arg("--config").arg(path).args(more).output().expect("the binary runs")
}

/// It ends with that exit code; what it says.
fn refused(path: &Path, code: i32) -> String {
    let output = run(path, &[]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{said}");
    said
}

#[test]
fn the_configuration_is_printed_with_every_key() {
    let dir = tempfile::tempdir().expect("a directory");
    let output = run(&config(dir.path(), "127.0.0.1:0"), &["--dump-config"]);
    assert!(output.status.success());
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let printed: twinset_router::config::Config = toml::from_str(&text).expect("it can be read back");
    assert_eq!(printed.limits, twinset_router::config::Limits::default());
}

#[test]
fn what_it_cannot_use_it_names() {
    let dir = tempfile::tempdir().expect("a directory");
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("bound").to_string();
    let said = refused(&config(dir.path(), &address), 1);
    assert!(said.contains(&address) && said.contains("listen.http") && said.contains("in use"), "{said}");
    let said = refused(&config(dir.path(), "0.0.0.0:0"), 64);
    assert!(said.contains("loopback"), "{said}");
    let path = config(dir.path(), "127.0.0.1:0");
    let text = std::fs::read_to_string(&path).expect("read").replace("site", "sight");
    std::fs::write(&path, text).expect("written");
    let said = refused(&path, 64);
    assert!(said.contains("router.toml") && said.contains("unknown field `sight`"), "{said}");
    assert_eq!(said.matches("unknown field").count(), 1, "said once: {said}");
    let said = refused(&dir.path().join("nowhere.toml"), 64);
    assert!(said.contains("cannot read") && said.contains("nowhere.toml"), "{said}");
}

#[test]
fn it_says_when_it_is_ready_and_stops_on_sigterm() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = config(dir.path(), "127.0.0.1:0");
    let mut child = Command::new(BINARY)
        .arg("--config")
        .arg(path)
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary runs");
    let mut lines = BufReader::new(child.stderr.take().expect("piped")).lines().map_while(Result::ok);
    let ready = lines.find(|line| line.contains("twinset-router ready")).expect("it becomes ready");
    assert!(ready.contains("http=127.0.0.1:") && ready.contains("grpc=127.0.0.1:"), "{ready}");
    let killed = Command::new("kill").args(["-TERM", &child.id().to_string()]).status().expect("kill runs");
    assert!(killed.success());
    assert!(lines.any(|line| line.contains("stopped")), "it says that it has stopped");
    assert!(child.wait().expect("it ends").success());
}

//! What the tests share: routers that play, receivers that watch, a configuration between them, and waiting.

pub mod receiver;
pub mod router;

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use prometheus::Registry;
use tempfile::TempDir;
use tokio::time::Instant;
use twinset_relay::config::Config;
use twinset_relay::service::{self, Handle};

use receiver::{Book, Receiver};
use router::{Ledger, Router};

/// How long anything may take here. A slow machine needs it; a test that fails waits for it.
const PATIENCE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(10);

pub const SECRET: &str = "a secret of the tests, long enough for it";
pub const OTHER_SECRET: &str = "another secret of the tests, which comes next";

/// Where somebody can listen, and nobody of this process has before: a relay goes on asking who is gone, and must neither find
/// another one there nor itself, as it could among the ports that the system gives to outgoing connections.
pub fn address() -> SocketAddr {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    const PORTS: std::ops::Range<u16> = 9_000..10_000;
    // Processes of the same moment begin at different ones.
    let begin = std::process::id().wrapping_mul(97);
    let mut free = std::iter::repeat_with(|| {
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        assert!(n < PORTS.len() as u32, "there are ports for all tests");
        let port = begin.wrapping_add(n) % PORTS.len() as u32;
        SocketAddr::from(([127, 0, 0, 1], PORTS.start + port as u16))
    });
    free.find(|address| TcpListener::bind(address).is_ok()).expect("it is asked until there is one")
}

/// Asks again until there is something.
pub async fn until<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = ask().await {
            return found;
        }
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        tokio::time::sleep(POLL).await;
    }
}

/// A ledger, two routers, a receiver, and a place for a relay between them.
pub struct Stage {
    pub ledger: Ledger,
    pub routers: Vec<Router>,
    pub book: Book,
    pub receiver: Receiver,
    pub dir: TempDir,
}

impl Stage {
    pub async fn new(sets: u32) -> Stage {
        let (ledger, book) = (Ledger::new(sets), Book::new(&[("k1", SECRET)]));
        let routers = vec![Router::start(&ledger).await, Router::start(&ledger).await];
        let receiver = Receiver::start(&book).await;
        let dir = tempfile::tempdir().expect("a directory");
        secret(dir.path(), "secret", SECRET);
        Stage { ledger, routers, book, receiver, dir }
    }

    /// A configuration with one webhook to the receiver; `more` are further keys of it.
    pub fn text(&self, more: &str) -> String {
        let dir = self.dir.path().display();
        let routers: Vec<String> = self.routers.iter().map(|router| format!("{:?}", router.url)).collect();
        let (routers, address) = (routers.join(", "), self.receiver.address);
        format!(
            "routers = [{routers}]\ndata_dir = \"{dir}/data\"\n[listen]\nhttp = \"127.0.0.1:0\"\n\
             [[webhook]]\nname = \"hook\"\nurl = \"http://{address}/events?x=1\"\n\
             secrets = [{{ id = \"k1\", file = \"{dir}/secret\" }}]\n{more}\n"
        )
    }

    pub fn config(&self, more: &str) -> Config {
        let config: Config = toml::from_str(&self.text(more)).expect("a configuration");
        config.validate().expect("a good one");
        config
    }

    /// A relay with retries that are quick.
    pub async fn relay(&self, more: &str) -> Relay {
        Relay::start(self.config(&format!("{more}\n{QUICK}"))).await
    }

    /// All events of a set were taken, each in its turn, whatever came again.
    pub async fn all_taken(&self, set: u32) {
        let keys = self.ledger.keys(set);
        until(&format!("{} events of set {set}", keys.len()), async || {
            (self.book.taken_once(set).len() >= keys.len()).then_some(())
        })
        .await;
        assert_eq!(self.book.taken_once(set), keys);
        self.book.nothing_is_wrong();
    }
}

pub const QUICK: &str = "[webhook.retry]\nmin_ms = 1\nmax_ms = 50";

/// Writes a secret's file, for nobody else to read.
pub fn secret(dir: &Path, name: &str, secret: &str) -> PathBuf {
    use std::os::unix::fs::PermissionsExt;
    let path = dir.join(name);
    std::fs::write(&path, format!("{secret}\n")).expect("written");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).expect("set");
    path
}

/// A relay in this process.
pub struct Relay {
    pub config: Config,
    handle: Handle,
}

impl Relay {
    pub async fn start(config: Config) -> Relay {
        let handle = service::start(&config, Registry::new()).await.expect("it starts");
        Relay { config, handle }
    }

    /// One series of its metrics, as it is served.
    pub async fn metric(&self, series: &str) -> f64 {
        let text = self.get("/metrics").await;
        let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.map_or(f64::NAN, |value| value.parse().expect("a number"))
    }

    /// Waits until a series has a value.
    pub async fn metric_is(&self, series: &str, value: f64) {
        until(&format!("{series} is {value}"), async || (self.metric(series).await == value).then_some(()))
            .await;
    }

    pub async fn get(&self, path: &str) -> String {
        let address = self.handle.http.to_string();
        match twinset_relay::router::get(&address, path, &[]).await {
            Ok(answer) => {
                let whole = twinset_relay::router::read(answer).await.expect("an answer");
                String::from_utf8(whole.to_vec()).expect("text")
            }
            Err(error) => error.to_string(),
        }
    }

    /// Does what a person at a terminal asks for; gives what is printed.
    pub fn command(&self, arguments: &[&str]) -> anyhow::Result<String> {
        command(&self.config, arguments)
    }

    pub async fn stop(self) {
        assert!(self.handle.stop().await, "deliveries did not end");
    }
}

/// Does what a person at a terminal asks for; gives what is printed.
pub fn command(config: &Config, arguments: &[&str]) -> anyhow::Result<String> {
    #[derive(clap::Parser)]
    struct Line {
        #[command(subcommand)]
        command: twinset_relay::commands::Command,
    }
    let line = <Line as clap::Parser>::try_parse_from([&["twinset-relay"], arguments].concat())?;
    let mut out = Vec::new();
    twinset_relay::commands::run(line.command, config, &mut out)?;
    Ok(String::from_utf8(out).expect("text"))
}

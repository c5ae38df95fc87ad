//! A whole cluster as local processes: two sites of two nodes, an arbiter, a router per site. Starts, kills, restarts
//! and stops real binaries; used by `twinset dev`, the demo and the tests of the whole. What the processes are is in
//! [`super::layout`]; how one is handled is in [`super::process`].
//!
//! A handle either owns its processes (they die with it, at the latest when it is dropped) or is attached to a cluster
//! that runs elsewhere. Both work by the numbers in `dev.json`, so that `twinset dev kill a1` in one terminal and
//! `twinset dev up` in another see the same cluster.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures::future::LocalBoxFuture;

use twinset_control::Policy;

use super::layout::{DEV_JSON, Kind, Layout};
use super::ports::{self, Claim, Ports};
use super::process::{self, Launch, Pid, Signal, Tie};
use super::{bootstrap, ready};
use crate::error;

/// How a local cluster is made.
#[derive(Clone, Debug)]
pub struct LocalOptions {
    /// Where it lives.
    pub dir: PathBuf,
    /// How many sets.
    pub sets: u32,
    /// Whether they may go on with one site alone.
    pub durability: Policy,
    /// Which ports.
    pub ports: Ports,
    /// Whether to throw away what the directory holds of an earlier cluster.
    pub fresh: bool,
    /// Whether the processes outlive the handle.
    pub detach: bool,
    /// Where the binaries are; none: beside this program.
    pub bin_dir: Option<PathBuf>,
    /// How long the start may take.
    pub patience: Duration,
    /// What stands around each process, by its name.
    pub launch: BTreeMap<String, Launch>,
    /// More of every node's configuration, in TOML.
    pub node_config: String,
    /// Whether whoever has the token of the directory may harm the processes for a drill.
    pub drill_faults: bool,
}

impl LocalOptions {
    /// A fresh cluster of two sets on free ports in `dir`, for tests.
    pub fn fresh(dir: &Path) -> Self {
        LocalOptions {
            dir: dir.to_owned(),
            sets: 2,
            durability: Policy::default(),
            ports: Ports::Free,
            fresh: true,
            detach: false,
            bin_dir: None,
            patience: Duration::from_secs(60),
            launch: BTreeMap::new(),
            node_config: String::new(),
            drill_faults: false,
        }
    }
}

/// How long a process may take to stop cleanly.
pub const STOP: Duration = Duration::from_secs(15);
/// How long the kernel may take to end a killed process.
const REAP: Duration = Duration::from_secs(10);

/// A running local cluster.
pub struct LocalCluster {
    layout: Layout,
    owned: BTreeMap<String, std::process::Child>,
    tie: Tie,
    /// Whether the processes outlive this handle. False until a detached cluster serves: a start that is cut short
    /// leaves nothing behind.
    outlives: bool,
    launch: BTreeMap<String, Launch>,
    _claim: Option<Claim>,
}

/// The directory of the running program, where `twinset-node` and `twinset-router` stand too. (Cargo puts test
/// binaries one level deeper.)
pub fn beside_this_program() -> anyhow::Result<PathBuf> {
    let exe = std::env::current_exe()?;
    let dir = exe.parent().unwrap_or(Path::new("."));
    let deeper = dir.file_name().is_some_and(|name| name == "deps");
    Ok(if deeper { dir.parent().unwrap_or(dir) } else { dir }.to_owned())
}

impl LocalCluster {
    /// Starts a cluster and waits until every set has a leader and every router is ready. On any failure nothing stays
    /// behind running. `narrate` hears what happens.
    pub fn start<'a>(
        options: &'a LocalOptions,
        narrate: &'a mut dyn FnMut(&str),
    ) -> LocalBoxFuture<'a, anyhow::Result<Self>> {
        Box::pin(async move {
            let (layout, claim) = prepare(options).await?;
            ports::check(&layout, options.ports)?;
            layout.write_files(&options.node_config, options.drill_faults)?;
            let launch = serde_json::to_vec(&options.launch).expect("plain data has a JSON form");
            std::fs::write(layout.launch_path(), launch)?;
            let tie = if options.detach { Tie::Detached } else { Tie::Parent };
            let mut cluster = LocalCluster {
                layout,
                owned: BTreeMap::new(),
                tie,
                outlives: false,
                launch: options.launch.clone(),
                _claim: Some(claim),
            };
            match cluster.bring_up(options, narrate).await {
                Ok(()) => {
                    cluster.outlives = options.detach;
                    Ok(cluster)
                }
                Err(error) => {
                    // Whatever went wrong is worth more than what goes wrong now.
                    let _ = cluster.stop_all().await;
                    Err(error)
                }
            }
        })
    }

    async fn bring_up(
        &mut self,
        options: &LocalOptions,
        narrate: &mut dyn FnMut(&str),
    ) -> anyhow::Result<()> {
        let names: Vec<String> = self.layout.processes.iter().map(|p| p.name.clone()).collect();
        for name in &names {
            self.start_process(name)?;
        }
        narrate(&format!("started {}", names.join(" ")));
        let topology = bootstrap::read_topology(&self.layout.topology_path())?;
        let done = tokio::select! {
            done = bootstrap::bootstrap(&topology, options.patience) => done?,
            gone = self.someone_died() => return Err(gone),
        };
        match done.given.len() {
            0 => narrate(&format!("found cluster {} as it was left", done.cluster_id)),
            _ => narrate(&format!("bootstrapped cluster {}", done.cluster_id)),
        }
        let routers: Vec<String> = self.layout.routers().map(|p| p.http.clone()).collect();
        tokio::select! {
            ready = ready::routers(&routers, options.patience) => ready?,
            gone = self.someone_died() => return Err(gone),
        }
        narrate("every set has a leader, both routers are ready");
        Ok(())
    }

    /// Takes up the cluster of `dir`, which runs elsewhere.
    pub fn attach(dir: &Path) -> anyhow::Result<Self> {
        let layout = Layout::load(dir)?;
        // A process that is started again gets what stood around it.
        let launch = match std::fs::read(layout.launch_path()) {
            Ok(bytes) => serde_json::from_slice(&bytes)?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => BTreeMap::new(),
            Err(error) => return Err(error.into()),
        };
        Ok(LocalCluster {
            layout,
            owned: BTreeMap::new(),
            tie: Tie::Detached,
            outlives: true,
            launch,
            _claim: None,
        })
    }

    /// Names, addresses and files.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Whether a process of that name runs.
    pub fn alive(&self, name: &str) -> anyhow::Result<bool> {
        // Another terminal may have restarted it: the file knows better than this handle.
        let now = Layout::load(&self.layout.dir)?;
        Ok(now.process(name)?.pid.is_some_and(Pid::alive))
    }

    /// Starts one process; fails if it runs already.
    pub fn start_process(&mut self, name: &str) -> anyhow::Result<()> {
        self.reload();
        let process = self.layout.process(name)?;
        if process.pid.is_some_and(Pid::alive) {
            return Err(error::failure(
                format!("{name} runs already"),
                format!("`twinset dev restart {name}`"),
            ));
        }
        let binary = self.layout.bin_dir.join(match process.kind {
            Kind::Router => "twinset-router",
            Kind::Node | Kind::Arbiter => "twinset-node",
        });
        let (config, log) = (self.layout.config_path(name), self.layout.log_path(name));
        let plain = Launch::default();
        let launch = self.launch.get(name).unwrap_or(&plain);
        let started = process::start(&binary, &config, &log, self.tie, launch)?;
        self.reap(name);
        self.owned.insert(name.to_owned(), started.child);
        self.record(name, Some(started.pid))
    }

    /// Starts one more node, blank, with more of its configuration in TOML; it waits for somebody to add it to the cluster.
    pub fn start_new_node(&mut self, name: &str, site: &str, node_config: &str) -> anyhow::Result<()> {
        self.reload();
        self.layout.add_node(name, site, node_config)?;
        self.start_process(name)
    }

    /// Stops a node, if it runs, and forgets it; its files stay.
    pub async fn forget_node(&mut self, name: &str) -> anyhow::Result<()> {
        if self.alive(name)? {
            self.stop_process(name).await?;
        }
        self.reload();
        self.layout.remove_node(name)
    }

    /// Sends a signal to one process; waits until KILL and STOP have had their effect.
    pub async fn signal(&mut self, name: &str, signal: Signal) -> anyhow::Result<()> {
        let pid = self.running(name)?;
        pid.signal(signal);
        let obeyed = match signal {
            Signal::Kill => pid.ended(REAP).await,
            Signal::Stop => pid.frozen(REAP).await,
            Signal::Term | Signal::Cont => true,
        };
        if !obeyed {
            return Err(error::failure(
                format!("{name} (process {}) does not obey {signal}", pid.number),
                "it may hang in the kernel: see `ps` for its state",
            ));
        }
        Ok(())
    }

    /// Kills one process as a power cut would.
    pub async fn kill(&mut self, name: &str) -> anyhow::Result<()> {
        self.signal(name, Signal::Kill).await
    }

    /// Stops one process cleanly; by force if it takes too long, which is said.
    pub fn stop_process<'a>(&'a mut self, name: &'a str) -> LocalBoxFuture<'a, anyhow::Result<Stopped>> {
        Box::pin(async move {
            let pid = self.running(name)?;
            // A frozen process would not hear TERM.
            pid.signal(Signal::Cont);
            pid.signal(Signal::Term);
            let stopped = if pid.ended(STOP).await {
                Stopped::Cleanly
            } else {
                self.signal(name, Signal::Kill).await?;
                Stopped::ByForce
            };
            self.reap(name);
            self.record(name, None)?;
            Ok(stopped)
        })
    }

    /// Stops everything: routers first, so that clients are answered, then the nodes.
    pub async fn stop(mut self) -> anyhow::Result<Vec<String>> {
        self.stop_all().await
    }

    /// Names of those that had to be killed.
    async fn stop_all(&mut self) -> anyhow::Result<Vec<String>> {
        self.reload();
        let (routers, nodes): (Vec<_>, Vec<_>) =
            self.layout.processes.iter().cloned().partition(|p| p.kind == Kind::Router);
        let mut forced = Vec::new();
        for group in [routers, nodes] {
            let alive: Vec<_> = group
                .iter()
                .filter_map(|p| p.pid.filter(|pid| pid.alive()).map(|pid| (&p.name, pid)))
                .collect();
            for (_, pid) in &alive {
                pid.signal(Signal::Cont);
                pid.signal(Signal::Term);
            }
            let ends = alive.iter().map(async |(name, pid)| {
                if pid.ended(STOP).await {
                    return None;
                }
                pid.signal(Signal::Kill);
                pid.ended(REAP).await;
                Some((*name).clone())
            });
            forced.extend(futures::future::join_all(ends).await.into_iter().flatten());
        }
        let names: Vec<String> = self.layout.processes.iter().map(|p| p.name.clone()).collect();
        for name in names {
            self.reap(&name);
            self.record(&name, None)?;
        }
        Ok(forced)
    }

    fn running(&mut self, name: &str) -> anyhow::Result<Pid> {
        self.reload();
        let process = self.layout.process(name)?;
        process.pid.filter(|pid| pid.alive()).ok_or_else(|| {
            error::failure(
                format!("{name} does not run"),
                format!("start it with `twinset dev start {name}`"),
            )
        })
    }

    /// Another terminal may have restarted a process meanwhile: `dev.json` knows.
    fn reload(&mut self) {
        if let Ok(layout) = Layout::load(&self.layout.dir) {
            self.layout = layout;
        }
    }

    fn record(&mut self, name: &str, pid: Option<Pid>) -> anyhow::Result<()> {
        if let Some(process) = self.layout.processes.iter_mut().find(|p| p.name == name) {
            process.pid = pid;
        }
        self.layout.save()
    }

    /// Collects an ended child, so that it is no zombie.
    fn reap(&mut self, name: &str) {
        if let Some(child) = self.owned.get_mut(name)
            && !matches!(child.try_wait(), Ok(None))
        {
            self.owned.remove(name);
        }
    }

    /// Waits until one of the started processes ends by itself; gives the end of its log.
    async fn someone_died(&self) -> anyhow::Error {
        loop {
            for process in &self.layout.processes {
                if process.pid.is_some_and(|pid| !pid.alive()) {
                    let log = self.layout.log_path(&process.name);
                    return error::failure(
                        format!("{} ended right after its start: {}", process.name, last_lines(&log)),
                        format!("read {}", log.display()),
                    );
                }
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stopped {
    /// In time, by itself.
    Cleanly,
    /// It had to be killed.
    ByForce,
}

impl Drop for LocalCluster {
    fn drop(&mut self) {
        if self.outlives {
            return;
        }
        self.reload();
        for pid in self.layout.processes.iter().filter_map(|p| p.pid) {
            pid.signal(Signal::Kill);
        }
        for child in self.owned.values_mut() {
            // Killed above; this only collects it.
            let _ = child.wait();
        }
    }
}

/// The layout to start: the one the directory holds, or a new one.
async fn prepare(options: &LocalOptions) -> anyhow::Result<(Layout, Claim)> {
    let dir = std::path::absolute(&options.dir)?;
    let bin_dir = match &options.bin_dir {
        Some(dir) => std::path::absolute(dir)?,
        None => beside_this_program()?,
    };
    if dir.join(DEV_JSON).exists() {
        let earlier = Layout::load(&dir);
        if let Ok(layout) = &earlier {
            refuse_running(layout)?;
        }
        if options.fresh {
            std::fs::remove_dir_all(&dir)?;
        } else {
            let mut layout = earlier?;
            if layout.sets != options.sets {
                return Err(error::usage(
                    format!(
                        "{} holds a cluster of {} sets, not {}",
                        dir.display(),
                        layout.sets,
                        options.sets
                    ),
                    format!("`--sets {}`, another --dir, or --fresh to begin anew", layout.sets),
                ));
            }
            if let Ports::Base(base_port) | Ports::Served(base_port) = options.ports
                && base_port != layout.base_port
            {
                return Err(error::usage(
                    format!(
                        "{} holds a cluster on ports from {}, not {base_port}",
                        dir.display(),
                        layout.base_port
                    ),
                    format!("`--base-port {}`, another --dir, or --fresh to begin anew", layout.base_port),
                ));
            }
            layout.bin_dir = bin_dir;
            let claim = Ports::Base(layout.base_port).claim()?;
            return Ok((layout, claim));
        }
    } else if dir.exists() && std::fs::read_dir(&dir)?.next().is_some() {
        return Err(error::usage(
            format!("{} exists and is no local cluster", dir.display()),
            "choose an empty or new directory with --dir",
        ));
    }
    std::fs::create_dir_all(&dir)?;
    let claim = options.ports.claim()?;
    let layout = Layout {
        durability: options.durability,
        ..Layout::new(&dir, &bin_dir, options.sets, claim.base_port)
    };
    layout.save()?;
    Ok((layout, claim))
}

fn refuse_running(layout: &Layout) -> anyhow::Result<()> {
    let alive: Vec<&str> =
        layout.processes.iter().filter(|p| p.pid.is_some_and(Pid::alive)).map(|p| p.name.as_str()).collect();
    if alive.is_empty() {
        return Ok(());
    }
    Err(error::failure(
        format!("the cluster in {} runs already: {}", layout.dir.display(), alive.join(" ")),
        format!(
            "`twinset dev ps --dir {0}` shows it, `twinset dev down --dir {0}` stops it",
            layout.dir.display()
        ),
    ))
}

/// The last lines of a log, on one line.
fn last_lines(log: &Path) -> String {
    const LINES: usize = 3;
    let text = std::fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().rev().filter(|line| !line.trim().is_empty()).take(LINES).collect();
    if lines.is_empty() {
        return "its log is empty".to_owned();
    }
    lines.into_iter().rev().collect::<Vec<_>>().join(" | ")
}

//! What a local cluster consists of: names, sites, ports, files. Pure text and paths; starts nothing. [`super::local`]
//! stands above.
//!
//! The directory of a cluster: `dev.json` (this layout and the running processes), `topology.toml`, `conf/NAME.toml`,
//! `data/NAME/`, `log/NAME.log`; `drill.token`, if its processes may be harmed for drills.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use twinset_control::Policy;
use uuid::Uuid;

use super::process::Pid;
use crate::error;

/// The file that makes a directory a local cluster.
pub const DEV_JSON: &str = "dev.json";
const FORMAT: u32 = 1;

/// What a process of the cluster is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Hosts sets.
    Node,
    /// Votes in the control set and hosts nothing else.
    Arbiter,
    /// Serves clients.
    Router,
}

/// One process: where it listens, and which run of it is alive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Process {
    /// Its name in the cluster.
    pub name: String,
    /// What it is.
    pub kind: Kind,
    /// Its site.
    pub site: String,
    /// HTTP: the public API of a router; health and metrics of a node.
    pub http: String,
    /// A node's address for routers and operators; a router's gRPC address.
    pub api: String,
    /// A node's address for other nodes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer: Option<String>,
    /// The process that runs it, if it was started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<Pid>,
}

/// The whole local cluster, as `dev.json` keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Layout {
    /// The format of the file.
    pub format: u32,
    /// How many sets it was made with.
    pub sets: u32,
    /// Whether they may go on with one site alone.
    #[serde(default, skip_serializing_if = "Policy::is_default")]
    pub durability: Policy,
    /// Ports count from here.
    pub base_port: u16,
    /// Where the binaries are.
    pub bin_dir: PathBuf,
    /// In the order they are started.
    pub processes: Vec<Process>,
    /// The directory itself; not kept in the file, so that it can be moved.
    #[serde(skip)]
    pub dir: PathBuf,
}

const NODES: [(&str, &str, Kind); 5] = [
    ("a1", "A", Kind::Node),
    ("a2", "A", Kind::Node),
    ("b1", "B", Kind::Node),
    ("b2", "B", Kind::Node),
    ("c1", "C", Kind::Arbiter),
];
const ROUTERS: [(&str, &str); 2] = [("ra", "A"), ("rb", "B")];
/// Nodes that a layout has ports for.
const NODES_MAX: usize = 99;
/// Ports that a layout spans, from its base port on.
pub const PORT_SPAN: u16 = 500;

impl Layout {
    /// Two sites of two nodes, an arbiter, and a router per site. Ports of nodes: base + 1.. (api), + 101.. (peer),
    /// + 201.. (http); of routers: + 301.. (http), + 401.. (grpc).
    pub fn new(dir: &Path, bin_dir: &Path, sets: u32, base_port: u16) -> Self {
        let local = |offset: usize| format!("127.0.0.1:{}", usize::from(base_port) + offset);
        let nodes = NODES.iter().enumerate().map(|(i, &(name, site, kind))| Process {
            name: name.to_owned(),
            kind,
            site: site.to_owned(),
            api: local(i + 1),
            peer: Some(local(i + 101)),
            http: local(i + 201),
            pid: None,
        });
        let routers = ROUTERS.iter().enumerate().map(|(i, &(name, site))| Process {
            name: name.to_owned(),
            kind: Kind::Router,
            site: site.to_owned(),
            http: local(i + 301),
            api: local(i + 401),
            peer: None,
            pid: None,
        });
        let processes = nodes.chain(routers).collect();
        let (dir, bin_dir) = (dir.to_owned(), bin_dir.to_owned());
        Layout { format: FORMAT, sets, durability: Policy::default(), base_port, bin_dir, processes, dir }
    }

    /// Reads `dev.json` of `dir`.
    pub fn load(dir: &Path) -> anyhow::Result<Self> {
        let path = dir.join(DEV_JSON);
        let bytes = std::fs::read(&path).map_err(|cause| {
            error::failure(
                format!("there is no local cluster in {}: {}: {cause}", dir.display(), path.display()),
                "start one with `twinset dev up`, or name its directory with --dir",
            )
        })?;
        let mut layout: Layout = serde_json::from_slice(&bytes).map_err(|cause| {
            error::failure(
                format!("{} cannot be read: {cause}", path.display()),
                "it was written by another version or by hand: begin anew with `twinset dev up --fresh`",
            )
        })?;
        if layout.format != FORMAT {
            return Err(error::failure(
                format!("{} has format {}, this program knows {FORMAT}", path.display(), layout.format),
                "begin anew with `twinset dev up --fresh`",
            ));
        }
        layout.dir = dir.to_owned();
        Ok(layout)
    }

    /// Writes `dev.json`, whole or not at all.
    pub fn save(&self) -> anyhow::Result<()> {
        let fresh = self.dir.join("dev.json.new");
        std::fs::write(&fresh, serde_json::to_vec_pretty(self)?)?;
        std::fs::rename(fresh, self.dir.join(DEV_JSON))?;
        Ok(())
    }

    /// Writes the topology and a config per process; `node_config` is added to each node's. With `drill_faults` whoever has the
    /// token may harm them, and there is one.
    pub fn write_files(&self, node_config: &str, drill_faults: bool) -> anyhow::Result<()> {
        for folder in ["conf", "data", "log"] {
            std::fs::create_dir_all(self.dir.join(folder))?;
        }
        std::fs::write(self.topology_path(), self.topology())?;
        let drills = if drill_faults { self.drill_config()? } else { String::new() };
        for process in &self.processes {
            let more = if process.kind == Kind::Router { "" } else { node_config };
            std::fs::write(self.config_path(&process.name), self.config(process) + &drills + more)?;
        }
        Ok(())
    }

    /// Adds a node on free ports of the layout, with its config file; it is no node of the cluster before somebody adds it there too.
    pub fn add_node(&mut self, name: &str, site: &str, node_config: &str) -> anyhow::Result<()> {
        if self.processes.iter().any(|process| process.name == name) {
            return Err(error::usage(format!("{name} is there already"), "choose another name"));
        }
        if !self.processes.iter().any(|process| process.kind == Kind::Node && process.site == site) {
            return Err(error::usage(format!("{site} is no site with nodes"), "name the site that it joins"));
        }
        let taken: Vec<String> = self.listens().into_iter().map(|(_, addr)| addr).collect();
        let local = |offset: usize| format!("127.0.0.1:{}", usize::from(self.base_port) + offset);
        let free = |i: &usize| [*i, i + 100, i + 200].iter().all(|offset| !taken.contains(&local(*offset)));
        let offset = (1..=NODES_MAX).find(free).ok_or_else(|| {
            error::failure(
                "no ports of this cluster are left",
                "`twinset dev remove` frees those of another node",
            )
        })?;
        let process = Process {
            name: name.to_owned(),
            kind: Kind::Node,
            site: site.to_owned(),
            api: local(offset),
            peer: Some(local(offset + 100)),
            http: local(offset + 200),
            pid: None,
        };
        std::fs::write(self.config_path(name), self.config(&process) + node_config)?;
        let routers = self.processes.iter().position(|process| process.kind == Kind::Router);
        self.processes.insert(routers.unwrap_or(self.processes.len()), process);
        self.save()
    }

    /// Forgets a node. Its files stay.
    pub fn remove_node(&mut self, name: &str) -> anyhow::Result<()> {
        if self.process(name)?.kind != Kind::Node {
            return Err(error::usage(format!("{name} is no node that hosts sets"), "name a node of a site"));
        }
        self.processes.retain(|process| process.name != name);
        self.save()
    }

    /// The section of each config that lets whoever has the token harm the process; the token is kept if there is one.
    fn drill_config(&self) -> anyhow::Result<String> {
        let path = self.drill_token_path();
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        match file {
            Ok(mut file) => writeln!(file, "{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple())?,
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error.into()),
        }
        let path = toml::Value::String(path.display().to_string());
        Ok(format!("\n[drill_faults]\nenabled = true\ntoken_file = {path}\n"))
    }

    /// The process of that name.
    pub fn process(&self, name: &str) -> anyhow::Result<&Process> {
        self.processes.iter().find(|p| p.name == name).ok_or_else(|| {
            let names: Vec<&str> = self.processes.iter().map(|p| p.name.as_str()).collect();
            error::usage(
                format!("no process is called {name}"),
                format!("choose one of {}", names.join(", ")),
            )
        })
    }

    /// Where nodes (the arbiter too) listen for operators.
    pub fn node_addrs(&self) -> Vec<String> {
        self.nodes().map(|p| p.api.clone()).collect()
    }

    /// The routers' HTTP URLs.
    pub fn router_urls(&self) -> Vec<String> {
        self.routers().map(|p| format!("http://{}", p.http)).collect()
    }

    /// The routers' gRPC URLs.
    pub fn router_grpc_urls(&self) -> Vec<String> {
        self.routers().map(|p| format!("http://{}", p.api)).collect()
    }

    /// Nodes and the arbiter.
    pub fn nodes(&self) -> impl Iterator<Item = &Process> {
        self.processes.iter().filter(|p| p.kind != Kind::Router)
    }

    /// The routers.
    pub fn routers(&self) -> impl Iterator<Item = &Process> {
        self.processes.iter().filter(|p| p.kind == Kind::Router)
    }

    /// Every address that something will listen on, with the name of who will.
    pub fn listens(&self) -> Vec<(String, String)> {
        let of = |p: &Process| {
            let addrs = [Some(p.api.clone()), p.peer.clone(), Some(p.http.clone())];
            addrs.into_iter().flatten().map(|addr| (p.name.clone(), addr)).collect::<Vec<_>>()
        };
        self.processes.iter().flat_map(of).collect()
    }

    /// What stands around each process when it is started.
    pub fn launch_path(&self) -> PathBuf {
        self.dir.join("launch.json")
    }

    /// `topology.toml` of this cluster.
    pub fn topology_path(&self) -> PathBuf {
        self.dir.join("topology.toml")
    }

    /// The config file of a process.
    pub fn config_path(&self, name: &str) -> PathBuf {
        self.dir.join("conf").join(format!("{name}.toml"))
    }

    /// What whoever begins a fault has to show, if the cluster was started for that.
    pub fn drill_token_path(&self) -> PathBuf {
        self.dir.join("drill.token")
    }

    /// The data directory of a node.
    pub fn data_path(&self, name: &str) -> PathBuf {
        self.dir.join("data").join(name)
    }

    /// The log file of a process.
    pub fn log_path(&self, name: &str) -> PathBuf {
        self.dir.join("log").join(format!("{name}.log"))
    }

    /// The topology as text.
    pub fn topology(&self) -> String {
        let (sets, durability) = (self.sets, self.durability);
        let mut text = format!("[cluster]\nname = \"local\"\nsets = {sets}\ndurability = \"{durability}\"\n");
        for node in self.nodes() {
            let peer = node.peer.as_deref().unwrap_or_default();
            text.push_str(&format!(
                "\n[[node]]\nname = \"{}\"\nsite = \"{}\"\narbiter = {}\napi = \"{}\"\npeer = \"{peer}\"\nhttp = \"{}\"\n",
                node.name, node.site, node.kind == Kind::Arbiter, node.api, node.http
            ));
        }
        text
    }

    /// The config of one process as text.
    pub fn config(&self, process: &Process) -> String {
        let Process { name, site, api, http, .. } = process;
        match &process.peer {
            Some(peer) => {
                let data = toml::Value::String(self.data_path(name).display().to_string());
                let arbiter = process.kind == Kind::Arbiter;
                format!(
                    "[node]\nname = \"{name}\"\nsite = \"{site}\"\narbiter = {arbiter}\ndata_dir = {data}\n\n\
                     [listen]\napi = \"{api}\"\npeer = \"{peer}\"\nhttp = \"{http}\"\n"
                )
            }
            None => {
                let seeds: Vec<String> = self.node_addrs().iter().map(|addr| format!("\"{addr}\"")).collect();
                format!(
                    "seeds = [{}]\n\n[router]\nname = \"{name}\"\nsite = \"{site}\"\n\n\
                     [listen]\nhttp = \"{http}\"\ngrpc = \"{api}\"\n",
                    seeds.join(", ")
                )
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(dir: &Path) -> Layout {
        Layout::new(dir, Path::new("/bin"), 2, 7100)
    }

    #[test]
    fn the_topology_is_a_valid_one() {
        let topology: twinset_control::topology::Topology =
            toml::from_str(&layout(Path::new("d")).topology()).unwrap();
        topology.validate().unwrap();
    }

    #[test]
    fn a_node_config_quotes_its_data_directory() {
        let layout = layout(Path::new("a \"b\""));
        let text = layout.config(layout.process("a1").unwrap());
        let value: toml::Table = toml::from_str(&text).unwrap();
        assert_eq!(value["node"]["data_dir"].as_str().unwrap(), "a \"b\"/data/a1");
        assert_eq!(value["node"]["arbiter"].as_bool(), Some(false));
        assert_eq!(value["listen"]["api"].as_str(), Some("127.0.0.1:7101"));
        assert_eq!(value["listen"]["peer"].as_str(), Some("127.0.0.1:7201"));
        assert_eq!(value["listen"]["http"].as_str(), Some("127.0.0.1:7301"));
    }

    #[test]
    fn drill_faults_take_a_token_that_stays() {
        let dir = tempfile::tempdir().unwrap();
        let layout = layout(dir.path());
        layout.write_files("", false).unwrap();
        assert!(!layout.drill_token_path().exists());
        layout.write_files("", true).unwrap();
        let token = std::fs::read_to_string(layout.drill_token_path()).unwrap();
        assert_eq!(token.trim_end().len(), 64);
        layout.write_files("", true).unwrap();
        assert_eq!(std::fs::read_to_string(layout.drill_token_path()).unwrap(), token);
        for name in ["a1", "c1", "ra"] {
            let text = std::fs::read_to_string(layout.config_path(name)).unwrap();
            let value: toml::Table = toml::from_str(&text).unwrap();
            assert_eq!(value["drill_faults"]["enabled"].as_bool(), Some(true), "{name}");
        }
    }

    #[test]
    fn a_router_config_names_every_node_as_seed() {
        let layout = layout(Path::new("d"));
        let value: toml::Table = toml::from_str(&layout.config(layout.process("rb").unwrap())).unwrap();
        assert_eq!(value["seeds"].as_array().unwrap().len(), 5);
        assert_eq!(value["listen"]["http"].as_str(), Some("127.0.0.1:7402"));
        assert_eq!(value["listen"]["grpc"].as_str(), Some("127.0.0.1:7502"));
    }

    #[test]
    fn no_two_listeners_share_an_address_and_all_fit_the_span() {
        let mut addrs: Vec<String> = layout(Path::new("d")).listens().into_iter().map(|(_, a)| a).collect();
        let all = addrs.len();
        addrs.sort();
        addrs.dedup();
        assert_eq!(addrs.len(), all);
        for addr in addrs {
            let port: u16 = addr.rsplit(':').next().unwrap().parse().unwrap();
            assert!((7101..7100 + PORT_SPAN).contains(&port), "{addr}");
        }
    }

    #[test]
    fn a_node_is_added_on_ports_of_its_own_and_removed_again() {
        let dir = tempfile::tempdir().unwrap();
        let mut layout = layout(dir.path());
        layout.write_files("", false).unwrap();
        layout.add_node("a3", "A", "").unwrap();
        let added = layout.process("a3").unwrap();
        assert_eq!((added.api.as_str(), added.http.as_str()), ("127.0.0.1:7106", "127.0.0.1:7306"));
        assert!(layout.config_path("a3").exists());
        assert_eq!(Layout::load(dir.path()).unwrap(), layout);
        for (name, site) in [("a3", "A"), ("x1", "X"), ("c2", "C")] {
            assert!(layout.add_node(name, site, "").is_err(), "{name}");
        }
        layout.remove_node("a1").unwrap();
        layout.add_node("a4", "A", "").unwrap();
        assert_eq!(layout.process("a4").unwrap().api, "127.0.0.1:7101");
        assert!(layout.remove_node("c1").is_err() && layout.remove_node("ra").is_err());
    }

    #[test]
    fn the_layout_survives_its_file() {
        let dir = tempfile::tempdir().unwrap();
        let layout = layout(dir.path());
        layout.save().unwrap();
        assert_eq!(Layout::load(dir.path()).unwrap(), layout);
        assert!(
            Layout::load(&dir.path().join("nowhere")).unwrap_err().to_string().contains("no local cluster")
        );
    }
}

//! The machines of a cluster: for every node the shared file and the directory that belong to it, and what to put around
//! its process so that the library stands before it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use twinset_tools::cluster::local::beside_this_program;
use twinset_tools::cluster::{Layout, LocalOptions};

use super::control::Control;

const LIBRARY: &str = "libtwinset_preload.so";

/// One node's machine.
#[derive(Debug)]
pub struct Machine {
    /// Faults, counters and books.
    pub control: Control,
    /// The data directory of the node.
    pub data: PathBuf,
}

/// All of them, by the names of the nodes.
#[derive(Debug)]
pub struct Machines {
    by_name: BTreeMap<String, Arc<Machine>>,
}

/// The library, beside the running program.
pub fn library() -> anyhow::Result<PathBuf> {
    let path = beside_this_program()?.join(LIBRARY);
    anyhow::ensure!(
        path.exists(),
        "{} is missing: build it with `cargo build --release --workspace` (`make build`)",
        path.display()
    );
    Ok(path)
}

/// The variables with which a program has the library before it.
pub fn environment(control: &Control, data: &Path) -> anyhow::Result<Vec<(String, String)>> {
    let text = |path: &Path| {
        path.to_str().map(str::to_owned).with_context(|| format!("{} is no text", path.display()))
    };
    Ok(vec![
        ("LD_PRELOAD".to_owned(), text(&library()?)?),
        ("TWINSET_PRELOAD".to_owned(), text(control.path())?),
        ("TWINSET_PRELOAD_DIR".to_owned(), text(data)?),
    ])
}

impl Machine {
    /// Works on the files of a stopped node, on a thread of its own: the clients share the one that calls, and a fault that
    /// held them up would be one more.
    pub async fn work<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Machine) -> anyhow::Result<T> + Send + 'static,
    ) -> anyhow::Result<T> {
        let machine = self.clone();
        tokio::task::spawn_blocking(move || work(&machine)).await?
    }
}

impl Machines {
    /// Makes a machine for every node of the cluster that `options` will start, and has the options put it around the
    /// node's process. The shared files stand in a directory beside the cluster's.
    pub fn around(options: &mut LocalOptions) -> anyhow::Result<Machines> {
        let dir = std::path::absolute(&options.dir)?;
        let beside = dir.with_extension("machines");
        if options.fresh && beside.exists() {
            std::fs::remove_dir_all(&beside)?;
        }
        std::fs::create_dir_all(&beside)?;
        // The kernel names open files by their true paths.
        anyhow::ensure!(
            beside.canonicalize()? == beside,
            "the cluster's directory is reached through a link: name {} instead",
            beside.canonicalize()?.display()
        );
        let layout = Layout::new(&dir, Path::new(""), options.sets, 0);
        let mut by_name = BTreeMap::new();
        for node in layout.nodes() {
            let data = layout.data_path(&node.name);
            let control = Control::create(&beside.join(&node.name))?;
            let launch = options.launch.entry(node.name.clone()).or_default();
            launch.env.extend(environment(&control, &data)?);
            by_name.insert(node.name.clone(), Arc::new(Machine { control, data }));
        }
        Ok(Machines { by_name })
    }

    /// The machine of a node.
    pub fn of(&self, name: &str) -> anyhow::Result<&Arc<Machine>> {
        self.by_name.get(name).with_context(|| format!("{name} has no machine: it is no node"))
    }

    /// All machines, by the names of their nodes.
    pub fn iter(&self) -> impl Iterator<Item = (&String, &Arc<Machine>)> {
        self.by_name.iter()
    }

    /// Takes back all faults.
    pub fn calm(&self) -> anyhow::Result<()> {
        self.by_name.values().try_for_each(|machine| machine.control.calm())
    }
}

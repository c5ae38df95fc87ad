//! A network of its own for every process of a local cluster and for the clients of each site, and faults on the links
//! between them: cuts, loss, delay. It knows addresses and packets, nothing of what travels in them.
//!
//! [`plan`] says what is made and [`rules`] what a fault is, as texts; [`fabric`] does both, in [`namespace`]s. [`delay`] holds
//! packets back as [`schedule`] says, over [`nfqueue`]. Through [`doors`] the harness reaches every process, faults or not, and its
//! clients reach the routers. Without root there is [`rootless`]; where not even that is allowed, a plain cluster without these faults.

pub mod delay;
pub mod doors;
pub mod fabric;
pub mod namespace;
pub mod nfqueue;
pub mod plan;
pub mod rootless;
pub mod rules;
pub mod schedule;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use futures::future::BoxFuture;
use twinset_tools::cluster::ports::Claim;
use twinset_tools::cluster::process::Launch;
use twinset_tools::cluster::{Layout, Ports};

use crate::nemesis::{Evidence, Fault};
use doors::Doors;
use fabric::Fabric;
use plan::{Plan, clients_of};

/// The networks of a cluster that is started after them and stopped before them. Dropped, or ended in any other way, they
/// leave nothing behind.
pub struct Net {
    base_port: u16,
    /// Names, sites and ports only: where the files are is the cluster's business.
    layout: Layout,
    /// Addresses of routers, by the clients' site and the router's name.
    routers: BTreeMap<(String, String), String>,
    networks: Option<(Arc<Fabric>, Doors)>,
    _claim: Claim,
}

impl Net {
    /// Makes the networks for a cluster on these ports. Needs root, or [`rootless::become_root`].
    pub fn open(ports: Ports) -> BoxFuture<'static, anyhow::Result<Self>> {
        Box::pin(async move {
            let mut net = Net::plain(ports)?;
            let plan = Plan::new(&net.layout);
            let fabric = Arc::new(tokio::task::spawn_blocking(|| Fabric::open(plan)).await??);
            let mut doors = Doors::default();
            for (owner, addr) in net.layout.listens() {
                let addr: SocketAddr = addr.parse()?;
                doors.open(addr, fabric.end(&owner)?.clone(), addr)?;
            }
            for ((site, router), addr) in &mut net.routers {
                let inside = fabric.end(&clients_of(site))?.clone();
                let dial = net.layout.process(router)?.http.parse()?;
                let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
                *addr = doors.open(any, inside, dial)?.to_string();
            }
            net.networks = Some((fabric, doors));
            Ok(net)
        })
    }

    /// No networks: processes and clients share the host's, and no fault on links can be done.
    pub fn plain(ports: Ports) -> anyhow::Result<Self> {
        let claim = ports.claim()?;
        let layout = Layout::new(".".as_ref(), ".".as_ref(), 2, claim.base_port);
        let mut routers = BTreeMap::new();
        for site in layout.routers().map(|router| &router.site) {
            for router in layout.routers() {
                routers.insert((site.clone(), router.name.clone()), router.http.clone());
            }
        }
        Ok(Net { base_port: claim.base_port, layout, routers, networks: None, _claim: claim })
    }

    /// The ports that the cluster must be started with.
    pub fn ports(&self) -> Ports {
        match self.networks {
            Some(_) => Ports::Served(self.base_port),
            None => Ports::Base(self.base_port),
        }
    }

    /// What must stand around each process.
    pub fn launch(&self) -> BTreeMap<String, Launch> {
        let Some((fabric, _)) = &self.networks else { return BTreeMap::new() };
        let into = |path: String| Launch {
            through: vec!["nsenter".to_owned(), format!("--net={path}"), "--".to_owned()],
            env: Vec::new(),
        };
        let of = |name: &String| fabric.end(name).ok().map(|network| (name.clone(), into(network.path())));
        self.layout.processes.iter().filter_map(|process| of(&process.name)).collect()
    }

    /// Where clients of a site reach a router's HTTP API. Behind it is the clients' network: a request crosses the links that
    /// faults are done to. The address takes connections whether or not the router can be reached.
    pub fn router_addr(&self, site: &str, router: &str) -> anyhow::Result<String> {
        let known = self.routers.get(&(site.to_owned(), router.to_owned()));
        known.cloned().ok_or_else(|| anyhow::anyhow!("no clients of {site} know a router {router}"))
    }

    /// Does a partition, a delay or a loss; how long is for the caller to see to. An error if it cannot be done, or
    /// acts already: then nothing was changed.
    pub fn inject<'a>(&'a self, fault: &'a Fault) -> BoxFuture<'a, anyhow::Result<()>> {
        let fault = fault.clone();
        Box::pin(async move {
            let fabric = self.fabric()?;
            tokio::task::spawn_blocking(move || fabric.inject(&fault)).await?
        })
    }

    /// Undoes a fault, and says what was seen of it. Doing it twice is harmless, but the second time nothing is seen.
    pub fn heal<'a>(&'a self, fault: &'a Fault) -> BoxFuture<'a, anyhow::Result<Evidence>> {
        let fault = fault.clone();
        Box::pin(async move {
            let fabric = self.fabric()?;
            tokio::task::spawn_blocking(move || fabric.heal(&fault)).await?
        })
    }

    fn fabric(&self) -> anyhow::Result<Arc<Fabric>> {
        let networks = self.networks.as_ref();
        let refused = "no faults on links without networks of our own: run as root, or allow user namespaces";
        networks.map(|(fabric, _)| fabric.clone()).ok_or_else(|| anyhow::anyhow!(refused))
    }

    /// Closes the doors and waits for what passes them. The processes should have been stopped before.
    pub async fn close(self) {
        if let Some((_, doors)) = self.networks {
            doors.close().await;
        }
    }
}

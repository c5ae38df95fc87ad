//! One file per command: its arguments, its help, what it prints. The work itself is in the modules beside `cmd/`.

pub mod account;
pub mod audit;
pub mod bench;
pub mod chart;
pub mod cluster;
pub mod demo;
pub mod dev;
pub mod drill;
pub mod durability;
pub mod evacuate;
pub mod events;
pub mod export;
pub mod fault;
pub mod group;
pub mod hold;
pub mod import;
pub mod indoubt;
pub mod isolate;
pub mod node;
mod page;
pub mod plan;
pub mod planned;
pub mod recover;
pub mod recover_control;
pub mod restriction;
pub mod return_home;
pub mod router;
pub mod statement;
pub mod status;
pub mod suspense;
pub mod sweep;
pub mod switch;
pub mod transaction;
pub mod verify;
pub mod watch;

use crate::cli::{Cli, Command, Place};
use crate::cluster::{Layout, operator};
use crate::error;
use futures::future::LocalBoxFuture;

/// What every command is given besides its own arguments.
#[derive(Clone, Debug)]
pub struct Context {
    /// Print data as JSON.
    pub json: bool,
    /// Where the cluster is.
    pub place: Place,
}

impl Context {
    /// The nodes to ask.
    pub fn nodes(&self) -> anyhow::Result<Vec<String>> {
        if !self.place.nodes.is_empty() {
            return Ok(self.place.nodes.clone());
        }
        Ok(self.layout("--nodes ADDRESS:PORT,...")?.node_addrs())
    }

    /// The routers' HTTP URLs.
    pub fn routers(&self) -> anyhow::Result<Vec<String>> {
        if !self.place.routers.is_empty() {
            return Ok(self.place.routers.clone());
        }
        Ok(self.layout("--router http://ADDRESS:PORT")?.router_urls())
    }

    /// The routers' gRPC URLs.
    pub fn grpc_routers(&self) -> anyhow::Result<Vec<String>> {
        if !self.place.routers.is_empty() {
            return Ok(self.place.routers.clone());
        }
        Ok(self.layout("--router http://ADDRESS:PORT")?.router_grpc_urls())
    }

    /// The local cluster, unless nodes are named or there is none.
    pub fn local(&self) -> Option<Layout> {
        self.place.nodes.is_empty().then(|| Layout::load(&self.place.dir).ok()).flatten()
    }

    fn layout(&self, flag: &str) -> anyhow::Result<Layout> {
        Layout::load(&self.place.dir).map_err(|cause| {
            error::usage(
                cause.to_string(),
                format!("name the cluster with {flag} or --dir DIR, or start one with `twinset dev up`"),
            )
        })
    }
}

/// Runs one command.
pub fn run(cli: Cli) -> LocalBoxFuture<'static, anyhow::Result<()>> {
    Box::pin(async move {
        operator::read(cli.operator_token_file)?;
        let context = Context { json: cli.json, place: cli.place };
        match cli.command {
            Command::Dev(command) => dev::run(command, &context).await,
            Command::Cluster(command) => cluster::run(command, &context).await,
            Command::Status(command) => status::run(command, &context).await,
            Command::Switch(command) => switch::run(command, &context).await,
            Command::Durability(command) => durability::run(command, &context).await,
            Command::Recover(command) => recover::run(command, &context).await,
            Command::Node(command) => node::run(command, &context).await,
            Command::Drill(command) => drill::run(command, &context).await,
            Command::Fault(command) => fault::run(command, &context).await,
            Command::Evacuate(command) => evacuate::run(command, &context).await,
            Command::Isolate(command) => isolate::run(command, &context).await,
            Command::IsolateReady(command) => isolate::run_ready(command, &context).await,
            Command::Return(command) => return_home::run(command, &context).await,
            Command::Plan(command) => plan::run(command, &context).await,
            Command::Stop(command) => plan::stop(command, &context).await,
            Command::Audit(command) => audit::run(command, &context).await,
            Command::Verify(command) => verify::run(command, &context).await,
            Command::Indoubt(command) => indoubt::run(command, &context).await,
            Command::Account(command) => account::run(command, &context).await,
            Command::Statement(command) => statement::run(command, &context).await,
            Command::Events(command) => events::run(command, &context).await,
            Command::Group(command) => group::run(command, &context).await,
            Command::Hold(command) => hold::run(command, &context).await,
            Command::Suspense(command) => suspense::run(command, &context).await,
            Command::Restriction(command) => restriction::run(command, &context).await,
            Command::Sweep(command) => sweep::run(command, &context).await,
            Command::Transaction(command) => transaction::run(command, &context).await,
            Command::Currency(command) => chart::currency(command, &context).await,
            Command::Subject(command) => chart::subject(command, &context).await,
            Command::Bench(command) => bench::run(command, &context).await,
            Command::Import(command) => import::run(command, &context).await,
            Command::Export(command) => export::run(command, &context).await,
            Command::Demo(command) => demo::run(command, &context).await,
        }
    })
}

/// Who an act is recorded under: the login name.
pub fn who() -> String {
    let name = std::env::var("SUDO_USER").or_else(|_| std::env::var("USER"));
    name.ok().filter(|name| !name.is_empty()).unwrap_or_else(|| "operator".to_owned())
}

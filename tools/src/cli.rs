//! The command line: one variant per command, help that teaches. What a command does is in `cmd/`.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::cmd;

/// Twinset: an active-active double-entry ledger over two sites.
#[derive(Debug, Parser)]
#[command(name = "twinset", version, max_term_width = 110, arg_required_else_help = true)]
#[command(
    after_help = "Data goes to stdout, everything else to stderr. Exit codes: 0 done, 1 failed, 64 asked wrongly.\n\
    A first session:\n  twinset dev up --detach\n  twinset status\n  twinset bench --seconds 5\n  \
    twinset switch --set 1 --to B --yes\n  twinset verify\n  twinset dev down"
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// Print data as JSON.
    #[arg(long, global = true)]
    pub json: bool,
    /// The file with your token as an operator; administrative acts go on record under its name.
    /// [env: TWINSET_OPERATOR_TOKEN_FILE]
    #[arg(long, global = true, value_name = "FILE")]
    pub operator_token_file: Option<PathBuf>,
    /// Where the cluster is.
    #[command(flatten)]
    pub place: Place,
}

/// Where the cluster is: named addresses, or the local cluster of a directory.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Where the cluster is")]
pub struct Place {
    /// Directory of the local cluster.
    #[arg(long, global = true, default_value = ".twinset-dev", value_name = "DIR")]
    pub dir: PathBuf,
    /// Nodes to ask, as ADDRESS:PORT; the others are found through them. Default: those of --dir.
    #[arg(long, global = true, value_delimiter = ',', value_name = "ADDR,...")]
    pub nodes: Vec<String>,
    /// Routers to send requests to, as http://ADDRESS:PORT. Default: those of --dir.
    #[arg(
        long = "router",
        visible_alias = "routers",
        global = true,
        value_delimiter = ',',
        value_name = "URL,..."
    )]
    pub routers: Vec<String>,
}

/// All commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a cluster of real processes on this machine.
    #[command(subcommand)]
    Dev(cmd::dev::Dev),
    /// Make a cluster out of blank nodes.
    #[command(subcommand)]
    Cluster(cmd::cluster::Cluster),
    /// Show sets, homes, leaders, durability and lag.
    #[command(long_about = cmd::status::HELP)]
    Status(cmd::status::Status),
    /// Move the home of a set to the other site, under traffic.
    #[command(long_about = cmd::switch::HELP)]
    Switch(cmd::switch::Switch),
    /// Let a set acknowledge with one site only, or demand both again.
    #[command(long_about = cmd::durability::HELP)]
    Durability(cmd::durability::Durability),
    /// Let sets that have lost their majority with a site go on in the other one.
    #[command(subcommand, long_about = cmd::recover::HELP)]
    Recover(cmd::recover::Recover),
    /// See, add, replace and take out nodes.
    #[command(subcommand, long_about = cmd::node::HELP)]
    Node(cmd::node::Node),
    /// Practise moves and failures on live traffic, and keep a report of each.
    #[command(subcommand, long_about = cmd::drill::HELP)]
    Drill(cmd::drill::Drill),
    /// Harm a process for a drill: kill, pause, disk, network, clock. It ends by itself.
    #[command(subcommand)]
    Fault(cmd::fault::Fault),
    /// Move the home of every set out of a site, under traffic.
    #[command(long_about = cmd::evacuate::HELP)]
    Evacuate(cmd::evacuate::Evacuate),
    /// Let every set acknowledge without a site that has been evacuated.
    #[command(long_about = cmd::isolate::HELP)]
    Isolate(cmd::isolate::Isolate),
    /// Say whether a site can be powered off, or set by set why not.
    #[command(long_about = cmd::isolate::READY_HELP)]
    IsolateReady(cmd::isolate::IsolateReady),
    /// Demand both sites again, and move sets to their configured home.
    #[command(long_about = cmd::return_home::HELP)]
    Return(cmd::return_home::Return),
    /// See plans, and let one that was stopped go on.
    #[command(subcommand)]
    Plan(cmd::plan::Plan),
    /// Halt all plans at once.
    #[command(long_about = cmd::plan::STOP_HELP)]
    Stop(cmd::plan::Stop),
    /// Show who administered what, and check that the log of that is whole.
    #[command(long_about = cmd::audit::HELP)]
    Audit(cmd::audit::Audit),
    /// Read every replica of every set and compare the books.
    #[command(long_about = cmd::verify::HELP)]
    Verify(cmd::verify::Verify),
    /// List transactions over several sets that are under way.
    #[command(long_about = cmd::indoubt::HELP)]
    Indoubt(cmd::indoubt::Indoubt),
    /// Open, read, limit, freeze and close accounts.
    #[command(subcommand)]
    Account(cmd::account::Account),
    /// Show what was posted to an account, with the balance after each posting.
    #[command(long_about = cmd::statement::HELP)]
    Statement(cmd::statement::Statement),
    /// Show what was decided in a set or in all, in order, and follow it.
    #[command(long_about = cmd::events::HELP)]
    Events(cmd::events::Events),
    /// Post, read, reverse and list transactions; find what became of a request.
    #[command(subcommand)]
    Transaction(cmd::transaction::Transaction),
    /// Make one account out of many, for credits of hot accounts; list and show such groups.
    #[command(subcommand)]
    Group(cmd::group::Group),
    /// Set amounts aside, capture them, give them back.
    #[command(subcommand)]
    Hold(cmd::hold::Hold),
    /// See credits from other sets that could not be booked where they should be, and book them on.
    #[command(subcommand)]
    Suspense(cmd::suspense::Suspense),
    /// Show and release what is restricted: available, and not withdrawable.
    #[command(subcommand)]
    Restriction(cmd::restriction::Restriction),
    /// Have what an account may withdraw moved to another one, again and again.
    #[command(subcommand)]
    Sweep(cmd::sweep::Sweep),
    /// Define currencies beyond ISO 4217.
    #[command(subcommand)]
    Currency(cmd::chart::Currency),
    /// Define general-ledger subjects beyond the built-in five.
    #[command(subcommand)]
    Subject(cmd::chart::Subject),
    /// Measure throughput and latency.
    #[command(long_about = cmd::bench::HELP)]
    Bench(cmd::bench::Bench),
    /// Book a plain-text-accounting journal.
    #[command(long_about = cmd::import::HELP)]
    Import(cmd::import::ImportArgs),
    /// Write an imported journal back out.
    #[command(long_about = cmd::export::HELP)]
    Export(cmd::export::ExportArgs),
    /// Watch a cluster survive: switches and a kill under traffic.
    #[command(long_about = cmd::demo::HELP)]
    Demo(cmd::demo::Demo),
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::Cli;

    /// An argument of a command hides the one of all commands that has the same name in the program.
    #[test]
    fn every_command_knows_where_the_cluster_is() {
        let mut all = Cli::command();
        all.build();
        let mut commands = vec![&all];
        while let Some(command) = commands.pop() {
            for long in ["dir", "nodes", "router", "json", "operator-token-file"] {
                let known = command.get_arguments().any(|argument| argument.get_long() == Some(long));
                // The command that clap makes by itself.
                assert!(
                    known || command.get_name() == "help",
                    "{} does not know --{long}",
                    command.get_name()
                );
            }
            commands.extend(command.get_subcommands().filter(|command| command.get_name() != "help"));
        }
    }
}

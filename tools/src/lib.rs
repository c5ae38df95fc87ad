//! The `twinset` command as a library: operators' acts, a local cluster of real processes, and a traffic generator that
//! the demo, the cluster tests and the consistency tests share.
//!
//! It speaks to nodes and routers over the wire contract only, and holds no rule of the ledger or of the control set.
//! Where a new command goes: one file under `cmd/`, one line in `cli.rs`.

pub mod audit;
pub mod cli;
pub mod cluster;
pub mod cmd;
pub mod control_recovery;
pub mod drama;
pub mod drill;
pub mod error;
pub mod group;
pub mod http1;
pub mod journal;
pub mod load;
pub mod out;
pub mod plan;
pub mod recover;
pub mod replace;
pub mod start;
pub mod verify;
pub mod view;

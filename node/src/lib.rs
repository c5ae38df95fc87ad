//! The daemon of a data node, and, with no sets of accounts, of the arbiter. `node.rs` puts the parts together; the way
//! of a command is api -> proposer -> raft -> store -> gate -> reply, the way of a read is api -> reader -> store -> gate.

pub mod across;
pub mod admission;
pub mod answers;
pub mod api;
pub mod birth;
pub mod catalogue;
mod clock;
pub mod cluster_check;
pub mod config;
mod contacts;
pub mod control_client;
pub mod control_set;
pub mod dial;
mod drain;
pub mod durability;
pub mod fatal;
pub mod faults;
pub mod freshness;
pub mod gate;
pub mod handover;
pub mod http;
pub mod keeper;
pub mod listen;
pub mod metrics;
pub mod node;
pub mod peer;
pub mod platform;
pub mod proposer;
pub mod raft;
pub mod reader;
pub mod set;
pub mod switch;

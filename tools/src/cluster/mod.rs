//! A cluster as operators and tests handle it: asking its nodes, giving blank nodes their cluster, and running a whole
//! one as local processes. Commands under `cmd/` stand above; below are the wire contract and the operating system.

pub mod admin;
pub mod bootstrap;
pub mod control;
pub mod faults;
pub mod layout;
pub mod local;
pub mod operator;
pub mod ports;
pub mod process;
pub mod ready;

pub use layout::Layout;
pub use local::{LocalCluster, LocalOptions};
pub use ports::Ports;

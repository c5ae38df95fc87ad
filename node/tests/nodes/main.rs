//! Whole nodes in one process, with all their listeners: how they are born, what they say, what they refuse, and how they
//! leave. One binary: each would link the database again.
#![allow(clippy::unwrap_used)]

mod addressed;
mod asked;
mod audit;
mod birth;
mod buffered;
mod check_back;
mod config_example;
mod control_majority;
mod control_recovery;
mod drill_faults;
mod durability;
mod elected_ahead;
mod events;
mod holds;
mod http;
mod labels;
mod leaving;
mod open_attempts;
mod own_data;
mod references;
mod restrictions;
mod statement;
mod sweeps;
mod whole;

//! Whole nodes in one process, with all their listeners: how they are born, what they say, what they refuse, and how they
//! leave. One binary: each would link the database again.
#![allow(clippy::unwrap_used)]

mod addressed;
mod birth;
mod config_example;
mod control_majority;
mod durability;
mod elected_ahead;
mod http;
mod leaving;
mod own_data;
mod whole;

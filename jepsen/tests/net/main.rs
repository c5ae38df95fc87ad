//! The networks of a local cluster: first the links alone, then a whole cluster of real processes that loses them, shape
//! by shape, under traffic. Needs root (or [`twinset_jepsen::net::rootless`]); without it these tests fail.

#![allow(clippy::unwrap_used, reason = "a test may panic anywhere, in its helpers too")]

mod cluster;
mod links;
mod sites;

/// One at a time: each test looks at what the whole process has open, and the machine has few cores.
static TURN: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

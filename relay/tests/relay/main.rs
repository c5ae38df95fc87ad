//! The relay between real servers: routers that play tricks, receivers that refuse, hang, redirect and die, the real NATS server, and
//! the relay's own binary under `kill -9`.

mod files;
mod routers;
mod support;
mod verdicts;
mod webhook;

#[cfg(feature = "nats")]
mod nats;
mod process;

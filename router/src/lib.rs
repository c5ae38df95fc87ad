//! The router: the front door of a Twinset cluster. Stateless; any router serves any account. It takes calls over
//! HTTP/JSON and gRPC, finds the set of each and its leader, and holds and retries while a set moves, so that clients
//! see a pause and no error. It holds no ledger truth: it uses the ledger's commands, codec and amounts, never its
//! state, and knows neither the store nor the node's insides.
//!
//! The way of a write: [`http`] or [`grpc_server`] (ports) -> [`handlers`] or [`grpc`] (spelling) -> [`api`]
//! (meaning) -> [`route`] (which set) -> [`twinset_dispatch`] (queue, frames, hold and retry, the node).
//! The way of a read: [`api`] -> [`route`] -> [`twinset_dispatch::reads`]. What is known of the cluster comes from
//! [`twinset_dispatch::view`].
//!
//! A leg on a group of accounts becomes one on its part before anything else is done ([`groups`]).
//! An atomic batch is one item of that way; a dry run is a read of every set that would be asked.
//!
//! Where things go: a new call in [`api`], [`routes`], [`handlers`] and [`grpc`]; a new error code in [`error`] and
//! [`status`]; a new figure in [`metrics`].

pub mod api;
mod atomic;
pub mod batch;
pub mod buffered;
pub mod config;
pub mod connections;
mod convert;
pub mod drill_faults;
mod dry_run;
pub mod error;
pub mod errors_page;
pub mod events;
mod groups;
pub mod grpc;
pub mod grpc_server;
pub mod guard;
pub mod handlers;
pub mod holds;
pub mod http;
pub mod json;
pub mod metrics;
mod named;
pub mod openapi;
pub mod platform;
pub mod query;
mod references;
pub mod restrictions;
pub mod route;
pub mod routes;
pub mod service;
mod statement;
pub mod status;
pub mod sweeps;
pub mod text;
pub mod unparsed;

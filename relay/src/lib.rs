//! The relay: brings the events of a cluster to receivers that do not ask for them. It is a client of the routers like any other,
//! keeps one cursor per sink and set on its own disk, and delivers each event at least once, in the order of its set. It knows no
//! node, and of the ledger only what events say.
//!
//! The way of an event: [`source`] (server-sent events of one set, checked for gaps) -> [`lane`] (filter, batches, retry, cursor,
//! dead letters) -> [`sink`] (a webhook, a stream of NATS JetStream). One lane for each sink and set; they wait for nobody else.
//!
//! Where things go: a new kind of sink in [`sink`], [`config`] and [`service`]; a new figure in [`metrics`]; something that people
//! do with the data in [`commands`].

pub mod backoff;
pub mod commands;
pub mod config;
pub mod cursor;
pub mod dead;
pub mod durable;
pub mod event;
pub mod http;
pub mod lane;
pub mod metrics;
pub mod router;
pub mod service;
pub mod sink;
pub mod source;

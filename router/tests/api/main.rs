//! A router over real sockets, in front of nodes that do what a test tells them. One binary: each would compile servers and
//! clients again.

mod across;
mod atomic;
mod buffered;
mod check_back;
mod dry_run;
mod events;
mod groups;
mod grpc;
mod hold_and_retry;
mod holds;
mod holds_across;
mod holds_grpc;
mod http;
mod preconditions;
mod references;
mod restrictions;
mod reversals;
mod statement;
mod support;
mod sweeps;

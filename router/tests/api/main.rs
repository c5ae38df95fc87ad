//! A router over real sockets, in front of nodes that do what a test tells them. One binary: each would compile servers and
//! clients again.

mod across;
mod grpc;
mod hold_and_retry;
mod http;
mod support;

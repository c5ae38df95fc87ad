//! Node to node: three lanes per pair of nodes, each a stream of its own, so that neither bulk appends nor a snapshot
//! can hold up a heartbeat. This side of the wire knows frames and addresses; what they mean is [`crate::raft`]'s.

mod link;
mod service;

pub use link::{LaneClosed, Links, PeerLink, SESSION_WINDOW};
pub use service::PeerService;

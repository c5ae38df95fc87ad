//! The wire contract: what routers serve to clients, and what nodes serve to routers, operators and each other.
//! Generated from `proto/proto/`; nothing clever lives here. Conversions belong to the crates that speak it.

/// The metadata by which an operator shows a node who asks for something administrative.
pub const OPERATOR_TOKEN: &str = "twinset-operator-token";

/// The public API, served by routers.
pub mod ledger {
    /// Version 1.
    #[allow(missing_docs, clippy::all)]
    pub mod v1 {
        tonic::include_proto!("twinset.ledger.v1");
    }
}

/// Between routers, nodes and operators.
pub mod cluster {
    /// Version 1.
    #[allow(missing_docs, clippy::all)]
    pub mod v1 {
        tonic::include_proto!("twinset.cluster.v1");
    }
}

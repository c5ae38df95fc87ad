//! Stand-ins for a node and a router, in this process, on free ports. They speak the real wire contract, and keep no
//! rules: a test says what they answer.

#![allow(dead_code, missing_docs)]

pub mod ledger;
pub mod node;
pub mod router;

//! Replicas of one set, each with its store, its log and its lanes to the others, in one process: what they refuse, how one
//! that was away catches up, and what an isolated one may not do. One binary: each would link the database again.
#![allow(clippy::unwrap_used)]

mod catch_up;
mod common;
mod fence;
mod isolation;
mod lanes;
mod late_replies;
mod proposer;

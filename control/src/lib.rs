//! The control set's rules, pure: what the catalogue holds, how a topology file becomes the first catalogue, and what
//! each command does to it. Same catalogue, same entry, same catalogue out, on every voter. No clock, no randomness, no
//! unordered map, no I/O, no logging; time and log index come with the entry.
//!
//! Above: the node runs this as Raft group [`CONTROL_SET`] and keeps the catalogue as one JSON document; routers and
//! tools read that document. Below: nothing of the project.
//!
//! The way of a change: [`Command`] -> [`Envelope`] (log bytes) -> [`apply()`] -> [`Reply`] or [`Rejection`]. Where a new
//! rule goes: a variant of [`Command`], a function in `apply.rs` (of plans, in `plan/`), a [`Rejection`], a golden script in `tests/scripts/`.

pub mod apply;
pub mod audit;
pub mod catalogue;
pub mod chain;
pub mod command;
pub mod control_recovery;
pub mod document;
pub mod drill;
pub mod durability;
pub mod envelope;
pub mod groups;
pub mod placement;
pub mod plan;
pub mod proof;
pub mod recovery;
pub mod rejection;
pub mod replacement;
pub mod topology;

pub use apply::{Effect, Reply, apply, apply_entry};
pub use catalogue::{
    Catalogue, ControlSet, Durability, EndedSwitch, Node, Replica, Role, Set, Site, SlotRange, SwitchEnd,
    SwitchIntent,
};
pub use command::Command;
pub use control_recovery::ControlRecovered;
pub use drill::Drill;
pub use durability::{LEASE_MS, Policy};
pub use envelope::{Envelope, decode_answer, encode_answer};
pub use groups::Group;
pub use placement::Placement;
pub use plan::Plan;
pub use proof::Proof;
pub use recovery::{LogEnd, LostReplica, Recovered, RecoveryIntent};
pub use rejection::Rejection;
pub use replacement::Replacement;
pub use topology::Topology;

/// The format of the catalogue document that this build writes, and the only one it reads.
pub const FORMAT: u32 = 1;
/// The rules that this build proposes new entries under, and the newest it can apply; it applies all before them as
/// well. 2 chains the records of the audit log.
pub const RULES_VERSION: u16 = 2;
/// The Raft group of the control set; data sets count from 1.
pub const CONTROL_SET: u32 = 0;
/// Slots that account ids hash to: the same number as in the ledger, which does the hashing.
pub const SLOTS: u16 = 4096;

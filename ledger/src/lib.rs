//! The ledger's rules, pure: same state, same entry, same bytes out, on every replica. No clock, no randomness, no
//! unordered map, no I/O, no logging. What apply reads and writes stands behind [`State`]; the store implements it over
//! its memory and tables, [`memory::MemoryState`] over plain maps for tests and the checkers' model.
//!
//! The way of a command: [`Command`] (owned) -> [`codec`] (bytes) -> an entry of many commands -> [`apply::apply_entry`]
//! -> one [`Outcome`] per command. Where a new rule goes: a variant of [`Rejection`], a check in `apply/`, a golden
//! script in `tests/scripts/`, and the same rule once more in `tests/model/`. What needs no state to refuse goes to
//! [`malformed`].

pub mod account;
pub mod amount;
pub mod apply;
pub mod attempt;
pub mod buffer;
pub mod canary;
pub mod chart;
pub mod check_back;
pub mod codec;
pub mod command;
pub mod date;
pub mod hold;
pub mod id;
pub mod label;
pub mod malformed;
pub mod memory;
pub mod net;
pub mod outcome;
pub mod rejection;
pub mod restriction;
pub mod reversed;
pub mod state;
pub mod sweep;

pub use account::{Account, AccountNo, FreezeMode, Limit, Side};
pub use attempt::{Attempts, Begin, Step};
pub use buffer::{Buffer, BufferStep, PostingMode};
pub use check_back::{CheckBack, CheckedBack, OnExpiry};
pub use command::{Command, Leg, LegKind, LegPart, Reversal, Transaction};
pub use id::{Position, TransactionId, slot_of};
pub use label::Label;
pub use malformed::Malformed;
pub use net::Net;
pub use outcome::{Effect, Outcome, Posted};
pub use rejection::Rejection;
pub use state::{Durability, Posting, State};
pub use sweep::{RunEnd, Schedule, SetSweep, Sweep};

/// The newest rules that this build can apply: since version 2 an entry may hold attempts and their steps, holds, preconditions,
/// atomic batches, restricted funds, buffered credits and sweeps.
pub const RULES_VERSION: u16 = 2;
/// The rules that nodes propose new entries under.
pub const RULES_PROPOSED: u16 = 2;
/// The first rules that know transactions over several sets, holds, preconditions, atomic batches and restricted funds.
const RULES_OF_ATTEMPTS: u16 = 2;
/// Commands in one entry at most; an offset has 16 bits, and one is kept in reserve.
pub const COMMANDS_PER_ENTRY_MAX: usize = 65_535;
/// Legs of one transaction at most.
pub const LEGS_MAX: usize = 256;
/// Slots that account ids hash to.
pub const SLOTS: u16 = 4096;

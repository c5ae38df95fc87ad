//! What the node serves to routers and operators. Decode, check, hand on, encode: no rule lives here.

mod admin;
mod audit;
mod buffered;
mod control_recovery;
mod convert;
mod drill_faults;
mod dry_run;
mod events;
mod holds;
mod references;
mod restrictions;
mod sets;
mod statement;
mod sweeps;
mod verify;

pub use admin::AdminService;
pub use drill_faults::DrillFaultsService;
pub use sets::SetsService;

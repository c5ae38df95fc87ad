//! Drills: scenarios of planned moves and faults, played on a live cluster with guardrails, and the report of each. The
//! commands are in `cmd/drill.rs`.
//!
//! [`scenario`] is the format, [`before`] what is looked at first, [`play`] carries it out with [`acts`] and [`wait`], [`moment`] looks
//! every second and [`guard`] says when to stop, [`traffic`] pays, [`judge`] gives the verdict, [`record`] is what is kept and
//! [`page`] draws it. [`watch`] makes the same of what nobody planned. [`calendar`] and [`lot`] are for drills that are scheduled or come as a surprise.

mod acts;
pub mod before;
pub mod calendar;
pub mod cast;
pub mod figures;
pub mod guard;
pub mod hold;
pub mod judge;
pub mod lot;
pub mod moment;
mod moves;
pub mod page;
pub mod play;
mod plot;
pub mod record;
pub mod scenario;
pub mod shelf;
pub mod traffic;
pub mod wait;
pub mod watch;

//! Whole-cluster tests of real processes: seeded traffic that journals every answer, faults, and checkers that judge
//! the journal. `twinset-jepsen kills` and the tests of this crate share it.
//!
//! [`traffic`] sends and [`history`] keeps; [`death`] kills, [`nemesis`] says what else can be done; [`books`] reads what
//! the cluster holds in the end; [`check`] judges, purely; [`kills`] puts them together. It knows the system from outside
//! only: the public API, the operators' API, processes, files and logs.

pub mod api;
pub mod books;
pub mod check;
pub mod death;
pub mod history;
pub mod kills;
pub mod logs;
pub mod nemesis;
pub mod net;
pub mod preload;
pub mod traffic;
pub mod wait;

//! The harness's side of the library that stands before each node (`jepsen/preload/`): it says which faults of disk and
//! clock act, reads what was seen of them, and makes of a killed node's directory what a power cut would have left of it.
//! [`crate::nemesis`] stands above; it alone decides what happens when.

#[path = "../../preload/src/layout.rs"]
pub mod layout;

pub mod control;
pub mod ending;
pub mod image;
pub mod machines;
pub mod names;
pub mod tear;

pub use control::{Control, Counts};
pub use machines::{Machine, Machines};

//! What a machine can do to a process: the library that stands before it, under a tiny program, and its faults under whole
//! clusters with traffic. Every wait is for a condition, with a deadline; every fault must have been seen to act.

#![allow(clippy::unwrap_used, reason = "a test may panic anywhere, in its helpers too")]

mod books;
mod damage;
mod faults;
mod library;
mod lie;
mod power;
mod program;
mod stage;

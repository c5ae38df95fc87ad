//! Faults of whole clusters of real processes on free ports: what clients see, what the processes say, and that the
//! books are right afterwards. Every wait is for a condition, with a deadline.

#![allow(clippy::unwrap_used, reason = "a test may panic anywhere, in its helpers too")]

mod across;
mod buffered;
mod clients;
mod control;
mod disk;
mod drills;
mod followers;
mod groups;
mod holds;
mod initiator;
mod leaders;
mod many_sets;
mod moving;
mod plans;
mod probe;
mod refusals;
mod relay;
mod replace;
mod restored;
mod running;
mod scenarios;
mod sites;
mod snapshots;
mod streams;
mod support;
mod sweeps;

//! The simulator: the real nodes and routers, with openraft, tonic and hyper below them, in one thread, one simulated network
//! and one simulated time, repeatable from one seed. A run has a safety phase, in which the plan's faults strike and the
//! invariants are looked at all along; then everything is healed, the cluster has to serve again, and the books have to
//! balance. How it comes to be repeatable: docs/adr/0009-simulator.md.
//!
//! [`plan`] draws what a seed stands for; [`cluster`] puts nodes and routers on simulated machines ([`platform`], [`disk`]);
//! [`clients`] and [`operator`] ask through [`asker`]; [`world`] does the faults; [`watch`] looks at the replicas all along;
//! [`run`] is the order of things. In the end the checkers of the Jepsen harness judge what was asked and answered
//! ([`verdict`]). [`chance`] and [`trace`] make a run repeatable and show that it is; [`repeat`] says how. A
//! process runs [`one`] seed, or starts [`many`].

pub mod asker;
pub mod chance;
pub mod clients;
pub mod cluster;
pub mod disk;
pub mod faults;
pub mod many;
pub mod one;
pub mod operator;
pub mod panics;
pub mod plan;
pub mod platform;
pub mod repeat;
pub mod run;
pub mod trace;
pub mod verdict;
pub mod watch;
pub mod world;

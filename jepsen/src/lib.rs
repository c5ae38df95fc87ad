//! Whole-cluster tests of real processes: seeded clients that take down every answer, faults, and checkers that judge the
//! history. The `twinset-jepsen` command and the tests of this crate share it.
//!
//! [`workload`] draws what [`clients`] ask through [`api`]; [`history`] keeps it; [`play`] does the faults of [`nemesis`];
//! [`books`] reads what the cluster holds in the end; [`check`] judges, purely, and [`export`] asks for a second opinion;
//! [`run`] puts them together, [`recheck`] judges a stored history again, [`shrink`] makes a failing run smaller,
//! [`canaries`] shows that bugs are caught. It knows the system from outside only: the public API, the operators' API,
//! processes, files and logs.

pub mod apart;
pub mod api;
pub mod books;
pub mod canaries;
pub mod check;
pub mod clients;
pub mod death;
pub mod export;
mod founding;
pub mod history;
pub mod kills;
pub mod logs;
mod named;
pub mod nemesis;
pub mod net;
pub mod of_cluster;
pub mod play;
pub mod preload;
pub mod recheck;
pub mod report;
pub mod results;
pub mod run;
pub mod shrink;
pub mod synthetic;
pub mod traffic;
pub mod wait;
pub mod workload;

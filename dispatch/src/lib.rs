//! The way from a process to the leaders of all sets: routers bring clients' commands there, and leaders of sets bring
//! the steps of what several sets do together. It finds each set's leader, holds what waits for one, sends it in frames
//! over one stream per node, and sends it again until there is a definite answer or its deadline has passed. It
//! knows sets, nodes and bytes: what a command says, which set an account lives in and what a client is told are
//! the process's own.
//!
//! The way of a command: [`dispatcher`] (one bounded queue per set) -> [`lane`] (the one owner of a set's items: frames,
//! hold and retry, decided by [`pending`], [`retry`] and [`target`]) -> [`link`] (one connection per node) -> the node.
//! Its answer goes back the same way, and from [`pending`] to the caller, exactly once.
//! The way of a read: [`reads`] -> [`link`] -> the node. It waits in no queue.
//! What is known of the cluster: the nodes -> [`topology`] (the one writer) -> [`view`] -> all of the above, and
//! whoever routes.
//!
//! The process that uses it owns the tasks: it makes a [`topology::Follower`], [`link::Links`] and, over these, a
//! [`dispatcher::Dispatcher`] and [`reads::Reads`], spawns the first two, and awaits them and the lanes at its end. It
//! gives the connections ([`dial`]) and the prefix of the [`metrics`], and says with each command who asks
//! ([`pending::Origin`]); it gets answers or a [`failure`]. What drills need of such processes stands in [`drill`].

pub mod dial;
pub mod dispatcher;
pub mod drill;
pub mod failure;
pub mod groups;
pub mod lane;
pub mod link;
pub mod metrics;
pub mod pending;
mod place;
pub mod reads;
pub mod retry;
pub mod target;
pub mod time;
pub mod topology;
pub mod view;

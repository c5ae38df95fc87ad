//! Check-back of overdue holds (ADR 15), by the leader of their set: who is asked, how, and what is made of the answer. What
//! counts stands in the set's log; whatever is lost here is asked again.
//!
//! - `config`: the allow-list of initiators;
//! - `call`: one signed call;
//! - `answer`: what is said in it, and what may be said to it;
//! - `asker`: the task of one hosted replica.

mod answer;
mod asker;
mod call;
pub mod config;
mod metrics;

pub use asker::Asker;
pub use config::{InitiatorConfig, Initiators, LastResort};
pub use metrics::CheckBackMetrics;

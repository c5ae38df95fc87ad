//! The JSON spelling of the public API: what requests may say and how replies look. Translation only; the meaning is
//! [`crate::api`]'s. These types are also what `/openapi.json` is generated from.

pub mod buffered;
pub mod dry_run;
pub mod events;
pub mod holds;
pub mod reply;
pub mod request;
pub mod restrictions;
pub mod statement;
mod strict;
pub mod sweeps;

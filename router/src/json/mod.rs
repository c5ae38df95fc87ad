//! The JSON spelling of the public API: what requests may say and how replies look. Translation only; the meaning is
//! [`crate::api`]'s. These types are also what `/openapi.json` is generated from.

pub mod reply;
pub mod request;
mod strict;

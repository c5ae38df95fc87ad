//! What the node serves to routers and operators. Decode, check, hand on, encode: no rule lives here.

mod admin;
mod convert;
mod sets;

pub use admin::AdminService;
pub use sets::SetsService;

//! A transaction as it is asked for.

use serde::{Deserialize, Serialize};

use super::event::Leg;
use super::holds::Capture;
use super::marks::Marks;

/// A transaction that is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Transfer {
    /// The request id.
    pub id: String,
    /// The scope account, if it is named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<u32>,
    /// What else is written on it: see [`super::label`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<u16>,
    /// What it captures, if it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capture: Option<Capture>,
    /// What else is said of its legs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub marks: Marks,
    /// In the client's order.
    pub legs: Vec<Leg>,
}

//! How it is known who is behind a command: it goes into the log with the command, and on record with what came of it.

use serde::{Deserialize, Serialize};

/// What speaks for the `who` of a command.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Proof {
    /// Nothing: whoever sent it wrote that name.
    #[default]
    Declared,
    /// The node that took it was shown the token of the operator of that name.
    Token,
    /// The node of this name has asked for it by itself; `who` says which part of it.
    Node(String),
}

impl Proof {
    /// Whether nothing speaks for it.
    pub fn is_declared(&self) -> bool {
        *self == Proof::Declared
    }
}

impl std::fmt::Display for Proof {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Proof::Declared => f.write_str("declared"),
            Proof::Token => f.write_str("token"),
            Proof::Node(node) => write!(f, "node {node}"),
        }
    }
}

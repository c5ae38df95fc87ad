//! What a client says of a transaction beside its legs. The set that coordinates a transaction over several sets keeps the
//! whole of it; each other set is told the label with its part, so that it is found by it in every set.

use crate::command::{Metadata, Reversal, Transaction};

/// What a client says of a transaction or a reversal. Rules do not look at it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Label {
    /// The client's kind of transaction; 0 of a reversal.
    pub kind: u16,
    /// The client's reason code.
    pub reason: u16,
    /// Free.
    pub metadata: Metadata,
}

impl Label {
    /// Whether nothing was said.
    pub fn is_empty(&self) -> bool {
        *self == Label::default()
    }
}

impl From<&Transaction> for Label {
    fn from(Transaction { kind, reason, metadata, .. }: &Transaction) -> Label {
        Label { kind: *kind, reason: *reason, metadata: metadata.clone() }
    }
}

impl From<&Reversal> for Label {
    fn from(Reversal { reason, metadata, .. }: &Reversal) -> Label {
        Label { kind: 0, reason: *reason, metadata: metadata.clone() }
    }
}

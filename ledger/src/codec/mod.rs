//! Bytes: commands as they travel, entries as they stand in the log, outcomes as they are hashed, stored and sent.
//! All integers are little-endian; every form has one encoding per value, and decoding refuses anything else. No rule
//! of the ledger is decided here. Above: [`crate::apply`], the store, nodes and routers. Below: [`crate::command`] and
//! [`crate::outcome`].

mod attempt;
mod buffer;
mod check_back;
mod command;
mod entry;
mod hold;
mod label;
mod leg;
mod outcome;
mod rejection;
mod request_id;
mod restriction;
mod short;
mod sweep;
mod wire;

pub use attempt::{decode_attempts, encode_attempts};
pub use buffer::{decode_buffer, encode_buffer};
pub use command::{decode_command, encode_command};
pub use entry::{ENTRY_FORMAT, Entry, EntryBuilder, HEADER_BYTES, Record, Records};
pub use hold::{decode_hold, encode_hold};
pub use outcome::{decode_outcome, encode_outcome};
pub use request_id::PackedId;
pub use restriction::{decode_restriction, encode_restriction};
pub use short::{SHORT_BYTES, Short, ShortScope, expand, shorten};
pub use sweep::{decode_sweeps, encode_sweeps};

/// Bytes are not what they should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// They end too soon.
    #[error("the bytes end too soon")]
    Truncated,
    /// More follows where the end should be.
    #[error("{left} bytes follow the end")]
    Trailing {
        /// How many.
        left: usize,
    },
    /// A text is not UTF-8.
    #[error("a text is not UTF-8")]
    Utf8,
    /// An id is outside its alphabet or length.
    #[error("an id is not 1-64 of A-Za-z0-9._:-{{}}")]
    BadId,
    /// The format or kind is not known to this build.
    #[error("{what} {found} is not known to this build")]
    Unknown {
        /// Format, command kind, record tag, ...
        what: &'static str,
        /// What was found.
        found: u16,
    },
    /// A field has a value that its encoder never writes.
    #[error("{field} has a value that is never written")]
    OutOfRange {
        /// The field.
        field: &'static str,
    },
}

//! The form of a label that says something. One that says nothing has none: what carries it has a form of its own without it, so
//! that it costs nothing, and one meaning has one form.

use super::DecodeError;
use super::command::{metadata, put_metadata};
use super::wire::Reader;
use crate::label::Label;

pub(super) fn put_label(out: &mut Vec<u8>, label: &Label) {
    out.extend_from_slice(&label.kind.to_le_bytes());
    out.extend_from_slice(&label.reason.to_le_bytes());
    put_metadata(out, &label.metadata);
}

pub(super) fn label(r: &mut Reader<'_>) -> Result<Label, DecodeError> {
    let label = Label { kind: r.u16()?, reason: r.u16()?, metadata: metadata(r)? };
    if label.is_empty() { Err(DecodeError::OutOfRange { field: "label" }) } else { Ok(label) }
}

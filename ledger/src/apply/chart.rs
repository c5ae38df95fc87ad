//! Definitions of currencies and subjects. They carry no request id: the same definition again changes nothing.

use super::Decision;
use crate::account::Side;
use crate::chart::{built_in_subject, currency_scale};
use crate::outcome::Effect;
use crate::rejection::Rejection;
use crate::state::State;

pub(super) fn define_currency<S: State>(state: &mut S, code: &str, scale: u8) -> Decision {
    match currency_scale(state, code) {
        None => {
            state.define_currency(code, scale);
            Ok(Effect::Defined { changed: true })
        }
        Some(known) if known == scale => Ok(Effect::Defined { changed: false }),
        Some(_) => Err(Rejection::CurrencyConflict { currency: code.to_owned() }),
    }
}

pub(super) fn define_subject<S: State>(state: &mut S, code: &str, name: &str, side: Side) -> Decision {
    let same = match built_in_subject(code) {
        Some(known) => (known.name, known.normal_side) == (name, side),
        None => match state.subject(code) {
            Some((known_name, known_side)) => (known_name.as_str(), known_side) == (name, side),
            None => {
                state.define_subject(code, name, side);
                return Ok(Effect::Defined { changed: true });
            }
        },
    };
    if same {
        Ok(Effect::Defined { changed: false })
    } else {
        Err(Rejection::SubjectConflict { subject: code.to_owned() })
    }
}

//! What a client may ask again: its recent writes, and the same request id with another body. Pure.

use std::collections::VecDeque;

use twinset_tools::load::random::Random;

use crate::history::label::LABELS;
use crate::history::{Answer, Ask, Mode, Transfer};

/// How far back something may be asked again.
const KEPT: usize = 400;

/// Recent writes, the router that was asked, and whether the answer was definite.
#[derive(Default)]
pub struct Recent(VecDeque<(Ask, usize, bool)>);

impl Recent {
    /// Whether nothing was asked yet.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// A write was asked and answered.
    pub fn push(&mut self, ask: Ask, router: usize, answer: &Answer) {
        let definite = match answer {
            Answer::Batch(items) => items.iter().all(|item| item.decided().is_some()),
            answer => answer.decided().is_some(),
        };
        self.0.push_back((ask, router, definite));
        if self.0.len() > KEPT {
            self.0.pop_front();
        }
    }

    /// One of them: the last as often as any before.
    pub fn draw(&self, random: &mut Random) -> Option<(Ask, usize, bool)> {
        let back = match random.below(2) {
            0 => 0,
            _ => random.below(self.0.len().max(1)),
        };
        self.0.len().checked_sub(1 + back).map(|at| self.0[at].clone())
    }
}

/// The same request id for something else; none where there is nothing else to ask for.
pub fn other_body(ask: &Ask) -> Option<Ask> {
    let mut other = ask.clone();
    match &mut other {
        Ask::Transfer(Transfer { label: Some(label), legs, .. }) if legs[0].1 % 2 == 0 => {
            *label = (*label + 1) % LABELS;
        }
        Ask::Transfer(transfer) => more(&mut transfer.legs),
        Ask::Batch { items, .. } => more(&mut items.first_mut()?.legs),
        Ask::Reverse { cents, .. } => *cents = Some(cents.map_or(1, |cents| cents + 1)),
        Ask::SetLimit { limit, .. } | Ask::Open { limit, .. } => {
            *limit = limit.map_or(Some(-1), |limit| Some(limit - 1));
        }
        Ask::Freeze { mode, .. } => *mode = if *mode == Mode::Both { Mode::Debit } else { Mode::Both },
        Ask::Close { id, account } => {
            other = Ask::SetLimit { id: std::mem::take(id), account: *account, limit: Some(-1) };
        }
        _ => return None,
    }
    Some(other)
}

/// A cent more on the first leg and on the first of the other side: it still balances.
fn more(legs: &mut [(u32, i64)]) {
    let sign = legs[0].1.signum();
    legs[0].1 += sign;
    if let Some((_, cents)) = legs.iter_mut().find(|(_, cents)| cents.signum() != sign) {
        *cents -= sign;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::payment;

    #[test]
    fn another_body_balances_and_differs_under_the_same_id() {
        let ask = payment((1, 2), "x", 5);
        let Some(Ask::Transfer(other)) = other_body(&ask) else { panic!("a transfer has another body") };
        assert_eq!((other.id.as_str(), other.legs), ("x", vec![(1, 6), (2, -6)]));
        let Ask::Transfer(even) = payment((1, 2), "x", 6) else { unreachable!() };
        let labelled = Ask::Transfer(Transfer { label: Some(LABELS - 1), ..even.clone() });
        let other = Ask::Transfer(Transfer { label: Some(0), ..even });
        assert_eq!(other_body(&labelled), Some(other));
        let close = Ask::Close { id: "y".into(), account: 3 };
        assert_eq!(other_body(&close), Some(Ask::SetLimit { id: "y".into(), account: 3, limit: Some(-1) }));
    }
}

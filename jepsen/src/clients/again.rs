//! What a client may ask again, and how often it does, in a run and in a simulation: its recent writes, now and then
//! with another body under the same request id. Pure.

use std::collections::VecDeque;

use twinset_tools::load::random::Random;

use crate::history::label::LABELS;
use crate::history::marks::Mark;
use crate::history::{Answer, Ask, Mode, Retry, Transfer};

/// Of a hundred calls of a run, so many ask again for something; each simulation draws a share of its own.
pub const AGAIN_PERCENT: usize = 42;
/// Of a hundred that are asked again although they are decided, so many have another body.
pub const OTHER_BODY_PERCENT: usize = 15;
/// Of a hundred new writes, so many go through two routers at once.
pub const BESIDE_PERCENT: usize = 4;
/// Of a hundred new calls, in so many the client hangs up before the answer can be there.
pub const HANG_UP_PERCENT: usize = 2;

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

    /// One of them because of `why`; now and then, once it is decided, with another body.
    pub fn again(&self, why: Retry, random: &mut Random) -> Option<Again> {
        let (ask, router, decided) = self.draw(random)?;
        let other = decided && random.below(100) < OTHER_BODY_PERCENT;
        Some(match other.then(|| other_body(&ask)).flatten() {
            Some(ask) => Again { ask, router, why: Retry::OtherBody },
            None => Again { ask, router, why },
        })
    }

    /// One of them: the last as often as any before.
    fn draw(&self, random: &mut Random) -> Option<(Ask, usize, bool)> {
        let back = match random.below(2) {
            0 => 0,
            _ => random.below(self.0.len().max(1)),
        };
        self.0.len().checked_sub(1 + back).map(|at| self.0[at].clone())
    }
}

/// Something that is asked again.
#[derive(Clone, Debug, PartialEq)]
pub struct Again {
    /// What.
    pub ask: Ask,
    /// The router that was asked before.
    pub router: usize,
    /// Why, or [`Retry::OtherBody`].
    pub why: Retry,
}

/// The same request id for something else; none where there is nothing else to ask for.
fn other_body(ask: &Ask) -> Option<Ask> {
    let mut other = ask.clone();
    match &mut other {
        Ask::Transfer(Transfer { label: Some(label), legs, .. }) if legs[0].1 % 2 == 0 => {
            *label = (*label + 1) % LABELS;
        }
        // The same money, and not restricted, or no withdrawal.
        Ask::Transfer(Transfer { marks, legs, .. })
            if legs[0].1 % 3 == 0 && !matches!(marks.last(), None | Some((_, Mark::Group { .. }))) =>
        {
            marks.pop();
        }
        Ask::Transfer(transfer) => more(&mut transfer.legs),
        Ask::Batch { items, .. } => more(&mut items.first_mut()?.legs),
        Ask::Reverse { parts, .. } if !parts.is_empty() => parts[0].1 += 1,
        Ask::Reverse { cents, .. } => *cents = Some(cents.map_or(1, |cents| cents + 1)),
        Ask::SetLimit { limit, .. } | Ask::Open { limit, .. } => {
            *limit = limit.map_or(Some(-1), |limit| Some(limit - 1));
        }
        Ask::Freeze { mode, .. } => *mode = if *mode == Mode::Both { Mode::Debit } else { Mode::Both },
        Ask::Close { id, account } => {
            other = Ask::SetLimit { id: std::mem::take(id), account: *account, limit: Some(-1) };
        }
        Ask::SetMode { buffered, .. } => *buffered = !*buffered,
        Ask::SetSweep { terms, .. } => terms.keep += 1,
        Ask::PlaceHold { cents, .. } => *cents += 1,
        Ask::ReleaseHold { cents, .. } | Ask::ReleaseRestriction { cents, .. } => {
            *cents = Some(cents.map_or(1, |cents| cents + 1))
        }
        Ask::ExtendHold { expires_ns, .. } => *expires_ns = Some(expires_ns.map_or(1, |end| end + 1)),
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
    fn what_is_decided_is_asked_again_with_another_body_now_and_then() {
        let mut random = Random::seeded(1);
        let of = |answer: Answer, random: &mut Random| {
            let mut recent = Recent::default();
            assert_eq!(recent.again(Retry::Again, random), None);
            recent.push(payment((1, 2), "x", 5), 1, &answer);
            let whys = (0..1_000).filter_map(|_| recent.again(Retry::AfterFailover, random));
            whys.filter(|again| again.router == 1 && again.why == Retry::OtherBody).count()
        };
        let unknown = Answer::Unknown { why: "silent".into() };
        assert_eq!(of(unknown, &mut random), 0, "the first may still be on its way");
        let done = Answer::Done { place: (1, 7, 0).into(), replayed: false };
        let expected = OTHER_BODY_PERCENT * 10;
        assert!((expected - 50..expected + 50).contains(&of(done, &mut random)));
    }

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

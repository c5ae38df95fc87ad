//! The overdue holds of all accounts, of one set or of all: the longest overdue first, whatever set they are of. Each page asks each
//! set for as much as it may show, all at once, and shows the first of all; a place between two pages is one in the order of
//! all, so that no set's own place is kept. A set that stays silent among several is named, and what is overdue there is
//! not known.

use futures::future::join_all;
use tokio::time::Instant;
use twinset_ledger::{Position, TransactionId, date};
use twinset_proto::cluster::v1::{ListOverdue, ReadReply, read_reply, read_request};
use twinset_proto::ledger::v1 as wire;

use super::{PAGE_MAX, parse_hold};
use crate::api::{Api, missing, page_of};
use crate::convert;
use crate::error::{Code, Error};
use crate::route;

/// A hold's place in the order of all: its end, and then its name. What two pages have between them is `END.HOLD`, the end in
/// nanoseconds since the Unix epoch: the hold itself may be gone from the list by the next page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    end_ns: u64,
    hold: TransactionId,
}

impl Place {
    fn of(hold: &wire::Hold) -> Option<Place> {
        let end_ns = date::parse_timestamp(&hold.expires_at)?;
        Some(Place { end_ns, hold: hold.hold.parse().ok()? })
    }

    fn read(text: &str) -> Result<Place, Error> {
        let not =
            || Error::malformed(format!("after: {text:?} is no place between pages: take `next` as it is"));
        let (end, hold) = text.split_once('.').ok_or_else(not)?;
        Ok(Place { end_ns: end.parse().map_err(|_| not())?, hold: parse_hold(hold).map_err(|_| not())? })
    }

    fn text(&self) -> String {
        format!("{}.{}", self.end_ns, self.hold)
    }

    /// From where on a set's holds are behind this place. Names are in the order of their sets first.
    fn behind(&self, set: u32) -> (u64, Position) {
        let Place { end_ns, hold } = *self;
        match set.cmp(&hold.set) {
            std::cmp::Ordering::Greater => (end_ns, Position(0)),
            std::cmp::Ordering::Equal => match hold.position.0.checked_add(1) {
                Some(next) => (end_ns, Position(next)),
                None => (end_ns.saturating_add(1), Position(0)),
            },
            std::cmp::Ordering::Less => (end_ns.saturating_add(1), Position(0)),
        }
    }
}

impl Api {
    /// Overdue holds of a set or of all, the longest overdue first, behind `after` (empty: from the first one).
    pub async fn overdue_holds(
        &self,
        asked: wire::ListOverdueHoldsRequest,
        deadline: Instant,
    ) -> Result<wire::ListOverdueHoldsReply, Error> {
        let consistency = convert::consistency(asked.consistency)?;
        let size = page_of(asked.page_size, PAGE_MAX, PAGE_MAX)?;
        let after = (!asked.after.is_empty()).then(|| Place::read(&asked.after)).transpose()?;
        let view = self.view();
        let sets = match asked.set {
            Some(set) => vec![route::known_set(&view, set)?],
            None if view.sets.is_empty() => {
                let detail = "no node has told this router about the cluster yet";
                return Err(Error::new(Code::NoCatalogue, detail));
            }
            None => view.sets.keys().copied().collect(),
        };
        let pages = sets.iter().map(async |set| {
            let (from_end_ns, from) = after.map_or((0, Position(0)), |after| after.behind(*set));
            let asked = ListOverdue { from_end_ns, from: from.0, page_size: size };
            match self.reads.read(*set, consistency, read_request::Query::Overdue(asked), deadline).await? {
                ReadReply { result: Some(read_reply::Result::Holds(page)) } => Ok::<_, Error>(page),
                reply => Err(missing(&reply, "nothing is overdue")),
            }
        });
        together(sets.iter().copied().zip(join_all(pages).await), size as usize)
    }
}

/// The first `size` of all that the sets have answered.
fn together(
    answers: impl Iterator<Item = (u32, Result<wire::ListHoldsReply, Error>)>,
    size: usize,
) -> Result<wire::ListOverdueHoldsReply, Error> {
    let mut whole = wire::ListOverdueHoldsReply::default();
    let (mut placed, mut more, mut failed, mut answered) = (Vec::new(), false, None, false);
    for (set, answer) in answers {
        let page = match answer {
            Ok(page) => page,
            Err(error) => {
                whole.silent.push(set);
                failed = failed.or(Some(error));
                continue;
            }
        };
        answered = true;
        more |= !page.next.is_empty();
        whole.as_of.extend(page.as_of);
        whole.age_ms = whole.age_ms.max(page.age_ms);
        for hold in page.holds {
            let place = Place::of(&hold).ok_or_else(|| {
                Error::new(Code::NoLeader, format!("what set {set} says of {:?} cannot be read", hold.hold))
            })?;
            placed.push((place, hold));
        }
    }
    if let Some(error) = failed.filter(|_| !answered) {
        return Err(error);
    }
    placed.sort_by_key(|(place, _)| *place);
    // A set that has more than it has told has told a whole page, so that the last one shown is not behind what it kept.
    more |= placed.len() > size;
    placed.truncate(size);
    if let Some((last, _)) = placed.last().filter(|_| more) {
        whole.next = last.text();
    }
    whole.holds = placed.into_iter().map(|(_, hold)| hold).collect();
    Ok(whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hold(end_ns: u64, name: &str) -> wire::Hold {
        wire::Hold { hold: name.into(), expires_at: date::timestamp(end_ns), ..wire::Hold::default() }
    }

    fn page(holds: &[(u64, &str)], more: bool) -> Result<wire::ListHoldsReply, Error> {
        let holds: Vec<wire::Hold> = holds.iter().map(|(end, name)| hold(*end, name)).collect();
        let next = holds.last().filter(|_| more).map(|last| last.hold.clone()).unwrap_or_default();
        Ok(wire::ListHoldsReply { holds, next, as_of: None, age_ms: 0 })
    }

    fn silent() -> Result<wire::ListHoldsReply, Error> {
        Err(Error::new(Code::NoLeader, "silent"))
    }

    fn names(reply: &wire::ListOverdueHoldsReply) -> Vec<&str> {
        reply.holds.iter().map(|hold| hold.hold.as_str()).collect()
    }

    #[test]
    fn the_longest_overdue_of_all_sets_come_first() {
        let first = page(&[(10, "1-1-5-0"), (30, "1-1-4-0")], true);
        let second = page(&[(10, "2-1-3-0"), (20, "2-1-9-0")], false);
        let whole = together([(1, first), (2, second)].into_iter(), 2).unwrap();
        assert_eq!(names(&whole), ["1-1-5-0", "2-1-3-0"]);
        assert_eq!(whole.next, "10.2-1-3-0");
        let next = Place::read(&whole.next).unwrap();
        assert_eq!(next.behind(1), (11, Position(0)));
        assert_eq!(next.behind(2), (10, Position(Position::new(3, 0).0 + 1)));
        assert_eq!(next.behind(3), (10, Position(0)));
    }

    #[test]
    fn the_last_page_has_no_next_one() {
        let whole = together([(1, page(&[(10, "1-1-5-0")], false)), (2, page(&[], false))].into_iter(), 1);
        assert_eq!(whole.unwrap().next, "");
        let none = together([(1, page(&[], false))].into_iter(), 1).unwrap();
        assert_eq!((none.holds.len(), none.next.as_str()), (0, ""));
    }

    #[test]
    fn who_is_silent_is_named_unless_all_are() {
        let whole = together([(1, silent()), (2, page(&[(10, "2-1-5-0")], false))].into_iter(), 5).unwrap();
        assert_eq!((names(&whole), whole.silent.as_slice()), (vec!["2-1-5-0"], &[1][..]));
        assert_eq!(together([(1, silent()), (2, silent())].into_iter(), 5).unwrap_err().code(), "no_leader");
    }

    #[test]
    fn a_place_is_read_as_it_was_written() {
        let place = Place { end_ns: u64::MAX, hold: "3-1-7-2".parse().unwrap() };
        assert_eq!(Place::read(&place.text()), Ok(place));
        assert_eq!(place.behind(1), (u64::MAX, Position(0)));
        for bad in ["", "7", "1-1-5-0", "x.1-1-5-0", "7.", "7.1-1-5", "-7.1-1-5-0"] {
            assert_eq!(Place::read(bad).unwrap_err().code(), "malformed", "{bad}");
        }
    }
}

//! Where a reader of events is: one place per set, in one text. A place is the name of the last event, and maybe, after `+`, how
//! far the set's log was looked through for the next one; commas stand between the sets. Nodes make places; here they are kept
//! apart. Pure.

use std::collections::BTreeMap;

use twinset_dispatch::view::View;
use twinset_ledger::TransactionId;

use crate::api::parse_transaction;
use crate::error::{Code, Error};
use crate::route;

/// A place in each set that is read; empty: before its first event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursors(BTreeMap<u32, String>);

impl Cursors {
    /// Reads what a client gives back; `only`: of one set.
    pub fn read(text: &str, only: Option<u32>, view: &View) -> Result<Cursors, Error> {
        let mut places = BTreeMap::new();
        match only {
            Some(set) => {
                places.insert(route::known_set(view, set)?, String::new());
            }
            None if view.sets.is_empty() => {
                let detail = "no node has told this router about the cluster yet";
                return Err(Error::new(Code::NoCatalogue, detail));
            }
            None => places.extend(view.sets.keys().map(|set| (*set, String::new()))),
        }
        for part in text.split(',').filter(|part| !part.is_empty()) {
            let set = set_of(part)?;
            match places.get_mut(&set) {
                Some(place) if place.is_empty() => part.clone_into(place),
                Some(_) => return Err(Error::malformed(format!("after names set {set} twice"))),
                None => {
                    return Err(Error::malformed(format!(
                        "after: {part} is of set {set}, which is not asked for"
                    )));
                }
            }
        }
        Ok(Cursors(places))
    }

    /// The sets and the places in them.
    pub fn sets(&self) -> impl Iterator<Item = (u32, &str)> {
        self.0.iter().map(|(set, place)| (*set, place.as_str()))
    }

    /// Whether that set is read.
    pub fn has(&self, set: u32) -> bool {
        self.0.contains_key(&set)
    }

    /// Goes on to that place of a set; gives the whole as a text.
    pub fn pass(&mut self, set: u32, place: &str) -> String {
        place.clone_into(self.0.entry(set).or_default());
        self.text()
    }

    /// As a client may give it back.
    pub fn text(&self) -> String {
        let places: Vec<&str> =
            self.0.values().map(String::as_str).filter(|place| !place.is_empty()).collect();
        places.join(",")
    }
}

/// The set of a place, if it is spelled like one.
fn set_of(part: &str) -> Result<u32, Error> {
    let (last, looked) = part.split_once('+').map_or((part, None), |(last, looked)| (last, Some(looked)));
    let pieces = Some(last).filter(|last| !last.is_empty() || looked.is_none()).into_iter().chain(looked);
    let ids = pieces.map(|piece| {
        let bad = |_| {
            Error::malformed(format!(
                "after: {part:?} is no place between events: take `resume` or `next` as it is"
            ))
        };
        parse_transaction(piece).map_err(bad)
    });
    let ids = ids.collect::<Result<Vec<TransactionId>, Error>>()?;
    match ids.as_slice() {
        [one] => Ok(one.set),
        [one, other] if one.set == other.set => Ok(one.set),
        _ => Err(Error::malformed(format!("after: {part:?} is of two sets"))),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use twinset_dispatch::view::SetView;

    use super::*;

    fn view() -> View {
        let set = SetView { incarnation: 1, leader: None, term: 0, replicas: Arc::new([]) };
        let sets = [1, 2, 3].map(|number| (number, set.clone())).into();
        View { version: 1, slots: Arc::new([1, 2, 3]), sets, ..View::default() }
    }

    #[test]
    fn a_place_per_set_comes_back_as_it_was() {
        for (text, only) in [
            ("", None),
            ("", Some(2)),
            ("2-1-7-0", Some(2)),
            ("2-1-7-0", None),
            ("1-1-5-3,3-2-9-1", None),
            ("1-1-5-3+1-2-9-65535,2-1-1-0,+3-1-4-65535", None),
        ] {
            let cursors = Cursors::read(text, only, &view()).expect(text);
            assert_eq!(cursors.text(), text);
            assert_eq!(cursors.sets().count(), if only.is_some() { 1 } else { 3 });
        }
        let mut cursors = Cursors::read("1-1-5-3,3-2-9-1", None, &view()).expect("good");
        assert_eq!(cursors.pass(2, "2-1-1-0"), "1-1-5-3,2-1-1-0,3-2-9-1");
        assert_eq!(cursors.pass(1, "1-1-6-0"), "1-1-6-0,2-1-1-0,3-2-9-1");
    }

    #[test]
    fn what_is_no_place_is_refused() {
        let table = [
            ("x", None, "malformed"),
            ("+", None, "malformed"),
            ("1-1-1-0+", None, "malformed"),
            ("1-1-1-0+2-1-1-0", None, "malformed"),
            ("1-1-1-0+1-1-2-0+1-1-3-0", None, "malformed"),
            ("1-1-1-0,1-1-2-0", None, "malformed"),
            ("4-1-1-0", None, "malformed"),
            ("1-1-1-0", Some(2), "malformed"),
            ("", Some(4), "not_found"),
        ];
        for (text, only, code) in table {
            let error = Cursors::read(text, only, &view()).expect_err(text);
            assert_eq!(error.code(), code, "{text}: {error}");
        }
        assert_eq!(Cursors::read("", None, &View::default()).expect_err("no set").code(), "no_catalogue");
    }
}

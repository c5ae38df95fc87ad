//! The runs of sweeps as operations of their sets: no client asks for one, so that it is made up of what its request id gave when
//! somebody looked it up. Of a refused one nobody can tell how much it would have moved; a cent stands in its place.

use std::collections::{BTreeMap, HashMap};

pub use twinset_ledger::sweep::run_of;

use super::marks::Mark;
use super::sweeps::Terms;
use super::{Answer, Ask, History, Name, Op, Place, Transfer};

/// Who asks for runs: no client has that number.
const NOBODY: u32 = u32::MAX;

/// A sweep as it was set.
struct Set<'h> {
    begin_ns: u64,
    account: u32,
    terms: &'h Terms,
}

impl History {
    /// The names of sweeps, by where they were set: events tell them.
    pub fn sweeps_set(&self) -> HashMap<Place, Name> {
        let told = self.ops.iter().filter_map(|op| match &op.answer {
            Answer::Events { events, .. } => Some(events),
            _ => None,
        });
        let set = told.flatten().filter(|told| told.kind == "sweep_set");
        set.map(|told| (told.place, told.event)).collect()
    }

    /// Makes up the runs of what has been read by now.
    pub fn make_up_runs(&mut self) {
        let is_lookup = |op: &&Op| matches!(&op.ask, Ask::ReadRequest { id, .. } if run_of(id).is_some());
        let mut runs: BTreeMap<(u32, &str), Op> = BTreeMap::new();
        let sets = self.sets_of_sweeps();
        for op in self.ops.iter().filter(is_lookup) {
            let Ask::ReadRequest { scope, id, .. } = &op.ask else { continue };
            let Some(set) = run_of(id).and_then(|(sweep, _)| sets.get(&Name(sweep))) else { continue };
            if let Some((legs, answer)) = came(set, &op.answer).filter(|_| set.account == *scope) {
                let marks = vec![(0, Mark::Withdrawal)];
                let (of, scope_of) = (id.clone(), Some(*scope));
                let ask = Transfer { id: of, scope: scope_of, label: None, capture: None, marks, legs };
                let ask = Ask::Transfer(ask);
                let run =
                    Op { process: NOBODY, begin_ns: set.begin_ns, retry: None, ask, answer, ..op.clone() };
                // The first that was told is behind the run by the least; the last word is the last.
                let end_ns = runs.get(&(*scope, id)).map_or(op.end_ns, |known| known.end_ns);
                runs.insert((*scope, id), Op { end_ns, ..run });
            }
        }
        self.runs = runs.into_values().collect();
    }

    fn sets_of_sweeps(&self) -> HashMap<Name, Set<'_>> {
        let names = self.sweeps_set();
        // Of those that ask the same the first may have done it, whatever it was told.
        let mut begins: HashMap<(u32, &str), u64> = HashMap::new();
        let mut sets = HashMap::new();
        for op in &self.ops {
            let Ask::SetSweep { id, account, terms } = &op.ask else { continue };
            let begin_ns = *begins.entry((*account, id)).or_insert(op.begin_ns);
            if let Answer::Done { place, .. } = &op.answer
                && let Some(name) = names.get(place)
            {
                sets.entry(*name).or_insert(Set { begin_ns, account: *account, terms });
            }
        }
        sets
    }
}

/// The legs of a run and its answer, by what was found under its id.
fn came(set: &Set<'_>, found: &Answer) -> Option<(Vec<(u32, i64)>, Answer)> {
    let cent = vec![(set.account, 1), (set.terms.to, -1)];
    match found {
        Answer::Transaction { found, .. } => {
            let (transaction, place) = (found.transaction, found.place);
            let booked = Answer::Booked { transaction, place, replayed: true, balances: Vec::new() };
            Some((found.legs.clone(), booked))
        }
        Answer::Rejected { code, place, .. } => {
            let (code, place) = (code.clone(), *place);
            Some((cent, Answer::Rejected { code, place, replayed: true }))
        }
        Answer::GivenUp { place } => Some((cent, Answer::GivenUp { place: *place })),
        _ => None,
    }
}

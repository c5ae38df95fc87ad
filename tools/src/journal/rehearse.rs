//! Books a plan on an empty ledger in memory, by the ledger's own rules: whatever a set would refuse is found, with its
//! place in the journal, before anything is sent. Holds no rule itself. Above: [`super::plan`]; below: [`super::send`].

use twinset_ledger::codec::{EntryBuilder, encode_command};
use twinset_ledger::memory::MemoryState;
use twinset_ledger::{Command, RULES_VERSION};

use super::plan::{Plan, Planned};
use super::problem::{Problem, Problems, Reason, unless};

/// A set that exists nowhere else.
const SET: u32 = 1;
const INCARNATION: u32 = 1;

/// Whether a set takes the whole plan; otherwise everything that it would refuse.
pub fn rehearse(plan: &Plan) -> Result<(), Problems> {
    let mut state = MemoryState::new(SET);
    let mut problems = Vec::new();
    let definitions: Vec<Planned> = plan.definitions().collect();
    let openings = [&plan.journal].into_iter().chain(&plan.accounts);
    for (index, planned) in (1..).zip(definitions.iter().chain(openings).chain(&plan.transactions)) {
        if let Err(reason) = apply(&mut state, index, &planned.command) {
            problems.push(Problem { place: planned.place.clone(), reason });
        }
    }
    unless(problems, ())
}

fn apply(state: &mut MemoryState, index: u64, command: &Command) -> Result<(), Reason> {
    let refused = |why: String, code| Reason::Refused { why, code };
    command.validate().map_err(|malformed| refused(malformed.to_string(), malformed.code()))?;
    let mut bytes = Vec::new();
    encode_command(command, &mut bytes);
    let mut entry = EntryBuilder::new(RULES_VERSION, INCARNATION, index);
    entry.push_command_bytes(&bytes);
    let outcomes = state.apply(index, &entry.finish()).expect("what was encoded here decodes");
    let result = outcomes.into_iter().next().expect("each command has an outcome").result;
    result.map(drop).map_err(|rejection| refused(rejection.to_string(), rejection.code()))
}

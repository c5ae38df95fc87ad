//! Dry runs: what would be said to commands now, with nothing of it happening.

use super::overlay::Overlay;
use super::transaction::{plan, sums};
use super::{ApplyError, apply_entry};
use crate::RULES_VERSION;
use crate::attempt::{Begin, Sum};
use crate::codec::{Entry, EntryBuilder, encode_command};
use crate::command::{Command, Leg};
use crate::outcome::Outcome;
use crate::state::State;

/// Behind every entry that there can be.
const INDEX: u64 = (1 << 48) - 1;

/// What would come of valid commands, one after the other, if a leader took them in at that time, one outcome for each. Where
/// they say that something is decided, or name what is placed or booked, that is nowhere: only replays are about what is
/// there.
pub fn dry_run<S: State>(
    state: &S,
    incarnation: u32,
    time_unix_ns: u64,
    commands: &[Command],
) -> Result<Vec<Outcome>, ApplyError<S::Fault>> {
    let mut builder = EntryBuilder::new(RULES_VERSION, incarnation, time_unix_ns);
    for command in commands {
        let mut bytes = Vec::new();
        encode_command(command, &mut bytes);
        builder.push_command_bytes(&bytes);
    }
    let bytes = builder.finish();
    let entry = Entry::parse(&bytes).expect("it was just built");
    let mut outcomes = Vec::new();
    apply_entry(&mut Overlay::new(state), INDEX, &entry, &mut outcomes)?;
    Ok(outcomes)
}

/// The sums of this set's own legs of a transaction that could begin here.
pub fn own_sums<S: State>(state: &S, begin: &Begin) -> Vec<Sum> {
    let own: Vec<Leg> = begin.legs_of(state.set()).cloned().collect();
    plan(state, &own).and_then(|legs| sums(state, &legs)).unwrap_or_default()
}

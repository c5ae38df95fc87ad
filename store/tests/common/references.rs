//! References against the model: what each finds is what a scan of the whole history finds, in pages of any size.

use std::collections::BTreeMap;

use twinset_ledger::apply::came_of;
use twinset_ledger::id::Position;
use twinset_ledger::memory::MemoryState;
use twinset_ledger::outcome::Effect;
use twinset_store::{LedgerReplica, Referred};

use super::Dice;

/// Where something with a reference was taken in, and whether its end is known.
type Places = Vec<(Position, bool)>;

/// Compares what all references find.
pub(super) fn compare(replica: &LedgerReplica, model: &MemoryState, dice: &mut Dice) {
    let all = scanned(model);
    for (reference, expected) in &all {
        if dice.roll(3) == 0 {
            assert_eq!(found(replica, reference, dice), *expected, "{reference}");
        }
    }
    assert_eq!(found(replica, "nobody's", dice), []);
}

/// All references of a history.
fn scanned(model: &MemoryState) -> BTreeMap<String, Places> {
    let mut all = BTreeMap::<String, Places>::new();
    for (position, command, outcome) in model.history() {
        let (Some(reference), false) = (command.reference(), outcome.replayed) else { continue };
        let known = match came_of(model, outcome.clone()).unwrap().result {
            Ok(Effect::Posted(_) | Effect::Settled(_)) => true,
            Ok(Effect::Buffered { .. } | Effect::Suspended { .. }) => true,
            Ok(Effect::Begun) => false,
            _ => continue,
        };
        all.entry(reference.to_owned()).or_default().push((position, known));
    }
    all
}

/// What the replica finds, page by page.
fn found(replica: &LedgerReplica, reference: &str, dice: &mut Dice) -> Places {
    let (mut all, mut after) = (Places::new(), None);
    loop {
        let limit = 1 + dice.roll(40) as usize;
        match replica.referred(reference, after, limit).unwrap().value {
            Referred::Page(page) => {
                assert!(page.booked.len() <= limit);
                for listed in page.iter() {
                    let whole = replica.transaction(listed.id.position).unwrap().value.unwrap();
                    assert_eq!(whole.listed().as_ref(), Some(listed), "it is told as a look-up tells it");
                    all.push((listed.id.position, true));
                }
                after = page.next;
                if after.is_none() {
                    return all;
                }
            }
            // What comes before it on the page is told without it.
            Referred::Begun(begun) if limit > 1 => {
                while let Referred::Page(page) = replica.referred(reference, after, 1).unwrap().value {
                    all.extend(page.iter().map(|listed| (listed.id.position, true)));
                    after = page.next;
                }
                all.push((begun.position, false));
                after = Some(begun.position);
            }
            Referred::Begun(begun) => {
                all.push((begun.position, false));
                after = Some(begun.position);
            }
            Referred::Building { .. } => panic!("it was kept from the first entry on"),
        }
    }
}

//! What clients ask for. A workload is one entry of [`ALL`]: the accounts that it needs in each set, and a generator of calls
//! per client, seeded. A new one is a file here and a
//! line in the table; what it asks for that the API did not have before also needs an [`Ask`], its spelling in `api/`, and
//! its rule in the model. Retries are not made here: [`crate::clients`] sends anything again, whatever the workload.

mod across;
mod batches;
mod buffered;
mod currencies;
mod events;
mod ground;
mod groups;
mod holds;
mod idempotence;
mod lately;
mod life;
mod limits;
mod lists;
mod mixed;
mod opaque;
mod preconditions;
mod restricted;
mod reversals;
mod stale;
mod statements;
mod sweeps;
mod transfers;

use std::sync::Arc;

use twinset_tools::load::random::Random;

pub use across::NAME as ACROSS;
pub use buffered::NAME as BUFFERED;
pub use ground::{Ground, Plot};
pub use groups::{Group, NAME as GROUPS};
pub use opaque::JAR;
pub use restricted::NAME as RESTRICTED;
pub use sweeps::NAME as SWEEPS;

use crate::history::label::LABELS;
use crate::history::{Answer, Ask, Level};

/// One workload.
pub struct Kind {
    /// What `--workload` names it by.
    pub name: &'static str,
    /// One line for `list`.
    pub about: &'static str,
    /// The accounts that it needs in each set.
    pub plots: &'static [Plot],
    /// A generator for one client.
    pub make: fn(&Arc<Ground>) -> Box<dyn Generate>,
}

/// Every workload, `mixed` last.
pub const ALL: &[Kind] = &[
    transfers::KIND,
    limits::KIND,
    idempotence::KIND,
    reversals::KIND,
    batches::KIND,
    currencies::KIND,
    lists::KIND,
    stale::KIND,
    life::KIND,
    opaque::KIND,
    across::KIND,
    holds::KIND,
    statements::KIND,
    events::KIND,
    buffered::KIND,
    sweeps::KIND,
    restricted::KIND,
    groups::KIND,
    preconditions::KIND,
    mixed::KIND,
];

/// The workloads of a list of names.
pub fn named(names: &[String]) -> anyhow::Result<Vec<&'static Kind>> {
    crate::named::named(ALL, |kind| kind.name, "workload", names)
}

/// Draws the calls of one client.
pub trait Generate: Send {
    /// What is asked next.
    fn next(&mut self, hand: &mut Hand) -> Ask;

    /// What a new call was answered (not what its retries were).
    fn heard(&mut self, _ask: &Ask, _answer: &Answer) {}
}

/// What a generator draws with.
pub struct Hand {
    /// The client's own sequence.
    pub random: Random,
    name: String,
    ids: u64,
}

impl Hand {
    /// Of a client of that name, which no other has.
    pub fn new(name: String, seed: u64) -> Self {
        Hand { random: Random::seeded(seed), name, ids: 0 }
    }

    /// A request id that nobody has used.
    pub fn id(&mut self) -> String {
        self.ids += 1;
        format!("{}-{}", self.name, self.ids)
    }

    /// True so many times in a hundred.
    pub fn chance(&mut self, percent: usize) -> bool {
        self.random.below(100) < percent
    }

    /// None, or now and then a label.
    pub fn label(&mut self) -> Option<u16> {
        self.chance(20).then(|| self.random.below(LABELS.into()) as u16)
    }

    /// One of them.
    pub fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.random.below(of.len())]
    }

    /// Two different ones.
    pub fn pair(&mut self, of: &[u32]) -> (u32, u32) {
        let first = self.random.below(of.len());
        let second = (first + 1 + self.random.below(of.len() - 1)) % of.len();
        (of[first], of[second])
    }

    /// An amount between a cent and `most` cents.
    pub fn cents(&mut self, most: usize) -> i64 {
        1 + self.random.below(most) as i64
    }

    /// Linearizable, or so many times in a hundred stale.
    pub fn level(&mut self, stale_percent: usize) -> Level {
        if self.chance(stale_percent) { Level::Stale } else { Level::Linearizable }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::history::{Meta, Recorder};

    pub fn ground() -> Arc<Ground> {
        let slots: Vec<u32> = (0..4096).map(|slot| 1 + slot / 2048).collect();
        Ground::new(Recorder::in_memory(Meta::default()), &slots, &ALL.iter().collect::<Vec<_>>())
    }

    #[test]
    fn the_same_seed_draws_the_same_calls_and_only_some_workloads_ask_several_sets() {
        for kind in ALL {
            let draw = |seed| {
                let ground = ground();
                let (mut generator, mut hand) = ((kind.make)(&ground), Hand::new("c".into(), seed));
                let asks: Vec<Ask> = (0..300).map(|_| generator.next(&mut hand)).collect();
                (asks, ground)
            };
            let (first, ground) = draw(1);
            assert_eq!(first, draw(1).0, "{}", kind.name);
            assert_ne!(first, draw(2).0, "{}", kind.name);
            let mut over_several = 0;
            for ask in &first {
                let sets = |legs: &[(u32, i64)]| {
                    let set = |account: &u32| ground.set_of(*account);
                    legs.iter().map(|(account, _)| set(account)).collect::<std::collections::BTreeSet<_>>()
                };
                let items = match ask {
                    Ask::Transfer(transfer) => std::slice::from_ref(transfer),
                    Ask::Batch { items, .. } => items.as_slice(),
                    _ => &[],
                };
                over_several += items.iter().filter(|item| sets(&item.legs).len() > 1).count();
            }
            let is_meant = [ACROSS, BUFFERED, GROUPS, SWEEPS, "mixed"].contains(&kind.name);
            assert_eq!(over_several > 0, is_meant, "{}: {over_several}", kind.name);
        }
    }

    #[test]
    fn names_are_unique_and_unknown_ones_are_refused() {
        let names: std::collections::BTreeSet<&str> = ALL.iter().map(|kind| kind.name).collect();
        assert_eq!(names.len(), ALL.len());
        assert!(named(&["transfers".into(), "mixed".into()]).is_ok());
        assert!(named(&["nothing".into()]).is_err());
    }
}

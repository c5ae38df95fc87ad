//! Opaque balances: each amount into a jar is a power of two that no other has, so that a bare balance reveals exactly which
//! transfers it holds. The check of it trusts neither positions nor lists (`check/opaque.rs`).

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::{Generate, Ground, Hand, Kind, Plot};
use crate::history::event::EURO;
use crate::history::{Ask, Transfer};

const NAME: &str = "opaque";
/// How the id of every jar goes on behind its tag.
pub const JAR: &str = ":jar-";
/// Powers of two in one jar: what all jars together have taken from their source stays far below 2^63 cents.
const POWERS: u32 = 40;
/// Jars that are filled at the same time in each set.
const OPEN: u32 = 4;

pub const KIND: Kind = Kind {
    name: NAME,
    about: "amounts are powers of two, so that a balance alone tells which transfers it holds",
    plots: &[Plot::free("source", 1)],
    make: |ground| Box::new(Opaque { ground: ground.clone(), given: ground.gifts.clone() }),
};

struct Opaque {
    ground: Arc<Ground>,
    /// Shared by all clients: each power is given out once.
    given: Arc<AtomicU32>,
}

impl Generate for Opaque {
    fn next(&mut self, hand: &mut Hand) -> Ask {
        let sets = self.ground.sets();
        if hand.chance(35) {
            let given = self.given.load(Ordering::Relaxed);
            let (set, jar, _) = place(given.saturating_sub(hand.random.below(8) as u32), sets.len() as u32);
            let account = self.ground.account(NAME, sets[set as usize], &jar_name(jar));
            return Ask::ReadAccount { account, level: hand.level(35) };
        }
        let (set, jar, power) = place(self.given.fetch_add(1, Ordering::Relaxed), sets.len() as u32);
        let set = sets[set as usize];
        let account = self.ground.account(NAME, set, &jar_name(jar));
        let source = self.ground.plot(NAME, "source", set)[0];
        if power == 0 {
            return Ask::Open {
                id: hand.id(),
                account,
                subject: "liability".into(),
                currency: EURO.into(),
                limit: Some(0),
            };
        }
        let cents = 1_i64 << (power - 1);
        Ask::Transfer(Transfer {
            id: hand.id(),
            scope: None,
            label: None,
            capture: None,
            marks: vec![],
            legs: vec![(source, cents), (account, -cents)],
        })
    }
}

/// Where the n-th gift goes: number of the set, the jar in it, and 0 to open it or the power plus one.
fn place(gift: u32, sets: u32) -> (u32, u32, u32) {
    let (row, lane) = (gift / (sets * OPEN), gift % (sets * OPEN));
    (lane % sets, row / (POWERS + 1) * OPEN + lane / sets, row % (POWERS + 1))
}

fn jar_name(jar: u32) -> String {
    format!("jar-{jar}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_jar_gets_every_power_once() {
        let gifts = 2 * OPEN * (POWERS + 1) * 3;
        let mut places: Vec<_> = (0..gifts).map(|gift| place(gift, 2)).collect();
        places.sort_unstable();
        places.dedup();
        assert_eq!(places.len(), gifts as usize);
        let jars: std::collections::BTreeSet<_> = places.iter().map(|(set, jar, _)| (set, jar)).collect();
        assert_eq!(jars.len(), 2 * OPEN as usize * 3);
        assert!(places.iter().all(|(.., power)| *power <= POWERS));
    }
}

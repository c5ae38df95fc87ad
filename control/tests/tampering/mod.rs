//! Ways in which a history may be tampered with, and the walk that is to find each.

use proptest::prelude::*;
use twinset_control::chain::{Hash, Head, Link, Walk};

/// What was done to a history. The numbers choose a record, and what of it.
#[derive(Clone, Copy, Debug)]
pub enum Tampering {
    Byte(usize, usize),
    Hash(usize, usize),
    Drop(usize),
    Twice(usize),
    Swap(usize),
    /// Another record is written and every hash after it made anew.
    Forge(usize, usize),
}

pub fn a_tampering() -> impl Strategy<Value = Tampering> {
    let at = any::<usize>;
    prop_oneof![
        (at(), at()).prop_map(|(which, byte)| Tampering::Byte(which, byte)),
        (at(), at()).prop_map(|(which, byte)| Tampering::Hash(which, byte)),
        at().prop_map(Tampering::Drop),
        at().prop_map(Tampering::Twice),
        at().prop_map(Tampering::Swap),
        (at(), at()).prop_map(|(which, byte)| Tampering::Forge(which, byte)),
    ]
}

/// Does it; gives the number of the first record that is not what it was.
pub fn tamper(history: &mut Vec<Link>, tampering: Tampering) -> u64 {
    let count = history.len();
    let flip = |link: &mut Link, byte: usize| {
        let at = byte % link.record.len();
        link.record[at] ^= 1;
    };
    let place = match tampering {
        Tampering::Byte(which, byte) => {
            flip(&mut history[which % count], byte);
            which % count
        }
        Tampering::Hash(which, byte) => {
            let link = &mut history[which % count];
            let mut bytes = *link.hash.as_bytes();
            bytes[byte % bytes.len()] ^= 1;
            link.hash = Hash::from_bytes(&bytes).expect("as many as there were");
            which % count
        }
        Tampering::Drop(which) => {
            history.remove(which % count);
            which % count
        }
        Tampering::Twice(which) => {
            let again = history[which % count].clone();
            history.insert(which % count + 1, again);
            which % count + 1
        }
        Tampering::Swap(which) => {
            let at = which % (count - 1);
            history.swap(at, at + 1);
            at
        }
        Tampering::Forge(which, byte) => {
            let at = which % count;
            flip(&mut history[at], byte);
            let mut hash =
                at.checked_sub(1).map_or_else(|| Hash::genesis("cluster-1"), |at| history[at].hash);
            for link in &mut history[at..] {
                hash = hash.next(&link.record);
                link.hash = hash;
            }
            at
        }
    };
    place as u64 + 1
}

/// Goes over a whole history: its head, or the number of the record that breaks it.
pub fn walk(history: &[Link]) -> Result<Head, u64> {
    let mut walk = Walk::new("cluster-1", 1);
    history.iter().try_for_each(|link| walk.step(link)).map_err(|_| walk.head().number + 1)?;
    Ok(walk.head())
}

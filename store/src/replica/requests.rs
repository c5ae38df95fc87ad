//! Where request ids were decided: the key, the stored record, and the memory of those since the last checkpoint. The
//! key is a hash, so a hit is only a candidate: the scope is compared with the record's, the request id with the
//! command in the log, and a true collision goes on to the next key.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher, RandomState};

use twinset_ledger::SLOTS;
use twinset_ledger::id::{ID_BYTES_MAX, is_valid, slot_of};
use xxhash_rust::xxh3::{xxh3_64_with_seed, xxh3_128};

use crate::wire::{BadRecord, Fields};

/// Hash bits of a key; the 16 bits above them are the slot of the scope.
const HASH_BITS: u32 = 112;
const HASH_MASK: u128 = (1 << HASH_BITS) - 1;

/// The hash of (scope, request id), without a slot.
pub(crate) fn hash(scope: &str, request_id: &str) -> u128 {
    let mut bytes = [0; 1 + 2 * ID_BYTES_MAX];
    let end = 1 + scope.len() + request_id.len();
    bytes[0] = u8::try_from(scope.len()).expect("ids have at most 64 bytes");
    bytes[1..=scope.len()].copy_from_slice(scope.as_bytes());
    bytes[1 + scope.len()..end].copy_from_slice(request_id.as_bytes());
    xxh3_128(&bytes[..end]) & HASH_MASK
}

/// The slot of a scope: an account's own, or none if it is a transaction, an attempt or a clearing account, which stay with
/// their set when slots move. None of these is spelled like an account.
pub(crate) fn slot(scope: &str) -> u16 {
    if is_valid(scope) { slot_of(scope) } else { SLOTS }
}

/// The key of the `n`-th candidate for a hash in a slot.
pub(crate) fn key(slot: u16, hash: u128, n: u128) -> u128 {
    u128::from(slot) << HASH_BITS | (hash.wrapping_add(n) & HASH_MASK)
}

/// The scope of a remembered request: an account by number, or text that was no account at the time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Scope<'a> {
    /// An account.
    Account(u32),
    /// An account that was not open, or a transaction.
    Text(&'a str),
}

const TEXT: u32 = u32::MAX;

/// Stores where a request was decided.
pub(crate) fn encode(position: u64, scope: &Scope<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(&position.to_le_bytes());
    match scope {
        Scope::Account(no) => out.extend_from_slice(&no.to_le_bytes()),
        Scope::Text(text) => {
            out.extend_from_slice(&TEXT.to_le_bytes());
            out.extend_from_slice(text.as_bytes());
        }
    }
}

/// Reads where a request was decided.
pub(crate) fn decode(bytes: &[u8]) -> Result<(u64, Scope<'_>), BadRecord> {
    let mut fields = Fields::new(bytes);
    let position = fields.u64()?;
    let no = fields.u32()?;
    if no == TEXT {
        let text = std::str::from_utf8(fields.rest()).map_err(|_| BadRecord::Text { field: "scope" })?;
        return Ok((position, Scope::Text(text)));
    }
    fields.end()?;
    Ok((position, Scope::Account(no)))
}

/// The requests since a checkpoint.
pub(crate) struct Requests {
    items: HashMap<u128, Item, Seed>,
    /// Scopes that are text, one behind the other, each after a byte that says how long it is.
    texts: Vec<u8>,
}

#[derive(Clone, Copy)]
struct Item {
    position: u64,
    /// An account number; from `TEXT_BASE` on, a place in `texts`.
    scope: u32,
}

/// Accounts of a set stay below this number.
const TEXT_BASE: u32 = 1 << 31;

impl Requests {
    pub(crate) fn with_capacity(count: usize) -> Requests {
        Requests { items: HashMap::with_capacity_and_hasher(count, Seed::random()), texts: Vec::new() }
    }

    /// Empty, with the room that it has.
    pub(crate) fn emptied(mut self) -> Requests {
        self.items.clear();
        self.texts.clear();
        self
    }

    pub(crate) fn len(&self) -> usize {
        self.items.len()
    }

    /// How many it has room for.
    pub(crate) fn capacity(&self) -> usize {
        self.items.capacity()
    }

    pub(crate) fn insert(&mut self, key: u128, position: u64, scope: &Scope<'_>) {
        let scope = match scope {
            Scope::Account(no) => {
                assert!(*no < TEXT_BASE, "a set has fewer than two thousand million accounts");
                *no
            }
            Scope::Text(text) => {
                let at = u32::try_from(self.texts.len()).ok().and_then(|at| TEXT_BASE.checked_add(at));
                self.texts.push(u8::try_from(text.len()).expect("ids have at most 64 bytes"));
                self.texts.extend_from_slice(text.as_bytes());
                at.expect("a checkpoint comes long before two thousand million bytes of scopes")
            }
        };
        self.items.insert(key, Item { position, scope });
    }

    pub(crate) fn get(&self, key: u128) -> Option<(u64, Scope<'_>)> {
        self.items.get(&key).map(|item| self.open(item))
    }

    /// All in the order of their keys. The items are sorted, not the keys alone: there are many, and looking each up again would
    /// miss the cache.
    pub(crate) fn sorted(&self) -> impl Iterator<Item = (u128, u64, Scope<'_>)> {
        let mut items: Vec<(u128, Item)> = self.items.iter().map(|(key, item)| (*key, *item)).collect();
        items.sort_unstable_by_key(|(key, _)| *key);
        items.into_iter().map(|(key, item)| {
            let (position, scope) = self.open(&item);
            (key, position, scope)
        })
    }

    fn open(&self, item: &Item) -> (u64, Scope<'_>) {
        let scope = match item.scope.checked_sub(TEXT_BASE) {
            None => Scope::Account(item.scope),
            Some(at) => {
                let (length, rest) = self.texts[at as usize..].split_first().expect("a length stands there");
                let text = std::str::from_utf8(&rest[..usize::from(*length)]);
                Scope::Text(text.expect("it was put there as text"))
            }
        };
        (item.position, scope)
    }
}

/// A fast keyed hash for maps in memory: clients choose the ids, so it is seeded afresh in every process.
#[derive(Clone, Copy)]
pub(crate) struct Seed(u64);

/// The hasher of [`Seed`].
pub(crate) struct Mixer(u64);

impl Seed {
    pub(crate) fn random() -> Seed {
        Seed(RandomState::new().hash_one(0u8))
    }
}

impl BuildHasher for Seed {
    type Hasher = Mixer;

    fn build_hasher(&self) -> Mixer {
        Mixer(self.0)
    }
}

impl Hasher for Mixer {
    fn write(&mut self, bytes: &[u8]) {
        self.0 = xxh3_64_with_seed(bytes, self.0);
    }

    fn write_u8(&mut self, _: u8) {
        // The end mark of a text: nothing else follows it here.
    }

    fn write_u128(&mut self, value: u128) {
        // The value is a hash already; the seed keeps its place in a map unpredictable.
        let folded = (value as u64) ^ ((value >> 64) as u64) ^ self.0;
        self.0 ^= folded.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_hold_slot_and_hash() {
        let hash = hash("a", "bc");
        assert_ne!(hash, super::hash("ab", "c"));
        assert!(hash < 1 << HASH_BITS);
        assert_eq!(key(4095, hash, 0) >> HASH_BITS, 4095);
        assert_eq!(slot("a"), slot_of("a"));
        for other in ["@1-1-7-0", "~1-1-7-0", "@clearing-1:EUR"] {
            assert_eq!(slot(other), 4096, "no account that a client can name is in slot 4096");
        }
        assert_eq!(key(1, HASH_MASK, 1), 1 << HASH_BITS, "the next key stays in the slot");
    }

    #[test]
    fn records_come_back_and_bad_lengths_are_refused() {
        for scope in [Scope::Account(7), Scope::Text(""), Scope::Text("nobody")] {
            let mut out = Vec::new();
            encode(1 << 40, &scope, &mut out);
            assert_eq!(decode(&out), Ok((1 << 40, scope)));
            for cut in 0..12 {
                assert!(decode(&out[..cut]).is_err());
            }
        }
        let mut out = Vec::new();
        encode(1, &Scope::Account(2), &mut out);
        assert_eq!(out, [1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0]);
        out.push(0);
        assert_eq!(decode(&out), Err(BadRecord::Trailing { count: 1 }));
    }

    #[test]
    fn memory_gives_back_what_it_was_given() {
        let mut requests = Requests::with_capacity(0);
        requests.insert(5, 50, &Scope::Account(1));
        requests.insert(3, 30, &Scope::Text("x"));
        requests.insert(4, 40, &Scope::Text("y"));
        assert_eq!(requests.get(5), Some((50, Scope::Account(1))));
        assert_eq!(requests.get(4), Some((40, Scope::Text("y"))));
        assert_eq!(requests.get(6), None);
        let all: Vec<_> = requests.sorted().collect();
        assert_eq!(all, [(3, 30, Scope::Text("x")), (4, 40, Scope::Text("y")), (5, 50, Scope::Account(1))]);
        drop(all);
        let mut requests = requests.emptied();
        assert_eq!((requests.len(), requests.get(4)), (0, None));
        requests.insert(4, 41, &Scope::Text("z"));
        assert_eq!(requests.get(4), Some((41, Scope::Text("z"))));
    }
}

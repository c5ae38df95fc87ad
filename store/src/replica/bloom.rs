//! A Bloom filter of request keys that grows: it says "never seen" for nearly every new request id with one cache miss,
//! so that the database is asked only for what is probably there. Never the last word: a "maybe" is looked up.
//!
//! Layers of doubling size; in each, a key sets one bit in each of the eight words of one 64-byte block, at 16 bits of
//! memory per key.

const BITS_PER_KEY: usize = 16;
const BLOCK_BITS: usize = 512;
const FIRST_LAYER_KEYS: usize = 1 << 15;

type Block = [u64; 8];

/// The filter.
pub(crate) struct Bloom {
    layers: Vec<Layer>,
}

struct Layer {
    blocks: Vec<Block>,
    keys: usize,
    keys_max: usize,
}

impl Bloom {
    /// A filter that expects about `keys`.
    pub(crate) fn with_capacity(keys: usize) -> Bloom {
        Bloom { layers: vec![Layer::new(keys.max(FIRST_LAYER_KEYS))] }
    }

    /// Adds a key.
    pub(crate) fn insert(&mut self, key: u128) {
        let last = self.layers.last_mut().expect("there is always a layer");
        last.insert(key);
        if last.keys == last.keys_max {
            let larger = last.keys_max * 2;
            self.layers.push(Layer::new(larger));
        }
    }

    /// False: the key was never added. True: it may have been.
    pub(crate) fn may_contain(&self, key: u128) -> bool {
        // The newest layer is the largest.
        self.layers.iter().rev().any(|layer| layer.may_contain(key))
    }
}

impl Layer {
    fn new(keys_max: usize) -> Layer {
        let blocks = (keys_max * BITS_PER_KEY).div_ceil(BLOCK_BITS);
        Layer { blocks: vec![[0; 8]; blocks], keys: 0, keys_max }
    }

    fn insert(&mut self, key: u128) {
        let at = self.block(key);
        for (word, bit) in self.blocks[at].iter_mut().zip(bits(key)) {
            *word |= bit;
        }
        self.keys += 1;
    }

    fn may_contain(&self, key: u128) -> bool {
        self.blocks[self.block(key)].iter().zip(bits(key)).all(|(word, bit)| word & bit != 0)
    }

    fn block(&self, key: u128) -> usize {
        // The lower half of the key, scaled to the number of blocks.
        ((u128::from(key as u64) * self.blocks.len() as u128) >> 64) as usize
    }
}

/// One bit for each word, from the 48 hash bits above the lower half of the key.
fn bits(key: u128) -> impl Iterator<Item = u64> {
    let upper = (key >> 64) as u64;
    (0..8).map(move |word| 1 << ((upper >> (6 * word)) & 63))
}

#[cfg(test)]
mod tests {
    use xxhash_rust::xxh3::xxh3_128;

    use super::*;

    #[test]
    fn no_key_is_forgotten_and_few_are_invented() {
        let key = |n: u64| xxh3_128(&n.to_le_bytes());
        let mut bloom = Bloom::with_capacity(0);
        let count = 300_000;
        for n in 0..count {
            bloom.insert(key(n));
        }
        assert!(bloom.layers.len() > 2);
        assert!((0..count).all(|n| bloom.may_contain(key(n))));
        let invented = (count..2 * count).filter(|&n| bloom.may_contain(key(n))).count();
        assert!(invented < count as usize / 100, "{invented}");
    }
}

//! Cheap randomness for traffic: which account, which amount, which request id. Seeded from the system; not for secrets.

use uuid::Uuid;

/// SplitMix64.
pub struct Random(u64);

impl Default for Random {
    fn default() -> Self {
        Random::new()
    }
}

impl Random {
    /// Seeded from the system.
    pub fn new() -> Self {
        Random(Uuid::new_v4().as_u64_pair().0)
    }

    /// Repeats the same sequence for the same seed.
    pub fn seeded(seed: u64) -> Self {
        Random(seed)
    }

    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`, which is not 0.
    pub fn below(&mut self, bound: usize) -> usize {
        let wide = u128::from(self.bits()) * (bound as u128);
        (wide >> 64) as usize
    }

    /// A request id that nobody has used: a version 4 UUID.
    pub fn request_id(&mut self) -> Uuid {
        let bits = (u128::from(self.bits()) << 64) | u128::from(self.bits());
        uuid::Builder::from_random_bytes(bits.to_be_bytes()).into_uuid()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stay_below_their_bound_and_reach_all_of_it() {
        let mut random = Random::seeded(1);
        let mut seen = [false; 5];
        for _ in 0..200 {
            seen[random.below(5)] = true;
        }
        assert_eq!(seen, [true; 5]);
    }

    #[test]
    fn request_ids_are_version_4() {
        assert_eq!(Random::seeded(7).request_id().get_version_num(), 4);
    }
}

//! What a power cut leaves of the bytes of one file. Pure: the choices come from the seed.

use twinset_tools::load::random::Random;

/// What a disk writes whole or not at all.
const SECTOR: usize = 512;
/// What the kernel hands to the disk at once; in which order is its own affair.
const PAGE: usize = 4096;

/// What is left of a file that only grows. What a sync has covered stays; of the rest a part may have reached the disk: it may
/// end anywhere, and with `zeros`, it may have them at its end, where the length was written and the bytes were not, or
/// lack whole pages. What is missing at an end begins where the last sync ended, or with a sector.
pub fn tail(mut bytes: Vec<u8>, covered: usize, zeros: bool, random: &mut Random) -> Vec<u8> {
    let Some(open) = bytes.len().checked_sub(covered).filter(|open| *open > 0) else { return bytes };
    let from = covered + random.below(open + 1);
    let to = from + random.below(bytes.len() - from + 1);
    match (random.below(5), zeros) {
        (0, _) => bytes.truncate(covered),
        (1, _) | (2, false) => bytes.truncate(from),
        (2, true) => {
            let begin = (from / SECTOR * SECTOR).max(covered);
            bytes[begin..to].fill(0);
            bytes.truncate(to);
        }
        (3, true) => {
            let (begin, end) = (from / PAGE * PAGE, to.next_multiple_of(PAGE).min(bytes.len()));
            bytes[begin.max(covered)..end].fill(0);
        }
        _ => {}
    }
    bytes
}

/// What is left of a file that is written in place: each sector as it was synced, or as it is now.
pub fn in_place(now: &[u8], synced: &[u8], random: &mut Random) -> Vec<u8> {
    let mut left = synced.to_vec();
    left.resize(now.len().max(synced.len()), 0);
    for (number, sector) in now.chunks(SECTOR).enumerate() {
        let begin = number * SECTOR;
        if left[begin..begin + sector.len()] != *sector && random.below(2) == 0 {
            left[begin..begin + sector.len()].copy_from_slice(sector);
        }
    }
    left
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_covered_stays_and_all_ends_of_a_tail_happen() {
        let bytes: Vec<u8> = (1..=100).collect();
        let (mut cut, mut torn, mut zeros, mut whole) = (0, 0, 0, 0);
        for seed in 0..200 {
            let left = tail(bytes.clone(), 60, true, &mut Random::seeded(seed));
            assert_eq!(left[..60], bytes[..60]);
            assert!(left.iter().zip(&bytes).all(|(left, byte)| left == byte || *left == 0));
            assert_eq!(left, tail(bytes.clone(), 60, true, &mut Random::seeded(seed)));
            cut += u32::from(left.len() == 60);
            whole += u32::from(left == bytes);
            torn += u32::from(left.len() > 60 && left.len() < 100);
            zeros += u32::from(left.contains(&0));
        }
        for seed in 0..200 {
            assert!(!tail(bytes.clone(), 60, false, &mut Random::seeded(seed)).contains(&0));
        }
        assert!(cut > 10 && torn > 10 && zeros > 10 && whole > 10, "{cut} {torn} {zeros} {whole}");
        assert_eq!(tail(bytes.clone(), 100, true, &mut Random::seeded(1)), bytes);
        assert_eq!(tail(bytes.clone(), 300, true, &mut Random::seeded(1)), bytes);
    }

    #[test]
    fn what_is_missing_before_something_that_is_there_is_whole_pages() {
        let bytes = vec![1; 5 * PAGE];
        let mut holes = 0;
        for seed in 0..200 {
            let left = tail(bytes.clone(), 100, true, &mut Random::seeded(seed));
            let zeros = left.iter().filter(|byte| **byte == 0).count();
            if left.last() == Some(&1) && zeros > 0 {
                holes += 1;
                let first = left.iter().position(|byte| *byte == 0).unwrap_or_default();
                assert!(first == 100 || first % PAGE == 0, "seed {seed}: {first}");
                assert_eq!((first + zeros) % PAGE, 0, "seed {seed}");
            }
        }
        assert!(holes > 5, "{holes}");
    }

    #[test]
    fn a_sector_is_old_or_new() {
        let (synced, mut now) = (vec![1; 3 * SECTOR], vec![1; 3 * SECTOR]);
        now[SECTOR] = 2;
        now[2 * SECTOR] = 3;
        let seen: std::collections::BTreeSet<Vec<u8>> =
            (0..50).map(|seed| in_place(&now, &synced, &mut Random::seeded(seed))).collect();
        assert_eq!(seen.len(), 4);
        assert!(seen.iter().all(|left| left[..SECTOR] == synced[..SECTOR]));
    }
}

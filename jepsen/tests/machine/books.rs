//! What a power cut leaves of what the tiny program did: always what was synced, and sooner or later everything else that
//! could be.

use std::collections::BTreeSet;

use twinset_jepsen::preload::image::{self, Unsynced};
use twinset_jepsen::preload::layout::Word;

use crate::program::Bench;

const SEEDS: u64 = 40;

/// What the files `names` are after a cut, for each of many seeds; None for a file that is gone.
fn left(acts: &str, lie: bool, names: &[&str]) -> BTreeSet<Vec<Option<String>>> {
    let of = |seed| {
        let bench = Bench::new();
        bench.machine.control.set(Word::Lie, u64::from(lie)).unwrap();
        let said = bench.run(acts);
        assert!(said.iter().all(|said| said == "done"), "{said:?}");
        let before: Vec<Option<Vec<u8>>> = names.iter().map(|name| bench.read(name)).collect();
        let lost = image::cut_power(&bench.machine, seed, Unsynced::Drawn).unwrap();
        let after: Vec<Option<Vec<u8>>> = names.iter().map(|name| bench.read(name)).collect();
        assert!(before == after || lost.anything(), "seed {seed}: {lost:?}");
        // What is left is on disk: a second cut takes nothing.
        assert!(!image::cut_power(&bench.machine, seed + 1, Unsynced::Drawn).unwrap().anything());
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap().replace('\0', "0");
        after.into_iter().map(|bytes| bytes.map(text)).collect::<Vec<_>>()
    };
    (0..SEEDS).map(of).collect()
}

fn one(name: &str) -> Option<String> {
    Some(name.to_owned())
}

#[test]
fn what_was_synced_stays_whatever_the_seed() {
    let acts = "open a; write a hello; mkdir d; open d/b; write d/b there; sync a; datasync d/b; syncdir .; syncdir d";
    assert_eq!(left(acts, false, &["a", "d/b"]), BTreeSet::from([vec![one("hello"), one("there")]]));
}

#[test]
fn the_end_that_was_not_synced_is_lost_torn_zeroed_or_there() {
    let seen = left("open a; write a hello; sync a; syncdir .; write a there", false, &["a"]);
    let seen: Vec<String> = seen.into_iter().map(|left| left[0].clone().unwrap()).collect();
    assert!(seen.iter().all(|text| text.starts_with("hello")), "{seen:?}");
    let any = |wanted: fn(&str) -> bool| seen.iter().any(|text| wanted(text));
    assert!(any(|text| text == "hello") && any(|text| text == "hellothere"), "{seen:?}");
    assert!(any(|text| text.contains('0')), "{seen:?}");
    assert!(any(|text| (6..10).contains(&text.len()) && !text.contains('0')), "{seen:?}");
}

#[test]
fn a_name_that_was_not_synced_may_be_gone_though_its_bytes_were() {
    let seen = left("open a; write a hello; sync a", false, &["a"]);
    assert_eq!(seen, BTreeSet::from([vec![None], vec![one("hello")]]));
}

#[test]
fn a_replaced_file_is_the_old_or_the_new_one() {
    let acts = "open a; write a old; sync a; syncdir .; open b; write b new; sync b; rename b a";
    let seen = left(acts, false, &["a", "b"]);
    let wanted = [vec![one("old"), None], vec![one("old"), one("new")], vec![one("new"), None]];
    assert_eq!(seen, BTreeSet::from(wanted));
    let synced = left(&format!("{acts}; syncdir ."), false, &["a", "b"]);
    assert_eq!(synced, BTreeSet::from([vec![one("new"), None]]));
}

#[test]
fn a_removed_file_may_come_back_until_its_directory_is_synced() {
    let acts = "open a; write a hello; sync a; syncdir .; unlink a";
    assert_eq!(left(acts, false, &["a"]), BTreeSet::from([vec![None], vec![one("hello")]]));
    assert_eq!(left(&format!("{acts}; syncdir ."), false, &["a"]), BTreeSet::from([vec![None]]));
}

#[test]
fn a_file_written_in_place_is_as_synced_or_as_now() {
    let acts = "open a; pwrite a 0 one; sync a; syncdir .; pwrite a 0 two; pwrite a 0 six";
    assert_eq!(left(acts, false, &["a"]), BTreeSet::from([vec![one("one")], vec![one("six")]]));
}

#[test]
fn a_sync_that_lied_covers_nothing() {
    let seen = left("open a; write a hello; sync a; syncdir .", true, &["a"]);
    assert!(seen.contains(&vec![None]) && seen.contains(&vec![one("")]), "{seen:?}");
}

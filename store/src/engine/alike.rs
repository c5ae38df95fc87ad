//! Both floors side by side, record by record: whatever is written, deleted and taken over in any order, cursors and views
//! go the same way over it. The scripts of whole stores are in `tests/differential.rs`.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::collection::{btree_map, vec};
use proptest::prelude::*;

use super::files::Builder;
use super::{Cursor, Engine, View};
use crate::disk::SimDisk;
use crate::options::Options;
use crate::table::Table;

type Key = Vec<u8>;

#[derive(Clone, Debug)]
enum Edit {
    Put(Key, u8),
    Delete(Key),
    DeleteRange(Key, Key),
}

#[derive(Clone, Debug)]
enum Move {
    Seek(Key),
    Last,
    Next,
    Prev,
}

#[derive(Clone, Debug)]
enum Step {
    Write(Vec<(Table, Edit)>),
    Ingest(Table, BTreeMap<Key, u8>),
    Get(Table, Key),
    Walk(Table, Key, Vec<Move>),
    /// A view and a cursor are opened, then something is written, then they are asked.
    Look(Vec<(Table, Edit)>, Table, Key, Vec<Move>),
}

/// Few keys, with all kinds of order between them.
fn key() -> impl Strategy<Value = Key> {
    vec(prop::sample::select(vec![0u8, 1, 128, 255]), 1..4)
}

fn table() -> impl Strategy<Value = Table> {
    prop::sample::select(vec![Table::Log, Table::Meta, Table::Request])
}

fn edits() -> impl Strategy<Value = Vec<(Table, Edit)>> {
    let edit = prop_oneof![
        4 => (key(), any::<u8>()).prop_map(|(key, value)| Edit::Put(key, value)),
        1 => key().prop_map(Edit::Delete),
        1 => (key(), key()).prop_map(|(a, b)| Edit::DeleteRange(a.clone().min(b.clone()), a.max(b))),
    ];
    vec((table(), edit), 1..8)
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let one = prop_oneof![key().prop_map(Move::Seek), Just(Move::Last), Just(Move::Next), Just(Move::Prev)];
    vec(one, 1..12)
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => edits().prop_map(Step::Write),
        1 => (table(), btree_map(key(), any::<u8>(), 1..6)).prop_map(|(table, file)| Step::Ingest(table, file)),
        2 => (table(), key()).prop_map(|(table, key)| Step::Get(table, key)),
        3 => (table(), key(), moves()).prop_map(|(table, to, moves)| Step::Walk(table, to, moves)),
        2 => (edits(), table(), key(), moves())
            .prop_map(|(edits, table, to, moves)| Step::Look(edits, table, to, moves)),
    ]
}

fn write(engine: &Engine, edits: &[(Table, Edit)]) {
    let mut batch = engine.batch();
    assert!(batch.is_empty());
    for (table, edit) in edits {
        match edit {
            Edit::Put(key, value) => batch.put(*table, key, &[*value]),
            Edit::Delete(key) => batch.delete(*table, key),
            Edit::DeleteRange(from, to) => batch.delete_range(*table, from, to),
        }
    }
    engine.write(batch).unwrap();
}

fn walk(mut cursor: Cursor<'_>, moves: &[Move]) -> Vec<Option<(Key, Vec<u8>)>> {
    let stands = |cursor: &Cursor<'_>| {
        assert_eq!(cursor.valid(), cursor.key().is_some());
        cursor.ended().unwrap();
        cursor.item().map(|(key, value)| (key.to_vec(), value.to_vec()))
    };
    let go = |step: &Move| {
        match step {
            Move::Seek(key) => cursor.seek(key),
            Move::Last => cursor.seek_to_last(),
            Move::Next => cursor.next(),
            Move::Prev => cursor.prev(),
        }
        stands(&cursor)
    };
    moves.iter().map(go).collect()
}

/// What a step shows.
fn take(engine: &Arc<Engine>, step: &Step) -> Vec<Option<(Key, Vec<u8>)>> {
    match step {
        Step::Write(edits) => write(engine, edits),
        Step::Ingest(table, file) => {
            let mut builder = Builder::new(engine, *table);
            for (key, value) in file {
                builder.put(key, &[*value]).unwrap();
            }
            builder.finish().unwrap().ingest(engine, *table).unwrap();
        }
        Step::Get(table, key) => {
            let value = engine.get(*table, key).unwrap();
            return vec![value.map(|value| (key.clone(), value.to_vec()))];
        }
        Step::Walk(table, to, moves) => return walk(engine.cursor(*table, to).unwrap(), moves),
        Step::Look(edits, table, to, moves) => {
            let (view, cursor): (View<'_>, _) = (engine.view(), engine.cursor(*table, to).unwrap());
            write(engine, edits);
            return [walk(view.cursor(*table, to), moves), walk(cursor, moves)].concat();
        }
    }
    Vec::new()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn both_floors_show_the_same_records(steps in vec(step(), 1..60)) {
        let (dir, disk) = (tempfile::tempdir().unwrap(), SimDisk::new("a1"));
        let real = Arc::new(Engine::open(dir.path(), &Options::default()).unwrap());
        let sim = Arc::new(Engine::simulated(&disk, &Options::default()).unwrap());
        for (at, step) in steps.iter().enumerate() {
            prop_assert_eq!(take(&real, step), take(&sim, step), "step {}: {:?}", at, step);
        }
        prop_assert_eq!(real.written(), sim.written());
    }
}

#[test]
fn records_out_of_order_are_refused_by_both() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), SimDisk::new("a1"));
    let real = Arc::new(Engine::open(dir.path(), &Options::default()).unwrap());
    let sim = Arc::new(Engine::simulated(&disk, &Options::default()).unwrap());
    for engine in [real, sim] {
        let mut builder = Builder::new(&engine, Table::Request);
        builder.put(b"b", b"1").unwrap();
        for key in [b"a", b"b"] {
            let refused = builder.put(key, b"2");
            assert!(
                matches!(refused, Err(crate::Fault::Disk { operation: "build a file", .. })),
                "{refused:?}"
            );
        }
    }
}

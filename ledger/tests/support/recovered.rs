//! The laws of a recovery that loses entries which others have seen: histories of three sets stop anywhere, a set loses the end
//! of its log, is brought together with the others, and all that is under way ends. It happens to a second set, then, and to a third.

use proptest::collection::vec;
use proptest::prelude::*;

use crate::world::{Action, World};
use crate::{History, config, history, set};

/// Who loses how many entries, and what happens before the next does.
type Losses = Vec<(u32, usize, Vec<Action>)>;

fn losses() -> impl Strategy<Value = Losses> {
    let lost = prop_oneof![6 => 1usize..8, 2 => 8usize..40, 1 => Just(1_000)];
    vec((set(), lost, vec(between_leaders(), 0..30)), 1..4)
}

/// What happens without clients.
fn between_leaders() -> impl Strategy<Value = Action> {
    use crate::world::Fate;
    use proptest::sample::Index;
    prop_oneof![
        48 => (any::<Index>()).prop_map(|at| Action::Deliver(at, Fate::Once)),
        4 => set().prop_map(Action::Resend),
        3 => set().prop_map(Action::Crash),
        36 => set().prop_map(|set| Action::Entry(set, 0, false)),
    ]
}

fn run((openings, actions, _): &History, losses: &Losses) -> World {
    let mut world = World::new(openings);
    actions.iter().for_each(|action| world.act(action));
    for (set, lost, then) in losses {
        world.lose(*set, *lost);
        then.iter().for_each(|action| world.act(action));
    }
    world.end_all();
    world.check_after_loss();
    world
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn what_others_have_seen_is_not_lost(history in history(), losses in losses()) {
        run(&history, &losses).check_again();
    }
}

#[test]
fn losses_reach_all_of_it() {
    crate::tally::assert_seen(
        600,
        (history(), losses()),
        |(history, losses)| run(history, losses).seen,
        &[
            ("lost and given up", 20),
            ("lost and booked", 10),
            ("decided as another has booked", 5),
            ("restored", 10),
            ("restored on a recovery account", 1),
            ("lost parcels", 10),
            ("sent again", 10),
        ],
    );
}

//! The laws of a recovery that loses entries which others have seen: histories of three sets stop anywhere, a set loses the end
//! of its log, is brought together with the others, and all that is under way ends. It happens to a second set, then, and to a third.

use proptest::collection::vec;
use proptest::prelude::*;
use rust_decimal::Decimal;

use crate::world::{Action, Ask, World};
use crate::{History, config, history, set};

/// Thousands of such payments have room.
const MOST: Decimal = Decimal::ONE_THOUSAND;

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

/// What no account has room for stays open when it is lost (ADR 30): here nobody pays that much.
fn modest(action: &Action) -> Action {
    let mut action = action.clone();
    let asks = match &mut action {
        Action::Ask(ask, _) => std::slice::from_mut(&mut **ask),
        Action::Together(_, asks) => asks.as_mut_slice(),
        _ => &mut [],
    };
    for ask in asks {
        if let Ask::Transaction { legs, .. } = ask {
            legs.iter_mut().for_each(|(.., amount)| *amount = (*amount).min(MOST));
        }
    }
    action
}

fn run((openings, actions, _): &History, losses: &Losses) -> World {
    let mut world = World::new(openings);
    actions.iter().for_each(|action| world.act(&modest(action)));
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

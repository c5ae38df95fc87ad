//! Which sets were moved while a drill ran, phase by phase: asked of every node in the end, since each remembers what it led. One
//! that died since has nothing to say of it.

use futures::future::join_all;
use twinset_proto::cluster::v1 as wire;

use super::record::{Move, Phase};
use crate::cluster::admin::{self, Survey};

/// In the order in which they began.
pub(super) async fn since(survey: &Survey, unix_ms: u64) -> Vec<Move> {
    let told = join_all(survey.answers.keys().map(|addr| admin::moves(addr, unix_ms))).await;
    let told = told.into_iter().filter_map(Result::ok).flat_map(|reply| reply.moves);
    let mut moves: Vec<Move> = told.map(|one| of(one, unix_ms)).collect();
    moves.sort_by_key(|one| (one.at_ms, one.set));
    moves
}

fn of(told: wire::Move, since_unix_ms: u64) -> Move {
    Move {
        set: told.set,
        to: told.to_site,
        plan: Some(told.plan).filter(|plan| *plan != 0),
        at_ms: told.began_unix_ms.saturating_sub(since_unix_ms),
        paused_ms: told.phases.last().map_or(0.0, |end| end.pause_us as f64 / 1e3),
        phases: told.phases.into_iter().map(Phase::from).collect(),
    }
}

impl From<wire::SwitchProgress> for Phase {
    fn from(told: wire::SwitchProgress) -> Phase {
        Phase { name: told.phase, detail: told.detail, at_ms: told.elapsed_us as f64 / 1e3 }
    }
}

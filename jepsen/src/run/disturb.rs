//! The faults of a run, one after the other: drawn from the seed or as a script has them, each on a cluster that is whole. What
//! the processes say in their logs is laid to the fault that was done last.

use std::time::Duration;

use tokio::time::Instant;
use twinset_tools::load::random::Random;
use twinset_tools::out;

use super::Until;
use super::opening::Opened;
use crate::history::Phase;
use crate::play::nemeses::{Nemesis, Scene};
use crate::{death, play, wait};

/// The cluster works undisturbed between faults for up to so long.
const CALM_MS: usize = 1_500;
/// Clients go on for so long after the last fault.
const HEALED: Duration = Duration::from_secs(4);
/// How often it is looked whether a run without faults is over.
const LOOK: Duration = Duration::from_millis(250);

/// Draws each nemesis once, in any order, and then each once more, and so on.
struct Drawn<'a> {
    random: Random,
    nemeses: &'a [&'static Nemesis],
    left: Vec<&'static Nemesis>,
}

impl Drawn<'_> {
    fn next(&mut self) -> &'static Nemesis {
        if self.left.is_empty() {
            self.left = self.nemeses.to_vec();
        }
        self.left.swap_remove(self.random.below(self.left.len()))
    }
}

/// One fault after the other, then calm. An error: one could not be played, or the cluster did not heal.
pub async fn disturb(
    opened: &mut Opened,
    nemeses: &[&'static Nemesis],
    seed: u64,
    until: &Until,
    narrate: &mut dyn FnMut(&str),
) -> anyhow::Result<()> {
    let mut drawn = Drawn { random: Random::seeded(seed), nemeses, left: Vec::new() };
    let (mut players, mut last, mut number, began) = (play::players(), None, 0, Instant::now());
    let (_, length, unit) = until.progress(Duration::ZERO, 0);
    let bar = out::bar(length, unit);
    while !until.is_over(began.elapsed(), number) {
        bar.set_position(until.progress(began.elapsed(), number).0);
        bar.set_message(format!("{} operations, {number} faults", opened.recorder.ops()));
        let scripted = until.scripted(number);
        if scripted.is_none() && (nemeses.is_empty() || matches!(until, Until::Script(..))) {
            tokio::time::sleep(LOOK).await;
            continue;
        }
        tokio::time::sleep(Duration::from_millis(drawn.random.below(CALM_MS) as u64)).await;
        let survey = wait::in_sync(opened.stage.cluster.layout()).await?;
        opened.listen(last.as_ref())?;
        let fault = match scripted {
            Some(fault) => fault.clone(),
            None => {
                let (layout, sets) = (opened.stage.cluster.layout(), opened.stage.sets.as_slice());
                let scene = Scene { layout, sets, survey: &survey, workloads: &opened.workloads };
                (drawn.next().draw)(&mut drawn.random, &scene)
            }
        };
        number += 1;
        let fault_began = Instant::now();
        let evidence = play::play(&mut opened.stage, &mut players, &fault, &opened.recorder).await;
        let evidence = evidence.map_err(|error| error.context(format!("fault {number}: {fault:?}")))?;
        narrate(&format!(
            "fault {number}, {} ms: {fault:?}: {}",
            fault_began.elapsed().as_millis(),
            evidence.detail
        ));
        for name in death::missing(&opened.stage.cluster)? {
            opened.recorder.note(format!("{name} died by itself around fault {number}"));
        }
        last = Some(fault);
    }
    bar.finish_and_clear();
    opened.recorder.phase(Phase::Healed);
    tokio::time::sleep(HEALED).await;
    opened.listen(last.as_ref())
}

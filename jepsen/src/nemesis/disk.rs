//! Faults of a disk: a sync that fails, a disk that is full, a disk that is slow. The first two stop the node, which says
//! why; it is started again when the fault is over. The third only slows. Waiting until the cluster is whole again, and
//! judging the books, are the caller's.

use futures::future::LocalBoxFuture;
use twinset_tools::cluster::layout::{Kind, Layout};
use twinset_tools::cluster::{LocalCluster, process::Pid};
use twinset_tools::load::random::Random;

use super::{Evidence, Fault};
use crate::logs::Allowed;
use crate::preload::layout::Word;
use crate::preload::{Machines, ending};

/// What a node may say of these faults.
pub const ALLOWED: &[Allowed] = &[
    Allowed { part: "the store stops", why: "a write or a sync failed: nobody can know what is on disk" },
    Allowed { part: "sync failed", why: "the syncer has met the fault" },
    Allowed {
        part: "this node cannot go on without risking a wrong answer",
        why: "so it stops and says why",
    },
    Allowed {
        part: "stopped by an earlier fault",
        why: "what comes after the first fault is its consequence",
    },
    Allowed { part: "the disk is full", why: "that is the fault" },
    Allowed { part: "a checkpoint failed", why: "the fault hit a file of a checkpoint" },
    Allowed {
        part: "a file that a failed sync had cost the database is back",
        why: "the fault hit the list of files when a built one was taken over",
    },
    Allowed { part: "a file that is not needed stays behind", why: "it was built when the fault came" },
];

/// A fault that acts.
#[derive(Debug)]
pub struct Acting {
    fault: Fault,
    victim: String,
    pid: Pid,
    /// Failed or delayed syncs or refused writes before it.
    before: u64,
    log_from: u64,
}

/// Draws a fault of one disk. Not of the arbiter's: it has nothing to write for as long as nothing is planned.
pub fn draw(random: &mut Random, layout: &Layout) -> Fault {
    let nodes = layout.nodes().filter(|node| node.kind == Kind::Node);
    let nodes: Vec<&str> = nodes.map(|node| node.name.as_str()).collect();
    let victim = nodes[random.below(nodes.len())].to_owned();
    let mut ms = |least: usize, most: usize| (least + random.below(most - least)) as u64;
    let (down_ms, for_ms, by_ms) = (ms(0, 1_500), ms(500, 3_000), ms(2, 120));
    match random.below(3) {
        0 => Fault::FsyncError { victim, down_ms },
        1 => Fault::DiskFull { victim, for_ms },
        _ => Fault::SlowDisk { victim, by_ms, for_ms },
    }
}

/// Lets a fault of this file begin. `for_ms` and `down_ms` are the caller's to wait before it heals.
pub fn inject(cluster: &LocalCluster, machines: &Machines, fault: &Fault) -> anyhow::Result<Acting> {
    let (victim, word, value) = match fault {
        Fault::FsyncError { victim, .. } => (victim, Word::FailSyncs, 1),
        Fault::DiskFull { victim, .. } => (victim, Word::DiskFull, 1),
        Fault::SlowDisk { victim, by_ms, .. } => (victim, Word::SyncDelayUs, by_ms.saturating_mul(1_000)),
        other => anyhow::bail!("{other:?} is no fault of a disk"),
    };
    let control = &machines.of(victim)?.control;
    let acting = Acting {
        fault: fault.clone(),
        victim: victim.clone(),
        pid: ending::pid(cluster, victim)?,
        before: seen(machines, victim, fault)?,
        log_from: ending::log_end(cluster, victim),
    };
    control.set(word, value)?;
    Ok(acting)
}

/// Ends the fault and says what was seen of it. A node whose sync failed or whose disk was full must have stopped itself,
/// or must do it now; it is started again. An error: it did not, or did not say why.
pub fn heal<'a>(
    cluster: &'a mut LocalCluster,
    machines: &'a Machines,
    acting: Acting,
) -> LocalBoxFuture<'a, anyhow::Result<Evidence>> {
    Box::pin(async move {
        let Acting { fault, victim, pid, before, log_from } = acting;
        let control = &machines.of(&victim)?.control;
        if let Fault::SlowDisk { .. } = fault {
            control.set(Word::SyncDelayUs, 0)?;
            anyhow::ensure!(pid.alive(), "{victim} has ended on a slow disk");
            let delayed = seen(machines, &victim, &fault)? - before;
            return Ok(Evidence {
                acted: delayed > 0,
                detail: format!("{victim}: {delayed} syncs were slow"),
            });
        }
        let code = ending::exit_code(pid).await;
        let acted = seen(machines, &victim, &fault)? - before;
        control.set(Word::FailSyncs, 0)?;
        control.set(Word::DiskFull, 0)?;
        if acted == 0 && pid.alive() {
            return Ok(Evidence {
                acted: false,
                detail: format!("{victim} had nothing to sync or to write"),
            });
        }
        let said = ending::first_error(&cluster.layout().log_path(&victim), log_from)?;
        let ended = match code {
            Some(code) => format!("exit {code}"),
            None if pid.alive() => "it still runs".to_owned(),
            None => "ended by a signal".to_owned(),
        };
        anyhow::ensure!(
            code == Some(ending::FAULT) && said.is_some(),
            "{victim} met {acted} failures and did not stop as it should: {ended}, its log says {said:?}"
        );
        cluster.start_process(&victim)?;
        let said = said.unwrap_or_default();
        Ok(Evidence { acted: acted > 0, detail: format!("{victim}: {acted} calls failed; {ended}: {said}") })
    })
}

fn seen(machines: &Machines, victim: &str, fault: &Fault) -> anyhow::Result<u64> {
    let counts = machines.of(victim)?.control.counts()?;
    Ok(match fault {
        Fault::FsyncError { .. } => counts.failed_syncs,
        Fault::DiskFull { .. } => counts.refused_writes,
        _ => counts.delayed_syncs,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_draws_the_same_faults_and_all_kinds_and_nodes_come() {
        let layout = Layout::new("d".as_ref(), "b".as_ref(), 2, 7100);
        let draw = |seed| {
            let mut random = Random::seeded(seed);
            (0..100).map(|_| draw(&mut random, &layout)).collect::<Vec<_>>()
        };
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
        let faults = draw(3);
        for node in layout.nodes().filter(|node| node.kind == Kind::Node) {
            let hits = |fault: &Fault| match fault {
                Fault::FsyncError { victim, .. }
                | Fault::DiskFull { victim, .. }
                | Fault::SlowDisk { victim, .. } => *victim == node.name,
                _ => false,
            };
            assert!(faults.iter().any(hits), "{}", node.name);
        }
        let kinds = |kind: fn(&Fault) -> bool| faults.iter().any(kind);
        assert!(kinds(|fault| matches!(fault, Fault::FsyncError { .. })));
        assert!(kinds(|fault| matches!(fault, Fault::DiskFull { .. })));
        assert!(kinds(|fault| matches!(fault, Fault::SlowDisk { by_ms: 1.., .. })));
    }
}

//! Damage to a file of a stopped node, below what was synced. Started, the node must refuse to run and say why, or serve
//! rightly because nobody needs those bytes, or stop itself when it reads them: transactions that it serves are read and
//! compared with another replica's. Then it comes back with the whole file. The
//! copy that is put back is what it last had, and it has taken part in nothing since: an older one would have forgotten
//! votes. Never done while another replica is down: then the damage could be the last copy.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use futures::future::LocalBoxFuture;
use tokio::time::Instant;
use twinset_tools::cluster::LocalCluster;
use twinset_tools::cluster::admin::{self, Survey};
use twinset_tools::cluster::layout::{Kind, Layout};
use twinset_tools::load::random::Random;

use super::{Damage, Evidence, Fault, FileKind};
use crate::api::replica::Replica;
use crate::books::replicas;
use crate::logs::Allowed;
use crate::preload::image;
use crate::preload::{Machine, Machines, ending};
use crate::{death, wait};

/// What is read of a node that serves from a damaged file: that many transactions of each set.
const READ_MAX: u64 = 10_000;
/// Another replica has what this one shows within this.
const CATCH_UP: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(100);

/// What a node may say of this fault.
pub const ALLOWED: &[Allowed] = &[
    Allowed { part: "cannot run", why: "it refuses the damaged directory and says why" },
    Allowed { part: "is damaged", why: "that is the fault" },
    Allowed { part: "Corruption", why: "the database's word for it" },
    Allowed { part: "the store stops", why: "it met the damage when it read" },
    Allowed {
        part: "this node cannot go on without risking a wrong answer",
        why: "so it stops and says why",
    },
    Allowed {
        part: "stopped by an earlier fault",
        why: "what comes after the first fault is its consequence",
    },
];

/// What a node made of a damaged file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Judged {
    /// It did not begin, and said why.
    Refused(String),
    /// It began, stopped itself when it met the damage, and said why.
    Stopped(String),
    /// It serves, and the transactions that were read of it are right: nobody needed those bytes yet.
    Serves,
}

/// Draws a damage.
pub fn draw(random: &mut Random, layout: &Layout) -> Fault {
    let nodes: Vec<&str> =
        layout.nodes().filter(|node| node.kind == Kind::Node).map(|node| node.name.as_str()).collect();
    let victim = nodes[random.below(nodes.len())].to_owned();
    let file = [FileKind::Log, FileKind::Table, FileKind::Manifest, FileKind::Marker][random.below(4)];
    let damage = [Damage::BitFlip, Damage::CopiedChunk, Damage::Truncated][random.below(3)];
    Fault::Corrupt { victim, file, damage, seed: random.bits() >> 32 }
}

/// All of it, from the whole cluster to the whole cluster: stops the node, hurts the file, starts it, judges it, and brings
/// it back. An error: it served wrongly, hung, or did not say why it ended.
pub fn play<'a>(
    cluster: &'a mut LocalCluster,
    machines: &'a Machines,
    fault: &'a Fault,
) -> LocalBoxFuture<'a, anyhow::Result<(Judged, Evidence)>> {
    Box::pin(async move {
        let Fault::Corrupt { victim, file, damage, seed } = fault else {
            anyhow::bail!("{fault:?} is no damage")
        };
        wait::whole(cluster.layout()).await?;
        let machine = machines.of(victim)?;
        let mut random = Random::seeded(*seed);
        match random.below(2) {
            0 => drop(cluster.stop_process(victim).await?),
            _ => death::end(cluster, victim).await?,
        }
        let (file, damage) = (*file, *damage);
        let damaged = machine.work(move |machine| {
            image::set_aside(machine)?;
            let done = strike(machine, file, damage, &mut random)?;
            Ok((done, random))
        });
        let (done, mut random) = damaged.await?;
        let log_from = ending::log_end(cluster, victim);
        cluster.start_process(victim)?;
        let (path, whole, what) = match done {
            Ok(done) => done,
            Err(detail) => {
                let detail = format!("{victim}: {detail}");
                return Ok((Judged::Serves, Evidence { acted: false, detail }));
            }
        };
        let hurt = Hurt { victim, machine, path: &path, whole: &whole, log_from };
        let judged = hurt.judge(cluster, &mut random).await?;
        hurt.bring_back(cluster, &judged).await?;
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let detail = format!("{victim}: {name} ({file:?}) {what}: {judged:?}");
        Ok((judged, Evidence { acted: true, detail }))
    })
}

/// A file that is damaged now, what it was, and what was done to it; or why nothing was.
type Struck = Result<(PathBuf, Vec<u8>, String), String>;

fn strike(machine: &Machine, file: FileKind, damage: Damage, random: &mut Random) -> anyhow::Result<Struck> {
    let Some(path) = find(machine, file, random)? else {
        return Ok(Err(format!("no file of the kind {file:?}")));
    };
    let whole = fs::read(&path)?;
    let Some((hurt, what)) = hurt(&whole, damage, random) else {
        return Ok(Err(format!("{}: {damage:?} changes nothing", path.display())));
    };
    // Another file under its name: the one that was set aside stays as it is.
    fs::remove_file(&path)?;
    fs::write(&path, hurt)?;
    machine.control.forget()?;
    Ok(Ok((path, whole, what)))
}

/// A node that was started with a damaged file.
struct Hurt<'a> {
    victim: &'a str,
    machine: &'a Arc<Machine>,
    path: &'a Path,
    whole: &'a [u8],
    log_from: u64,
}

impl Hurt<'_> {
    /// Waits until the node has ended, or the cluster is whole with it and it was read.
    async fn judge(&self, cluster: &LocalCluster, random: &mut Random) -> anyhow::Result<Judged> {
        let pid = ending::pid(cluster, self.victim)?;
        let began = tokio::select! {
            code = ending::exit_code(pid) => Err(code),
            whole = wait::whole(cluster.layout()) => Ok(whole?),
        };
        let code = match began {
            Err(code) => code,
            Ok(survey) => tokio::select! {
                code = ending::exit_code(pid) => code,
                read = self.read_through(cluster, &survey, random) => return read.map(|()| Judged::Serves),
            },
        };
        anyhow::ensure!(!pid.alive(), "{} neither serves nor ends with a damaged file", self.victim);
        let said = self.said(cluster)?;
        match code {
            Some(ending::CANNOT_RUN) => Ok(Judged::Refused(said)),
            Some(ending::FAULT) => Ok(Judged::Stopped(said)),
            code => anyhow::bail!("{} ended with {code:?} on a damaged file: {said}", self.victim),
        }
    }

    /// Reads transactions of the node from anywhere on, which makes it meet the damage if it is there. An error: it
    /// shows something else than another replica.
    async fn read_through(
        &self,
        cluster: &LocalCluster,
        survey: &Survey,
        random: &mut Random,
    ) -> anyhow::Result<()> {
        let catalogue = survey.catalogue()?;
        let own = survey.replies().find(|reply| reply.node == self.victim);
        let own = own.with_context(|| format!("{} says nothing of its sets", self.victim))?;
        for (set, nodes) in replicas::placed(catalogue) {
            let other = nodes.iter().find(|node| *node != self.victim);
            let (Some(other), true) = (other, nodes.iter().any(|node| node == self.victim)) else { continue };
            let applied =
                own.replicas.iter().find(|status| status.set == set).map_or(0, |one| one.applied_index);
            let room = usize::try_from(applied.saturating_sub(READ_MAX)).unwrap_or(usize::MAX);
            let behind = random.below(room + 1) as u64;
            let shown = async |node: &str, most: u64| {
                let channel = admin::channel(&cluster.layout().process(node)?.api)?;
                Replica::new(channel, catalogue, set, node).booked(behind, most).await
            };
            let served = shown(self.victim, READ_MAX).await?;
            let until = Instant::now() + CATCH_UP;
            let mut right = shown(other, served.0).await?;
            while right.0 < served.0 && Instant::now() < until {
                tokio::time::sleep(POLL).await;
                right = shown(other, served.0).await?;
            }
            anyhow::ensure!(
                served == right,
                "{} with a damaged file and {other} show different transactions of set {set} behind {behind}: \
                 (number, digest) {served:?} and {right:?}",
                self.victim
            );
        }
        Ok(())
    }

    /// Why the node has ended. An error: it did not say, or others had to notice that it was wrong.
    fn said(&self, cluster: &LocalCluster) -> anyhow::Result<String> {
        let said = ending::first_error(&cluster.layout().log_path(self.victim), self.log_from)?;
        let said =
            said.with_context(|| format!("{} ended with a damaged file without a word", self.victim))?;
        let served = said.contains("differs from its leader");
        anyhow::ensure!(!served, "{} has served from a damaged file: {said}", self.victim);
        Ok(said)
    }

    /// Brings the node back: as it was, if it took part in nothing; with the whole file in its place, if it did and still
    /// has the file. What it has written since it was started stays.
    async fn bring_back(&self, cluster: &mut LocalCluster, judged: &Judged) -> anyhow::Result<()> {
        match judged {
            Judged::Refused(_) => self.machine.work(image::put_back).await?,
            Judged::Stopped(_) | Judged::Serves => {
                if ending::pid(cluster, self.victim)?.alive() {
                    cluster.stop_process(self.victim).await?;
                } else {
                    // It has met the damage by now.
                    self.said(cluster)?;
                }
                // Of all these files only a table never changes: another one may be newer by now than the whole one.
                if self.path.extension().is_some_and(|end| end == "sst") && self.path.exists() {
                    fs::write(self.path, self.whole)?;
                }
                self.machine.control.forget()?;
            }
        }
        cluster.start_process(self.victim)?;
        let whole = wait::whole(cluster.layout()).await;
        whole.with_context(|| format!("{} does not come back", self.victim))?;
        Ok(())
    }
}

/// The file of that kind: the newest log or manifest with something in it, or any table.
fn find(machine: &Machine, kind: FileKind, random: &mut Random) -> anyhow::Result<Option<PathBuf>> {
    if kind == FileKind::Marker {
        return Ok(Some(machine.data.join("synced")));
    }
    let mut found = Vec::new();
    for entry in fs::read_dir(machine.data.join("db"))? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let is_kind = match kind {
            FileKind::Log => name.ends_with(".log"),
            FileKind::Table => name.ends_with(".sst"),
            FileKind::Manifest => name.starts_with("MANIFEST-"),
            FileKind::Marker => false,
        };
        if is_kind && entry.metadata()?.len() > 0 {
            found.push(entry.path());
        }
    }
    // Their numbers have the same length, and rise.
    found.sort();
    Ok(match kind {
        FileKind::Table if !found.is_empty() => Some(found.swap_remove(random.below(found.len()))),
        _ => found.pop(),
    })
}

/// The hurt bytes, and where they are hurt; None if the file is too short or too uniform. Many files are mostly zeros that
/// nobody reads: it tries to hit something else.
fn hurt(whole: &[u8], damage: Damage, random: &mut Random) -> Option<(Vec<u8>, String)> {
    const TRIES: usize = 1_000;
    (0..TRIES).find_map(|_| hurt_once(whole, damage, random))
}

fn hurt_once(whole: &[u8], damage: Damage, random: &mut Random) -> Option<(Vec<u8>, String)> {
    /// Enough to reach over records.
    const CHUNK: usize = 256;
    let mut bytes = whole.to_vec();
    let what = match damage {
        Damage::BitFlip => {
            let used: Vec<usize> = (0..bytes.len()).filter(|at| bytes[*at] != 0).collect();
            let at = (!used.is_empty()).then(|| used[random.below(used.len())])?;
            bytes[at] ^= 1 << random.below(8);
            format!("a bit flipped at byte {at} of {}", whole.len())
        }
        Damage::CopiedChunk => {
            let room = bytes.len().checked_sub(CHUNK)?;
            let (from, to) = (random.below(room + 1), random.below(room + 1));
            bytes.copy_within(from..from + CHUNK, to);
            format!("bytes {from}.. copied to {to}.. of {}", whole.len())
        }
        Damage::Truncated => {
            let length = (!bytes.is_empty()).then(|| random.below(bytes.len()))?;
            bytes.truncate(length);
            format!("cut to {length} of {} bytes", whole.len())
        }
    };
    (bytes != whole).then_some((bytes, what))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_damage_changes_something_and_comes_from_the_seed() {
        let whole: Vec<u8> = (0..4_000_u32).map(|at| (at % 251) as u8).collect();
        for damage in [Damage::BitFlip, Damage::CopiedChunk, Damage::Truncated] {
            let of = |seed| hurt(&whole, damage, &mut Random::seeded(seed));
            assert_eq!(of(1), of(1));
            assert!((0..20).filter_map(of).all(|(bytes, _)| bytes != whole));
            let mut sparse = vec![0; 4_108];
            sparse[4_096] = 7;
            assert!((0..20).all(|seed| hurt(&sparse, damage, &mut Random::seeded(seed)).is_some()));
        }
        assert_eq!(hurt(&[], Damage::BitFlip, &mut Random::seeded(1)), None);
        assert_eq!(hurt(&[0; 300], Damage::CopiedChunk, &mut Random::seeded(1)), None);
    }

    #[test]
    fn all_files_and_damages_are_drawn() {
        let layout = Layout::new("d".as_ref(), "b".as_ref(), 2, 7100);
        let mut random = Random::seeded(1);
        let faults: Vec<Fault> = (0..200).map(|_| draw(&mut random, &layout)).collect();
        for wanted in [FileKind::Log, FileKind::Table, FileKind::Manifest, FileKind::Marker] {
            for hurt in [Damage::BitFlip, Damage::CopiedChunk, Damage::Truncated] {
                assert!(faults.iter().any(|fault| matches!(fault,
                    Fault::Corrupt { file, damage, .. } if *file == wanted && *damage == hurt)));
            }
        }
    }
}

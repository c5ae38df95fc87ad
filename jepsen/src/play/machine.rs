//! Faults of a node's machine: disk, power, clock, and damaged files. What each is, and what a node must make of it, stands
//! with the fault in [`crate::nemesis`].

use super::{Act, Player, Stage, nothing};
use crate::nemesis::{Evidence, Fault, clock, corrupt, disk, power};

/// Disks that fail, are full or slow.
#[derive(Default)]
pub struct Disks(Option<disk::Acting>);

/// Clocks that jump.
#[derive(Default)]
pub struct Clocks(Option<clock::Acting>);

/// Power cuts.
#[derive(Default)]
pub struct Cuts(Option<power::Acting>);

/// Damaged files.
#[derive(Default)]
pub struct Damages(Option<Evidence>);

impl Player for Disks {
    fn plays(&self, fault: &Fault) -> bool {
        matches!(fault, Fault::FsyncError { .. } | Fault::DiskFull { .. } | Fault::SlowDisk { .. })
    }

    fn begin<'a>(&'a mut self, stage: &'a mut Stage, fault: &'a Fault) -> Act<'a, ()> {
        Box::pin(async move {
            self.0 = Some(disk::inject(&stage.cluster, &stage.machines, fault)?);
            Ok(())
        })
    }

    fn end<'a>(&'a mut self, stage: &'a mut Stage, _: &'a Fault) -> Act<'a, Evidence> {
        Box::pin(async move {
            let Some(acting) = self.0.take() else { return Ok(nothing()) };
            let evidence = disk::heal(&mut stage.cluster, &stage.machines, acting).await;
            stage.machines.calm()?;
            evidence
        })
    }
}

impl Player for Clocks {
    fn plays(&self, fault: &Fault) -> bool {
        matches!(fault, Fault::ClockStep { .. })
    }

    fn begin<'a>(&'a mut self, stage: &'a mut Stage, fault: &'a Fault) -> Act<'a, ()> {
        Box::pin(async move {
            self.0 = Some(clock::inject(&stage.machines, fault)?);
            Ok(())
        })
    }

    fn end<'a>(&'a mut self, stage: &'a mut Stage, _: &'a Fault) -> Act<'a, Evidence> {
        Box::pin(async move {
            let Some(acting) = self.0.take() else { return Ok(nothing()) };
            clock::heal(&stage.cluster, &stage.machines, &acting)
        })
    }
}

impl Player for Cuts {
    fn plays(&self, fault: &Fault) -> bool {
        matches!(fault, Fault::PowerLoss { .. })
    }

    fn begin<'a>(&'a mut self, stage: &'a mut Stage, fault: &'a Fault) -> Act<'a, ()> {
        Box::pin(async move {
            self.0 = Some(power::inject(&mut stage.cluster, &stage.machines, fault).await?);
            Ok(())
        })
    }

    fn end<'a>(&'a mut self, stage: &'a mut Stage, _: &'a Fault) -> Act<'a, Evidence> {
        Box::pin(async move {
            let Some(acting) = self.0.take() else { return Ok(nothing()) };
            power::heal(&mut stage.cluster, &acting)
        })
    }
}

impl Player for Damages {
    fn plays(&self, fault: &Fault) -> bool {
        matches!(fault, Fault::Corrupt { .. })
    }

    fn begin<'a>(&'a mut self, stage: &'a mut Stage, fault: &'a Fault) -> Act<'a, ()> {
        Box::pin(async move {
            let (_, evidence) = corrupt::play(&mut stage.cluster, &stage.machines, fault).await?;
            self.0 = Some(evidence);
            Ok(())
        })
    }

    fn end<'a>(&'a mut self, _: &'a mut Stage, _: &'a Fault) -> Act<'a, Evidence> {
        Box::pin(async move { Ok(self.0.take().unwrap_or_else(nothing)) })
    }
}

//! Faults on links, played on the networks of the stage.

use super::{Act, Player, Stage};
use crate::nemesis::{Evidence, Fault};

/// Partitions, delays and losses.
pub struct Links;

impl Player for Links {
    fn plays(&self, fault: &Fault) -> bool {
        matches!(fault, Fault::Partition { .. } | Fault::Delay { .. } | Fault::Loss { .. })
    }

    fn begin<'a>(&'a mut self, stage: &'a mut Stage, fault: &'a Fault) -> Act<'a, ()> {
        Box::pin(async move { stage.net.inject(fault).await })
    }

    fn end<'a>(&'a mut self, stage: &'a mut Stage, fault: &'a Fault) -> Act<'a, Evidence> {
        Box::pin(async move { stage.net.heal(fault).await })
    }
}

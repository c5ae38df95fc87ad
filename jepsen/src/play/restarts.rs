//! A rolling restart: every process is asked to stop, ends by itself, and is started again, one after the other.

use twinset_tools::cluster::local::Stopped;

use super::{Act, Player, Stage, nothing};
use crate::nemesis::{Evidence, Fault};
use crate::wait;

/// Rolling restarts.
#[derive(Default)]
pub struct Restarts {
    cleanly: Vec<String>,
    all: usize,
}

impl Player for Restarts {
    fn plays(&self, fault: &Fault) -> bool {
        matches!(fault, Fault::RollingRestart)
    }

    fn begin<'a>(&'a mut self, stage: &'a mut Stage, _: &'a Fault) -> Act<'a, ()> {
        Box::pin(async move {
            self.cleanly.clear();
            let names: Vec<String> =
                stage.cluster.layout().processes.iter().map(|process| process.name.clone()).collect();
            self.all = names.len();
            for name in names {
                let stopped = stage.cluster.stop_process(&name).await?;
                stage.cluster.start_process(&name)?;
                if stopped == Stopped::Cleanly {
                    self.cleanly.push(name);
                }
                wait::whole(stage.cluster.layout()).await?;
            }
            Ok(())
        })
    }

    fn end<'a>(&'a mut self, _: &'a mut Stage, fault: &'a Fault) -> Act<'a, Evidence> {
        Box::pin(async move {
            if !self.plays(fault) {
                return Ok(nothing());
            }
            let detail = format!("stopped cleanly and came back: {}", self.cleanly.join(", "));
            Ok(Evidence { acted: self.cleanly.len() == self.all, detail })
        })
    }
}

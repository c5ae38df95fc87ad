//! What a node does of itself for a set while it leads it: it looks several times a second at what is due, and carries that on. One
//! frame for all who do: when they look, by which time something is due, and how they put something into the log.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Interval, MissedTickBehavior};
use twinset_control::Catalogue;
use twinset_ledger::{Command, Outcome, Transaction, slot_of};
use twinset_store::LedgerReplica;

use crate::admission;
use crate::own_commands;
use crate::proposer::Proposer;
use crate::raft::{Group, Role, View};
use crate::set::Fence;

/// Between two looks at what is due.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// What came to nothing in the log is tried again after this.
pub const AGAIN_AFTER: Duration = Duration::from_secs(1);

/// A replica's part in it.
#[derive(Clone)]
pub struct Duty {
    /// Whose set.
    pub fence: Arc<Fence>,
    /// Says who leads.
    pub group: Group,
    /// Says what is due.
    pub state: LedgerReplica,
    /// The way into the log.
    pub proposer: Proposer,
}

impl Duty {
    /// When to look: while the replica leads.
    pub fn leads(&self) -> Leads {
        Leads::every(LOOK_EVERY, self.group.view())
    }

    /// The time by which something is due.
    pub fn now(&self) -> u64 {
        // Where a leader's clock was ahead of ours, the ledger's time is.
        self.fence.platform.now_unix_ns().max(self.state.last_time())
    }

    /// Puts a command into the log. None: nobody knows, or not taken in; it may come to the log yet.
    pub async fn decide(&self, command: Command) -> Option<Outcome> {
        self.decide_all(&[command]).await?.pop()
    }

    /// The same with several, side by side.
    pub async fn decide_all(&self, commands: &[Command]) -> Option<Vec<Outcome>> {
        own_commands::decide(&self.proposer, commands).await
    }

    /// The command that books a transaction, within the set or over several. The error is why there is none for now.
    pub fn booking(
        &self,
        transaction: Transaction,
        catalogue: Option<&Catalogue>,
    ) -> Result<Command, String> {
        let catalogue = catalogue.ok_or("no catalogue yet")?;
        let own = catalogue.sets.get(&self.fence.set).ok_or("the set is not in the catalogue")?;
        match transaction.legs.iter().all(|leg| own.owns(slot_of(&leg.account))) {
            true => Ok(Command::Transaction(transaction)),
            false => admission::beginning(transaction, catalogue).map(Command::Begin).map_err(|(_, why)| why),
        }
    }
}

/// When to look.
pub struct Leads {
    view: watch::Receiver<View>,
    tick: Interval,
    /// Nobody says any more who leads.
    ended: bool,
}

impl Leads {
    fn every(period: Duration, view: watch::Receiver<View>) -> Self {
        let mut tick = tokio::time::interval(period);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Leads { view, tick, ended: false }
    }

    /// Waits until the replica leads. False: that will not be told any more.
    pub async fn begin(&mut self) -> bool {
        // What was told last stays to be seen, and may be that it leads.
        !self.ended && self.view.wait_for(|view| view.role == Role::Leader).await.is_ok()
    }

    /// Waits until it is time to look; or for what comes `sooner`, which it gives. None: the replica leads no more.
    pub async fn look<T>(&mut self, sooner: impl Future<Output = Option<T>>) -> Option<Option<T>> {
        let mut come = None;
        tokio::select! {
            biased;
            changed = self.view.changed() => self.ended = changed.is_err(),
            _ = self.tick.tick() => {}
            Some(one) = sooner => come = Some(one),
        }
        let leads = self.view.borrow_and_update().role == Role::Leader;
        (leads && !self.ended).then_some(come)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::future::ready;

    use tokio::time::Instant;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(60);
    const EVERY: Duration = Duration::from_millis(5);

    fn view(role: Role) -> View {
        let (voters, learners) = (BTreeSet::new(), BTreeSet::new());
        View { role, term: 1, leader: None, voters, learners, changing: false, fault: None }
    }

    /// How often it has looked in each lead, and whether that is over.
    type Looks = Vec<(u32, bool)>;

    async fn on_duty(mut leads: Leads, looks: watch::Sender<Looks>) {
        while leads.begin().await {
            looks.send_modify(|looks| looks.push((0, false)));
            while leads.look(ready(None::<()>)).await.is_some() {
                looks.send_modify(|looks| looks.last_mut().expect("it leads").0 += 1);
            }
            looks.send_modify(|looks| looks.last_mut().expect("it led").1 = true);
        }
    }

    async fn until(seen: &mut watch::Receiver<Looks>, what: &str, holds: impl Fn(&Looks) -> bool) {
        let met = tokio::time::timeout(PATIENCE, seen.wait_for(holds)).await;
        met.expect(what).expect(what);
    }

    #[tokio::test]
    async fn it_looks_again_and_again_while_it_leads_and_ends_with_who_tells() {
        let says = watch::Sender::new(view(Role::Follower));
        let (looks, mut seen) = watch::channel(Looks::new());
        let on_duty = tokio::spawn(on_duty(Leads::every(EVERY, says.subscribe()), looks));
        for lead in 0..2 {
            says.send_replace(view(Role::Leader));
            until(&mut seen, "it looks", |looks| looks.get(lead).is_some_and(|lead| lead.0 > 3)).await;
            says.send_replace(view(Role::Follower));
            until(&mut seen, "it leads no more", |looks| looks[lead].1).await;
        }
        says.send_replace(view(Role::Leader));
        until(&mut seen, "it looks", |looks| looks.get(2).is_some_and(|lead| lead.0 > 0)).await;
        // Who tells is gone while it leads.
        drop(says);
        tokio::time::timeout(PATIENCE, on_duty).await.expect("it ends").expect("and well");
        assert_eq!(seen.borrow().iter().map(|lead| lead.1).collect::<Vec<_>>(), [true; 3]);
    }

    #[tokio::test]
    async fn what_comes_sooner_is_not_waited_for() {
        let says = watch::Sender::new(view(Role::Leader));
        let mut leads = Leads::every(PATIENCE * 60, says.subscribe());
        assert!(leads.begin().await);
        assert_eq!(leads.look(ready(None::<u32>)).await, Some(None), "the first look is at once");
        let began = Instant::now();
        assert_eq!(leads.look(ready(Some(7))).await, Some(Some(7)));
        assert!(began.elapsed() < PATIENCE);
        says.send_replace(view(Role::Follower));
        assert_eq!(leads.look(ready(Some(7))).await, None, "it leads no more");
    }
}

//! What a leader keeps in order for its set, by comparing the catalogue with the group: the learner is a member, the
//! voters are those of the placement, a switch whose owner is gone is finished or undone, a DEGRADED that is in force is on
//! record, and the leader returns to the home site. One keeper per hosted replica; it acts only while its replica leads and no
//! switch runs here. A leader whose wall clock is wrong gives up leading, the control set's too.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;
use tracing::{info, warn};
use twinset_control::{CONTROL_SET, Catalogue, Command, Durability, Replica as Copy, Set, SwitchIntent};

use crate::catalogue::CatalogueCell;
use crate::control_client::ControlClient;
use crate::handover;
use crate::raft::{Role, View};
use crate::replacer::Vouched;
use crate::set::{Replica, tell_sites};
use crate::since::Since;
use crate::vigil::Vigil;

const PERIOD: Duration = Duration::from_millis(250);
/// A leader outside the home site goes home after this, if nothing else is going on.
const HOME_AFTER: Duration = Duration::from_secs(3);
/// Entries that a target may lack.
pub(crate) const HOME_LAG_MAX: u64 = 500;
/// A learner that has not answered for longer than this is not there.
pub(crate) const PROMOTE_SILENCE_MAX: Duration = Duration::from_millis(500);
/// An intent without a running switch here is settled after this: its owner may just be recording the end.
const SETTLE_AFTER: Duration = Duration::from_secs(1);

/// Between the first two attempts of a leader whose clock is wrong to be rid of it: each may hold writes back for a moment.
const YIELD_AGAIN: Duration = Duration::from_secs(5);
/// And later.
const YIELD_AGAIN_MAX: Duration = Duration::from_secs(300);
/// A state that is in force and not on record is recorded after this: the catalogue here may only be behind.
const RECORD_AFTER: Duration = Duration::from_secs(1);

/// Held while a switch runs on this node, one for each set.
pub type SwitchLock = Arc<Mutex<()>>;

/// The keeper of one replica.
pub struct Keeper {
    /// Its replica.
    pub replica: Arc<Replica>,
    /// The catalogue.
    pub cell: CatalogueCell,
    /// The control set.
    pub control: ControlClient,
    /// How this node's clock compares with the others'.
    pub vigil: Arc<Vigil>,
    /// Taken by whoever moves the set.
    pub switching: SwitchLock,
}

impl Keeper {
    /// Runs until the node stops.
    pub async fn run(self) {
        let mut tick = tokio::time::interval(PERIOD);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let (mut away, mut open, mut unrecorded) = (Since::default(), Since::default(), Since::default());
        let mut vouched = None;
        let (mut yielded, mut again): (Option<Instant>, Duration) = (None, YIELD_AGAIN);
        loop {
            tick.tick().await;
            let view = self.replica.group.view().borrow().clone();
            let lock = self.switching.clone().try_lock_owned();
            let (true, Ok(_lock), Some(catalogue)) = (view.role == Role::Leader, lock, self.cell.get())
            else {
                away.lasts(false, HOME_AFTER);
                open.lasts(false, SETTLE_AFTER);
                unrecorded.lasts(false, RECORD_AFTER);
                continue;
            };
            if view.changing {
                continue;
            }
            let wrong = self.vigil.clocks().is_wrong(Instant::now());
            if !wrong {
                again = YIELD_AGAIN;
            }
            if wrong && yielded.is_none_or(|at| at.elapsed() >= again) {
                // If all of a site are wrong, they would hand it round: less and less often.
                again = yielded.map_or(YIELD_AGAIN, |_| (again * 2).min(YIELD_AGAIN_MAX));
                yielded = Some(Instant::now());
                self.yield_to_a_better_clock(&catalogue, &view).await;
                continue;
            }
            // Whoever leads with an old catalogue would bring back what was replaced, or what a recovery has left behind.
            let members = || view.voters.iter().chain(&view.learners);
            let fence = &self.replica.fence;
            if members().any(|id| *id >= catalogue.next_replica_id)
                || catalogue.incarnation(fence.set) != Some(fence.incarnation)
            {
                continue;
            }
            // Before anything is done about a replacement: from here on nobody counts on the one that leaves.
            tell_sites(&self.replica.fence.gate, &catalogue, self.replica.fence.set);
            if self.replica.fence.set == CONTROL_SET {
                self.tidy_control(&catalogue, &view, &mut vouched).await;
                continue;
            }
            // What the catalogue has of a set that is unproven may be old: its voters are left as they are until it is known.
            let set = catalogue.sets.get(&self.replica.fence.set).filter(|set| !set.is_unproven());
            let Some(set) = set else { continue };
            let settle = open.lasts(set.switch.is_some(), SETTLE_AFTER);
            let leader_away =
                catalogue.site_of_replica(set.id, self.replica.group.replica()) != Some(&set.home);
            let go_home = away.lasts(leader_away && set.switch.is_none(), HOME_AFTER);
            if unrecorded.lasts(self.is_weaker_than(set), RECORD_AFTER) {
                self.record_degraded(set).await;
            }
            match &set.switch {
                Some(intent) if settle => self.settle(&catalogue, set, intent, &view).await,
                Some(_) => {}
                None => self.tidy(&catalogue, set, &view, (go_home, &mut vouched)).await,
            }
        }
    }

    fn is_weaker_than(&self, set: &Set) -> bool {
        let in_force = self.replica.fence.gate.durability();
        // Of one that is unproven nothing but SYNC is recorded.
        set.durability == Durability::Sync
            && in_force == twinset_ledger::Durability::Degraded
            && !set.is_unproven()
    }

    /// Only to another voter of the home: a leader elsewhere would be sent home again, to this one.
    async fn yield_to_a_better_clock(&self, catalogue: &Catalogue, view: &View) {
        let (set, me) = (self.replica.fence.set, self.replica.group.replica());
        let home = catalogue.sets.get(&set).map(|set| set.home.as_str());
        let at_home = |id: &u64| home.is_none_or(|home| catalogue.site_of_replica(set, *id) == Some(home));
        let gate = &self.replica.fence.gate;
        let answers = |id: &u64| gate.silence(*id).is_some_and(|silence| silence <= PROMOTE_SILENCE_MAX);
        let voters = view.voters.iter().copied();
        let targets: Vec<u64> = voters.filter(|id| *id != me && at_home(id) && answers(id)).collect();
        if targets.is_empty() {
            return warn!(set, "this node's clock is wrong, and no other of its home could lead");
        }
        let ahead_ms = self.vigil.clocks().ahead_ms(Instant::now());
        let proposer = self.replica.ledger().map(|ledger| &ledger.proposer);
        match handover::hand_over(&self.replica.group, proposer, &targets, &|_, _| {}).await {
            Ok((to, _)) => warn!(set, ahead_ms, to, "this node's clock is wrong: another one leads"),
            Err(error) => warn!(set, ahead_ms, %error, "this node's clock is wrong, and it leads yet"),
        }
    }

    /// A record of SYNC that was under way while another leader marked DEGRADED may have come last.
    async fn record_degraded(&self, set: &Set) {
        let command = Command::RecordDurability {
            set: set.id,
            durability: Durability::Degraded,
            last_safe_index: self.replica.fence.gate.horizon().safe,
            expected_durability_epoch: set.durability_epoch,
            pinned: set.pinned,
            who: "keeper".to_owned(),
            why: "it is in force in the set and was not on record".to_owned(),
        };
        match self.control.propose(&command).await {
            Ok(_) => warn!(set = set.id, "DEGRADED is in force and was not on record; it is now"),
            Err(error) => warn!(set = set.id, %error, "DEGRADED is in force and not on record yet"),
        }
    }

    /// Finishes a switch that has reached the new home, undoes any other.
    async fn settle(&self, catalogue: &Catalogue, set: &Set, intent: &SwitchIntent, view: &View) {
        let arrived = catalogue.site_of_replica(set.id, self.replica.group.replica()) == Some(&intent.to)
            && catalogue
                .placement_after_switch(set, &intent.to)
                .is_ok_and(|after| after.voters == view.voters);
        let command = if arrived {
            Command::CompleteSwitch { set: set.id, id: intent.id }
        } else {
            if !self.restore_voters(catalogue, set, view).await {
                return;
            }
            let reason = "its owner is gone or no longer leads".to_owned();
            Command::AbortSwitch { set: set.id, id: intent.id, reason }
        };
        match self.control.propose(&command).await {
            Ok(_) => info!(set = set.id, id = intent.id, arrived, "open switch settled"),
            Err(error) => warn!(set = set.id, id = intent.id, %error, "open switch not settled yet"),
        }
    }

    async fn tidy(
        &self,
        catalogue: &Catalogue,
        set: &Set,
        view: &View,
        (go_home, vouched): (bool, &mut Option<Vouched>),
    ) {
        if self.admit(catalogue, view).await {
            return;
        }
        if let Some(open) = &set.replacement {
            if self.replace(catalogue, open, view, vouched).await {
                return;
            }
        } else if !self.restore_voters(catalogue, set, view).await
            || self.promote(catalogue, set).await
            || self.dismiss(catalogue, view).await
        {
            return;
        }
        if !go_home {
            return;
        }
        let at_home = |id: &u64| catalogue.site_of_replica(set.id, *id) == Some(&set.home);
        let targets: Vec<u64> = view.voters.iter().copied().filter(at_home).collect();
        let group = &self.replica.group;
        let progress = group.progress();
        // A target that is far behind would only cost a pause.
        if targets.iter().any(|&id| progress.lag(id) <= HOME_LAG_MAX) {
            info!(set = set.id, home = set.home, "leader goes home");
            let proposer = self.replica.ledger().map(|ledger| &ledger.proposer);
            if let Err(error) = handover::hand_over(group, proposer, &targets, &|_, _| {}).await {
                info!(set = set.id, %error, "leader not home yet");
            }
        }
    }

    /// Gives a learner in a site that has too few voters its vote, once it has caught up: the set was recovered without that
    /// site. True if one was found.
    async fn promote(&self, catalogue: &Catalogue, set: &Set) -> bool {
        let site_of = |replica: &Copy| catalogue.site_of_node(&replica.node);
        let voters = |site: Option<&str>| {
            let voters = set.replicas.iter().filter(|r| r.role == twinset_control::Role::Voter);
            voters.filter(|r| site_of(r) == site).count()
        };
        let progress = self.replica.group.progress();
        let follows = |replica: &Copy| {
            let silence = self.replica.fence.gate.silence(replica.id);
            let enough = if site_of(replica) == Some(&set.home) { 2 } else { 1 };
            replica.role == twinset_control::Role::Learner
                && voters(site_of(replica)) < enough
                && silence.is_some_and(|silence| silence <= PROMOTE_SILENCE_MAX)
                && progress.lag(replica.id) <= HOME_LAG_MAX
        };
        let Some(replica) = set.replicas.iter().find(|replica| follows(replica)) else { return false };
        let (who, why) = ("keeper".to_owned(), "its site has too few voters".to_owned());
        let command = Command::PromoteReplica { set: set.id, replica: replica.id, who, why };
        match self.control.propose(&command).await {
            Ok(_) => {
                info!(set = set.id, replica = replica.id, node = replica.node, "the learner gets its vote")
            }
            Err(error) => warn!(set = set.id, replica = replica.id, %error, "no vote for the learner yet"),
        }
        true
    }

    /// Makes the catalogue's voters the voters. True if they are.
    async fn restore_voters(&self, catalogue: &Catalogue, set: &Set, view: &View) -> bool {
        let wanted = catalogue.placement(set).voters;
        if wanted == view.voters {
            return true;
        }
        info!(set = set.id, from = ?view.voters, to = ?wanted, "voters as in the catalogue");
        match self.replica.group.change_voters(wanted).await {
            Ok(()) => true,
            Err(error) => {
                warn!(set = set.id, ?error, "voters not changed yet");
                false
            }
        }
    }
}

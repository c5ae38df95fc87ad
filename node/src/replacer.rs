//! What a leader does for the replacement of one of its group's replicas: the successor learns until it lacks little, takes
//! the other's place in one joint step, and the end goes on record when its site can do without the one that has left. Part of
//! the [keeper](crate::keeper), which calls it at every look; each call does one thing, so that the next leader goes on
//! wherever this one stopped.
//!
//! Invariant: what was ever acknowledged on the word of the replica that leaves is on disk with another one of its site before
//! the catalogue forgets it. What this leader and those before it have let out stands in its log by the time that the other is
//! no member any more, and nobody counts on one that is no member.

use std::collections::BTreeSet;

use tracing::{info, warn};
use twinset_control::{CONTROL_SET, Catalogue, Command, Replacement, Replica, Role};

use crate::handover;
use crate::keeper::{HOME_LAG_MAX, Keeper, PROMOTE_SILENCE_MAX};
use crate::raft::View;

/// Up to where the site must have the log without the replica that has left, as this leader of a term has found it.
pub(crate) struct Vouched {
    replacement: u64,
    term: u64,
    index: u64,
}

impl Keeper {
    /// The control set's part of what other sets get by their tidying.
    pub(crate) async fn tidy_control(
        &self,
        catalogue: &Catalogue,
        view: &View,
        vouched: &mut Option<Vouched>,
    ) {
        if self.admit(catalogue, view).await {
            return;
        }
        match catalogue.replacement(CONTROL_SET) {
            Some(open) => drop(self.replace(catalogue, open, view, vouched).await),
            None if self.promote_control(catalogue, view).await => {}
            None => drop(self.dismiss(catalogue, view).await),
        }
    }

    /// After a recovery the control set gets its copies back: each votes when it has caught up. True if there was something to do.
    async fn promote_control(&self, catalogue: &Catalogue, view: &View) -> bool {
        let replicas = &catalogue.control.replicas;
        let learner = replicas.iter().find(|it| it.role == Role::Learner && self.follows(it.id));
        if let Some(Replica { id, node, .. }) = learner {
            let (who, why) = ("keeper".to_owned(), "the control set has too few voters".to_owned());
            let command = Command::PromoteReplica { set: CONTROL_SET, replica: *id, who, why };
            match self.control.propose(&command).await {
                Ok(_) => info!(replica = id, node, "the control set's learner gets its vote"),
                Err(error) => warn!(replica = id, %error, "no vote for the control set's learner yet"),
            }
            return true;
        }
        let voters: BTreeSet<u64> =
            replicas.iter().filter(|it| it.role == Role::Voter).map(|it| it.id).collect();
        // With an old catalogue it would take a vote away that was given since.
        if voters == view.voters || !self.is_newest(catalogue).await {
            return false;
        }
        info!(from = ?view.voters, to = ?voters, "the control set's voters as in the catalogue");
        if let Err(error) = self.replica.group.change_voters(voters).await {
            warn!(?error, "the control set's voters are not changed yet");
        }
        true
    }

    /// Adds a replica of the catalogue that is no member yet, as a learner. True if there was one.
    pub(crate) async fn admit(&self, catalogue: &Catalogue, view: &View) -> bool {
        let set = self.replica.fence.set;
        let left = catalogue.replacement(set).map(|open| leaving(open, view));
        let missing = |id: u64| !is_member(view, id) && Some(id) != left;
        let Some(replica) = catalogue.replicas(set).iter().find(|replica| missing(replica.id)) else {
            return false;
        };
        if catalogue.replacement(set).is_some() && !self.is_newest(catalogue).await {
            return true;
        }
        info!(set, replica = replica.id, node = replica.node, "adding the learner");
        if let Err(error) = self.replica.group.add_learner(replica.id, &replica.node).await {
            warn!(set, replica = replica.id, ?error, "learner not added yet");
        }
        true
    }

    /// Removes a learner that belongs to the set no more. True if there was one.
    pub(crate) async fn dismiss(&self, catalogue: &Catalogue, view: &View) -> bool {
        let set = self.replica.fence.set;
        let Some(replica) = view.learners.iter().copied().find(|id| catalogue.is_retired(set, *id)) else {
            return false;
        };
        info!(set, replica, "removing a learner that belongs to the set no more");
        if let Err(error) = self.replica.group.remove_learner(replica).await {
            warn!(set, replica, ?error, "learner not removed yet");
        }
        true
    }

    /// Does the next step of a replacement. False if there is nothing to do but to wait.
    pub(crate) async fn replace(
        &self,
        catalogue: &Catalogue,
        open: &Replacement,
        view: &View,
        vouched: &mut Option<Vouched>,
    ) -> bool {
        let out = leaving(open, view);
        if !is_member(view, out) {
            return self.end(catalogue, open, out, view, vouched).await;
        }
        *vouched = None;
        if out == open.old && !self.follows(open.new) {
            return false;
        }
        if out == self.replica.group.replica() {
            self.step_aside(catalogue, out, view).await;
            return true;
        }
        let set = self.replica.fence.set;
        let recorded = catalogue.replicas(set).iter().filter(|replica| replica.role == Role::Voter);
        if out == open.old && !self.is_newest(catalogue).await {
            return true;
        }
        let successor = |id: u64| if id == open.old && out == open.old { open.new } else { id };
        let voters = recorded.map(|replica| successor(replica.id)).collect();
        info!(set, replica = out, from = ?view.voters, to = ?voters, "a replica leaves the group");
        let done = match view.voters == voters {
            true => self.replica.group.remove_learner(out).await,
            false => self.replica.group.replace_voters(voters).await,
        };
        if let Err(error) = done {
            warn!(set, replica = out, ?error, "the replica has not left the group yet");
        }
        true
    }

    /// Whether nothing was recorded since. Whoever does not know that a replacement was given up, and is over, would do it again, and
    /// the site would count on a replica that is not on record.
    async fn is_newest(&self, catalogue: &Catalogue) -> bool {
        let newest = self.control.newest_version().await;
        newest.is_ok_and(|version| version <= catalogue.version)
    }

    /// It answers, and lacks little: a majority that counts it commits without a pause.
    fn follows(&self, replica: u64) -> bool {
        let silence = self.replica.fence.gate.silence(replica);
        silence.is_some_and(|silence| silence <= PROMOTE_SILENCE_MAX)
            && self.replica.group.progress().lag(replica) <= HOME_LAG_MAX
    }

    /// A leader that is to leave lets another one lead, at home if there is one.
    async fn step_aside(&self, catalogue: &Catalogue, own: u64, view: &View) {
        let set = self.replica.fence.set;
        let home = catalogue.sets.get(&set).map(|set| set.home.as_str());
        let mut targets: Vec<u64> = view.voters.iter().copied().filter(|id| *id != own).collect();
        targets.retain(|id| self.follows(*id));
        targets.sort_by_key(|id| home.is_some_and(|home| catalogue.site_of_replica(set, *id) != Some(home)));
        if targets.is_empty() {
            return warn!(set, "this replica is to leave, and no other one could lead");
        }
        let proposer = self.replica.ledger().map(|ledger| &ledger.proposer);
        match handover::hand_over(&self.replica.group, proposer, &targets, &|_, _| {}).await {
            Ok((to, _)) => info!(set, to, "this replica is to leave: another one leads"),
            Err(error) => info!(set, %error, "this replica is to leave, and leads yet"),
        }
    }

    /// Records the end, once the site has what the one that left may have vouched for.
    async fn end(
        &self,
        catalogue: &Catalogue,
        open: &Replacement,
        out: u64,
        view: &View,
        vouched: &mut Option<Vouched>,
    ) -> bool {
        let set = self.replica.fence.set;
        let progress = self.replica.group.progress();
        let mine = vouched.take().filter(|it| it.replacement == open.id && it.term == view.term);
        let wanted =
            mine.unwrap_or(Vouched { replacement: open.id, term: view.term, index: progress.last_log });
        let index = wanted.index;
        *vouched = Some(wanted);
        let site = catalogue.site_of_replica(set, open.old);
        let stays = |id: u64| match out == open.old {
            true => id == open.new,
            false => id != out && catalogue.site_of_replica(set, id) == site,
        };
        let has = |id: u64| progress.matched.get(&id).is_some_and(|&matched| matched >= index);
        if !catalogue.replicas(set).iter().any(|replica| stays(replica.id) && has(replica.id)) {
            return false;
        }
        let command = Command::EndReplacement { set, id: open.id, replaced: out == open.old };
        match self.control.propose(&command).await {
            Ok(_) => info!(set, id = open.id, replica = out, "the replacement is over"),
            Err(error) => warn!(set, id = open.id, %error, "the end of the replacement is not recorded yet"),
        }
        true
    }
}

/// Which of the two is to leave: the old one, unless the replacement was given up while that still had its place.
fn leaving(open: &Replacement, view: &View) -> u64 {
    let placed = view.voters.contains(&open.new) || !is_member(view, open.old);
    if open.given_up && !placed { open.new } else { open.old }
}

fn is_member(view: &View, replica: u64) -> bool {
    view.voters.contains(&replica) || view.learners.contains(&replica)
}

#[cfg(test)]
mod tests {
    use twinset_control::Proof;

    use super::*;
    use crate::raft;

    fn view(voters: &[u64], learners: &[u64]) -> View {
        View {
            role: raft::Role::Leader,
            term: 1,
            leader: Some(2),
            voters: BTreeSet::from_iter(voters.iter().copied()),
            learners: BTreeSet::from_iter(learners.iter().copied()),
            changing: false,
            fault: None,
        }
    }

    #[test]
    fn what_was_given_up_is_undone_only_while_the_old_one_has_its_place() {
        let open = |given_up| {
            let (who, why) = ("ops".to_owned(), "test".to_owned());
            Replacement { id: 9, old: 1, new: 5, given_up, proof: Proof::Declared, who, why }
        };
        for (voters, learners, given_up, expected) in [
            (&[1, 2, 3][..], &[4, 5][..], false, 1),
            (&[1, 2, 3], &[4, 5], true, 5),
            (&[1, 2, 3], &[4], true, 5),
            // In the middle of the change, and after it.
            (&[1, 2, 3, 5], &[4], true, 1),
            (&[2, 3, 5], &[4], true, 1),
            // The old one was a learner.
            (&[2, 3, 4], &[5], true, 1),
        ] {
            assert_eq!(
                leaving(&open(given_up), &view(voters, learners)),
                expected,
                "{voters:?} {learners:?}"
            );
        }
    }
}

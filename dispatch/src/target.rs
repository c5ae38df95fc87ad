//! Which node to try next for one set: the leader that is believed in, or, while there is none, one replica after the
//! other, with short pauses. Pure: it is told the time and what happened, and sends nothing. Used by the set's lane
//! for writes and by each read for itself.

use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// The first pause after a refusal.
pub const PAUSE_MIN: Duration = Duration::from_millis(2);
/// The longest pause: a new leader must not wait for longer than this.
pub const PAUSE_MAX: Duration = Duration::from_millis(20);

/// How long the answer to a probe is waited for before the next replica is asked as well.
pub const PROBE_WAIT: Duration = Duration::from_millis(200);

/// A node's name.
pub type Node = Arc<str>;

/// What to do now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Choice {
    /// Send everything there.
    Send(Node),
    /// Ask there with one item whether it leads.
    Probe(Node),
    /// Nothing before then, unless the topology changes.
    WaitUntil(Instant),
}

/// The search for the leader of one set.
#[derive(Clone, Debug)]
pub struct Target {
    leader: Option<Node>,
    replicas: Arc<[Node]>,
    next_probe: usize,
    probing: Option<(Node, Instant)>,
    not_before: Option<Instant>,
    failures: u32,
}

impl Target {
    /// Starts with what the topology says.
    pub fn new(leader: Option<Node>, replicas: Arc<[Node]>) -> Self {
        Target { leader, replicas, next_probe: 0, probing: None, not_before: None, failures: 0 }
    }

    /// The node that is believed to lead.
    pub fn leader(&self) -> Option<&Node> {
        self.leader.as_ref()
    }

    /// The topology changed its mind about the leader: newer than anything learned before.
    pub fn learned(&mut self, leader: Option<Node>) {
        if leader.is_some() {
            self.failures = 0;
            self.not_before = None;
            self.probing = None;
        }
        self.leader = leader;
    }

    /// The catalogue placed the set anew.
    pub fn placed(&mut self, replicas: Arc<[Node]>) {
        self.replicas = replicas;
    }

    /// Where to send now. `is_up` says which nodes can be reached at all.
    pub fn choose(&mut self, now: Instant, is_up: impl Fn(&Node) -> bool) -> Choice {
        if let Some(until) = self.not_before.filter(|until| *until > now) {
            return Choice::WaitUntil(until);
        }
        self.not_before = None;
        if let Some(leader) = &self.leader {
            if is_up(leader) {
                return Choice::Send(leader.clone());
            }
            // A leader that is out of reach may be the leader still, but another one may have been elected.
            self.leader = None;
        }
        if let Some((_, until)) = self.probing.as_ref().filter(|(_, until)| *until > now) {
            return Choice::WaitUntil(*until);
        }
        let count = self.replicas.len();
        let found = (0..count).map(|n| (self.next_probe + n) % count).find(|n| is_up(&self.replicas[*n]));
        let Some(found) = found else { return Choice::WaitUntil(self.pause(now)) };
        self.next_probe = found + 1;
        Choice::Probe(self.replicas[found].clone())
    }

    /// A probe was sent.
    pub fn probed(&mut self, node: Node, now: Instant) {
        self.probing = Some((node, now + PROBE_WAIT));
    }

    /// The node answered as a leader does.
    pub fn succeeded(&mut self, node: &Node) {
        self.failures = 0;
        if self.is_awaited(node) || self.leader.is_none() {
            self.leader = Some(node.clone());
            self.probing = None;
            self.not_before = None;
        }
    }

    /// The node does not lead, and may have said who does. Refusals of nodes that are no longer asked say nothing.
    pub fn refused(&mut self, node: &Node, hint: Option<Node>, now: Instant) {
        if !self.is_awaited(node) {
            return;
        }
        self.probing = None;
        self.leader = hint.filter(|hint| hint != node);
        // The first hint is followed at once; nodes that point at each other must not be asked in a circle.
        if self.failures > 0 || self.leader.is_none() {
            self.pause(now);
        } else {
            self.failures = 1;
        }
    }

    /// The node leads and has too much to do.
    pub fn overloaded(&mut self, node: &Node, now: Instant) {
        if self.is_awaited(node) {
            self.leader = Some(node.clone());
            self.probing = None;
            self.pause(now);
        }
    }

    /// The connection to the node ended, or it gave no useful answer.
    pub fn lost(&mut self, node: &Node, now: Instant) {
        if self.is_awaited(node) {
            self.leader = None;
            self.probing = None;
            self.pause(now);
        }
    }

    fn is_awaited(&self, node: &Node) -> bool {
        self.leader.as_ref() == Some(node) || self.probing.as_ref().is_some_and(|(probed, _)| probed == node)
    }

    fn pause(&mut self, now: Instant) -> Instant {
        let pause = PAUSE_MIN.saturating_mul(1 << self.failures.min(8)).min(PAUSE_MAX);
        self.failures = self.failures.saturating_add(1);
        let until = now + pause;
        self.not_before = Some(until);
        until
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str) -> Node {
        Arc::from(name)
    }

    fn target(leader: Option<&str>) -> Target {
        Target::new(leader.map(node), ["a1", "a2", "b1"].map(node).into())
    }

    fn all(_: &Node) -> bool {
        true
    }

    #[test]
    fn a_known_leader_gets_everything() {
        assert_eq!(target(Some("a2")).choose(Instant::now(), all), Choice::Send(node("a2")));
    }

    #[test]
    fn the_first_hint_is_followed_at_once_and_circles_are_slow() {
        let now = Instant::now();
        let mut target = target(Some("a1"));
        target.refused(&node("a1"), Some(node("a2")), now);
        assert_eq!(target.choose(now, all), Choice::Send(node("a2")));
        target.refused(&node("a2"), Some(node("a1")), now);
        let Choice::WaitUntil(until) = target.choose(now, all) else { panic!("a circle is paused") };
        assert!(until > now && until <= now + PAUSE_MAX);
        assert_eq!(target.choose(until, all), Choice::Send(node("a1")));
    }

    #[test]
    fn without_a_leader_the_replicas_are_asked_in_turn_one_at_a_time() {
        let mut now = Instant::now();
        let mut target = target(None);
        for name in ["a1", "a2", "b1", "a1"] {
            assert_eq!(target.choose(now, all), Choice::Probe(node(name)));
            target.probed(node(name), now);
            assert_eq!(target.choose(now, all), Choice::WaitUntil(now + PROBE_WAIT));
            target.refused(&node(name), None, now);
            now += PAUSE_MAX;
        }
        target.succeeded(&node("b1"));
        assert_eq!(target.choose(now, all), Choice::Send(node("b1")));
    }

    #[test]
    fn a_silent_replica_does_not_hold_up_the_search() {
        let now = Instant::now();
        let mut target = target(None);
        target.probed(node("a1"), now);
        assert_eq!(target.choose(now + PROBE_WAIT, all), Choice::Probe(node("a1")));
        assert_eq!(target.choose(now + PROBE_WAIT, all), Choice::Probe(node("a2")));
    }

    #[test]
    fn news_end_a_pause() {
        let now = Instant::now();
        let mut target = target(Some("a1"));
        target.refused(&node("a1"), None, now);
        assert!(matches!(target.choose(now, all), Choice::WaitUntil(_)));
        target.learned(Some(node("b1")));
        assert_eq!(target.choose(now, all), Choice::Send(node("b1")));
        target.refused(&node("a1"), None, now);
        assert_eq!(target.choose(now, all), Choice::Send(node("b1")), "an old node's refusal says nothing");
    }

    #[test]
    fn a_node_out_of_reach_is_passed_over() {
        let now = Instant::now();
        let mut target = target(Some("a1"));
        assert_eq!(target.choose(now, |n| **n == *"b1"), Choice::Probe(node("b1")));
        let Choice::WaitUntil(until) = target.choose(now, |_| false) else { panic!("nobody is there") };
        assert!(until <= now + PAUSE_MAX);
    }

    #[test]
    fn an_overloaded_leader_stays_the_leader() {
        let now = Instant::now();
        let mut target = target(Some("a1"));
        target.overloaded(&node("a1"), now);
        let Choice::WaitUntil(until) = target.choose(now, all) else { panic!("it gets a pause") };
        assert_eq!(target.choose(until, all), Choice::Send(node("a1")));
    }
}

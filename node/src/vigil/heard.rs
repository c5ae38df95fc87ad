//! Whom a voter of the control set has heard, and whom the other voters have: what a silent node is judged by.

use std::collections::BTreeMap;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// What the voters of the control set know of who is alive. One per node; it grows no larger than the catalogue.
pub struct Heard {
    /// Since when this node has listened.
    began: Instant,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// When each node was heard here.
    here: BTreeMap<String, Instant>,
    /// What other voters have said: when, and how long each node had been silent to them then.
    elsewhere: BTreeMap<String, (Instant, BTreeMap<String, Duration>)>,
}

impl Heard {
    /// Nobody was heard yet.
    pub fn new(now: Instant) -> Self {
        Heard { began: now, state: Mutex::default() }
    }

    /// A node is alive, and has heard the others so long ago.
    pub fn beat(&self, now: Instant, node: &str, silent: BTreeMap<String, Duration>) {
        let mut state = self.state.lock();
        state.here.insert(node.to_owned(), now);
        if !silent.is_empty() {
            state.elsewhere.insert(node.to_owned(), (now, silent));
        }
    }

    /// How long each of `nodes` has been silent to this node alone; who was never heard, since this node began to listen.
    pub fn silent_here<'a>(
        &self,
        now: Instant,
        nodes: impl Iterator<Item = &'a str>,
    ) -> BTreeMap<String, Duration> {
        let state = self.state.lock();
        let silent = |node: &str| now - state.here.get(node).copied().unwrap_or(self.began);
        nodes.map(|node| (node.to_owned(), silent(node))).collect()
    }

    /// How long `node` has been silent to this node and to every one of `voters` that was heard within `fresh`; and who these
    /// voters are. A voter that does not know the node says nothing of it.
    pub fn silent<'a>(
        &self,
        now: Instant,
        node: &str,
        voters: impl Iterator<Item = &'a str>,
        fresh: Duration,
    ) -> (Duration, Vec<&'a str>) {
        let state = self.state.lock();
        let mut least = now - state.here.get(node).copied().unwrap_or(self.began);
        let mut witnesses = Vec::new();
        for voter in voters {
            let Some((said_at, silent)) = state.elsewhere.get(voter) else { continue };
            let since = now - *said_at;
            if let Some(silent) = silent.get(node).filter(|_| since <= fresh) {
                least = least.min(*silent + since);
                witnesses.push(voter);
            }
        }
        (least, witnesses)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_node_is_as_silent_as_it_is_to_whoever_heard_it_last() {
        let (start, fresh) = (Instant::now(), seconds(1));
        let at = |second| start + seconds(second);
        let heard = Heard::new(start);
        let silent =
            |second, voters: &[&'static str]| heard.silent(at(second), "a1", voters.iter().copied(), fresh);
        assert_eq!(silent(2, &["c1"]), (seconds(2), vec![]), "it was never heard");
        heard.beat(at(2), "a1", BTreeMap::new());
        assert_eq!(silent(7, &["c1"]), (seconds(5), vec![]));
        heard.beat(at(7), "c1", BTreeMap::from([("a1".to_owned(), seconds(3))]));
        assert_eq!(silent(8, &["b1", "c1"]), (seconds(4), vec!["c1"]));
        assert_eq!(silent(8, &[]), (seconds(6), vec![]), "nobody else is asked");
        assert_eq!(silent(9, &["c1"]), (seconds(7), vec![]), "its word is old");
        let here = heard.silent_here(at(9), ["a1", "c1", "b1"].into_iter());
        let expected = [("a1", 7), ("b1", 9), ("c1", 2)].map(|(node, s)| (node.to_owned(), seconds(s)));
        assert_eq!(here, BTreeMap::from(expected));
    }
}

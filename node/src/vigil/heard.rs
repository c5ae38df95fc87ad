//! Whom a voter of the control set has heard, and whom the other voters have: what a silent node is judged by.

use std::collections::BTreeMap;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// Who was heard, or heard of.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// The node itself.
    Node(String),
    /// Somebody leads the set with a majority behind him.
    Set(u32),
}

/// A voter that has just begun to listen has not heard what there was to hear: silence since before that counts only after this.
const SETTLE: Duration = Duration::from_secs(30);

/// What the voters of the control set know of who is alive. One per node; it grows no larger than the catalogue.
pub struct Heard {
    /// Since when this node has listened.
    began: Instant,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// When each node was heard here.
    here: BTreeMap<Subject, Instant>,
    /// What other voters have said: when, and how long each node had been silent to them then.
    elsewhere: BTreeMap<String, (Instant, BTreeMap<Subject, Duration>)>,
}

impl Heard {
    /// Nobody was heard yet.
    pub fn new(now: Instant) -> Self {
        Heard { began: now, state: Mutex::default() }
    }

    /// A node is alive, leads these sets, and has heard the others so long ago.
    pub fn beat(&self, now: Instant, node: &str, led: &[u32], silent: BTreeMap<Subject, Duration>) {
        let mut state = self.state.lock();
        state.here.insert(Subject::Node(node.to_owned()), now);
        state.here.extend(led.iter().map(|&set| (Subject::Set(set), now)));
        if !silent.is_empty() {
            state.elsewhere.insert(node.to_owned(), (now, silent));
        }
    }

    fn silent_to_me(&self, state: &State, now: Instant, subject: &Subject) -> Duration {
        match state.here.get(subject) {
            Some(&heard) => now.saturating_duration_since(heard),
            None => now.saturating_duration_since(self.began + SETTLE),
        }
    }

    /// Whether `subject` was heard here so lately: that it was not silent for long yet is not enough.
    pub fn was_heard(&self, now: Instant, subject: &Subject, lately: Duration) -> bool {
        let state = self.state.lock();
        state.here.get(subject).is_some_and(|&heard| now.saturating_duration_since(heard) <= lately)
    }

    /// How long each of `subjects` has been silent to this node alone.
    pub fn silent_here(
        &self,
        now: Instant,
        subjects: impl Iterator<Item = Subject>,
    ) -> BTreeMap<Subject, Duration> {
        let state = self.state.lock();
        subjects.map(|subject| (subject.clone(), self.silent_to_me(&state, now, &subject))).collect()
    }

    /// How long `subject` has been silent to this node and to every one of `voters` that was heard within `fresh`; and who these
    /// voters are. A voter that does not know the subject says nothing of it.
    pub fn silent<'a>(
        &self,
        now: Instant,
        subject: &Subject,
        voters: impl Iterator<Item = &'a str>,
        fresh: Duration,
    ) -> (Duration, Vec<&'a str>) {
        let state = self.state.lock();
        let mut least = self.silent_to_me(&state, now, subject);
        let mut witnesses = Vec::new();
        for voter in voters {
            let Some((said_at, silent)) = state.elsewhere.get(voter) else { continue };
            let since = now.saturating_duration_since(*said_at);
            if let Some(silent) = silent.get(subject).filter(|_| since <= fresh) {
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

    fn node(name: &str) -> Subject {
        Subject::Node(name.to_owned())
    }

    #[test]
    fn a_node_is_as_silent_as_it_is_to_whoever_heard_it_last() {
        let (start, fresh) = (Instant::now(), seconds(1));
        let at = |second| start + seconds(second);
        let heard = Heard::new(start);
        let silent = |second, voters: &[&'static str]| {
            heard.silent(at(second), &node("a1"), voters.iter().copied(), fresh)
        };
        assert_eq!(silent(20, &["c1"]), (seconds(0), vec![]), "this one has not listened for long");
        assert_eq!(silent(32, &["c1"]), (seconds(2), vec![]), "it was never heard");
        heard.beat(at(32), "a1", &[3], BTreeMap::new());
        assert_eq!(silent(37, &["c1"]), (seconds(5), vec![]));
        heard.beat(at(37), "c1", &[], BTreeMap::from([(node("a1"), seconds(3))]));
        assert_eq!(silent(38, &["b1", "c1"]), (seconds(4), vec!["c1"]));
        assert_eq!(silent(38, &[]), (seconds(6), vec![]), "nobody else is asked");
        assert_eq!(silent(39, &["c1"]), (seconds(7), vec![]), "its word is old");
        let subjects = [node("a1"), node("c1"), node("b1"), Subject::Set(3), Subject::Set(4)];
        let here = heard.silent_here(at(39), subjects.clone().into_iter());
        let expected = subjects.into_iter().zip([7, 2, 9, 7, 9].map(seconds));
        assert_eq!(here, expected.collect());
    }
}

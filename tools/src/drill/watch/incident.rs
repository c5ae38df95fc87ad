//! What nobody planned, found in one look after the other: when it began, when every set served again, when all was as before.
//! Pure.

use std::collections::{BTreeMap, VecDeque};

use super::scrape::Counts;
use crate::drill::moment::Moment;

/// Looks that are kept of the time before.
const BEFORE: usize = 30;
/// So many looks in a row in which every set has a leader: it serves again.
const SERVES_AFTER: usize = 5;
/// So many looks in a row in which nothing is wrong: it is over.
const OVER_AFTER: usize = 10;
/// Looks of one report at most, an hour: what lasts longer is told as it stands then.
const LOOKS_MAX: usize = 3_600;

/// One look.
#[derive(Clone, Debug, Default)]
pub struct Look {
    /// The sets and who is silent.
    pub moment: Moment,
    /// What clients' calls came to since the look before.
    pub calls: Counts,
    /// Whether sets are moved, isolated or drilled on purpose.
    pub planned: bool,
}

/// Something that nobody planned.
#[derive(Clone, Debug)]
pub struct Incident {
    /// What was seen first.
    pub what: String,
    /// Every look, from before it on.
    pub looks: Vec<Look>,
    /// Which of them was the first with something wrong.
    pub began: usize,
    /// From which on every set had a leader; none yet.
    pub served: Option<usize>,
    /// From which on nothing was wrong; none yet.
    pub over: Option<usize>,
}

/// What a look has brought.
#[derive(Clone, Debug)]
pub enum News {
    /// Nothing to tell.
    None,
    /// Something has begun.
    Began(String),
    /// Every set serves again; it is not over yet.
    Serves(Incident),
    /// It is over, or has lasted too long for one report.
    Over(Incident),
}

/// Looks and remembers.
#[derive(Debug, Default)]
pub struct Watcher {
    past: VecDeque<Look>,
    /// Who led each set last, and in which incarnation.
    led: BTreeMap<u32, (String, u32)>,
    open: Option<Incident>,
    has_told: bool,
}

impl Watcher {
    /// Takes in a look.
    pub fn look(&mut self, look: Look) -> News {
        let trouble = self.trouble(&look);
        for (set, seen) in &look.moment.sets {
            if let Some(leader) = &seen.leader {
                self.led.insert(*set, (leader.clone(), seen.incarnation));
            }
        }
        let Some(mut incident) = self.open.take() else {
            return match trouble.filter(|_| !look.planned) {
                None => {
                    self.keep(look);
                    News::None
                }
                Some(what) => {
                    let mut looks: Vec<Look> = self.past.drain(..).collect();
                    let began = looks.len();
                    looks.push(look);
                    let incident = Incident { what: what.clone(), looks, began, served: None, over: None };
                    (self.open, self.has_told) = (Some(incident), false);
                    News::Began(what)
                }
            };
        };
        incident.looks.push(look);
        let last_with =
            |wrong: fn(&Look) -> bool| incident.looks.iter().rposition(wrong).map_or(0, |at| at + 1);
        let (served, over) = (last_with(leaderless), last_with(wrong));
        let lasted = |from: usize, looks: usize| (incident.looks.len() - from >= looks).then_some(from);
        // A new leader is news that is over at once.
        (incident.served, incident.over) =
            (lasted(served.max(incident.began), SERVES_AFTER), lasted(over.max(incident.began), OVER_AFTER));
        if incident.over.is_some() || incident.looks.len() - incident.began >= LOOKS_MAX {
            for look in incident.looks.iter().rev().take(BEFORE).rev() {
                self.keep(look.clone());
            }
            return News::Over(incident);
        }
        let tells = incident.served.is_some() && !self.has_told;
        self.has_told |= tells;
        let news = if tells { News::Serves(incident.clone()) } else { News::None };
        self.open = Some(incident);
        news
    }

    fn keep(&mut self, look: Look) {
        if self.past.len() == BEFORE {
            self.past.pop_front();
        }
        self.past.push_back(look);
    }

    /// What is wrong, or has changed, and was not at the look before.
    fn trouble(&self, look: &Look) -> Option<String> {
        for (set, seen) in &look.moment.sets {
            let Some(leader) = &seen.leader else { return Some(format!("set {set} has no leader")) };
            match self.led.get(set) {
                Some((_, incarnation)) if *incarnation != seen.incarnation => {
                    return Some(format!("set {set} was recovered and is led by {leader}"));
                }
                Some((before, _)) if before != leader => {
                    return Some(format!("set {set} is led by {leader}, and no longer by {before}"));
                }
                _ => {}
            }
            if seen.is_unsafe() {
                return Some(format!("set {set} is {}", seen.phase));
            }
        }
        look.moment.silent.first().map(|name| format!("{name} does not answer"))
    }
}

fn leaderless(look: &Look) -> bool {
    look.moment.sets.values().any(|set| set.leader.is_none())
}

fn wrong(look: &Look) -> bool {
    leaderless(look)
        || look.moment.sets.values().any(crate::drill::moment::SetMoment::is_unsafe)
        || !look.moment.silent.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drill::moment::SetMoment;

    fn look(leader: Option<&str>, phase: &str) -> Look {
        let leader = leader.map(str::to_owned);
        let set = SetMoment { leader, home: "A".into(), phase: phase.into(), incarnation: 1 };
        let moment = Moment { sets: [(1, set)].into(), ..Moment::default() };
        Look { moment, ..Look::default() }
    }

    fn news(watcher: &mut Watcher, look: Look, times: usize) -> Vec<News> {
        let all = (0..times).map(|_| watcher.look(look.clone()));
        all.filter(|news| !matches!(news, News::None)).collect()
    }

    #[test]
    fn what_is_planned_and_what_is_well_is_no_news() {
        let mut watcher = Watcher::default();
        assert!(news(&mut watcher, look(Some("a1"), "SYNC"), 100).is_empty());
        let moved = Look { planned: true, ..look(Some("b1"), "SYNC") };
        assert!(news(&mut watcher, moved, 3).is_empty());
        let isolated = Look { planned: true, ..look(Some("b1"), "DEGRADED") };
        assert!(news(&mut watcher, isolated, 3).is_empty());
        assert!(news(&mut watcher, look(Some("b1"), "SYNC"), 3).is_empty(), "the move is known by now");
    }

    #[test]
    fn a_failover_is_told_when_every_set_serves_and_when_all_is_as_before() {
        let mut watcher = Watcher::default();
        news(&mut watcher, look(Some("a1"), "SYNC"), 50);
        let began = news(&mut watcher, look(None, "SYNC"), 2);
        assert!(matches!(&began[..], [News::Began(what)] if what == "set 1 has no leader"), "{began:?}");
        let serves = news(&mut watcher, look(Some("a2"), "DEGRADED"), 8);
        let [News::Serves(incident)] = &serves[..] else { panic!("{serves:?}") };
        assert_eq!((incident.began, incident.served, incident.over), (30, Some(32), None));
        let over = news(&mut watcher, look(Some("a2"), "SYNC"), 10);
        let [News::Over(incident)] = &over[..] else { panic!("{over:?}") };
        assert_eq!((incident.served, incident.over, incident.looks.len()), (Some(32), Some(40), 50));
        assert!(news(&mut watcher, look(Some("a2"), "SYNC"), 50).is_empty());
    }

    #[test]
    fn a_leader_that_changes_between_two_looks_is_news_too() {
        let mut watcher = Watcher::default();
        news(&mut watcher, look(Some("a1"), "SYNC"), 1);
        let changed = news(&mut watcher, look(Some("a2"), "SYNC"), 20);
        let [News::Began(what), News::Serves(_), News::Over(incident)] = &changed[..] else {
            panic!("{changed:?}")
        };
        assert_eq!(what, "set 1 is led by a2, and no longer by a1");
        assert_eq!(incident.over, Some(1));
    }

    #[test]
    fn what_does_not_end_is_told_all_the_same() {
        let mut watcher = Watcher::default();
        let told = news(&mut watcher, look(None, "SYNC"), LOOKS_MAX + 1);
        let [News::Began(_), News::Over(incident), ..] = &told[..] else { panic!("{}", told.len()) };
        assert_eq!((incident.looks.len(), incident.served, incident.over), (LOOKS_MAX, None, None));
    }
}

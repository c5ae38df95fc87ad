//! When delayed packets go on: pure, told the time. Packets of one connection keep their order, connections overtake each
//! other. [`super::delay`] stands above and lets them go.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use twinset_tools::load::random::Random;

use super::nfqueue::{Flow, Packet};

/// A link by the addresses of its ends.
pub type Path = (Ipv4Addr, Ipv4Addr);

/// How long packets of some links wait, for one fault.
#[derive(Clone, Debug)]
struct Wait {
    paths: Vec<Path>,
    delay: Duration,
    jitter: Duration,
    /// Packets that have waited.
    packets: u64,
}

/// A packet that waits: which queue has it, under which name, since when in the order of arrival.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Waiting {
    due: Instant,
    arrived: u64,
    queue: usize,
    id: u32,
    path: Path,
}

/// All packets that wait. The kernel bounds how many there are.
pub struct Schedule {
    waits: BTreeMap<u64, Wait>,
    waiting: BinaryHeap<Reverse<Waiting>>,
    /// When the last packet of a connection goes: the next one may not pass it.
    last: BTreeMap<Flow, Instant>,
    arrived: u64,
    random: Random,
}

/// Connections remembered before those that are over are forgotten.
const FLOWS_KEPT: usize = 4_096;

impl Schedule {
    /// Nothing waits. The jitter comes from `seed`.
    pub fn new(seed: u64) -> Self {
        Schedule {
            waits: BTreeMap::new(),
            waiting: BinaryHeap::new(),
            last: BTreeMap::new(),
            arrived: 0,
            random: Random::seeded(seed),
        }
    }

    /// From now on packets on these links wait; those of links that several faults delay wait for all of them.
    pub fn delay(&mut self, number: u64, paths: Vec<Path>, delay: Duration, jitter: Duration) {
        self.waits.insert(number, Wait { paths, delay, jitter, packets: 0 });
    }

    /// Undoes a delay; what waits on links that no other fault delays is due at once. Gives the number of packets that it
    /// has delayed.
    pub fn heal(&mut self, number: u64, now: Instant) -> u64 {
        let Some(healed) = self.waits.remove(&number) else { return 0 };
        let waits = &self.waits;
        let free = |path: &Path| !waits.values().any(|wait| wait.paths.contains(path));
        let hurried = self.waiting.drain().map(|Reverse(mut waiting)| {
            if free(&waiting.path) {
                waiting.due = waiting.due.min(now);
            }
            Reverse(waiting)
        });
        self.waiting = hurried.collect();
        self.last.retain(|flow, _| !free(&(flow.from, flow.to)));
        healed.packets
    }

    /// A packet has arrived.
    pub fn arrive(&mut self, now: Instant, queue: usize, packet: &Packet) {
        let path = (packet.flow.from, packet.flow.to);
        let mut due = now;
        for wait in self.waits.values_mut().filter(|wait| wait.paths.contains(&path)) {
            let jitter_us = usize::try_from(wait.jitter.as_micros()).unwrap_or(usize::MAX);
            let more = self.random.below(jitter_us.saturating_add(1));
            due += wait.delay + Duration::from_micros(more as u64);
            wait.packets += 1;
        }
        if due > now {
            if self.last.len() >= FLOWS_KEPT {
                self.last.retain(|_, last| *last > now);
            }
            let last = self.last.entry(packet.flow).or_insert(due);
            due = due.max(*last);
            *last = due;
        }
        self.arrived += 1;
        self.waiting.push(Reverse(Waiting { due, arrived: self.arrived, queue, id: packet.id, path }));
    }

    /// The next packet that may go: its queue and its name there.
    pub fn pop_due(&mut self, now: Instant) -> Option<(usize, u32)> {
        if self.next_due()? > now {
            return None;
        }
        self.waiting.pop().map(|Reverse(waiting)| (waiting.queue, waiting.id))
    }

    /// When the next packet may go.
    pub fn next_due(&self) -> Option<Instant> {
        self.waiting.peek().map(|Reverse(waiting)| waiting.due)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Ipv4Addr = Ipv4Addr::new(10, 99, 1, 10);
    const B: Ipv4Addr = Ipv4Addr::new(10, 99, 2, 12);

    fn packet(id: u32, port: u8) -> Packet {
        Packet { id, flow: Flow { from: A, to: B, ports: [0, 0, 0, port] } }
    }

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn drain(schedule: &mut Schedule, now: Instant) -> Vec<u32> {
        std::iter::from_fn(|| schedule.pop_due(now)).map(|(_, id)| id).collect()
    }

    #[test]
    fn connections_overtake_each_other_and_keep_their_own_order() {
        let (mut schedule, now) = (Schedule::new(1), Instant::now());
        schedule.delay(1, vec![(A, B)], ms(10), ms(50));
        for id in 0..200 {
            schedule.arrive(now + ms(u64::from(id)), 0, &packet(id, (id % 4) as u8));
        }
        assert_eq!(drain(&mut schedule, now + ms(9)), [0_u32; 0]);
        let order = drain(&mut schedule, now + ms(1_000));
        assert_eq!(order.len(), 200);
        assert!(!order.is_sorted());
        for port in 0..4 {
            assert!(order.iter().filter(|id| *id % 4 == port).is_sorted());
        }
        assert_eq!(schedule.heal(1, now), 200);
    }

    #[test]
    fn healing_lets_everything_go_at_once_and_twice_is_harmless() {
        let (mut schedule, now) = (Schedule::new(1), Instant::now());
        schedule.delay(1, vec![(A, B)], ms(500), ms(0));
        schedule.arrive(now, 0, &packet(1, 1));
        schedule.arrive(now, 0, &packet(2, 1));
        assert_eq!(schedule.next_due(), Some(now + ms(500)));
        assert_eq!(schedule.heal(1, now + ms(1)), 2);
        assert_eq!(drain(&mut schedule, now + ms(1)), [1, 2]);
        assert_eq!(schedule.heal(1, now), 0);
        schedule.arrive(now, 0, &packet(3, 1));
        assert_eq!(drain(&mut schedule, now), [3]);
    }

    #[test]
    fn delays_of_two_faults_add_up_and_one_may_go_first() {
        let (mut schedule, now) = (Schedule::new(1), Instant::now());
        schedule.delay(1, vec![(A, B), (B, A)], ms(100), ms(0));
        schedule.delay(2, vec![(A, B)], ms(10), ms(0));
        schedule.arrive(now, 0, &packet(1, 1));
        assert_eq!(schedule.next_due(), Some(now + ms(110)));
        assert_eq!(schedule.heal(2, now), 1);
        assert_eq!(schedule.next_due(), Some(now + ms(110)));
        assert_eq!(schedule.heal(1, now), 1);
        assert_eq!(drain(&mut schedule, now), [1]);
    }

    #[test]
    fn a_link_in_one_direction_leaves_the_other_alone() {
        let (mut schedule, now) = (Schedule::new(1), Instant::now());
        schedule.delay(1, vec![(B, A)], ms(100), ms(0));
        schedule.arrive(now, 0, &packet(1, 1));
        assert_eq!(drain(&mut schedule, now), [1]);
    }
}

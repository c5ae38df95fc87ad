//! The connections of a node that drills may cut or slow down, and who is at their other ends. A dialled one is known
//! by its address, which the catalogue has; an accepted one by the name that its first call carries
//! (`dispatch/src/drill.rs`): before that nobody can say whose it is, and it is free. What becomes of their bytes is
//! [`super::stream`]'s.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use futures::task::AtomicWaker;
use parking_lot::Mutex;
use tokio::sync::watch;
use twinset_control::Catalogue;
use twinset_dispatch::drill::Caller;

use super::harm::{Far, Harm, Link};
use crate::platform::Stream;

/// Connections that are over here while a cut keeps the other end from hearing of it. The oldest is closed for one
/// more: by then its other end has given up, too.
const BURIED_MAX: usize = 256;

/// Which way bytes go, as this node sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    In,
    Out,
}

/// What becomes of bytes that go one way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Passage {
    /// They pass.
    Free,
    /// They arrive so much later.
    Late(Duration),
    /// They do not arrive.
    Shut,
}

const SHUT: u32 = u32::MAX;

impl Passage {
    /// 0 is free, the rest milliseconds, the greatest number shut.
    fn pack(self) -> u32 {
        match self {
            Passage::Free => 0,
            Passage::Late(by) => u32::try_from(by.as_millis()).map_or(SHUT - 1, |ms| ms.clamp(1, SHUT - 1)),
            Passage::Shut => SHUT,
        }
    }

    fn unpack(packed: u32) -> Passage {
        match packed {
            0 => Passage::Free,
            SHUT => Passage::Shut,
            ms => Passage::Late(Duration::from_millis(ms.into())),
        }
    }

    /// What holds bytes up more.
    fn worse(self, other: Passage) -> Passage {
        if self.pack() >= other.pack() { self } else { other }
    }
}

/// Which port a connection came in by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Door {
    /// Routers, operators and control clients. What asks for faults alone comes in here, and is never cut.
    Api,
    /// Other nodes, or who scrapes metrics.
    Other,
}

/// One connection.
pub(crate) struct Line {
    end: End,
    /// What becomes of its bytes: in the low half those that come in, in the high half those that go out.
    passages: AtomicU64,
    /// A call that nobody answers came in by it: then it was never open, in either direction.
    refused: AtomicBool,
    reader: AtomicWaker,
    writer: AtomicWaker,
    lines: Weak<Lines>,
}

enum End {
    /// By the address.
    Dialled(String),
    /// By the first call that is not about faults.
    Accepted(Door, OnceLock<Option<Caller>>),
}

impl Line {
    /// Whether nothing becomes of its bytes: all that is asked while there is no fault.
    pub(super) fn is_free(&self) -> bool {
        self.passages.load(Ordering::Relaxed) == 0
    }

    pub(super) fn passage(&self, way: Way) -> Passage {
        let packed = self.passages.load(Ordering::Relaxed);
        let half = match way {
            Way::In => packed & u64::from(u32::MAX),
            Way::Out => packed >> 32,
        };
        Passage::unpack(u32::try_from(half).expect("a half has 32 bits"))
    }

    /// The same; unless it is free, the task is woken when it changes.
    pub(super) fn watched(&self, way: Way, cx: &Context<'_>) -> Passage {
        let now = self.passage(way);
        if now == Passage::Free {
            return now;
        }
        match way {
            Way::In => self.reader.register(cx.waker()),
            Way::Out => self.writer.register(cx.waker()),
        }
        self.passage(way)
    }

    /// Ready when a connection can be opened: not while it is cut in either direction.
    pub(super) fn poll_open(&self, cx: &Context<'_>) -> Poll<()> {
        let shut = [Way::In, Way::Out].map(|way| self.watched(way, cx)).contains(&Passage::Shut);
        if shut { Poll::Pending } else { Poll::Ready(()) }
    }

    fn set(&self, [inbound, outbound]: [Passage; 2]) {
        let packed = u64::from(inbound.pack()) | u64::from(outbound.pack()) << 32;
        if self.passages.swap(packed, Ordering::Relaxed) != packed {
            self.reader.wake();
            self.writer.wake();
        }
    }

    /// Keeps a connection that is over here, so that the other end does not hear of it before the cut ends.
    pub(super) fn bury(&self, stream: Box<dyn Stream>) {
        if let Some(lines) = self.lines.upgrade() {
            lines.bury(stream);
        }
    }

    /// A call has come in, about anything but faults. Whether it may be answered.
    pub(crate) fn called(self: &Arc<Self>, user_agent: Option<&str>) -> bool {
        let (End::Accepted(_, caller), Some(lines)) = (&self.end, self.lines.upgrade()) else { return true };
        if caller.get().is_none() {
            let named = caller.set(user_agent.and_then(Caller::parse));
            // Another call may have been first, by the same connection: the caller is the same.
            drop(named);
            lines.look_at(self);
        }
        if [Way::In, Way::Out].map(|way| self.passage(way)).contains(&Passage::Shut) {
            self.refused.store(true, Ordering::Relaxed);
            lines.look_at(self);
            return false;
        }
        true
    }
}

/// What one fault does to connections.
struct Cut {
    /// None: everybody.
    far: Option<Far>,
    passages: [Passage; 2],
}

/// Who is at the other end of a connection.
enum Other<'a> {
    /// This node itself.
    Us,
    Known {
        name: &'a str,
        site: &'a str,
    },
    /// Somebody who does not say who it is.
    Unknown,
    /// Somebody who has asked for nothing yet, or for faults alone.
    Unheard,
}

impl Cut {
    fn covers(&self, other: &Other<'_>) -> bool {
        match (other, &self.far) {
            (Other::Us | Other::Unheard, _) => false,
            (_, None) => true,
            (Other::Known { name, .. }, Some(Far::Process(far))) => name == far,
            (Other::Known { site, .. }, Some(Far::Site(far))) => site == far,
            (Other::Unknown, Some(_)) => false,
        }
    }
}

/// All connections of a node.
pub(crate) struct Lines {
    me: String,
    catalogue: OnceLock<watch::Receiver<Option<Arc<Catalogue>>>>,
    state: Mutex<State>,
    own: Weak<Lines>,
}

#[derive(Default)]
struct State {
    open: Vec<Weak<Line>>,
    cuts: BTreeMap<u64, Cut>,
    buried: VecDeque<Box<dyn Stream>>,
}

impl Lines {
    /// Of the node `me`.
    pub(super) fn new(me: String) -> Arc<Lines> {
        Arc::new_cyclic(|own| Lines {
            me,
            catalogue: OnceLock::new(),
            state: Mutex::default(),
            own: own.clone(),
        })
    }

    /// Addresses are looked up here from now on; what is given first stays.
    pub(super) fn follow(&self, catalogue: watch::Receiver<Option<Arc<Catalogue>>>) {
        self.catalogue.get_or_init(|| catalogue);
    }

    pub(super) fn catalogue(&self) -> Option<Arc<Catalogue>> {
        self.catalogue.get()?.borrow().clone()
    }

    /// A connection that is about to be opened to an address.
    pub(super) fn dialled(&self, address: String) -> Arc<Line> {
        self.add(End::Dialled(address))
    }

    /// A connection that has come in.
    pub(crate) fn accepted(&self, door: Door) -> Arc<Line> {
        self.add(End::Accepted(door, OnceLock::new()))
    }

    fn add(&self, end: End) -> Arc<Line> {
        let line = Arc::new(Line {
            end,
            passages: AtomicU64::new(0),
            refused: AtomicBool::new(false),
            reader: AtomicWaker::new(),
            writer: AtomicWaker::new(),
            lines: self.own.clone(),
        });
        let mut state = self.state.lock();
        state.open.retain(|line| line.strong_count() > 0);
        state.open.push(Arc::downgrade(&line));
        self.judge(&line, &state.cuts);
        line
    }

    /// Begins what a harm does to connections; nothing, for most of them.
    pub(super) fn cut(&self, id: u64, harm: &Harm) {
        let of = |link: &Link, passage| {
            let passages = [link.inbound, link.outbound].map(|on| if on { passage } else { Passage::Free });
            Cut { far: Some(link.far.clone()), passages }
        };
        let cut = match harm {
            Harm::Drop(link) => of(link, Passage::Shut),
            Harm::Delay(link, by) => of(link, Passage::Late(*by)),
            Harm::Silence => Cut { far: None, passages: [Passage::Shut; 2] },
            _ => return,
        };
        let mut state = self.state.lock();
        state.cuts.insert(id, cut);
        self.judge_all(&state);
    }

    /// Ends it.
    pub(super) fn mend(&self, id: u64) {
        let mut state = self.state.lock();
        if state.cuts.remove(&id).is_none() {
            return;
        }
        self.judge_all(&state);
        let shut = state.cuts.values().any(|cut| cut.passages.contains(&Passage::Shut));
        let buried = if shut { VecDeque::new() } else { std::mem::take(&mut state.buried) };
        drop(state);
        drop(buried);
    }

    fn look_at(&self, line: &Line) {
        self.judge(line, &self.state.lock().cuts);
    }

    fn judge_all(&self, state: &State) {
        for line in state.open.iter().filter_map(Weak::upgrade) {
            self.judge(&line, &state.cuts);
        }
    }

    fn judge(&self, line: &Line, cuts: &BTreeMap<u64, Cut>) {
        let catalogue = self.catalogue();
        let other = self.other(line, catalogue.as_deref());
        let covering = cuts.values().filter(|cut| cut.covers(&other));
        let mut passages = covering.fold([Passage::Free; 2], |[inbound, outbound], cut| {
            [inbound.worse(cut.passages[0]), outbound.worse(cut.passages[1])]
        });
        if !passages.contains(&Passage::Shut) {
            line.refused.store(false, Ordering::Relaxed);
        } else if line.refused.load(Ordering::Relaxed) {
            passages = [Passage::Shut; 2];
        }
        line.set(passages);
    }

    fn other<'a>(&self, line: &'a Line, catalogue: Option<&'a Catalogue>) -> Other<'a> {
        let (name, site) = match &line.end {
            End::Dialled(address) => {
                let mut nodes = catalogue.iter().flat_map(|catalogue| catalogue.nodes.iter());
                let found = nodes
                    .find(|(_, node)| [&node.api_addr, &node.peer_addr, &node.http_addr].contains(&address));
                let Some((name, node)) = found else { return Other::Unknown };
                (name.as_str(), node.site.as_str())
            }
            End::Accepted(door, caller) => match (door, caller.get()) {
                (Door::Api, None) => return Other::Unheard,
                (_, Some(Some(caller))) => (caller.name.as_str(), caller.site.as_str()),
                (_, _) => return Other::Unknown,
            },
        };
        if name == self.me { Other::Us } else { Other::Known { name, site } }
    }

    fn bury(&self, stream: Box<dyn Stream>) {
        let mut state = self.state.lock();
        let oldest = (state.buried.len() >= BURIED_MAX).then(|| state.buried.pop_front());
        state.buried.push_back(stream);
        drop(state);
        drop(oldest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODES: [(&str, &str, u16); 4] = [("a1", "A", 1), ("a2", "A", 2), ("b1", "B", 3), ("b2", "B", 4)];

    fn address(name: &str, lane: &str) -> String {
        let (_, _, n) = NODES.iter().find(|node| node.0 == name).unwrap();
        format!("127.0.0.1:{lane}{n}")
    }

    /// Of a1, in a cluster of four.
    fn lines() -> Arc<Lines> {
        let mut text = "[cluster]\nname = \"test\"\n".to_owned();
        for (name, site, _) in NODES {
            let [api, peer, http] = ["10", "20", "30"].map(|lane| address(name, lane));
            text += &format!(
                "[[node]]\nname = {name:?}\nsite = {site:?}\napi = {api:?}\npeer = {peer:?}\nhttp = {http:?}\n"
            );
        }
        let topology: twinset_control::Topology = toml::from_str(&text).unwrap();
        let lines = Lines::new("a1".to_owned());
        lines.follow(watch::channel(Some(Arc::new(topology.place("id").unwrap()))).1);
        lines
    }

    fn called(line: &Arc<Line>, name: &str, site: &str, router: bool) -> bool {
        let caller = Caller { name: name.into(), site: site.into(), router };
        line.called(Some(&format!("{} tonic/0.14.9", caller.user_agent())))
    }

    fn passages(line: &Line) -> [Passage; 2] {
        [line.passage(Way::In), line.passage(Way::Out)]
    }

    fn site_b(inbound: bool, outbound: bool) -> Link {
        Link { far: Far::Site("B".into()), inbound, outbound }
    }

    const FREE: [Passage; 2] = [Passage::Free; 2];
    const SHUT_BOTH: [Passage; 2] = [Passage::Shut; 2];

    #[test]
    fn a_cut_is_for_the_connections_with_the_node_or_the_site_it_names_whoever_opened_them() {
        let lines = lines();
        let dialled = ["a2", "b1", "b2"].map(|name| lines.dialled(address(name, "20")));
        let accepted = [("a2", "A"), ("b1", "B")].map(|(name, site)| {
            let line = lines.accepted(Door::Other);
            assert!(called(&line, name, site, false));
            line
        });
        let router = lines.accepted(Door::Api);
        assert!(called(&router, "rb", "B", true));
        lines.cut(1, &Harm::Drop(site_b(true, true)));
        let found = dialled.iter().chain(&accepted).chain([&router]).map(|line| passages(line));
        assert_eq!(found.collect::<Vec<_>>(), [FREE, SHUT_BOTH, SHUT_BOTH, FREE, SHUT_BOTH, SHUT_BOTH]);
        let late = Passage::Late(Duration::from_millis(7));
        let link = Link { far: Far::Process("a2".into()), inbound: false, outbound: true };
        lines.cut(2, &Harm::Delay(link, Duration::from_millis(7)));
        assert_eq!(passages(&dialled[0]), [Passage::Free, late]);
        assert_eq!(passages(&accepted[0]), [Passage::Free, late]);
        assert_eq!(passages(&lines.dialled(address("b1", "10"))), SHUT_BOTH, "one that comes later, too");
        lines.mend(1);
        lines.mend(2);
        assert!(dialled.iter().chain(&accepted).chain([&router]).all(|line| line.is_free()));
    }

    #[test]
    fn silence_spares_who_asks_for_faults_alone_and_the_node_itself() {
        let lines = lines();
        let (metrics, operator, stranger) =
            (lines.accepted(Door::Other), lines.accepted(Door::Api), lines.accepted(Door::Api));
        let (own, initiator) = (lines.dialled(address("a1", "10")), lines.dialled("shop:80".into()));
        assert!(stranger.called(None));
        lines.cut(1, &Harm::Silence);
        let found = [&metrics, &operator, &stranger, &own, &initiator].map(|line| passages(line));
        assert_eq!(found, [SHUT_BOTH, FREE, SHUT_BOTH, FREE, SHUT_BOTH]);
        assert!(!operator.called(None), "what it asks for now is not about faults");
        assert_eq!(passages(&operator), SHUT_BOTH);
    }

    #[test]
    fn a_connection_that_is_opened_over_a_cut_is_cut_both_ways() {
        let lines = lines();
        lines.cut(1, &Harm::Drop(site_b(true, false)));
        let known = lines.dialled(address("b1", "20"));
        assert_eq!(passages(&known), [Passage::Shut, Passage::Free]);
        assert!(known.poll_open(&Context::from_waker(futures::task::noop_waker_ref())).is_pending());
        let new = lines.accepted(Door::Other);
        assert!(!called(&new, "b1", "B", false));
        assert_eq!(passages(&new), SHUT_BOTH);
        lines.mend(1);
        assert_eq!(passages(&new), FREE);
        assert!(called(&new, "b1", "B", false));
    }

    #[test]
    fn of_two_cuts_the_worse_one_holds() {
        let lines = lines();
        let line = lines.dialled(address("b1", "20"));
        lines.cut(1, &Harm::Delay(site_b(true, true), Duration::from_millis(5)));
        lines.cut(2, &Harm::Drop(site_b(false, true)));
        let late = Passage::Late(Duration::from_millis(5));
        assert_eq!(passages(&line), [late, Passage::Shut]);
        lines.mend(2);
        assert_eq!(passages(&line), [late; 2]);
    }

    #[test]
    fn what_is_buried_is_closed_when_nothing_is_cut_any_more_and_the_oldest_for_want_of_room() {
        let lines = lines();
        lines.cut(1, &Harm::Drop(site_b(true, true)));
        let (kept, mut others): (Vec<_>, Vec<_>) = (0..=BURIED_MAX).map(|_| tokio::io::duplex(1)).unzip();
        kept.into_iter().for_each(|end| lines.bury(Box::new(end)));
        let mut over = |n: usize| {
            let mut cx = Context::from_waker(futures::task::noop_waker_ref());
            let mut byte = [0];
            let mut read = tokio::io::ReadBuf::new(&mut byte);
            tokio::io::AsyncRead::poll_read(std::pin::Pin::new(&mut others[n]), &mut cx, &mut read).is_ready()
        };
        assert_eq!((over(0), over(1), over(BURIED_MAX)), (true, false, false));
        lines.mend(1);
        assert_eq!((over(1), over(BURIED_MAX)), (true, true));
    }
}

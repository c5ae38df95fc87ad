//! A made-up history of a perfect ledger: the workloads' own calls, answered by the model in the order of its log, with
//! overlapping processes and replays. For measuring the checkers, and for their tests, which break it in one place each.

mod across;
mod asked;
mod buffered;
mod groups;
mod past;
mod restricted;
mod sweeps;

use std::collections::BTreeMap;
use std::sync::Arc;

use twinset_ledger::{Command, Position, TransactionId};
use twinset_tools::load::random::Random;

use crate::check::model::{self, Model};
use crate::check::replay::{figures, holds, in_cents};
use crate::check::witness::Body;
use crate::history::event::FORMAT;
use crate::history::holdings::{Holdings, Taken};
use crate::history::holds::Told;
use crate::history::{
    Answer, AsOf, Ask, Found, History, Level, Meta, Name, Op, Phase, Place, Recorder, Retry, Transfer,
    VerifyLine, is_readable, suspense,
};
use crate::workload::{self, Generate, Ground, Hand, Kind};
use past::{News, Placed, event_kind};

/// Processes that ask at the same time: two of each workload.
const PROCESSES: usize = 38;
const TICK_NS: u64 = 100_000;
/// Between two entries of a set, by ledger time.
const STEP_NS: u64 = 5_000_000;
/// All of them hold a replica of each set.
const NODES: [(&str, &str); 4] = [("a1", "A"), ("a2", "A"), ("b1", "B"), ("b2", "B")];
const ROUTERS: [&str; 2] = ["ra", "rb"];

/// One set's log in the making.
struct Log {
    set: u32,
    /// The last index of each incarnation before the last.
    lives: Vec<u64>,
    model: Model,
    index: u64,
    /// Of the first command of the last entry; one nanosecond more for each that follows.
    time_ns: u64,
    /// Commands of the last entry behind its first.
    behind: u64,
    booked: Vec<Found>,
    placed: Vec<Placed>,
    events: Vec<Told>,
    /// What came restricted and was so when it was last looked at: account and transaction.
    given: Vec<(u32, TransactionId)>,
}

/// A history of so many operations of the workloads that make most of the traffic.
pub fn history(operations: u64, seed: u64) -> anyhow::Result<History> {
    let names = [
        "transfers",
        "limits",
        "reversals",
        "idempotence",
        "batches",
        "currencies",
        "life",
        "opaque",
        "lists",
        "stale",
        "across",
        "holds",
        "statements",
        "events",
        "buffered",
        "restricted",
        "groups",
        "sweeps",
        "preconditions",
    ]
    .map(str::to_owned);
    Ok(of(&workload::named(&names)?, operations, seed))
}

/// The same of any workloads whose calls the model can answer by itself.
pub fn of(kinds: &[&'static Kind], operations: u64, seed: u64) -> History {
    of_lives(kinds, operations, seed, &BTreeMap::new())
}

/// The same of sets that were recovered meanwhile: `lives` has the last index of each of their incarnations before the last.
pub fn of_lives(
    kinds: &[&'static Kind],
    operations: u64,
    seed: u64,
    lives: &BTreeMap<u32, Vec<u64>>,
) -> History {
    let ends = |set: u32| lives.get(&set).cloned().unwrap_or_default();
    let slots: Vec<u32> = (0..4096).map(|slot| 1 + slot / 2048).collect();
    let recorder = Recorder::in_memory(Meta::default());
    let ground = Ground::new(recorder.clone(), &slots, kinds);
    let mut maker = Maker {
        logs: [1, 2].map(|set| Log {
            set,
            lives: ends(set),
            model: Model::new(set).with_lives(ends(set)),
            index: 10,
            time_ns: 1,
            behind: 0,
            booked: Vec::new(),
            placed: Vec::new(),
            events: Vec::new(),
            given: Vec::new(),
        }),
        history: History {
            meta: Meta {
                format: FORMAT,
                seed,
                workloads: vec!["synthetic".into()],
                sets: vec![1, 2],
                slots,
                sites: vec!["A".into(), "B".into()],
                routers: ROUTERS.map(str::to_owned).to_vec(),
                nodes: NODES.map(|(name, site)| (name.to_owned(), site.to_owned())).into(),
                lives: lives.clone(),
                replicas: [1, 2].map(|set| (set, NODES.map(|(name, _)| name.to_owned()).to_vec())).into(),
                ..Meta::default()
            },
            ..History::default()
        },
        recorder,
        several: across::Several::default(),
        ways: buffered::Ways::default(),
        looks: 0,
        now_ns: 0,
    };
    maker.phase(Phase::Setup);
    for ask in ground.opens() {
        maker.take_names();
        maker.now_ns += TICK_NS * PROCESSES as u64;
        maker.ask((0, 0), ask.clone(), None);
    }
    maker.now_ns += TICK_NS * PROCESSES as u64;
    maker.phase(Phase::Traffic);
    maker.traffic(kinds, &ground, operations, seed);
    maker.phase(Phase::Resolve);
    maker.last_look();
    maker.history.make_up_runs();
    maker.history
}

struct Maker {
    logs: [Log; 2],
    history: History,
    recorder: Arc<Recorder>,
    several: across::Several,
    ways: buffered::Ways,
    /// How often sets might have looked at their sweeps.
    looks: u64,
    now_ns: u64,
}

impl Maker {
    fn phase(&mut self, phase: Phase) {
        self.now_ns += TICK_NS;
        self.history.phases.push((phase, self.now_ns));
    }

    /// Accounts that a generator has named since.
    fn take_names(&mut self) {
        let news = self.recorder.accounts_from(self.history.accounts.len());
        self.history.accounts.extend(news.iter().map(ToString::to_string));
    }

    fn traffic(&mut self, kinds: &[&'static Kind], ground: &Arc<Ground>, operations: u64, seed: u64) {
        let mut random = Random::seeded(seed);
        let mut clients: Vec<(Box<dyn Generate>, Hand, Option<Ask>)> = (0..PROCESSES)
            .map(|number| {
                let kind = kinds[number % kinds.len()];
                (((kind.make)(ground)), Hand::new(format!("s{number}"), seed + number as u64), None)
            })
            .collect();
        for number in 0..operations {
            let at = number as usize % PROCESSES;
            let (generator, hand, last) = &mut clients[at];
            let again = last.clone().filter(|_| random.below(100) < 40);
            let retry = again.is_some().then_some(Retry::Again);
            let ask = again.unwrap_or_else(|| generator.next(hand));
            self.take_names();
            // Who asks again asks the other router.
            let router = (at + usize::from(retry.is_some())) % ROUTERS.len();
            let answer = self.ask((at as u32, router as u8), ask.clone(), retry);
            if retry.is_none() {
                generator.heard(&ask, &answer);
                *last = ask.is_write().then_some(ask);
            }
        }
    }

    /// One operation: it is decided at one instant inside an interval that overlaps its neighbours'.
    fn ask(&mut self, (process, router): (u32, u8), ask: Ask, retry: Option<Retry>) -> Answer {
        self.now_ns += TICK_NS;
        self.travel();
        self.sweep();
        let answer = self.answer(&ask);
        // A process comes round every `PROCESSES` ticks.
        let half = TICK_NS * PROCESSES as u64 / 2 - TICK_NS / 4;
        self.history.ops.push(Op {
            process,
            site: 0,
            router,
            begin_ns: self.now_ns,
            end_ns: Some(self.now_ns + half),
            retry,
            ask,
            answer: answer.clone(),
        });
        answer
    }

    fn answer(&mut self, ask: &Ask) -> Answer {
        if let Some(coordinator) = self.coordinator(ask) {
            return self.several(ask, coordinator);
        }
        let set = match ask {
            Ask::Transfer(transfer) => self.history.set_of(transfer.legs[0].0),
            Ask::Reverse { transaction, .. } | Ask::ReadTransaction { transaction, .. } => {
                Some(transaction.0.set)
            }
            Ask::List { set, .. } | Ask::ListSuspense { set, .. } | Ask::ListSweeps { set, .. } => Some(*set),
            Ask::ResolveSuspense { item, .. } => Some(item.0.set),
            Ask::ReadTransit { account, .. } => return self.in_transit(*account),
            Ask::ReadGroup { group, .. } => return self.group(*group),
            Ask::SetMode { .. } => return self.set_mode(ask),
            Ask::Events { set, after, page_size, .. } => {
                return self.events(*set, after, *page_size as usize);
            }
            Ask::Open { account, .. }
            | Ask::SetLimit { account, .. }
            | Ask::Freeze { account, .. }
            | Ask::Close { account, .. }
            | Ask::PlaceHold { account, .. }
            | Ask::ReleaseHold { account, .. }
            | Ask::ExtendHold { account, .. }
            | Ask::ReleaseRestriction { account, .. }
            | Ask::ReadRestriction { account, .. }
            | Ask::ListRestrictions { account, .. }
            | Ask::ReadHold { account, .. }
            | Ask::ListHolds { account, .. }
            | Ask::Statement { account, .. }
            | Ask::Balance { account, .. }
            | Ask::SetSweep { account, .. }
            | Ask::RemoveSweep { account, .. }
            | Ask::ReadSweep { account, .. }
            | Ask::ReadAccount { account, .. }
            | Ask::ReadRequest { scope: account, .. } => self.history.set_of(*account),
            Ask::DryRun(transfer) => self.history.set_of(transfer.legs[0].0),
            Ask::Batch { items, atomic: true, with_postings } => return self.together(items, *with_postings),
            Ask::Batch { items, with_postings, .. } => {
                let mut one = |item: &Transfer| match self.answer(&Ask::Transfer(item.clone())) {
                    Answer::Booked { transaction, place, replayed, .. } if !with_postings => {
                        Answer::Booked { transaction, place, replayed, balances: Vec::new() }
                    }
                    answer => answer,
                };
                return Answer::Batch(items.iter().map(&mut one).collect());
            }
        };
        let log = &mut self.logs[set.map_or(0, |set| set as usize - 1)];
        if ask.is_write() {
            log.write(ask, &self.history)
        } else {
            log.read(ask, &self.history, &self.several)
        }
    }

    /// The final lists and accounts, and the end.
    fn last_look(&mut self) {
        self.arrive();
        self.stop_sweeps();
        self.now_ns += TICK_NS * PROCESSES as u64;
        self.phase(Phase::Final);
        for (set, router) in [(1, 0), (1, 1), (2, 0), (2, 1)] {
            let (mut after, size) = (None, 1_000);
            loop {
                let ask = Ask::List { set, after, page_size: size, level: Level::Linearizable };
                match self.ask((99, router), ask, None) {
                    Answer::Page { next: Some(next), .. } => after = Some(next),
                    _ => break,
                }
                self.now_ns += TICK_NS * PROCESSES as u64;
            }
            self.now_ns += TICK_NS * PROCESSES as u64;
        }
        self.history.in_doubt = Some(Vec::new());
        for account in 0..self.history.accounts.len() as u32 {
            if is_readable(&self.history.accounts[account as usize]) {
                self.now_ns += TICK_NS * PROCESSES as u64;
                self.ask((99, 0), Ask::ReadAccount { account, level: Level::Linearizable }, None);
            }
        }
        self.last_look_at_buffered();
        for transaction in self.several.whole.keys().copied().collect::<Vec<_>>() {
            self.now_ns += TICK_NS * PROCESSES as u64;
            self.ask((99, 1), Ask::ReadTransaction { transaction, level: Level::Linearizable }, None);
        }
        let accounts: std::collections::BTreeSet<u32> =
            self.logs.iter().flat_map(|log| &log.placed).map(|placed| placed.account).collect();
        for account in accounts {
            let mut after = None;
            loop {
                self.now_ns += TICK_NS * PROCESSES as u64;
                let ask = Ask::ListHolds { account, after, page_size: 100, level: Level::Linearizable };
                match self.ask((99, 1), ask, None) {
                    Answer::Holds { next: Some(next), .. } => after = Some(next),
                    _ => break,
                }
            }
        }
        self.last_look_at_restricted();
        self.last_look_at_groups();
        let follows = self.history.ops.iter().any(|op| matches!(op.ask, Ask::Events { .. }));
        for set in [1, 2].into_iter().filter(|_| follows) {
            let mut after = String::new();
            loop {
                self.now_ns += TICK_NS * PROCESSES as u64;
                let ask = Ask::Events { set: Some(set), after, page_size: 500, level: Level::Linearizable };
                match self.ask((99, 0), ask, None) {
                    Answer::Events { next, more: true, .. } => after = next,
                    _ => break,
                }
            }
        }
        self.look_runs_up();
        let subject = "set 1".to_owned();
        self.history.verify.push(VerifyLine { subject, clean: true, detail: "made up".into() });
        for log in &self.logs {
            let held = log.holdings(&self.history);
            let on = |(node, _): (&str, &str)| Holdings { node: node.to_owned(), ..held.clone() };
            self.history.holdings.extend(NODES.map(on));
        }
        self.phase(Phase::Done);
    }
}

impl Log {
    fn place(&self) -> Place {
        Place { set: self.set, index: self.index, time_ns: self.time_ns + self.behind }
    }

    fn next_entry(&mut self) {
        self.index += 1;
        self.time_ns += STEP_NS;
        self.behind = 0;
    }

    /// Where an earlier command stands.
    fn place_of(&self, position: Position) -> Place {
        let back = (self.index - position.index()) * STEP_NS;
        let time_ns = self.time_ns - back + u64::from(position.offset());
        Place { set: self.set, index: position.index(), time_ns }
    }

    fn write(&mut self, ask: &Ask, history: &History) -> Answer {
        self.put_away();
        self.put_restrictions_away(history);
        self.next_entry();
        let body = match ask {
            Ask::Transfer(transfer) => Body::Transfer(transfer),
            other => Body::Other(other),
        };
        let (position, command) = (Position::new(self.index, 0), body.command(history));
        let verdict = in_cents(&self.model.apply_at(position, self.time_ns, &command), &self.model);
        self.told(ask, &command, verdict, history)
    }

    /// What came of a command, in a client's words; what is new is kept.
    fn told(&mut self, ask: &Ask, command: &Command, verdict: model::Verdict, history: &History) -> Answer {
        let place = self.place_of(verdict.position);
        let replayed = verdict.replayed;
        match verdict.answer {
            model::Answer::No(code) => Answer::Rejected { code: code.into(), place, replayed },
            model::Answer::Booked(legs) => {
                let transaction = self.name(verdict.position);
                let cents = |minor: i128| i64::try_from(minor).expect("small");
                let balances: Vec<_> = legs.iter().map(|leg| (cents(leg.3), cents(leg.4))).collect();
                if !replayed {
                    self.keep(ask, verdict.position, command, legs, history);
                    let booked = self.booked.last().expect("it was kept").clone();
                    let (id, legs, balances) = (&booked.id[..], &booked.legs[..], balances.clone());
                    self.tell(
                        verdict.position,
                        News { kind: "booked", id, legs, balances, ..News::default() },
                    );
                }
                Answer::Booked { transaction, place, replayed, balances }
            }
            model::Answer::Held(outcome) => {
                let held = holds::figures_of(&outcome, holds::word(outcome.ended));
                let available = i64::try_from(outcome.available).expect("small");
                if !replayed {
                    if let Ask::PlaceHold { account, id, .. } = ask {
                        let (account, id) = (*account, id.clone());
                        self.placed.push(Placed { hold: held.hold.0, account, id });
                    }
                    let (kind, id) = (event_kind(ask), command.request_id().unwrap_or_default());
                    let held = Some(held);
                    self.tell(verdict.position, News { kind, id, held, ..News::default() });
                }
                Answer::Held { place, replayed, held, available }
            }
            model::Answer::Restricted(now) => {
                self.released(verdict.position, (command.request_id().unwrap_or_default(), replayed), &now)
            }
            _ => {
                if !replayed {
                    let (kind, id) = (event_kind(ask), command.request_id().unwrap_or_default());
                    let turned = sweeps::turned(ask);
                    self.tell(verdict.position, News { kind, id, turned, ..News::default() });
                }
                Answer::Done { place, replayed }
            }
        }
    }

    fn name(&self, position: Position) -> Name {
        Name(TransactionId { set: self.set, incarnation: self.incarnation_at(position.index()), position })
    }

    fn incarnation_at(&self, index: u64) -> u32 {
        1 + self.lives.partition_point(|end| *end < index) as u32
    }

    fn keep(
        &mut self,
        ask: &Ask,
        position: Position,
        command: &Command,
        legs: Vec<model::Booked>,
        history: &History,
    ) {
        let place = self.place_of(position);
        let number = |id: &str| history.accounts.iter().position(|known| known == id);
        let scope_id = self.model.scope(position, command);
        // The scope is an account of the legs, whose numbers the request has, or those of the original.
        let (request_legs, reverses): (Vec<u32>, Option<Name>) = match ask {
            Ask::Transfer(transfer) => (transfer.legs.iter().map(|(account, _)| *account).collect(), None),
            Ask::Reverse { transaction, .. } => {
                let original = self.booked.iter().rfind(|found| found.transaction == *transaction);
                let legs = original.map(|found| found.legs.iter().map(|(account, _)| *account).collect());
                (legs.unwrap_or_default(), Some(*transaction))
            }
            _ => (Vec::new(), None),
        };
        let known = |id: &str| {
            let by_request = request_legs.iter().copied().find(|at| history.accounts[*at as usize] == id);
            by_request.or_else(|| number(id).map(|at| at as u32)).expect("it was booked on")
        };
        let signed = |leg: &model::Booked| {
            let cents = i64::try_from(leg.2).expect("small");
            (known(&leg.0), if leg.1 == twinset_ledger::Side::Debit { cents } else { -cents })
        };
        // The id of who books a suspended credit on belongs to the credit.
        let scope = (!matches!(ask, Ask::ResolveSuspense { .. })).then(|| known(&scope_id));
        let legs = legs.iter().map(signed).collect();
        let transaction = self.name(position);
        let id = command.request_id().unwrap_or_default().to_owned();
        let (label, capture, marks) = match ask {
            Ask::Transfer(transfer) => {
                self.note_restricted(transfer, transaction.0);
                (transfer.label, transfer.capture, transfer.shown_marks())
            }
            _ => (None, None, Vec::new()),
        };
        if let Some(original) = reverses
            && let Ok(at) = self.booked.binary_search_by_key(&original, |found| found.transaction)
        {
            self.booked[at].reversed_by.push(transaction);
        }
        self.booked.push(Found {
            transaction,
            place,
            id,
            scope,
            label,
            legs,
            reverses,
            reversed_by: Vec::new(),
            capture,
            marks,
            part_of: None,
        });
    }

    fn read(&mut self, ask: &Ask, history: &History, several: &across::Several) -> Answer {
        let as_of = AsOf::now(self.place());
        match ask {
            Ask::ReadAccount { account, .. } => {
                match self.model.accounts().get(&history.accounts[*account as usize]) {
                    Some(known) => Answer::Account { as_of, figures: figures(known) },
                    None => Answer::Absent { as_of },
                }
            }
            Ask::ReadTransaction { transaction, .. } => match self.find(*transaction, several) {
                Some(found) => Answer::Transaction { as_of, found: Box::new(found.clone()) },
                None => Answer::Absent { as_of },
            },
            Ask::ReadRequest { scope, id, .. } => {
                let Some(first) = self.model.first(&history.accounts[*scope as usize], id) else {
                    return Answer::Absent { as_of };
                };
                let position = self.model.newest_attempt(first);
                match self.model.answer(position).expect("it was decided there") {
                    model::Answer::No("set_unavailable") => {
                        Answer::GivenUp { place: self.place_of(position) }
                    }
                    model::Answer::No(code) => {
                        let place = self.place_of(position);
                        Answer::Rejected { code: code.to_owned(), place, replayed: false }
                    }
                    model::Answer::Booked(_) | model::Answer::Settled(_) | model::Answer::Buffered(_) => {
                        let name = self.name(position);
                        let found = self.find(name, several).expect("it was booked").clone();
                        Answer::Transaction { as_of, found: Box::new(found) }
                    }
                    model::Answer::Restricted(now) => {
                        let known =
                            self.model.restriction(&history.accounts[*scope as usize], now.restriction);
                        let known = known.expect("it was released");
                        Answer::Restriction { as_of, found: self.found_restriction(*scope, &known, history) }
                    }
                    model::Answer::Held(held) => {
                        let found = self.found_hold(held.hold).expect("it was placed");
                        Answer::Hold { as_of, found: Box::new(found) }
                    }
                    _ => {
                        let known = &self.model.accounts()[&history.accounts[*scope as usize]];
                        Answer::Account { as_of, figures: figures(known) }
                    }
                }
            }
            Ask::List { after, page_size, .. } => {
                let from =
                    after.map_or(0, |after| self.booked.partition_point(|found| found.transaction <= after));
                let to = self.booked.len().min(from + *page_size as usize);
                let found = self.booked[from..to].to_vec();
                let next =
                    if to < self.booked.len() { found.last().map(|last| last.transaction) } else { None };
                Answer::Page { as_of, found, next }
            }
            Ask::DryRun(transfer) => self.foresee(transfer, history),
            Ask::ListSuspense { .. } => self.suspense(ask, history),
            Ask::ReadRestriction { .. } | Ask::ListRestrictions { .. } => {
                self.read_restrictions(ask, history)
            }
            Ask::ReadSweep { .. } | Ask::ListSweeps { .. } => self.swept(ask, history),
            past => self.read_past(past, history),
        }
    }

    fn holdings(&self, history: &History) -> Holdings {
        let mut taken = Taken::of(self.set, "");
        self.booked.iter().for_each(|found| taken.transaction(found));
        for (number, id) in (0..).zip(&history.accounts).filter(|(_, id)| suspense(id).is_none()) {
            if let Some(known) = self.model.accounts().get(id) {
                taken.account(number, &figures(known));
            }
        }
        taken.whole()
    }

    fn find<'a>(&'a self, name: Name, several: &'a across::Several) -> Option<&'a Found> {
        let own = || self.booked.binary_search_by_key(&name, |found| found.transaction).ok();
        let own = || own().map(|at| &self.booked[at]).filter(|found| found.part_of.is_none());
        several.whole.get(&name).or_else(own)
    }
}

/// Hundredths that one minor unit has.
fn unit(scale: u8) -> i128 {
    10i128.pow(2 - u32::from(scale))
}

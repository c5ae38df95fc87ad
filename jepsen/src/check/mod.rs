//! The checkers: pure functions from a history to findings. One witness order is built first ([`witness`]): replies carry
//! positions, so the log of each set is known and need not be searched for; it is replayed in an independent model
//! ([`replay`]). Then each claim of `docs/reference/guarantees.md` has a checker of its own, in the table [`ALL`]. All of it
//! takes O(n log n) time and O(n) memory. They send nothing and know nothing of processes.

pub mod across;
mod both_sites;
mod buffered;
mod events;
mod fits;
mod groups;
mod holds;
mod in_transit;
mod limits;
mod lists;
pub mod live;
mod lives;
#[path = "../../../ledger/tests/model/mod.rs"]
pub mod model;
mod once;
mod opaque;
mod order;
mod preconditions;
pub mod replay;
mod restrictions;
mod run;
mod several;
mod stale;
mod statements;
mod sweeps;
mod together;
pub mod witness;

use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde::Serialize;

use crate::export;
use crate::history::{Answer, Ask, History, Phase};
use replay::Replay;
use witness::Witness;

/// What a checker says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It holds, and everything that was needed to know that was read.
    Valid,
    /// There was nothing to look at: nothing is wrong, and nothing is shown.
    Idle,
    /// It is broken.
    Invalid,
    /// Something that was needed is missing. As red as invalid.
    Unknown,
}

impl Verdict {
    /// Whether a run with such a finding proves nothing, or the contrary.
    pub fn is_red(self) -> bool {
        matches!(self, Verdict::Invalid | Verdict::Unknown)
    }
}

/// One checker's finding.
#[derive(Clone, Debug, Serialize)]
pub struct Finding {
    /// The checker.
    pub checker: &'static str,
    /// The claim's id in docs/reference/guarantees.md.
    pub claim: &'static str,
    /// What it says.
    pub verdict: Verdict,
    /// How many things were looked at.
    pub checked: u64,
    /// How many are wrong.
    pub wrong: u64,
    /// The first of them, and what is missing, in words.
    pub examples: Vec<String>,
}

/// A checker of one claim.
pub struct Checker {
    /// Its name.
    pub name: &'static str,
    /// The claim's id.
    pub claim: &'static str,
    /// One line for `list`.
    pub about: &'static str,
    /// Whether an open end that nobody has resolved could explain what it finds: what it compares with is then not all that was
    /// done.
    needs_the_end: bool,
    run: fn(&Case<'_>) -> Found,
}

impl Checker {
    const fn that_needs_the_end(self) -> Checker {
        Checker { needs_the_end: true, ..self }
    }
}

/// What every checker looks at.
pub struct Case<'h> {
    /// What was asked and answered.
    pub history: &'h History,
    /// The order that the answers claim.
    pub witness: Witness<'h>,
    /// What the model says to it.
    pub replay: Replay,
}

/// What was found so far: counts, and words for the first few.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// Things looked at.
    pub checked: u64,
    /// Things that are wrong.
    pub wrong: u64,
    /// Whether something is missing that is needed.
    pub missing: bool,
    /// In words.
    pub examples: Vec<String>,
}

/// Examples that are kept of one checker.
const EXAMPLES: usize = 20;

impl Found {
    /// Something is wrong.
    pub fn wrong(&mut self, words: impl FnOnce() -> String) {
        self.wrong += 1;
        if self.examples.len() < EXAMPLES {
            self.examples.push(words());
        }
    }

    /// Something is missing.
    pub fn missing(&mut self, words: impl FnOnce() -> String) {
        self.missing = true;
        if self.examples.len() < EXAMPLES {
            self.examples.push(words());
        }
    }

    /// Adds what another look has found.
    pub fn and(mut self, other: &Found) -> Self {
        self.checked += other.checked;
        self.wrong += other.wrong;
        self.missing |= other.missing;
        let room = EXAMPLES.saturating_sub(self.examples.len());
        self.examples.extend(other.examples.iter().take(room).cloned());
        self
    }

    fn verdict(&self) -> Verdict {
        match (self.wrong, self.missing) {
            (1.., _) => Verdict::Invalid,
            (_, true) => Verdict::Unknown,
            _ if self.checked == 0 => Verdict::Idle,
            _ => Verdict::Valid,
        }
    }
}

const fn checker(
    name: &'static str,
    claim: &'static str,
    about: &'static str,
    run: fn(&Case<'_>) -> Found,
) -> Checker {
    Checker { name, claim, about, needs_the_end: false, run }
}

/// Every checker with the claim that it checks.
pub const ALL: &[Checker] = &[
    checker("answers", "G1", "each answer is what the model says at its position", |case| {
        case.replay.answers.clone()
    })
    .that_needs_the_end(),
    checker(
        "fits",
        "G1",
        "each answer is of the kind asked for, from the set that owns the accounts",
        fits::check,
    ),
    checker("exactly_once", "G2", "no lost acknowledgement, no duplicate, no phantom", once::exactly_once)
        .that_needs_the_end(),
    checker(
        "refused_is_never",
        "G3",
        "what was rejected or not applied is never there",
        once::refused_is_never,
    )
    .that_needs_the_end(),
    checker("real_time_order", "G4", "strict serializability per set", order::real_time),
    checker("linearizable_reads", "G5", "each read is the model's state at its position", |case| {
        case.replay.reads.clone()
    })
    .that_needs_the_end(),
    checker("sessions", "G6", "monotonic reads and read your writes, also across routers", order::sessions),
    checker(
        "stale_reads",
        "G7",
        "a stale read is a whole state of the past, not older than it says",
        stale::check,
    )
    .that_needs_the_end(),
    checker(
        "limits",
        "G8",
        "no floor is crossed at any index, and no rejection lacks its reason",
        limits::limits,
    )
    .that_needs_the_end(),
    checker("conservation", "G9", "debits equal credits in each set at every index", limits::conservation)
        .that_needs_the_end(),
    checker("ledger_time", "G10", "positions are given once, and time rises with them", order::ledger_time),
    checker("lists", "G11", "lists are complete and in order, and show what was booked", lists::check)
        .that_needs_the_end(),
    checker(
        "opaque_balances",
        "G4",
        "a balance holds what was acknowledged, trusting no position",
        opaque::check,
    )
    .that_needs_the_end(),
    checker("replicas", "G12", "all replicas of a set hold the same", run::replicas),
    checker(
        "liveness",
        "G13",
        "every set writes and reads soon after the faults, and outside them without a gap",
        live::check,
    ),
    checker(
        "second_opinion",
        "G4",
        "Elle's list-append on each account's postings, by the adya crate",
        export::adya::check,
    )
    .that_needs_the_end(),
    checker(
        "both_sites",
        "G14",
        "in SYNC nothing is answered while one site cannot tell the other what it has on disk; anything weaker is on record first",
        both_sites::check,
    ),
    checker(
        "atomicity",
        "G15",
        "all sets of a transaction have booked their part, or none has; and it is what was asked for",
        several::atomicity,
    )
    .that_needs_the_end(),
    checker(
        "one_answer",
        "G16",
        "a request over several sets is booked once, whatever was retried or given up",
        several::one_answer,
    )
    .that_needs_the_end(),
    checker(
        "visibility",
        "G17",
        "after an answer every linearizable read of any of its sets has it",
        several::visibility,
    ),
    checker(
        "clearing",
        "G18",
        "in the end the clearing accounts of all sets are zero together, and nothing is open",
        several::clearing_accounts,
    ),
    checker("in_doubt", "G19", "in the end nothing is set aside on any account but for holds", several::in_doubt),
    checker(
        "holds",
        "G20",
        "a hold's figures add up, no more is captured than was held, and nothing happens to it after its end",
        holds::holds,
    )
    .that_needs_the_end(),
    checker(
        "put_away",
        "G21",
        "in the end accounts hold back what is left of their holds, and what is over was put away",
        holds::put_away,
    ),
    checker("together", "G22", "an atomic batch is booked whole, in its order and in one entry, or not at all", together::check)
        .that_needs_the_end(),
    checker(
        "statements",
        "G23",
        "pages of a statement show all postings between their ends, in order, with the balance after each",
        statements::check,
    )
    .that_needs_the_end(),
    checker(
        "events",
        "G24",
        "events come in order, without a gap, under a key for ever, and tell of what was done and nothing else",
        events::check,
    )
    .that_needs_the_end(),
    checker(
        "buffered",
        "G25",
        "what was paid without asking is booked at the payee's set once, in its order and as it was accepted, or is in suspense",
        buffered::check,
    )
    .that_needs_the_end(),
    checker(
        "in_transit",
        "G26",
        "what is said to be on its way was accepted, is all of it that is not booked, and is nothing in the end",
        in_transit::check,
    )
    .that_needs_the_end(),
    checker(
        "sweeps",
        "G27",
        "each run of a sweep counts once and in its turn, takes no more than is to go, and none is left undone",
        sweeps::check,
    )
    .that_needs_the_end(),
    checker(
        "restrictions",
        "G28",
        "what came restricted is so until it is released, its time comes or it is taken back, and to the cent",
        restrictions::restrictions,
    )
    .that_needs_the_end(),
    checker(
        "withdrawals",
        "G29",
        "no withdrawal takes what is restricted",
        restrictions::withdrawals,
    )
    .that_needs_the_end(),
    checker(
        "groups",
        "G30",
        "a group reads as all its parts together, and each payment into it is on one of them, in its payer's set",
        groups::check,
    )
    .that_needs_the_end(),
    checker(
        "lives",
        "G31",
        "a recovered set has what was acknowledged in SYNC, and nobody is told of an incarnation once a later one has answered",
        lives::check,
    )
    .that_needs_the_end(),
    checker(
        "preconditions",
        "G32",
        "what was booked on a condition met it where it stands, and what was refused for one missed it",
        preconditions::preconditions,
    )
    .that_needs_the_end(),
    checker(
        "dry_runs",
        "G33",
        "a dry run is told what the real call would be where it looked, and nothing comes of it",
        preconditions::dry_runs,
    )
    .that_needs_the_end(),
    checker("faults_act", "-", "each fault was seen to act and was undone", run::faults),
    checker(
        "harness",
        "-",
        "the history is whole, the logs are silent, the traffic means something",
        run::harness,
    ),
];

impl<'h> Case<'h> {
    /// Works out the order that the answers claim, and what the model says to it.
    pub fn of(history: &'h History) -> Self {
        let witness = Witness::of(history);
        let replay = Replay::of(&witness);
        Case { history, witness, replay }
    }

    /// The accounts that were asked for in the end, each with its last definite answer, if there was one.
    fn last_accounts(&self) -> BTreeMap<u32, Option<&'h Answer>> {
        let mut last = BTreeMap::new();
        let from = self.history.phase(Phase::Final).unwrap_or(u64::MAX);
        for op in self.history.ops.iter().filter(|op| op.begin_ns >= from) {
            let Ask::ReadAccount { account, .. } = &op.ask else { continue };
            let known = last.entry(*account).or_default();
            if matches!(op.answer, Answer::Account { .. } | Answer::Absent { .. }) {
                *known = Some(&op.answer);
            }
        }
        last
    }

    /// Whether the history breaks off before everything was read: calls with an open end may have done anything, and what other
    /// sets than its coordinator booked of a transaction only their lists say.
    fn is_broken_off(&self) -> bool {
        let is_listed = |set: &u32| self.witness.listed.contains_key(set);
        let unseen = !self.witness.open.is_empty() || !self.witness.across.is_empty();
        !self.history.meta.sets.iter().all(is_listed) && unseen
    }
}

/// Everything that there is to say about a history.
pub fn all(case: &Case<'_>) -> Vec<Finding> {
    let (turn, found) = (AtomicUsize::new(0), ALL.iter().map(|_| OnceLock::new()).collect::<Vec<_>>());
    // The longest ones stand at the end.
    let next = || ALL.len().checked_sub(1 + turn.fetch_add(1, Ordering::Relaxed));
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from).min(ALL.len()) {
            scope.spawn(|| {
                while let Some(number) = next() {
                    found[number].get_or_init(|| (ALL[number].run)(case));
                }
            });
        }
    });
    let is_broken_off = case.is_broken_off();
    let findings = ALL.iter().zip(found).map(|(checker, found)| {
        let found = found.into_inner().expect("each was run");
        let (mut verdict, mut examples) = (found.verdict(), found.examples);
        if is_broken_off && verdict == Verdict::Invalid && checker.needs_the_end {
            verdict = Verdict::Unknown;
            let open = case.witness.open.len();
            examples.insert(0, format!("{open} open ends that nobody resolved may explain what follows"));
        }
        let Found { checked, wrong, .. } = found;
        Finding { checker: checker.name, claim: checker.claim, verdict, checked, wrong, examples }
    });
    findings.collect()
}

/// The worst of all.
pub fn overall(findings: &[Finding]) -> Verdict {
    let any = |verdict| findings.iter().any(|finding| finding.verdict == verdict);
    if any(Verdict::Invalid) {
        Verdict::Invalid
    } else if any(Verdict::Unknown) {
        Verdict::Unknown
    } else {
        Verdict::Valid
    }
}

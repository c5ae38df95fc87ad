//! Runs the golden scripts: one scenario per file in `tests/scripts/`. `UPDATE_GOLDENFILES=1 cargo test -p
//! twinset-control --test scripts` writes their outputs anew, for a person to read before they are kept.

mod common;
mod shown;

use std::error::Error;

use twinset_control::drill;
use twinset_control::groups::Side;
use twinset_control::plan::{self, Kind, Pace, Planned, State, StepOutcome, StepState};
use twinset_control::{Catalogue, Command, Durability, Envelope, Group, LogEnd, Policy, Proof, apply_entry};

use shown::{show_audit, show_cluster, show_drills, show_groups, show_plans, show_set};

/// What a script can say. `who` and `why` have defaults, so that a script names only what it is about.
#[derive(goldenscript::Command)]
enum Line {
    /// Makes the cluster. Example: place sets=2 a=2 b=2 arbiter=true
    Place {
        #[arg(key)]
        sets: u32,
        #[arg(key)]
        a: u16,
        #[arg(key)]
        b: u16,
        #[arg(key)]
        arbiter: bool,
    },
    /// Begins a switch; the epoch expected is the set's own unless given. Example: begin 1 B a1 epoch=1
    Begin {
        set: u32,
        to: String,
        owner: String,
        #[arg(key)]
        epoch: Option<u64>,
        #[arg(key)]
        plan: Option<u64>,
        #[arg(key)]
        who: Option<String>,
        #[arg(key)]
        why: Option<String>,
    },
    /// Completes a switch. Example: complete 1 id=10
    Complete {
        set: u32,
        #[arg(key)]
        id: u64,
    },
    /// Aborts a switch. Example: abort 1 id=10 reason="target is silent"
    Abort {
        set: u32,
        #[arg(key)]
        id: u64,
        #[arg(key)]
        reason: String,
    },
    /// Records a durability. Example: durability 1 DEGRADED safe=41 epoch=1 (default: as it is) pinned=true
    Durability {
        set: u32,
        state: String,
        #[arg(key)]
        safe: u64,
        #[arg(key)]
        epoch: Option<u64>,
        #[arg(key)]
        pinned: Option<bool>,
    },
    /// Chooses a policy. Example: policy 1 max-protection
    Policy { set: u32, policy: String },
    /// Begins a recovery; the incarnation expected is the set's own unless given. Example: recover 1 B incarnation=1 lose=true
    Recover {
        set: u32,
        site: String,
        #[arg(key)]
        incarnation: Option<u32>,
        #[arg(key)]
        lose: Option<bool>,
        #[arg(key)]
        dead: Option<bool>,
    },
    /// Completes a recovery with a survivor's log. Example: recovered 1 id=10 from=6 term=3 index=41 safe=40
    Recovered {
        set: u32,
        #[arg(key)]
        id: u64,
        #[arg(key)]
        from: u64,
        #[arg(key)]
        term: u64,
        #[arg(key)]
        index: u64,
        #[arg(key)]
        safe: Option<u64>,
    },
    /// The control set goes on with these replicas alone. Example: control 2 p1 2 term=3 index=50
    Control {
        incarnation: u32,
        plan: String,
        survivors: String,
        #[arg(key)]
        term: u64,
        #[arg(key)]
        index: u64,
    },
    /// Goes on without a survivor. Example: giveup 1 id=10 replica=6
    Giveup {
        set: u32,
        #[arg(key)]
        id: u64,
        #[arg(key)]
        replica: u64,
    },
    /// Lets a recovered set answer clients. Example: reconciled 1 id=10
    Reconciled {
        set: u32,
        #[arg(key)]
        id: u64,
    },
    /// Lets a lost replica be thrown away. Example: release 1 4
    Release { set: u32, replica: u64 },
    /// Gives a set another copy. Example: copy 1 a1
    Copy { set: u32, node: String },
    /// Gives a learner its vote. Example: vote 1 12
    Vote { set: u32, replica: u64 },
    /// Begins the replacement of a replica by one on that node. Example: replace 1 4 a3
    Replace { set: u32, replica: u64, node: String },
    /// Ends it; by nobody's word but a node's. Example: replaced 1 id=10 (or undone=true)
    Replaced {
        set: u32,
        #[arg(key)]
        id: u64,
        #[arg(key)]
        undone: Option<bool>,
    },
    /// Gives a replacement up. Example: forgo 1 id=10
    Forgo {
        set: u32,
        #[arg(key)]
        id: u64,
    },
    /// Takes a node out of the cluster. Example: remove a1
    Remove { node: String },
    /// Records a node's addresses. Example: node a1 A api=h:1 peer=h:2 http=h:3
    Node {
        name: String,
        site: String,
        #[arg(key)]
        api: String,
        #[arg(key)]
        peer: String,
        #[arg(key)]
        http: String,
    },
    /// Defines a group. Parts are named, or counted and named after the group. Example: group shop EUR credit parts=a,b
    Group {
        id: String,
        currency: String,
        side: String,
        #[arg(key)]
        parts: Option<String>,
        #[arg(key)]
        count: Option<usize>,
        #[arg(key)]
        who: Option<String>,
    },
    /// Begins a plan over all the sets that it is about, in their order unless one is given.
    /// Example: evacuate A stages="1,50,100" soak_ms=1000 order="3,1" home=true request=r1
    Evacuate {
        site: String,
        #[arg(key)]
        emergency: Option<bool>,
        #[arg(key)]
        stages: Option<String>,
        #[arg(key)]
        soak_ms: Option<u64>,
        #[arg(key)]
        concurrency: Option<u32>,
        #[arg(key)]
        order: Option<String>,
        /// Whether it brings its sets home when it fails.
        #[arg(key)]
        home: Option<bool>,
        #[arg(key)]
        request: Option<String>,
    },
    /// Begins the isolation of a site. Example: isolate A
    Isolate { site: String },
    /// Begins a return. Example: return A
    Return { site: Option<String> },
    /// Records how steps have ended: done, back, skipped or failed. Example: ended 10 "1:done" "3:failed"
    Ended { plan: u64, outcomes: Vec<String> },
    /// Goes on to a stage. Example: advance 10 stage=1
    Advance {
        plan: u64,
        #[arg(key)]
        stage: u32,
    },
    /// Gives a plan up. Example: give_up 10
    GiveUp { plan: u64 },
    /// Ends a plan: done, failed, stopped or rolled_back. Example: end 10 done
    End { plan: u64, state: String },
    /// Halts all plans.
    Stop,
    /// Lets a plan go on. Example: resume 10
    Resume { plan: u64 },
    /// Begins a drill for so many seconds. Example: drill leader-killed 1 30 request=x
    Drill {
        scenario: String,
        set: u32,
        seconds: u64,
        #[arg(key)]
        request: Option<String>,
    },
    /// Says that it still runs. Example: extend 10 30
    Extend { drill: u64, seconds: u64 },
    /// Wants the drill under way to stop.
    StopDrill,
    /// Ends a drill: passed, failed, stopped or abandoned. Example: end_drill 10 passed
    EndDrill { drill: u64, verdict: String },
    /// Lets time pass: the index of the next command is also its second.
    Skip { to: u64 },
    /// Prints the drills.
    Drills,
    /// Prints the plans.
    Plans,
    /// Prints the groups.
    Groups,
    /// Prints one set. Example: set 1
    Set { set: u32 },
    /// Prints sites, nodes and the control set.
    Cluster,
    /// Puts a drill's fault on record. Example: fault a1 7 pause ms=3000 ended=true
    Fault {
        node: String,
        id: u64,
        fault: String,
        #[arg(key)]
        ms: u32,
        #[arg(key)]
        ended: Option<bool>,
    },
    /// What speaks for whoever sends the commands that follow. Example: by token; by node node=a1; by nobody
    By {
        proof: String,
        #[arg(key)]
        node: Option<String>,
    },
    /// Prints the audit log's tail.
    Audit,
}

/// The catalogue under test. Each command takes the next log index, from 10, and a second of time.
struct Script {
    catalogue: Option<Catalogue>,
    index: u64,
    /// Of the commands that follow.
    proof: Proof,
}

impl Script {
    fn catalogue(&self) -> Result<&Catalogue, Box<dyn Error>> {
        self.catalogue.as_ref().ok_or_else(|| "place a cluster first".into())
    }

    fn command(&mut self, command: Command) -> Result<String, Box<dyn Error>> {
        let index = self.index;
        self.index += 1;
        let catalogue = self.catalogue.as_mut().ok_or("place a cluster first")?;
        let before = catalogue.clone();
        let entry = Envelope::new(index * 1_000_000_000, self.proof.clone(), command);
        match apply_entry(catalogue, index, entry) {
            Ok(reply) => Ok(format!("{index}: {reply:?}\n")),
            Err(rejection) => {
                assert_eq!(*catalogue, before, "a rejection changes nothing");
                Ok(format!("{index}: rejected {}: {rejection}\n", rejection.code()))
            }
        }
    }
}

impl Script {
    fn plan(&mut self, command: plan::Command) -> Result<String, Box<dyn Error>> {
        self.command(Command::Plan(command))
    }

    fn begin_plan(
        &mut self,
        kind: Kind,
        pace: Pace,
        order: Option<Vec<u32>>,
        request: Option<String>,
    ) -> Result<String, Box<dyn Error>> {
        let catalogue = self.catalogue()?;
        let all = || kind.sets(catalogue).into_iter().map(|(set, _)| set).collect();
        let planned = |set| {
            let epoch = catalogue.sets.get(&set).map_or(1, |known| known.epoch);
            Planned { set, epoch, leader: String::new() }
        };
        let order = order.unwrap_or_else(all).into_iter().map(planned).collect();
        let request_id = request.unwrap_or_else(|| format!("request-{}", self.index));
        let (who, why) = ("ops".into(), "test".into());
        self.plan(plan::Command::Begin { request_id, kind, pace, order, who, why })
    }
}

fn at_once() -> Pace {
    Pace { stages: vec![100], soak_ms: 0, concurrency: 8, failures_max: 0, roll_back: false }
}

impl goldenscript::Runner for Script {
    type Command = Line;

    fn run(&mut self, line: &Line, _: &goldenscript::Context) -> Result<String, Box<dyn Error>> {
        let (who, why) = ("ops".to_string(), "test".to_string());
        match line {
            Line::Place { sets, a, b, arbiter } => {
                self.catalogue = Some(common::topology(*sets, *a, *b, *arbiter).place("cluster-1")?);
                Ok(String::new())
            }
            Line::Begin { set, to, owner, epoch, plan, who: by, why: because } => {
                let known = self.catalogue()?.sets.get(set).map_or(1, |s| s.epoch);
                self.command(Command::BeginSwitch {
                    set: *set,
                    to: to.clone(),
                    owner: owner.clone(),
                    who: by.clone().unwrap_or(who),
                    why: because.clone().unwrap_or(why),
                    expected_epoch: epoch.unwrap_or(known),
                    plan: *plan,
                })
            }
            Line::Complete { set, id } => self.command(Command::CompleteSwitch { set: *set, id: *id }),
            Line::Abort { set, id, reason } => {
                self.command(Command::AbortSwitch { set: *set, id: *id, reason: reason.clone() })
            }
            Line::Durability { set, state, safe, epoch, pinned } => {
                let known = self.catalogue()?.sets.get(set).map_or(1, |s| s.durability_epoch);
                let durability = match state.as_str() {
                    "SYNC" => Durability::Sync,
                    "DEGRADED" => Durability::Degraded,
                    other => return Err(format!("no durability is called {other}").into()),
                };
                self.command(Command::RecordDurability {
                    set: *set,
                    durability,
                    last_safe_index: *safe,
                    expected_durability_epoch: epoch.unwrap_or(known),
                    pinned: pinned.unwrap_or(false),
                    who,
                    why,
                })
            }
            Line::Policy { set, policy } => {
                let policy = match policy.as_str() {
                    "max-availability" => Policy::MaxAvailability,
                    "max-protection" => Policy::MaxProtection,
                    other => return Err(format!("no policy is called {other}").into()),
                };
                self.command(Command::SetPolicy { set: *set, policy, who, why })
            }
            Line::Recover { set, site, incarnation, lose, dead } => {
                let known = self.catalogue()?.sets.get(set).map_or(1, |s| s.incarnation);
                self.command(Command::BeginRecovery {
                    set: *set,
                    site: site.clone(),
                    expected_incarnation: incarnation.unwrap_or(known),
                    accept_loss: lose.unwrap_or(false),
                    without_replaced: dead.unwrap_or(false),
                    who,
                    why,
                })
            }
            Line::Recovered { set, id, from, term, index, safe } => {
                let end = LogEnd { term: *term, index: *index };
                self.command(Command::CompleteRecovery {
                    set: *set,
                    id: *id,
                    from: *from,
                    end,
                    last_safe_index: safe.unwrap_or(0),
                })
            }
            Line::Control { incarnation, plan, survivors, term, index } => {
                let survivors: Vec<u64> = survivors.split(',').map(str::parse).collect::<Result<_, _>>()?;
                let node = |id: &u64| {
                    let known = self.catalogue().ok()?.replica(0, *id)?;
                    Some((*id, known.node.clone()))
                };
                self.command(Command::RecoverControl {
                    plan: plan.clone(),
                    incarnation: *incarnation,
                    from: survivors[0],
                    survivors: survivors.iter().filter_map(node).collect(),
                    end: LogEnd { term: *term, index: *index },
                    who,
                    why,
                })
            }
            Line::Giveup { set, id, replica } => {
                self.command(Command::GiveUpSurvivor { set: *set, id: *id, replica: *replica, who, why })
            }
            Line::Reconciled { set, id } => {
                self.command(Command::EndReconciliation { set: *set, id: *id, who, why })
            }
            Line::Release { set, replica } => {
                self.command(Command::ReleaseReplica { set: *set, replica: *replica, who, why })
            }
            Line::Copy { set, node } => {
                self.command(Command::PlaceReplica { set: *set, node: node.clone(), who, why })
            }
            Line::Vote { set, replica } => {
                self.command(Command::PromoteReplica { set: *set, replica: *replica, who, why })
            }
            Line::Replace { set, replica, node } => {
                let (set, replica, node) = (*set, *replica, node.clone());
                self.command(Command::BeginReplacement { set, replica, node, who, why })
            }
            Line::Replaced { set, id, undone } => {
                let replaced = !undone.unwrap_or(false);
                self.command(Command::EndReplacement { set: *set, id: *id, replaced })
            }
            Line::Forgo { set, id } => {
                self.command(Command::GiveUpReplacement { set: *set, id: *id, who, why })
            }
            Line::Remove { node } => self.command(Command::RemoveNode { node: node.clone(), who, why }),
            Line::Node { name, site, api, peer, http } => self.command(Command::UpsertNodeAddress {
                node: name.clone(),
                site: site.clone(),
                api_addr: api.clone(),
                peer_addr: peer.clone(),
                http_addr: http.clone(),
                who,
                why,
            }),
            Line::Group { id, currency, side, parts, count, who: by } => {
                let named = parts.iter().flat_map(|parts| parts.split(',')).filter(|part| !part.is_empty());
                let counted = (1..=count.unwrap_or(0)).map(|n| format!("{id}.{n}"));
                let group = Group {
                    id: id.clone(),
                    currency: currency.clone(),
                    normal_side: if side == "debit" { Side::Debit } else { Side::Credit },
                    parts: named.map(String::from).chain(counted).collect(),
                };
                self.command(Command::CreateGroup { group, who: by.clone().unwrap_or(who), why })
            }
            Line::Evacuate { site, emergency, stages, soak_ms, concurrency, order, home, request } => {
                let emergency = emergency.unwrap_or(false);
                let kind = Kind::Evacuate { site: site.clone(), emergency };
                let numbers =
                    |text: &str| text.split(',').map(str::parse::<u32>).collect::<Result<Vec<_>, _>>();
                let stages = numbers(stages.as_deref().unwrap_or(if emergency { "100" } else { "1,100" }))?;
                let pace = Pace {
                    stages: stages.into_iter().map(|percent| percent as u8).collect(),
                    soak_ms: soak_ms.unwrap_or(0),
                    concurrency: concurrency.unwrap_or(2),
                    failures_max: 0,
                    roll_back: home.unwrap_or(false),
                };
                let order = order.as_deref().map(numbers).transpose()?;
                self.begin_plan(kind, pace, order, request.clone())
            }
            Line::Isolate { site } => {
                self.begin_plan(Kind::Isolate { site: site.clone() }, at_once(), None, None)
            }
            Line::Return { site } => {
                self.begin_plan(Kind::Return { site: site.clone() }, at_once(), None, None)
            }
            Line::Ended { plan, outcomes } => {
                let outcomes = outcomes.iter().map(|outcome| {
                    let (set, state) = outcome.split_once(':').ok_or("an outcome is SET:STATE")?;
                    let reason = "test".to_string();
                    let state = match state {
                        "done" => StepState::Done,
                        "back" => StepState::Back,
                        "skipped" => StepState::Skipped { reason },
                        _ => StepState::Failed { reason },
                    };
                    Ok::<_, Box<dyn Error>>(StepOutcome { set: set.parse()?, state, pause_us: Some(7) })
                });
                let outcomes = outcomes.collect::<Result<_, _>>()?;
                self.plan(plan::Command::Record { plan: *plan, outcomes })
            }
            Line::Advance { plan, stage } => self.plan(plan::Command::Advance { plan: *plan, stage: *stage }),
            Line::GiveUp { plan } => {
                self.plan(plan::Command::RollBack { plan: *plan, reason: "too much has failed".into() })
            }
            Line::End { plan, state } => {
                let state = match state.as_str() {
                    "done" => State::Done,
                    "failed" => State::Failed,
                    "stopped" => State::Stopped,
                    "rolled_back" => State::RolledBack,
                    other => return Err(format!("no plan ends {other}").into()),
                };
                let reason = (state == State::Failed).then(|| "test".into());
                self.plan(plan::Command::End { plan: *plan, state, reason })
            }
            Line::Stop => self.plan(plan::Command::Stop { who, why }),
            Line::Resume { plan } => self.plan(plan::Command::Resume { plan: *plan, who, why }),
            Line::Drill { scenario, set, seconds, request } => {
                self.command(Command::Drill(drill::Command::Begin {
                    request_id: request.clone().unwrap_or_else(|| self.index.to_string()),
                    scenario: scenario.clone(),
                    set: *set,
                    lease_ms: seconds * 1_000,
                    who,
                    why,
                }))
            }
            Line::Extend { drill, seconds } => {
                let (drill, lease_ms) = (*drill, seconds * 1_000);
                self.command(Command::Drill(drill::Command::Extend { drill, lease_ms, who }))
            }
            Line::StopDrill => self.command(Command::Drill(drill::Command::Stop { who, why })),
            Line::EndDrill { drill, verdict } => {
                let verdict = match verdict.as_str() {
                    "passed" => drill::Verdict::Passed,
                    "failed" => drill::Verdict::Failed,
                    "stopped" => drill::Verdict::Stopped,
                    "abandoned" => drill::Verdict::Abandoned,
                    other => return Err(format!("no drill ends {other}").into()),
                };
                self.command(Command::Drill(drill::Command::End { drill: *drill, verdict, who }))
            }
            Line::Skip { to } => {
                self.index = *to;
                Ok(String::new())
            }
            Line::Drills => show_drills(self.catalogue()?),
            Line::Plans => show_plans(self.catalogue()?),
            Line::Groups => show_groups(self.catalogue()?),
            Line::Set { set } => show_set(self.catalogue()?, *set),
            Line::Cluster => show_cluster(self.catalogue()?),
            Line::Fault { node, id, fault, ms, ended } => self.command(Command::RecordFault {
                node: node.clone(),
                id: *id,
                fault: fault.clone(),
                deadline_ms: *ms,
                ended: ended.unwrap_or(false),
                who,
                why,
            }),
            Line::By { proof, node } => {
                self.proof = match (proof.as_str(), node) {
                    ("nobody", None) => Proof::Declared,
                    ("token", None) => Proof::Token,
                    ("node", Some(node)) => Proof::Node(node.clone()),
                    other => return Err(format!("nobody is proven so: {other:?}").into()),
                };
                Ok(String::new())
            }
            Line::Audit => show_audit(self.catalogue()?),
        }
    }
}

macro_rules! scripts {
    ($($name:ident),* $(,)?) => {
        $(
            #[test]
            fn $name() {
                let mut script = Script { catalogue: None, index: 10, proof: Proof::Declared };
                goldenscript::run(&mut script, concat!("tests/scripts/", stringify!($name))).unwrap();
            }
        )*

        #[test]
        fn every_script_is_run() {
            let mut listed = vec![$(stringify!($name).to_string()),*];
            listed.sort();
            let entries = std::fs::read_dir("tests/scripts").unwrap();
            let mut found: Vec<String> =
                entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
            found.sort();
            assert_eq!(found, listed);
        }
    };
}

scripts! {
    abort, audit, audit_proofs, bootstrap, bootstrap_without_arbiter, conflicts, control_recovery, degrade, drills, evacuate, faults, groups,
    isolate, node_addresses, plan_conflicts, plan_rolls_back, plans_are_forgotten, recovery, replacement, replacement_conflicts,
    replacement_given_up, return_home, spread, stop, switch
}

//! Events as streams over a whole cluster while money moves: leaders die, sets move there and back, routers are killed, stopped and
//! frozen. Followers of both protocols, of one set and of all, have seen every event, each in its turn, and nothing but what the
//! routers list afterwards.

use std::time::Duration;

use tokio::time::Instant;
use twinset_proto::ledger::v1 as wire;
use twinset_proto::ledger::v1::ledger_client::LedgerClient;

use crate::followers::{Event, Follower, Over};
use crate::support::Stage;
use twinset_jepsen::history::{Meta, Recorder};
use twinset_jepsen::{death, logs};
use twinset_tools::cluster::local::Stopped;
use twinset_tools::cluster::process::Signal;

/// How long events may take to get to the followers, a change of leaders and a router that stands still included.
const ARRIVAL: Duration = Duration::from_secs(90);
const POLL: Duration = Duration::from_millis(20);
const SETS: [u32; 2] = [1, 2];

/// All that follow.
struct Followers(Vec<Follower>);

impl Followers {
    /// Two begin at each router.
    fn start(stage: &Stage) -> Followers {
        let layout = stage.cluster.layout();
        let start = |over, set, routers: [&str; 2]| {
            let address = |name: &str| {
                let router = layout.process(name).unwrap();
                if over == Over::Sse { router.http.clone() } else { router.api.clone() }
            };
            Follower::start(over, set, routers.map(address).to_vec())
        };
        Followers(vec![
            start(Over::Sse, Some(1), ["ra", "rb"]),
            start(Over::Sse, None, ["rb", "ra"]),
            start(Over::Grpc, Some(2), ["rb", "ra"]),
            start(Over::Grpc, None, ["ra", "rb"]),
        ])
    }

    /// Waits until more events of each set have come to everyone than now.
    async fn have_more(&self, by: usize) {
        let pairs = || self.0.iter().flat_map(|one| SETS.map(|set| (one, set)));
        let followed = || pairs().filter(|(one, set)| one.follows(*set));
        let wanted: Vec<usize> = followed().map(|(one, set)| one.count(set) + by).collect();
        self.until(|| {
            let missing = followed().zip(&wanted).find(|((one, set), wanted)| one.count(*set) < **wanted);
            missing.map(|((one, set), wanted)| {
                format!("{}: {} of {wanted} events of set {set} came", one.name(), one.count(set))
            })
        })
        .await;
    }

    /// Waits until nothing is missing.
    async fn until(&self, missing: impl Fn() -> Option<String>) {
        let deadline = Instant::now() + ARRIVAL;
        while let Some(missing) = missing() {
            assert!(Instant::now() < deadline, "{missing}; resumed {:?} times", self.resumed());
            tokio::time::sleep(POLL).await;
        }
    }

    /// How often each had to resume.
    fn resumed(&self) -> Vec<usize> {
        self.0.iter().map(Follower::resumed).collect()
    }

    /// Waits until the last event that is listed has come to everyone. What came is what is listed.
    async fn have_all(&self, stage: &Stage) {
        for set in SETS {
            let listed = Listed::of(stage, set).await;
            for one in self.0.iter().filter(|one| one.follows(set)) {
                let expected = listed.for_follower(one);
                self.until(|| {
                    let count = one.count(set);
                    (count < expected.len()).then(|| {
                        format!("{}: {count} of {} events of set {set} came", one.name(), expected.len())
                    })
                })
                .await;
                is_whole(one, set, &expected);
            }
        }
    }
}

/// The events of a set, as both protocols list them.
struct Listed {
    json: Vec<Event>,
    messages: Vec<Event>,
}

impl Listed {
    async fn of(stage: &Stage, set: u32) -> Listed {
        let (json, messages) = (stage.events(set).await, messages(stage, set).await);
        assert_eq!(json.len(), messages.len(), "both protocols list the events of set {set}");
        for (json, message) in json.iter().zip(&messages) {
            assert_eq!(json["event"], message.event);
            assert_eq!(json["previous"], message.previous);
            assert_eq!(json["position"]["index"], message.position.unwrap().index);
            assert_eq!(json["offset"], message.offset);
            let Some(wire::event::What::Booked(booked)) = &message.what else { continue };
            let (json, transaction) = (&json["transaction"], booked.transaction.as_ref().unwrap());
            assert_eq!(json["request_id"], transaction.request_id);
            let legs = json["legs"].as_array().unwrap();
            let same = legs.iter().zip(&transaction.legs).all(|(one, other)| {
                one["account"] == other.account
                    && one["amount"] == other.amount
                    && one["currency"] == other.currency
            });
            assert!(same && legs.len() == transaction.legs.len(), "{json} is {booked:?}");
        }
        let json = json.into_iter().map(Event::Json).collect();
        let messages = messages.into_iter().map(|event| Event::Message(Box::new(event))).collect();
        Listed { json, messages }
    }

    /// As that one is told them.
    fn for_follower(&self, one: &Follower) -> Vec<Event> {
        let events = if one.over() == Over::Sse { &self.json } else { &self.messages };
        let told =
            |event: &Event| if one.is_merged() { event.clone().without_resume() } else { event.clone() };
        events.iter().map(told).collect()
    }
}

async fn messages(stage: &Stage, set: u32) -> Vec<wire::Event> {
    let router = &stage.cluster.layout().process("ra").unwrap().api;
    let mut client = LedgerClient::connect(format!("http://{router}")).await.unwrap();
    let (mut events, mut after) = (Vec::new(), String::new());
    loop {
        let (set, page_size) = (Some(set), Some(1000));
        let asked = wire::ListEventsRequest { set, after, page_size, ..Default::default() };
        let page = client.list_events(asked).await.unwrap().into_inner();
        events.extend(page.events);
        after = page.next;
        if !page.more {
            return events;
        }
    }
}

/// Nothing is missing, nothing is out of its turn, nothing else has come.
fn is_whole(one: &Follower, set: u32, expected: &[Event]) {
    let events = one.events(set);
    let mut previous = "";
    for event in &events {
        assert_eq!(event.previous(), previous, "{}: nothing is between them", one.name());
        previous = event.key();
    }
    if let Some((came, listed)) = events.iter().zip(expected).find(|(came, listed)| came != listed) {
        panic!("{}: {came:?} came, and {listed:?} is listed", one.name());
    }
    assert_eq!(events.len(), expected.len(), "{}: more came than is listed", one.name());
}

#[tokio::test]
async fn streams_miss_nothing_while_leaders_die_sets_move_and_routers_go_away() {
    let mut stage = Stage::start().await;
    let followers = Followers::start(&stage);
    let traffic = stage.journal(100).await;
    followers.have_more(50).await;

    for set in SETS {
        let leader = stage.leader(set).await;
        death::end(&mut stage.cluster, &leader).await.unwrap();
        followers.have_more(20).await;
        stage.cluster.start_process(&leader).unwrap();
    }
    for why in ["there", "and back"] {
        for set in SETS {
            stage.switch(set, why).await;
            followers.have_more(20).await;
        }
    }
    for one in &followers.0 {
        assert_eq!(one.resumed(), 0, "{}: a stream goes on at the next leader: {:?}", one.name(), one.ends());
    }

    // Who loses its router just then finds the set without a leader at the other one.
    for (router, set) in [("ra", 1), ("rb", 2)] {
        let leader = stage.leader(set).await;
        for name in [router, &leader] {
            death::end(&mut stage.cluster, name).await.unwrap();
        }
        followers.have_more(20).await;
        for name in [router, &leader] {
            stage.cluster.start_process(name).unwrap();
        }
        stage.whole().await;
    }
    // By now all are at this one.
    assert_eq!(stage.cluster.stop_process("ra").await.unwrap(), Stopped::Cleanly, "streams hold up no end");
    followers.have_more(20).await;
    stage.cluster.start_process("ra").unwrap();
    stage.whole().await;
    for one in &followers.0 {
        assert_eq!(one.silences(), 0, "{}: nothing stood still", one.name());
    }
    // No event shows when they are at the other one: the traffic waits for the frozen router, too.
    let before = followers.resumed();
    stage.cluster.signal("rb", Signal::Stop).await.unwrap();
    followers
        .until(|| {
            let there = followers.0.iter().zip(&before).find(|(one, before)| one.resumed() <= **before);
            there.map(|(one, _)| format!("{}: it stays at a frozen router", one.name()))
        })
        .await;
    stage.cluster.signal("rb", Signal::Cont).await.unwrap();
    followers.have_more(20).await;

    let stopped = traffic.stop().await.unwrap();
    stage.account_for(stopped).await;
    followers.have_all(&stage).await;
    for one in &followers.0 {
        let (name, resumed, silences, again) = (one.name(), one.resumed(), one.silences(), one.again());
        println!("{name}: resumed {resumed} times, stood still {silences} times, {again} events came again");
        println!("{name}: ends: {:?}", one.ends());
        assert!(one.resumed() > 0 && one.again() > 0, "{} was spared", one.name());
    }

    // Nothing happens for longer than a comment takes: these very streams go on.
    let (resumed, comments) = (followers.resumed(), followers.0.iter().map(Follower::comments));
    let comments: Vec<usize> = comments.collect();
    followers
        .until(|| {
            let quiet = |one: &Follower, before| one.over() == Over::Grpc || one.comments() >= before + 2;
            let loud = followers.0.iter().zip(&comments).find(|(one, before)| !quiet(one, **before));
            loud.map(|(one, _)| format!("{}: no comments come", one.name()))
        })
        .await;
    let recorder = Recorder::in_memory(Meta::default());
    for set in SETS {
        stage.open_pair(&recorder, set).await;
    }
    followers.have_all(&stage).await;
    assert_eq!(followers.resumed(), resumed, "no stream was given up for being quiet");
    stage.end(logs::AFTER_KILLS).await;
}

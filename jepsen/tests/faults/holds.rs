//! Holds and restrictions whose time is over while the leader of their set dies, or stands still while another one leads, at each
//! edge of what it does about them of itself. Whatever happens each is put away once; one that is checked back is asked about under
//! the same keys, and does once what its initiator has said.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use http::{Method, StatusCode};
use rust_decimal::Decimal;
use serde_json::{Value, json};
use tokio::time::Instant;
use twinset_jepsen::api::spell::escaped;
use twinset_jepsen::logs;
use twinset_ledger::date;
use twinset_tools::cluster::process::Signal;

use crate::clients::{self, POLL, answered};
use crate::initiator::{Initiator, NAME};
use crate::leaders::{arm, keep_leading};
use crate::support::{ARMED, Stage};

/// Where the held accounts live, and the other set.
const OWN: u32 = 1;
const OTHER: u32 = 2;
/// From the placing of a hold to its end: longer if the machine is slow.
const SOON: Duration = Duration::from_secs(1);
/// By then what is due was done, also if a set that did not answer has put it off for a minute.
const PATIENCE: Duration = Duration::from_secs(150);
/// What an initiator confirms, and what comes restricted.
const CONFIRMED: i64 = 1950;
const RESTRICTED: i64 = 500;

#[tokio::test]
async fn what_is_over_is_put_away_once_whoever_dies_or_stands_still() {
    play(OWN, &[("expiry.due", End::Expires), ("expiry.put_away", End::Expires)]).await;
}

#[tokio::test]
async fn what_an_initiator_says_is_done_once_whoever_dies_or_stands_still() {
    let rounds = [
        ("check_back.asking", End::PendingFirst),
        ("check_back.answered", End::PendingFirst),
        ("check_back.answered", End::Confirmed),
        ("check_back.answered", End::Cancelled),
        ("check_back.counted", End::PendingFirst),
        ("check_back.counted", End::Cancelled),
        ("check_back.confirmed", End::Confirmed),
    ];
    play(OWN, &rounds).await;
}

#[tokio::test]
async fn what_an_initiator_confirms_over_two_sets_is_booked_once_whoever_dies_or_stands_still() {
    let rounds = [
        ("check_back.answered", End::Confirmed),
        ("across.begun", End::Confirmed),
        ("across.decided", End::Confirmed),
        ("check_back.confirmed", End::Confirmed),
    ];
    play(OTHER, &rounds).await;
}

/// In each round the leader that gets to the point dies, and then another one stands still there.
async fn play(payee_set: u32, rounds: &[(&str, End)]) {
    let initiator = Initiator::start(says).await;
    let mut stage = Stage::start().await;
    let allowed_to_ask = initiator.section(&stage);
    // Whoever leads the set for a moment may ask.
    for site in ["A", "B"] {
        for node in stage.nodes_of(site) {
            stage.reconfigure(&node, &allowed_to_ask).await;
        }
    }
    let mut books = Books::open(&stage, initiator, payee_set).await;
    for (point, end) in rounds {
        let fault = format!("{allowed_to_ask}[faults]\ndie_at = \"{point}\"\n");
        let victim = arm(&mut stage, OWN, &fault).await;
        let until = Instant::now() + PATIENCE;
        while !stage.has_ended(&victim).await {
            assert!(Instant::now() < until, "{victim} never got to {point}: {}", stage.log(&victim, 0));
            books.place(&stage, *end).await;
            // Also without the one that has died.
            books.until_over(&stage, point).await;
            keep_leading(&mut stage, OWN, &victim).await;
        }
        println!("{point}: {victim} died; {} holds", books.placed.len());
        books.was_asked_again(point);
        stage.configure(&victim, &allowed_to_ask);
        stage.cluster.start_process(&victim).unwrap();
        stage.whole().await;
        books.check(&stage, point).await;

        let fault = format!("{allowed_to_ask}[faults]\nfreeze_at = \"{point}\"\n");
        let victim = arm(&mut stage, OWN, &fault).await;
        let until = Instant::now() + PATIENCE;
        while !stage.is_frozen(&victim) {
            assert!(Instant::now() < until, "{victim} never got to {point}: {}", stage.log(&victim, 0));
            books.place(&stage, *end).await;
            books.until_over(&stage, point).await;
            if !stage.is_frozen(&victim) {
                keep_leading(&mut stage, OWN, &victim).await;
            }
        }
        println!("{point}: {victim} stood still; {} holds", books.placed.len());
        books.was_asked_again(point);
        // It goes on with what another one has done.
        stage.cluster.signal(&victim, Signal::Cont).await.unwrap();
        stage.whole().await;
        books.place(&stage, *end).await;
        books.until_over(&stage, point).await;
        books.check(&stage, point).await;
        stage.reconfigure(&victim, &allowed_to_ask).await;
    }
    let allowed = [logs::AFTER_KILLS, &[ARMED]].concat();
    stage.end(&allowed).await;
}

/// What is to come of a hold, which its amount tells the initiator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// Nobody is asked. With it comes money that is restricted for as long.
    Expires,
    /// It is confirmed at once.
    Confirmed,
    /// The initiator does not know yet, and then confirms.
    PendingFirst,
    Cancelled,
}

impl End {
    const ALL: [End; 4] = [End::Expires, End::Confirmed, End::PendingFirst, End::Cancelled];

    /// In cents.
    fn amount(self) -> i64 {
        match self {
            End::Expires => 3000,
            End::Confirmed => 3100,
            End::PendingFirst => 3200,
            End::Cancelled => 3300,
        }
    }

    fn captured(self) -> i64 {
        if matches!(self, End::Confirmed | End::PendingFirst) { CONFIRMED } else { 0 }
    }

    fn state(self) -> &'static str {
        match self {
            End::Expires => "expired",
            End::Confirmed | End::PendingFirst => "captured",
            End::Cancelled => "released",
        }
    }

    /// What comes of each try.
    fn tries(self) -> &'static [&'static str] {
        match self {
            End::Expires => &[],
            End::Confirmed => &["confirmed"],
            End::PendingFirst => &["pending", "confirmed"],
            End::Cancelled => &["cancelled"],
        }
    }
}

/// The initiator's mind.
fn says(asked: &Value) -> Value {
    let of_amount = |end: &End| major(end.amount()) == asked["amount"];
    match (End::ALL.into_iter().find(of_amount), asked["try"].as_u64()) {
        (Some(End::PendingFirst), Some(1)) => json!({ "answer": "pending" }),
        (Some(End::Confirmed | End::PendingFirst), _) => {
            json!({ "answer": "confirm", "amount": major(CONFIRMED) })
        }
        (Some(End::Cancelled), _) => json!({ "answer": "cancel" }),
        other => panic!("{other:?}: nobody is to be asked about {asked}"),
    }
}

/// A hold, and the restriction that came with it.
struct Placed {
    end: End,
    hold: String,
    restriction: Option<String>,
}

/// Whose money is held, who brings some that is restricted, who is paid, and what was placed so far.
struct Books {
    initiator: Initiator,
    bank: String,
    payer: String,
    payee: String,
    asked: usize,
    placed: Vec<Placed>,
}

impl Books {
    async fn open(stage: &Stage, initiator: Initiator, payee_set: u32) -> Books {
        let wanted = [("bank", OWN), ("payer", OWN), ("payee", payee_set)];
        let [bank, payer, payee] = clients::in_sets(stage, wanted).await;
        for account in [&bank, &payer, &payee] {
            clients::open(stage, account).await;
        }
        Books { initiator, bank, payer, payee, asked: 0, placed: Vec::new() }
    }

    fn path(&self, rest: &str) -> String {
        format!("/v1/accounts/{}{rest}", escaped(&self.payer))
    }

    /// Places a hold that is over soon: again with more time, if it was over before.
    async fn place(&mut self, stage: &Stage, end: End) {
        let mut soon = SOON;
        loop {
            let id = format!("hold-{}", self.asked);
            self.asked += 1;
            let over = from_now(soon);
            let mut body = json!({ "request_id": id, "amount": major(end.amount()), "expires_at": over });
            if end != End::Expires {
                body["on_expiry"] = json!({ "check_back": { "initiator": NAME, "to": self.payee } });
            }
            match decided(stage, &self.path("/holds"), body).await {
                Ok(said) => {
                    let hold = said["hold"]["hold"].as_str().unwrap().to_owned();
                    let restriction = match end {
                        End::Expires => Some(self.restrict(stage, &over).await),
                        _ => None,
                    };
                    return self.placed.push(Placed { end, hold, restriction });
                }
                Err(problem) => {
                    assert!(problem["code"] == "expiry_too_early" && soon < PATIENCE, "{problem}");
                    soon *= 2;
                }
            }
        }
    }

    /// Brings money that is restricted until then; gives the restriction's name.
    async fn restrict(&self, stage: &Stage, until: &str) -> String {
        let amount = major(RESTRICTED);
        let body = json!({ "request_id": format!("restricted-{}", self.asked), "legs": [
            { "account": self.bank, "side": "debit", "amount": amount },
            { "account": self.payer, "side": "credit", "amount": amount, "restricted": { "until": until } },
        ] });
        let said = answered(stage, Method::POST, "/v1/transactions", body).await;
        said["transaction"].as_str().unwrap_or_else(|| panic!("{said}")).to_owned()
    }

    async fn hold(&self, stage: &Stage, hold: &str) -> Value {
        let path = self.path(&format!("/holds/{hold}"));
        answered(stage, Method::GET, &path, Value::Null).await["hold"].take()
    }

    async fn restriction(&self, stage: &Stage, restriction: &str) -> Value {
        let path = self.path(&format!("/restrictions/{restriction}"));
        answered(stage, Method::GET, &path, Value::Null).await["restriction"].take()
    }

    /// Waits until nothing is held or restricted any more, and the money is where it is to be.
    async fn until_over(&self, stage: &Stage, point: &str) {
        let until = Instant::now() + PATIENCE;
        let payee_has = major(self.sum(|placed| placed.end.captured()));
        loop {
            let payer = clients::account(stage, &self.payer).await;
            let payee = clients::account(stage, &self.payee).await;
            if [&payer["held"], &payer["restricted"]] == ["0.00", "0.00"] && payee["posted"] == payee_has {
                return;
            }
            let last = &self.placed.last().unwrap().hold;
            let last = self.hold(stage, last).await;
            assert!(Instant::now() < until, "{point}: {payer}, {payee}, {last}");
            tokio::time::sleep(POLL).await;
        }
    }

    fn sum(&self, of: impl Fn(&Placed) -> i64) -> i64 {
        self.placed.iter().map(of).sum()
    }

    /// An answer that did not get into the log is asked for again, under the same key.
    fn was_asked_again(&self, point: &str) {
        let hold = &self.placed.last().unwrap().hold;
        let first = format!("{hold}-1");
        let count = self.initiator.calls(hold).iter().filter(|call| call.key == first).count();
        assert!(point != "check_back.answered" || count > 1, "{point}: {first} was asked {count} times");
    }

    /// Everything is as if nobody had died: of each hold what has happened to it, the money, and what the set tells of it.
    async fn check(&self, stage: &Stage, point: &str) {
        self.until_over(stage, point).await;
        let mut captures = Vec::new();
        for placed in &self.placed {
            let found = self.hold(stage, &placed.hold).await;
            captures.extend(self.check_hold(stage, placed, &found).await);
            if let Some(restriction) = &placed.restriction {
                let found = self.restriction(stage, restriction).await;
                let (amount, nothing) = (major(RESTRICTED), major(0));
                let figures = ["state", "amount", "left"].map(|figure| &found[figure]);
                assert_eq!(figures, ["expired", &amount, &nothing], "{point}: {found}");
                assert!(found["ended"].is_object(), "{point}: {found}");
            }
        }
        self.check_money(stage, &captures).await;
        self.check_events(stage).await;
    }

    /// Gives the transaction that has captured it, if one has.
    async fn check_hold(&self, stage: &Stage, placed: &Placed, found: &Value) -> Option<String> {
        let Placed { end, hold, .. } = placed;
        let (amount, captured) = (end.amount(), end.captured());
        let figures = ["amount", "captured", "capturing", "released", "left"].map(|figure| &found[figure]);
        assert_eq!(figures, [amount, captured, 0, amount - captured, 0].map(major).each_ref(), "{found}");
        assert_eq!(found["state"], end.state(), "{found}");

        let journal = found["journal"].as_array().unwrap();
        let of = |change: &str| journal.iter().filter(|one| one["change"] == change).collect::<Vec<_>>();
        let tries: Vec<&Value> = of("checked_back").into_iter().map(|one| &one["try"]).collect();
        let numbers: Vec<u64> = tries.iter().filter_map(|one| one["number"].as_u64()).collect();
        let count = tries.len() as u64;
        assert!(numbers.iter().copied().eq(1..=count), "each try counts once: {found}");
        // A confirmation that a set did not answer in time is tried again.
        let given_up = |one: &&&Value| one["result"] == "failed" && one["why"] == "set_unavailable";
        let came: Vec<&Value> = tries.iter().filter(|one| !given_up(one)).map(|one| &one["result"]).collect();
        assert_eq!(came, end.tries(), "{found}");
        self.check_calls(hold, count);

        let captures = of("captured");
        let taken: Vec<&str> = captures.iter().filter_map(|one| one["amount"].as_str()).collect();
        let back: Vec<&str> = [of("released"), of("expired")]
            .concat()
            .iter()
            .filter_map(|one| one["amount"].as_str())
            .collect();
        let one = |cents: i64| if cents == 0 { Vec::new() } else { vec![major(cents)] };
        assert_eq!(taken, one(captured), "it is captured once: {found}");
        assert_eq!(back, one(amount - captured), "the rest comes back once: {found}");
        let transaction = captures.first()?["transaction"].as_str().unwrap().to_owned();
        let path = format!("/v1/requests/{}/~confirm-{hold}-{count}", escaped(&self.payer));
        let known = answered(stage, Method::GET, &path, Value::Null).await;
        assert_eq!(known["transaction"]["transaction"], json!(transaction), "{known}");
        Some(transaction)
    }

    /// Each try that counts was asked, none was that does not, and the same try each time in the same words under the same key.
    fn check_calls(&self, hold: &str, tries: u64) {
        let mut asked = BTreeMap::<u64, Value>::new();
        for call in self.initiator.calls(hold) {
            let no = call.body["try"].as_u64().unwrap();
            assert_eq!(call.key, format!("{hold}-{no}"), "{call:?}");
            let first = asked.entry(no).or_insert_with(|| call.body.clone());
            assert_eq!(*first, call.body, "the same try asks the same");
        }
        assert!(asked.into_keys().eq(1..=tries), "{tries} tries of {hold} count");
    }

    /// Each capture stands once in the statements of both accounts, and nothing else was taken or given.
    async fn check_money(&self, stage: &Stage, captures: &[String]) {
        let (captured, restricted) =
            (CONFIRMED * captures.len() as i64, self.sum(|one| i64::from(one.restriction.is_some())));
        let restricted = RESTRICTED * restricted;
        let payer = clients::account(stage, &self.payer).await;
        let has = major(restricted - captured);
        for (figure, expected) in [("posted", &has), ("available", &has), ("withdrawable", &has)] {
            assert_eq!(payer[figure], *expected, "{payer}");
        }
        assert_eq!(clients::account(stage, &self.payee).await["posted"], major(captured));
        assert_eq!(clients::account(stage, &self.bank).await["posted"], major(-restricted));
        let captures: Vec<(&str, String)> =
            captures.iter().map(|one| (one.as_str(), major(CONFIRMED))).collect();
        for (account, side) in [(&self.payer, "debit"), (&self.payee, "credit")] {
            let lines = clients::statement(stage, account, "").await;
            let lines = lines.iter().filter(|line| line["side"] == side).map(|line| {
                let part_of = line["part_of"].as_str().filter(|part_of| !part_of.is_empty());
                let whole = part_of.or(line["transaction"].as_str()).unwrap();
                (whole, line["amount"].as_str().unwrap().to_owned())
            });
            assert_eq!(lines.collect::<Vec<_>>(), captures, "{side} of {account}");
        }
    }

    /// What the set tells those who follow it comes once.
    async fn check_events(&self, stage: &Stage) {
        let events = events(stage).await;
        let count = |kind: &str, what: &str, name: &str| {
            events.iter().filter(|event| event["kind"] == kind && event[what][what] == name).count()
        };
        for Placed { end, hold, restriction } in &self.placed {
            assert_eq!(count("hold_placed", "hold", hold), 1, "{hold}");
            assert_eq!(count("hold_expired", "hold", hold), usize::from(*end == End::Expires), "{hold}");
            if let Some(restriction) = restriction {
                assert_eq!(count("restriction_expired", "restriction", restriction), 1, "{restriction}");
            }
        }
    }
}

/// What came of a command: what is told, or the rejection.
async fn decided(stage: &Stage, path: &str, body: Value) -> Result<Value, Value> {
    let deadline = Instant::now() + clients::PATIENCE;
    for router in ["ra", "rb"].into_iter().cycle() {
        match clients::call(stage, router, Method::POST, path, body.clone()).await {
            Ok((StatusCode::OK, said)) => return Ok(said),
            Ok((_, problem)) if problem["outcome"] == "rejected" => return Err(problem),
            said => assert!(Instant::now() < deadline, "{path} has no answer: {said:?}"),
        }
        tokio::time::sleep(POLL).await;
    }
    unreachable!("the routers never end")
}

/// All events of the set of the held account.
async fn events(stage: &Stage) -> Vec<Value> {
    let (mut events, mut after) = (Vec::new(), String::new());
    loop {
        let path = format!("/v1/sets/{OWN}/events?page_size=1000&after={after}");
        let page = answered(stage, Method::GET, &path, Value::Null).await;
        events.extend(page["events"].as_array().unwrap().iter().cloned());
        // A place may have a plus sign, which means a space in a query.
        after = page["next"].as_str().unwrap().replace('+', "%2B");
        if page["more"] != true {
            return events;
        }
    }
}

fn from_now(soon: Duration) -> String {
    let then = SystemTime::now() + soon;
    let since = then.duration_since(SystemTime::UNIX_EPOCH).unwrap();
    date::timestamp(u64::try_from(since.as_nanos()).unwrap())
}

fn major(cents: i64) -> String {
    Decimal::new(cents, 2).to_string()
}

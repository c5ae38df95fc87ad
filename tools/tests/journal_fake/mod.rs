//! A router in memory for the journal tests: the HTTP API's JSON on one side, the real ledger rules over plain maps on
//! the other, and troubles on demand. Answers as the router does as far as import and export can tell.

use std::sync::Mutex;

use http::Method;
use rust_decimal::Decimal;
use serde_json::{Value, json};
use twinset_ledger::codec::{EntryBuilder, encode_command};
use twinset_ledger::command::Metadata;
use twinset_ledger::memory::MemoryState;
use twinset_ledger::{Command, Leg, Outcome, RULES_VERSION, Side, Transaction, TransactionId, amount, date};
use twinset_tools::journal::api::{CallFailed, HttpApi, metadata_of};

/// The set that holds everything.
pub const SET: u32 = 3;

/// What goes wrong with a call, by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// It is done, and the answer says that nobody knows.
    Unknown,
    /// It is not done.
    NoLeader,
}

struct Inner {
    state: MemoryState,
    index: u64,
    calls: u64,
    largest_batch: (usize, usize),
}

/// The router.
pub struct FakeRouter {
    inner: Mutex<Inner>,
    trouble: fn(u64) -> Option<Trouble>,
}

type Answer = Result<Value, CallFailed>;

fn failed(code: &str, outcome: &str, detail: impl ToString) -> CallFailed {
    CallFailed { code: code.into(), outcome: outcome.into(), detail: detail.to_string() }
}

impl FakeRouter {
    /// Without any trouble.
    pub fn new() -> Self {
        Self::troubled(|_| None)
    }

    /// With trouble for some calls, which are counted from 1.
    pub fn troubled(trouble: fn(u64) -> Option<Trouble>) -> Self {
        let inner = Inner { state: MemoryState::new(SET), index: 0, calls: 0, largest_batch: (0, 0) };
        FakeRouter { inner: Mutex::new(inner), trouble }
    }

    /// Applied transactions, replays not counted.
    pub fn booked(&self) -> usize {
        let inner = self.inner.lock().unwrap();
        inner.state.history().filter(|(_, command, outcome)| applied(command, outcome).is_some()).count()
    }

    /// Transactions and their bytes in the batch of the most transactions.
    pub fn largest_batch(&self) -> (usize, usize) {
        self.inner.lock().unwrap().largest_batch
    }

    /// Debits less credits by currency, over all accounts.
    pub fn sums(&self) -> Vec<i128> {
        let inner = self.inner.lock().unwrap();
        inner.state.totals().values().map(|(debits, credits)| debits - credits).collect()
    }

    /// Debits less credits of one account in major units.
    pub fn balance(&self, account: &str) -> Decimal {
        let inner = self.inner.lock().unwrap();
        let account = inner.state.account_by_id(account).expect("the account is open");
        Decimal::from_i128_with_scale(account.debits - account.credits, account.scale.into())
    }

    /// Applied transactions as the router lists them.
    pub fn list(&self) -> Vec<Value> {
        let inner = self.inner.lock().unwrap();
        let history = inner.state.history();
        history
            .filter_map(|(_, command, outcome)| Some(listed(applied(command, outcome)?, outcome)))
            .collect()
    }

    fn answer(&self, method: &Method, path: &str, body: Option<&Value>) -> Answer {
        let path = path.replace("%7B", "{").replace("%7D", "}");
        let (path, query) = path.split_once('?').unwrap_or((&path, ""));
        let parts: Vec<&str> = path.trim_start_matches("/v1/").split('/').collect();
        let body = body.unwrap_or(&Value::Null);
        match (method.as_str(), parts.as_slice()) {
            ("PUT", ["currencies", code]) => {
                let scale = u8::try_from(body["scale"].as_u64().unwrap()).unwrap();
                self.run(Command::DefineCurrency { code: (*code).into(), scale })
                    .map(|_| json!({"changed": true}))
            }
            ("POST", ["accounts"]) => self.run(open(body)).map(|outcome| receipt(&outcome)),
            ("POST", ["batches"]) => {
                let items = body["transactions"].as_array().unwrap();
                let size = (items.len(), items.iter().map(|item| item.to_string().len()).sum());
                let mut inner = self.inner.lock().unwrap();
                inner.largest_batch = inner.largest_batch.max(size);
                drop(inner);
                let result = |item| match self.run(transaction(item)) {
                    Ok(outcome) => json!({ "ok": receipt(&outcome) }),
                    Err(no) => {
                        json!({"problem": {"code": no.code, "outcome": no.outcome, "detail": no.detail}})
                    }
                };
                Ok(json!({ "results": items.iter().map(result).collect::<Vec<_>>() }))
            }
            ("GET", ["accounts", id]) => self.account(id),
            ("GET", ["sets", set, "transactions"]) if *set == SET.to_string() => Ok(self.page(query)),
            _ => panic!("the fake router does not know {method} {path}"),
        }
    }

    fn run(&self, command: Command) -> Result<Outcome, CallFailed> {
        command.validate().map_err(|malformed| failed(malformed.code(), "not_applied", malformed))?;
        let inner = &mut *self.inner.lock().unwrap();
        inner.index += 1;
        let mut bytes = Vec::new();
        encode_command(&command, &mut bytes);
        let mut entry = EntryBuilder::new(RULES_VERSION, 1, inner.index);
        entry.push_command_bytes(&bytes);
        let outcome = inner.state.apply(inner.index, &entry.finish()).unwrap().remove(0);
        match &outcome.result {
            Ok(_) => Ok(outcome),
            Err(rejection) => Err(failed(rejection.code(), "rejected", rejection)),
        }
    }

    fn account(&self, id: &str) -> Answer {
        let inner = self.inner.lock().unwrap();
        let account = inner.state.account_by_id(id).ok_or_else(|| failed("not_found", "not_applied", id))?;
        let fields = json!({
            "account": account.id, "subject": account.subject, "currency": account.currency,
            "metadata": account.metadata, "limit": "none",
            "posted": amount::to_decimal_string(account.posted(), account.scale),
        });
        Ok(json!({ "account": fields, "as_of": { "set": SET, "index": inner.index }, "age_ms": 0 }))
    }

    /// Small pages, whatever was asked for, so that there are several.
    fn page(&self, query: &str) -> Value {
        let after = query.split('&').find_map(|pair| pair.strip_prefix("after="));
        let all = self.list();
        let start = match after {
            Some(after) => all.iter().position(|t| t["transaction"] == after).unwrap() + 1,
            None => 0,
        };
        let page: Vec<Value> = all[start..].iter().take(7).cloned().collect();
        let more = start + page.len() < all.len();
        let next = page.last().filter(|_| more).map_or(json!(""), |last| last["transaction"].clone());
        json!({ "transactions": page, "next": next, "as_of": { "set": SET } })
    }
}

impl HttpApi for FakeRouter {
    async fn call(&self, method: Method, path: &str, body: Option<&Value>) -> Answer {
        let number = {
            let mut inner = self.inner.lock().unwrap();
            inner.calls += 1;
            inner.calls
        };
        match (self.trouble)(number) {
            None => self.answer(&method, path, body),
            Some(Trouble::NoLeader) => {
                Err(failed("no_leader", "not_applied", "no leader until the deadline"))
            }
            Some(Trouble::Unknown) => {
                drop(self.answer(&method, path, body));
                Err(failed("unknown", "unknown", "sent; the end is not known"))
            }
        }
    }
}

fn applied<'a>(command: &'a Command, outcome: &Outcome) -> Option<&'a Transaction> {
    match command {
        Command::Transaction(transaction) if outcome.result.is_ok() && !outcome.replayed => Some(transaction),
        _ => None,
    }
}

fn id(outcome: &Outcome) -> String {
    TransactionId { set: SET, incarnation: outcome.incarnation, position: outcome.position }.to_string()
}

fn receipt(outcome: &Outcome) -> Value {
    let position = json!({ "set": SET, "index": outcome.position.index(), "time": "2026-01-01T00:00:00Z" });
    json!({ "transaction": id(outcome), "position": position, "replayed": outcome.replayed })
}

fn text(body: &Value, key: &str) -> String {
    body[key].as_str().unwrap_or_else(|| panic!("{key} is a string in {body}")).to_owned()
}

fn metadata(body: &Value) -> Metadata {
    metadata_of(body)
}

fn open(body: &Value) -> Command {
    assert_eq!(body["limit"], "none", "journal accounts have no floor");
    Command::OpenAccount {
        request_id: text(body, "request_id"),
        account: text(body, "account"),
        subject: text(body, "subject"),
        currency: text(body, "currency"),
        normal_side: None,
        limit: None,
        metadata: metadata(body),
    }
}

fn transaction(body: &Value) -> Command {
    let leg = |leg: &Value| {
        let side = if leg["side"] == "debit" { Side::Debit } else { Side::Credit };
        Leg::new(&text(leg, "account"), side, amount::parse(leg["amount"].as_str().unwrap()).unwrap())
    };
    Command::Transaction(Transaction {
        request_id: text(body, "request_id"),
        legs: body["legs"].as_array().unwrap().iter().map(leg).collect(),
        accounting_date: date::parse(&text(body, "accounting_date")),
        metadata: metadata(body),
        ..Transaction::default()
    })
}

fn listed(transaction: &Transaction, outcome: &Outcome) -> Value {
    // As it was asked for: zeros at the end are not added.
    let leg = |leg: &Leg| {
        json!({
            "account": leg.account, "currency": "",
            "side": if leg.side == Side::Debit { "debit" } else { "credit" },
            "amount": leg.amount.to_string(),
        })
    };
    json!({
        "transaction": id(outcome),
        "request_id": transaction.request_id,
        "legs": transaction.legs.iter().map(leg).collect::<Vec<_>>(),
        "accounting_date": date::format(transaction.accounting_date.unwrap()),
        "metadata": transaction.metadata,
        "kind": 0, "reason": 0, "reversed_by": [],
    })
}

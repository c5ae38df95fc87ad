//! One connection of the traffic generator, over HTTP or gRPC: opens accounts, posts transfers, and says how they ended.
//! It repeats nothing that may have arrived: a client that loses its connection counts the request as unknown.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, StatusCode, Uri};
use serde::Deserialize;
use tonic::transport::{Channel, Endpoint};
use twinset_proto::ledger::v1 as pb;
use twinset_proto::ledger::v1::ledger_client::LedgerClient;

use super::plan::Transfer;
use super::random::Random;
use super::record::{Answers, Class, Failure};
use super::{CURRENCY, LoadOptions, Protocol, SUBJECT};
use crate::{error, http1};

/// A connection that is opened when it is first needed, and again after it broke.
pub struct Client {
    /// A router's address; the next one of the list after a failure.
    routers: Vec<String>,
    at: usize,
    pub(super) deadline_ms: Option<u32>,
    pub(super) wire: Wire,
}

pub(super) enum Wire {
    Http { open: Option<http1::Connection>, body: String },
    Grpc { open: Option<LedgerClient<Channel>> },
}

/// What a router grants a request that names no deadline.
const DEADLINE_MS_DEFAULT: u32 = 5_000;
/// More than the deadline: a router that answers at the last moment is still heard.
const GRACE: Duration = Duration::from_secs(5);
/// Between attempts to reach a router that does not accept connections.
const REDIAL: Duration = Duration::from_millis(20);
const GRPC_MESSAGE_BYTES_MAX: usize = 64 << 20;

impl Client {
    /// Connection number `number`: starts with that router of the list, in turn.
    pub fn new(options: &LoadOptions, number: usize) -> anyhow::Result<Self> {
        let next = "give routers as http://ADDRESS:PORT, separated by commas";
        let routers: Vec<String> = options
            .routers
            .iter()
            .map(|url| http1::authority(url).map_err(|error| error::usage(error.to_string(), next)))
            .collect::<anyhow::Result<_>>()?;
        let wire = match options.protocol {
            Protocol::Http => Wire::Http { open: None, body: String::new() },
            Protocol::Grpc => Wire::Grpc { open: None },
        };
        Ok(Client { at: number % routers.len(), routers, deadline_ms: options.deadline_ms, wire })
    }

    pub(super) fn patience(&self) -> Duration {
        Duration::from_millis(self.deadline_ms.unwrap_or(DEADLINE_MS_DEFAULT).into()) + GRACE
    }

    /// Opens an account without limit; gives its set. Repeating it is harmless, as its request id is always the same.
    pub async fn open_account(&mut self, account: &str) -> anyhow::Result<u32> {
        let next = "`twinset status` shows whether the sets have leaders";
        let failed = |why: String| error::failure(format!("account {account} cannot be opened: {why}"), next);
        let patience = self.patience();
        match self.wire {
            Wire::Http { .. } => {
                let body = format!(
                    r#"{{"request_id":"open","account":"{account}","subject":"{SUBJECT}","currency":"{CURRENCY}","limit":"none"}}"#
                );
                let path = Uri::from_static("/v1/accounts");
                let (status, reply) =
                    self.http(path, body.into(), patience).await.map_err(|e| failed(e.to_string()))?;
                if !status.is_success() {
                    return Err(failed(String::from_utf8_lossy(&reply).into_owned()));
                }
                #[derive(Deserialize)]
                struct Position {
                    set: u32,
                }
                #[derive(Deserialize)]
                struct Opened {
                    position: Position,
                }
                let opened: Opened = serde_json::from_slice(&reply).map_err(|e| failed(e.to_string()))?;
                Ok(opened.position.set)
            }
            Wire::Grpc { .. } => {
                let request = pb::OpenAccountRequest {
                    request_id: "open".into(),
                    account: account.into(),
                    subject: SUBJECT.into(),
                    currency: CURRENCY.into(),
                    limit: Some("none".into()),
                    ..Default::default()
                };
                let client = self.grpc().await.map_err(|e| failed(e.to_string()))?;
                let call = tokio::time::timeout(patience, client.open_account(request)).await;
                let reply =
                    call.map_err(|e| failed(e.to_string()))?.map_err(|s| failed(s.message().into()))?;
                Ok(reply.into_inner().position.map_or(0, |position| position.set))
            }
        }
    }

    /// Posts the transfers, each under a request id of its own, and waits for the answer.
    pub async fn post(&mut self, transfers: &[Transfer], random: &mut Random) -> Answers {
        let answers = match self.wire {
            _ if transfers.iter().any(|transfer| transfer.held) => self.capture(&transfers[0], random).await,
            Wire::Http { .. } => self.post_http(transfers, random).await,
            Wire::Grpc { .. } => self.post_grpc(transfers, random).await,
        };
        match answers {
            Ok(answers) => answers,
            Err(failure) => {
                self.disconnect();
                if failure.class == Class::NotApplied {
                    // Nobody accepted the connection: a closed loop must not spin.
                    tokio::time::sleep(REDIAL).await;
                }
                Answers::failed(failure, transfers.len())
            }
        }
    }

    fn disconnect(&mut self) {
        self.at = (self.at + 1) % self.routers.len();
        match &mut self.wire {
            Wire::Http { open, .. } => *open = None,
            Wire::Grpc { open } => *open = None,
        }
    }

    async fn post_http(&mut self, transfers: &[Transfer], random: &mut Random) -> Result<Answers, Failure> {
        let Wire::Http { body, .. } = &mut self.wire else { unreachable!("only called for the HTTP wire") };
        body.clear();
        let path = if let [transfer] = transfers {
            push_transfer(body, transfer, random);
            Uri::from_static("/v1/transactions")
        } else {
            body.push_str(r#"{"transactions":["#);
            for (at, transfer) in transfers.iter().enumerate() {
                if at > 0 {
                    body.push(',');
                }
                push_transfer(body, transfer, random);
            }
            body.push_str(r#"],"with_postings":false}"#);
            Uri::from_static("/v1/batches")
        };
        let body = Bytes::copy_from_slice(body.as_bytes());
        let answer = self.http(path, body, self.patience()).await;
        let (status, reply) =
            answer.map_err(|error| if error.unsent() { unreached() } else { unanswered() })?;
        if !status.is_success() {
            return Ok(Answers::failed(problem(&reply), transfers.len()));
        }
        if transfers.len() == 1 {
            return Ok(Answers::done(1));
        }
        Ok(batch_answers(&reply, transfers.len()))
    }

    pub(super) async fn http(
        &mut self,
        path: Uri,
        body: Bytes,
        patience: Duration,
    ) -> Result<(StatusCode, Bytes), http1::Error> {
        let addr = &self.routers[self.at];
        let mut request = http1::request(Method::POST, addr, &path, body);
        if let Some(deadline_ms) = self.deadline_ms {
            let name = HeaderName::from_static("twinset-deadline-ms");
            request.headers_mut().insert(name, HeaderValue::from(deadline_ms));
        }
        let Wire::Http { open, .. } = &mut self.wire else { unreachable!("only called for the HTTP wire") };
        let connection = match open {
            Some(connection) => connection,
            None => open.insert(http1::Connection::open(addr, GRACE).await?),
        };
        connection.call(request, patience).await
    }

    pub(super) async fn grpc(&mut self) -> Result<&mut LedgerClient<Channel>, tonic::transport::Error> {
        let addr = &self.routers[self.at];
        let Wire::Grpc { open } = &mut self.wire else { unreachable!("only called for the gRPC wire") };
        match open {
            Some(client) => Ok(client),
            None => {
                let endpoint = Endpoint::from_shared(format!("http://{addr}"))?.connect_timeout(GRACE);
                let client = LedgerClient::new(endpoint.connect().await?)
                    .max_decoding_message_size(GRPC_MESSAGE_BYTES_MAX)
                    .max_encoding_message_size(GRPC_MESSAGE_BYTES_MAX);
                Ok(open.insert(client))
            }
        }
    }

    async fn post_grpc(&mut self, transfers: &[Transfer], random: &mut Random) -> Result<Answers, Failure> {
        let patience = self.patience();
        let deadline = self.deadline_ms.map(|ms| Duration::from_millis(ms.into()));
        let client = self.grpc().await.map_err(|_| unreached())?;
        let mut transactions: Vec<_> = transfers.iter().map(|transfer| message(transfer, random)).collect();
        let one = transactions.len() == 1;
        let single = if one { transactions.pop() } else { None };
        let call = async {
            match single {
                Some(transaction) => {
                    let mut request = tonic::Request::new(transaction);
                    deadline.inspect(|deadline| request.set_timeout(*deadline));
                    client.post_transaction(request).await.map(|_| Answers::done(1))
                }
                None => {
                    let batch = pb::PostBatchRequest { transactions, ..pb::PostBatchRequest::default() };
                    let mut request = tonic::Request::new(batch);
                    deadline.inspect(|deadline| request.set_timeout(*deadline));
                    client
                        .post_batch(request)
                        .await
                        .map(|reply| batch_messages(reply.get_ref(), transfers.len()))
                }
            }
        };
        match tokio::time::timeout(patience, call).await {
            Ok(Ok(answers)) => Ok(answers),
            Ok(Err(status)) => match refusal(&status) {
                Some(failure) => Ok(Answers::failed(failure, transfers.len())),
                None => Err(unanswered()),
            },
            Err(_) => Err(unanswered()),
        }
    }
}

fn push_transfer(body: &mut String, transfer: &Transfer, random: &mut Random) {
    let mut id = [0; uuid::fmt::Hyphenated::LENGTH];
    let id = random.request_id().hyphenated().encode_lower(&mut id);
    let amount = amount(transfer.cents);
    for part in [
        r#"{"request_id":""#,
        id,
        r#"","legs":[{"account":""#,
        &transfer.debit,
        r#"","side":"debit","amount":""#,
        &amount,
        r#""},{"account":""#,
        &transfer.credit,
        r#"","side":"credit","amount":""#,
        &amount,
        r#""}]}"#,
    ] {
        body.push_str(part);
    }
}

pub(crate) fn amount(cents: u32) -> String {
    format!("{}.{:02}", cents / 100, cents % 100)
}

pub(super) fn message(transfer: &Transfer, random: &mut Random) -> pb::PostTransactionRequest {
    let leg = |account: &str, side: pb::Side| pb::Leg {
        account: account.to_owned(),
        side: side.into(),
        amount: amount(transfer.cents),
        ..Default::default()
    };
    pb::PostTransactionRequest {
        request_id: random.request_id().to_string(),
        legs: vec![leg(&transfer.debit, pb::Side::Debit), leg(&transfer.credit, pb::Side::Credit)],
        ..Default::default()
    }
}

/// Nobody accepted the connection.
pub(super) fn unreached() -> Failure {
    Failure::local(Class::NotApplied, "no connection")
}

/// It was sent, and nothing came back.
pub(super) fn unanswered() -> Failure {
    Failure::local(Class::Unknown, "no answer")
}

/// An answer came back that says nothing.
pub(super) fn unreadable() -> Failure {
    Failure::local(Class::Unknown, "unreadable answer")
}

/// What a router says over gRPC; None: it was no router.
pub(super) fn refusal(status: &tonic::Status) -> Option<Failure> {
    let text = |key| status.metadata().get(key).and_then(|value| value.to_str().ok());
    Some(told(text("twinset-outcome")?, text("twinset-code").unwrap_or_default()))
}

/// What the router says.
pub(super) fn told(outcome: &str, code: &str) -> Failure {
    let class = match outcome {
        "rejected" => Class::Rejected,
        "not_applied" => Class::NotApplied,
        _ => Class::Unknown,
    };
    Failure { class, code: code.to_owned() }
}

#[derive(Deserialize)]
struct Problem {
    outcome: String,
    #[serde(default)]
    code: String,
}

impl From<&Problem> for Failure {
    fn from(problem: &Problem) -> Failure {
        told(&problem.outcome, &problem.code)
    }
}

/// What an error body says. What cannot be read promises nothing.
pub(super) fn problem(body: &[u8]) -> Failure {
    serde_json::from_slice::<Problem>(body).map_or_else(|_| unreadable(), |problem| (&problem).into())
}

/// One answer of a batch: a transaction, or a problem.
#[derive(Deserialize)]
struct Item {
    #[serde(default)]
    problem: Option<Problem>,
}

#[derive(Deserialize)]
struct Batch {
    results: Vec<Item>,
}

/// The answers of a batch; what is missing from the reply is unknown.
fn batch_answers(reply: &[u8], sent: usize) -> Answers {
    let Ok(batch) = serde_json::from_slice::<Batch>(reply) else {
        return Answers::failed(unreadable(), sent);
    };
    let mut answers = Answers::failed(unreadable(), sent.saturating_sub(batch.results.len()));
    for item in &batch.results {
        match &item.problem {
            None => answers.add_done(1),
            Some(problem) => answers.add_failed(problem.into(), 1),
        }
    }
    answers
}

fn batch_messages(reply: &pb::PostBatchReply, sent: usize) -> Answers {
    use pb::batch_item_reply::Result::{Ok, Problem};
    let mut answers = Answers::failed(unreadable(), sent.saturating_sub(reply.results.len()));
    for item in &reply.results {
        match &item.result {
            Some(Ok(_)) => answers.add_done(1),
            Some(Problem(problem)) => answers.add_failed(told(&problem.outcome, &problem.code), 1),
            None => answers.add_failed(unreadable(), 1),
        }
    }
    answers
}

#[cfg(test)]
mod tests {
    use super::super::plan::Way;
    use super::*;

    #[test]
    fn a_transfer_is_valid_json_with_amounts_as_strings() {
        let (debit, credit) = ("{t}:1".into(), "{t}:2".into());
        let transfer = Transfer { debit, credit, cents: 1205, held: false, way: Way::Within };
        let mut body = String::new();
        push_transfer(&mut body, &transfer, &mut Random::seeded(1));
        let value: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert_eq!(value["legs"][0]["account"], "{t}:1");
        assert_eq!(value["legs"][0]["side"], "debit");
        assert_eq!(value["legs"][1]["side"], "credit");
        assert_eq!(value["legs"][1]["amount"], "12.05");
        assert_eq!(value["request_id"].as_str().unwrap().len(), 36);
    }

    #[test]
    fn a_batch_counts_each_answer_and_what_is_missing() {
        let reply = br#"{"results":[{"transaction":"1-1-2-0"},{"problem":{"outcome":"rejected","code":"x"}},
            {"problem":{"outcome":"not_applied","code":"y"}}]}"#;
        let answers = batch_answers(reply, 4);
        let counts =
            [Class::Done, Class::Rejected, Class::NotApplied, Class::Unknown].map(|c| answers.count(c));
        assert_eq!(counts, [1, 1, 1, 1]);
        assert_eq!(batch_answers(b"garbage", 3).count(Class::Unknown), 3);
    }

    #[test]
    fn an_error_that_cannot_be_read_is_unknown() {
        assert_eq!(problem(b"<html>"), unreadable());
        let told = problem(br#"{"outcome":"not_applied","code":"no_leader"}"#);
        assert_eq!(told, Failure { class: Class::NotApplied, code: "no_leader".into() });
    }
}

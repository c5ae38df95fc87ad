//! A payment that is set aside first: twice its amount is held, and what is paid is captured for good, so that the rest goes
//! back.

use std::time::Duration;

use bytes::Bytes;
use http::Uri;
use serde::Deserialize;
use twinset_proto::ledger::v1 as pb;

use super::client::{Client, Wire, amount, message, problem, refusal, unanswered, unreached, unreadable};
use super::plan::Transfer;
use super::random::Random;
use super::record::{Answers, Failure};
use crate::journal::api::segment;

/// How one of the two requests ended: with something, refused, or nobody knows.
type Ended<T> = Result<Result<T, Failure>, Failure>;

impl Client {
    /// Sets aside, and captures.
    pub(super) async fn capture(
        &mut self,
        transfer: &Transfer,
        random: &mut Random,
    ) -> Result<Answers, Failure> {
        let hold = match self.place(transfer, random).await? {
            Ok(hold) => hold,
            Err(failure) => return Ok(Answers::failed(failure, 1)),
        };
        Ok(match self.take(transfer, hold, random).await? {
            Ok(()) => Answers::done(1),
            Err(failure) => Answers::failed(failure, 1),
        })
    }

    async fn place(&mut self, transfer: &Transfer, random: &mut Random) -> Ended<String> {
        let (request_id, amount) = (random.request_id().to_string(), amount(2 * transfer.cents));
        if let Wire::Http { .. } = self.wire {
            let body = serde_json::json!({ "request_id": request_id, "amount": amount });
            let path = format!("/v1/accounts/{}/holds", segment(&transfer.debit));
            let reply = match self.called(&path, &body).await? {
                Ok(reply) => reply,
                Err(failure) => return Ok(Err(failure)),
            };
            #[derive(Deserialize)]
            struct Hold {
                hold: String,
            }
            #[derive(Deserialize)]
            struct Placed {
                hold: Hold,
            }
            let placed: Placed = serde_json::from_slice(&reply).map_err(|_| unreadable())?;
            return Ok(Ok(placed.hold.hold));
        }
        let account = transfer.debit.clone();
        let request = self.timed(pb::PlaceHoldRequest { request_id, account, amount, ..Default::default() });
        let patience = self.patience();
        let client = self.grpc().await.map_err(|_| unreached())?;
        match tokio::time::timeout(patience, client.place_hold(request)).await.map_err(|_| unanswered())? {
            Ok(reply) => Ok(reply.into_inner().hold.map(|hold| Ok(hold.hold)).ok_or_else(unreadable)?),
            Err(status) => refusal(&status).map(Err).ok_or_else(unanswered),
        }
    }

    async fn take(&mut self, transfer: &Transfer, hold: String, random: &mut Random) -> Ended<()> {
        let transaction = message(transfer, random);
        if let Wire::Http { .. } = self.wire {
            let leg = |account: &str, side: &str| serde_json::json!({ "account": account, "side": side, "amount": amount(transfer.cents) });
            let body = serde_json::json!({
                "request_id": transaction.request_id,
                "final": true,
                "legs": [leg(&transfer.debit, "debit"), leg(&transfer.credit, "credit")],
            });
            let path = format!("/v1/accounts/{}/holds/{hold}/captures", segment(&transfer.debit));
            return Ok(self.called(&path, &body).await?.map(|_| ()));
        }
        let request = self.timed(pb::PostTransactionRequest {
            scope_account: transfer.debit.clone(),
            capture: Some(pb::Capture { hold, r#final: true }),
            ..transaction
        });
        let patience = self.patience();
        let client = self.grpc().await.map_err(|_| unreached())?;
        match tokio::time::timeout(patience, client.post_transaction(request))
            .await
            .map_err(|_| unanswered())?
        {
            Ok(_) => Ok(Ok(())),
            Err(status) => refusal(&status).map(Err).ok_or_else(unanswered),
        }
    }

    fn timed<T>(&self, message: T) -> tonic::Request<T> {
        let mut request = tonic::Request::new(message);
        if let Some(ms) = self.deadline_ms {
            request.set_timeout(Duration::from_millis(ms.into()));
        }
        request
    }

    async fn called(&mut self, path: &str, body: &serde_json::Value) -> Ended<Bytes> {
        let path: Uri = path.parse().expect("names of accounts are escaped");
        let answer = self.http(path, body.to_string().into(), self.patience()).await;
        let (status, reply) =
            answer.map_err(|error| if error.unsent() { unreached() } else { unanswered() })?;
        Ok(if status.is_success() { Ok(reply) } else { Err(problem(&reply)) })
    }
}

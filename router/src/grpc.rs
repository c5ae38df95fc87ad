//! The gRPC calls: the same as over HTTP, in their other spelling. Only translates; see [`crate::api`]. Above it:
//! [`crate::grpc_server`].

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tonic::{Request, Response, Status};
use twinset_ledger::Command;
use twinset_proto::ledger::v1 as wire;
use twinset_proto::ledger::v1::ledger_server::Ledger;

use crate::api::{Api, Found, parse_transaction};
use crate::buffered;
use crate::config::DEADLINE_MS_MAX;
use crate::convert;
use crate::dry_run;
use crate::error::Error;
use crate::events;
use crate::holds;
use crate::metrics::{Call, Protocol};
use crate::restrictions;
use crate::status;
use crate::sweeps;

/// How long before the client's timeout the answer goes out, at most.
const ANSWER_AHEAD: Duration = Duration::from_millis(50);

/// Serves the API over gRPC.
#[derive(Clone)]
pub struct Service {
    api: Arc<Api>,
}

type Reply<T> = Result<Response<T>, Status>;

impl Service {
    /// Serves this API.
    pub fn new(api: Arc<Api>) -> Self {
        Service { api }
    }

    /// Admits a call, runs it, counts it.
    async fn call<T, R>(
        &self,
        call: Call,
        request: Request<T>,
        run: impl AsyncFnOnce(&Api, T, Instant) -> Result<R, Error>,
    ) -> Reply<R> {
        let start = Instant::now();
        let admitted = async || {
            let _place = self.api.admit()?;
            let deadline = start + deadline(&self.api, &request)?;
            run(&self.api, request.into_inner(), deadline).await
        };
        let result = admitted().await;
        self.api.metrics.call(Protocol::Grpc, call, &result, start.elapsed());
        result.map(Response::new).map_err(|error| status::grpc(&error))
    }

    async fn account<T>(
        &self,
        request: Request<T>,
        command: impl FnOnce(T) -> Result<Command, Error>,
    ) -> Reply<wire::AccountReply> {
        self.call(Call::Account, request, async |api, request, deadline| {
            Ok(convert::receipt(api.account_command(command(request)?, deadline).await?))
        })
        .await
    }

    async fn hold<T>(
        &self,
        request: Request<T>,
        command: impl FnOnce(T) -> Result<Command, Error>,
    ) -> Reply<wire::HoldReply> {
        self.call(Call::Hold, request, async |api, request, deadline| {
            api.hold_command(command(request)?, deadline).await
        })
        .await
    }
}

/// Until when to answer: a little before the client's gRPC timeout, within what is allowed; the router's default
/// without one. The client's own timer would end the call with a status that says nothing about what happened.
fn deadline<T>(api: &Api, request: &Request<T>) -> Result<Duration, Error> {
    let Some(value) = request.metadata().get("grpc-timeout") else { return Ok(api.limits.deadline()) };
    let named = value.to_str().ok().and_then(parse_timeout);
    let timeout = named.ok_or_else(|| {
        Error::malformed("grpc-timeout is at most 8 digits and one of the units H, M, S, m, u, n")
    })?;
    let before = timeout - (timeout / 10).min(ANSWER_AHEAD);
    Ok(before.min(Duration::from_millis(DEADLINE_MS_MAX)))
}

/// Reads a gRPC timeout: digits and a unit.
fn parse_timeout(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let number: u64 = digits.parse().ok().filter(|_| digits.len() <= 8)?;
    match unit {
        "H" => Some(Duration::from_secs(number * 3_600)),
        "M" => Some(Duration::from_secs(number * 60)),
        "S" => Some(Duration::from_secs(number)),
        "m" => Some(Duration::from_millis(number)),
        "u" => Some(Duration::from_micros(number)),
        "n" => Some(Duration::from_nanos(number)),
        _ => None,
    }
}

#[tonic::async_trait]
impl Ledger for Service {
    type StreamEventsStream = events::grpc::Heard;

    async fn define_currency(
        &self,
        request: Request<wire::DefineCurrencyRequest>,
    ) -> Reply<wire::DefineReply> {
        self.call(Call::Define, request, async |api, request, deadline| {
            let changed = api.define(convert::define_currency(request)?, deadline).await?;
            Ok(wire::DefineReply { changed })
        })
        .await
    }

    async fn define_subject(&self, request: Request<wire::DefineSubjectRequest>) -> Reply<wire::DefineReply> {
        self.call(Call::Define, request, async |api, request, deadline| {
            let changed = api.define(convert::define_subject(request)?, deadline).await?;
            Ok(wire::DefineReply { changed })
        })
        .await
    }

    async fn open_account(&self, request: Request<wire::OpenAccountRequest>) -> Reply<wire::AccountReply> {
        self.account(request, convert::open_account).await
    }

    async fn set_limit(&self, request: Request<wire::SetLimitRequest>) -> Reply<wire::AccountReply> {
        self.account(request, convert::set_limit).await
    }

    async fn freeze(&self, request: Request<wire::FreezeRequest>) -> Reply<wire::AccountReply> {
        self.account(request, |request| convert::freeze(request, true)).await
    }

    async fn unfreeze(&self, request: Request<wire::FreezeRequest>) -> Reply<wire::AccountReply> {
        self.account(request, |request| convert::freeze(request, false)).await
    }

    async fn close_account(&self, request: Request<wire::CloseAccountRequest>) -> Reply<wire::AccountReply> {
        self.account(request, |request| {
            Ok(Command::CloseAccount { request_id: request.request_id, account: request.account })
        })
        .await
    }

    async fn set_posting_mode(
        &self,
        request: Request<wire::SetPostingModeRequest>,
    ) -> Reply<wire::AccountReply> {
        self.account(request, buffered::grpc::mode).await
    }

    async fn resolve_suspense(
        &self,
        request: Request<wire::ResolveSuspenseRequest>,
    ) -> Reply<wire::TransactionReply> {
        self.call(Call::Transaction, request, async |api, request, deadline| {
            let wire::ResolveSuspenseRequest { request_id, item, account } = request;
            Ok(convert::booked(api.resolve_suspense(request_id, &item, account, deadline).await?))
        })
        .await
    }

    async fn get_in_transit(
        &self,
        request: Request<wire::GetInTransitRequest>,
    ) -> Reply<wire::GetInTransitReply> {
        self.call(Call::Read, request, async |api, request, deadline| {
            api.in_transit(&request.account, convert::consistency(request.consistency)?, deadline).await
        })
        .await
    }

    async fn list_suspense(
        &self,
        request: Request<wire::ListSuspenseRequest>,
    ) -> Reply<wire::ListSuspenseReply> {
        self.call(Call::Read, request, async |api, request, deadline| api.suspense(request, deadline).await)
            .await
    }

    async fn post_transaction(
        &self,
        request: Request<wire::PostTransactionRequest>,
    ) -> Reply<wire::TransactionReply> {
        self.call(Call::Transaction, request, async |api, request, deadline| {
            let command = Command::Transaction(convert::transaction(request)?);
            Ok(convert::booked(api.book(command, deadline).await?))
        })
        .await
    }

    async fn reverse_transaction(
        &self,
        request: Request<wire::ReverseTransactionRequest>,
    ) -> Reply<wire::TransactionReply> {
        self.call(Call::Reversal, request, async |api, request, deadline| {
            let transaction = parse_transaction(&request.transaction)?;
            Ok(convert::booked(api.book(convert::reversal(request, transaction)?, deadline).await?))
        })
        .await
    }

    async fn post_batch(&self, request: Request<wire::PostBatchRequest>) -> Reply<wire::PostBatchReply> {
        self.call(Call::Batch, request, async |api, request, deadline| {
            let results = api.batch(convert::batch(request)?, deadline).await?;
            let results = results.into_iter().map(convert::batch_item).collect();
            Ok(wire::PostBatchReply { results, ..wire::PostBatchReply::default() })
        })
        .await
    }

    async fn dry_run_transaction(
        &self,
        request: Request<wire::PostTransactionRequest>,
    ) -> Reply<wire::TransactionReply> {
        self.call(Call::DryRun, request, dry_run::grpc::transaction).await
    }

    async fn dry_run_batch(&self, request: Request<wire::PostBatchRequest>) -> Reply<wire::PostBatchReply> {
        self.call(Call::DryRun, request, dry_run::grpc::batch).await
    }

    async fn get_account(&self, request: Request<wire::GetAccountRequest>) -> Reply<wire::GetAccountReply> {
        self.call(Call::Read, request, async |api, request, deadline| {
            let consistency = convert::consistency(request.consistency)?;
            match request.in_transit {
                true => api.account_with_in_transit(&request.account, consistency, deadline).await,
                false => api.account(&request.account, consistency, deadline).await,
            }
        })
        .await
    }

    async fn get_statement(
        &self,
        request: Request<wire::GetStatementRequest>,
    ) -> Reply<wire::GetStatementReply> {
        self.call(Call::Read, request, async |api, request, deadline| api.statement(request, deadline).await)
            .await
    }

    async fn get_balance(&self, request: Request<wire::GetBalanceRequest>) -> Reply<wire::GetBalanceReply> {
        self.call(Call::Read, request, async |api, request, deadline| api.balance(request, deadline).await)
            .await
    }

    async fn get_transaction(
        &self,
        request: Request<wire::GetTransactionRequest>,
    ) -> Reply<wire::GetTransactionReply> {
        self.call(Call::Read, request, async |api, request, deadline| {
            let consistency = convert::consistency(request.consistency)?;
            api.transaction(&request.transaction, consistency, deadline).await
        })
        .await
    }

    async fn list_transactions(
        &self,
        request: Request<wire::ListTransactionsRequest>,
    ) -> Reply<wire::ListTransactionsReply> {
        self.call(Call::Read, request, async |api, request, deadline| {
            let consistency = convert::consistency(request.consistency)?;
            api.list(request.set, &request.after, request.page_size, consistency, deadline).await
        })
        .await
    }

    async fn find_transactions(
        &self,
        request: Request<wire::FindTransactionsRequest>,
    ) -> Reply<wire::FindTransactionsReply> {
        self.call(Call::Read, request, async |api, request, deadline| api.find(request, deadline).await).await
    }

    async fn place_hold(&self, request: Request<wire::PlaceHoldRequest>) -> Reply<wire::HoldReply> {
        self.hold(request, holds::grpc::place).await
    }

    async fn release_hold(&self, request: Request<wire::ReleaseHoldRequest>) -> Reply<wire::HoldReply> {
        self.hold(request, holds::grpc::release).await
    }

    async fn extend_hold(&self, request: Request<wire::ExtendHoldRequest>) -> Reply<wire::HoldReply> {
        self.hold(request, holds::grpc::extend).await
    }

    async fn get_hold(&self, request: Request<wire::GetHoldRequest>) -> Reply<wire::GetHoldReply> {
        self.call(Call::Read, request, async |api, request, deadline| {
            let consistency = convert::consistency(request.consistency)?;
            api.hold(&request.account, &request.hold, consistency, deadline).await
        })
        .await
    }

    async fn list_holds(&self, request: Request<wire::ListHoldsRequest>) -> Reply<wire::ListHoldsReply> {
        self.call(Call::Read, request, async |api, request, deadline| api.holds(request, deadline).await)
            .await
    }

    async fn list_overdue_holds(
        &self,
        request: Request<wire::ListOverdueHoldsRequest>,
    ) -> Reply<wire::ListOverdueHoldsReply> {
        self.call(Call::Read, request, async |api, request, deadline| {
            api.overdue_holds(request, deadline).await
        })
        .await
    }

    async fn set_sweep(&self, request: Request<wire::SetSweepRequest>) -> Reply<wire::AccountReply> {
        self.call(Call::Account, request, async |api, request, deadline| {
            Ok(convert::receipt(api.set_sweep(sweeps::grpc::set(request)?, deadline).await?))
        })
        .await
    }

    async fn remove_sweep(&self, request: Request<wire::RemoveSweepRequest>) -> Reply<wire::AccountReply> {
        self.account(request, sweeps::grpc::remove).await
    }

    async fn get_sweep(&self, request: Request<wire::GetSweepRequest>) -> Reply<wire::GetSweepReply> {
        self.call(Call::Read, request, async |api, request, deadline| {
            api.sweep(&request.account, convert::consistency(request.consistency)?, deadline).await
        })
        .await
    }

    async fn list_sweeps(&self, request: Request<wire::ListSweepsRequest>) -> Reply<wire::ListSweepsReply> {
        self.call(Call::Read, request, async |api, request, deadline| api.sweeps(request, deadline).await)
            .await
    }

    async fn stream_events(
        &self,
        request: Request<wire::StreamEventsRequest>,
    ) -> Reply<Self::StreamEventsStream> {
        let api = self.api.clone();
        self.call(Call::Read, request, async |_, request, deadline| {
            events::grpc::stream(api, request, deadline).await
        })
        .await
    }

    async fn release_restriction(
        &self,
        request: Request<wire::ReleaseRestrictionRequest>,
    ) -> Reply<wire::RestrictionReply> {
        self.call(Call::Restriction, request, async |api, request, deadline| {
            api.restriction_command(restrictions::grpc::release(request)?, deadline).await
        })
        .await
    }

    async fn get_restriction(
        &self,
        request: Request<wire::GetRestrictionRequest>,
    ) -> Reply<wire::GetRestrictionReply> {
        self.call(Call::Read, request, async |api, request, deadline| {
            let consistency = convert::consistency(request.consistency)?;
            api.restriction(&request.account, &request.restriction, consistency, deadline).await
        })
        .await
    }

    async fn list_restrictions(
        &self,
        request: Request<wire::ListRestrictionsRequest>,
    ) -> Reply<wire::ListRestrictionsReply> {
        self.call(Call::Read, request, async |api, request, deadline| {
            api.restrictions(request, deadline).await
        })
        .await
    }

    async fn list_events(&self, request: Request<wire::ListEventsRequest>) -> Reply<wire::ListEventsReply> {
        self.call(Call::Read, request, async |api, request, deadline| api.events(request, deadline).await)
            .await
    }

    async fn get_request(&self, request: Request<wire::GetRequestRequest>) -> Reply<wire::GetRequestReply> {
        use wire::get_request_reply::Found as Reply;
        self.call(Call::Read, request, async |api, request, deadline| {
            let consistency = convert::consistency(request.consistency)?;
            let found =
                api.request(&request.scope_account, &request.request_id, consistency, deadline).await?;
            let found = match found {
                Found::Transaction(transaction) => Reply::Transaction(transaction),
                Found::Account(account) => Reply::Account(account),
                Found::Hold(hold) => Reply::Hold(hold),
                Found::Restriction(restriction) => Reply::Restriction(restriction),
            };
            Ok(wire::GetRequestReply { found: Some(found) })
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts() {
        let table = [
            ("250m", Some(Duration::from_millis(250))),
            ("5S", Some(Duration::from_secs(5))),
            ("1H", Some(Duration::from_secs(3_600))),
            ("1000000u", Some(Duration::from_secs(1))),
            ("123456789S", None),
            ("S", None),
            ("", None),
            ("5x", None),
            ("5é", None),
        ];
        for (text, expected) in table {
            assert_eq!(parse_timeout(text), expected, "{text}");
        }
    }
}

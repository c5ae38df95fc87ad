//! A router that speaks gRPC: opens every account in set 3, and books or refuses transactions as scripted.

use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};
use twinset_proto::ledger::v1::ledger_server::{Ledger, LedgerServer};
use twinset_proto::ledger::v1::*;

/// Refuses what debits an account whose id ends in this.
pub struct FakeLedger {
    pub refuse: &'static str,
}

impl FakeLedger {
    /// Serves until the test ends; gives its URL.
    pub async fn start(self) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let serve = tonic::transport::Server::builder()
            .add_service(LedgerServer::new(self))
            .serve_with_incoming(TcpListenerStream::new(listener));
        tokio::spawn(serve);
        url
    }

    fn refuses(&self, transaction: &PostTransactionRequest) -> bool {
        transaction
            .legs
            .iter()
            .any(|leg| leg.side == Side::Debit as i32 && leg.account.ends_with(self.refuse))
    }
}

macro_rules! not_scripted {
    ($($call:ident: $request:ty => $reply:ty),* $(,)?) => {
        #[tonic::async_trait]
        impl Ledger for FakeLedger {
            type StreamEventsStream = tokio_stream::Empty<Result<Event, Status>>;

            async fn stream_events(
                &self,
                _: Request<StreamEventsRequest>,
            ) -> Result<Response<Self::StreamEventsStream>, Status> {
                Err(Status::unimplemented("not scripted"))
            }

            $(async fn $call(&self, _: Request<$request>) -> Result<Response<$reply>, Status> {
                Err(Status::unimplemented("not scripted"))
            })*

            async fn open_account(&self, _: Request<OpenAccountRequest>) -> Result<Response<AccountReply>, Status> {
                let position = Some(Position { set: 3, ..Default::default() });
                Ok(Response::new(AccountReply { position, replayed: false }))
            }

            async fn post_transaction(
                &self,
                request: Request<PostTransactionRequest>,
            ) -> Result<Response<TransactionReply>, Status> {
                if self.refuses(request.get_ref()) {
                    let mut status = Status::failed_precondition("refused");
                    status.metadata_mut().insert("twinset-outcome", "rejected".parse().unwrap());
                    return Err(status);
                }
                Ok(Response::new(TransactionReply::default()))
            }

            async fn post_batch(
                &self,
                request: Request<PostBatchRequest>,
            ) -> Result<Response<PostBatchReply>, Status> {
                let item = |transaction: &PostTransactionRequest| BatchItemReply {
                    result: Some(if self.refuses(transaction) {
                        batch_item_reply::Result::Problem(Problem { outcome: "rejected".into(), ..Default::default() })
                    } else {
                        batch_item_reply::Result::Ok(TransactionReply::default())
                    }),
                };
                let results = request.get_ref().transactions.iter().map(item).collect();
                Ok(Response::new(PostBatchReply { results, ..Default::default() }))
            }
        }
    };
}

not_scripted! {
    define_currency: DefineCurrencyRequest => DefineReply,
    define_subject: DefineSubjectRequest => DefineReply,
    set_limit: SetLimitRequest => AccountReply,
    freeze: FreezeRequest => AccountReply,
    unfreeze: FreezeRequest => AccountReply,
    close_account: CloseAccountRequest => AccountReply,
    set_posting_mode: SetPostingModeRequest => AccountReply,
    get_in_transit: GetInTransitRequest => GetInTransitReply,
    list_suspense: ListSuspenseRequest => ListSuspenseReply,
    resolve_suspense: ResolveSuspenseRequest => TransactionReply,
    reverse_transaction: ReverseTransactionRequest => TransactionReply,
    get_account: GetAccountRequest => GetAccountReply,
    get_statement: GetStatementRequest => GetStatementReply,
    get_balance: GetBalanceRequest => GetBalanceReply,
    get_transaction: GetTransactionRequest => GetTransactionReply,
    list_transactions: ListTransactionsRequest => ListTransactionsReply,
    find_transactions: FindTransactionsRequest => FindTransactionsReply,
    get_request: GetRequestRequest => GetRequestReply,
    list_events: ListEventsRequest => ListEventsReply,
    place_hold: PlaceHoldRequest => HoldReply,
    dry_run_transaction: PostTransactionRequest => TransactionReply,
    dry_run_batch: PostBatchRequest => PostBatchReply,
    release_hold: ReleaseHoldRequest => HoldReply,
    extend_hold: ExtendHoldRequest => HoldReply,
    get_hold: GetHoldRequest => GetHoldReply,
    list_holds: ListHoldsRequest => ListHoldsReply,
    list_overdue_holds: ListOverdueHoldsRequest => ListOverdueHoldsReply,
    release_restriction: ReleaseRestrictionRequest => RestrictionReply,
    get_restriction: GetRestrictionRequest => GetRestrictionReply,
    list_restrictions: ListRestrictionsRequest => ListRestrictionsReply,
    set_sweep: SetSweepRequest => AccountReply,
    remove_sweep: RemoveSweepRequest => AccountReply,
    get_sweep: GetSweepRequest => GetSweepReply,
    list_sweeps: ListSweepsRequest => ListSweepsReply,
}

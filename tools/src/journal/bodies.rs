//! The commands of a [`super::plan`] in the spelling of the router's HTTP API. Decides nothing: what is asked for is the
//! plan's business, how it travels is [`super::send`]'s.

use serde_json::{Value, json};
use twinset_ledger::command::{Command, Leg, Metadata, Transaction};
use twinset_ledger::{Side, date};

/// The body of the call that asks for `command`; for a transaction, also an item of a batch.
pub fn body(command: &Command) -> Value {
    match command {
        Command::DefineCurrency { scale, .. } => json!({ "scale": scale }),
        Command::OpenAccount { request_id, account, subject, currency, metadata, .. } => {
            opening(request_id, account, subject, currency, metadata)
        }
        Command::Transaction(transaction) => booking(transaction),
        other => unreachable!("a journal needs no {other:?}"),
    }
}

fn opening(request_id: &str, account: &str, subject: &str, currency: &str, metadata: &Metadata) -> Value {
    json!({
        "request_id": request_id,
        "account": account,
        "subject": subject,
        "currency": currency,
        "limit": "none",
        "metadata": metadata,
    })
}

fn booking(transaction: &Transaction) -> Value {
    let mut body = json!({
        "request_id": transaction.request_id,
        "legs": transaction.legs.iter().map(leg).collect::<Vec<_>>(),
        "metadata": transaction.metadata,
    });
    if let Some(day) = transaction.accounting_date {
        body["accounting_date"] = date::format(day).into();
    }
    body
}

fn leg(leg: &Leg) -> Value {
    let side = match leg.side {
        Side::Debit => "debit",
        Side::Credit => "credit",
    };
    json!({ "account": leg.account, "side": side, "amount": leg.amount.to_string() })
}

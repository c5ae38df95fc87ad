//! Whole nodes are asked as a router asks them: commands and reads go to whoever leads.

use std::time::Duration;

use bytes::Bytes;
use tonic::transport::Channel;
use twinset_ledger::codec::{decode_outcome, encode_command};
use twinset_ledger::command::{Command, Metadata};
use twinset_ledger::{Outcome, slot_of};
use twinset_node::dial;
use twinset_node::platform::System;
use twinset_proto::cluster::v1 as wire;
use wire::item_reply::Result as ItemResult;
use wire::read_reply::Result as ReadResult;
use wire::read_request::Query;
use wire::sets_client::SetsClient;

use crate::whole::{CLUSTER, Cluster, Running, leader, until};

/// For one call, longer than the deadlines in it.
const PATIENCE: Duration = Duration::from_secs(15);

/// The set that is asked.
pub const SET: u32 = 1;

/// Ids of accounts that live there.
pub fn own_accounts<const N: usize>(cluster: &Cluster) -> [String; N] {
    accounts_of(cluster, SET)
}

/// Ids of accounts that live in a set.
pub fn accounts_of<const N: usize>(cluster: &Cluster, set: u32) -> [String; N] {
    let slots = cluster.catalogue.slot_table();
    let mut own = (0..).map(|n| format!("account-{n}")).filter(|id| slots[usize::from(slot_of(id))] == set);
    std::array::from_fn(|_| own.next().unwrap())
}

pub fn encoded(command: &Command) -> Bytes {
    let mut bytes = Vec::new();
    encode_command(command, &mut bytes);
    bytes.into()
}

/// An account without a floor.
pub fn open(account: &str) -> Command {
    Command::OpenAccount {
        request_id: "open".to_owned(),
        account: account.to_owned(),
        subject: "liability".to_owned(),
        currency: "EUR".to_owned(),
        normal_side: None,
        limit: None,
        metadata: Metadata::new(),
    }
}

/// Asks whoever leads the set, again as long as nobody does.
pub struct Leader<'a> {
    nodes: &'a [Running],
    set: u32,
}

impl<'a> Leader<'a> {
    /// Of those nodes.
    pub fn of(nodes: &'a [Running]) -> Self {
        Leader { nodes, set: SET }
    }

    /// The same of another set.
    pub fn of_set(nodes: &'a [Running], set: u32) -> Self {
        Leader { nodes, set }
    }

    fn ask<T>(&self, what: &str, call: impl AsyncFn(Channel) -> Result<T, String>) -> T {
        until(what, || {
            let running = &self.nodes[leader(self.nodes, self.set)];
            running.runtime.block_on(async {
                let channel = dial::connect(&System, &running.ports[0].to_string()).await;
                let answer = call(channel.map_err(|error| error.to_string())?);
                tokio::time::timeout(PATIENCE, answer).await.map_err(|_| "no answer in time".to_owned())?
            })
        })
    }

    /// What comes of a command that is not refused.
    pub fn book(&self, command: &Command) -> Outcome {
        let outcome = self.submit(std::slice::from_ref(command)).remove(0);
        assert!(outcome.result.is_ok(), "{outcome:?}");
        outcome
    }

    /// What comes of commands in one item.
    pub fn submit(&self, commands: &[Command]) -> Vec<Outcome> {
        match self.result(commands) {
            ItemResult::Done(done) => {
                done.outcomes.iter().map(|bytes| decode_outcome(bytes).unwrap()).collect()
            }
            other => panic!("{other:?}"),
        }
    }

    /// Why a command is not let in, for good.
    pub fn refused(&self, command: &Command) -> String {
        match self.result(std::slice::from_ref(command)) {
            ItemResult::Refused(refusal) => refusal.detail,
            other => panic!("{other:?}"),
        }
    }

    /// What is said to an item, once somebody leads.
    fn result(&self, commands: &[Command]) -> ItemResult {
        let commands = commands.iter().map(encoded).collect();
        let item = wire::Item {
            no: 1,
            set: self.set,
            incarnation: 1,
            commands,
            deadline_ms: 5_000,
            ..Default::default()
        };
        let frame = wire::SubmitFrame { cluster_id: CLUSTER.to_owned(), items: vec![item] };
        self.ask("it is booked", async |channel| {
            let frames =
                tokio_stream::StreamExt::chain(tokio_stream::iter([frame.clone()]), tokio_stream::pending());
            let failed = |status: tonic::Status| status.to_string();
            let mut replies = SetsClient::new(channel).submit(frames).await.map_err(failed)?.into_inner();
            let frame = replies.message().await.map_err(failed)?;
            match frame.and_then(|mut frame| frame.replies.pop()?.result) {
                Some(ItemResult::Refused(refusal)) if refusal.reason() == wire::RefusalReason::Malformed => {
                    Ok(ItemResult::Refused(refusal))
                }
                Some(done @ ItemResult::Done(_)) => Ok(done),
                other => Err(format!("{other:?}")),
            }
        })
    }

    /// A linearizable read.
    pub fn read(&self, query: Query) -> ReadResult {
        let request = wire::ReadRequest {
            cluster_id: CLUSTER.to_owned(),
            set: self.set,
            incarnation: 1,
            deadline_ms: 10_000,
            query: Some(query),
            ..Default::default()
        };
        self.ask("it is read", async |channel| {
            let reply = SetsClient::new(channel).read(request.clone()).await;
            match reply.map_err(|status| status.to_string())?.into_inner().result.unwrap() {
                ReadResult::Refused(refusal) if refusal.reason() != wire::RefusalReason::Malformed => {
                    Err(format!("{refusal:?}"))
                }
                result => Ok(result),
            }
        })
    }
}

//! Sweeps: the calls on them, and what both spellings share. The HTTP spelling is [`http`] over [`crate::json::sweeps`], the other one
//! [`grpc`]; above them is what [`crate::api`] has above it.

pub mod grpc;
pub mod http;

use tokio::time::Instant;
use twinset_ledger::{Command, Schedule, SetSweep};
use twinset_proto::cluster::v1::{ListSweeps, ReadReply, read_reply, read_request};
use twinset_proto::ledger::v1 as wire;

use crate::api::{Api, Receipt, missing, page_of, valid};
use crate::convert;
use crate::error::Error;
use crate::groups;
use crate::route;

/// Sweeps in one page at most, and as many as one has by default.
pub const PAGE_MAX: u32 = 100;

impl Api {
    /// Sets the sweep of an account.
    pub async fn set_sweep(&self, set: SetSweep, deadline: Instant) -> Result<Receipt, Error> {
        // Its runs are transactions of the nodes, which know accounts alone.
        groups::single(&self.view().groups, &set.to, "the sweep is to")?;
        self.account_command(Command::SetSweep(set), deadline).await
    }

    /// The sweep of an account.
    pub async fn sweep(
        &self,
        account: &str,
        consistency: wire::Consistency,
        deadline: Instant,
    ) -> Result<wire::GetSweepReply, Error> {
        let set = self.set_of_single(account)?;
        let query = read_request::Query::Sweep(account.to_owned());
        match self.reads.read(set, consistency, query, deadline).await? {
            ReadReply { result: Some(read_reply::Result::Sweep(reply)) } => Ok(reply),
            reply => Err(missing(&reply, &format!("the account {account} has no sweep"))),
        }
    }

    /// The sweeps of a set in the order in which their accounts were opened, behind the account `after` (empty: from the first one).
    pub async fn sweeps(
        &self,
        asked: wire::ListSweepsRequest,
        deadline: Instant,
    ) -> Result<wire::ListSweepsReply, Error> {
        let consistency = convert::consistency(asked.consistency)?;
        let set = route::known_set(&self.view(), asked.set)?;
        let after = match asked.after.as_str() {
            "" => String::new(),
            account => valid(account)?.to_owned(),
        };
        let page_size = page_of(asked.page_size, PAGE_MAX, PAGE_MAX)?;
        let none = format!("there is no account {after} in set {set}");
        let query = read_request::Query::Sweeps(ListSweeps { after, page_size });
        match self.reads.read(set, consistency, query, deadline).await? {
            ReadReply { result: Some(read_reply::Result::Sweeps(page)) } => Ok(page),
            reply => Err(missing(&reply, &none)),
        }
    }
}

/// The schedule of a sweep, of which one must be said.
fn schedule_of(schedules: [Option<Schedule>; 3]) -> Result<Schedule, Error> {
    let mut said = schedules.into_iter().flatten();
    match (said.next(), said.next()) {
        (Some(schedule), None) => Ok(schedule),
        _ => Err(Error::malformed("a sweep has one of the schedules every, above and daily")),
    }
}

//! The groups of accounts of a run: their ids are taken out of use as accounts, and they are defined in the control
//! set, before anybody pays into one. Their parts are opened like all accounts.

use serde_json::Map;
use twinset_tools::cluster::LocalCluster;
use twinset_tools::cmd::router::Router;
use twinset_tools::group::{self, Wanted};

use crate::history::Recorder;
use crate::wait;
use crate::workload::{Ground, Group};

/// Defines all groups of the ground, and waits until every router knows them.
pub async fn found(cluster: &LocalCluster, ground: &Ground, recorder: &Recorder) -> anyhow::Result<()> {
    if ground.groups().is_empty() {
        return Ok(());
    }
    let survey = wait::whole(cluster.layout()).await?;
    let urls = cluster.layout().router_urls();
    let mut routers = urls.iter().map(|url| Router::new(url)).collect::<anyhow::Result<Vec<_>>>()?;
    for group in ground.groups() {
        let definition = group.definition(recorder);
        let wanted = Wanted {
            id: definition.id.clone(),
            currency: definition.currency.clone(),
            subject: Group::SUBJECT.to_owned(),
            limit: None,
            metadata: Map::new(),
            who: "jepsen".to_owned(),
            why: "a workload pays into it".to_owned(),
        };
        group::reserve(&mut routers[0], &wanted, definition.parts.len()).await?;
        group::define(&survey, &wanted, definition).await?;
        for (router, url) in routers.iter_mut().zip(&urls) {
            let is_known = group::heard_of(router, &wanted.id).await;
            anyhow::ensure!(is_known, "{url} does not know the group {}", wanted.id);
        }
    }
    Ok(())
}

//! Waiting until a cluster serves: every set (the control set too) has a leader, every router is ready. A condition
//! polled with a deadline; starts and changes nothing.

use std::time::Duration;

use bytes::Bytes;
use http::{Method, StatusCode, Uri};
use tokio::time::Instant;
use twinset_control::CONTROL_SET;

use super::admin::{self, Survey};
use crate::{error, http1};

const POLL: Duration = Duration::from_millis(50);

/// Waits until every set has a leader; gives the survey that saw it.
pub async fn leaders(seeds: &[String], patience: Duration) -> anyhow::Result<Survey> {
    let deadline = Instant::now() + patience;
    loop {
        let survey = admin::survey(seeds).await;
        let missing = without_leader(&survey);
        if missing.as_ref().is_some_and(|missing| missing.is_empty()) {
            return Ok(survey);
        }
        if Instant::now() >= deadline {
            survey.catalogue()?;
            let sets: Vec<String> = missing.unwrap_or_default().iter().map(u32::to_string).collect();
            return Err(error::failure(
                format!("after {patience:?} no leader for set {} (0 is the control set)", sets.join(", ")),
                "`twinset status` shows which nodes are down; their logs say why",
            ));
        }
        tokio::time::sleep(POLL).await;
    }
}

/// The sets that nobody leads; none known before there is a catalogue.
pub fn without_leader(survey: &Survey) -> Option<Vec<u32>> {
    let catalogue = survey.catalogue.as_ref()?;
    let sets = std::iter::once(CONTROL_SET).chain(catalogue.sets.keys().copied());
    Some(sets.filter(|&set| survey.leader(set).is_none()).collect())
}

/// Waits until `GET /readyz` of every router at `addrs` says 200.
pub async fn routers(addrs: &[String], patience: Duration) -> anyhow::Result<()> {
    let deadline = Instant::now() + patience;
    for addr in addrs {
        loop {
            let said = match readyz(addr).await {
                Ok((StatusCode::OK, _)) => break,
                Ok((status, body)) => format!("{status}: {}", String::from_utf8_lossy(&body)),
                Err(error) => error.to_string(),
            };
            if Instant::now() >= deadline {
                return Err(error::failure(
                    format!("the router at {addr} is not ready after {patience:?} ({said})"),
                    "its log says why; `twinset status` shows the sets",
                ));
            }
            tokio::time::sleep(POLL).await;
        }
    }
    Ok(())
}

async fn readyz(addr: &str) -> Result<(StatusCode, Bytes), http1::Error> {
    let mut connection = http1::Connection::open(addr, admin::ASK).await?;
    let request = http1::request(Method::GET, addr, &Uri::from_static("/readyz"), Bytes::new());
    connection.call(request, admin::ASK).await
}

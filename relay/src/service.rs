//! The whole relay: sinks, the lanes of all sets to them, the port, and how they end. Above it: `main` and the tests.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use parking_lot::Mutex;
use prometheus::Registry;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::backoff::Backoff;
use crate::config::{Config, DeadLetters as Policy, Retry, authority};
use crate::cursor::{self, Cursor};
use crate::dead::DeadLetters;
use crate::durable::{self, Lock};
use crate::event::Filter;
use crate::http;
use crate::lane::{self, Fault, Lane};
use crate::metrics::Metrics;
use crate::router;
use crate::sink::webhook::Webhook;
use crate::sink::{self, Sink};
use crate::source::Source;

/// How often the routers are asked whether there are more sets.
const SETS_EVERY: Duration = Duration::from_secs(60);
/// Between two questions to routers that do not answer.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// The relay cannot start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The port cannot be opened.
    #[error("cannot listen on {address} (listen.http)")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// Its data directory.
    #[error(transparent)]
    Data(#[from] durable::Error),
    /// A cursor.
    #[error(transparent)]
    Cursor(#[from] cursor::Error),
    /// A sink.
    #[error(transparent)]
    Sink(#[from] sink::Error),
}

/// One sink and what its lanes have in common.
struct Way {
    name: String,
    sink: Arc<dyn Sink>,
    filter: Filter,
    retry: Retry,
    policy: Policy,
}

/// What is known while the relay runs.
pub struct State {
    /// What is counted.
    pub metrics: Metrics,
    /// The sets whose events are followed.
    pub sets: Mutex<BTreeSet<u32>>,
}

/// A running relay.
pub struct Handle {
    /// Where health and metrics are served.
    pub http: SocketAddr,
    stop: CancellationToken,
    tasks: TaskTracker,
    faults: mpsc::Receiver<Fault>,
    drain: Duration,
    _lock: Lock,
}

/// Takes the data directory, reads the secrets, opens the port and begins to follow the events.
pub fn start(config: &Config, registry: Registry) -> BoxFuture<'_, Result<Handle, Error>> {
    Box::pin(async move {
        let lock = Lock::take(&config.data_dir)?;
        check_cursors(config)?;
        let ways = open(config).await?;
        let address = config.listen.http;
        let failed = |source| Error::Listen { address, source };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let http = listener.local_addr().map_err(failed)?;
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let state = Arc::new(State { metrics: Metrics::new(registry), sets: Mutex::default() });
        let (faulty, faults) = mpsc::channel(1);
        tasks.spawn(http::serve(listener, state.clone(), stop.clone()));
        let routers = config.routers.iter().filter_map(|router| authority(router)).map(str::to_owned);
        let lanes = Lanes {
            ways,
            routers: routers.collect(),
            data_dir: config.data_dir.clone(),
            read_ahead: config.limits.read_ahead_events,
            state,
            tasks: tasks.clone(),
            faulty,
            stop: stop.clone(),
        };
        tasks.spawn(lanes.follow());
        let drain = Duration::from_millis(config.limits.drain_ms);
        Ok(Handle { http, stop, tasks, faults, drain, _lock: lock })
    })
}

/// Reads what the sinks need, as `start` does, and gives it back; nothing is opened or made.
pub fn check(config: &Config) -> Result<(), Error> {
    config.webhook.iter().try_for_each(|sink| Webhook::new(sink).map(drop))?;
    config.nats.iter().try_for_each(check_nats)?;
    check_cursors(config)
}

fn check_cursors(config: &Config) -> Result<(), Error> {
    let failed = |source| durable::Error::Io { dir: config.data_dir.clone(), source };
    for sink in config.sinks() {
        for set in cursor::sets(&config.data_dir, sink).map_err(failed)? {
            Cursor::of(&config.data_dir, sink, set).load()?;
        }
    }
    Ok(())
}

async fn open(config: &Config) -> Result<Vec<Way>, Error> {
    let mut ways = Vec::new();
    for of in &config.webhook {
        ways.push(Way {
            name: of.name.clone(),
            sink: Arc::new(Webhook::new(of)?),
            filter: of.filter.clone(),
            retry: of.retry.clone(),
            policy: of.dead_letters.clone(),
        });
    }
    for of in &config.nats {
        ways.push(Way {
            name: of.name.clone(),
            sink: nats(of).await?,
            filter: of.filter.clone(),
            retry: of.retry.clone(),
            policy: of.dead_letters.clone(),
        });
    }
    Ok(ways)
}

#[cfg(feature = "nats")]
async fn nats(config: &crate::config::Nats) -> Result<Arc<dyn Sink>, Error> {
    Ok(Arc::new(sink::nats::Nats::open(config).await?))
}

#[cfg(feature = "nats")]
fn check_nats(config: &crate::config::Nats) -> Result<(), Error> {
    sink::nats::user(config)?;
    Ok(())
}

#[cfg(not(feature = "nats"))]
async fn nats(config: &crate::config::Nats) -> Result<Arc<dyn Sink>, Error> {
    Err(without_nats(config))
}

#[cfg(not(feature = "nats"))]
fn check_nats(config: &crate::config::Nats) -> Result<(), Error> {
    Err(without_nats(config))
}

#[cfg(not(feature = "nats"))]
fn without_nats(config: &crate::config::Nats) -> Error {
    let why = "this relay was built without the feature nats".to_owned();
    sink::Error::Useless { sink: config.name.clone(), why }.into()
}

/// Starts a lane for each sink and set.
struct Lanes {
    ways: Vec<Way>,
    routers: Arc<[String]>,
    data_dir: PathBuf,
    read_ahead: usize,
    state: Arc<State>,
    tasks: TaskTracker,
    faulty: mpsc::Sender<Fault>,
    stop: CancellationToken,
}

impl Lanes {
    /// Until it is to stop: asks which sets there are.
    async fn follow(self) {
        let mut backoff = Backoff::new(PAUSES);
        let mut said = String::new();
        for router in self.routers.iter().cycle() {
            let asked = tokio::select! {
                asked = router::sets(router) => asked,
                () = self.stop.cancelled() => return,
            };
            let pause = match asked {
                Ok(sets) => {
                    self.begin(&sets);
                    backoff.reset();
                    SETS_EVERY
                }
                Err(error) => {
                    let now = format!("{router}: {error}");
                    if now != said {
                        tracing::warn!("cannot learn which sets there are: {now}");
                        said = now;
                    }
                    backoff.pause()
                }
            };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.stop.cancelled() => return,
            }
        }
    }

    fn begin(&self, sets: &[u32]) {
        let first = self.state.sets.lock().is_empty();
        for set in sets {
            if self.state.sets.lock().insert(*set) {
                for way in self.ways.iter().filter(|way| way.filter.wants_set(*set)) {
                    self.begin_lane(way, *set);
                }
            }
        }
        let missing = |way: &Way| way.filter.sets.iter().any(|set| !sets.contains(set));
        for way in self.ways.iter().filter(|way| first && missing(way)) {
            tracing::warn!(
                sink = way.name,
                "filter.sets names sets that are not in the cluster: it has {sets:?}"
            );
        }
    }

    fn begin_lane(&self, way: &Way, set: u32) {
        let cursor = Cursor::of(&self.data_dir, &way.name, set);
        let place = match cursor.load() {
            Ok(place) => place,
            Err(error) => {
                // One is enough to end it all.
                let _ = self.faulty.try_send(error.into());
                return;
            }
        };
        let (telling, told) = mpsc::channel(self.read_ahead);
        let source = Source {
            routers: self.routers.clone(),
            set,
            last: place.clone(),
            told: telling,
            metrics: self.state.metrics.streams(),
        };
        let lane = Lane::new(lane::Options {
            sink: way.sink.clone(),
            name: way.name.clone(),
            set,
            filter: way.filter.clone(),
            retry: way.retry.clone(),
            policy: way.policy.clone(),
            cursor,
            place,
            letters: DeadLetters::of(&self.data_dir, &way.name),
            told,
            metrics: self.state.metrics.lane(&way.name, set),
            stop: self.stop.clone(),
        });
        self.tasks.spawn(source.run());
        let faulty = self.faulty.clone();
        self.tasks.spawn(async move {
            if let Err(fault) = lane.run().await {
                let _ = faulty.try_send(fault);
            }
        });
    }
}

impl Handle {
    /// Waits until the relay cannot go on; without that, for ever.
    pub async fn failed(&mut self) -> Fault {
        match self.faults.recv().await {
            Some(fault) => fault,
            None => std::future::pending().await,
        }
    }

    /// Begins nothing more, lets deliveries in progress end, writes down how far they are. Whether that was done when the time
    /// allowed for it was over; what was not is delivered again.
    pub fn stop(self) -> BoxFuture<'static, bool> {
        Box::pin(async move {
            self.stop.cancel();
            self.tasks.close();
            tokio::time::timeout(self.drain, self.tasks.wait()).await.is_ok()
        })
    }
}

//! The trace of a simulation: every message that is delivered, every command, apply and answer, as the lines of one log with
//! the simulated time in front. It is hashed as it grows, so that two runs can be compared by 32 bytes, and written to a
//! file when that is asked for.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;

use crate::chance;

/// The simulated network, the node and the router, and the simulator. The store's threads are not part of the simulation,
/// and what the libraries below log is said again by what they send.
const WHAT: &str = "off,turmoil=trace,twinset_node=trace,twinset_router=trace,twinset_sim=trace";

/// A trace that grows.
#[derive(Clone)]
pub struct Trace {
    inner: Arc<Mutex<Inner>>,
}

struct Inner {
    hash: blake3::Hasher,
    file: Option<BufWriter<File>>,
    lines: u64,
}

impl Trace {
    /// An empty one, and the file that it is written to.
    pub fn new(file: Option<&Path>) -> io::Result<Trace> {
        let file = file.map(File::create).transpose()?.map(BufWriter::new);
        Ok(Trace { inner: Arc::new(Mutex::new(Inner { hash: blake3::Hasher::new(), file, lines: 0 })) })
    }

    /// Runs `simulation` on this thread and traces it.
    pub fn of<T>(&self, simulation: impl FnOnce() -> T) -> T {
        let subscriber = tracing_subscriber::fmt()
            .with_env_filter(EnvFilter::new(WHAT))
            .with_timer(Simulated)
            .with_ansi(false)
            .with_writer(self.clone())
            .finish();
        tracing::subscriber::with_default(subscriber, simulation)
    }

    /// The hash of all lines, in hexadecimal digits, and how many there are. What a file lacks is written.
    pub fn finish(&self) -> io::Result<(String, u64)> {
        let mut inner = self.inner.lock();
        if let Some(file) = &mut inner.file {
            file.flush()?;
        }
        Ok((inner.hash.finalize().to_hex().to_string(), inner.lines))
    }
}

impl<'a> MakeWriter<'a> for Trace {
    type Writer = Trace;

    fn make_writer(&'a self) -> Trace {
        self.clone()
    }
}

impl Write for Trace {
    /// One line at a time.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut inner = self.inner.lock();
        inner.hash.update(line);
        inner.lines += 1;
        if let Some(file) = &mut inner.file {
            file.write_all(line)?;
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The time of the host that speaks; while the network speaks, that of the step.
struct Simulated;

impl FormatTime for Simulated {
    fn format_time(&self, line: &mut Writer<'_>) -> std::fmt::Result {
        let elapsed = turmoil::sim_elapsed().unwrap_or_else(chance::elapsed);
        write!(line, "{:>9}us", elapsed.as_micros())
    }
}

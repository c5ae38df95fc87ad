//! The trace of a simulation: every message that is sent, every command, apply and answer, as the lines of one log with the
//! simulated time and the machine in front. It is hashed as it grows, so that two runs can be compared by 32 bytes, and
//! written to a file when that is asked for. What is on the wire goes into the hash as it is, and into its line as a short
//! sum: turmoil's own lines spell every byte out, three times, which took most of a run's time. It is its own
//! subscriber for the same reason.

use std::borrow::Cow;
use std::fmt::{Debug, Write as _};
use std::fs::File;
use std::io::{self, BufWriter, Write as _};
use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::Interest;
use tracing::{Event, Level, Metadata, Subscriber};

use crate::chance;

/// Who speaks. The store's work is traced by whoever asks for it, and what the libraries between log is said again by what
/// they send.
const WHO: [&str; 4] = ["twinset_dispatch", "twinset_node", "twinset_router", "twinset_sim"];
/// turmoil's.
const NETWORK: &str = "turmoil";
/// The file of turmoil that says what becomes of a message on its way.
const LINKS: &str = "top.rs";

/// A trace that grows.
#[derive(Clone)]
pub struct Trace {
    inner: Arc<Mutex<Inner>>,
}

/// What became of messages that did not simply arrive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stopped {
    /// Lost.
    pub dropped: u64,
    /// To be delivered later.
    pub held: u64,
}

#[derive(Default)]
struct Inner {
    hash: blake3::Hasher,
    file: Option<BufWriter<File>>,
    /// Why the file is not whole.
    failed: Option<io::Error>,
    lines: u64,
    line: String,
    /// The machines by number from 0, and which of them is at work.
    machines: Vec<String>,
    machine: Option<usize>,
    stopped: Stopped,
}

impl Trace {
    /// An empty one, and the file that it is written to.
    pub fn new(file: Option<&Path>) -> io::Result<Trace> {
        let file = file.map(File::create).transpose()?.map(BufWriter::new);
        Ok(Trace { inner: Arc::new(Mutex::new(Inner { file, ..Inner::default() })) })
    }

    /// Runs `simulation` on this thread and traces it.
    pub fn of<T>(&self, simulation: impl FnOnce() -> T) -> T {
        tracing::subscriber::with_default(self.clone(), simulation)
    }

    /// What the network has stopped so far.
    pub fn stopped(&self) -> Stopped {
        self.inner.lock().stopped
    }

    /// The hash of all lines, in hexadecimal digits, and how many there are. What a file lacks is written.
    pub fn finish(&self) -> io::Result<(String, u64)> {
        let mut inner = self.inner.lock();
        if let Some(error) = inner.failed.take() {
            return Err(error);
        }
        if let Some(file) = &mut inner.file {
            file.flush()?;
        }
        Ok((inner.hash.finalize().to_hex().to_string(), inner.lines))
    }
}

impl Subscriber for Trace {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        if self.enabled(metadata) { Interest::always() } else { Interest::never() }
    }

    /// Of the network its machines' turns, and what it does to messages.
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        match metadata.target() {
            NETWORK => metadata.file().is_some_and(|file| file.ends_with(LINKS)),
            target if metadata.is_span() => target.starts_with(NETWORK),
            target => WHO.iter().any(|who| target.starts_with(who)),
        }
    }

    /// A machine's turn: the only spans there are. A number stands for a name.
    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let mut name = Name::default();
        span.record(&mut name);
        let mut inner = self.inner.lock();
        let known = inner.machines.iter().position(|machine| *machine == name.0);
        let number = known.unwrap_or_else(|| {
            inner.machines.push(name.0.into_owned());
            inner.machines.len() - 1
        });
        Id::from_u64(number as u64 + 1)
    }

    fn enter(&self, span: &Id) {
        self.inner.lock().machine = usize::try_from(span.into_u64() - 1).ok();
    }

    fn exit(&self, _: &Id) {
        self.inner.lock().machine = None;
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        // The time of the machine that speaks; while the network speaks, that of the step.
        let elapsed = turmoil::sim_elapsed().unwrap_or_else(chance::elapsed);
        self.inner.lock().add(elapsed.as_micros(), event);
    }
}

impl Inner {
    fn add(&mut self, at_us: u128, event: &Event<'_>) {
        let mut line = std::mem::take(&mut self.line);
        line.clear();
        let machine = self.machine.map_or("", |machine| &self.machines[machine]);
        let metadata = event.metadata();
        // Writing to a String cannot fail.
        let _ = write!(line, "{at_us:>9}us {machine:>2} {}", metadata.target());
        if *metadata.level() < Level::INFO {
            let _ = write!(line, " {}", metadata.level());
        }
        event.record(&mut Line { line: &mut line, hash: &mut self.hash, stopped: &mut self.stopped });
        line.push('\n');
        self.hash.update(line.as_bytes());
        self.lines += 1;
        if let Some(Err(error)) = self.file.as_mut().map(|file| file.write_all(line.as_bytes())) {
            (self.file, self.failed) = (None, Some(error));
        }
        self.line = line;
    }
}

/// Writes the fields of an event.
struct Line<'a> {
    line: &'a mut String,
    hash: &'a mut blake3::Hasher,
    stopped: &'a mut Stopped,
}

impl Visit for Line<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        // Writing to a String cannot fail.
        let _ = match field.name() {
            "message" => {
                let from = self.line.len();
                let written = write!(self.line, ": {value:?}");
                match &self.line[from..] {
                    ": Drop" => self.stopped.dropped += 1,
                    ": Hold" => self.stopped.held += 1,
                    _ => {}
                }
                written
            }
            // The bytes of a message, spelled out.
            "protocol" => Ok(()),
            name => write!(self.line, " {name}={value:?}"),
        };
    }

    fn record_bytes(&mut self, field: &Field, bytes: &[u8]) {
        self.hash.update(bytes);
        let sum = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |sum, byte| {
            (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
        });
        let _ = write!(self.line, " {}={}:{sum:016x}", field.name(), bytes.len());
    }
}

/// The name of a machine, from the span of its turn.
#[derive(Default)]
struct Name(Cow<'static, str>);

impl Visit for Name {
    fn record_debug(&mut self, _: &Field, value: &dyn Debug) {
        self.0 = format!("{value:?}").into();
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "name" {
            self.0 = value.to_owned().into();
        }
    }
}

#[cfg(test)]
mod tests {
    use tracing::{debug, trace, trace_span};

    use super::*;

    fn traced(simulation: impl FnOnce()) -> (Vec<String>, String) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("trace");
        let trace = Trace::new(Some(&path)).unwrap();
        trace.of(simulation);
        let (hash, lines) = trace.finish().unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text.lines().count() as u64, lines);
        // The clock is that of the process, which other tests set.
        let without_time = |line: &str| line.split_once("us ").map(|(_, line)| line.to_owned());
        (text.lines().filter_map(without_time).collect(), hash)
    }

    #[test]
    fn a_line_has_its_machine_its_fields_and_a_sum_of_bytes_and_others_are_silent() {
        let said = |bytes: &'static [u8]| {
            traced(move || {
                let turn = trace_span!(target: "turmoil::sim", "node", name = "a1");
                let turn = turn.enter();
                trace!(target: "twinset_node::gate", index = 7, who = "x", "opens");
                trace!(target: "twinset_sim::platform", bytes, "sent");
                debug!(target: "openraft::core", "nothing");
                drop(turn);
                trace!(target: "twinset_router", ok = true);
            })
        };
        let (lines, hash) = said(b"abc");
        assert_eq!(lines.len(), 3, "{lines:?}");
        assert_eq!(lines[0], "a1 twinset_node::gate: opens index=7 who=\"x\"");
        assert!(lines[1].starts_with("a1 twinset_sim::platform: sent bytes=3:"), "{}", lines[1]);
        assert_eq!(lines[2], "   twinset_router ok=true");
        let (other_lines, other_hash) = said(b"abd");
        assert!(other_lines[1] != lines[1] && other_hash != hash);
    }
}

//! The one recorder of a run: one clock, one order of lines. Clients, the player of faults and the watcher of leaders share
//! it. A thread of its own writes behind a bounded queue, so that a slow disk slows the run instead of growing it; what was
//! flushed survives a crash of the harness. Knows nothing of what the lines mean.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use super::event::{End, Event, Invoke};
use super::{Answer, Ask, Meta, Phase, Retry};

/// Lines that wait for the disk.
const QUEUE: usize = 65_536;
/// What a crash of the harness can cost.
const FLUSH: Duration = Duration::from_millis(250);

/// Where the lines go.
pub enum Sink {
    /// Into a file, by a thread of its own.
    File {
        /// To that thread; none after the end.
        lines: Option<SyncSender<Vec<u8>>>,
        /// The thread, which says whether all was written.
        writer: Option<JoinHandle<std::io::Result<()>>>,
    },
    /// Kept, for tests.
    Memory(Mutex<Vec<Event>>),
}

/// Takes down what happens.
pub struct Recorder {
    began: Instant,
    /// The same by the wall clock, nanoseconds since 1970.
    began_unix_ns: u64,
    sink: Sink,
    /// Held while an operation's first line is added: the lines stand in the order of the numbers.
    next_op: Mutex<u64>,
    next_process: AtomicU32,
    accounts: Mutex<Accounts>,
}

#[derive(Default)]
struct Accounts {
    numbers: BTreeMap<Arc<str>, u32>,
    ids: Vec<Arc<str>>,
}

impl Recorder {
    /// Writes to a new file at `path`.
    pub fn to_file(path: &Path, meta: Meta) -> std::io::Result<Arc<Self>> {
        let file = File::create(path)?;
        let (lines, waiting) = sync_channel(QUEUE);
        let writer =
            std::thread::Builder::new().name("history".into()).spawn(move || write(file, &waiting))?;
        Ok(Self::with(Sink::File { lines: Some(lines), writer: Some(writer) }, meta))
    }

    /// Keeps everything in memory.
    pub fn in_memory(meta: Meta) -> Arc<Self> {
        Self::with(Sink::Memory(Mutex::new(Vec::new())), meta)
    }

    fn with(sink: Sink, meta: Meta) -> Arc<Self> {
        let recorder = Recorder {
            began: Instant::now(),
            began_unix_ns: unix_ns(),
            sink,
            next_op: Mutex::new(0),
            next_process: AtomicU32::new(0),
            accounts: Mutex::default(),
        };
        recorder.add(Event::Meta(meta));
        Arc::new(recorder)
    }

    /// Nanoseconds on the history's clock.
    pub fn now_ns(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// The same of a time by the wall clock, nanoseconds since 1970; what was before the history's begin: 0.
    pub fn at_ns(&self, time_unix_ns: u64) -> u64 {
        time_unix_ns.saturating_sub(self.began_unix_ns)
    }

    /// When the history's clock began.
    pub fn began(&self) -> Instant {
        self.began
    }

    /// Operations begun so far.
    pub fn ops(&self) -> u64 {
        *self.next_op.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A process that nobody was before.
    pub fn process(&self) -> u32 {
        self.next_process.fetch_add(1, Ordering::Relaxed)
    }

    /// The number of an account.
    pub fn account(&self, id: &str) -> u32 {
        let mut accounts = self.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(number) = accounts.numbers.get(id) {
            return *number;
        }
        let number = u32::try_from(accounts.ids.len()).expect("fewer than 2^32 accounts");
        let id: Arc<str> = id.into();
        accounts.ids.push(id.clone());
        accounts.numbers.insert(id.clone(), number);
        // Under the lock: the line's place is the number.
        self.add(Event::Account { id: id.to_string() });
        number
    }

    /// The id of an account.
    pub fn account_id(&self, number: u32) -> Arc<str> {
        self.accounts.lock().unwrap_or_else(PoisonError::into_inner).ids[number as usize].clone()
    }

    /// The ids of the accounts from a number on.
    pub fn accounts_from(&self, number: usize) -> Vec<Arc<str>> {
        self.accounts.lock().unwrap_or_else(PoisonError::into_inner).ids[number..].to_vec()
    }

    /// An operation begins; gives its number.
    pub fn invoke(&self, process: u32, site: u8, router: u8, retry: Option<Retry>, ask: &Ask) -> u64 {
        let mut next = self.next_op.lock().unwrap_or_else(PoisonError::into_inner);
        let (op, at_ns) = (*next, self.now_ns());
        *next += 1;
        self.add(Event::Invoke(Invoke { op, at_ns, process, site, router, retry, ask: ask.clone() }));
        op
    }

    /// It has ended.
    pub fn end(&self, op: u64, answer: &Answer) {
        let at_ns = self.now_ns();
        self.add(Event::End(End { op, at_ns, answer: answer.clone() }));
    }

    /// A part of the run begins.
    pub fn phase(&self, phase: Phase) {
        self.add(Event::Phase { at_ns: self.now_ns(), phase });
    }

    /// Something that should not have happened around the traffic.
    pub fn note(&self, text: impl Into<String>) {
        self.add(Event::Note { text: text.into() });
    }

    /// Any other line.
    pub fn add(&self, event: Event) {
        match &self.sink {
            Sink::File { lines, .. } => {
                let mut line = serde_json::to_vec(&event).expect("an event has only what JSON has");
                line.push(b'\n');
                // The writer ends early only when the disk failed, which `close` says.
                let _ = lines.as_ref().map(|lines| lines.send(line));
            }
            Sink::Memory(events) => events.lock().unwrap_or_else(PoisonError::into_inner).push(event),
        }
    }

    /// Everything so far, of a recorder in memory.
    pub fn events(&self) -> Vec<Event> {
        match &self.sink {
            Sink::Memory(events) => events.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            Sink::File { .. } => Vec::new(),
        }
    }

    /// Ends the file; says whether everything was written.
    pub fn close(mut self) -> std::io::Result<()> {
        self.finish()
    }

    fn finish(&mut self) -> std::io::Result<()> {
        let Sink::File { lines, writer } = &mut self.sink else { return Ok(()) };
        drop(lines.take());
        match writer.take().map(JoinHandle::join) {
            Some(Ok(written)) => written,
            Some(Err(_)) => Err(std::io::Error::other("the writer of the history panicked")),
            None => Ok(()),
        }
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        // Whoever wants to know whether all was written has called `close`.
        let _ = self.finish();
    }
}

fn unix_ns() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

fn write(file: File, waiting: &Receiver<Vec<u8>>) -> std::io::Result<()> {
    let mut file = BufWriter::with_capacity(1 << 20, file);
    let mut flushed = Instant::now();
    loop {
        match waiting.recv_timeout(FLUSH) {
            Ok(line) => file.write_all(&line)?,
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return file.flush(),
        }
        if flushed.elapsed() >= FLUSH {
            file.flush()?;
            flushed = Instant::now();
        }
    }
}

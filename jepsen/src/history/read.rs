//! Reads a history back. A cut last line is what a crash of the harness leaves, and is said; anything else that cannot be
//! read is an error with its line: a check of a part would pass for a check of the whole.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use super::event::{AsOf, Event, FORMAT};
use super::{Answer, FaultSpan, History, LeaderChange, Op};

/// Why a history cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file.
    #[error("the history cannot be read")]
    Io(#[from] std::io::Error),
    /// A line that is not the last.
    #[error("line {line} of the history is no event: {source}")]
    Line {
        /// From 1.
        line: usize,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// A line that does not fit those before it.
    #[error("line {line} of the history does not fit: {why}")]
    Misfit {
        /// From 1.
        line: usize,
        /// In words.
        why: String,
    },
}

/// Reads a file that a recorder wrote.
pub fn read(path: &Path) -> Result<History, Error> {
    let mut file = BufReader::with_capacity(1 << 20, File::open(path)?);
    let (mut history, mut text, mut line) = (History::default(), Vec::new(), 0);
    loop {
        text.clear();
        if file.read_until(b'\n', &mut text)? == 0 {
            break;
        }
        line += 1;
        if text.last() != Some(&b'\n') {
            history.cut = true;
            break;
        }
        let event = serde_json::from_slice(&text).map_err(|source| Error::Line { line, source })?;
        history.take(event).map_err(|why| Error::Misfit { line, why })?;
    }
    history.make_up_runs();
    match line {
        0 => Err(Error::Misfit { line: 1, why: "it is empty".into() }),
        _ => Ok(history),
    }
}

impl History {
    /// From events that were kept in memory.
    pub fn from_events(events: impl IntoIterator<Item = Event>) -> Result<History, Error> {
        let mut history = History::default();
        for (number, event) in events.into_iter().enumerate() {
            history.take(event).map_err(|why| Error::Misfit { line: number + 1, why })?;
        }
        history.make_up_runs();
        Ok(history)
    }

    fn take(&mut self, event: Event) -> Result<(), String> {
        if self.meta.format == 0 && !matches!(event, Event::Meta(_)) {
            return Err("the first line is not meta".into());
        }
        match event {
            Event::Meta(meta) if meta.format != FORMAT => {
                return Err(format!("format {}; this build reads {FORMAT}", meta.format));
            }
            Event::Meta(meta) => self.meta = meta,
            Event::Account { id } => self.accounts.push(id),
            Event::Invoke(invoke) => {
                if invoke.op != self.ops.len() as u64 {
                    return Err(format!("operation {} is not the next one, {}", invoke.op, self.ops.len()));
                }
                self.ops.push(Op {
                    process: invoke.process,
                    site: invoke.site,
                    router: invoke.router,
                    begin_ns: invoke.at_ns,
                    end_ns: None,
                    retry: invoke.retry,
                    ask: invoke.ask,
                    answer: Answer::Unknown { why: "no end is recorded".into() },
                });
            }
            Event::End(end) => {
                let op = self.ops.get_mut(end.op as usize).filter(|op| op.end_ns.is_none());
                let op = op.ok_or(format!("operation {} is not under way", end.op))?;
                op.end_ns = Some(end.at_ns);
                op.answer = end.answer;
            }
            Event::FaultBegin { at_ns, fault } => {
                self.faults.push(FaultSpan {
                    fault,
                    begin_ns: at_ns,
                    acts_ns: None,
                    undone_ns: None,
                    end_ns: None,
                    evidence: None,
                });
            }
            Event::FaultActs { at_ns } => self.fault_under_way()?.acts_ns = Some(at_ns),
            Event::FaultUndone { at_ns } => self.fault_under_way()?.undone_ns = Some(at_ns),
            Event::FaultEnd { at_ns, evidence } => {
                let fault = self.fault_under_way()?;
                (fault.end_ns, fault.evidence) = (Some(at_ns), Some(evidence));
            }
            Event::Fault(span) => self.faults.push(span),
            Event::Leader { at_ns, set, node } => self.leaders.push(LeaderChange { at_ns, set, node }),
            Event::Recorded(recorded) => self.records.push(recorded),
            Event::Lives { set, ends } => drop(self.meta.lives.insert(set, ends)),
            Event::Phase { at_ns, phase } => self.phases.push((phase, at_ns)),
            Event::Verify { lines } => self.verify = lines,
            Event::Holdings(holdings) => self.holdings.push(holdings),
            Event::InDoubt { open } => self.in_doubt = Some(open),
            Event::Note { text } => self.notes.push(text),
        }
        Ok(())
    }

    fn fault_under_way(&mut self) -> Result<&mut FaultSpan, &'static str> {
        self.faults.last_mut().filter(|fault| fault.end_ns.is_none()).ok_or("no fault is under way")
    }
}

impl AsOf {
    /// Of a linearizable read at that place.
    pub fn now(place: super::Place) -> Self {
        AsOf { place, age_ms: 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::{Ask, Meta, Place, Recorder, Transfer};
    use std::io::Write;

    fn meta() -> Meta {
        Meta { format: FORMAT, seed: 7, sets: vec![1], ..Meta::default() }
    }

    fn written(dir: &Path) -> (std::path::PathBuf, Answer) {
        let path = dir.join("history.jsonl");
        let recorder = Recorder::to_file(&path, meta()).unwrap();
        let (one, two) = (recorder.account("{t}:1"), recorder.account("{t}:2"));
        let legs = vec![(one, 150), (two, -150)];
        let ask = Ask::Transfer(Transfer {
            id: "x".into(),
            scope: None,
            label: None,
            capture: None,
            marks: vec![],
            legs,
        });
        let op = recorder.invoke(recorder.process(), 0, 1, None, &ask);
        let answer = Answer::Rejected {
            code: "limit_exceeded".into(),
            place: Place::from((1, 7, 70)),
            replayed: false,
        };
        recorder.end(op, &answer);
        recorder.invoke(recorder.process(), 0, 0, None, &ask);
        std::sync::Arc::into_inner(recorder).unwrap().close().unwrap();
        (path, answer)
    }

    #[test]
    fn what_was_recorded_comes_back() {
        let dir = tempfile::tempdir().unwrap();
        let (path, answer) = written(dir.path());
        let history = read(&path).unwrap();
        assert_eq!((history.meta.seed, history.accounts.len(), history.ops.len()), (7, 2, 2));
        assert_eq!(history.ops[0].answer, answer);
        assert!(history.ops[1].answer.is_open(), "an operation without an end may have happened");
        assert_eq!(history.malformed(), Vec::<String>::new());
        assert!(!history.cut);
    }

    #[test]
    fn a_cut_last_line_is_said_and_any_other_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let (path, _) = written(dir.path());
        let whole = std::fs::read(&path).unwrap();
        std::fs::write(&path, &whole[..whole.len() - 9]).unwrap();
        let history = read(&path).unwrap();
        assert!(history.cut && history.ops.len() == 1);
        let mut file = std::fs::OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(b"\n").unwrap();
        assert!(matches!(read(&path), Err(Error::Line { line: 6, .. })));
        std::fs::write(&path, b"{\"phase\":{\"at_ns\":1,\"phase\":\"done\"}}\n").unwrap();
        assert!(matches!(read(&path), Err(Error::Misfit { line: 1, .. })));
    }

    #[test]
    fn a_process_that_does_two_things_at_once_or_goes_on_is_seen() {
        let ask = Ask::Close { id: "x".into(), account: 0 };
        let op = |begin_ns, end_ns, answer| Op {
            process: 1,
            site: 0,
            router: 0,
            begin_ns,
            end_ns: Some(end_ns),
            retry: None,
            ask: ask.clone(),
            answer,
        };
        let no = || Answer::NotApplied { code: "no_leader".into() };
        let lost = Answer::Unknown { why: "silent".into() };
        let with = |ops| History { ops, ..History::default() }.malformed().len();
        assert_eq!(with(vec![op(0, 2, no()), op(2, 4, no())]), 0);
        assert_eq!(with(vec![op(0, 3, no()), op(2, 4, no())]), 1);
        assert_eq!(with(vec![op(0, 1, lost), op(2, 4, no())]), 1);
    }
}

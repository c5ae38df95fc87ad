//! `history.edn`: one map per line, as Jepsen writes histories: index, type (`:invoke`, `:ok`, `:fail`, `:info`), process, time in
//! nanoseconds, `:f`, and the question or the answer as the text of their JSON. Rejected is `:fail` with its code, unknown is
//! `:info`; faults are operations of the process `:nemesis`.

use std::io::Write;

use crate::history::{Answer, Ask, History, Op};

/// One line of the file.
struct Line {
    time: u64,
    /// An end comes behind a begin of the same instant.
    order: (bool, usize),
    text: String,
}

/// Writes all operations and faults in the order of time.
pub fn write(history: &History, mut out: impl Write) -> anyhow::Result<()> {
    let mut lines = Vec::with_capacity(history.ops.len() * 2);
    for (number, op) in history.ops.iter().enumerate() {
        let line = |time, kind, ends, value: String| Line {
            time,
            order: (ends, number),
            text: format!(":type :{kind}, :process {}, :f :{}, :value {value}", op.process, name(&op.ask)),
        };
        lines.push(line(op.begin_ns, "invoke", false, quoted(&op.ask)?));
        if let Some(end) = op.end_ns {
            lines.push(line(end, kind(op), true, quoted(&op.answer)?));
        }
    }
    for (number, span) in history.faults.iter().enumerate() {
        let mut nemesis = |time: u64, value: String| {
            let text = format!(":type :info, :process :nemesis, :f :fault, :value {value}");
            lines.push(Line { time, order: (false, number), text });
        };
        nemesis(span.begin_ns, quoted(&span.fault)?);
        if let Some(end) = span.end_ns {
            nemesis(end, quoted(&span.evidence)?);
        }
    }
    lines.sort_by_key(|line| (line.time, line.order));
    for (index, line) in lines.iter().enumerate() {
        writeln!(out, "{{:index {index}, :time {}, {}}}", line.time, line.text)?;
    }
    out.flush()?;
    Ok(())
}

fn kind(op: &Op) -> &'static str {
    match &op.answer {
        answer if answer.is_open() => "info",
        Answer::Rejected { .. } | Answer::NotApplied { .. } => "fail",
        _ => "ok",
    }
}

fn name(ask: &Ask) -> &'static str {
    match ask {
        Ask::Open { .. } => "open-account",
        Ask::SetLimit { .. } => "set-limit",
        Ask::Freeze { on: true, .. } => "freeze",
        Ask::Freeze { .. } => "unfreeze",
        Ask::Close { .. } => "close-account",
        Ask::Transfer(_) => "transfer",
        Ask::Reverse { .. } => "reverse",
        Ask::Batch { .. } => "batch",
        Ask::ReadAccount { .. } => "read-account",
        Ask::ReadTransaction { .. } => "read-transaction",
        Ask::ReadRequest { .. } => "read-request",
        Ask::List { .. } => "list",
    }
}

/// JSON as an EDN string: both escape quotes and backslashes alike.
fn quoted<T: serde::Serialize>(value: &T) -> anyhow::Result<String> {
    Ok(serde_json::to_string(&serde_json::to_string(value)?)?)
}

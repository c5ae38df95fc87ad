//! `history.edn`: one map per line, as Jepsen writes histories: index, time in nanoseconds, type (`:invoke`, `:ok`,
//! `:fail`, `:info`), process, `:f`, and as the value what was asked, then what came back. What the ledger refused,
//! or certainly did not do, is `:fail` with its code as the error; what may have happened is `:info` with what was
//! seen instead of an answer. To read that a request was refused is `:ok`. Faults are operations of the process
//! `:nemesis`, with what was done as the value, then with what was seen of it.

use std::io::Write;

use super::edn;
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
        let line = |time, kind, ends, rest: String| Line {
            time,
            order: (ends, number),
            text: format!(":type :{kind}, :process {}, :f :{}, :value {rest}", op.process, name(&op.ask)),
        };
        let ask = edn::of(&op.ask)?;
        lines.push(line(op.begin_ns, "invoke", false, edn::inner(&ask).to_owned()));
        if let Some(end) = op.end_ns {
            let (kind, error) = kind(op);
            let mut rest = edn::of(&op.answer)?;
            if let Some(error) = error {
                rest += &format!(", :error {}", edn::of(&error)?);
            }
            lines.push(line(end, kind, true, rest));
        }
    }
    for (number, span) in history.faults.iter().enumerate() {
        let mut nemesis = |time: u64, value: String| {
            let text = format!(":type :info, :process :nemesis, :f :fault, :value {value}");
            lines.push(Line { time, order: (false, number), text });
        };
        nemesis(span.begin_ns, edn::of(&span.fault)?);
        if let Some(end) = span.end_ns {
            nemesis(end, edn::of(&span.evidence)?);
        }
    }
    lines.sort_by_key(|line| (line.time, line.order));
    for (index, line) in lines.iter().enumerate() {
        writeln!(out, "{{:index {index}, :time {time}, {text}}}", time = line.time, text = line.text)?;
    }
    out.flush()?;
    Ok(())
}

/// How an operation ended, and the word for why it did not end well.
fn kind(op: &Op) -> (&'static str, Option<&str>) {
    match &op.answer {
        Answer::Unknown { why } => ("info", Some(why)),
        answer if answer.is_open() => ("info", None),
        Answer::NotApplied { code } => ("fail", Some(code)),
        Answer::GivenUp { .. } if op.ask.is_write() => ("fail", None),
        Answer::Rejected { code, .. } if op.ask.is_write() => ("fail", Some(code)),
        _ => ("ok", None),
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
        Ask::DryRun(_) => "dry-run",
        Ask::Reverse { .. } => "reverse",
        Ask::Batch { .. } => "batch",
        Ask::PlaceHold { .. } => "place-hold",
        Ask::ReleaseHold { .. } => "release-hold",
        Ask::ExtendHold { .. } => "extend-hold",
        Ask::SetMode { .. } => "set-mode",
        Ask::SetSweep { .. } => "set-sweep",
        Ask::RemoveSweep { .. } => "remove-sweep",
        Ask::ReadSweep { .. } => "read-sweep",
        Ask::ListSweeps { .. } => "list-sweeps",
        Ask::ResolveSuspense { .. } => "resolve-suspense",
        Ask::ReadTransit { .. } => "read-transit",
        Ask::ListSuspense { .. } => "list-suspense",
        Ask::ReadHold { .. } => "read-hold",
        Ask::ListHolds { .. } => "list-holds",
        Ask::ReleaseRestriction { .. } => "release-restriction",
        Ask::ReadRestriction { .. } => "read-restriction",
        Ask::ListRestrictions { .. } => "list-restrictions",
        Ask::Statement { .. } => "statement",
        Ask::Balance { .. } => "balance",
        Ask::Events { .. } => "events",
        Ask::ReadAccount { .. } => "read-account",
        Ask::ReadGroup { .. } => "read-group",
        Ask::ReadTransaction { .. } => "read-transaction",
        Ask::ReadRequest { .. } => "read-request",
        Ask::List { .. } => "list",
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::is_one_map_per_line;
    use super::*;
    use crate::api::payment;
    use crate::history::{AsOf, FaultSpan, Figures, Level, Place, Retry};
    use crate::nemesis::{Evidence, Fault};
    use crate::synthetic;

    fn op(process: u32, at: (u64, Option<u64>), ask: Ask, answer: Answer) -> Op {
        let retry = Some(Retry::Again);
        Op { process, site: 0, router: 1, begin_ns: at.0, end_ns: at.1, retry, ask, answer }
    }

    fn text(history: &History) -> String {
        let mut text = Vec::new();
        write(history, &mut text).unwrap();
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn a_tiny_history_reads_as_jepsen_writes_one() {
        let place: Place = (1, 7, 1_700_000_000_000_000_000).into();
        let figures = Figures { posted: -5, version: 1, ..Figures::default() };
        let refused = || Answer::Rejected { code: "account_closed".into(), place, replayed: false };
        let booked = Answer::Booked {
            transaction: "1-1-7-0".to_owned().try_into().unwrap(),
            place,
            replayed: false,
            balances: vec![(5, 5), (-5, -5)],
        };
        let account = Answer::Account { as_of: AsOf { place, age_ms: 0 }, figures };
        let close = || Ask::Close { id: "c".into(), account: 3 };
        let (level, scope) = (Level::Linearizable, 3);
        let look = Ask::ReadRequest { scope, id: "c".into(), level };
        let fault = Fault::Kill { victims: vec!["a1".into()], down_ms: 3, again_ms: None };
        let span = FaultSpan {
            fault,
            begin_ns: 15,
            acts_ns: None,
            undone_ns: None,
            end_ns: Some(16),
            evidence: Some(Evidence { acted: true, detail: "a \"dead\" process".into() }),
        };
        let history = History {
            ops: vec![
                op(1, (10, Some(20)), payment((1, 2), "x", 5), booked),
                op(2, (20, Some(30)), Ask::ReadAccount { account: 2, level }, account),
                op(3, (40, Some(50)), close(), refused()),
                op(3, (60, Some(70)), close(), Answer::NotApplied { code: "no_leader".into() }),
                op(3, (80, Some(90)), close(), Answer::Unknown { why: "no answer".into() }),
                op(4, (100, Some(110)), look, refused()),
                op(5, (120, None), close(), Answer::Unknown { why: "cut off".into() }),
            ],
            faults: vec![span],
            ..History::default()
        };
        let place = ":place [1, 7, 1700000000000000000]";
        let close = ":f :close-account, :value {:id \"c\", :account 3}";
        let refused = format!("{{:rejected {{:code \"account_closed\", {place}, :replayed false}}}}");
        let expected = [
            ":time 10, :type :invoke, :process 1, :f :transfer, :value {:id \"x\", :legs [[1, 5], [2, -5]]}".to_owned(),
            ":time 15, :type :info, :process :nemesis, :f :fault, :value {:fault \"kill\", :victims [\"a1\"], \
             :down-ms 3, :again-ms nil}"
                .into(),
            ":time 16, :type :info, :process :nemesis, :f :fault, :value {:acted true, \
             :detail \"a \\\"dead\\\" process\"}"
                .into(),
            ":time 20, :type :invoke, :process 2, :f :read-account, :value {:account 2, \
             :level \"linearizable\"}"
                .into(),
            format!(
                ":time 20, :type :ok, :process 1, :f :transfer, :value {{:booked {{:transaction \"1-1-7-0\", {place}, \
                 :replayed false, :balances [[5, 5], [-5, -5]]}}}}"
            ),
            format!(
                ":time 30, :type :ok, :process 2, :f :read-account, :value {{:account {{:as-of {{{place}, :age-ms 0}}, \
                 :figures {{:posted -5, :available 0, :debits 0, :credits 0, :limit nil, :frozen-debit false, \
                 :frozen-credit false, :closed false, :version 1}}}}}}"
            ),
            format!(":time 40, :type :invoke, :process 3, {close}"),
            format!(
                ":time 50, :type :fail, :process 3, :f :close-account, :value {refused}, :error \"account_closed\""
            ),
            format!(":time 60, :type :invoke, :process 3, {close}"),
            ":time 70, :type :fail, :process 3, :f :close-account, :value {:not-applied {:code \"no_leader\"}}, \
             :error \"no_leader\""
                .into(),
            format!(":time 80, :type :invoke, :process 3, {close}"),
            ":time 90, :type :info, :process 3, :f :close-account, :value {:unknown {:why \"no answer\"}}, \
             :error \"no answer\""
                .into(),
            ":time 100, :type :invoke, :process 4, :f :read-request, :value {:scope 3, :id \"c\", \
             :level \"linearizable\"}"
                .into(),
            format!(":time 110, :type :ok, :process 4, :f :read-request, :value {refused}"),
            format!(":time 120, :type :invoke, :process 5, {close}"),
        ];
        let lines = expected.iter().enumerate().map(|(index, line)| format!("{{:index {index}, {line}}}\n"));
        assert_eq!(text(&history), lines.collect::<String>());
    }

    #[test]
    fn every_kind_of_operation_is_a_map_that_other_programs_read() {
        let history = synthetic::history(2_000, 5).unwrap();
        let text = text(&history);
        is_one_map_per_line(&text);
        assert_eq!(text.lines().count(), history.ops.len() * 2);
        adya::history::History::from_edn(&text).unwrap();
        for kind in ["invoke", "ok", "fail"] {
            assert!(text.contains(&format!(":type :{kind}, ")), "{kind}");
        }
    }
}

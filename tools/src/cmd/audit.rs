//! `twinset audit`: who did what, when, why and with what outcome, and whether that log is what was once written.
//! Reading and judging are in [`crate::audit`].

use clap::{Args, Subcommand};
use serde_json::{Value, json};
use twinset_control::Catalogue;
use twinset_control::chain::Head;
use twinset_ledger::date;
use twinset_proto::cluster::v1::AuditRecord;

use super::Context;
use super::statement::moment;
use crate::audit::{self, PAGE_MAX, Report, Voter};
use crate::cluster::admin;
use crate::{error, out};

/// What `twinset audit --help` says.
pub const HELP: &str = "Show every administrative act: who asked for it, when, why, and what came of it; newest \
    first.\n\n\
    PROOF says what speaks for WHO: \"token\" (the node was shown that operator's token), \"node a1\" (that node \
    acted by itself), \"declared\" (nothing: whoever asked wrote that name). The voters of the control set keep \
    every record; `twinset audit verify` checks that none was changed, left out or put in between.\n\n\
    Examples:\n  twinset audit\n  twinset audit --since 2h --who alice\n  twinset audit --set 1 --limit 10 --json\n  \
    twinset audit verify";

/// What `twinset audit verify --help` says.
pub const VERIFY_HELP: &str = "Check the audit log: read all of it from one voter of the control set, compute every \
    hash anew, and compare the newest one with what every voter says.\n\n\
    The voters could all be made to tell the same lie by whoever owns all of them. Write the head down elsewhere from \
    time to time, and give it with --head later: it stands for every record before it.\n\n\
    Exit code 1: a record does not fit; the first one that does not is named.\n\n\
    Examples:\n  twinset audit verify\n  twinset audit verify --json | jq -r .head\n  \
    twinset audit verify --head 42:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";

/// Show or check the audit log.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Audit {
    #[command(subcommand)]
    what: Option<What>,
    #[command(flatten)]
    list: List,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Check that every record is what was once written.
    #[command(long_about = VERIFY_HELP)]
    Verify(Verify),
}

/// Arguments of `audit verify`.
#[derive(Debug, Args)]
struct Verify {
    /// A head that was written down: the log must still have that record.
    #[arg(long, value_name = "NUMBER:HASH")]
    head: Option<Head>,
}

/// Which records are shown.
#[derive(Debug, Args)]
struct List {
    /// Only what was recorded since: 2026-11-30, 2026-11-30T20:15:00Z, or so long ago: 90s, 15m, 2h, 3d.
    #[arg(long, value_name = "TIME", value_parser = since)]
    since: Option<u64>,
    /// Only what is about this set.
    #[arg(long)]
    set: Option<u32>,
    /// Only what this operator, or part of a node, has asked for.
    #[arg(long, value_name = "NAME")]
    who: Option<String>,
    /// Records at most.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    limit: u64,
}

/// Nanoseconds since 1970.
fn since(text: &str) -> Result<u64, String> {
    let units = [("s", 1), ("m", 60), ("h", 3_600), ("d", 86_400)];
    let ago = units.iter().find_map(|(unit, seconds)| {
        let count: u64 = text.strip_suffix(unit)?.parse().ok()?;
        count.checked_mul(*seconds).map(std::time::Duration::from_secs)
    });
    if let Some(ago) = ago {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        return Ok(u64::try_from(now.saturating_sub(ago).as_nanos()).unwrap_or(u64::MAX));
    }
    let wrong = || "give it as 2026-11-30, 2026-11-30T20:15:00Z, or as 90s, 15m, 2h or 3d ago".to_owned();
    date::parse_timestamp(&moment(text)).ok_or_else(wrong)
}

/// Runs `twinset audit ...`.
pub async fn run(asked: Audit, context: &Context) -> anyhow::Result<()> {
    let survey = admin::survey(&context.nodes()?).await;
    let catalogue = survey.catalogue()?;
    match asked.what {
        None => list(&asked.list, catalogue, context).await,
        Some(What::Verify(Verify { head })) => verify(head, catalogue, context).await,
    }
}

async fn list(asked: &List, catalogue: &Catalogue, context: &Context) -> anyhow::Result<()> {
    let voters = audit::voters(catalogue).await;
    let source = audit::furthest(&voters).ok_or_else(|| nobody(&voters))?;
    let mut from = source.head.map_or(0, |head| head.number);
    let mut found = Vec::new();
    // Number 0 would begin anew with the newest.
    'pages: while from > 0 {
        let page = audit::page(&source.addr, from, true, PAGE_MAX).await;
        let page = page.map_err(|why| error::failure(format!("{}: {why}", source.node), AGAIN))?;
        let Some(last) = page.records.last() else { break };
        from = last.number.saturating_sub(1);
        for record in page.records {
            let shown = Shown::of(record);
            if asked.since.is_some_and(|since| shown.time_unix_ns() < since) {
                break 'pages;
            }
            if asked.wants(&shown) {
                found.push(shown);
            }
            if found.len() as u64 >= asked.limit {
                break 'pages;
            }
        }
    }
    if context.json {
        let records: Vec<Value> = found.into_iter().map(|shown| shown.record).collect();
        return out::json(
            &json!({ "node": source.node, "head": source.head.map(|h| h.to_string()), "records": records }),
        );
    }
    if found.is_empty() {
        return out::line("no such record");
    }
    let rows: Vec<Vec<String>> = found.iter().map(Shown::row).collect();
    out::line(&out::table(&["NO", "TIME", "WHO", "PROOF", "WHAT", "OUTCOME", "WHY"], &rows))
}

const AGAIN: &str = "`twinset status` shows which nodes answer; it can be asked for again";

fn nobody(voters: &[Voter]) -> anyhow::Error {
    let said = |voter: &Voter| format!("{}: {}", voter.node, voter.silent.as_deref().unwrap_or("nothing"));
    let said: Vec<String> = voters.iter().map(said).collect();
    error::failure(format!("no voter of the control set tells its audit log ({})", said.join("; ")), AGAIN)
}

/// A record as JSON with its hash. What later builds record is shown as well.
struct Shown {
    number: u64,
    record: Value,
}

impl Shown {
    fn of(AuditRecord { number, record_json, hash }: AuditRecord) -> Shown {
        let mut record = serde_json::from_slice(&record_json).unwrap_or_else(|_| json!({ "no": number }));
        if let (Value::Object(fields), Some(hash)) =
            (&mut record, twinset_control::chain::Hash::from_bytes(&hash))
        {
            fields.entry("proof").or_insert_with(|| "declared".into());
            fields.insert("hash".into(), hash.to_string().into());
        }
        Shown { number, record }
    }

    fn time_unix_ns(&self) -> u64 {
        self.record["time_unix_ns"].as_u64().unwrap_or_default()
    }

    /// The kind of the act, and what it says.
    fn what(&self) -> (String, &Value) {
        let act = self.record["what"].as_object().and_then(|what| what.iter().next());
        act.map_or_else(|| ("-".to_owned(), &Value::Null), |(kind, fields)| (kind.replace('_', "-"), fields))
    }

    fn row(&self) -> Vec<String> {
        let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let proof = match &self.record["proof"] {
            Value::Object(node) => node.iter().map(|(what, name)| format!("{what} {}", text(name))).collect(),
            proof => text(proof),
        };
        let (mut what, fields) = self.what();
        for (name, value) in fields.as_object().into_iter().flatten() {
            what.push_str(&format!(" {name}={}", text(value)));
        }
        let outcome = match &self.record["outcome"] {
            Value::Object(how) => {
                how.iter().map(|(how, why)| format!("{how}: {}", text(&why["reason"]))).collect()
            }
            outcome => text(outcome),
        };
        let second = self.time_unix_ns() / 1_000_000_000 * 1_000_000_000;
        let (who, why) = (text(&self.record["who"]), text(&self.record["why"]));
        vec![self.number.to_string(), date::timestamp(second), who, proof, what, outcome, why]
    }
}

impl List {
    fn wants(&self, shown: &Shown) -> bool {
        let (_, fields) = shown.what();
        self.set.is_none_or(|set| fields["set"] == set)
            && self.who.as_ref().is_none_or(|who| shown.record["who"] == who.as_str())
    }
}

async fn verify(head: Option<Head>, catalogue: &Catalogue, context: &Context) -> anyhow::Result<()> {
    let spinner = out::spinner("reading the audit log");
    let report = audit::verify(catalogue, head).await;
    spinner.finish_and_clear();
    let Some(report) = report else { return Err(nobody(&audit::voters(catalogue).await)) };
    if context.json {
        out::json(&report)?;
    } else {
        out::line(&text(&report))?;
    }
    if report.clean {
        return Ok(());
    }
    Err(error::failure(
        "the audit log is not what was once written",
        "keep all data directories as they are, and compare the voters' logs: `twinset audit --json` with --nodes",
    ))
}

fn text(report: &Report) -> String {
    let head = |head: Option<Head>| head.map_or_else(|| "-".to_owned(), |head| head.to_string());
    let row = |voter: &Voter| {
        let read = if voter.node == report.read_from { "read as a whole" } else { "its newest hash" };
        vec![voter.node.clone(), head(voter.head), voter.silent.clone().unwrap_or_else(|| read.to_owned())]
    };
    let rows: Vec<Vec<String>> = report.voters.iter().map(row).collect();
    let mut lines = vec![out::table(&["VOTER", "HEAD", "WHAT WAS COMPARED"], &rows)];
    lines.extend(report.findings.iter().map(|finding| format!("BAD  {finding}")));
    let verdict = if report.clean { "clean" } else { "NOT CLEAN" };
    lines.push(format!("{verdict}: {} records, head {}", report.records, head(report.head)));
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_times_days_or_a_while_ago() {
        assert_eq!(since("2026-11-30"), Ok(1_795_996_800_000_000_000));
        assert_eq!(since("2026-11-30"), since("2026-11-30T00:00:00Z"));
        assert!(since("1h").unwrap() < since("1m").unwrap());
        for wrong in ["", "yesterday", "2026-13-01", "5", "-5m", "2026-11-30 20:15"] {
            assert!(since(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_record_is_a_row_whatever_it_is_about() {
        let record = |json: &str| AuditRecord {
            number: 7,
            record_json: json.as_bytes().to_vec().into(),
            hash: vec![0; 32].into(),
        };
        let switch = Shown::of(record(
            r#"{"no":7,"index":9,"time_unix_ns":1795996800123456789,"who":"alice","proof":"token","why":"drill",
            "what":{"switch":{"set":1,"id":9,"from":"A","to":"B"}},"outcome":{"aborted":{"reason":"late"}}}"#,
        ));
        let row = switch.row();
        assert_eq!(row[1], "2026-11-30T00:00:00Z");
        assert_eq!(row[2..4], ["alice", "token"]);
        assert!(row[4].starts_with("switch ") && row[4].contains("set=1"), "{row:?}");
        assert_eq!(row[5..], ["aborted: late", "drill"]);
        let asked = |set, who: Option<&str>| List { since: None, set, who: who.map(str::to_owned), limit: 1 };
        assert!(asked(Some(1), Some("alice")).wants(&switch) && asked(None, None).wants(&switch));
        assert!(!asked(Some(2), None).wants(&switch) && !asked(None, Some("bob")).wants(&switch));
        let newer =
            Shown::of(record(r#"{"no":7,"who":"x","proof":{"node":"a1"},"what":"odd","outcome":"done"}"#));
        assert_eq!(newer.row()[3], "node a1");
        assert_eq!(Shown::of(record("?")).row()[0], "7");
    }
}

//! The report of a drill as one HTML page without scripts: the verdict and why first, then what clients and sets went
//! through, then everything that was done. Pure.

use std::fmt::Write;

use super::plot;
use super::record::{Record, Verdict};
use super::scenario::Scenario;

const STYLE: &str = include_str!("page.css");

/// The page.
pub fn page(record: &Record) -> String {
    let mut out = String::new();
    let title = format!("{}: {}", record.scenario.name, record.verdict);
    let _ = write!(
        out,
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <title>{}</title><style>{STYLE}</style><main>",
        escape(&title)
    );
    head(&mut out, record);
    criteria(&mut out, record);
    if !record.seconds.is_empty() {
        out.push_str("<h2>What clients saw</h2>");
        payments(&mut out, record);
        let _ = write!(
            out,
            "<h3>Payments per second <span class=\"key booked\"></span>booked <span class=\"key failed\"></span>failed</h3>{}",
            plot::rates(record)
        );
        let _ = write!(
            out,
            "<h3>How long they took <span class=\"key p50\"></span>p50 <span class=\"key p99\"></span>p99 \
             <span class=\"key p999\"></span>p99.9 <span class=\"key max\"></span>longest</h3>{}",
            plot::latencies(record)
        );
    }
    let _ = write!(
        out,
        "<h2>What sets went through</h2><h3><span class=\"key sync\"></span>SYNC, home {} <span class=\"key sync other\"></span>SYNC, \
         home {} <span class=\"key between\"></span>DEGRADING or RESYNC <span class=\"key degraded\"></span>DEGRADED: one site only \
         <span class=\"key leaderless\"></span>no leader <span class=\"key silent\"></span>does not answer</h3>{}",
        escape(&record.home),
        escape(&record.away),
        plot::states(record)
    );
    sets(&mut out, record);
    done(&mut out, record);
    moves(&mut out, record);
    audit(&mut out, record);
    scenario(&mut out, &record.scenario);
    out.push_str("</main></html>\n");
    out
}

fn head(out: &mut String, record: &Record) {
    let class = match record.verdict {
        Verdict::Passed => "good",
        Verdict::Failed | Verdict::Stopped => "bad",
    };
    let stopped = record.stopped.as_ref().map_or(String::new(), |why| {
        format!("<p class=\"bad\">It was stopped: {}</p>", escape(&why.to_string()))
    });
    let drawn = record.seed.map_or(String::new(), |seed| format!(" Drawn by lot, seed {seed}."));
    let added = match record.load {
        0 => String::new(),
        load => format!(", {load} payments per second added"),
    };
    let patience = match record.patience {
        1.0 => String::new(),
        factor => format!(" Every limit of time was stretched by {factor}."),
    };
    let _ = write!(
        out,
        "<header><span class=\"verdict {class}\">{}</span><h1>{}</h1><p>{}</p>{stopped}<p class=\"small\">{} on set {} of cluster \
         {}, home {}, by {}: {}. Began {} UTC, took {:.0} s{added}.{drawn}{patience}</p></header>",
        record.verdict,
        escape(&record.scenario.title),
        escape(&record.scenario.proves),
        escape(&record.scenario.name),
        record.set,
        escape(&record.cluster),
        escape(&record.home),
        escape(&record.who),
        escape(&record.why),
        super::calendar::Time::from_unix_ms(record.began_unix_ms),
        record.took_ms as f64 / 1e3,
    );
}

fn criteria(out: &mut String, record: &Record) {
    out.push_str("<table><tr><th></th><th>what</th><th>wanted</th><th>found</th></tr>");
    for one in &record.criteria {
        let (class, mark) = if one.held { ("good", "yes") } else { ("bad", "NO") };
        let _ = write!(
            out,
            "<tr class=\"{class}\"><td>{mark}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
            escape(&one.name),
            escape(&one.wanted),
            escape(&one.found)
        );
    }
    out.push_str("</table>");
}

fn payments(out: &mut String, record: &Record) {
    out.push_str(
        "<table class=\"figures\"><tr><th></th><th>payments</th><th>failed</th><th>p50</th><th>p99</th><th>p99.9</th><th>longest</th></tr>",
    );
    for (name, figures) in ["before", "meanwhile", "after"].iter().zip(&record.payments) {
        let _ = write!(
            out,
            "<tr><td>{name}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
            figures.ended,
            figures.failed,
            ms(figures.p50_ms),
            ms(figures.p99_ms),
            ms(figures.p999_ms),
            ms(figures.max_ms)
        );
    }
    let errors: Vec<String> = record.errors.iter().map(|(code, count)| format!("{count} x {code}")).collect();
    let errors = if errors.is_empty() { String::new() } else { format!(" Failed: {}.", errors.join(", ")) };
    out.push_str("</table>");
    // Of clients that are not ours, only what routers count is known.
    if record.load > 0 {
        let _ = write!(
            out,
            "<p class=\"small\">A payment is timed from when it was due, and repeated under the same request id for ten \
             seconds before it has failed; {} were repeated.{}</p>",
            record.repeated,
            escape(&errors)
        );
    }
}

fn sets(out: &mut String, record: &Record) {
    out.push_str(
        "<table class=\"figures\"><tr><th>set</th><th>longest pause</th><th>not SYNC</th><th>no leader seen</th><th class=\"text\">course</th></tr>",
    );
    for set in &record.sets {
        let pause = match (set.pause_ms, set.paused_at_ms) {
            (Some(pause_ms), Some(at_ms)) => format!("{} at {:.1} s", ms(pause_ms), at_ms as f64 / 1e3),
            _ => "-".to_owned(),
        };
        let course: Vec<String> = set
            .course
            .iter()
            .map(|(at_ms, text)| format!("{:.0} s: {}", *at_ms as f64 / 1e3, escape(text)))
            .collect();
        let _ = write!(
            out,
            "<tr><td>{}</td><td>{pause}</td><td>{:.0} s</td><td>{:.0} s</td><td class=\"text\">{}</td></tr>",
            set.set,
            set.unsafe_s,
            set.leaderless_s,
            course.join("<br>")
        );
    }
    out.push_str("</table>");
}

fn done(out: &mut String, record: &Record) {
    out.push_str("<h2>What was done</h2><table><tr><th>from</th><th>took</th><th>what</th><th>to whom</th><th></th></tr>");
    let mut acts = record.acts.iter().peekable();
    for (number, span) in (1..).zip(&record.spans) {
        row(
            out,
            "part",
            span.from_ms,
            span.to_ms.saturating_sub(span.from_ms),
            &format!("{number}. {}", span.name),
            &span
                .pause_ms
                .map_or(String::new(), |pause_ms| format!("longest pause of a set {}", ms(pause_ms))),
            span.failed.as_deref(),
        );
        while let Some(act) = acts.next_if(|act| act.at_ms < span.to_ms) {
            row(out, "", act.at_ms, act.took_ms, &act.what, &act.targets.join(" "), act.failed.as_deref());
            for phase in &act.phases {
                let _ = write!(
                    out,
                    "<tr class=\"phase\"><td></td><td>{}</td><td>{}</td><td colspan=\"2\">{}</td></tr>",
                    ms(phase.at_ms),
                    escape(&phase.name),
                    escape(&phase.detail)
                );
            }
        }
    }
    out.push_str("</table>");
}

fn row(
    out: &mut String,
    class: &str,
    at_ms: u64,
    took_ms: u64,
    what: &str,
    whom: &str,
    failed: Option<&str>,
) {
    let _ = write!(
        out,
        "<tr class=\"{class}\"><td>{:.1} s</td><td>{}</td><td>{}</td><td>{}</td><td class=\"bad\">{}</td></tr>",
        at_ms as f64 / 1e3,
        ms(took_ms as f64),
        escape(what),
        escape(whom),
        escape(failed.unwrap_or_default())
    );
}

/// Phases of a move, in the order in which they come.
const PHASES: [&str; 7] = ["check", "record", "membership", "pause", "catch-up", "ask", "transfer"];

/// One line for each move, and in it when each phase was reached: a glance finds the set that was slow, and in what.
fn moves(out: &mut String, record: &Record) {
    if record.moves.is_empty() {
        return;
    }
    out.push_str("<h2>Moves, phase by phase</h2><table><tr><th>set</th><th>to</th><th>began</th>");
    for phase in PHASES.iter().chain(&["end", "writes paused"]) {
        let _ = write!(out, "<th>{phase}</th>");
    }
    out.push_str("<th></th></tr>");
    for one in &record.moves {
        let began = one.at_ms as f64 / 1e3;
        let _ = write!(out, "<tr><td>{}</td><td>{}</td><td>{began:.1} s</td>", one.set, escape(&one.to));
        for name in PHASES {
            let reached = one.phases.iter().find(|phase| phase.name == name);
            let _ = write!(out, "<td>{}</td>", reached.map_or(String::new(), |phase| ms(phase.at_ms)));
        }
        let end = one.phases.last().filter(|end| !PHASES.contains(&end.name.as_str()));
        let took = end.map_or(String::new(), |end| ms(end.at_ms));
        let wrong = end.filter(|end| end.name != "done").map(|end| format!("{}: {}", end.name, end.detail));
        let _ = write!(
            out,
            "<td>{took}</td><td>{}</td><td class=\"bad\">{}</td></tr>",
            ms(one.paused_ms),
            escape(&wrong.unwrap_or_default())
        );
    }
    out.push_str("</table>");
}

fn audit(out: &mut String, record: &Record) {
    out.push_str("<h2>Audit trail</h2>");
    if record.audit.is_empty() {
        out.push_str("<p>Nothing was recorded in the control set.</p>");
        return;
    }
    out.push_str("<table><tr><th>no</th><th>at</th><th>who</th><th>why</th><th>what</th></tr>");
    for entry in &record.audit {
        let at_ms = entry["time_unix_ns"].as_u64().unwrap_or(0) / 1_000_000;
        let _ = write!(
            out,
            "<tr><td>{}</td><td>{:.1} s</td><td>{}</td><td>{}</td><td>{} {}</td></tr>",
            entry["no"],
            at_ms.saturating_sub(record.began_unix_ms) as f64 / 1e3,
            escape(entry["who"].as_str().unwrap_or_default()),
            escape(entry["why"].as_str().unwrap_or_default()),
            escape(&entry["what"].to_string()),
            escape(&entry["outcome"].to_string())
        );
    }
    out.push_str("</table>");
}

fn scenario(out: &mut String, scenario: &Scenario) {
    let text = toml::to_string(scenario).unwrap_or_default();
    let _ = write!(out, "<h2>The scenario</h2><pre>{}</pre>", escape(&text));
}

fn ms(ms: f64) -> String {
    match ms {
        ms if ms >= 10_000.0 => format!("{:.1} s", ms / 1e3),
        ms if ms >= 100.0 => format!("{ms:.0} ms"),
        ms => format!("{ms:.1} ms"),
    }
}

/// Text that a page shows as it is.
pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

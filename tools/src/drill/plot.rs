//! The pictures of a report, as SVG text. All share one axis of time, under which the parts of the drill are named, so that what
//! is above each other happened at the same time. Pure.

use std::fmt::Write;

use super::moment::SetMoment;
use super::page::escape;
use super::record::Record;

/// Width of the picture, and where the axis of time begins and ends in it.
const WIDTH: f64 = 1_080.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 1_064.0;
/// Rows of sets that are drawn; those that had the longest pauses first.
const ROWS_MAX: usize = 24;

/// The axis of time.
struct Axis {
    end_ms: f64,
}

impl Axis {
    fn of(record: &Record) -> Axis {
        let last = record.moments.last().map_or(0, |moment| moment.at_ms);
        let spans = record.spans.iter().map(|span| span.to_ms).max().unwrap_or(0);
        Axis { end_ms: last.max(spans).max(1_000) as f64 }
    }

    fn x(&self, ms: u64) -> f64 {
        LEFT + (RIGHT - LEFT) * (ms as f64 / self.end_ms).min(1.0)
    }
}

fn svg(height: f64, label: &str, body: &str) -> String {
    format!(
        "<svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"{}\">{body}</svg>",
        escape(label)
    )
}

/// The parts of the drill as bands behind a picture.
fn bands(record: &Record, axis: &Axis, height: f64) -> String {
    let mut out = String::new();
    for (number, span) in record.spans.iter().enumerate() {
        let (from, to) = (axis.x(span.from_ms), axis.x(span.to_ms));
        let class = match (span.failed.is_some(), number % 2) {
            (true, _) => "band bad",
            (false, 0) => "band even",
            (false, _) => "band",
        };
        let width = (to - from).max(0.5);
        let _ = write!(
            out,
            "<rect class=\"{class}\" x=\"{from:.1}\" y=\"0\" width=\"{width:.1}\" height=\"{height}\"><title>{}</title></rect>",
            escape(&span.name)
        );
    }
    out
}

/// Names of the parts, where they fit, and the seconds.
fn legend(record: &Record, axis: &Axis, y: f64) -> String {
    let mut out = String::new();
    for (number, span) in record.spans.iter().enumerate() {
        let (from, to) = (axis.x(span.from_ms), axis.x(span.to_ms));
        let letters = ((to - from) / 6.2) as usize;
        let name: String = match span.name.chars().count() <= letters {
            true => span.name.clone(),
            false => format!("{}", number + 1),
        };
        let _ = write!(
            out,
            "<text class=\"span\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
            (from + to) / 2.0,
            y + 28.0,
            escape(&name)
        );
    }
    let step = [1_u64, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1_800];
    let step = step.into_iter().find(|step| axis.end_ms / 1e3 / *step as f64 <= 16.0).unwrap_or(3_600);
    let seconds = (axis.end_ms / 1e3) as u64;
    for second in (0..=seconds).step_by(step as usize) {
        let x = axis.x(second * 1_000);
        let _ = write!(
            out,
            "<line class=\"tick\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{y:.1}\" y2=\"{:.1}\"/><text class=\"tick\" x=\"{x:.1}\" y=\"{:.1}\">{second} s</text>",
            y + 4.0,
            y + 14.0
        );
    }
    out
}

/// Payments per second: booked, and failed.
pub fn rates(record: &Record) -> String {
    const HEIGHT: f64 = 120.0;
    let axis = Axis::of(record);
    let most = record.seconds.iter().map(|second| second.payments.ended).max().unwrap_or(0).max(1) as f64;
    let y = |count: u64| HEIGHT - (HEIGHT - 8.0) * count as f64 / most;
    let mut body = bands(record, &axis, HEIGHT);
    let width = (axis.x(1_000) - axis.x(0)).max(1.0);
    for second in &record.seconds {
        let (x, ended, failed) = (axis.x(second.at_ms), second.payments.ended, second.payments.failed);
        let top = y(ended);
        let _ = write!(
            body,
            "<rect class=\"booked\" x=\"{x:.1}\" y=\"{top:.1}\" width=\"{width:.1}\" height=\"{:.1}\"/>",
            HEIGHT - top
        );
        if failed > 0 {
            // Few among many would not be seen.
            let top = y(failed).min(HEIGHT - 4.0);
            let _ = write!(
                body,
                "<rect class=\"failed\" x=\"{x:.1}\" y=\"{top:.1}\" width=\"{width:.1}\" height=\"{:.1}\"/>",
                HEIGHT - top
            );
        }
    }
    let _ = write!(
        body,
        "<text class=\"axis\" x=\"{0}\" y=\"14\">{most:.0}/s</text><text class=\"axis\" x=\"{0}\" y=\"{HEIGHT}\">0</text>",
        LEFT - 6.0
    );
    body.push_str(&legend(record, &axis, HEIGHT));
    svg(HEIGHT + 34.0, "payments per second", &body)
}

/// How long payments took, on a logarithmic axis.
pub fn latencies(record: &Record) -> String {
    const HEIGHT: f64 = 170.0;
    let axis = Axis::of(record);
    let all = record.seconds.iter().map(|second| second.payments);
    let most = all.map(|payments| payments.max_ms).fold(10.0, f64::max);
    let decades = most.log10().ceil().max(1.0) + 1.0;
    // The lowest line is 0.1 ms.
    let y = |ms: f64| HEIGHT - (HEIGHT - 6.0) * ((ms.max(0.1).log10() + 1.0) / decades).min(1.0);
    let mut body = bands(record, &axis, HEIGHT);
    for decade in 0..=decades as i32 {
        let ms = 10_f64.powi(decade - 1);
        let (line, label) =
            (y(ms), if ms >= 1_000.0 { format!("{:.0} s", ms / 1e3) } else { format!("{ms} ms") });
        let _ = write!(
            body,
            "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{RIGHT}\" y1=\"{line:.1}\" y2=\"{line:.1}\"/><text class=\"axis\" x=\"{}\" y=\"{:.1}\">{label}</text>",
            LEFT - 6.0,
            line + 4.0
        );
    }
    type Figure = fn(&super::moment::Payments) -> f64;
    let lines: [(&str, Figure); 4] =
        [("max", |p| p.max_ms), ("p999", |p| p.p999_ms), ("p99", |p| p.p99_ms), ("p50", |p| p.p50_ms)];
    for (class, figure) in lines {
        let mut path = String::new();
        let mut pen_down = false;
        for second in &record.seconds {
            if second.payments.ended == 0 {
                pen_down = false;
                continue;
            }
            let (x, y) = (axis.x(second.at_ms + 500), y(figure(&second.payments)));
            let _ = write!(path, "{}{x:.1} {y:.1}", if pen_down { "L" } else { "M" });
            pen_down = true;
        }
        let _ = write!(body, "<path class=\"{class}\" d=\"{path}\"/>");
    }
    body.push_str(&legend(record, &axis, HEIGHT));
    svg(HEIGHT + 34.0, "latency of payments", &body)
}

/// What each set was, second by second, and which processes did not answer.
pub fn states(record: &Record) -> String {
    const ROW: f64 = 16.0;
    let axis = Axis::of(record);
    let mut sets: Vec<_> = record.sets.iter().collect();
    sets.sort_by(|one, other| {
        let weight = |set: &super::record::SetRecord| set.pause_ms.unwrap_or(0.0) + set.unsafe_s * 1e3;
        weight(other).total_cmp(&weight(one)).then(one.set.cmp(&other.set))
    });
    sets.truncate(ROWS_MAX);
    sets.sort_by_key(|set| set.set);
    let mut silent: Vec<&String> = record.moments.iter().flat_map(|moment| &moment.silent).collect();
    silent.sort();
    silent.dedup();
    let height = ROW * (sets.len() + silent.len()) as f64 + 4.0;
    let mut body = bands(record, &axis, height);
    let mut row = |number: usize, label: &str, cells: &dyn Fn(usize) -> Option<(&'static str, String)>| {
        let top = ROW * number as f64 + 3.0;
        let _ = write!(
            body,
            "<text class=\"axis\" x=\"{}\" y=\"{:.1}\">{}</text>",
            LEFT - 6.0,
            top + 10.0,
            escape(label)
        );
        for (index, moment) in record.moments.iter().enumerate() {
            let Some((class, title)) = cells(index) else { continue };
            let next = record.moments.get(index + 1).map_or(moment.at_ms + 1_000, |next| next.at_ms);
            let (from, to) = (axis.x(moment.at_ms), axis.x(next));
            let _ = write!(
                body,
                "<rect class=\"{class}\" x=\"{from:.1}\" y=\"{top:.1}\" width=\"{:.1}\" height=\"11\"><title>{}</title></rect>",
                (to - from).max(0.5),
                escape(&title)
            );
        }
    };
    for (number, set) in sets.iter().enumerate() {
        row(number, &format!("set {}", set.set), &|index| {
            let seen = record.moments[index].sets.get(&set.set)?;
            let leader = seen.leader.as_deref().unwrap_or("no leader");
            Some((state(seen, record), format!("{leader}, home {}, {}", seen.home, seen.phase)))
        });
    }
    for (number, name) in silent.iter().enumerate() {
        row(sets.len() + number, name, &|index| {
            let moment = &record.moments[index];
            moment.silent.contains(name).then(|| ("silent", "does not answer".to_owned()))
        });
    }
    body.push_str(&legend(record, &axis, height));
    svg(height + 34.0, "sets and processes", &body)
}

fn state(seen: &SetMoment, record: &Record) -> &'static str {
    match (&seen.leader, seen.phase.as_str()) {
        (None, _) => "leaderless",
        (Some(_), "SYNC") if seen.home == record.home => "sync",
        (Some(_), "SYNC") => "sync other",
        (Some(_), "DEGRADED") => "degraded",
        (Some(_), _) => "between",
    }
}

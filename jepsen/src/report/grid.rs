//! Calls counted by time and latency, so that a run of any length fits one page and no slow call is left out. Pure.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{Outcome, Point};

/// Columns of time.
const COLUMNS: u64 = 900;
/// Rows of latency per power of ten.
const ROWS_PER_DECADE: f64 = 12.0;
/// The lowest row begins here.
const FLOOR_US: f64 = 100.0;

/// Calls of one outcome in one cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Moment {
    /// Column of time, from 0.
    pub x: u64,
    /// Row of latency, from 0.
    pub y: u64,
    /// Calls.
    pub n: u64,
}

/// The calls that began in one column of time.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Second {
    /// Where it begins, in seconds since the run's begin.
    pub at: f64,
    /// Calls per second, by outcome in the order of [`Outcome`].
    pub rates: [f64; 4],
    /// Half of the calls took at most so many milliseconds.
    pub p50_ms: f64,
    /// 99 of a hundred did.
    pub p99_ms: f64,
    /// All did.
    pub longest_ms: f64,
}

/// The whole picture.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Grid {
    /// How many columns.
    pub columns: u64,
    /// Rows per power of ten.
    pub rows_per_decade: f64,
    /// Where the lowest row begins, in microseconds.
    pub floor_us: f64,
    /// The cells that hold calls, by outcome.
    pub cells: BTreeMap<&'static str, Vec<Moment>>,
    /// Rates and latencies over time.
    pub seconds: Vec<Second>,
}

impl Grid {
    /// Counts the calls of a run of so many seconds.
    pub fn of(points: &[Point], seconds: f64) -> Self {
        let span_us = (seconds * 1e6).max(1.0);
        let mut counts: BTreeMap<(Outcome, u64, u64), u64> = BTreeMap::new();
        for point in points {
            let x = (point.at_us as f64 / span_us * COLUMNS as f64) as u64;
            *counts.entry((point.outcome, x.min(COLUMNS - 1), row(point.took_us))).or_default() += 1;
        }
        let mut cells: BTreeMap<&'static str, Vec<Moment>> = BTreeMap::new();
        for ((outcome, x, y), n) in counts {
            cells.entry(name(outcome)).or_default().push(Moment { x, y, n });
        }
        Grid {
            columns: COLUMNS,
            rows_per_decade: ROWS_PER_DECADE,
            floor_us: FLOOR_US,
            cells,
            seconds: over_time(points, seconds),
        }
    }
}

fn row(took_us: u64) -> u64 {
    ((took_us as f64 / FLOOR_US).max(1.0).log10() * ROWS_PER_DECADE) as u64
}

fn name(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Ok => "ok",
        Outcome::Rejected => "rejected",
        Outcome::NotApplied => "not_applied",
        Outcome::Unknown => "unknown",
    }
}

/// Steps of a second, longer in runs of more than ten minutes.
fn over_time(points: &[Point], seconds: f64) -> Vec<Second> {
    let step = (seconds / 600.0).max(1.0).ceil();
    let steps = (seconds / step).ceil().max(1.0) as usize;
    let mut took: Vec<Vec<u64>> = vec![Vec::new(); steps];
    let mut out: Vec<Second> =
        (0..steps).map(|number| Second { at: number as f64 * step, ..Second::default() }).collect();
    for point in points {
        let number = ((point.at_us as f64 / 1e6 / step) as usize).min(steps - 1);
        took[number].push(point.took_us);
        out[number].rates[point.outcome as usize] += 1.0 / step;
    }
    for (second, took) in out.iter_mut().zip(&mut took) {
        took.sort_unstable();
        let quantile = |share: f64| {
            let at = ((took.len() as f64 * share).ceil() as usize).saturating_sub(1);
            took.get(at).map_or(0.0, |us| *us as f64 / 1e3)
        };
        (second.p50_ms, second.p99_ms, second.longest_ms) = (quantile(0.5), quantile(0.99), quantile(1.0));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(at_us: u64, took_us: u64) -> Point {
        Point { at_us, took_us, outcome: Outcome::Ok }
    }

    #[test]
    fn every_call_is_in_one_cell_and_the_slowest_in_the_highest() {
        let points: Vec<Point> = (0..1000).map(|n| point(n * 2_000, 1 + n * n)).collect();
        let grid = Grid::of(&points, 2.0);
        assert_eq!(grid.cells["ok"].iter().map(|cell| cell.n).sum::<u64>(), 1000);
        let highest = grid.cells["ok"].iter().max_by_key(|cell| cell.y).unwrap();
        assert_eq!((highest.y, highest.x), (row(999 * 999 + 1), 899));
    }

    #[test]
    fn rates_and_quantiles_are_those_of_the_second() {
        let points: Vec<Point> = (1..=100).map(|n| point(1_200_000, n * 1_000)).collect();
        let grid = Grid::of(&points, 3.0);
        let [before, second, _] = &grid.seconds[..] else { panic!("three seconds") };
        assert_eq!(before.rates, [0.0; 4]);
        assert_eq!(second.rates, [100.0, 0.0, 0.0, 0.0]);
        assert_eq!((second.p50_ms, second.p99_ms, second.longest_ms), (50.0, 99.0, 100.0));
    }

    #[test]
    fn a_run_without_calls_is_an_empty_picture() {
        let grid = Grid::of(&[], 0.0);
        assert!(grid.cells.is_empty());
        assert_eq!(grid.seconds.len(), 1);
    }
}

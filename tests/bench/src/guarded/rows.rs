//! The rounds: direct, memory, socket, remoting, direct, ... so that whatever else the machine does hits all alike.

use super::Way;
use super::site::Site;
use crate::error::BenchError;
use crate::histogram::Histogram;
use crate::protocol::Run;
use crate::rounds::Effort;
use crate::row::Row;
use crate::series::{Outcome, Worker};
use crate::statistics::median;

/// How many call at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    /// Processes.
    pub processes: usize,
    /// Threads of each, with a session of its own.
    pub threads: usize,
}

/// One caller.
pub const ALONE: Load = Load { processes: 1, threads: 1 };
/// Two threads of one process.
pub const TWO: Load = Load { processes: 1, threads: 2 };
const PROCESSES: usize = 8;
const LOADS: [Load; 5] = [
    ALONE,
    TWO,
    Load { processes: 1, threads: 4 },
    Load { processes: 1, threads: 16 },
    Load { processes: PROCESSES, threads: 1 },
];

/// One round of one way.
#[derive(Clone, Copy, Debug)]
pub struct Round {
    /// Of one operation: the median.
    pub median_ns: f64,
    /// Operations of all callers, per second.
    pub rate: f64,
}

/// One way of one measurement.
#[derive(Clone, Debug, Default)]
pub struct Series {
    /// One after the other.
    pub rounds: Vec<Round>,
    /// Of every operation of all rounds.
    pub times: Histogram,
}

/// A row with a number of callers.
#[derive(Clone, Debug)]
pub struct Measurement {
    /// What.
    pub row: Row,
    /// How many at once.
    pub load: Load,
    /// In the order of [`Way::ALL`].
    pub series: [Outcome<Series>; 4],
}

impl Series {
    /// Time of one operation: the median over the rounds.
    pub fn median_ns(&self) -> f64 {
        median(self.rounds.iter().map(|round| round.median_ns)).unwrap_or(0.0)
    }

    /// Operations per second: the median over the rounds.
    pub fn rate(&self) -> f64 {
        median(self.rounds.iter().map(|round| round.rate)).unwrap_or(0.0)
    }
}

impl Measurement {
    /// The series, unless it was refused.
    pub fn series(&self, way: Way) -> Option<&Series> {
        self.series.get(way as usize).and_then(Outcome::measured)
    }

    /// How many times the rate of `base` the rate of `way` is: the median over the rounds, within each.
    pub fn rates(&self, way: Way, base: Way) -> Option<f64> {
        self.compare(way, base, |way, base| way.rate / base.rate)
    }

    /// How many times the time of `base` that of `way` is, likewise.
    pub fn times(&self, way: Way, base: Way) -> Option<f64> {
        self.compare(way, base, |way, base| way.median_ns / base.median_ns)
    }

    fn compare(&self, way: Way, base: Way, compare: impl Fn(Round, Round) -> f64) -> Option<f64> {
        let pairs = self.series(way)?.rounds.iter().zip(&self.series(base)?.rounds);
        median(pairs.map(|(way, base)| compare(*way, *base)))
    }
}

/// The rate with the `others`' callers compared with that of `alone`: the median over the rounds.
pub fn scaling(alone: &Measurement, others: &Measurement, way: Way) -> Option<f64> {
    Some(others.series(way)?.rate() / alone.series(way)?.rate())
}

/// Measures all rows.
pub fn measure(site: &Site, rows: &[Row], effort: Effort) -> Result<Vec<Measurement>, BenchError> {
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let mut workers = Vec::new();
    for way in Way::ALL {
        let start = || site.worker(way);
        let mut of_way = vec![match way {
            Way::Memory => site.admit("bench-memory", start)?,
            Way::Socket => site.admit("bench-socket", start)?,
            Way::Direct | Way::Remoting => start()?,
        }];
        while of_way.len() < PROCESSES {
            of_way.push(site.worker(way)?);
        }
        workers.push(of_way);
    }
    let mut measurements = Vec::new();
    for row in rows {
        for load in LOADS {
            eprintln!("bench: guarded, {row}, processes: {}, threads: {}", load.processes, load.threads);
            measurements.push(measure_row(&mut workers, *row, load, effort)?);
        }
    }
    Ok(measurements)
}

fn measure_row(
    workers: &mut [Vec<Worker>],
    row: Row,
    load: Load,
    effort: Effort,
) -> Result<Measurement, BenchError> {
    // Every operation is timed by itself: the slowest ones are of interest.
    let run = Run {
        operation: row.operation(),
        threads: load.threads,
        chunk: 1,
        duration_ms: effort.guarded_batch_ms,
    };
    let mut series = Way::ALL.map(|_| Outcome::Measured(Series::default()));
    for _ in 0..effort.guarded_rounds {
        for (workers, series) in workers.iter_mut().zip(&mut series) {
            let Outcome::Measured(measured) = series else { continue };
            let workers = workers.get_mut(..load.processes).unwrap_or_default();
            if let Err(rv) = round(workers, run, measured)? {
                *series = Outcome::Refused(rv);
            }
        }
    }
    Ok(Measurement { row, load, series })
}

/// One batch of all `workers` at once; the `CK_RV` of a call that was refused.
fn round(workers: &mut [Worker], run: Run, series: &mut Series) -> Result<Result<(), u64>, BenchError> {
    for worker in &mut *workers {
        worker.begin(run)?;
    }
    let (mut medians, mut rate, mut refused) = (Vec::new(), 0.0, None);
    for worker in &mut *workers {
        match worker.sample()? {
            Outcome::Measured(sample) => {
                medians.push(sample.batch.median_ns);
                rate += sample.batch.operations as f64 * 1e9 / sample.batch.elapsed_ns as f64;
                series.times.add(&sample.times);
            }
            Outcome::Refused(rv) => refused = Some(rv),
        }
    }
    if let Some(rv) = refused {
        return Ok(Err(rv));
    }
    series.rounds.push(Round { median_ns: median(medians).unwrap_or(0.0), rate });
    Ok(Ok(()))
}

//! The rounds: direct, shim, proxy, direct, shim, proxy, ... so that whatever else the machine does hits all alike.

use crate::error::BenchError;
use crate::installation::Installation;
use crate::protocol::{Batch, Run, Tail};
use crate::row::{Row, Token};
use crate::series::{Access, Outcome, Worker};
use crate::statistics::median;

/// How long to measure.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// Batches of each series.
    pub rounds: usize,
    /// Length of a batch in milliseconds.
    pub batch_ms: u64,
    /// Cold starts of each kind.
    pub cold_runs: usize,
    /// Renewals of the trust token.
    pub renewals: usize,
    /// How long a guard without calls is looked at, in milliseconds.
    pub idle_ms: u64,
}

impl Effort {
    /// Under a minute and a half.
    pub const QUICK: Self = Self { rounds: 5, batch_ms: 15, cold_runs: 5, renewals: 4, idle_ms: 2000 };
    /// Some minutes.
    pub const FULL: Self = Self { rounds: 15, batch_ms: 80, cold_runs: 15, renewals: 12, idle_ms: 10_000 };
}

/// Threads, each with a session of its own.
pub const THREADS: [usize; 3] = [1, 2, 4];

/// One series of one row.
#[derive(Clone, Debug)]
pub struct Series {
    /// One for each round.
    pub batches: Vec<Batch>,
    /// Of single operations on one thread.
    pub tail: Option<Tail>,
}

/// A row with a number of threads.
#[derive(Clone, Debug)]
pub struct Measurement {
    /// What.
    pub row: Row,
    /// With how many threads.
    pub threads: usize,
    /// In the order of [`Access::ALL`].
    pub series: [Outcome<Series>; 3],
}

impl Series {
    /// Time of one operation: the median over the rounds.
    pub fn median_ns(&self) -> f64 {
        median(self.batches.iter().map(|batch| batch.median_ns)).unwrap_or(0.0)
    }

    /// Operations per second: the median over the rounds.
    pub fn rate(&self) -> f64 {
        median(self.batches.iter().map(|batch| batch.operations as f64 * 1e9 / batch.elapsed_ns as f64))
            .unwrap_or(0.0)
    }
}

impl Measurement {
    /// The series, unless it was refused.
    pub fn series(&self, access: Access) -> Option<&Series> {
        self.series.get(access as usize).and_then(Outcome::measured)
    }

    /// What `access` takes more than direct: the median over the rounds of the difference within a round.
    pub fn difference_ns(&self, access: Access) -> Option<f64> {
        self.against_direct(access, |other, direct| other - direct)
    }

    /// The same as a ratio.
    pub fn ratio(&self, access: Access) -> Option<f64> {
        self.against_direct(access, |other, direct| other / direct)
    }

    fn against_direct(&self, access: Access, compare: impl Fn(f64, f64) -> f64) -> Option<f64> {
        let (direct, other) = (self.series(Access::Direct)?, self.series(access)?);
        let pairs = other.batches.iter().zip(&direct.batches);
        median(pairs.map(|(other, direct)| compare(other.median_ns, direct.median_ns)))
    }
}

/// Measures all `rows` that are on this token.
pub fn measure(
    installation: &Installation,
    token: Token,
    rows: &[Row],
    effort: Effort,
) -> Result<Vec<Measurement>, BenchError> {
    let rows: Vec<Row> = rows.iter().copied().filter(|row| row.token() == token).collect();
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let mut workers = [
        Worker::start(installation, Access::Direct, token)?,
        Worker::start(installation, Access::Shim, token)?,
        Worker::start(installation, Access::Proxy, token)?,
    ];
    let [_, shim, _] = &mut workers;
    installation.admit(
        shim,
        match token {
            Token::SoftHsm => "bench",
            Token::Null => "bench-null-token",
        },
    )?;
    let mut measurements = Vec::new();
    for row in rows {
        for threads in THREADS {
            eprintln!("bench: {row}, threads: {threads}");
            measurements.push(measure_row(&mut workers, row, threads, effort)?);
        }
    }
    Ok(measurements)
}

fn measure_row(
    workers: &mut [Worker; 3],
    row: Row,
    threads: usize,
    effort: Effort,
) -> Result<Measurement, BenchError> {
    let operation = row.operation();
    let run = Run { operation, threads, chunk: row.chunk(), duration_ms: effort.batch_ms };
    let mut series = [const { Outcome::Measured(Series { batches: Vec::new(), tail: None }) }; 3];
    for _ in 0..effort.rounds {
        for (worker, series) in workers.iter_mut().zip(&mut series) {
            if let Outcome::Measured(measured) = series {
                match worker.batch(run)? {
                    Outcome::Measured(batch) => measured.batches.push(batch),
                    Outcome::Refused(rv) => *series = Outcome::Refused(rv),
                }
            }
        }
    }
    if threads == 1 {
        for (worker, series) in workers.iter_mut().zip(&mut series) {
            if let Outcome::Measured(measured) = series {
                measured.tail = Some(worker.tail(operation)?);
            }
        }
    }
    Ok(Measurement { row, threads, series })
}

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
    /// Batches of each series in the application's own process, each in a new one.
    pub rounds: usize,
    /// Length of such a batch in milliseconds.
    pub batch_ms: u64,
    /// Batches of each series through a guard.
    pub guarded_rounds: usize,
    /// Length of such a batch in milliseconds.
    pub guarded_batch_ms: u64,
    /// Cold starts of each kind.
    pub cold_runs: usize,
    /// Renewals of the trust token.
    pub renewals: usize,
    /// How long a guard without calls is looked at, in milliseconds.
    pub idle_ms: u64,
}

impl Effort {
    /// Under a minute and a half.
    pub const QUICK: Self = Self {
        rounds: 5,
        batch_ms: 15,
        guarded_rounds: 5,
        guarded_batch_ms: 15,
        cold_runs: 5,
        renewals: 4,
        idle_ms: 2000,
    };
    /// Some minutes.
    pub const FULL: Self = Self {
        rounds: 60,
        batch_ms: 20,
        guarded_rounds: 15,
        guarded_batch_ms: 80,
        cold_runs: 15,
        renewals: 12,
        idle_ms: 10_000,
    };
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
    const fn nothing_of(row: Row, threads: usize) -> Self {
        let series = [const { Outcome::Measured(Series { batches: Vec::new(), tail: None }) }; 3];
        Self { row, threads, series }
    }

    /// Measures one round more.
    fn add(&mut self, workers: &mut [Worker; 3], duration_ms: u64) -> Result<(), BenchError> {
        let Self { row, threads, series } = self;
        let run = Run { operation: row.operation(), threads: *threads, chunk: row.chunk(), duration_ms };
        for (worker, series) in workers.iter_mut().zip(series) {
            if let Outcome::Measured(measured) = series {
                match worker.batch(run)? {
                    Outcome::Measured(batch) => measured.batches.push(batch),
                    Outcome::Refused(rv) => *series = Outcome::Refused(rv),
                }
            }
        }
        Ok(())
    }

    fn take_tails(&mut self, workers: &mut [Worker; 3]) -> Result<(), BenchError> {
        for (worker, series) in workers.iter_mut().zip(&mut self.series) {
            if let Outcome::Measured(measured) = series {
                measured.tail = Some(worker.tail(self.row.operation())?);
            }
        }
        Ok(())
    }

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

/// Measures all `rows` that are on this token, with new processes each round: where their memory happens to lie makes a call on
/// SoftHSM some 20 ns faster or slower for as long as the process lives, which is as much as there is to be measured.
pub fn measure(
    installation: &Installation,
    token: Token,
    rows: &[Row],
    effort: Effort,
) -> Result<Vec<Measurement>, BenchError> {
    let rows: Vec<Row> = rows.iter().copied().filter(|row| row.token() == token).collect();
    let mut measurements: Vec<_> =
        rows.iter().flat_map(|row| THREADS.map(|threads| Measurement::nothing_of(*row, threads))).collect();
    if rows.is_empty() {
        return Ok(measurements);
    }
    for round in 1..=effort.rounds {
        eprintln!("bench: round {round} of {}", effort.rounds);
        let mut workers = [
            Worker::start(installation, Access::Direct, token)?,
            Worker::start(installation, Access::Shim, token)?,
            Worker::start(installation, Access::Proxy, token)?,
        ];
        let [_, shim, _] = &mut workers;
        if round == 1 {
            let component = match token {
                Token::SoftHsm => "bench",
                Token::Null => "bench-null-token",
            };
            installation.admit(shim, component)?;
        }
        for measurement in &mut measurements {
            eprintln!("bench: {}, threads: {}", measurement.row, measurement.threads);
            measurement.add(&mut workers, effort.batch_ms)?;
            if round == effort.rounds && measurement.threads == 1 {
                measurement.take_tails(&mut workers)?;
            }
        }
    }
    Ok(measurements)
}

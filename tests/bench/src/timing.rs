//! Times operations inside a worker.

use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use cryptoki_sys::{CK_RV, CK_SESSION_HANDLE, CKR_FUNCTION_NOT_SUPPORTED};

use crate::module::{Keys, Module, Prepared, checked};
use crate::protocol::{Batch, Run};
use crate::statistics::median;

/// Operations before the clock starts, on every thread.
const WARM_UP: usize = 8;

/// What two readings of the clock in a row differ by.
pub fn clock_ns() -> f64 {
    median((0..10_000).map(|_| {
        let start = Instant::now();
        nanoseconds(start.elapsed())
    }))
    .unwrap_or(0.0)
}

/// As a number to calculate with.
pub fn nanoseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e9
}

/// The chunks of one thread, and when it was done.
struct Chunks {
    ns: Vec<f64>,
    start: Instant,
    end: Instant,
}

/// Runs a batch, one thread for each of `sessions`. Also gives the time of each operation of each chunk.
///
/// # Errors
/// The return value of a call that did not succeed.
pub fn batch(
    module: Module,
    sessions: &[CK_SESSION_HANDLE],
    keys: Keys,
    run: Run,
    clock_ns: f64,
) -> Result<(Batch, Vec<f64>), CK_RV> {
    let barrier = Barrier::new(sessions.len());
    let duration = Duration::from_millis(run.duration_ms);
    let chunks: Vec<Result<Chunks, CK_RV>> = thread::scope(|scope| {
        let threads: Vec<_> = sessions
            .iter()
            .map(|session| {
                scope.spawn(|| {
                    let warm = module.prepare(run.operation, *session, keys).and_then(warmed_up);
                    // Also after a failure: the others are waiting.
                    barrier.wait();
                    let mut prepared = warm?;
                    let chunks = chunks(&mut prepared, run.chunk, duration)?;
                    prepared.end()?;
                    Ok(chunks)
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().expect("a measuring thread")).collect()
    });
    let chunks = chunks.into_iter().collect::<Result<Vec<_>, _>>()?;
    let start = chunks.iter().map(|chunks| chunks.start).min().ok_or(CKR_FUNCTION_NOT_SUPPORTED)?;
    let end = chunks.iter().map(|chunks| chunks.end).max().ok_or(CKR_FUNCTION_NOT_SUPPORTED)?;
    let each = |ns: f64| (ns - clock_ns).max(0.0) / f64::from(run.chunk);
    let times: Vec<f64> = chunks.iter().flat_map(|chunks| &chunks.ns).copied().map(each).collect();
    let batch = Batch {
        median_ns: median(times.iter().copied()).unwrap_or(0.0),
        operations: times.len() as u64 * u64::from(run.chunk),
        elapsed_ns: u64::try_from((end - start).as_nanos()).unwrap_or(u64::MAX),
    };
    Ok((batch, times))
}

fn warmed_up(mut prepared: Prepared) -> Result<Prepared, CK_RV> {
    for _ in 0..WARM_UP {
        checked(prepared.perform())?;
    }
    Ok(prepared)
}

fn chunks(prepared: &mut Prepared, chunk: u32, duration: Duration) -> Result<Chunks, CK_RV> {
    let mut ns = Vec::with_capacity(1 << 16);
    let start = Instant::now();
    let mut last = start;
    loop {
        for _ in 0..chunk {
            checked(prepared.perform())?;
        }
        let now = Instant::now();
        ns.push(nanoseconds(now - last));
        last = now;
        if now - start >= duration {
            return Ok(Chunks { ns, start, end: now });
        }
    }
}
